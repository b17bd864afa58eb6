//! PostgreSQL's own regression suite through pgweir, compared test by test with a direct run: `make regress`.
//!
//! Before a primary and a standby, in transaction mode and with reads on the standby, the suite runs twice directly, which
//! shows what is never twice the same, and then through pgweir: once with one server connection at a time, as one client
//! needs, and once with another connection for each transaction, so that nothing stays behind by luck. What differs is a
//! fault unless `known.toml` explains it; an explanation that nothing needs any more is one as well.

// Cargo says `test` to a bench without a harness too, and nobody runs the tests here: `pure.rs` does.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod compare;
mod front;
mod known;
mod stage;
mod suite;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use compare::{Compared, compare};
use front::{Front, Lending};
use known::Known;
use pgweir::demo::{Problem, Result, Signals, Trying};
use stage::Stage;
use suite::Suite;

/// Runs PostgreSQL's regression suite through pgweir.
#[derive(Parser)]
struct Options {
    /// The suite, as `ops/setup/regress.sh` leaves it. Without it nothing runs, so that a bare `cargo bench` stays short.
    #[arg(long)]
    suite: Option<PathBuf>,
    /// Tests with commas between them, in the suite's order and behind its setup; default: all.
    #[arg(long, value_delimiter = ',')]
    tests: Vec<String>,
    /// Where outputs and differences are left.
    #[arg(long, default_value = "target/regress")]
    out: PathBuf,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(suite) = &options.suite else {
        println!("The regression suite takes minutes: `make regress` runs it.");
        return ExitCode::SUCCESS;
    };
    match run(suite, &options) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("pgweir regress: {faults} faults (above)");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("pgweir regress: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// How many differences nothing explains, and how many explanations nothing needs.
fn run(suite: &Path, options: &Options) -> Result<usize> {
    let signals = Signals::install()?;
    let suite = Suite::read(suite, &options.tests)?;
    let known = Known::read(include_str!("known.toml")).map_err(|cause| Problem::new("reading known.toml", cause))?;
    std::fs::create_dir_all(&options.out).trying(|| format!("making {}", options.out.display()))?;
    let stage = Stage::set(&suite, &options.out)?;

    stage.clear()?;
    let direct = stage.perform(&suite, "direct", stage.primary_port(), &signals)?;
    println!(
        "direct: {} of {} tests say what PostgreSQL expects of them",
        stage.expected(&suite, &direct),
        direct.len()
    );
    stage.clear()?;
    let again = stage.perform(&suite, "again", stage.primary_port(), &signals)?;
    let mut faults = 0;
    for lending in Lending::ALL {
        stage.clear()?;
        let front = Front::start(&stage, lending)?;
        let through = stage.perform(&suite, lending.name(), front.port, &signals)?;
        faults += front.stop(&options.out)?;
        let compared = compare(&suite.tests, &direct, &again, &through)?;
        faults += report(lending, &compared, &known)?;
    }
    Ok(faults)
}

/// Prints a run's table and what is behind it.
fn report(lending: Lending, compared: &[Compared], known: &Known) -> Result<usize> {
    let judged = known.judge(lending.name(), compared);
    println!("\nthrough pgweir, {}:\n\n{}", lending.what(), judged.table);
    Ok(judged.faults)
}

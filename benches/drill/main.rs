//! Everything that can befall a server, and what writers, readers and idle clients notice of it: pgweir beside HAProxy and
//! Debian's PgBouncer: `make drill`.
//!
//! Each proxy has a primary and a standby of its own, and clients that count (`tests/drill`). A failover tool that needs no
//! time promotes the standby; HAProxy's checks and a script that rewrites PgBouncer's file learn it at once. What it prints
//! is written to a Markdown file too.

// Cargo says `test` to a bench without a harness too.
#![cfg_attr(test, allow(dead_code, unused_imports))]

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use pgweir::demo::{Binaries, Result, Trying};

mod front;
mod patroni;

#[path = "../../tests/drill/mod.rs"]
mod drill;
#[macro_use]
#[path = "../../tests/support/mod.rs"]
mod support;

use drill::event::{Event, Outcome};
use drill::field::Field;
use drill::load::Load;
use drill::tally::Who;
use front::{Front, Product};

#[derive(Parser)]
struct Options {
    /// The directory for the results. Without it nothing runs, so that a bare `cargo bench` stays short.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Parts of the events' names with commas between them; default: all.
    #[arg(long, value_delimiter = ',')]
    events: Vec<String>,
    /// Parts of the proxies' names; default: all.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// Before a Patroni cluster, and none of the above.
    #[arg(long)]
    patroni: bool,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(out) = &options.out else {
        println!("The drill takes minutes: `make drill` runs it.");
        return ExitCode::SUCCESS;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let run = || {
        let runtime = runtime.trying(|| "starting the runtime".into())?;
        let (table, name) = match options.patroni {
            true => (runtime.block_on(patroni::drill()).map(|(text, sound)| Table { text, sound })?, "patroni.md"),
            false => (runtime.block_on(compare(&options))?, "drill.md"),
        };
        std::fs::create_dir_all(out).trying(|| format!("making {}", out.display()))?;
        let file = out.join(name);
        std::fs::write(&file, &table.text).trying(|| format!("writing {}", file.display()))?;
        println!("{}", table.text);
        Ok(table.sound)
    };
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("pgweir drill: pgweir has faults (above)");
            ExitCode::FAILURE
        }
        Err::<_, pgweir::demo::Problem>(problem) => {
            eprintln!("pgweir drill: {problem}");
            ExitCode::FAILURE
        }
    }
}

struct Table {
    text: String,
    /// pgweir has no fault.
    sound: bool,
}

async fn compare(options: &Options) -> Result<Table> {
    let is_meant = |names: &[String], name: &str| names.is_empty() || names.iter().any(|part| name.contains(part));
    let mut table = Table { text: HEAD.to_owned(), sound: true };
    for product in Product::ALL.into_iter().filter(|product| is_meant(&options.proxies, product.name())) {
        let mut field = Field::open("drill", &Binaries::find()?).await;
        let front = Front::start(product, &field).await?;
        let mut load = Load::start(&field.config(front.port), product.modes()).await;
        for event in Event::ALL.into_iter().filter(|event| is_meant(&options.events, event.name())) {
            eprintln!("{}: {}", product.name(), event.name());
            tokio::time::sleep(SETTLED).await;
            let outcome = event.run(&mut field, &mut load, &|node| front.repoint(node)).await;
            table.sound &= product != Product::Pgweir || outcome.faults.is_empty();
            table.text.push_str(&row(event, product, &outcome));
        }
    }
    Ok(table)
}

/// Between two events, so that each finds a system at rest: pgweir knows for certain what reads once it has read the new
/// primary's catalog.
const SETTLED: Duration = Duration::from_secs(4);

const HEAD: &str = "| event | proxy | promoted | written again | writers | readers | idle | faults |\n\
    |---|---|---|---|---|---|---|---|\n";

/// Times are from the event; the promotion is the failover tool's and PostgreSQL's.
fn row(event: Event, product: Product, outcome: &Outcome) -> String {
    let [writers, readers, idle] = [Who::Writer, Who::Reader, Who::Idle].map(|who| outcome.tally.codes(who));
    let promoted = outcome.until_promoted.map_or_else(String::new, milliseconds);
    let written = milliseconds(outcome.until_written);
    let mut row = String::new();
    let first = outcome.faults.first().map_or("", String::as_str);
    let faults = match outcome.faults.len() {
        0 => "none".to_owned(),
        1 => first.to_owned(),
        more => format!("{more}: {first}, …"),
    };
    let _infallible = writeln!(
        row,
        "| {} | {} | {promoted} | {written} | {writers} | {readers} | {idle} | {faults} |",
        event.name(),
        product.name()
    );
    row
}

fn milliseconds(time: Duration) -> String {
    if time == Duration::MAX { "never".to_owned() } else { format!("{} ms", time.as_millis()) }
}

//! pgweir beside its peers, end to end: `make bench`.
//!
//! It starts a throw-away PostgreSQL, and before it by turns nothing, HAProxy, PgBouncer and pgweir, each afresh for each
//! round (A B C, C B A, …), and sends all of them the same load. What it prints is written to a Markdown file too. Only
//! loopback is used; whatever way it ends, nothing that it started stays.

// Cargo says `test` to a bench without a harness too, and nobody runs the tests here: `pure.rs` does.
#![cfg_attr(test, allow(dead_code, unused_imports))]

mod cases;
mod client;
mod copy;
mod measure;
mod memory;
mod numbers;
mod peers;
mod pgbench;
mod report;
mod split;
mod stage;
mod stop;
mod syscalls;
mod texts;

use cases::{Case, Choice, Work};
use clap::Parser;
use measure::{Background, Clock, load_average};
use peers::{Peer, Peers};
use pgweir::demo::{Problem, Result, Trying, run};
use report::{Figures, Row};
use stage::Stage;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use stop::Stopper;

/// Compares pgweir with its peers.
#[derive(Parser)]
struct Options {
    /// The directory for the results. Without it nothing runs, so that a bare `cargo bench` stays short.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Groups or names of cases with commas between them; default: all.
    #[arg(long, default_value = "")]
    cases: String,
    /// How often each peer runs each case.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long it runs each time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
    /// How many idle clients the memory case holds, by turns.
    #[arg(long, value_delimiter = ',', default_values_t = [2_000, 10_000])]
    idle: Vec<usize>,
    /// What cargo says to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let Some(out) = &options.out else {
        println!("The comparison with other proxies takes minutes: `make bench` runs it.");
        return ExitCode::SUCCESS;
    };
    let stop = match Stopper::install() {
        Ok(stop) => stop,
        Err(problem) => return failed(&problem, ExitCode::FAILURE),
    };
    compare(&options, out, &stop).map_or_else(|problem| failed(&problem, stop.exit_code()), |()| ExitCode::SUCCESS)
}

fn failed(problem: &Problem, code: ExitCode) -> ExitCode {
    eprintln!("pgweir bench: {problem}");
    code
}

fn compare(options: &Options, out: &Path, stop: &Stopper) -> Result<()> {
    let choice = Choice::parse(&options.cases).map_err(|unknown| {
        Problem::new(format!("choosing {unknown}"), format!("there are {}", cases::groups().join(", ")))
    })?;
    let most = options.idle.iter().max().copied().unwrap_or(0);
    memory::allow_open_files((most + OTHER_FILES) as u64);
    eprintln!("Starting PostgreSQL");
    let stage = Stage::set()?;
    let peers = Peers::find(&stage)?;
    stop.check()?;
    let background = Background::measure();
    let mut report = Report::create(out)?;
    report.add(&head(options, &stage, &peers, background))?;

    for case in &choice.cases {
        let load = load_average();
        let rows = rounds(case, options, &stage, &peers, background, stop)?;
        report.add(&report::case(case, &rows, &Peer::MEASURES, &load))?;
    }
    if choice.memory {
        report.add(&report::memory(&memory::measure(&peers, &stage, &options.idle, stop)?))?;
    }
    if choice.syscalls {
        report.add(&report::syscalls(&syscalls::measure(&peers, &stage, stop)?, syscalls::CLIENTS))?;
    }
    if choice.split {
        report.add(&split::measure(&peers, &stage, background, options.rounds, options.seconds, stop)?)?;
    }
    println!("Written to {}", report.path.display());
    Ok(())
}

/// Each peer in each round; every second round runs backwards. Who fails leaves the case, with the reason.
fn rounds(
    case: &Case,
    options: &Options,
    stage: &Stage,
    peers: &Peers,
    background: Background,
    stop: &Stopper,
) -> Result<Vec<Row>> {
    let barred = |peer| peers.barred(peer, case).map(str::to_owned);
    let row = |peer: Peer| Row { peer: peer.name(), rounds: Vec::new(), note: barred(peer) };
    let mut rows: Vec<(Peer, Row)> = Peer::ALL.map(|peer| (peer, row(peer))).into();
    for round in 1..=options.rounds {
        for (peer, row) in &mut rows {
            if row.note.is_some() {
                row.rounds.push(None);
                continue;
            }
            stage.settle();
            let figures = once(case, *peer, options.seconds, stage, peers, background, stop);
            stop.check()?;
            tell(case, round, *peer, &figures);
            row.note = figures.as_ref().err().map(text_of);
            row.rounds.push(figures.ok());
        }
        rows.reverse();
    }
    rows.sort_by_key(|(peer, _)| Peer::ALL.iter().position(|other| other == peer));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn once(
    case: &Case,
    peer: Peer,
    seconds: u64,
    stage: &Stage,
    peers: &Peers,
    background: Background,
    stop: &Stopper,
) -> Result<Figures> {
    let running = peers.start(peer, stage, case.tls)?;
    let clock = Clock::of(running.pid(), background);
    let clock = if case.keeps_connections() { clock.and_server(stage.postgres_pid()) } else { clock };
    match case.work {
        Work::CopyIn | Work::CopyOut => copy::measure(stage, case, running.port, clock, seconds, stop),
        _ => pgbench::measure(stage, case, running.port, clock, seconds, stop),
    }
}

fn tell(case: &Case, round: u32, peer: Peer, figures: &Result<Figures>) {
    let said = match figures {
        Ok(Figures { cpu: Some(cpu), tps, .. }) => format!("{} tps, {} µs", numbers::plain(*tps), numbers::plain(*cpu)),
        Ok(Figures { tps, .. }) => format!("{} tps", numbers::plain(*tps)),
        Err(problem) => text_of(problem),
    };
    eprintln!("{}, round {round}: {}: {said}", case.name(), peer.name());
}

fn text_of(problem: &Problem) -> String {
    problem.to_string().trim_end().to_owned()
}

fn head(options: &Options, stage: &Stage, peers: &Peers, background: Background) -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let (cores, model) =
        (std::thread::available_parallelism().map_or(0, usize::from), model.map_or("", |(_, name)| name));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions = peers.versions().into_iter().map(|line| format!("- {line}\n")).collect::<String>();
    format!(
        "# pgweir beside its peers\n\n\
         Median of {} rounds of {} s each, the range in parentheses. All pools have 20 servers; HAProxy pools nothing and \
         relays bytes with one thread, TLS as it is. With `-C` the latencies are those of the transaction alone; its login \
         is in tps and CPU, and the passwords in clear decide much of it: a proxy may derive its SCRAM verifier once for \
         each user or again at each login. Where others are at work at the start, what the whole machine used is left out. \
         \"All\" is pgbench, the proxy and every process of PostgreSQL together.\n\n\
         - {cores} cores, {model}, Linux {}\n\
         - pgweir {}, PostgreSQL {}\n{versions}\
         - at rest the machine uses {:.2} cores; load average {}\n\n",
        options.rounds,
        options.seconds,
        kernel.trim(),
        env!("CARGO_PKG_VERSION"),
        stage.postgres_major(),
        background.cores(),
        load_average(),
    )
}

/// The Markdown file, which grows section by section: a run that is stopped leaves what it has.
struct Report {
    file: File,
    path: PathBuf,
}

impl Report {
    fn create(dir: &Path) -> Result<Report> {
        std::fs::create_dir_all(dir).trying(|| format!("making {}", dir.display()))?;
        let path = dir.join(format!("{}.md", run(Command::new("date").arg("+%Y%m%d-%H%M%S"), "")?));
        let file = File::create(&path).trying(|| format!("making {}", path.display()))?;
        Ok(Report { file, path })
    }

    fn add(&mut self, section: &str) -> Result<()> {
        print!("{section}");
        self.file.write_all(section.as_bytes()).trying(|| format!("writing {}", self.path.display()))
    }
}

/// Beyond the idle clients': the servers', logs, and what the process has open.
const OTHER_FILES: usize = 1_000;

//! One run of pgbench, measured between two of its progress lines: logins and warm-up stay out.
//!
//! pgbench counts its logins into `--time`, so that hundreds of clients might never begin. It is therefore given more
//! than it needs and told by SIGALRM, which is its own timer's signal, when we have seen enough.

use super::cases::{Case, Protocol, Work};
use super::measure::{Clock, Reading};
use super::report::Figures;
use super::stage::Stage;
use super::stop::Stopper;
use super::texts::{Progress, logged};
use pgweir::demo::{Problem, Process, Result, Trying};
use rustix::process::Signal;
use std::fs::{read_dir, read_to_string, remove_file};
use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Runs the case for about so many seconds against a port.
pub fn measure(stage: &Stage, case: &Case, port: u16, clock: Clock, seconds: u64, stop: &Stopper) -> Result<Figures> {
    let mut command = stage.pgbench(port, case.tls);
    command.args(["--no-vacuum", "--progress=1", "--progress-timestamp", "--log", "--log-prefix=transactions"]);
    command.args(["--sampling-rate", case.sampling(), "--client", &case.clients.to_string()]);
    let limit = Duration::from_secs(seconds) + PATIENCE;
    command.args(["--jobs", &case.clients.min(2).to_string(), "--time", &limit.as_secs().to_string()]);
    work(&mut command, case, stage)?;
    let warm_up = case.warm_up_lines();
    let enough = |lines: &[(Progress, Reading)]| {
        let ends = lines.get(warm_up).zip(lines.last());
        ends.is_some_and(|((first, _), (last, _))| last.at - first.at >= seconds as f64 - TIMER_JITTER)
    };
    let lines = attend(stage, &mut command, clock, limit, enough, stop);
    // Also a failed run's logs go.
    let logs = take_logs(stage)?;
    let lines = lines?;
    let lines = lines.get(warm_up..).unwrap_or_default();
    let (Some((first, from)), Some((last, to))) = (lines.first(), lines.last()) else {
        return Err(Problem::new("measuring pgbench", "it told no progress"));
    };
    let transactions = lines.windows(2).map(|pair| pair[1].0.tps * (pair[1].0.at - pair[0].0.at)).sum::<f64>();
    if transactions < 1.0 {
        return Err(Problem::new("measuring pgbench", "it got nothing done"));
    }
    let within = |(at, _): &(f64, f64)| (first.at..last.at).contains(at);
    let latencies = logs.iter().flat_map(|log| log.lines().filter_map(logged)).filter(within).map(|(_, us)| us / 1e3);
    Ok(clock.between(from, to).figures(transactions, latencies.collect()))
}

/// Runs a given number of transactions for each client to the end.
pub fn transact(stage: &Stage, port: u16, mode: Protocol, clients: u32, each: u32, stop: &Stopper) -> Result<()> {
    let mut command = stage.pgbench(port, false);
    command.args(["--no-vacuum", "--select-only", "--protocol", mode.word(), "--client", &clients.to_string()]);
    command.args(["--transactions", &each.to_string()]);
    attend(stage, &mut command, Clock::none(), PATIENCE, |_| false, stop).map(drop)
}

fn work(command: &mut Command, case: &Case, stage: &Stage) -> Result<()> {
    match case.work {
        Work::Select(protocol) => command.args(["--select-only", "--protocol", protocol.word()]),
        Work::TpcB => command.arg("--builtin=tpcb-like"),
        Work::Large(statement) => command.arg("--file").arg(stage.write("large.sql", statement)?),
        Work::Connect => command.args(["--select-only", "--connect"]),
        Work::CopyIn | Work::CopyOut => return Err(Problem::new("running pgbench", "it knows no COPY")),
    };
    Ok(())
}

/// Runs pgbench to its end; its progress lines, each with the clocks at the moment in which it was read.
fn attend(
    stage: &Stage,
    command: &mut Command,
    clock: Clock,
    limit: Duration,
    enough: impl Fn(&[(Progress, Reading)]) -> bool,
    stop: &Stopper,
) -> Result<Vec<(Progress, Reading)>> {
    let (reader, writer) = pipe().trying(|| "making a pipe".into())?;
    let mut pgbench = stage.spawn(command.stdout(Stdio::null()).stderr(writer))?;
    let clock = clock.and_client(pgbench.id());
    // Our copies of the writing end go, or the end of pgbench would not be seen.
    command.stderr(Stdio::null());
    let (lines, told) = channel();
    let reader = std::thread::spawn(move || read(reader, clock, &lines));
    let told = until_closed(&mut pgbench, &told, Instant::now() + limit, enough, stop);
    if told.is_err() {
        pgbench.stop(Signal::TERM, KILL_AFTER);
    }
    let said = reader.join().map_err(|_| Problem::new("reading what pgbench says", "it panicked"))?;
    // A stop or a limit is the cause of the bad end that follows it.
    told.and_then(|told| finish(pgbench, &said).map(|()| told))
}

/// Sends progress lines on at once; gives back the others at the end.
fn read(pipe: PipeReader, clock: Clock, lines: &Sender<(Progress, Reading)>) -> Vec<String> {
    let mut others = Vec::new();
    for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
        match Progress::parse(&line) {
            Some(progress) => drop(lines.send((progress, clock.read())).ok()),
            None => others.push(line),
        }
    }
    others
}

fn until_closed(
    pgbench: &mut Process,
    lines: &Receiver<(Progress, Reading)>,
    deadline: Instant,
    enough: impl Fn(&[(Progress, Reading)]) -> bool,
    stop: &Stopper,
) -> Result<Vec<(Progress, Reading)>> {
    let mut all = Vec::new();
    loop {
        stop.check()?;
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                all.push(line);
                if enough(&all) {
                    pgbench.signal(Signal::ALARM);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(all),
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(RecvTimeoutError::Timeout) => return Err(Problem::new("running pgbench", "it does not end")),
        }
    }
}

/// Its standard error is closed, so it ends in this moment.
fn finish(mut pgbench: Process, said: &[String]) -> Result<()> {
    pgweir::demo::wait_until(KILL_AFTER, || pgbench.ended().is_some());
    match pgbench.ended() {
        Some(status) if status.success() => Ok(()),
        status => {
            let status = status.map_or_else(|| "it does not end".to_owned(), |status| status.to_string());
            let first = said.iter().find(|line| line.contains("error") || line.contains("ERROR"));
            Err(Problem::new("running pgbench", format!("{status}: {}", first.or(said.last()).map_or("", |line| line))))
        }
    }
}

/// Reads and removes pgbench's logs: a file for each of its threads.
fn take_logs(stage: &Stage) -> Result<Vec<String>> {
    let entries = read_dir(stage.work_dir()).trying(|| "listing pgbench's logs".into())?;
    let is_log =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("transactions."));
    let paths = entries.flatten().map(|entry| entry.path()).filter(is_log);
    let take = |path: PathBuf| {
        let text = read_to_string(&path);
        text.and_then(|text| remove_file(&path).map(|()| text)).trying(|| format!("reading {}", path.display()))
    };
    paths.map(take).collect()
}

/// For logins by the hundred, and for the last transactions.
const PATIENCE: Duration = Duration::from_secs(60);
const KILL_AFTER: Duration = Duration::from_secs(3);
/// Progress comes each second, by pgbench's clock.
const TIMER_JITTER: f64 = 0.3;
const POLL: Duration = Duration::from_millis(50);

//! COPY both ways by the bench's own client: 10,000 rows of 100 B for each transaction. What comes in is read, parsed and
//! then dropped by the server (`WHERE false`), so that no round is slower for what those before it left.

use super::cases::{Case, Work};
use super::client::{Client, copy_data};
use super::measure::Clock;
use super::report::Figures;
use super::stage::Stage;
use super::stop::Stopper;
use pgweir::demo::{Problem, Result, Trying};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One finished transaction: its end, and how long it took.
type Done = (Instant, Duration);

pub fn measure(stage: &Stage, case: &Case, port: u16, clock: Clock, seconds: u64, stop: &Stopper) -> Result<Figures> {
    let login = stage.login(port, case.tls);
    let logins =
        (0..case.clients as usize).map(|number| Client::login(&login, number)).collect::<std::io::Result<Vec<_>>>();
    let clients = logins.trying(|| "logging in".into())?;
    let data = if case.work == Work::CopyIn { copy_data(ROWS, &row()) } else { Vec::new() };
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (data, over) = (&data, &over);
        let threads: Vec<_> =
            clients.into_iter().map(|client| scope.spawn(move || repeat(client, data, over))).collect();
        let watched = watch(clock, seconds, stop);
        over.store(true, Ordering::Relaxed);
        let done: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        let (from, to, cost) = watched?;
        let mut latencies = Vec::new();
        for done in done {
            let done = done.map_err(|_| Problem::new("copying", "it panicked"))?.trying(|| "copying".into())?;
            let within = done.iter().filter(|(end, _)| (from..to).contains(end));
            latencies.extend(within.map(|(_, took)| took.as_secs_f64() * 1e3));
        }
        if latencies.is_empty() {
            return Err(Problem::new("copying", "nothing got done"));
        }
        Ok(cost.figures(latencies.len() as f64, latencies))
    })
}

/// After a second of warm-up.
fn watch(clock: Clock, seconds: u64, stop: &Stopper) -> Result<(Instant, Instant, super::measure::Cost)> {
    stop.within(Duration::from_secs(1))?;
    let (from, before) = (Instant::now(), clock.read());
    stop.within(Duration::from_secs(seconds))?;
    let (to, after) = (Instant::now(), clock.read());
    Ok((from, to, clock.between(&before, &after)))
}

/// Copies in where there is data, else out.
fn repeat(mut client: Client, data: &[u8], over: &AtomicBool) -> std::io::Result<Vec<Done>> {
    let mut done = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        match data {
            [] => client.query(OUT)?,
            data => client.copy_in(IN, data)?,
        }
        done.push((Instant::now(), began.elapsed()));
    }
    Ok(done)
}

fn row() -> String {
    format!("{}\n", "x".repeat(99))
}

const ROWS: usize = 10_000;
const OUT: &str = "COPY (SELECT repeat('x', 99) FROM generate_series(1, 10000)) TO STDOUT";
const IN: &str = "COPY copied FROM STDIN WHERE false";

//! What a stretch of load cost: CPU time to the nanosecond of the proxy, and of all that took part, of the machine in
//! ticks, and latencies.

use super::numbers::percentile;
use super::report::Figures;
use super::texts::{busy_ticks, nanoseconds_run, private_bytes};
use std::fs::{read_dir, read_to_string};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Reads the clocks of one peer.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pid: Option<u32>,
    /// The server's first process, whose children are its backends.
    server: Option<u32>,
    client: Option<u32>,
    background: Background,
}

/// What the machine does without us: CPU seconds for each second. Where that is much, others are at work, and what the
/// whole machine used says nothing about us.
#[derive(Debug, Clone, Copy)]
pub struct Background(f64);

#[derive(Debug, Clone, Copy)]
pub struct Reading {
    at: Instant,
    proxy: Option<u64>,
    all: Option<u64>,
    ticks: u64,
}

/// Between two readings.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    /// µs; None where there is no proxy.
    proxy: Option<f64>,
    /// µs of the client, the proxy and the server; None where they do not live all the time.
    all: Option<f64>,
    /// µs, less the background; None where others were at work.
    machine: Option<f64>,
}

impl Background {
    /// Watches the machine while nothing of ours works.
    pub fn measure() -> Background {
        let (at, before) = (Instant::now(), ticks());
        std::thread::sleep(BACKGROUND_FOR);
        Background(seconds_between(before, ticks()) / at.elapsed().as_secs_f64())
    }

    pub fn cores(&self) -> f64 {
        self.0
    }
}

impl Clock {
    pub fn of(pid: Option<u32>, background: Background) -> Clock {
        Clock { pid, server: None, client: None, background }
    }

    /// Of a server, too, and of the client that is yet to start.
    pub fn and_server(self, server: Option<u32>) -> Clock {
        Clock { server, ..self }
    }

    pub fn and_client(self, client: u32) -> Clock {
        Clock { client: Some(client), ..self }
    }

    /// Where only the run itself is wanted.
    pub fn none() -> Clock {
        Clock::of(None, Background(0.0))
    }

    pub fn read(&self) -> Reading {
        let proxy = self.pid.map(cpu_nanoseconds);
        let all = self.server.zip(self.client).map(|(server, client)| {
            let backends: u64 = children(server).into_iter().map(cpu_nanoseconds).sum();
            proxy.unwrap_or(0) + cpu_nanoseconds(client) + cpu_nanoseconds(server) + backends
        });
        Reading { at: Instant::now(), proxy, all, ticks: ticks() }
    }

    pub fn between(&self, from: &Reading, to: &Reading) -> Cost {
        let seconds = (to.at - from.at).as_secs_f64();
        let busy = seconds_between(from.ticks, to.ticks);
        let passed = |(from, to): (u64, u64)| to.saturating_sub(from) as f64 / 1e3;
        let (proxy, all) = (from.proxy.zip(to.proxy).map(passed), from.all.zip(to.all).map(passed));
        let alone = self.background.0 <= QUIET;
        Cost { seconds, proxy, all, machine: alone.then_some((busy - self.background.0 * seconds) * 1e6) }
    }
}

impl Cost {
    /// For each of so many transactions; the latencies are in milliseconds, in any order.
    pub fn figures(&self, transactions: f64, mut latencies: Vec<f64>) -> Figures {
        latencies.sort_by(f64::total_cmp);
        let percentile = |share| percentile(&latencies, share).filter(|_| latencies.len() >= FEWEST);
        Figures {
            cpu: self.proxy.map(|proxy| proxy / transactions),
            all: self.all.map(|all| all / transactions),
            machine: self.machine.map(|machine| machine / transactions),
            tps: transactions / self.seconds,
            p50: percentile(0.5),
            p99: percentile(0.99),
        }
    }
}

/// The sum over all threads that live; a proxy's threads live as long as it does. The kernel brings the sum of a running
/// thread up to date at each of its ticks and switches, thus every few milliseconds.
fn cpu_nanoseconds(pid: u32) -> u64 {
    let tasks = read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let run = |task: PathBuf| nanoseconds_run(&read_to_string(task.join("schedstat")).ok()?);
    tasks.filter_map(|task| run(task.path())).sum()
}

/// Its children of this moment; those that come and go are not in the sums.
fn children(pid: u32) -> Vec<u32> {
    let list = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub fn private_bytes_of(pid: u32) -> u64 {
    private_bytes(&read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default())
}

/// Over one, five and fifteen minutes.
pub fn load_average() -> String {
    read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn ticks() -> u64 {
    read_to_string("/proc/stat").ok().and_then(|stat| busy_ticks(&stat)).unwrap_or(0)
}

fn seconds_between(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / TICKS_PER_SECOND
}

/// USER_HZ is 100 wherever this runs.
const TICKS_PER_SECOND: f64 = 100.0;
/// A tenth of a core.
const QUIET: f64 = 0.1;
const BACKGROUND_FOR: Duration = Duration::from_secs(2);
/// A 99th percentile of less is an accident.
const FEWEST: usize = 100;

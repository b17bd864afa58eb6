//! What a stretch of load cost: CPU time of the proxy to the nanosecond, of the machine in ticks, and latencies.

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
    ticks: u64,
}

/// Between two readings.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub seconds: f64,
    /// µs; None where there is no proxy.
    proxy: Option<f64>,
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
        Clock { pid, background }
    }

    /// Where only the run itself is wanted.
    pub fn none() -> Clock {
        Clock { pid: None, background: Background(0.0) }
    }

    pub fn read(&self) -> Reading {
        Reading { at: Instant::now(), proxy: self.pid.map(cpu_nanoseconds), ticks: ticks() }
    }

    pub fn between(&self, from: &Reading, to: &Reading) -> Cost {
        let seconds = (to.at - from.at).as_secs_f64();
        let busy = seconds_between(from.ticks, to.ticks);
        let proxy = from.proxy.zip(to.proxy).map(|(from, to)| to.saturating_sub(from) as f64 / 1e3);
        let alone = self.background.0 <= QUIET;
        Cost { seconds, proxy, machine: alone.then_some((busy - self.background.0 * seconds) * 1e6) }
    }
}

impl Cost {
    /// For each of so many transactions; the latencies are in milliseconds, in any order.
    pub fn figures(&self, transactions: f64, mut latencies: Vec<f64>) -> Figures {
        latencies.sort_by(f64::total_cmp);
        let percentile = |share| percentile(&latencies, share).filter(|_| latencies.len() >= FEWEST);
        Figures {
            cpu: self.proxy.map(|proxy| proxy / transactions),
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

//! The workers: one thread each, and on each a runtime of its own with its own driver.
//!
//! All that a client does is done on its worker: its login, its dials, the cleaning of its server. Servers follow
//! (`pool::home`). So a steady transaction wakes no other thread, where tokio's runtime of many threads wakes one for
//! what another one's driver saw, and moves tasks between them at any time. A client moves only between two
//! transactions, when its worker is full (`balance`).
//!
//! The first worker is the main thread. What the process does besides lives there too: listeners, signals, reloads, the
//! janitor, probes. All of that together is less than a thousandth of a core, and a thread of its own would be woken
//! for each accepted socket only to wake the next one. With one worker there is no other thread at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::balance::{self, Load};
use crate::pool::home::{self, Calls, Home};

/// The workers, as clients are given to them.
pub struct Crew {
    workers: Vec<Worker>,
    looks: Mutex<Looks>,
}

/// One worker.
pub struct Worker {
    handle: Handle,
    clients: TaskTracker,
    calls: Calls,
    /// The kernel's account of the thread; None where the kernel keeps none.
    account: Option<File>,
}

/// What was seen of each worker so far.
struct Looks {
    at: Instant,
    /// CPU time until then, in nanoseconds.
    spent: Vec<u64>,
    loads: Vec<Load>,
}

/// The threads beside the main one. They stop when told to, and are waited for.
pub struct Others {
    stop: CancellationToken,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// A worker's runtime.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Starts all workers but the first, which is the calling thread with this runtime. A blocking call that is still under
/// way when they stop is given `patience`.
pub fn start(count: usize, first: &Runtime, patience: Duration) -> io::Result<(Arc<Crew>, Others)> {
    let mut others = Others { stop: CancellationToken::new(), threads: Vec::new() };
    let mut workers = vec![Worker::begin(Home::default(), first.handle())];
    for number in 1..u16::try_from(count).unwrap_or(u16::MAX) {
        let runtime = runtime()?;
        let stop = others.stop.clone();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            let _ = tell.send(Worker::begin(Home(number), runtime.handle()));
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(patience);
        };
        others.threads.push(std::thread::Builder::new().name(format!("pgweir-{number}")).spawn(work)?);
        workers.push(told.recv().map_err(io::Error::other)?);
    }
    let loads = vec![Load::default(); workers.len()];
    let looks = Looks { at: Instant::now(), spent: vec![0; workers.len()], loads };
    Ok((Arc::new(Crew { workers, looks: Mutex::new(looks) }), others))
}

impl Others {
    /// Their tasks go no further, wherever they are. Ends when the threads have.
    pub fn stop(self) {
        self.stop.cancel();
        for thread in self.threads {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl Crew {
    /// The worker for a client that may go anywhere. Where the kernel keeps no account of threads, the one with the
    /// fewest clients.
    pub fn place(&self) -> &Worker {
        let at = match self.workers.iter().all(|worker| worker.account.is_some()) {
            true => balance::place(&self.looks.lock().loads),
            false => (0..self.workers.len()).min_by_key(|&at| self.workers[at].clients.len()).unwrap_or(0),
        };
        &self.workers[at]
    }

    pub fn at(&self, home: Home) -> &Worker {
        self.workers.get(usize::from(home.0)).unwrap_or(&self.workers[0])
    }

    /// Looks at what the workers do, and calls clients away from those that are full. To be done again and again.
    pub fn balance(&self) {
        if self.workers.len() == 1 {
            return;
        }
        let shares = self.shares(Instant::now());
        self.call_away(&shares);
    }

    /// What part of the time since the last look each worker had a CPU.
    fn shares(&self, now: Instant) -> Vec<f64> {
        let mut looks = self.looks.lock();
        let passed = now.duration_since(std::mem::replace(&mut looks.at, now)).as_nanos().max(1) as f64;
        let since = |(worker, spent): (&Worker, &mut u64)| {
            let until = worker.cpu_nanoseconds().unwrap_or(0);
            until.saturating_sub(std::mem::replace(spent, until)) as f64 / passed
        };
        self.workers.iter().zip(&mut looks.spent).map(since).collect()
    }

    fn call_away(&self, shares: &[f64]) {
        let loads = &mut self.looks.lock().loads;
        for ((worker, load), share) in self.workers.iter().zip(&mut *loads).zip(shares) {
            load.clients = worker.clients.len();
            load.seen(*share);
        }
        for (at, worker) in self.workers.iter().enumerate() {
            worker.calls.store(balance::surplus(loads, at), Ordering::Relaxed);
        }
    }

    /// Ends when no worker has a client any more. Cancel-safe.
    pub async fn all_gone(&self) {
        self.workers.iter().for_each(|worker| _ = worker.clients.close());
        loop {
            for worker in &self.workers {
                worker.clients.wait().await;
            }
            // One may have moved on to a worker that had none.
            if self.workers.iter().all(|worker| worker.clients.is_empty()) {
                return;
            }
        }
    }
}

impl Worker {
    /// Called on the worker's own thread.
    fn begin(home: Home, handle: &Handle) -> Worker {
        let calls = Calls::default();
        home::settle(home, Arc::clone(&calls));
        let account = File::open("/proc/thread-self/schedstat").ok();
        Worker { handle: handle.clone(), clients: TaskTracker::new(), calls, account }
    }

    /// Runs a part of a client's life on this worker. May be called on any.
    pub fn attend(&self, life: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn_on(life, &self.handle);
    }

    /// CPU time of its thread so far.
    fn cpu_nanoseconds(&self) -> Option<u64> {
        let mut text = [0; 64];
        let len = self.account.as_ref()?.read_at(&mut text, 0).ok()?;
        std::str::from_utf8(&text[..len]).ok()?.split(' ').next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn a_client_lives_on_its_worker() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(3, &first, PATIENCE).expect("workers");
        let (tell, told) = mpsc::channel();
        for (number, worker) in crew.workers.iter().enumerate() {
            let (tell, at) = (tell.clone(), Home(number as u16));
            worker.attend(async move {
                let before = home::here();
                tokio::task::yield_now().await;
                let _ = tell.send(before == at && home::here() == at);
            });
        }
        first.block_on(crew.all_gone());
        assert!((0..3).all(|_| told.recv_timeout(Duration::from_secs(5)) == Ok(true)));
        others.stop();
    }

    /// However little of it a busy machine gives: the kernel accounts for the time that a worker had a CPU.
    #[test]
    fn a_worker_that_works_is_seen() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(2, &first, PATIENCE).expect("workers");
        let began = Instant::now();
        crew.shares(began);
        let (mut worked, mut turns) = (0.0, 0u64);
        while worked < 0.02 {
            turns = std::hint::black_box(turns + 1);
            if turns.is_multiple_of(1 << 20) {
                let at = crew.looks.lock().at;
                let now = Instant::now();
                let [busy, idle] = crew.shares(now)[..] else { panic!("two workers") };
                worked += busy * now.duration_since(at).as_secs_f64();
                assert!(idle < 0.5, "the other one sleeps: {idle}");
                assert!(began.elapsed() < Duration::from_secs(60), "{worked} s of CPU time were seen");
            }
        }
        others.stop();
    }

    #[test]
    fn clients_are_called_away_from_a_full_worker() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(2, &first, PATIENCE).expect("workers");
        let full = crew.place();
        assert!(std::ptr::eq(full, &crew.workers[0]), "clients gather on the first");
        for _ in 0..9 {
            full.attend(std::future::pending());
        }
        (0..100).for_each(|_| crew.call_away(&[0.95, 0.0]));
        assert!(std::ptr::eq(crew.place(), &crew.workers[1]));
        assert_eq!((0..9).filter(|_| home::is_called_away()).count(), 4);
        others.stop();
    }

    /// A task that is stopped is dropped on its worker's thread, so that what it held is closed by the end of `stop`.
    #[test]
    fn stopping_drops_what_the_workers_held() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(2, &first, PATIENCE).expect("workers");
        let held = Arc::new(());
        let life = Arc::clone(&held);
        crew.workers[1].attend(async move {
            std::future::pending::<()>().await;
            drop(life);
        });
        others.stop();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

//! The workers: one thread each, and on each a runtime of its own with its own driver.
//!
//! A client is given to the worker with the fewest clients and stays there for life, and so does all that it does: its
//! login, its dials, the cleaning of its server. Servers follow (`pool::home`). So a steady transaction wakes no other
//! thread, where tokio's runtime of many threads wakes one for what another one's driver saw, and moves tasks
//! between them. The price is that nothing moves: a worker whose clients are busy has no help from one whose clients rest.
//!
//! The first worker is the main thread. What the process does besides lives there too: listeners, signals, reloads, the
//! janitor, probes. All of that together is less than a thousandth of a core, and a thread of its own would be woken
//! for each accepted socket only to wake the next one. With one worker there is no other thread at all.

use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pool::home::{self, Home};

/// The runtimes of all workers, as their clients are given to them.
#[derive(Clone)]
pub struct Crew(Vec<Worker>);

/// Where a client can live.
#[derive(Clone)]
pub struct Worker {
    home: Home,
    handle: Handle,
    clients: TaskTracker,
}

/// What runs beside the main thread. They stop when told to, and are waited for.
pub struct Others {
    stop: CancellationToken,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// A worker's runtime.
pub fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Starts all workers but the first, which is the caller with this runtime. A blocking call that is still under way
/// when they stop is given `patience`.
pub fn start(count: usize, first: &Runtime, patience: Duration) -> std::io::Result<(Crew, Others)> {
    let mut others = Others { stop: CancellationToken::new(), threads: Vec::new() };
    let mut crew = Crew(vec![Worker::new(home::here(), first.handle())]);
    for number in 1..u16::try_from(count).unwrap_or(u16::MAX) {
        let runtime = runtime()?;
        crew.0.push(Worker::new(Home(number), runtime.handle()));
        let stop = others.stop.clone();
        let work = move || {
            home::settle(Home(number));
            runtime.block_on(stop.cancelled());
            runtime.shutdown_timeout(patience);
        };
        others.threads.push(std::thread::Builder::new().name(format!("pgweir-{number}")).spawn(work)?);
    }
    Ok((crew, others))
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
    /// The one with the fewest clients.
    pub fn freest(&self) -> Option<&Worker> {
        self.0.iter().min_by_key(|worker| worker.clients.len())
    }

    /// Ends when no worker has a client any more. Cancel-safe.
    pub async fn all_gone(&self) {
        for Worker { clients, .. } in &self.0 {
            clients.close();
            clients.wait().await;
        }
    }
}

impl Worker {
    fn new(home: Home, handle: &Handle) -> Worker {
        Worker { home, handle: handle.clone(), clients: TaskTracker::new() }
    }

    pub fn home(&self) -> Home {
        self.home
    }

    /// Runs a part of a client's life on this worker. May be called on any.
    pub fn attend(&self, life: impl Future<Output = ()> + Send + 'static) {
        self.clients.spawn_on(life, &self.handle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use tokio::sync::Notify;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn clients_are_spread_evenly_and_stay_where_they_are() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(3, &first, PATIENCE).expect("workers");
        let (tell, told) = mpsc::channel();
        let leave = Arc::new(Notify::new());
        for _ in 0..9 {
            let (tell, leave) = (tell.clone(), Arc::clone(&leave));
            let worker = crew.freest().expect("one of three");
            let at = worker.home();
            worker.attend(async move {
                let before = home::here();
                tokio::task::yield_now().await;
                let _ = tell.send(before == at && home::here() == at);
                leave.notified().await;
            });
        }
        let lengths: Vec<usize> = crew.0.iter().map(|worker| worker.clients.len()).collect();
        assert_eq!(lengths, [3, 3, 3]);
        first.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
        assert!((0..9).all(|_| told.recv_timeout(Duration::from_secs(5)) == Ok(true)));
        leave.notify_waiters();
        first.block_on(crew.all_gone());
        others.stop();
    }

    /// A task that is stopped is dropped on its worker's thread, so that what it held is closed by the end of `stop`.
    #[test]
    fn stopping_drops_what_the_workers_held() {
        let first = runtime().expect("a runtime");
        let (crew, others) = start(2, &first, PATIENCE).expect("workers");
        let held = Arc::new(());
        for worker in &crew.0[1..] {
            let held = Arc::clone(&held);
            worker.attend(async move {
                std::future::pending::<()>().await;
                drop(held);
            });
        }
        others.stop();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

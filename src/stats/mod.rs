//! What was counted: plain atomics, the only truth. The console and the metrics both print a [`Snapshot`], which is made
//! from these counters and from what lives at the moment (`client::survey`).
//!
//! A client counts into the shard of its thread (`shard`), by pool and server (`meter`), when its state changes: an
//! instant that it takes anyway. Nothing here is read on a client's way.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

pub mod export;
pub mod histogram;
pub mod machine;
pub mod meter;
pub mod rare;
mod shard;
pub mod snapshot;
mod tally;
pub mod totals;

pub use meter::{Meter, Prepares, Shares, Traffic, Wait};
pub use snapshot::Snapshot;
pub use tally::{NOWHERE, Tally};

use rare::{Codes, Named};
use totals::{Averages, Looks, Totals};

/// All books of the process.
pub struct Stats {
    /// By database and server user.
    tallies: Mutex<HashMap<(String, String), Arc<Tally>>>,
    process: Arc<Process>,
    started: SystemTime,
    period: Mutex<Period>,
}

/// What belongs to no pool.
#[derive(Default)]
pub struct Process {
    /// Errors that clients were told, by SQLSTATE: the proxy's own, and servers'.
    pub own_errors: Codes,
    pub server_errors: Codes,
    /// By the error's label.
    pub logins_failed: Named,
    pub cancels: Cancels,
}

#[derive(Default)]
pub struct Cancels {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Cancels {
    /// A client asked for one.
    pub fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    /// It went on to a server.
    pub fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were received, and sent on.
    pub fn counted(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }
}

/// When the last two looks were taken.
#[derive(Clone, Copy)]
struct Period {
    earlier: Instant,
    later: Instant,
}

impl Default for Stats {
    fn default() -> Stats {
        let now = Instant::now();
        Stats {
            tallies: Mutex::default(),
            process: Arc::default(),
            started: SystemTime::now(),
            period: Mutex::new(Period { earlier: now, later: now }),
        }
    }
}

impl Stats {
    /// The books of a pool in front of these servers: its own from before, if there are any.
    pub fn tally(&self, database: &str, user: &str, addresses: &[String]) -> Arc<Tally> {
        let mut tallies = self.tallies.lock();
        let key = (database.to_owned(), user.to_owned());
        let tally = match tallies.get(&key) {
            Some(tally) if tally.is_of(addresses) => return Arc::clone(tally),
            Some(tally) => Arc::new(tally.moved(addresses)),
            None => Arc::new(Tally::new(database, user, addresses, &self.process)),
        };
        tallies.insert(key, Arc::clone(&tally));
        tally
    }

    /// In the order of their names.
    pub fn tallies(&self) -> Vec<Arc<Tally>> {
        let mut all: Vec<_> = self.tallies.lock().values().cloned().collect();
        all.sort_by(|a, b| (a.database(), a.user()).cmp(&(b.database(), b.user())));
        all
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Over how long averages are taken now.
    pub fn averaged_over(&self) -> Duration {
        self.period.lock().earlier.elapsed()
    }

    /// Forgets books that no pool has any more, but for databases that are `named` in the config.
    pub fn sweep(&self, named: impl Fn(&str) -> bool) {
        self.tallies.lock().retain(|(database, _), tally| Arc::strong_count(tally) > 1 || named(database));
    }

    /// Whether one `stats_period` is over since the last turn.
    pub fn is_due(&self, period: Duration) -> bool {
        self.period.lock().later.elapsed() >= period
    }

    /// A `stats_period` is over: the averages of all pools together over it.
    pub fn turn(&self) -> Averages {
        let passed = {
            let mut period = self.period.lock();
            *period = Period { earlier: period.later, later: Instant::now() };
            period.later.duration_since(period.earlier)
        };
        let tallies = self.tallies();
        tallies.iter().for_each(|tally| tally.turn());
        let looks: Vec<Looks> = tallies.iter().map(|tally| tally.looks()).collect();
        let later = Totals::sum(looks.iter().map(|looks| &looks.later));
        later.averages(&Totals::sum(looks.iter().map(|looks| &looks.earlier)), passed)
    }
}

/// PgBouncer's line of each `stats_period`.
pub fn line(averages: &Averages) -> String {
    format!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, \
         in {} B/s, out {} B/s, xact {} us, query {} us, wait {} us",
        averages.transactions,
        averages.queries,
        averages.client_parses,
        averages.server_parses,
        averages.binds,
        averages.received,
        averages.sent,
        averages.transaction_time,
        averages.query_time,
        averages.wait_time,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_comes_back_finds_its_books() {
        let stats = Stats::default();
        let list = ["a".to_owned()];
        stats.tally("shop", "ann", &list).at(0).here().transaction(7);
        assert!(stats.tally("shop", "bob", &list).totals() == Totals::default());
        stats.sweep(|database| database == "shop");
        assert_eq!(stats.tally("shop", "ann", &list).totals().transactions.sum, 7);
        assert_eq!(stats.tally("shop", "ann", &[]).totals().transactions.sum, 7);
        stats.sweep(|_| false);
        assert!(stats.tallies().is_empty());
    }

    #[test]
    fn a_turn_is_what_came_since_the_last_one() {
        let stats = Stats::default();
        let tally = stats.tally("shop", "ann", &["a".to_owned()]);
        tally.at(0).here().query(30);
        assert_eq!(stats.turn().query_time, 30);
        assert_eq!(stats.turn().query_time, 0);
        assert!(line(&stats.turn()).starts_with("stats: 0 xacts/s, 0 queries/s"));
    }
}

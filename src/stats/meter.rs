//! What one pool did on one server: the counters that clients bump as they go.
//!
//! They are bumped when a state ends, out of instants that the client takes anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::{BUCKETS, Histogram, bucket};
use super::shard::{Here, Shards};
use super::totals::{Totals, Unshared, Waits};

/// Why a client waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wait {
    /// A limit that pools share is reached (max_db_connections, max_user_connections).
    Capped = 0,
    /// A connection is on its way, or its server may not be dialled again yet.
    Connect,
    /// A read waits for a standby to be new enough.
    Freshness,
    /// No server is known to be the primary.
    NoPrimary,
    /// PAUSE.
    Paused,
    /// Every connection that the pool may have is lent.
    PoolFull,
}

impl Wait {
    pub const ALL: [Wait; 6] =
        [Wait::Capped, Wait::Connect, Wait::Freshness, Wait::NoPrimary, Wait::Paused, Wait::PoolFull];

    /// As it stands in metrics and in the console.
    pub fn label(self) -> &'static str {
        match self {
            Wait::Capped => "capped",
            Wait::Connect => "connect",
            Wait::Freshness => "freshness",
            Wait::NoPrimary => "no_primary",
            Wait::Paused => "paused",
            Wait::PoolFull => "pool_full",
        }
    }
}

// The places of the counters. How many queries, transactions and waits there were is what their histograms hold.
const ASSIGNMENTS: usize = 0;
const RECEIVED: usize = 1;
const SENT: usize = 2;
const CLIENT_PARSES: usize = 3;
const SERVER_PARSES: usize = 4;
const BINDS: usize = 5;
const SHARED: usize = 6;
const SLOWER: usize = 7;
const REFUSED: usize = 8;
const QUERY_TIME: usize = 9;
const TRANSACTION_TIME: usize = 10;
const WAITS: usize = 11;
const WAIT_TIMES: usize = WAITS + Wait::ALL.len();
const QUERIES: usize = WAIT_TIMES + Wait::ALL.len();
const TRANSACTIONS: usize = QUERIES + BUCKETS;
const QUEUE: usize = TRANSACTIONS + BUCKETS;
const ALL: usize = QUEUE + BUCKETS;

/// What moved between two looks at a conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the client.
    pub received: u64,
    /// Bytes from the server.
    pub sent: u64,
}

/// Named statements of the extended protocol, where they follow the client, and unnamed ones under shared names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prepares {
    pub client_parses: u32,
    pub server_parses: u32,
    pub binds: u32,
}

/// Unnamed statements under shared names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    pub uses: u32,
    /// Texts that are shared no more, having become slower by it.
    pub slower: u32,
    /// Uses that ran once more as the client wrote them, having been refused.
    pub refused: u32,
}

/// The counters of one pool at one server.
#[derive(Default)]
pub struct Meter {
    shards: Shards<ALL>,
    /// Logins to the server, which are rare.
    connects: [AtomicU64; BUCKETS],
    connect_time: AtomicU64,
    connect_failures: AtomicU64,
}

impl Meter {
    /// For the calling thread, to be used at once.
    pub fn here(&self) -> Counters<'_> {
        Counters(self.shards.here())
    }

    /// A login to the server went through, in so many microseconds.
    pub fn connected(&self, micros: u64) {
        self.connects[bucket(micros)].fetch_add(1, Ordering::Relaxed);
        self.connect_time.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn not_connected(&self) {
        self.connect_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> Totals {
        let sums = self.shards.sums();
        let histogram = |from: usize, sum| {
            let mut buckets = [0; BUCKETS];
            buckets.copy_from_slice(&sums[from..from + BUCKETS]);
            Histogram { buckets, sum }
        };
        let waits = Waits(std::array::from_fn(|n| (sums[WAITS + n], sums[WAIT_TIMES + n])));
        // A read that waits for a standby is in no queue.
        let queued = Wait::ALL.into_iter().filter(|why| *why != Wait::Freshness).map(|why| waits.of(why).1).sum();
        let connects = self.connects.each_ref().map(|count| count.load(Ordering::Relaxed));
        Totals {
            assignments: sums[ASSIGNMENTS],
            received: sums[RECEIVED],
            sent: sums[SENT],
            client_parses: sums[CLIENT_PARSES],
            server_parses: sums[SERVER_PARSES],
            binds: sums[BINDS],
            shared: sums[SHARED],
            unshared: Unshared { slower: sums[SLOWER], refused: sums[REFUSED] },
            queries: histogram(QUERIES, sums[QUERY_TIME]),
            transactions: histogram(TRANSACTIONS, sums[TRANSACTION_TIME]),
            queue: histogram(QUEUE, queued),
            connects: Histogram { buckets: connects, sum: self.connect_time.load(Ordering::Relaxed) },
            connect_failures: self.connect_failures.load(Ordering::Relaxed),
            waits,
        }
    }
}

/// The calling thread's part of a meter.
pub struct Counters<'a>(Here<'a, ALL>);

impl Counters<'_> {
    /// A client was given a connection.
    pub fn assigned(&self) {
        self.0.add(ASSIGNMENTS, 1);
    }

    /// A query was answered, in so many microseconds.
    pub fn query(&self, micros: u64) {
        self.0.add(QUERY_TIME, micros);
        self.0.add(QUERIES + bucket(micros), 1);
    }

    pub fn transaction(&self, micros: u64) {
        self.0.add(TRANSACTION_TIME, micros);
        self.0.add(TRANSACTIONS + bucket(micros), 1);
    }

    /// A wait ended, however it did.
    pub fn waited(&self, why: Wait, micros: u64) {
        self.0.add(WAITS + why as usize, 1);
        self.0.add(WAIT_TIMES + why as usize, micros);
        if why != Wait::Freshness {
            self.0.add(QUEUE + bucket(micros), 1);
        }
    }

    pub fn moved(&self, traffic: Traffic, prepares: Prepares) {
        self.0.add(RECEIVED, traffic.received);
        self.0.add(SENT, traffic.sent);
        if prepares != Prepares::default() {
            self.0.add(CLIENT_PARSES, prepares.client_parses.into());
            self.0.add(SERVER_PARSES, prepares.server_parses.into());
            self.0.add(BINDS, prepares.binds.into());
        }
    }

    pub fn shared(&self, shares: Shares) {
        if shares != Shares::default() {
            self.0.add(SHARED, shares.uses.into());
            self.0.add(SLOWER, shares.slower.into());
            self.0.add(REFUSED, shares.refused.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_totals() {
        let meter = Meter::default();
        meter.here().assigned();
        meter.here().query(60);
        meter.here().query(70);
        meter.here().transaction(200);
        meter.here().waited(Wait::PoolFull, 1_500);
        meter.here().waited(Wait::Freshness, 300);
        let prepares = Prepares { client_parses: 1, server_parses: 2, binds: 3 };
        meter.here().shared(Shares { uses: 4, slower: 5, refused: 6 });
        meter.here().moved(Traffic { received: 10, sent: 20 }, prepares);
        meter.connected(900);
        meter.not_connected();
        let totals = meter.totals();
        assert_eq!((totals.assignments, totals.received, totals.sent), (1, 10, 20));
        assert_eq!((totals.client_parses, totals.server_parses, totals.binds), (1, 2, 3));
        assert_eq!((totals.shared, totals.unshared), (4, Unshared { slower: 5, refused: 6 }));
        assert_eq!((totals.queries.count(), totals.queries.sum), (2, 130));
        assert_eq!((totals.transactions.count(), totals.transactions.sum), (1, 200));
        assert_eq!((totals.queue.count(), totals.queue.sum), (1, 1_500));
        assert_eq!(totals.waits.of(Wait::Freshness), (1, 300));
        assert_eq!(totals.wait_time(), 1_800);
        assert_eq!((totals.connects.count(), totals.connects.sum, totals.connect_failures), (1, 900, 1));
    }
}

//! [pure] Sums of counters, and averages between two of them, by PgBouncer's arithmetic.

use std::time::Duration;

use super::histogram::Histogram;
use super::meter::Wait;

/// By `Wait`: how many ended, and microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits(pub [(u64, u64); Wait::ALL.len()]);

impl Waits {
    pub fn of(&self, why: Wait) -> (u64, u64) {
        self.0[why as usize]
    }

    /// With their reasons.
    pub fn all(&self) -> impl Iterator<Item = (Wait, u64, u64)> {
        Wait::ALL.into_iter().map(|why| (why, self.of(why).0, self.of(why).1))
    }
}

/// Why unnamed statements went without a shared name that they had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshared {
    /// Texts that became slower under it.
    pub slower: u64,
    /// Uses that were refused under it.
    pub refused: u64,
}

/// Everything that was counted since the start. Times are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections lent.
    pub assignments: u64,
    /// Bytes from clients, and from servers.
    pub received: u64,
    pub sent: u64,
    /// Named statements that clients prepared, that servers were given, and that were bound.
    pub client_parses: u64,
    pub server_parses: u64,
    pub binds: u64,
    /// Of them: uses of unnamed statements, under shared names.
    pub shared: u64,
    pub unshared: Unshared,
    /// While a server worked.
    pub queries: Histogram,
    /// From the first server that worked for it to its end.
    pub transactions: Histogram,
    /// Waits for a connection: those that got one at once are not in it.
    pub queue: Histogram,
    /// Logins to servers.
    pub connects: Histogram,
    pub connect_failures: u64,
    pub waits: Waits,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.assignments += other.assignments;
        self.received += other.received;
        self.sent += other.sent;
        self.client_parses += other.client_parses;
        self.server_parses += other.server_parses;
        self.binds += other.binds;
        self.shared += other.shared;
        self.unshared.slower += other.unshared.slower;
        self.unshared.refused += other.unshared.refused;
        self.queries.add(&other.queries);
        self.transactions.add(&other.transactions);
        self.queue.add(&other.queue);
        self.connects.add(&other.connects);
        self.connect_failures += other.connect_failures;
        for (sum, more) in self.waits.0.iter_mut().zip(other.waits.0) {
            *sum = (sum.0 + more.0, sum.1 + more.1);
        }
    }

    pub fn sum<'a>(all: impl IntoIterator<Item = &'a Totals>) -> Totals {
        let mut sum = Totals::default();
        all.into_iter().for_each(|totals| sum.add(totals));
        sum
    }

    /// For whatever reason clients waited.
    pub fn wait_time(&self) -> u64 {
        self.waits.0.iter().map(|(_, micros)| micros).sum()
    }

    /// What there was per second between an earlier look and this one, that much later.
    pub fn averages(&self, earlier: &Totals, passed: Duration) -> Averages {
        let micros = (passed.as_micros() as u64).max(1);
        let rate = |now: u64, then: u64| (u128::from(now.saturating_sub(then)) * 1_000_000 / u128::from(micros)) as u64;
        let mean = |now: &Histogram, then: &Histogram| {
            let new = now.since(then);
            new.sum.checked_div(new.count()).unwrap_or(0)
        };
        Averages {
            assignments: rate(self.assignments, earlier.assignments),
            transactions: rate(self.transactions.count(), earlier.transactions.count()),
            queries: rate(self.queries.count(), earlier.queries.count()),
            received: rate(self.received, earlier.received),
            sent: rate(self.sent, earlier.sent),
            transaction_time: mean(&self.transactions, &earlier.transactions),
            query_time: mean(&self.queries, &earlier.queries),
            wait_time: rate(self.wait_time(), earlier.wait_time()),
            client_parses: rate(self.client_parses, earlier.client_parses),
            server_parses: rate(self.server_parses, earlier.server_parses),
            binds: rate(self.binds, earlier.binds),
        }
    }
}

/// Per second; of transactions and queries also the mean time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Averages {
    pub assignments: u64,
    pub transactions: u64,
    pub queries: u64,
    pub received: u64,
    pub sent: u64,
    pub transaction_time: u64,
    pub query_time: u64,
    /// Microseconds that clients waited, per second.
    pub wait_time: u64,
    pub client_parses: u64,
    pub server_parses: u64,
    pub binds: u64,
}

/// The last two looks, one `stats_period` apart: averages are over what came since the earlier one, so that they span
/// between one period and two, as PgBouncer's do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks {
    pub earlier: Totals,
    pub later: Totals,
}

impl Looks {
    /// One period is over.
    pub fn turn(&mut self, now: Totals) {
        *self = Looks { earlier: self.later, later: now };
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::bucket;
    use super::*;

    fn totals(queries: &[u64], received: u64) -> Totals {
        let mut totals = Totals { received, ..Totals::default() };
        for micros in queries {
            totals.queries.buckets[bucket(*micros)] += 1;
            totals.queries.sum += micros;
        }
        totals
    }

    #[test]
    fn averages_are_of_what_came_between() {
        let (then, now) = (totals(&[1_000], 100), totals(&[1_000, 30, 50], 1_100));
        let averages = now.averages(&then, Duration::from_secs(2));
        assert_eq!((averages.queries, averages.query_time, averages.received), (1, 40, 500));
        assert_eq!(now.averages(&now, Duration::from_secs(2)), Averages::default());
        assert_eq!(now.averages(&then, Duration::ZERO).query_time, 40);
    }

    #[test]
    fn a_look_back_spans_up_to_two_periods() {
        let mut looks = Looks::default();
        looks.turn(totals(&[], 1));
        assert_eq!(looks.earlier.received, 0);
        looks.turn(totals(&[], 2));
        assert_eq!((looks.earlier.received, looks.later.received), (1, 2));
    }

    #[test]
    fn sums_add_up() {
        let sum = Totals::sum([&totals(&[5], 1), &totals(&[7], 2)]);
        assert_eq!((sum.queries.count(), sum.queries.sum, sum.received), (2, 12, 3));
    }
}

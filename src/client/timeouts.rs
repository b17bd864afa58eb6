//! How long one client may do what: as the config has it, and small, as each client keeps it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The limits of one client; None: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub client_idle: Option<Duration>,
    pub idle_transaction: Option<Duration>,
    pub query: Option<Duration>,
    pub query_wait: Option<Duration>,
    pub transaction: Option<Duration>,
}

impl Timeouts {
    /// Of a replication connection, whose query lasts for as long as its client wants.
    pub fn of_replication(self) -> Timeouts {
        Timeouts { query_wait: self.query_wait, ..Timeouts::default() }
    }
}

/// The same in a fifth of the room: milliseconds, rounded up, and one more; 0: no limit. What is longer than 49 days is
/// none.
#[derive(Default)]
pub struct Limits([AtomicU32; 5]);

impl Limits {
    pub fn set(&self, timeouts: Timeouts) {
        let Timeouts { client_idle, idle_transaction, query, query_wait, transaction } = timeouts;
        for (place, limit) in self.0.iter().zip([client_idle, idle_transaction, query, query_wait, transaction]) {
            let millis = |limit: Duration| u32::try_from(limit.as_micros().div_ceil(1000)).ok()?.checked_add(1);
            place.store(limit.and_then(millis).unwrap_or(0), Ordering::Relaxed);
        }
    }

    pub fn get(&self) -> Timeouts {
        let [client_idle, idle_transaction, query, query_wait, transaction] = self.0.each_ref().map(|place| {
            let millis = place.load(Ordering::Relaxed).checked_sub(1)?;
            Some(Duration::from_millis(millis.into()))
        });
        Timeouts { client_idle, idle_transaction, query, query_wait, transaction }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_kept_to_the_millisecond_and_never_shortened() {
        let limits = Limits::default();
        let (long, short) = (Duration::from_secs(50 * 86_400), Duration::from_micros(1_001));
        let set = Timeouts {
            client_idle: Some(long),
            query: Some(short),
            query_wait: Some(Duration::ZERO),
            ..Timeouts::default()
        };
        limits.set(set);
        let two = Some(Duration::from_millis(2));
        assert_eq!(limits.get(), Timeouts { client_idle: None, query: two, ..set });
    }
}

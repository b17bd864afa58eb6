//! What became of every write, by what its client was told, and what of it is there in the end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// One write: which writer, and which of its own.
pub type Write = (i32, i64);

/// What a client was told of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// Certainly not applied.
    Undone,
    /// Nobody knows.
    Unknown,
}

/// What happened since the last event.
#[derive(Debug, Default)]
pub struct Tally {
    pub told: HashMap<Write, Told>,
    /// When each acknowledged write was acknowledged.
    pub times: Vec<Instant>,
    /// What writers and readers were told, by who and code; `closed` where a connection ended without a word.
    pub errors: BTreeMap<(Who, String), usize>,
    /// Reads that missed an acknowledged write.
    pub stale: Vec<String>,
    /// Statements that had no answer in time.
    pub hung: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Writer,
    Reader,
    Idle,
}

impl Tally {
    pub fn error(&mut self, who: Who, code: &str) {
        *self.errors.entry((who, code.to_owned())).or_default() += 1;
    }

    /// From the event to the end of the longest time without an acknowledged write that ended after it.
    pub fn until_written(&self, event: Instant) -> Duration {
        let mut times = self.times.clone();
        times.sort();
        let first = times.first().copied().into_iter();
        let gaps = times.iter().zip(first.chain(times.iter().copied()));
        let after = gaps.filter(|(end, _)| **end > event);
        let longest = after.max_by_key(|(end, begin)| end.duration_since((*begin).max(event)));
        longest.map_or(Duration::MAX, |(end, _)| end.duration_since(event))
    }

    /// What is wrong with what a server has of these writes, each counted as often as it is there.
    pub fn faults(&self, there: &HashMap<Write, i64>) -> Vec<String> {
        let mut faults = Vec::new();
        for (write, told) in &self.told {
            let count = there.get(write).copied().unwrap_or(0);
            match (told, count) {
                (Told::Done, 0) => faults.push(format!("{write:?} was acknowledged and is lost")),
                (Told::Undone, 1..) => faults.push(format!("{write:?} was said to be undone and is there")),
                (_, 2..) => faults.push(format!("{write:?} is there {count} times")),
                _ => {}
            }
        }
        faults.extend(self.stale.iter().cloned());
        faults.extend(self.hung.iter().cloned());
        faults
    }

    /// `40001 ×2, 08007 ×1`, of one kind of client.
    pub fn codes(&self, who: Who) -> String {
        let own = self.errors.iter().filter(|((whose, _), _)| *whose == who);
        let codes: Vec<_> = own.map(|((_, code), count)| format!("{code} ×{count}")).collect();
        if codes.is_empty() { "none".to_owned() } else { codes.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_fault_is_seen() {
        let told = [(1, Told::Done), (2, Told::Undone), (3, Told::Unknown), (4, Told::Done), (5, Told::Unknown)];
        let mut tally = Tally { told: told.map(|(n, told)| ((0, n), told)).into(), ..Tally::default() };
        let sound: HashMap<Write, i64> = [((0, 1), 1), ((0, 3), 1), ((0, 4), 1)].into();
        assert_eq!(tally.faults(&sound), Vec::<String>::new());
        for (n, count) in [(1, 0), (1, 2), (2, 1), (5, 2)] {
            let mut there = sound.clone();
            there.insert((0, n), count);
            assert_eq!(tally.faults(&there).len(), 1, "{n} {count}");
        }
        tally.stale.push("stale".to_owned());
        tally.hung.push("hung".to_owned());
        assert_eq!(tally.faults(&sound).len(), 2);
    }

    #[test]
    fn a_pause_ends_with_the_longest_gap_behind_the_event() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let tally = |times: &[u64]| Tally { times: times.iter().copied().map(at).collect(), ..Tally::default() };
        assert_eq!(tally(&[0, 5, 10, 300, 305]).until_written(at(12)), Duration::from_millis(288));
        // A write that was under way is acknowledged in the middle of the pause.
        assert_eq!(tally(&[0, 10, 20, 400, 401]).until_written(at(12)), Duration::from_millis(388));
        assert_eq!(tally(&[0, 10]).until_written(at(12)), Duration::MAX);
    }
}

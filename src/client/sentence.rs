//! The end of one client while the process goes on: an operator's word, obeyed as the process's last phase is.

use std::sync::atomic::Ordering;

use super::entry::{Entries, Entry};
use crate::error::Kind;

/// Why one client is ended while the process goes on. Each is beyond every `Phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sentence {
    /// SUSPEND did not wait longer.
    Suspend = 10,
    /// KILL of its database.
    Database,
    /// KILL_CLIENT.
    Client,
}

impl Entry {
    /// This client is ended at once.
    pub fn condemn(&self, sentence: Sentence) {
        if self.phase.fetch_max(sentence as u8, Ordering::AcqRel) < sentence as u8 {
            self.rouse();
        }
    }

    /// What it is told at its end, once it drains or stops.
    pub fn farewell(&self) -> Kind {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Sentence::Suspend as u8 => Kind::SuspendTimeout,
            phase if phase == Sentence::Database as u8 => Kind::DatabaseRemoved,
            phase if phase == Sentence::Client as u8 => Kind::AdminDisconnect,
            _ => Kind::ShuttingDown,
        }
    }
}

impl Entries {
    /// Ends those clients; how many they are.
    pub fn condemn_where(&self, sentence: Sentence, is_meant: impl Fn(&Entry) -> bool) -> usize {
        let meant = self.map.iter().filter(|entry| is_meant(entry));
        meant.map(|entry| entry.condemn(sentence)).count()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::key::Key;
    use super::super::shown::Who;
    use super::super::timeouts::Timeouts;
    use super::*;
    use crate::control::Phase;
    use crate::net::ends::Ends;

    fn entry() -> Entry {
        let ends = Box::new(Ends::Unix { uid: None, pid: None });
        let who = Who { id: 1, ends, user: "ann".into(), tls: "".into() };
        let tally = crate::stats::Stats::default().tally("shop", "ann", &[]);
        Entry::new(Key { pid: 7, secret: b"key!" }, Instant::now(), Timeouts::default(), who, tally)
    }

    #[test]
    fn a_sentence_is_beyond_every_phase() {
        let e = entry();
        assert_eq!(e.farewell(), Kind::ShuttingDown);
        e.condemn(Sentence::Database);
        e.enter_phase(Phase::Stopping);
        assert!(e.is_stopping());
        assert_eq!(e.farewell(), Kind::DatabaseRemoved);
    }

    #[test]
    fn only_those_who_are_meant_are_ended() {
        let entries = Entries::default();
        let [one, other] = [1, 2].map(|pid| entries.add(b"key!", || pid, |_| entry()));
        let ended = entries.condemn_where(Sentence::Client, |entry| std::ptr::eq(entry, &*one));
        assert_eq!((ended, one.is_stopping(), other.is_stopping()), (1, true, false));
    }
}

//! [pure] The shared statements that one server connection has: at most `max_prepared_statements`, by last use.
//!
//! A batch may be skipped from any of its messages on. So what a Parse or Close of an earlier batch did is known only
//! once it was answered; until then a later batch that needs the statement closes it and parses it anew, which is
//! right either way (closing a name that does not exist is no error).

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::prepared::Statement;
use super::shape::Shape;

/// The shared statements of one server connection.
#[derive(Debug)]
pub struct Parsed {
    known: HashMap<u64, Known, RandomState>,
    /// Rises with each use.
    clock: u64,
    /// What was used since this time is not forgotten.
    floor: u64,
    limit: usize,
}

#[derive(Debug)]
struct Known {
    statement: Arc<Statement>,
    used: u64,
    presence: Presence,
    /// Messages about it that were neither answered nor voided.
    pending: u32,
    /// The batch of the last of them.
    batch: u32,
    /// What a description of it said: it stays so until the server learns it anew.
    shape: Option<Shape>,
    /// Of a shared unnamed one: the age in which it was learnt (`repeats::Terms`).
    age: u64,
}

/// What a message that uses a statement finds on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// Its rows, if they were described.
    Statement(Option<Shape>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// A Close of it is under way.
    Absent,
    /// A message about it was skipped, or its plan is stale.
    Doubtful,
    Present,
}

/// What must be sent before a statement can be taught.
#[derive(Debug, Default)]
pub struct Before {
    /// What goes for it, where the server's set is full.
    pub evicted: Vec<Arc<Statement>>,
    /// Its own name may be taken.
    pub close_first: bool,
}

impl Parsed {
    pub fn new(limit: usize) -> Parsed {
        Parsed { known: HashMap::default(), clock: 0, floor: u64::MAX, limit: limit.max(1) }
    }

    /// What is used from now on is needed at the same time, up to `release`.
    pub fn hold(&mut self) {
        self.floor = self.clock;
    }

    /// The next message needs what it uses, and no more.
    pub fn release(&mut self) {
        self.floor = u64::MAX;
    }

    /// Whether a message of this batch finds it on the server; counts as a use.
    pub fn touch(&mut self, id: u64, batch: u32) -> bool {
        self.find(id, batch) != Found::Nothing
    }

    /// The same, with its rows.
    pub fn find(&mut self, id: u64, batch: u32) -> Found {
        self.clock += 1;
        let Some(known) = self.known.get_mut(&id) else { return Found::Nothing };
        known.used = self.clock;
        match known.presence {
            Presence::Present if known.pending == 0 => Found::Statement(known.shape),
            Presence::Present if known.batch == batch => Found::Statement(None),
            _ => Found::Nothing,
        }
    }

    /// The rows of the statement as it was described, if nothing about it is under way.
    pub fn shape(&self, id: u64) -> Option<Shape> {
        self.known.get(&id).filter(|known| known.is_settled()).and_then(|known| known.shape)
    }

    /// A description was answered: unless the server is learning it anew, it is of what is there.
    pub fn described(&mut self, id: u64, shape: Shape) {
        if let Some(known) = self.known.get_mut(&id).filter(|known| known.is_settled()) {
            known.shape = Some(shape);
        }
    }

    /// The server is about to learn it in this batch: what goes before, and the Parse itself, are pending from now on.
    pub fn learn(&mut self, statement: &Arc<Statement>, batch: u32) -> Before {
        self.clock += 1;
        let used = self.clock;
        let old = self.known.remove(&statement.id);
        // More than one goes only where a Close was voided.
        let surplus = (self.held() + 1).saturating_sub(self.limit);
        let evicted = (0..surplus).filter_map(|_| self.evict(batch)).collect();
        let close_first = old.is_some();
        let pending = old.map_or(0, |old| old.pending) + 1 + u32::from(close_first);
        let presence = Presence::Present;
        let statement = Arc::clone(statement);
        self.known.insert(statement.id, Known { statement, used, presence, pending, batch, shape: None, age: 0 });
        Before { evicted, close_first }
    }

    /// One message about it was answered.
    pub fn answered(&mut self, id: u64) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.pending = known.pending.saturating_sub(1);
        if known.pending == 0 && known.presence == Presence::Absent {
            self.known.remove(&id);
        }
    }

    /// One message about it, of this batch, was refused or skipped.
    pub fn voided(&mut self, id: u64, batch: u32) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.pending = known.pending.saturating_sub(1);
        if known.batch == batch {
            known.presence = Presence::Doubtful;
        }
    }

    /// Whether it was learnt in this age.
    pub fn is_of(&self, id: u64, age: u64) -> bool {
        self.known.get(&id).is_some_and(|known| known.age == age)
    }

    /// It is being learnt in this age.
    pub fn note_age(&mut self, id: u64, age: u64) {
        self.known.get_mut(&id).into_iter().for_each(|known| known.age = age);
    }

    /// It is to be closed and parsed anew before its next use.
    pub fn doubt(&mut self, id: u64) {
        if let Some(known) = self.known.get_mut(&id) {
            known.presence = Presence::Doubtful;
        }
    }

    pub fn clear(&mut self) {
        self.known.clear();
    }

    /// A DISCARD ALL is under way: if it goes through there is none, if not they are all there.
    pub fn doubt_all(&mut self) {
        self.known.values_mut().filter(|known| known.presence == Presence::Present).for_each(|known| {
            known.presence = Presence::Doubtful;
        });
    }

    /// It went through: what was not parsed anew since is gone.
    pub fn forget_doubtful(&mut self) {
        self.known.retain(|_, known| known.presence != Presence::Doubtful);
    }

    /// A DEALLOCATE ALL went through: what is there is what was parsed behind it.
    pub fn forget_answered(&mut self) {
        self.known.retain(|_, known| known.pending > 0 && known.presence != Presence::Doubtful);
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// How many the server has or may have.
    fn held(&self) -> usize {
        self.known.values().filter(|known| known.presence != Presence::Absent).count()
    }

    /// Takes out the one that was used longest ago. Linear in the set (at most max_prepared_statements), and only when
    /// a full set learns.
    fn evict(&mut self, batch: u32) -> Option<Arc<Statement>> {
        let floor = self.floor;
        let free = |known: &&mut Known| known.presence != Presence::Absent && known.used <= floor;
        let oldest = self.known.values_mut().filter(free).min_by_key(|known| known.used)?;
        oldest.presence = Presence::Absent;
        oldest.pending += 1;
        oldest.batch = batch;
        Some(Arc::clone(&oldest.statement))
    }
}

impl Known {
    fn is_settled(&self) -> bool {
        self.presence == Presence::Present && self.pending == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::End;

    fn statement(id: u64) -> Arc<Statement> {
        Arc::new(Statement::lasting(id, b"x", End::Open))
    }

    #[test]
    fn a_full_server_forgets_what_was_used_longest_ago() {
        let mut p = Parsed::new(2);
        for id in [1, 2] {
            let before = p.learn(&statement(id), 0);
            assert!(before.evicted.is_empty() && !before.close_first);
            p.answered(id);
        }
        assert!(p.touch(1, 0));
        assert_eq!(p.learn(&statement(3), 0).evicted[0].id, 2);
        assert!(!p.touch(2, 0) && p.touch(1, 0) && p.touch(3, 0));
        p.answered(2);
        assert_eq!(p.len(), 2);
    }

    #[test]
    fn what_an_earlier_batch_did_is_known_when_it_is_answered() {
        let mut p = Parsed::new(2);
        p.learn(&statement(1), 0);
        assert!(p.touch(1, 0) && !p.touch(1, 1));
        assert!(p.learn(&statement(1), 1).close_first);
        // The first batch fails; the second one has its own.
        p.voided(1, 0);
        assert!(p.touch(1, 1));
        p.answered(1);
        p.answered(1);
        assert!(p.touch(1, 2));
        // A Close that was skipped leaves it there, perhaps.
        p.learn(&statement(2), 2);
        assert_eq!(p.learn(&statement(3), 2).evicted[0].id, 1);
        p.voided(1, 2);
        assert!(!p.touch(1, 3) && p.learn(&statement(1), 3).close_first);
    }
}

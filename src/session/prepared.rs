//! [pure] Prepared statements in transaction mode: a client's names, and the shared names under which servers know them.
//!
//! A statement is shared by its text, its parameter types and the settings that its analysis depends on. Servers
//! learn a statement when it is first needed there; a server keeps at most `max_prepared_statements` and forgets the
//! one that was used longest ago. What a batch did is undone where the server voids it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::sql::Taint;

/// A client's bounds: statements, and bytes of their texts. Beyond them the client is ended.
pub const CLIENT_STATEMENTS: usize = 10_000;
pub const CLIENT_BYTES: usize = 64 << 20;

/// Our names begin like this; a client's name that does too is never sent as it is.
pub const PREFIX: &str = "pgweir_";

/// What executing a statement does to the client's own statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Deallocate(Box<[u8]>),
    DeallocateAll,
}

/// A statement that servers may share.
#[derive(Debug)]
pub struct Statement {
    /// Never 0.
    pub id: u64,
    /// Its name on servers.
    pub name: Box<[u8]>,
    /// Text, NUL and parameter types, as in Parse.
    pub rest: Box<[u8]>,
    pub taint: Option<Taint>,
    pub effect: Option<Effect>,
}

/// Where statements of one text become one value. Implemented above, with its lock.
pub trait Intern: Send + Sync {
    /// The shared statement of this text under these settings.
    fn shared(&self, rest: &[u8], scope: &[u8], make: &mut dyn FnMut(u64) -> Statement) -> Arc<Statement>;
    /// A new id for a statement that is not shared.
    fn private_id(&self) -> u64;
}

/// A shared statement's name on servers.
pub fn server_name(id: u64) -> Box<[u8]> {
    format!("{PREFIX}{id}").into_bytes().into_boxed_slice()
}

/// The unnamed statement of a client.
#[derive(Debug, Default)]
pub enum Unnamed {
    /// A Parse that was too long to remember; the server at hand has it.
    Large,
    #[default]
    None,
    /// Remembered: can be sent again to another server. `on_server`: the one at hand has it.
    Known { on_server: bool },
}

/// A client's named statements. Slots keep their number while a ledger entry may speak of them.
#[derive(Debug, Default)]
pub struct Statements {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    names: HashMap<Box<[u8]>, u32, RandomState>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    name: Box<[u8]>,
    statement: Arc<Statement>,
}

impl Statements {
    pub fn find(&self, name: &[u8]) -> Option<(u32, &Arc<Statement>)> {
        let slot = *self.names.get(name)?;
        let statement = &self.slots.get(slot as usize)?.as_ref()?.statement;
        Some((slot, statement))
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether another one of this size stays within the bounds.
    pub fn has_room(&self, size: usize) -> bool {
        self.names.len() < CLIENT_STATEMENTS && self.bytes + size <= CLIENT_BYTES
    }

    /// A Parse under a free name. The slot is what `revert` takes if the server voids it.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) -> u32 {
        self.bytes += statement.rest.len();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Some(Slot { name: name.into(), statement });
        self.names.insert(name.into(), slot);
        slot
    }

    /// A Close of a name: it is free at once; the slot stays until `forget` or `restore`.
    pub fn hide(&mut self, name: &[u8]) -> Option<u32> {
        self.names.remove(name)
    }

    /// The Parse of this slot failed or was voided, or the Close of this slot was answered.
    pub fn forget(&mut self, slot: u32) {
        let Some(gone) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.bytes -= gone.statement.rest.len();
        if self.names.get(&gone.name) == Some(&slot) {
            self.names.remove(&gone.name);
        }
        self.free.push(slot);
    }

    /// The Close of this slot was voided: the name is back, unless a later Parse took it.
    pub fn restore(&mut self, slot: u32) {
        let Some(Some(back)) = self.slots.get(slot as usize) else { return };
        self.names.entry(back.name.clone()).or_insert(slot);
    }

    /// DEALLOCATE of a name; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let slot = self.hide(name);
        slot.map(|slot| self.forget(slot)).is_some()
    }

    /// DEALLOCATE ALL, DISCARD ALL.
    pub fn clear(&mut self) {
        *self = Statements::default();
    }
}

/// The shared statements that one server connection has, by last use.
#[derive(Debug)]
pub struct Parsed {
    known: HashMap<u64, Known, RandomState>,
    /// Rises with each use.
    clock: u64,
    limit: usize,
}

#[derive(Debug)]
struct Known {
    statement: Arc<Statement>,
    used: u64,
}

impl Parsed {
    pub fn new(limit: usize) -> Parsed {
        Parsed { known: HashMap::default(), clock: 0, limit: limit.max(1) }
    }

    /// Whether the server has it; counts as a use.
    pub fn touch(&mut self, id: u64) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.known.get_mut(&id).map(|known| known.used = clock).is_some()
    }

    /// The server is about to learn it. Returns the one to close first, if the set is full.
    pub fn learn(&mut self, statement: &Arc<Statement>) -> Option<Arc<Statement>> {
        self.clock += 1;
        let used = self.clock;
        let evicted = if self.known.len() >= self.limit { self.oldest() } else { None };
        if let Some(old) = &evicted {
            self.known.remove(&old.id);
        }
        self.known.insert(statement.id, Known { statement: Arc::clone(statement), used });
        evicted
    }

    /// A Close that was voided: the server has it still.
    pub fn relearn(&mut self, statement: Arc<Statement>) {
        self.known.insert(statement.id, Known { statement, used: 0 });
    }

    pub fn forget(&mut self, id: u64) -> Option<Arc<Statement>> {
        self.known.remove(&id).map(|known| known.statement)
    }

    pub fn clear(&mut self) {
        self.known.clear();
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Linear in the set (at most max_prepared_statements), and only when a full set learns.
    fn oldest(&self) -> Option<Arc<Statement>> {
        self.known.values().min_by_key(|known| known.used).map(|known| Arc::clone(&known.statement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(id: u64) -> Arc<Statement> {
        Arc::new(Statement { id, name: server_name(id), rest: (*b"x").into(), taint: None, effect: None })
    }

    #[test]
    fn a_voided_parse_leaves_nothing_and_a_voided_close_takes_nothing() {
        let mut s = Statements::default();
        let slot = s.insert(b"a", statement(1));
        s.forget(slot);
        assert!(s.find(b"a").is_none() && s.is_empty());
        let slot = s.insert(b"a", statement(2));
        assert_eq!(s.hide(b"a"), Some(slot));
        assert!(s.find(b"a").is_none());
        s.restore(slot);
        assert_eq!(s.find(b"a").map(|(_, st)| st.id), Some(2));
        s.hide(b"a");
        let later = s.insert(b"a", statement(3));
        assert_ne!(slot, later);
        s.restore(slot);
        assert_eq!(s.find(b"a").map(|(_, st)| st.id), Some(3));
    }

    #[test]
    fn a_full_server_forgets_what_was_used_longest_ago() {
        let mut p = Parsed::new(2);
        assert!(p.learn(&statement(1)).is_none() && p.learn(&statement(2)).is_none());
        assert!(p.touch(1));
        assert_eq!(p.learn(&statement(3)).map(|s| s.id), Some(2));
        assert!(!p.touch(2) && p.touch(1) && p.touch(3));
    }
}

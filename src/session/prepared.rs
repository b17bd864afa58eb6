//! [pure] Prepared statements in transaction mode: a client's names, and the shared names under which servers know them.
//!
//! A statement is shared by its text, its parameter types and the settings that its analysis depends on. Servers
//! learn a statement when it is first needed there; a server keeps at most `max_prepared_statements` and forgets the
//! one that was used longest ago. What a batch did is undone where the server voids it.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

pub use super::effects::Effect;
use super::ledger::Owed;
use super::portals::Portals;
use super::repeats::Repeating;
use super::shape::Shape;
use crate::sql::{End, Taints};

/// A client's bounds: statements, and bytes of their texts. Beyond them the client is ended.
pub const CLIENT_STATEMENTS: usize = 10_000;
pub const CLIENT_BYTES: usize = 64 << 20;

/// Our names begin like this; a client's name that does too is never sent as it is.
pub const PREFIX: &str = "pgweir_";

/// A statement that servers may share.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// Never 0.
    pub id: u64,
    /// Its name on servers.
    pub name: Box<[u8]>,
    /// Text, NUL and parameter types, as in Parse. Of SQL's PREPARE: its text without the name, and NUL.
    pub rest: Box<[u8]>,
    pub taints: Taints,
    /// Executing it may change the catalog.
    pub catalog: bool,
    /// What executing it does to the transaction that it stands in.
    pub end: End,
    pub effect: Option<Effect>,
}

/// Where statements of one text become one value. Implemented above, with its lock.
pub trait Intern: Repeating + Send + Sync {
    /// The shared statement of this text under these settings.
    fn shared(&self, rest: &[u8], scope: &[u8], make: &mut dyn FnMut(u64) -> Statement) -> Arc<Statement>;
    /// A new id for a statement that is not shared.
    fn private_id(&self) -> u64;
}

/// A shared statement's name on servers.
pub fn server_name(id: u64) -> Box<[u8]> {
    format!("{PREFIX}{id}").into_bytes().into_boxed_slice()
}

/// A client's named statements. Slots keep their number while a ledger entry may speak of them. A client that prepares
/// nothing has no table.
#[derive(Debug, Default)]
pub struct Statements(Option<Box<Table>>);

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    names: HashMap<Box<[u8]>, u32, RandomState>,
    bytes: usize,
    portals: Portals,
}

#[derive(Debug)]
struct Slot {
    name: Box<[u8]>,
    statement: Arc<Statement>,
    /// What the client was last told of its rows.
    told: Option<Shape>,
}

impl Statements {
    pub fn find(&self, name: &[u8]) -> Option<(u32, &Arc<Statement>)> {
        let table = self.0.as_ref()?;
        let slot = *table.names.get(key(name))?;
        let statement = &table.slots.get(slot as usize)?.as_ref()?.statement;
        Some((slot, statement))
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.names.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether another one of this size stays within the bounds.
    pub fn has_room(&self, size: usize) -> bool {
        self.len() < CLIENT_STATEMENTS && self.0.as_ref().map_or(0, |table| table.bytes) + size <= CLIENT_BYTES
    }

    /// A Parse under a free name. The slot is what `forget` takes if the server voids it.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) -> u32 {
        let table = self.0.get_or_insert_default();
        table.bytes += statement.rest.len();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.slots.push(None);
            (table.slots.len() - 1) as u32
        });
        table.slots[slot as usize] = Some(Slot { name: key(name).into(), statement, told: None });
        table.names.insert(key(name).into(), slot);
        slot
    }

    /// The name in this slot means another statement from now on.
    pub fn swap(&mut self, slot: u32, statement: Arc<Statement>) {
        let Some(table) = &mut self.0 else { return };
        let Some(Some(slot)) = table.slots.get_mut(slot as usize) else { return };
        table.bytes = table.bytes + statement.rest.len() - slot.statement.rest.len();
        (slot.statement, slot.told) = (statement, None);
    }

    /// What the client was told of the rows of the statement in this slot.
    pub fn told(&self, slot: u32, statement: u64) -> Option<Shape> {
        told(&self.0.as_ref()?.slots, slot, statement)
    }

    /// A Describe of ours was answered.
    pub fn compare(&mut self, head: &Owed, shape: Option<Shape>) {
        let Some(Table { slots, portals, .. }) = self.0.as_deref_mut() else { return };
        portals.compare(head, shape, |slot| told(slots, slot, head.statement));
    }

    pub fn tell(&mut self, slot: u32, statement: u64, shape: Option<Shape>) {
        let slots = self.0.as_mut().map(|table| &mut table.slots);
        let slot = slots.and_then(|slots| slots.get_mut(slot as usize)).and_then(Option::as_mut);
        if let Some(slot) = slot.filter(|slot| slot.statement.id == statement) {
            slot.told = shape;
        }
    }

    /// From now on portals are watched, and descriptions kept, of a client without named statements too.
    pub fn watch_portals(&mut self) {
        self.0.get_or_insert_default();
    }

    /// What the client calls the statement in this slot.
    pub fn name(&self, slot: u32) -> Option<&[u8]> {
        let slot = self.0.as_ref()?.slots.get(slot as usize)?.as_ref()?;
        Some(&slot.name)
    }

    /// The portals whose rows are watched; None for a client without named statements.
    pub fn portals(&mut self) -> Option<&mut Portals> {
        self.0.as_mut().map(|table| &mut table.portals)
    }

    /// A Close of a name: it is free at once; the slot stays until `forget` or `restore`.
    pub fn hide(&mut self, name: &[u8]) -> Option<u32> {
        self.0.as_mut()?.names.remove(key(name))
    }

    /// The Parse of this slot failed or was voided, or the Close of this slot was answered.
    pub fn forget(&mut self, slot: u32) {
        let Some(table) = &mut self.0 else { return };
        let Some(gone) = table.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        table.bytes -= gone.statement.rest.len();
        if table.names.get(&gone.name) == Some(&slot) {
            table.names.remove(&gone.name);
        }
        table.free.push(slot);
    }

    /// The Close of this slot was voided: the name is back, unless a later Parse took it.
    pub fn restore(&mut self, slot: u32) {
        let Some(table) = &mut self.0 else { return };
        let Some(Some(back)) = table.slots.get(slot as usize) else { return };
        table.names.entry(back.name.clone()).or_insert(slot);
    }

    /// DEALLOCATE ALL, DISCARD ALL: as a Close of each.
    pub fn hide_all(&mut self) -> Vec<u32> {
        let names = self.0.as_mut().map(|table| std::mem::take(&mut table.names));
        names.unwrap_or_default().into_values().collect()
    }

    /// All are gone, without a slot that could come back.
    pub fn clear(&mut self) {
        self.0 = None;
    }
}

/// PostgreSQL compares no more of a name.
fn key(name: &[u8]) -> &[u8] {
    name.get(..63).unwrap_or(name)
}

fn told(slots: &[Option<Slot>], slot: u32, statement: u64) -> Option<Shape> {
    let slot = slots.get(slot as usize)?.as_ref()?;
    if slot.statement.id == statement { slot.told } else { None }
}

/// The shared statements that one server connection has, by last use.
///
/// A batch may be skipped from any of its messages on. So what a Parse or Close of an earlier batch did is known only
/// once it was answered; until then a later batch that needs the statement closes it and parses it anew, which is
/// right either way (closing a name that does not exist is no error).
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

    fn statement(id: u64) -> Arc<Statement> {
        Arc::new(Statement {
            id,
            name: server_name(id),
            rest: (*b"x").into(),
            taints: Taints::NONE,
            catalog: false,
            end: End::Open,
            effect: None,
        })
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

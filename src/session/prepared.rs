//! [pure] Prepared statements in transaction mode: a client's names, and the shared names under which servers know them.
//!
//! A statement is shared by its text, its parameter types and the settings that its analysis depends on. Servers
//! learn a statement when it is first needed there (`parsed`). What a batch did is undone where the server voids it.

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

    /// The other names are gone. What hides one forgets its slot.
    pub fn keep(&mut self, stays: impl Fn(u32) -> bool) {
        let names = self.0.iter().flat_map(|table| table.names.values());
        let gone: Vec<u32> = names.copied().filter(|slot| !stays(*slot)).collect();
        gone.into_iter().for_each(|slot| self.forget(slot));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(id: u64) -> Arc<Statement> {
        Arc::new(Statement::lasting(id, b"x", End::Open))
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
}

//! [pure] Portals whose rows may not be what the client was told.
//!
//! PostgreSQL says 0A000 where the rows of a prepared statement are no longer what they were at its Parse. A server that
//! learns a statement after DDL learns it with the new rows: to a client that described it before, on another server,
//! the same must be said. So a Bind whose rows were not seen to be what the client was told goes out behind a Describe
//! of ours, in the same write, and the portal is watched. Whoever describes it itself is told (libpq always does).
//! Otherwise the Execute, which may write, waits for what that Describe says: a round trip, once for each server that
//! learns a statement. If the rows changed, an Execute that must fail takes its place, so that the server skips the
//! batch and fails the transaction as it would by itself.
//!
//! Absence: a client that never described a statement is told nothing. A description over `COLLECT` is not kept. Unnamed
//! statements are not compared.

use std::sync::Arc;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::parsed::Found;
use super::prepared::Statement;
use super::shape::{Likeness, Shape};
use super::statements_in::UNKNOWN;
use super::{Batch, COLLECT, Frame, ServerState, Session};
use crate::wire::{back, backend, cstr, encode, frame};

/// More portals of one transaction than this are not watched.
const WATCHED: usize = 64;

/// What is known of a portal's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// A Describe of ours is on its way.
    Asked,
    /// They are not what the client was told.
    Changed,
    /// The client was told nothing, or the same.
    Fine,
}

#[derive(Debug)]
struct Portal {
    name: Box<[u8]>,
    statement: u64,
    /// The client's slot for it.
    slot: u32,
    batch: u32,
    rows: Rows,
}

/// The watched ones. Empty where clients execute what they have described, on servers that have it.
#[derive(Debug, Default)]
pub struct Portals {
    watched: Vec<Portal>,
    /// The latest ParameterDescription, of the statement whose RowDescription comes next.
    parameters: Vec<u8>,
    /// It was not passed on yet.
    kept: bool,
}

impl Portals {
    fn place(&self, name: &[u8]) -> Option<usize> {
        self.watched.iter().position(|portal| *portal.name == *name)
    }

    /// It is bound anew, or gone.
    pub fn forget(&mut self, name: &[u8]) {
        if let Some(at) = self.place(name) {
            self.watched.swap_remove(at);
        }
    }

    /// All are gone.
    pub fn clear(&mut self) {
        self.watched.clear();
    }

    /// Those of this batch and of earlier ones are gone: it was voided, or the transaction ended with it.
    pub fn end_batch(&mut self, batch: u32) {
        self.watched.retain(|portal| (portal.batch.wrapping_sub(batch) as i32) > 0);
    }

    /// The client asks itself what the rows of this statement are.
    fn told(&mut self, slot: u32) {
        self.watched.iter_mut().filter(|portal| portal.slot == slot).for_each(|portal| portal.rows = Rows::Fine);
    }

    /// A Describe of ours was answered: each portal that waits for it is judged by what its slot was told. A description
    /// too long to be kept is another than the one that was.
    pub fn compare(&mut self, head: &Owed, shape: Option<Shape>, told: impl Fn(u32) -> Option<Shape>) {
        let asked = (head.statement, head.batch, Rows::Asked);
        let asked = |portal: &&mut Portal| (portal.statement, portal.batch, portal.rows) == asked;
        for portal in self.watched.iter_mut().filter(asked) {
            let same = |told: Shape| shape.is_some_and(|has| told.compared_with(&has) == Likeness::Same);
            portal.rows = if told(portal.slot).is_none_or(same) { Rows::Fine } else { Rows::Changed };
        }
    }
}

impl Session {
    /// The server must know the statement before a Bind, and the client its rows before an Execute.
    pub(super) fn ensure_rows(
        &mut self,
        portal: &[u8],
        slot: u32,
        statement: &Arc<Statement>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        let told = self.statements.told(slot, statement.id);
        let found = server.parsed.find(statement.id, self.ledger.batch());
        let likeness = match (told, found) {
            (Some(told), Found::Statement(Some(has))) => told.compared_with(&has),
            _ => Likeness::Unknown,
        };
        if likeness == Likeness::Same {
            return;
        }
        let rows = if told.is_none() || self.ledger.describes(slot) { Rows::Fine } else { Rows::Asked };
        if found == Found::Nothing {
            self.teach_silently(statement, server, to_server);
        } else if likeness == Likeness::Changed && rows == Rows::Asked {
            // One of the two is out of date; learnt anew, the server is not.
            server.parsed.doubt(statement.id);
            self.teach_silently(statement, server, to_server);
        }
        let batch = self.ledger.batch();
        let watched = self.statements.portals().map(|portals| &mut portals.watched);
        let Some(watched) = watched.filter(|watched| watched.len() < WATCHED) else { return };
        watched.push(Portal { name: portal.into(), statement: statement.id, slot, batch, rows });
        if rows == Rows::Asked {
            encode::describe_statement(to_server.end(), &statement.name);
            self.ledger.push(Owed::new(Kind::DescribeStatement, Action::Skip).of(statement.id, NO_SLOT));
        }
    }

    /// A client describes a portal: what the entry for it speaks of, if the answer is news.
    pub(super) fn describe_portal(&mut self, name: &[u8]) -> Owed {
        let owed = Owed::new(Kind::DescribePortal, Action::Forward);
        let Some(portals) = self.statements.portals() else { return owed };
        let Some(at) = portals.place(name) else { return owed };
        let portal = portals.watched.swap_remove(at);
        owed.of(portal.statement, portal.slot)
    }

    /// A client describes one of its statements.
    pub(super) fn describes_slot(&mut self, slot: u32) {
        if let Some(portals) = self.statements.portals() {
            portals.told(slot);
        }
    }

    /// Whether this Execute must wait for a Describe of ours. The server, which may be waiting for a Sync, is asked to
    /// answer it.
    pub(super) fn must_wait(&mut self, frame: &Frame<'_>, to_server: &mut Outbox<'_>) -> bool {
        self.waits = self.batch == Batch::Open && self.rows_of(frame) == Some(Rows::Asked);
        if self.waits {
            encode::flush(to_server.end());
        }
        self.waits
    }

    /// An Execute of rows that changed: in its place goes one that fails.
    pub(super) fn execute_changed(&mut self, frame: &Frame<'_>, to_server: &mut Outbox<'_>) -> bool {
        let changed = self.rows_of(frame) == Some(Rows::Changed);
        if changed {
            encode::execute(to_server.end(), UNKNOWN);
            self.ledger.push(Owed::new(Kind::Execute, Action::Stale));
        }
        changed
    }

    fn rows_of(&mut self, execute: &Frame<'_>) -> Option<Rows> {
        let portals = self.statements.portals().filter(|portals| !portals.watched.is_empty())?;
        let (name, _) = cstr(execute.body)?;
        let at = portals.place(name)?;
        Some(portals.watched.get(at)?.rows)
    }

    /// ParameterDescription, of which as much is kept as is certainly there.
    pub(super) fn parameters_described(&mut self, frame: &Frame<'_>, head: &Owed) {
        if let Some(portals) = self.statements.portals().filter(|_| head.statement != 0) {
            portals.parameters.clear();
            portals.parameters.extend(frame.body.iter().take(COLLECT - frame::HEADER));
        }
    }

    /// PostgreSQL sends the parameters before it looks whether a plan is stale: they are kept while the batch may be sent
    /// again.
    pub(super) fn keep_parameters(&mut self, frame: &Frame<'_>) -> bool {
        let Some(head) = self.ledger.next_real().copied() else { return false };
        let describes = (head.kind, head.action) == (Kind::DescribeStatement, Action::Forward) && head.statement != 0;
        if !describes || !frame.whole() || !self.replay.can() {
            return false;
        }
        self.parameters_described(frame, &head);
        self.statements.portals().map(|portals| portals.kept = true).is_some()
    }

    /// The batch is sent again, and they with it.
    pub(super) fn drop_parameters(&mut self) {
        if let Some(portals) = self.statements.portals() {
            portals.kept = false;
        }
    }

    /// What comes next goes to the client: the kept ones in front of it.
    pub(super) fn release_parameters(&mut self, to_client: &mut Outbox<'_>) {
        if let Some(portals) = self.statements.portals().filter(|portals| portals.kept) {
            portals.kept = false;
            encode::raw(to_client.end(), back::PARAMETER_DESCRIPTION, &portals.parameters);
        }
    }

    /// RowDescription or NoData, of a statement or of a portal of it.
    pub(super) fn rows_described(&mut self, frame: &Frame<'_>, head: &Owed, server: &mut ServerState) {
        if head.statement == 0 {
            return;
        }
        let whole = head.kind == Kind::DescribeStatement;
        let shape = match server.parsed.shape(head.statement) {
            // What a plan yields does not change.
            Some(known) if known.is_full() || !whole => Some(known),
            _ => self.shape(frame, whole),
        };
        if let Some(shape) = shape {
            server.parsed.described(head.statement, shape);
        }
        if head.action == Action::Skip {
            self.statements.compare(head, shape);
        } else {
            self.statements.tell(head.slot, head.statement, shape);
        }
    }

    fn shape(&mut self, frame: &Frame<'_>, of_statement: bool) -> Option<Shape> {
        if !frame.whole() {
            return None;
        }
        let rows = (frame.header.tag == back::ROW_DESCRIPTION).then_some(frame.body);
        let parameters = self.statements.portals().map(|portals| std::mem::take(&mut portals.parameters));
        match of_statement {
            true => Shape::of_statement(rows, &parameters?),
            false => Shape::of_portal(rows),
        }
    }

    /// Whether an error is better said as a change of the rows: the Execute in its place failed as it should, or the
    /// server could not read the parameters or formats that the client chose by an old description.
    pub(super) fn is_of_changed_rows(&mut self, error: &[u8], head: &Owed) -> bool {
        let sqlstate = backend::sqlstate(error);
        match (head.kind, head.action) {
            (Kind::Execute, Action::Stale) => sqlstate == b"34000",
            (Kind::Bind, _) if sqlstate == b"08P01" || sqlstate.starts_with(b"22") => {
                let changed = |portal: &Portal| {
                    (portal.statement, portal.batch, portal.rows) == (head.statement, head.batch, Rows::Changed)
                };
                self.statements.portals().is_some_and(|portals| portals.watched.iter().any(changed))
            }
            _ => false,
        }
    }
}

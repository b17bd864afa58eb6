//! [pure] The client's unnamed statement where its replacement is skipped: then the earlier one is still there.

use std::collections::VecDeque;

use super::Session;
use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::prepared::Effect;
use crate::sql::{Taint, Taints};
use crate::wire::encode;

/// The unnamed statement of a client.
#[derive(Debug, Default)]
pub enum Unnamed {
    /// A Parse that was too long to remember; the server at hand has it.
    Large,
    #[default]
    None,
    /// Remembered: can be sent again to another server.
    Known(OnServer),
}

/// Whether the server at hand has the client's unnamed statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnServer {
    No,
    /// Under a shared name, for the messages of this batch.
    Shared(u32),
    /// In this batch, which may be skipped before it comes to that.
    Sent(u32),
    Yes,
}

/// What a Parse, Query or Close replaced that may yet be skipped: the ledger's entry says so (`Owed::replaces`).
#[derive(Debug)]
pub struct Earlier {
    unnamed: Unnamed,
    rest: Vec<u8>,
    effect: Option<Effect>,
    taints: Taints,
}

/// Those of the batches under way, in order. Seldom any: one pointer then.
#[derive(Debug, Default)]
pub struct Replacements(Option<Box<List>>);

#[derive(Debug, Default)]
struct List(VecDeque<Earlier>);

impl Replacements {
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |list| list.0.len())
    }

    fn push(&mut self, earlier: Earlier) {
        self.0.get_or_insert_default().0.push_back(earlier);
    }

    pub fn pop(&mut self) -> Option<Earlier> {
        self.0.as_mut()?.0.pop_front()
    }

    fn first_mut(&mut self) -> Option<&mut Earlier> {
        self.0.as_mut()?.0.front_mut()
    }

    pub fn clear(&mut self) {
        self.0 = None;
    }
}

impl Session {
    /// The unnamed statement gives way. What it was is kept where a message before this one, in the same batch, may
    /// fail: first in its batch, nothing is kept, so that the usual client allocates nothing.
    pub(super) fn replace_unnamed(&mut self, by: Unnamed) {
        let unnamed = std::mem::replace(&mut self.unnamed, by);
        self.unnamed_batch = self.ledger.batch();
        if self.ledger.has_open_batch() {
            let rest = std::mem::take(&mut self.unnamed_rest);
            let (effect, taints) = (self.rare.unnamed().cloned(), self.rare.unnamed_taints());
            self.earlier.push(Earlier { unnamed, rest, effect, taints });
        }
        if matches!(self.unnamed, Unnamed::None) {
            self.rare.set_unnamed(None);
        }
    }

    /// The answer to this entry came: what it replaced is gone.
    pub(super) fn replaced(&mut self, owed: &Owed) {
        if owed.replaces {
            self.earlier.pop();
        }
    }

    /// The first replacement of this batch that was skipped: what it would have replaced stays, unless a later batch has
    /// replaced it since. It is parsed again before its next use.
    pub(super) fn restore_unnamed(&mut self, mut back: Earlier, batch: u32) {
        if let Unnamed::Known(there) = &mut back.unnamed {
            *there = OnServer::No;
        }
        if let Some(later) = self.earlier.first_mut() {
            *later = back;
        } else if self.unnamed_batch == batch {
            self.unnamed = back.unnamed;
            self.unnamed_rest = back.rest;
            self.rare.set_unnamed(back.effect);
            self.rare.set_unnamed_taints(back.taints);
        }
    }

    /// It is bound.
    pub(super) fn unnamed_may_end_pins(&mut self) {
        if self.pin.is_some() {
            let rest = std::mem::take(&mut self.unnamed_rest);
            self.note_ending(rest.split(|byte| *byte == 0).next().unwrap_or_default());
            self.unnamed_rest = rest;
        }
    }

    /// A batch that uses an unnamed statement of an earlier one: this server may not have it (PROTOCOL 7).
    pub(super) fn recall_unnamed(&mut self, to_server: &mut Outbox<'_>) {
        self.renew_unnamed();
        if matches!(self.unnamed, Unnamed::None) && self.strange_unnamed {
            self.strange_unnamed = false;
            encode::close_statement(to_server.end(), b"");
            self.ledger.push(Owed::new(Kind::Close, Action::Skip));
        }
        let Unnamed::Known(there) = self.unnamed else { return };
        let batch = self.ledger.batch();
        if there != OnServer::Yes && there != OnServer::Sent(batch) {
            self.unnamed = Unnamed::Known(OnServer::Sent(batch));
            self.unnamed_batch = batch;
            let text = self.unnamed_rest.split(|byte| *byte == 0).next().unwrap_or_default();
            let verdict = self.classified(text);
            let (taint, catalog) = (verdict.taint, verdict.catalog);
            if taint == Some(Taint::Currval) {
                self.reads_sequences(verdict.taints, to_server);
            }
            self.note_catalog(catalog);
            encode::parse(to_server.end(), b"", &self.unnamed_rest);
            self.ledger.push(Owed::new(Kind::Parse, Action::Skip));
        }
    }
}

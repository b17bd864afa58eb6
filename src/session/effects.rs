//! [pure] What DEALLOCATE and DISCARD ALL do to a client's statements, in the order in which it sends.
//!
//! The names go when the command is sent, as a Close's do, so that a Parse behind it finds them free; they are back if
//! the server refuses or skips it.

use std::sync::Arc;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::rare::Rare;
use super::statements_in::{DECOY, DECOY_ID, UNKNOWN};
use super::unnamed::Unnamed;
use super::wishes::Change;
use super::{Batch, Frame, FromClient, ServerState, Session, prepared};
use crate::sql::Assign;
use crate::wire::{self, encode};

/// What executing a statement does to what is kept here for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    Deallocate(Box<[u8]>),
    DeallocateAll,
    /// All of them, the unnamed one too, and the server's.
    DiscardAll,
    /// A setting of ours, and the command's tag.
    Wish(Change, &'static str),
    /// Settings that servers do not report.
    Set(Arc<[Assign]>),
}

impl Effect {
    /// The command is ours to do: servers are given an empty query in its place.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Effect::DiscardAll | Effect::Set(_))
    }

    /// The CommandComplete of the command.
    pub fn tag(&self) -> &'static str {
        match self {
            Effect::Deallocate(_) => "DEALLOCATE",
            Effect::DeallocateAll => "DEALLOCATE ALL",
            Effect::DiscardAll => "DISCARD ALL",
            Effect::Wish(_, tag) => tag,
            Effect::Set(_) => "SET",
        }
    }
}

/// A command that is on its way.
#[derive(Debug)]
pub struct Begun {
    pub effect: Effect,
    /// The statements whose names it hides.
    slots: Vec<u32>,
}

impl Begun {
    /// The slots whose names are hidden.
    pub fn hidden(&self) -> &[u32] {
        &self.slots
    }
}

impl Session {
    /// The command goes out, with the entry that is pushed next.
    pub(super) fn begin(&mut self, effect: Effect) {
        let slots = match &effect {
            Effect::Deallocate(name) => self.statements.hide(name).into_iter().collect(),
            Effect::DeallocateAll | Effect::DiscardAll => self.statements.hide_all(),
            Effect::Wish(..) | Effect::Set(_) => Vec::new(),
        };
        self.rare.begin(Begun { effect, slots });
    }

    /// The oldest one went through.
    pub(super) fn finish_effect(&mut self) -> Option<Effect> {
        let begun = self.rare.next_begun()?;
        begun.slots.into_iter().for_each(|slot| self.statements.forget(slot));
        if let Effect::Wish(change, _) = begun.effect {
            self.wishes.apply(change);
        }
        Some(begun.effect)
    }

    /// The oldest one was refused or skipped: what comes back once all that was skipped with it is gone.
    pub(super) fn undo_effect(rare: &mut Rare) -> Vec<u32> {
        rare.next_begun().map(|begun| begun.slots).unwrap_or_default()
    }

    /// The head was refused: what it was to do here does not happen.
    pub(super) fn undo(&mut self, head: &Owed) {
        match (head.action, head.kind) {
            (Action::Discard, _) => {
                Session::undo_effect(&mut self.rare).into_iter().for_each(|slot| self.statements.restore(slot));
            }
            // An Execute's goes with its batch.
            (Action::Set, Kind::Query) => _ = self.rare.sets_mut().next(),
            _ => return,
        }
        self.ledger.forward_head();
    }

    /// What executing this portal does from now on.
    pub(super) fn set_portal_effect(&mut self, portal: &[u8], effect: Option<Effect>) {
        if let Some(portals) = self.statements.portals() {
            portals.forget(portal);
        }
        self.rare.set_portal(portal, effect);
    }

    /// DISCARD ALL goes out, to be executed or as a Query.
    pub(super) fn discard(&mut self, kind: Kind, server: &mut ServerState) -> FromClient {
        self.begin(Effect::DiscardAll);
        server.parsed.doubt_all();
        self.ledger.push(Owed::new(kind, Action::Discard));
        FromClient::Forward
    }

    pub(super) fn execute(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> FromClient {
        self.batch = Batch::Open;
        self.copy_ends = 0;
        if self.execute_changed(frame, to_server) {
            return FromClient::Replaced { taken: frame.header.len };
        }
        let portal = if self.rare.has_portals() { wire::cstr(frame.body).map(|(name, _)| name) } else { None };
        match portal.and_then(|portal| self.rare.portal(portal)).cloned() {
            Some(Effect::Deallocate(name)) if self.statements.find(&name).is_none() => {
                self.deallocate_there(&name, to_server);
                FromClient::Replaced { taken: frame.header.len }
            }
            Some(Effect::DiscardAll) => {
                self.replace_unnamed(Unnamed::None);
                self.discard(Kind::Execute, server)
            }
            Some(Effect::Set(all)) => {
                self.send_sets(Kind::Execute, all);
                FromClient::Forward
            }
            Some(effect) => {
                self.begin(effect);
                self.ledger.push(Owed::new(Kind::Execute, Action::Tag));
                FromClient::Forward
            }
            None => {
                let verdict = self.forward(Kind::Execute);
                self.ledger.last_ends(self.batch_end.unwrap_or_default());
                verdict
            }
        }
    }

    /// A prepared DEALLOCATE of no name of ours: the server itself says that there is none, or forgets what SQL's own
    /// PREPARE made.
    fn deallocate_there(&mut self, name: &[u8], to_server: &mut Outbox<'_>) {
        let name = if name.starts_with(prepared::PREFIX.as_bytes()) { UNKNOWN } else { name };
        let mut text = b"DEALLOCATE \"".to_vec();
        for &byte in name {
            text.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
        }
        text.extend(b"\"\0\0\0");
        let out = to_server.end();
        encode::close_statement(out, DECOY);
        encode::parse(out, DECOY, &text);
        encode::bind_head(out, b"", DECOY, NO_PARAMETERS.len());
        out.extend(NO_PARAMETERS);
        encode::execute(out, b"");
        for kind in [Kind::Close, Kind::Parse, Kind::Bind] {
            self.ledger.push(Owed::new(kind, Action::Skip).of(DECOY_ID, NO_SLOT));
        }
        self.forward(Kind::Execute);
    }
}

/// The end of a Bind: no formats, no values, no result formats.
const NO_PARAMETERS: [u8; 6] = [0; 6];

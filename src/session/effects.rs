//! [pure] What DEALLOCATE and DISCARD ALL do to a client's statements, in the order in which it sends.
//!
//! The names go when the command is sent, as a Close's do, so that a Parse behind it finds them free; they are back if
//! the server refuses or skips it.

use std::sync::Arc;

use super::by_name::ByName;
use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::moved::quoted;
use super::outbox::Outbox;
use super::rare::Rare;
use super::reset::Resetting;
use super::statements_in::{DECOY, DECOY_ID, EMPTY_PARSE, UNKNOWN};
use super::teach::NO_PARAMETERS;
use super::unnamed::Unnamed;
use super::wishes::Change;
use super::{Batch, Frame, FromClient, FromServer, ServerState, Session, prepared};
use crate::config::PoolMode;
use crate::error::Error;
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
    /// SQL's PREPARE.
    Prepare(Arc<ByName>),
    /// An EXECUTE, or what holds one.
    Execute(Arc<ByName>),
}

impl Effect {
    /// The command is ours to do: servers are given an empty query in its place.
    pub fn is_ours(&self) -> bool {
        matches!(self, Effect::Deallocate(_) | Effect::DeallocateAll | Effect::Wish(..))
    }

    /// The CommandComplete of the command.
    pub fn tag(&self) -> &'static str {
        match self {
            Effect::Deallocate(_) => "DEALLOCATE",
            Effect::DeallocateAll => "DEALLOCATE ALL",
            Effect::DiscardAll => "DISCARD ALL",
            Effect::Wish(_, tag) => tag,
            Effect::Set(_) => "SET",
            Effect::Prepare(_) => "PREPARE",
            Effect::Execute(_) => "EXECUTE",
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
            Effect::Execute(_) | Effect::Prepare(_) | Effect::Set(_) | Effect::Wish(..) => Vec::new(),
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
    #[cold]
    pub(super) fn undo(&mut self, head: &Owed, server: &mut ServerState) {
        match (head.action, head.kind) {
            (Action::Discard, _) => {
                Session::undo_effect(&mut self.rare).into_iter().for_each(|slot| self.statements.restore(slot));
            }
            // An Execute's goes with its batch.
            (Action::Set, Kind::Query) => _ = self.rare.sets_mut().next(),
            (Action::Spliced, Kind::Query) => return self.prepare_refused(head, server),
            _ => return,
        }
        self.ledger.forward_head();
    }

    pub(super) fn command_complete(
        &mut self,
        tag: &[u8],
        head: &Owed,
        server: &mut ServerState,
        to_client: &mut Outbox<'_>,
    ) {
        self.copy_in = false;
        if head.action == Action::Discard {
            let effect = self.finish_effect();
            self.ledger.forward_head();
            server.parsed.forget_doubtful();
            if effect == Some(Effect::DiscardAll) {
                self.reset(server, to_client, true);
                self.resetting = Resetting::ALL;
            }
            return;
        }
        if head.action == Action::Set {
            return self.set(server);
        }
        if !matches!(head.action, Action::Forward | Action::Spliced) {
            return;
        }
        self.note_end_tag(tag);
        match tag {
            b"DISCARD ALL" => {
                server.parsed.clear();
                self.statements.clear();
                self.unnamed = Unnamed::None;
                self.reset(server, to_client, true);
                if self.mode != PoolMode::Session {
                    self.resetting = Resetting::ALL;
                }
            }
            // Of a client that has its server to itself, and among other statements. What is parsed behind them stays.
            b"DEALLOCATE ALL" => {
                server.parsed.forget_answered();
                self.statements.keep(|slot| self.ledger.parses(slot));
            }
            _ => {}
        }
    }

    /// The answer to the empty query that stands for a DEALLOCATE, or a real one.
    #[cold]
    pub(super) fn empty_query(&mut self, head: &Owed, to_client: &mut Outbox<'_>) -> FromServer {
        let effect = if head.action == Action::Tag { self.finish_effect() } else { None };
        let Some(effect) = effect else {
            return if head.kind == Kind::Execute { self.done() } else { self.unless_skipped() };
        };
        encode::command_complete(to_client.end(), effect.tag());
        if head.kind == Kind::Execute {
            self.ledger.pop();
        }
        FromServer::Swallow
    }

    /// What executing this portal does from now on.
    pub(super) fn set_portal_effect(&mut self, portal: &[u8], effect: Option<Effect>) {
        if let Some(portals) = self.statements.portals() {
            portals.forget(portal);
        }
        self.rare.set_portal(portal, self.ledger.batch(), effect);
    }

    /// DISCARD ALL goes out, to be executed or as a Query; or a DEALLOCATE ALL, to a server that has names of its own.
    #[cold]
    pub(super) fn discard(&mut self, effect: Effect, kind: Kind, server: &mut ServerState) -> FromClient {
        self.begin(effect);
        server.parsed.doubt_all();
        self.ledger.push(Owed::new(kind, Action::Discard));
        FromClient::Forward
    }

    pub(super) fn execute(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        self.batch = Batch::Open;
        self.copy_ends = 0;
        if self.execute_changed(frame, to_server) {
            return Ok(FromClient::Replaced { taken: frame.header.len });
        }
        let portal = if self.rare.has_portals() { wire::cstr(frame.body).map(|(name, _)| name) } else { None };
        Ok(match portal.and_then(|portal| self.rare.portal(portal)).cloned() {
            Some(Effect::Deallocate(name)) if self.statements.find(&name).is_none() => {
                self.command_there(b"DEALLOCATE ", &name, to_server);
                FromClient::Replaced { taken: frame.header.len }
            }
            Some(Effect::Execute(by_name)) if self.is_outdated(&by_name) => {
                self.command_there(b"EXECUTE ", by_name.name(), to_server);
                FromClient::Replaced { taken: frame.header.len }
            }
            Some(Effect::DiscardAll) => {
                self.replace_unnamed(Unnamed::None);
                self.discard(Effect::DiscardAll, Kind::Execute, server)
            }
            Some(Effect::Set(all)) => {
                self.send_sets(Kind::Execute, all);
                FromClient::Forward
            }
            Some(effect) if effect.is_ours() => {
                if effect == Effect::DeallocateAll && self.is_rooted() {
                    // The server's own names go as well (`moved`), and shared ones with them.
                    let last = Owed::new(Kind::Execute, Action::Skip).of(DECOY_ID, NO_SLOT);
                    self.run_there(b"deallocate all\0\0\0", to_server, last);
                    self.note_ending(b"deallocate all");
                    server.parsed.doubt_all();
                }
                self.begin(effect);
                self.ledger.push(Owed::new(Kind::Execute, Action::Tag));
                FromClient::Forward
            }
            effect => {
                self.ensure_target(effect.as_ref(), server, to_server);
                let owed = match &effect {
                    Some(Effect::Prepare(by_name)) => self.execute_prepare(by_name, server, to_server)?,
                    effect => self.owed_for(Kind::Execute, effect.as_ref()),
                };
                self.ledger.push(owed);
                self.ledger.last_ends(self.batch_end.unwrap_or_default());
                FromClient::Forward
            }
        })
    }

    /// A prepared DEALLOCATE of no name of ours, or an EXECUTE of one that went since it was bound: the server itself says
    /// that there is none, or does it to one of its own (`moved`).
    #[cold]
    fn command_there(&mut self, verb: &[u8], name: &[u8], to_server: &mut Outbox<'_>) {
        let name = if name.starts_with(prepared::PREFIX.as_bytes()) { UNKNOWN } else { name };
        let text = [verb, &quoted(name), EMPTY_PARSE].concat();
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

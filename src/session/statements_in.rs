//! [pure] Statements on their way in: what becomes of Parse, Bind, Describe and Close.
//!
//! A client's names never reach a shared server: here they become shared names, and what the server at hand lacks is
//! sent in front.

use std::sync::Arc;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::pin::Pin;
use super::prepared::{self, Effect, Statement};
use super::unnamed::{OnServer, Unnamed};
use super::wishes::Wished;
use super::{Batch, Frame, FromClient, ServerState, Session, pins};
use crate::config::PoolMode;
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::{self, End, Special, Taint, Taints};
use crate::wire::backend::TxStatus;
use crate::wire::frontend::{self, Named};
use crate::wire::{encode, front};

impl Session {
    pub(super) fn parse(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        let first = self.may_repeat();
        self.batch = Batch::Open;
        if self.mode == PoolMode::Session {
            return Ok(self.forward(Kind::Parse));
        }
        if !frame.whole() {
            return self.large_parse(frame, server, to_server);
        }
        let Some(view) = frontend::parse(frame.body) else { return Ok(self.forward(Kind::Parse)) };
        if view.name.is_empty() || !self.tracking {
            if let Some(verdict) = self.share(&view, frame, server, to_server) {
                return Ok(verdict);
            }
            return Ok(self.unnamed_parse(&view, server, to_server, frame.header.len));
        }
        self.prepares.client_parses += 1;
        if self.statements.find(view.name).is_some() {
            self.duplicate_parse(view.name, to_server);
            encode::parse(to_server.end(), DECOY, view.rest);
            return Ok(FromClient::Replaced { taken: frame.header.len });
        }
        if self.is_rooted() {
            self.ask_for_name(view.name, view.rest, to_server);
        }
        if !self.statements.has_room(view.rest.len()) {
            return Err(Error::new(ErrorKind::PreparedTooMany, Side::Client));
        }
        let statement = self.statement(view.text, view.rest, to_server);
        let slot = self.statements.insert(view.name, Arc::clone(&statement));
        if server.parsed.touch(statement.id, self.ledger.batch()) {
            self.ledger.push(Owed::new(Kind::Parse, Action::Fake).of(statement.id, slot));
            if first {
                self.replay.start();
                self.replay.record(front::PARSE, Some(frame.body));
            }
            return Ok(FromClient::Swallow);
        }
        self.ensure_target(statement.effect.as_ref(), server, to_server);
        let owed = self.owed_for(Kind::Parse, statement.effect.as_ref()).of(statement.id, slot);
        self.teach(&statement, server, to_server, owed);
        Ok(FromClient::Replaced { taken: frame.header.len })
    }

    /// Names of ours, however the client's statement is called, and the pins that come with its text.
    fn statement(&mut self, text: &[u8], rest: &[u8], to_server: &mut Outbox<'_>) -> Arc<Statement> {
        let verdict = self.classified(text);
        let by_name = self.parse_by_name(&verdict, text, rest);
        let effect = match &verdict.special {
            // A failed transaction refuses it like anything else.
            _ if self.status == TxStatus::Failed => None,
            Special::Deallocate(name) => Some(Effect::Deallocate(sql::fold_identifier(name).as_ref().into())),
            Special::DeallocateAll => Some(Effect::DeallocateAll),
            Special::DiscardAll => Some(Effect::DiscardAll),
            _ => None,
        };
        let mut instead = None;
        let effect = match self.own_effect(&verdict, text) {
            Some(Wished::Effect(wish @ Effect::Wish(..))) => Some(wish),
            Some(Wished::Refused(text)) => {
                instead = Some(text);
                None
            }
            _ if effect.is_none() => self.assigns(&verdict, text).map(Effect::Set),
            _ => effect,
        };
        let (effect, rest) = match &by_name {
            Some((effect, sent)) => (Some(effect.clone()), &sent[..]),
            None => (effect, rest),
        };
        let ours = instead.is_some() || matches!(effect, Some(Effect::Wish(..) | Effect::Set(_) | Effect::Prepare(_)));
        let taints = match verdict.special {
            Special::ResetAll => Taints::of(&[Taint::Reset]),
            _ if ours => Taints::NONE,
            _ => verdict.taints,
        };
        // What it leaves it leaves when it is bound.
        self.reads_sequences(taints, to_server);
        // DEALLOCATE is planned as an empty query; what executes it applies the effect.
        let refused = instead.map(|text| [&text[..], EMPTY_PARSE].concat());
        let rest = match &effect {
            Some(effect) if effect.is_ours() => EMPTY_PARSE,
            _ => refused.as_deref().unwrap_or(rest),
        };
        let (name, catalog, end) = (prepared::server_name, verdict.catalog, verdict.end);
        let mut make =
            |id| Statement { id, name: name(id), rest: rest.into(), taints, catalog, end, effect: effect.clone() };
        // In a failed transaction the server must refuse the Parse itself (25P02), unless it is one that ends it.
        let own = effect.is_some() || self.is_own(text, taints);
        if own || self.status == TxStatus::Failed {
            return Arc::new(make(self.intern.private_id()));
        }
        self.intern.shared(rest, &self.parse_scope(), &mut make)
    }

    fn unnamed_parse(
        &mut self,
        view: &frontend::Parse<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
        len: usize,
    ) -> FromClient {
        let verdict = self.classified(view.text);
        let ours = if view.name.is_empty() { self.own_effect(&verdict, view.text) } else { None };
        let sets = if view.name.is_empty() && ours.is_none() { self.assigns(&verdict, view.text) } else { None };
        let by_name = if view.name.is_empty() { self.parse_by_name(&verdict, view.text, view.rest) } else { None };
        let prepares = matches!(by_name, Some((Effect::Prepare(_), _)));
        self.note_catalog(verdict.catalog);
        self.unnamed_end = verdict.end;
        if !view.name.is_empty() {
            // Nobody knows by its name what a Bind will use.
            self.tainted(verdict.taints.with(pins::left_by(&verdict)), to_server);
            self.note_ending(view.text);
            return self.forward(Kind::Parse);
        }
        self.large_unbound = false;
        let left = if sets.is_some() || prepares { Taints::NONE } else { pins::left_by(&verdict) };
        if ours.is_none() && sets.is_none() && !prepares {
            self.reads_sequences(verdict.taints, to_server);
        }
        if let Some(by_name) = by_name {
            self.ensure_target(Some(&by_name.0), server, to_server);
            let verdict = self.unnamed_by_name(by_name, len, to_server);
            self.rare.set_unnamed_taints(left);
            return verdict;
        }
        self.replace_unnamed(Unnamed::Known(OnServer::Sent(self.ledger.batch())));
        self.unnamed_rest.clear();
        self.rare.set_unnamed(None);
        match ours {
            Some(Wished::Effect(effect)) => self.rare.set_unnamed(Some(effect)),
            Some(Wished::Refused(text)) => self.unnamed_rest.extend_from_slice(&text),
            None => {
                if verdict.special == Special::DiscardAll && self.tracking {
                    self.rare.set_unnamed(Some(Effect::DiscardAll));
                } else if let Some(all) = sets {
                    self.rare.set_unnamed(Some(Effect::Set(all)));
                }
                self.rare.set_unnamed_taints(left);
                self.unnamed_rest.extend_from_slice(view.rest);
                return self.forward(Kind::Parse);
            }
        }
        self.unnamed_rest.extend_from_slice(EMPTY_PARSE);
        encode::parse(to_server.end(), b"", &self.unnamed_rest);
        self.ledger.push(Owed::new(Kind::Parse, Action::Forward));
        FromClient::Replaced { taken: len }
    }

    /// A Parse too long to be read. Its name is private to this client, and its server stays.
    #[cold]
    fn large_parse(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        let Some((name, _)) = crate::wire::cstr(frame.body) else {
            return Err(Error::protocol("a statement name is too long"));
        };
        if name.is_empty() || !self.tracking {
            self.replace_unnamed(Unnamed::Large);
            self.rare.set_unnamed(None);
            self.large_unbound = true;
            return Ok(self.forward(Kind::Parse));
        }
        let (taken, rest) = (5 + name.len() + 1, frame.header.len - 5 - (name.len() + 1));
        self.pin_for(Pin::LargeParse);
        self.prepares.client_parses += 1;
        if self.statements.find(name).is_some() {
            self.duplicate_parse(name, to_server);
            encode::parse_head(to_server.end(), DECOY, rest);
            return Ok(FromClient::Replaced { taken });
        }
        let id = self.intern.private_id();
        let statement = Arc::new(Statement {
            id,
            name: prepared::server_name(id),
            rest: Box::default(),
            taints: Taints::NONE,
            catalog: false,
            end: End::Commits,
            effect: None,
        });
        let slot = self.statements.insert(name, Arc::clone(&statement));
        self.prepares.server_parses += 1;
        self.make_way(&statement, server, to_server);
        encode::parse_head(to_server.end(), &statement.name, rest);
        self.ledger.push(Owed::new(Kind::Parse, Action::Forward).of(id, slot));
        Ok(FromClient::Replaced { taken })
    }

    pub(super) fn bind(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<FromClient, Error> {
        self.batch = Batch::Open;
        if self.mode == PoolMode::Session {
            return Ok(self.forward(Kind::Bind));
        }
        let Some(names) = frontend::bind(frame.body) else {
            return match frame.whole() {
                true => Ok(self.forward(Kind::Bind)),
                false => Err(Error::protocol("the names of a Bind are too long")),
            };
        };
        if !names.portal.is_empty() {
            self.anchor();
        }
        if names.statement.is_empty() {
            if let Some(verdict) = self.bind_shared(&names, frame.header.len, to_server) {
                return Ok(verdict);
            }
            self.recall_unnamed(to_server);
            self.note_end(self.unnamed_end);
            self.large_unbound = false;
            if matches!(self.unnamed, Unnamed::Large) {
                self.pin_for(Pin::Unread);
            }
            self.pin_for_all(self.rare.unnamed_taints());
            self.unnamed_may_end_pins();
            let effect = self.rare.unnamed().cloned();
            self.uses_target(effect.as_ref(), to_server);
            self.ensure_target(effect.as_ref(), server, to_server);
            self.set_portal_effect(names.portal, effect);
            return Ok(self.forward(Kind::Bind));
        }
        let Some((slot, statement)) = self.statements.find(names.statement).map(|(slot, s)| (slot, Arc::clone(s)))
        else {
            return Ok(self.bind_unknown(&names, frame, to_server));
        };
        let statement = self.renew(slot, statement);
        self.uses(&statement, to_server);
        self.note_end(statement.end);
        self.uses_target(statement.effect.as_ref(), to_server);
        self.ensure_target(statement.effect.as_ref(), server, to_server);
        self.set_portal_effect(names.portal, statement.effect.clone());
        self.ensure_rows(names.portal, slot, &statement, server, to_server);
        let rest = frame.header.len - 5 - names.taken;
        encode::bind_head(to_server.end(), names.portal, &statement.name, rest);
        self.ledger.push(Owed::new(Kind::Bind, Action::Forward).of(statement.id, slot));
        Ok(FromClient::Replaced { taken: 5 + names.taken })
    }

    /// PostgreSQL's own 26000 names what the client named; a name that looks like ours must not find one of ours.
    fn bind_unknown(
        &mut self,
        names: &frontend::BindNames<'_>,
        frame: &Frame<'_>,
        to_server: &mut Outbox<'_>,
    ) -> FromClient {
        // Nobody knows its text.
        self.note_end(End::Commits);
        if !self.tracking || !names.statement.starts_with(prepared::PREFIX.as_bytes()) {
            return self.forward(Kind::Bind);
        }
        encode::bind_head(to_server.end(), names.portal, UNKNOWN, frame.header.len - 5 - names.taken);
        self.ledger.push(Owed::new(Kind::Bind, Action::Forward));
        FromClient::Replaced { taken: 5 + names.taken }
    }

    pub(super) fn describe(
        &mut self,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> FromClient {
        self.batch = Batch::Open;
        let name = match frontend::named(frame.body) {
            Some(Named::Statement(name)) if self.mode != PoolMode::Session => name,
            Some(Named::Statement(_)) => return self.forward(Kind::DescribeStatement),
            Some(Named::Portal(name)) => {
                let owed = self.describe_portal(name);
                self.ledger.push(owed);
                return FromClient::Forward;
            }
            None => return self.forward(Kind::DescribePortal),
        };
        if name.is_empty() {
            if let Some(verdict) = self.describe_shared(frame.header.len, to_server) {
                return verdict;
            }
            self.renew_unnamed();
            let effect = self.rare.unnamed().cloned();
            self.ensure_target(effect.as_ref(), server, to_server);
            self.recall_unnamed(to_server);
            return self.forward(Kind::DescribeStatement);
        }
        let known = self.statements.find(name).map(|(slot, s)| (slot, Arc::clone(s)));
        let known = known.map(|(slot, statement)| (slot, self.renew(slot, statement)));
        let (sent, owed) = match &known {
            Some((slot, statement)) => {
                self.ensure_target(statement.effect.as_ref(), server, to_server);
                self.ensure(statement, server, to_server);
                self.describes_slot(*slot);
                (&*statement.name, Owed::new(Kind::DescribeStatement, Action::Forward).of(statement.id, *slot))
            }
            None if self.tracking && name.starts_with(prepared::PREFIX.as_bytes()) => {
                (UNKNOWN, Owed::new(Kind::DescribeStatement, Action::Forward))
            }
            None => return self.forward(Kind::DescribeStatement),
        };
        encode::describe_statement(to_server.end(), sent);
        self.ledger.push(owed);
        FromClient::Replaced { taken: frame.header.len }
    }

    /// A server keeps the shared statement; only the client's name ends.
    pub(super) fn close(&mut self, frame: &Frame<'_>) -> FromClient {
        let first = self.may_repeat();
        self.batch = Batch::Open;
        let name = match frontend::named(frame.body) {
            Some(Named::Statement(name)) if self.mode != PoolMode::Session => name,
            _ => return self.forward(Kind::Close),
        };
        if name.is_empty() {
            self.replace_unnamed(Unnamed::None);
            return self.forward(Kind::Close);
        }
        let of_server = self.is_rooted() && self.statements.find(name).is_none();
        if !self.tracking || (of_server && !name.starts_with(prepared::PREFIX.as_bytes())) {
            return self.forward(Kind::Close);
        }
        // Closing a name that does not exist is no error (PROTOCOL 8).
        let slot = self.statements.hide(name).unwrap_or(NO_SLOT);
        self.ledger.push(Owed::new(Kind::Close, Action::Fake).of(0, slot));
        if first {
            self.replay.start();
            self.replay.record(front::CLOSE, Some(frame.body));
        }
        FromClient::Swallow
    }
}

/// An empty query without parameters, as a Parse has it behind its name.
pub(super) const EMPTY_PARSE: &[u8] = b"\0\0\0";

/// A name that no server has: ids begin at 1.
pub(super) const UNKNOWN: &[u8] = b"pgweir_0";

/// A statement of nobody's, for what a server should judge by itself.
pub(super) const DECOY: &[u8] = b"pgweir_own";

/// No shared statement has it.
pub(super) const DECOY_ID: u64 = u64::MAX;

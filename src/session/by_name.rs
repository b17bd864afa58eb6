//! [pure] Texts that name prepared statements, executed by the extended protocol.
//!
//! Such a text is parsed with the name that servers know. What its name means is looked at anew at each use, as PostgreSQL
//! does at each Execute. A PREPARE counts when it is executed, not when it is parsed.

use std::sync::Arc;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::prepared::{self, Effect, Statement};
use super::splice::Splice;
use super::statements_in::{EMPTY_PARSE, UNKNOWN};
use super::unnamed::{OnServer, Unnamed};
use super::{FromClient, ServerState, Session};
use crate::error::Error;
use crate::sql::{self, Mentions, Taint, Taints, Token};
use crate::wire::{self, encode};

/// A text that names prepared statements, to be executed by the extended protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct ByName {
    /// The client's own text and parameter types, as in Parse.
    original: Box<[u8]>,
    target: Target,
    splice: Arc<Splice>,
}

impl ByName {
    /// As the client calls it.
    pub fn name(&self) -> &[u8] {
        &self.target.name
    }
}

/// A client's name, and what it meant when it was last looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub name: Box<[u8]>,
    pub statement: Option<Arc<Statement>>,
}

impl Target {
    /// What goes to servers in place of the name; None: the name itself. One like ours must not find one of ours.
    pub fn replacement(&self) -> Option<Box<[u8]>> {
        match &self.statement {
            Some(statement) => Some(statement.name.clone()),
            None => self.name.starts_with(prepared::PREFIX.as_bytes()).then(|| UNKNOWN.into()),
        }
    }
}

impl Session {
    /// What a name of SQL's means now. A statement that is followed here by what executing it does is none for EXECUTE.
    pub(super) fn target(&self, name: Token<'_>) -> Target {
        let name: Box<[u8]> = sql::fold_identifier(name.text).as_ref().into();
        let found = self.statements.find(&name).filter(|(_, statement)| statement.effect.is_none());
        let statement = found.map(|(_, statement)| Arc::clone(statement));
        Target { name, statement }
    }

    /// A Parse of a text that names prepared statements: what executing it does, and what goes out in its place.
    pub(super) fn parse_by_name(
        &mut self,
        verdict: &sql::Statement<'_>,
        text: &[u8],
        rest: &[u8],
    ) -> Option<(Effect, Vec<u8>)> {
        if !verdict.names || !self.tracking || verdict.taint == Some(Taint::Unreadable) {
            return None;
        }
        match sql::mentions(text, self.lexical) {
            Mentions::Prepare(token) => {
                let name = sql::fold_identifier(token.text);
                if self.is_rooted() && self.statements.find(&name).is_none() {
                    return None;
                }
                let statement = Some(self.prepared_by_sql(token, verdict, text));
                let target = Target { name: name.as_ref().into(), statement };
                let (by_name, sent) = spliced(rest, token, target);
                Some((Effect::Prepare(by_name), sent))
            }
            Mentions::Execute(tokens) => {
                let [token] = tokens[..] else { return None };
                let (by_name, sent) = spliced(rest, token, self.target(token));
                Some((Effect::Execute(by_name), sent))
            }
            Mentions::Nothing | Mentions::Deallocate(_) | Mentions::Mixed(_) => None,
        }
    }

    /// The same for the unnamed statement, which is sent.
    pub(super) fn unnamed_by_name(
        &mut self,
        by_name: (Effect, Vec<u8>),
        len: usize,
        to_server: &mut Outbox<'_>,
    ) -> FromClient {
        let (effect, rest) = by_name;
        self.replace_unnamed(Unnamed::Known(OnServer::Sent(self.ledger.batch())));
        self.unnamed_rest = rest;
        encode::parse(to_server.end(), b"", &self.unnamed_rest);
        let owed = self.owed_for(Kind::Parse, Some(&effect));
        self.rare.set_unnamed(Some(effect));
        self.ledger.push(owed);
        FromClient::Replaced { taken: len }
    }

    /// The entry for a message of the client's about a statement that does this.
    pub(super) fn owed_for(&mut self, kind: Kind, effect: Option<&Effect>) -> Owed {
        let (Some(Effect::Prepare(by_name)) | Some(Effect::Execute(by_name))) = effect else {
            return Owed::new(kind, Action::Forward);
        };
        self.rare.begin_splice(Arc::clone(&by_name.splice));
        Owed::new(kind, Action::Spliced)
    }

    /// The name that a statement executes may mean another by now.
    fn renewed(&self, by_name: &ByName) -> Option<(Arc<ByName>, Vec<u8>)> {
        let (text, _) = wire::cstr(&by_name.original)?;
        let Mentions::Execute(tokens) = sql::mentions(text, self.lexical) else { return None };
        let [token] = tokens[..] else { return None };
        let target = self.target(token);
        let id = |target: &Target| target.statement.as_ref().map(|statement| statement.id);
        (id(&target) != id(&by_name.target)).then(|| spliced(&by_name.original, token, target))
    }

    /// Whether a portal is of an EXECUTE whose name has gone, or means another statement, since it was bound.
    pub(super) fn is_outdated(&self, by_name: &ByName) -> bool {
        self.renewed(by_name).is_some()
    }

    /// Before a use of the unnamed statement: it is sent again where what it executes is another one.
    pub(super) fn renew_unnamed(&mut self) {
        let effect = self.rare.unnamed().filter(|_| matches!(self.unnamed, Unnamed::Known(_)));
        let Some(Effect::Execute(by_name)) = effect else { return };
        let Some((by_name, rest)) = self.renewed(by_name) else { return };
        self.rare.set_unnamed(Some(Effect::Execute(by_name)));
        self.unnamed_rest = rest;
        self.unnamed = Unnamed::Known(OnServer::No);
    }

    /// The same for a named one.
    pub(super) fn renew(&mut self, slot: u32, statement: Arc<Statement>) -> Arc<Statement> {
        let Some(Effect::Execute(by_name)) = &statement.effect else { return statement };
        let Some((by_name, rest)) = self.renewed(by_name) else { return statement };
        let id = self.intern.private_id();
        let renewed = Arc::new(Statement {
            id,
            name: prepared::server_name(id),
            rest: rest.into(),
            taints: statement.taints,
            catalog: statement.catalog,
            end: statement.end,
            effect: Some(Effect::Execute(by_name)),
        });
        self.statements.swap(slot, Arc::clone(&renewed));
        renewed
    }

    /// A message that comes to what this statement executes: the server must have it, at the Parse already, from where a
    /// description of its rows is.
    pub(super) fn ensure_target(
        &mut self,
        effect: Option<&Effect>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        if let Some(Effect::Execute(by_name)) = effect
            && let Some(statement) = &by_name.target.statement
        {
            server.parsed.hold();
            self.ensure(statement, server, to_server);
        }
    }

    /// It is bound, to be executed.
    pub(super) fn uses_target(&mut self, effect: Option<&Effect>, to_server: &mut Outbox<'_>) {
        if let Some(Effect::Execute(by_name)) = effect
            && let Some(statement) = &by_name.target.statement
        {
            self.uses(statement, to_server);
            self.note_end(statement.end);
        }
    }

    /// An Execute of a PREPARE: the name is there from now on, unless it is refused.
    pub(super) fn execute_prepare(
        &mut self,
        by_name: &Arc<ByName>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<Owed, Error> {
        let effect = Effect::Prepare(Arc::clone(by_name));
        let Target { name, statement: Some(statement) } = &by_name.target else {
            return Ok(self.owed_for(Kind::Execute, Some(&effect)));
        };
        if self.statements.find(name).is_some() {
            self.occupy(statement, server, to_server);
            return Ok(self.owed_for(Kind::Execute, Some(&effect)));
        }
        let slot = self.name_statement(name, statement)?;
        self.make_way(statement, server, to_server);
        self.prepares.server_parses += 1;
        Ok(self.owed_for(Kind::Execute, Some(&effect)).of(statement.id, slot))
    }

    /// The server has something under this name for certain, so that a PREPARE is refused; it is learnt anew before its next
    /// use.
    fn occupy(&mut self, statement: &Arc<Statement>, server: &mut ServerState, to_server: &mut Outbox<'_>) {
        self.make_way(statement, server, to_server);
        encode::parse(to_server.end(), &statement.name, EMPTY_PARSE);
        self.ledger.push(Owed::new(Kind::Parse, Action::Skip).of(statement.id, NO_SLOT));
        server.parsed.doubt(statement.id);
    }
}

/// What a statement that executes another may leave by that, beyond what its own text shows.
pub(super) fn left_by_target(effect: Option<&Effect>) -> Taints {
    match effect {
        Some(Effect::Execute(by_name)) => by_name.target.statement.as_ref().map_or(Taints::NONE, |of| of.taints),
        _ => Taints::NONE,
    }
}

/// A Parse's text with the name that servers know.
fn spliced(rest: &[u8], token: Token<'_>, target: Target) -> (Arc<ByName>, Vec<u8>) {
    let ours = target.replacement().map(|ours| (token, target.name.clone(), ours));
    let (sent, mut splice) = Splice::of(rest, ours.into_iter());
    splice.uses = target.statement.iter().map(|statement| statement.id).collect();
    let splice = Arc::new(splice);
    (Arc::new(ByName { original: rest.into(), target, splice }), sent)
}

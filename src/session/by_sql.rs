//! [pure] PREPARE, EXECUTE and DEALLOCATE by SQL: one namespace with the protocol's statements, as in PostgreSQL.
//!
//! What a client prepares by SQL is a statement among its others, which servers know by a shared name. So a text that
//! names one goes out with that name in it, behind what teaches it to a server that lacks it. A PREPARE is always run:
//! what it says of its text is PostgreSQL's word. It is not undone with its transaction.
//!
//! A text with a PREPARE or DEALLOCATE among other statements goes out as it is and pins. What it names moves to that
//! server before, under the client's own names: each name is either ours, or that server's, and never both. While such a
//! server is held (`is_rooted`), new names of SQL's are its as well.
//!
//! Absence: what a function executes by name is not seen, nor is an EXECUTE of a statement that is itself a SET, an EXECUTE
//! or another command that is followed here: those are not found (26000).

use std::sync::Arc;

use super::ledger::{Action, Kind, Owed};
use super::outbox::Outbox;
use super::pins::left_by;
use super::prepared::{self, Statement};
use super::splice::Splice;
use super::statements_in::DECOY;
use super::teach::PREPARE;
use super::{ServerState, Session};
use crate::error::{Error, Kind as ErrorKind, Side};
use crate::sql::{self, End, Mentions, Taint, Taints, Token};
use crate::wire::backend::TxStatus;
use crate::wire::{self, encode, front};

impl Session {
    /// A Query that names prepared statements: true if another went out in its place.
    pub(super) fn query_by_name(
        &mut self,
        statement: &sql::Statement<'_>,
        text: &[u8],
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<bool, Error> {
        let mentions = sql::mentions(text, self.lexical);
        let unclear = statement.taint == Some(Taint::Unreadable) || matches!(mentions, Mentions::Mixed(_));
        match &mentions {
            _ if unclear => self.move_there(mentions.names(), to_server),
            Mentions::Prepare(name) => return self.prepare_by_query(*name, statement, text, server, to_server),
            Mentions::Execute(_) => {
                return Ok(self.execute_by_query(mentions.names(), statement, text, server, to_server));
            }
            // One of ours is not for servers (`own_effect`), and in a failed transaction it is refused.
            Mentions::Deallocate(name) if self.target(*name).statement.is_none() => {
                return Ok(self.execute_by_query(mentions.names(), statement, text, server, to_server));
            }
            _ => {}
        }
        Ok(false)
    }

    /// What a text that names prepared statements may leave in the session; None: what any text would. A PREPARE leaves
    /// nothing, an EXECUTE what its statement does.
    pub(super) fn left_by_name(&self, statement: &sql::Statement<'_>, text: &[u8]) -> Option<Taints> {
        if !statement.names || !self.tracking || statement.taint == Some(Taint::Unreadable) {
            return None;
        }
        match sql::mentions(text, self.lexical) {
            Mentions::Prepare(_) => Some(Taints::NONE),
            Mentions::Execute(names) => {
                let executed = names.iter().filter_map(|name| self.target(*name).statement);
                Some(executed.fold(left_by(statement), |all, one| all.with(one.taints)))
            }
            _ => None,
        }
    }

    fn prepare_by_query(
        &mut self,
        name: Token<'_>,
        verdict: &sql::Statement<'_>,
        text: &[u8],
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Result<bool, Error> {
        let theirs: Box<[u8]> = sql::fold_identifier(name.text).as_ref().into();
        let taken = self.statements.find(&theirs).is_some();
        if !taken && self.is_rooted() {
            return Ok(false);
        }
        self.prepares.client_parses += 1;
        let before = self.ledger.len();
        let mut owed = Owed::new(Kind::Query, Action::Spliced);
        let ours = if taken {
            self.take_decoy(to_server);
            DECOY.into()
        } else {
            let statement = self.prepared_by_sql(name, verdict, text);
            owed = owed.of(statement.id, self.name_statement(&theirs, &statement)?);
            self.make_way(&statement, server, to_server);
            self.prepares.server_parses += 1;
            statement.name.clone()
        };
        let (sent, splice) = Splice::of(text, std::iter::once((name, theirs, ours)));
        self.send_query(before, &sent, splice, owed, to_server);
        Ok(true)
    }

    fn execute_by_query(
        &mut self,
        names: &[Token<'_>],
        verdict: &sql::Statement<'_>,
        text: &[u8],
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> bool {
        let targets: Vec<_> = names.iter().map(|name| self.target(*name)).collect();
        let both = names.iter().zip(&targets);
        let ours = both.filter_map(|(token, target)| Some((*token, target.name.clone(), target.replacement()?)));
        let (sent, mut splice) = Splice::of(text, ours);
        if splice.is_empty() {
            return false;
        }
        self.note_taint(verdict, text, server, to_server);
        let mut end = verdict.end;
        for statement in targets.iter().filter_map(|target| target.statement.as_ref()) {
            self.uses(statement, to_server);
            end = if statement.end == End::Commits { End::Commits } else { end };
        }
        let before = self.ledger.len();
        splice.uses = targets.iter().filter_map(|target| Some(target.statement.as_ref()?.id)).collect();
        let repeats = verdict.statements == 1 && !splice.uses.is_empty() && self.may_repeat();
        // A transaction that failed is taught nothing, and says so itself.
        if self.status != TxStatus::Failed || !self.ledger.owes_client_nothing() {
            let all: Vec<_> = targets.iter().filter_map(|target| target.statement.as_ref()).collect();
            self.ensure_all(&all, server, to_server);
        }
        let owed = Owed { end, ..Owed::new(Kind::Query, Action::Spliced) };
        self.send_query(before, &sent, splice, owed, to_server);
        if repeats {
            // As it may be for a Bind: PostgreSQL refuses a stale plan before it runs it.
            self.replay.start();
            self.replay.record(front::QUERY, Some(&[text, b"\0"].concat()));
        }
        self.replay.complete();
        true
    }

    /// A Query behind what was taught since the ledger had `before` entries.
    fn send_query(&mut self, before: usize, text: &[u8], splice: Splice, owed: Owed, to_server: &mut Outbox<'_>) {
        if self.ledger.len() > before {
            self.end_teaching(to_server);
        }
        encode::query(to_server.end(), text);
        self.rare.begin_splice(Arc::new(splice));
        self.ledger.push(owed);
    }

    /// The statement that a PREPARE makes: what stands behind its name says which. What its body may leave in the session
    /// comes with each use of it.
    pub(super) fn prepared_by_sql(
        &mut self,
        name: Token<'_>,
        verdict: &sql::Statement<'_>,
        text: &[u8],
    ) -> Arc<Statement> {
        let behind = text.get(name.start + name.text.len()..).unwrap_or_default();
        let rest = [PREPARE, behind, b"\0"].concat();
        let taints = verdict.taints.without(Taints::of(&[Taint::Prepare]));
        let mut make = |id| Statement {
            id,
            name: prepared::server_name(id),
            rest: rest.as_slice().into(),
            taints,
            catalog: false,
            end: End::Open,
            effect: None,
        };
        if self.is_own(text, taints) {
            return Arc::new(make(self.intern.private_id()));
        }
        self.intern.shared(&rest, &self.parse_scope(), &mut make)
    }

    /// Whether a statement is the client's alone: its server stays, a literal of it is of a moment, or it leaves something. For
    /// what it leaves depends on what its servers report as well, and equal texts are one for servers of all versions.
    pub(super) fn is_own(&self, text: &[u8], taints: Taints) -> bool {
        let leaves = !taints.without(Taints::of(&[Taint::Currval])).is_empty();
        self.pin.is_some() || leaves || sql::names_a_moment(text, self.lexical)
    }

    pub(super) fn name_statement(&mut self, name: &[u8], statement: &Arc<Statement>) -> Result<u32, Error> {
        if !self.statements.has_room(statement.rest.len()) {
            return Err(Error::new(ErrorKind::PreparedTooMany, Side::Client));
        }
        Ok(self.statements.insert(name, Arc::clone(statement)))
    }

    /// What executing a statement may leave in the session, or read of it.
    pub(super) fn uses(&mut self, statement: &Statement, to_server: &mut Outbox<'_>) {
        self.prepares.binds += 1;
        self.tainted(statement.taints, to_server);
        if let Some((text, _)) = wire::cstr(&statement.rest) {
            self.note_ending(text);
        }
        self.note_catalog(statement.catalog);
    }

    /// The PREPARE of the head was refused: there is no such statement.
    pub(super) fn prepare_refused(&mut self, head: &Owed, server: &mut ServerState) {
        if head.statement != 0 {
            self.statements.forget(head.slot);
            server.parsed.answered(head.statement);
            server.parsed.doubt(head.statement);
        }
    }
}

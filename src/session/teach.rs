//! [pure] What a server is taught in front of a message that needs it, in the same write.
//!
//! A statement of the protocol's with a Parse. One of SQL's PREPARE with that command, run by messages of the extended
//! protocol, so that it can stand within a batch and leaves the client's unnamed statement and portal alone. In front of
//! a Query a Sync of ours ends what was taught; if that failed, its error is the Query's own.

use std::sync::Arc;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::prepared::Statement;
use super::statements_in::{DECOY, DECOY_ID, EMPTY_PARSE};
use super::{Batch, Frame, ServerState, Session};
use crate::sql::End;
use crate::wire::encode;

impl Statement {
    /// Whether SQL's PREPARE made it: a Parse has the number of its parameter types behind the text.
    pub fn is_by_sql(&self) -> bool {
        self.rest.last().is_some() && memchr::memchr(0, &self.rest) == Some(self.rest.len() - 1)
    }
}

impl Session {
    /// Sends the Parse of a shared statement, closing another first where the server's set is full.
    pub(super) fn teach(
        &mut self,
        statement: &Arc<Statement>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
        owed: Owed,
    ) {
        self.make_way(statement, server, to_server);
        self.prepares.server_parses += 1;
        if statement.is_by_sql() {
            return self.prepare_there(statement, &statement.name, to_server, Owed { kind: Kind::Execute, ..owed });
        }
        encode::parse(to_server.end(), &statement.name, &statement.rest);
        self.ledger.push(owed);
    }

    /// The server's set takes a statement in: what must be closed for it is closed.
    pub(super) fn make_way(
        &mut self,
        statement: &Arc<Statement>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        let before = server.parsed.learn(statement, self.ledger.batch());
        let own = before.close_first.then(|| Arc::clone(statement));
        for old in before.evicted.into_iter().chain(own) {
            encode::close_statement(to_server.end(), &old.name);
            self.ledger.push(Owed::new(Kind::Close, Action::Skip).of(old.id, NO_SLOT));
        }
    }

    /// The server must know the statement before a message that uses it.
    pub(super) fn ensure(&mut self, statement: &Arc<Statement>, server: &mut ServerState, to_server: &mut Outbox<'_>) {
        if !server.parsed.touch(statement.id, self.ledger.batch()) {
            self.teach_silently(statement, server, to_server);
        }
    }

    /// It must know all of these at the same time.
    pub(super) fn ensure_all(
        &mut self,
        statements: &[&Arc<Statement>],
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        let batch = self.ledger.batch();
        server.parsed.hold();
        statements.iter().for_each(|statement| _ = server.parsed.touch(statement.id, batch));
        statements.iter().for_each(|statement| self.ensure(statement, server, to_server));
    }

    /// With a Parse of ours.
    pub(super) fn teach_silently(
        &mut self,
        statement: &Arc<Statement>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) {
        self.teach(statement, server, to_server, Owed::new(Kind::Parse, Action::Skip).of(statement.id, NO_SLOT));
    }

    /// A name twice: the Parse itself goes out under a name that is taken for certain, so that the server judges its text
    /// as PostgreSQL does, in a failed transaction too, and then refuses it; the error is given the client's name.
    #[cold]
    pub(super) fn duplicate_parse(&mut self, name: &[u8], to_server: &mut Outbox<'_>) {
        self.take_decoy(to_server);
        self.rare.rename(name);
        self.ledger.push(Owed::new(Kind::Parse, Action::Rename));
    }

    /// The name of the decoy is taken from now on.
    pub(super) fn take_decoy(&mut self, to_server: &mut Outbox<'_>) {
        encode::close_statement(to_server.end(), DECOY);
        self.ledger.push(Owed::new(Kind::Close, Action::Skip).of(DECOY_ID, NO_SLOT));
        encode::parse(to_server.end(), DECOY, EMPTY_PARSE);
        self.ledger.push(Owed::new(Kind::Parse, Action::Skip).of(DECOY_ID, NO_SLOT));
    }

    /// PREPARE under this name, run by an Execute that `last` speaks of. What leads to it is of the same action.
    pub(super) fn prepare_there(&mut self, statement: &Statement, name: &[u8], to_server: &mut Outbox<'_>, last: Owed) {
        // Behind the word comes what stood behind the name, up to the NUL.
        let behind = statement.rest.get(PREPARE.len()..).unwrap_or_default();
        let text = [PREPARE, b" ", name, b" ", behind, NO_TYPES].concat();
        self.run_there(&text, to_server, last);
    }

    /// A text of a Parse, run by an Execute that `last` speaks of.
    pub(super) fn run_there(&mut self, text: &[u8], to_server: &mut Outbox<'_>, last: Owed) {
        let out = to_server.end();
        encode::close_statement(out, DECOY);
        encode::parse(out, DECOY, text);
        encode::bind_head(out, DECOY, DECOY, NO_PARAMETERS.len());
        out.extend(NO_PARAMETERS);
        encode::execute(out, DECOY);
        encode::close_portal(out, DECOY);
        for kind in [Kind::Close, Kind::Parse, Kind::Bind] {
            self.ledger.push(Owed::new(kind, last.action).of(DECOY_ID, NO_SLOT));
        }
        self.ledger.push(last);
        self.ledger.push(Owed::new(Kind::Close, last.action).of(DECOY_ID, NO_SLOT));
    }

    /// Ends what was taught in front of a Query. In an open batch that Query stands and falls with the rest of it.
    pub(super) fn end_teaching(&mut self, to_server: &mut Outbox<'_>) {
        if self.batch == Batch::Closed {
            encode::sync(to_server.end());
            self.ledger.push(Owed { end: End::Harmless, ..Owed::new(Kind::Sync, Action::Skip) });
        }
    }

    /// What was sent in front of the client's Query failed, and nobody is told now. Of a statement that moves the Query
    /// itself says more; what was said of one that was taught takes the place of the Query's own error.
    pub(super) fn is_untold(&mut self, frame: &Frame<'_>, head: &Owed) -> bool {
        let end = self.ledger.head().map(|owed| (owed.kind, owed.action));
        if end != Some((Kind::Sync, Action::Skip)) || self.told_fatal {
            return false;
        }
        if head.action == Action::Skip && frame.whole() {
            self.rare.keep_refusal(frame.body);
        }
        frame.whole() && matches!(head.action, Action::Move | Action::Skip)
    }
}

/// The word in front of the rest of a statement that SQL made.
pub(super) const PREPARE: &[u8] = b"PREPARE";

/// The end of a Parse: no parameter types.
const NO_TYPES: &[u8] = &[0; 2];

/// The end of a Bind: no formats, no values, no result formats.
pub(super) const NO_PARAMETERS: [u8; 6] = [0; 6];

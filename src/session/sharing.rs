//! [pure] Unnamed statements that repeat, under shared names.
//!
//! PostgreSQL parses and plans an unnamed statement each time. One that comes again and again (`repeats`) is sent as if
//! the client had prepared it: the server has it under a shared name, its Parse is answered here, and Bind and Describe
//! name it. Only where nobody can tell: the batch is all there, has the statement to itself and begins outside a
//! transaction, so that whatever PostgreSQL would have said at the Parse (that a table is gone, that the result type is
//! another one) makes the batch run once more, as the client wrote it.
//!
//! The client's unnamed statement is known here as it was parsed. A later batch that uses it has it parsed again.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use super::ledger::{Action, Kind, NO_SLOT, Owed};
use super::outbox::Outbox;
use super::prepared::Statement;
use super::repeats::{Said, Ticket, Use};
use super::settings::Settings;
use super::unnamed::{OnServer, Unnamed};
use super::{Batch, Frame, FromClient, ServerState, Session, prepared, replay};
use crate::sql::{self, End, Special};
use crate::stats::Shares;
use crate::wire::backend::{self, TxStatus};
use crate::wire::frontend::{self, Named};
use crate::wire::{encode, frame, front};

/// Nothing for a client that sends no unnamed statements.
#[derive(Debug, Default)]
pub struct Sharing(Option<Box<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    /// The next message is the Parse of a batch that may be shared.
    ahead: Option<Ahead>,
    /// Settings, and their number.
    scope: Option<(Arc<Settings>, u64)>,
    /// What is on its way to be answered.
    ticket: Option<Ticket>,
    /// What the unnamed statement of this batch is called on servers.
    statement: Option<Arc<Statement>>,
    counts: Shares,
}

/// What was seen of a batch that is an unnamed statement and its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    /// It asks for the statement's description, not only for the portal's.
    describes: bool,
    /// A number for its pool: what repeats is known for each by itself.
    pool: u64,
}

impl Sharing {
    fn parts(&mut self) -> &mut Parts {
        self.0.get_or_insert_default()
    }

    /// Its batch failed, or runs once more: how long that takes says nothing.
    pub fn forget_use(&mut self) {
        if let Some(parts) = &mut self.0 {
            parts.ticket = None;
        }
    }

    /// A shared use was refused, and runs once more.
    pub fn note_refused(&mut self) {
        self.parts().counts.refused += 1;
    }
}

impl Session {
    /// Looks at a Parse and what the client sent behind it. `pool`: the same number for all clients of its pool.
    pub fn foresee(&mut self, bytes: &[u8], pool: u64) {
        let first = self.batch == Batch::Closed && self.ledger.owes_client_nothing() && self.status == TxStatus::Idle;
        let may = first && self.tracking && self.pin.is_none() && !self.replay.is_spent() && self.intern.shares();
        let ahead = if may { look_ahead(bytes, pool) } else { None };
        if ahead.is_some() || self.sharing.0.is_some() {
            self.sharing.parts().ahead = ahead;
        }
    }

    /// The Parse of an unnamed statement that was looked at goes out under a shared name, or nowhere. None: it is one like
    /// any.
    pub(super) fn share(
        &mut self,
        parse: &frontend::Parse<'_>,
        frame: &Frame<'_>,
        server: &mut ServerState,
        to_server: &mut Outbox<'_>,
    ) -> Option<FromClient> {
        let ahead = self.sharing.0.as_mut()?.ahead.take()?;
        let scope = self.scope().wrapping_add(ahead.pool) ^ self.hidden_version().rotate_left(32);
        let said = Said { rest: parse.rest, settings: &self.wanted, scope };
        let used = self.intern.repeated(&said, &|| self.fits(parse));
        let (ticket, shared) = match used {
            Use::Alone => (None, None),
            Use::Counted(ticket) => (Some(ticket), None),
            Use::Shared { ticket, statement, age } => (Some(ticket), Some((statement, age))),
        };
        self.sharing.parts().ticket = ticket;
        let (statement, age) = shared?;
        if ahead.describes {
            self.statements.watch_portals();
        }
        let batch = self.ledger.batch();
        self.large_unbound = false;
        self.replace_unnamed(Unnamed::Known(OnServer::Shared(batch)));
        self.unnamed_rest.clear();
        self.unnamed_rest.extend_from_slice(parse.rest);
        self.rare.set_unnamed(None);
        self.unnamed_end = statement.end;
        self.prepares.client_parses += 1;
        self.sharing.parts().counts.uses += 1;
        self.replay.start_unread();
        self.replay.record(front::PARSE, Some(frame.body));
        if !server.parsed.is_of(statement.id, age) {
            server.parsed.doubt(statement.id);
        }
        let verdict = if server.parsed.touch(statement.id, batch) {
            self.ledger.push(Owed::new(Kind::Parse, Action::Fake).of(statement.id, NO_SLOT));
            FromClient::Swallow
        } else {
            let owed = Owed::new(Kind::Parse, Action::Forward).of(statement.id, NO_SLOT);
            self.teach(&statement, server, to_server, owed);
            server.parsed.note_age(statement.id, age);
            FromClient::Replaced { taken: frame.header.len }
        };
        self.sharing.parts().statement = Some(statement);
        Some(verdict)
    }

    /// A number for what a plan depends on beside its text. Not the same for all that are equal, but for all that are one
    /// value, as they soon are (`settings::agree`).
    fn scope(&mut self) -> u64 {
        let Session { sharing, wanted, .. } = self;
        let parts = sharing.parts();
        match &parts.scope {
            Some((of, scope)) if Arc::ptr_eq(of, wanted) => *scope,
            _ => {
                let scope = wanted.plan_scope().fold(0, |seed, part| FixedState::with_seed(seed).hash_one(part));
                parts.scope = Some((Arc::clone(wanted), scope));
                scope
            }
        }
    }

    /// What executing this does to its transaction, if it leaves nothing else behind and means the same later.
    fn fits(&self, parse: &frontend::Parse<'_>) -> Option<End> {
        let verdict = sql::classify(parse.text, self.lexical, self.reported);
        let leaves = !verdict.taints.is_empty() || !self.hidden_in(parse.text).is_empty();
        let plain = !leaves && verdict.special == Special::None && verdict.statements == 1;
        let types = parse.rest.get(parse.text.len() + 1..).unwrap_or_default();
        let lasts = || sql::is_lasting(parse.text, types, self.lexical);
        (plain && !verdict.transaction && !verdict.catalog && lasts()).then_some(verdict.end)
    }

    /// What a message of this batch calls the unnamed statement, if that has a shared name. To be given back.
    fn take_shared(&mut self) -> Option<Arc<Statement>> {
        match self.unnamed {
            Unnamed::Known(OnServer::Shared(batch)) if batch == self.ledger.batch() => {
                self.sharing.0.as_mut()?.statement.take()
            }
            _ => None,
        }
    }

    /// A Bind of the unnamed statement: its names, and what follows them.
    pub(super) fn bind_shared(
        &mut self,
        names: &frontend::BindNames<'_>,
        len: usize,
        to_server: &mut Outbox<'_>,
    ) -> Option<FromClient> {
        let statement = self.take_shared()?;
        self.prepares.binds += 1;
        self.note_end(statement.end);
        self.set_portal_effect(names.portal, None);
        encode::bind_head(to_server.end(), names.portal, &statement.name, len - frame::HEADER - names.taken);
        self.ledger.push(Owed::new(Kind::Bind, Action::Forward).of(statement.id, NO_SLOT));
        self.sharing.parts().statement = Some(statement);
        Some(FromClient::Replaced { taken: frame::HEADER + names.taken })
    }

    /// A Describe of it.
    pub(super) fn describe_shared(&mut self, len: usize, to_server: &mut Outbox<'_>) -> Option<FromClient> {
        let statement = self.take_shared()?;
        encode::describe_statement(to_server.end(), &statement.name);
        self.ledger.push(Owed::new(Kind::DescribeStatement, Action::Forward).of(statement.id, NO_SLOT));
        self.sharing.parts().statement = Some(statement);
        Some(FromClient::Replaced { taken: len })
    }

    /// A batch may yet run once more, so that nothing may be sent behind it: until its answer begins.
    pub fn awaits_answer(&self) -> bool {
        self.replay.is_unread() && self.replay.can()
    }

    /// An error that names a shared statement, as the client would have it; None for any other.
    pub(super) fn in_own_words(&self, error: &[u8], head: &Owed) -> Option<Vec<u8>> {
        if head.kind != Kind::Bind || head.statement == 0 {
            return None;
        }
        let own = if head.slot == NO_SLOT { &b""[..] } else { self.statements.name(head.slot)? };
        by_own_name(error, &prepared::server_name(head.statement), own)
    }

    /// A query of its own was answered, in so many microseconds.
    pub fn took(&mut self, micros: u64) {
        let Some(parts) = &mut self.sharing.0 else { return };
        if parts.ticket.take().is_some_and(|ticket| self.intern.took(ticket, micros)) {
            parts.counts.slower += 1;
        }
    }

    /// What was shared, or was not any more, since this was last asked.
    pub fn take_shares(&mut self) -> Shares {
        self.sharing.0.as_mut().map(|parts| std::mem::take(&mut parts.counts)).unwrap_or_default()
    }

    /// What the client sent may have changed the catalog, whoever saw it through.
    pub fn changed_catalog(&self) {
        self.intern.changed_catalog();
    }
}

/// Whether PostgreSQL might have said something else had the statement been parsed just now: of names that there are not,
/// or not any more, and of values that were read by the types that parameters had. It has executed nothing yet.
pub(super) fn is_of_parse(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"0A000" | b"26000" | b"3F000")
        || [&b"22"[..], b"23", b"42"].iter().any(|class| sqlstate.starts_with(class))
}

/// PostgreSQL names a statement in one error of a Bind: there the client's own name belongs.
fn by_own_name(error: &[u8], theirs: &[u8], own: &[u8]) -> Option<Vec<u8>> {
    if backend::sqlstate(error) != b"08P01" {
        return None;
    }
    let at = memchr::memmem::find(error, &[&b"\""[..], theirs, b"\""].concat())? + 1;
    Some([error.get(..at)?, own, error.get(at + theirs.len()..)?].concat())
}

/// Parse, one Bind, one Execute, Describes and the Close of portals, all of the unnamed statement, and a Sync with nothing
/// behind it; no longer than what is kept to run once more.
fn look_ahead(bytes: &[u8], pool: u64) -> Option<Ahead> {
    if bytes.len() > replay::LIMIT {
        return None;
    }
    let mut ahead = Ahead { describes: false, pool };
    let (mut parses, mut binds, mut executes) = (0, 0, 0);
    let mut rest = bytes;
    loop {
        let header = frame::scan(rest, frame::MESSAGE_LIMIT).ok()??;
        let body = rest.get(frame::HEADER..header.len)?;
        rest = rest.get(header.len..)?;
        match header.tag {
            front::PARSE if body.first() == Some(&0) => parses += 1,
            front::BIND if frontend::bind(body)?.statement.is_empty() => binds += 1,
            front::EXECUTE => executes += 1,
            front::DESCRIBE => match frontend::named(body)? {
                Named::Portal(_) => {}
                Named::Statement([]) => ahead.describes = true,
                Named::Statement(_) => return None,
            },
            front::CLOSE if matches!(frontend::named(body)?, Named::Portal(_)) => {}
            front::SYNC => break,
            _ => return None,
        }
    }
    ((parses, binds, executes) == (1, 1, 1) && rest.is_empty()).then_some(ahead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(parts: &[&[u8]]) -> Option<Ahead> {
        look_ahead(&parts.concat(), 7)
    }

    const PARSE: &[u8] = b"P\0\0\0\x0e\0select\0\0\0";
    const BIND: &[u8] = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0";
    const DESCRIBE: &[u8] = b"D\0\0\0\x06P\0";
    const EXECUTE: &[u8] = b"E\0\0\0\x09\0\0\0\0\0";
    const SYNC: &[u8] = b"S\0\0\0\x04";

    #[test]
    fn a_whole_batch_of_one_unnamed_statement() {
        let of = |describes| Some(Ahead { describes, pool: 7 });
        assert_eq!(batch(&[PARSE, BIND, DESCRIBE, EXECUTE, SYNC]), of(false));
        assert_eq!(batch(&[PARSE, BIND, EXECUTE, b"C\0\0\0\x06P\0", SYNC]), of(false));
        assert_eq!(batch(&[PARSE, b"D\0\0\0\x06S\0", BIND, EXECUTE, SYNC]), of(true));
    }

    #[test]
    fn what_is_more_or_less_is_left_alone() {
        let long = [b"B\0\0\x40\x0c\0\0\0\0\0\0\0\0".to_vec(), vec![0; 0x4000]].concat();
        let named = b"P\0\0\0\x0fs\0select\0\0\0";
        for parts in [
            &[PARSE, SYNC][..],
            &[PARSE, BIND, SYNC],
            &[PARSE, BIND, DESCRIBE, EXECUTE],
            &[PARSE, BIND, DESCRIBE, EXECUTE, b"H\0\0\0\x04"],
            &[PARSE, b"H\0\0\0\x04", BIND, EXECUTE, SYNC],
            &[PARSE, BIND, EXECUTE, SYNC, SYNC],
            &[PARSE, BIND, EXECUTE, SYNC, b"P"],
            &[PARSE, BIND, EXECUTE, EXECUTE, SYNC],
            &[PARSE, BIND, EXECUTE, PARSE, SYNC],
            &[PARSE, BIND, b"D\0\0\0\x07Ss\0", EXECUTE, SYNC],
            &[PARSE, BIND, EXECUTE, b"C\0\0\0\x06S\0", SYNC],
            &[PARSE, b"B\0\0\0\x0d\0s\0\0\0\0\0\0\0", EXECUTE, SYNC],
            &[PARSE, &long, EXECUTE, SYNC],
            &[named, BIND, EXECUTE, SYNC],
        ] {
            assert_eq!(batch(parts), None, "{parts:?}");
        }
    }

    #[test]
    fn an_error_names_what_the_client_named() {
        let of = |code: &[u8], text: &[u8]| [b"SERROR\0C", code, b"\0M", text, b"\0\0"].concat();
        let theirs =
            of(b"08P01", b"bind message supplies 0 parameters, but prepared statement \"pgweir_1\" requires 1");
        let own = of(b"08P01", b"bind message supplies 0 parameters, but prepared statement \"mine\" requires 1");
        assert_eq!(by_own_name(&theirs, b"pgweir_1", b"mine"), Some(own.clone()));
        assert_eq!(by_own_name(&own, b"pgweir_1", b""), None);
        assert_eq!(by_own_name(&of(b"22P02", b"\"pgweir_1\""), b"pgweir_1", b""), None);
    }
}

//! [pure] What a client's next batch is to the read/write split: looked at whole, before any server is asked for.
//!
//! Nothing of the conversation changes here. A batch runs on a standby only if every statement of it is proven to be a
//! read, if all of it is there, so that it can be run again on the primary, and if no message of it changes what the
//! session has (a named Parse, a Close): running it twice must be the same as running it once.

use super::unnamed::Unnamed;
use super::{Batch, Session};
use crate::config::PoolMode;
use crate::route::Reason;
use crate::sql::{Access, Isolation, Lexical, Modes, Why, Within};
use crate::wire::backend::TxStatus;
use crate::wire::frontend::{self, Named};
use crate::wire::{cstr, frame, front};

/// What stands at the front of the bytes that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The batch's end is not there yet, and nothing in it says where it must run.
    More,
    /// BEGIN or START TRANSACTION, alone in a Query or in an extended batch.
    Begin { len: usize, modes: Modes },
    /// COMMIT, END, ROLLBACK or ABORT, likewise.
    End { len: usize },
    /// SET TRANSACTION …, likewise.
    SetTransaction { len: usize, modes: Modes },
    /// Sync, Terminate: nothing runs.
    Nothing { len: usize },
    /// One batch of this many bytes, proven to read. `begins`: behind a BEGIN that is its first statement.
    Reads { len: usize, begins: Option<Modes> },
    /// One that lives with its transaction, likewise.
    Within { len: usize, within: Within },
    /// Anything else: the primary's, and why.
    Other(Reason),
}

impl Batched {
    /// What a batch that ends here is.
    fn seen(&self, len: usize, more_behind: bool) -> Seen {
        let single = self.executes == 1 && self.binds == 1;
        match self.control {
            _ if self.executes == 0 && !self.once => Seen::Other(Reason::DescribeOnly),
            Some(Access::Begin(modes)) if single => Seen::Begin { len, modes },
            Some(Access::SetTransaction(modes)) if single => Seen::SetTransaction { len, modes },
            Some(Access::End) if single => Seen::End { len },
            Some(Access::End | Access::SetTransaction(_)) => Seen::Other(Reason::InTransaction),
            // One that is only parsed stays the unnamed statement, and is no read.
            None if self.idle_control => Seen::Other(Reason::InTransaction),
            _ if more_behind => Seen::Other(Reason::Pipeline),
            Some(Access::Begin(_)) if self.cursors => Seen::Other(Reason::Text(Why::Utility)),
            Some(Access::Begin(modes)) => Seen::Reads { len, begins: Some(modes) },
            _ if self.cursors => Seen::Within { len, within: Within::Cursor },
            _ => Seen::Reads { len, begins: None },
        }
    }
}

/// Judges a text by the catalog at hand; the caller remembers verdicts.
pub type Judge<'a> = &'a mut dyn FnMut(&[u8], Lexical) -> Access;

/// The statements of an extended batch, as far as it was read.
#[derive(Default)]
struct Batched {
    /// What the unnamed statement is; None: not looked at yet.
    unnamed: Option<Access>,
    /// Statements that were bound.
    binds: usize,
    executes: usize,
    /// The first statement, if it begins, marks or ends a transaction.
    control: Option<Access>,
    /// One of those was parsed.
    idle_control: bool,
    /// A cursor is declared, read or closed.
    cursors: bool,
    /// It is not run twice, whatever comes: it may prepare statements, and may only describe.
    once: bool,
    /// Named statements are parsed in it.
    names: bool,
}

impl Session {
    /// Whether this session's statements may be split at all, whatever they are.
    pub fn may_split(&self) -> Result<(), Reason> {
        match () {
            () if self.mode == PoolMode::Session => Err(Reason::Off),
            () if self.pin.is_some() => Err(Reason::Pinned),
            () if self.customs.serializable => Err(Reason::Serializable),
            () => Ok(()),
        }
    }

    /// Whether a BEGIN may be answered before a server has it: where there are transactions at all.
    pub fn defers(&self) -> bool {
        self.mode == PoolMode::Transaction
    }

    /// Looks at what a client that owes and is owed nothing sent. `limit`: the longest batch that is kept. `alone`: a
    /// batch with more behind it is not split; one inside a transaction on a standby may be (nothing of it is run twice).
    pub fn look(&self, bytes: &[u8], limit: usize, alone: bool, judge: Judge<'_>) -> Seen {
        let Ok(Some(header)) = frame::scan(bytes, frame::MESSAGE_LIMIT) else {
            return if bytes.len() < frame::HEADER { Seen::More } else { Seen::Other(Reason::Large) };
        };
        let whole = header.len <= bytes.len();
        match header.tag {
            front::SYNC if self.batch == Batch::Closed => Seen::Nothing { len: header.len },
            front::TERMINATE => Seen::Nothing { len: header.len },
            // Behind a Flush, all of it answered, one that is not run twice goes on.
            _ if self.batch != Batch::Closed && (alone || !self.is_flushed()) => Seen::Other(Reason::Pipeline),
            front::QUERY if header.len > limit => Seen::Other(Reason::Large),
            front::QUERY if !whole => Seen::More,
            front::QUERY => self.look_at_query(bytes, header.len, alone, judge),
            _ => self.look_at_batch(bytes, limit, alone, judge),
        }
    }

    fn look_at_query(&self, bytes: &[u8], len: usize, alone: bool, judge: Judge<'_>) -> Seen {
        let text = bytes.get(frame::HEADER..len).and_then(frontend::query);
        let Some(text) = text else { return Seen::Other(Reason::Large) };
        match judge(text, self.lexical) {
            Access::Read if alone && bytes.len() > len => Seen::Other(Reason::Pipeline),
            Access::Within(_) if alone && bytes.len() > len => Seen::Other(Reason::Pipeline),
            Access::Within(within) => Seen::Within { len, within },
            Access::Read => Seen::Reads { len, begins: None },
            Access::Begin(modes) => Seen::Begin { len, modes },
            Access::End => Seen::End { len },
            Access::SetTransaction(modes) => Seen::SetTransaction { len, modes },
            Access::Empty => Seen::Other(Reason::Off),
            Access::Primary(why) => Seen::Other(Reason::Text(why)),
        }
    }

    /// Parse, Bind, Describe, Execute and Close of portals, up to the Sync.
    fn look_at_batch(&self, bytes: &[u8], limit: usize, alone: bool, judge: Judge<'_>) -> Seen {
        let mut batched = Batched { once: !alone, ..Batched::default() };
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let header = match frame::scan(rest, frame::MESSAGE_LIMIT) {
                Ok(Some(header)) => header,
                Ok(None) => return Seen::More,
                Err(_) => return Seen::Other(Reason::Large),
            };
            if at + header.len > limit {
                return Seen::Other(Reason::Large);
            }
            let Some(body) = rest.get(frame::HEADER..header.len) else { return Seen::More };
            at += header.len;
            if header.tag == front::SYNC || (header.tag == front::FLUSH && batched.pauses()) {
                let more = alone && at < bytes.len();
                return batched.seen(at, more);
            }
            if let Err(reason) = self.look_at_message(header.tag, body, &mut batched, judge) {
                return Seen::Other(reason);
            }
        }
    }

    fn look_at_message(&self, tag: u8, body: &[u8], so_far: &mut Batched, judge: Judge<'_>) -> Result<(), Reason> {
        match tag {
            front::PARSE => {
                let parse = frontend::parse(body).ok_or(Reason::Large)?;
                if !parse.name.is_empty() && !so_far.once {
                    return Err(Reason::Prepare);
                }
                let access = judge(parse.text, self.lexical);
                if !parse.name.is_empty() {
                    so_far.names = true;
                    return so_far.reads(access);
                }
                so_far.unnamed = Some(access);
                so_far.idle_control |= is_control(access);
                if is_control(access) { Ok(()) } else { so_far.reads(access) }
            }
            front::BIND => {
                let names = frontend::bind(body).ok_or(Reason::Large)?;
                so_far.binds += 1;
                match self.statement_access(names.statement, so_far, judge)? {
                    access if is_control(access) && so_far.binds == 1 => {
                        so_far.control = Some(access);
                        Ok(())
                    }
                    access => so_far.reads(access),
                }
            }
            front::DESCRIBE => match frontend::named(body).ok_or(Reason::Large)? {
                Named::Portal(_) => Ok(()),
                Named::Statement(name) => match self.statement_access(name, so_far, judge)? {
                    access if is_control(access) => Ok(()),
                    access => so_far.reads(access),
                },
            },
            front::EXECUTE => {
                so_far.executes += 1;
                Ok(())
            }
            front::CLOSE if matches!(frontend::named(body), Some(Named::Portal(_))) => Ok(()),
            front::CLOSE if so_far.once => Ok(()),
            front::CLOSE => Err(Reason::Prepare),
            front::FLUSH => Err(Reason::Flush),
            _ => Err(Reason::Off),
        }
    }

    fn statement_access(&self, name: &[u8], so_far: &mut Batched, judge: Judge<'_>) -> Result<Access, Reason> {
        if name.is_empty() {
            let access = match so_far.unnamed {
                Some(access) => access,
                None => self.unnamed_access(judge)?,
            };
            so_far.unnamed = Some(access);
            return Ok(access);
        }
        let statement = match self.statements.find(name) {
            Some((_, statement)) => statement,
            // Parsed in this batch, or unknown, which the server says.
            None if so_far.names => return Ok(Access::Read),
            None => return Err(Reason::Prepare),
        };
        if statement.effect.is_some() || !statement.taints.is_empty() {
            return Err(Reason::Prepare);
        }
        let (text, _) = cstr(&statement.rest).ok_or(Reason::Large)?;
        Ok(judge(text, self.lexical))
    }

    /// The unnamed statement of an earlier batch.
    fn unnamed_access(&self, judge: Judge<'_>) -> Result<Access, Reason> {
        if !matches!(self.unnamed, Unnamed::Known(_)) || self.rare.unnamed().is_some() {
            return Err(Reason::Prepare);
        }
        let (text, _) = cstr(&self.unnamed_rest).ok_or(Reason::Large)?;
        Ok(judge(text, self.lexical))
    }

    /// What a batch with this first text would be declared as: the client's own default counts where the text is silent.
    pub fn is_read_only(&self, modes: &Modes) -> bool {
        modes.read_only.unwrap_or(self.customs.read_only)
    }

    /// Whether each statement of its own is a READ ONLY transaction.
    pub fn defaults_to_read_only(&self) -> bool {
        self.customs.read_only
    }
}

/// How long the batch in front is: a Query, or whatever comes up to a Sync. None: its end is not there.
pub fn batch_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let header = frame::scan(bytes.get(at..)?, frame::MESSAGE_LIMIT).ok()??;
        at += header.len;
        match header.tag {
            front::QUERY | front::SYNC | front::FUNCTION_CALL => return (at <= bytes.len()).then_some(at),
            _ => {}
        }
    }
}

impl Session {
    /// Whether a READ ONLY transaction on a standby answers what was not proven to read as the primary would.
    pub fn fails_alike(&self, reason: Reason) -> bool {
        let writes = reason == Reason::Text(Why::WriteKeyword);
        self.status == TxStatus::Failed || (writes && !self.may_move())
    }

    /// Whether the open batch goes on behind a Flush, and what came before was answered.
    pub fn is_flushed(&self) -> bool {
        self.batch == Batch::Open && self.ledger.is_empty() && !self.copy_in
    }

    /// Whether the open batch failed: what comes up to its Sync runs nowhere.
    pub fn skips_to_sync(&self) -> bool {
        self.batch == Batch::Failed && self.ledger.is_empty()
    }

    /// Whether a transaction that was begun here can go on elsewhere: each of its statements has a snapshot of its own, and
    /// nothing of it lives on its server.
    pub fn may_move(&self) -> bool {
        if self.is_anchored() {
            return false;
        }
        match self.begun_modes().and_then(|modes| modes.isolation) {
            Some(isolation) => matches!(isolation, Isolation::ReadCommitted | Isolation::ReadUncommitted),
            None => !self.customs.keeps_snapshots,
        }
    }
}

fn is_control(access: Access) -> bool {
    matches!(access, Access::Begin(_) | Access::End | Access::SetTransaction(_))
}

impl Batched {
    /// Whether a Flush ends what can be looked at: the rest of the batch comes when its answers were read.
    fn pauses(&self) -> bool {
        self.once && self.control.is_none() && !self.idle_control
    }

    fn reads(&mut self, access: Access) -> Result<(), Reason> {
        match access {
            Access::Read => Ok(()),
            Access::Within(Within::Cursor) => {
                self.cursors = true;
                Ok(())
            }
            Access::Within(Within::Savepoint) => Err(Reason::Text(Why::Utility)),
            Access::Primary(why) => Err(Reason::Text(why)),
            Access::Begin(_) | Access::End | Access::SetTransaction(_) => Err(Reason::InTransaction),
            Access::Empty => Err(Reason::Off),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::prepared::{Intern, Statement};
    use super::super::repeats::Repeating;
    use super::super::settings::Settings;
    use super::super::wishes::Wishes;
    use super::*;
    use crate::session::Origin;
    use crate::session::outbox::Outbox;
    use crate::wire::encode;

    struct NoTable;

    impl Repeating for NoTable {}

    impl Intern for NoTable {
        fn shared(&self, _: &[u8], _: &[u8], make: &mut dyn FnMut(u64) -> Statement) -> Arc<Statement> {
            Arc::new(make(1))
        }

        fn private_id(&self) -> u64 {
            1
        }
    }

    fn session(settings: &[(&str, &str)]) -> Session {
        let mut all = Settings::default();
        settings.iter().for_each(|(name, value)| all.set(name, value));
        let (intern, wishes) = (Arc::new(NoTable), Wishes::default());
        Session::new(Origin {
            mode: PoolMode::Transaction,
            settings: Arc::new(all),
            intern,
            wishes,
            forgiving: true,
            clustered: true,
            pinning: crate::config::Pinning::Allow,
            prepared: true,
        })
    }

    /// By the first word alone.
    fn judge(text: &[u8], _: Lexical) -> Access {
        let modes = Modes { read_only: Some(true), ..Modes::default() };
        match text.split(|byte| *byte == b' ').next() {
            Some(b"select") => Access::Read,
            Some(b"begin") => Access::Begin(modes),
            Some(b"set") => Access::SetTransaction(modes),
            Some(b"commit") => Access::End,
            Some(b"") => Access::Empty,
            _ => Access::Primary(Why::WriteKeyword),
        }
    }

    fn seen(session: &Session, bytes: &[u8]) -> Seen {
        session.look(bytes, 1000, true, &mut judge)
    }

    fn query(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode::query(&mut out, text.as_bytes());
        out
    }

    fn parse(name: &str, text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode::parse(&mut out, name.as_bytes(), format!("{text}\0\0\0").as_bytes());
        out
    }

    fn bind(statement: &str) -> Vec<u8> {
        let mut out = Vec::new();
        encode::bind_head(&mut out, b"", statement.as_bytes(), 6);
        out.extend([0; 6]);
        out
    }

    fn raw(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::raw(&mut out, tag, body);
        out
    }

    fn execute() -> Vec<u8> {
        raw(front::EXECUTE, b"\0\0\0\0\0")
    }

    fn sync() -> Vec<u8> {
        raw(front::SYNC, b"")
    }

    #[test]
    fn queries() {
        let it = session(&[]);
        let select = query("select 1");
        assert_eq!(seen(&it, &select), Seen::Reads { len: select.len(), begins: None });
        assert_eq!(seen(&it, &select[..7]), Seen::More);
        assert_eq!(seen(&it, &select[..3]), Seen::More);
        assert_eq!(seen(&it, &[&select[..], &select].concat()), Seen::Other(Reason::Pipeline));
        assert_eq!(seen(&it, &query("insert")), Seen::Other(Reason::Text(Why::WriteKeyword)));
        assert_eq!(seen(&it, &query(&"select ".repeat(200))), Seen::Other(Reason::Large));
        assert_eq!(seen(&it, &query("commit")), Seen::End { len: query("commit").len() });
        assert_eq!(seen(&it, &sync()), Seen::Nothing { len: 5 });
        assert!(matches!(seen(&it, &query("begin")), Seen::Begin { .. }));
    }

    #[test]
    fn batches() {
        let it = session(&[]);
        let reads = [parse("", "select 1"), bind(""), raw(front::DESCRIBE, b"P\0"), execute(), sync()].concat();
        assert_eq!(seen(&it, &reads), Seen::Reads { len: reads.len(), begins: None });
        for cut in 0..reads.len() {
            assert_eq!(seen(&it, &reads[..cut]), Seen::More, "{cut}");
        }
        let other = |parts: &[Vec<u8>]| match seen(&it, &parts.concat()) {
            Seen::Other(reason) => reason.label(),
            seen => panic!("{seen:?}"),
        };
        assert_eq!(other(&[parse("", "insert"), bind("")]), "write_keyword", "known before its Sync");
        assert_eq!(other(&[parse("s", "select 1"), bind("s"), execute(), sync()]), "prepare");
        assert_eq!(other(&[bind("unknown"), execute(), sync()]), "prepare");
        assert_eq!(other(&[bind(""), execute(), sync()]), "prepare", "there is no unnamed statement");
        assert_eq!(other(&[parse("", "select 1"), raw(front::DESCRIBE, b"S\0"), sync()]), "describe_only");
        assert_eq!(other(&[parse("", "select 1"), raw(front::FLUSH, b"")]), "flush");
        assert_eq!(other(&[parse("", "select 1"), raw(front::CLOSE, b"Sx\0")]), "prepare");
        assert_eq!(other(&[reads.clone(), reads.clone()]), "pipeline");
    }

    #[test]
    fn transactions_in_batches() {
        let it = session(&[]);
        let modes = Modes { read_only: Some(true), ..Modes::default() };
        let begin = [parse("", "begin"), bind(""), execute()].concat();
        let select = [parse("", "select 1"), bind(""), execute()].concat();
        let alone = [begin.clone(), sync()].concat();
        assert_eq!(seen(&it, &alone), Seen::Begin { len: alone.len(), modes });
        let both = [begin.clone(), select.clone(), sync()].concat();
        assert_eq!(seen(&it, &both), Seen::Reads { len: both.len(), begins: Some(modes) });
        let late = [select.clone(), begin, sync()].concat();
        assert_eq!(seen(&it, &late), Seen::Other(Reason::InTransaction));
        let idle = [select, parse("", "begin"), sync()].concat();
        assert_eq!(seen(&it, &idle), Seen::Other(Reason::InTransaction), "it stays behind");
    }

    #[test]
    fn settings_that_forbid_or_declare() {
        let serializable = session(&[("default_transaction_isolation", "SERIALIZABLE")]);
        assert_eq!(serializable.may_split(), Err(Reason::Serializable));
        let it = session(&[("default_transaction_read_only", "on")]);
        assert!(it.may_split().is_ok() && it.defaults_to_read_only() && it.is_read_only(&Modes::default()));
        assert!(!it.is_read_only(&Modes { read_only: Some(false), ..Modes::default() }));
    }

    #[test]
    fn a_transaction_that_no_server_knows_is_answered_as_a_server_would() {
        let mut it = session(&[]);
        let modes = Modes { read_only: Some(true), ..Modes::default() };
        let (mut staged, begin) = (Vec::new(), query("begin"));
        it.begin_absent(&begin, modes, &mut Outbox::new(&mut staged, &[]));
        assert_eq!(staged, b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T");
        assert_eq!((it.absent(), it.begun_modes()), (Some(TxStatus::InBlock), Some(modes)));
        staged.clear();
        let commit = [parse("", "commit"), bind(""), raw(front::DESCRIBE, b"P\0"), execute(), sync()].concat();
        it.end_absent(&commit, &mut Outbox::new(&mut staged, &[]));
        assert_eq!(staged, b"1\0\0\0\x042\0\0\0\x04n\0\0\0\x04C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I");
        assert_eq!(it.absent(), None);
    }
}

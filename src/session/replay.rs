//! [pure] The bytes of a batch that can be sent again, and until when.
//!
//! A batch that starts with the Bind or Describe of a shared statement, or with a Parse or Close that we answer
//! ourselves, may meet "cached plan must not change result type" (0A000): PostgreSQL refused it before running it. Outside a transaction, with nothing of its answer forwarded, the
//! statement is parsed anew and the batch sent once more. Until the server answers, answers of ours are held back.
//!
//! Of a named statement only a batch that asks what its rows are, before its first Execute, is kept: who learned that at an earlier Describe
//! (asyncpg, JDBC) would read the new rows by the old description. PostgreSQL's error makes it ask again.

use super::ledger::{Action, Kind, Owed};
use super::sharing::is_of_parse;
use super::{Frame, Session};
use crate::wire::{backend, front};

/// A batch longer than this is not kept: its error goes to the client.
pub const LIMIT: usize = 8 << 10;

/// The recording of one batch.
#[derive(Debug, Default)]
pub struct Replay {
    state: State,
    /// As the client wrote them. Kept as a buffer between batches.
    bytes: Vec<u8>,
    /// A Describe stands in it, or it needs none.
    described: bool,
    /// It is all of an unnamed statement: nobody knows its rows from before.
    unread: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not recording: start waits for the next batch.
    #[default]
    Off,
    Recording,
    /// The batch has its Sync: it can be sent again until a byte of its answer is forwarded.
    Complete,
    /// Its first try was refused; the ReadyForQuery of that try is awaited.
    Refused,
    /// It is being judged again, up to its Sync: there is no third try.
    Spent,
}

impl Replay {
    pub fn start(&mut self) {
        if self.state == State::Spent {
            return;
        }
        self.bytes.clear();
        (self.described, self.unread) = (false, false);
        self.state = State::Recording;
    }

    /// The same for a batch that parses what it executes.
    pub fn start_unread(&mut self) {
        self.start();
        (self.described, self.unread) = (true, true);
    }

    pub fn is_unread(&self) -> bool {
        self.unread
    }

    /// A frame of the batch, whole; None: a part of it was not there to be kept.
    pub fn record(&mut self, tag: u8, body: Option<&[u8]>) {
        if self.state != State::Recording {
            return self.stop_if_complete();
        }
        self.described |= tag == front::DESCRIBE;
        if tag == front::EXECUTE && !self.described {
            return self.stop();
        }
        match body {
            Some(body) if self.bytes.len() + body.len() + 5 <= LIMIT => {
                let [a, b, c, d] = (body.len() as u32 + 4).to_be_bytes();
                self.bytes.extend_from_slice(&[tag, a, b, c, d]);
                self.bytes.extend_from_slice(body);
            }
            _ => self.stop(),
        }
    }

    pub fn complete(&mut self) {
        if self.state == State::Recording {
            self.state = State::Complete;
        } else if self.state == State::Spent {
            self.state = State::Off;
        }
    }

    /// A second batch was sent behind it: the order of answers could not be kept.
    fn stop_if_complete(&mut self) {
        if self.state == State::Complete {
            self.stop();
        }
    }

    pub fn can(&self) -> bool {
        self.state == State::Complete
    }

    /// Whether answers of ours wait for the server's first: nothing of the batch has been shown yet.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Recording | State::Complete)
    }

    pub fn refused(&mut self) {
        self.state = State::Refused;
    }

    /// Whether what is judged now is a second try.
    pub fn is_spent(&self) -> bool {
        self.state == State::Spent
    }

    pub fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    pub fn stop(&mut self) {
        self.state = State::Off;
    }

    pub fn take(&mut self) -> Vec<u8> {
        self.state = State::Spent;
        std::mem::take(&mut self.bytes)
    }
}

impl Session {
    /// PROTOCOL 10: a shared statement's result type changed under it, and nobody saw anything of this batch yet. Of an
    /// unnamed one that was shared all is repeated that might have been said at its Parse.
    pub(super) fn may_replay(&self, frame: &Frame<'_>, head: &Owed) -> bool {
        let unread = self.replay.is_unread() && speaks_of_shared(head) && is_of_parse(backend::sqlstate(frame.body));
        self.replay.can() && self.ledger.readies() == 1 && (unread || is_stale(frame, head))
    }
}

/// PostgreSQL refused a shared statement before running it: its result type changed, or it is not there.
pub(super) fn is_stale(frame: &Frame<'_>, head: &Owed) -> bool {
    let routine = backend::field(frame.body, b'R').is_none_or(|routine| routine == b"RevalidateCachedQuery");
    match backend::sqlstate(frame.body) {
        b"0A000" => speaks_of_shared(head) && routine,
        b"26000" => speaks_of_shared(head),
        _ => false,
    }
}

fn speaks_of_shared(head: &Owed) -> bool {
    match head.action {
        // An EXECUTE.
        Action::Spliced => matches!(head.kind, Kind::Execute | Kind::Query) && head.statement == 0,
        _ => matches!(head.kind, Kind::Bind | Kind::DescribeStatement) && head.statement != 0,
    }
}

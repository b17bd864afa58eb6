//! A client without a server: what is left for it is drained, and what needs no server is answered.

use std::task::{Context, Poll};

use super::entry::{Entry, Order, State};
use super::reader::KEPT;
use super::relay::{CLIENT_BACKLOG, Conversation};
use crate::error::{Error, Kind, Side};
use crate::net::pipe::Read;
use crate::route::Reason;
use crate::session::look::Seen;
use crate::session::outbox::Outbox;
use crate::session::{Frame, FromClient, Session};
use crate::sql;
use crate::wire::backend::TxStatus;
use crate::wire::{frame, front};

/// How a client's time without a server ends.
#[derive(Debug)]
pub enum Idle {
    /// Closed its end, or the socket failed.
    Gone,
    /// Terminate.
    Quit,
    /// The next frame needs a server, or what the client listens to does; what it is to the split, where there is one.
    Wants(Option<Seen>),
    Fail(Error),
}

impl Conversation {
    /// Without a server: drains what is left for the client, answers what needs no server. Cancel-safe.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        loop {
            if let Some(error) = ordered_idle(&self.entry) {
                return Poll::Ready(Idle::Fail(error));
            }
            match self.judge_idle() {
                Ok(None) => {}
                Ok(Some(idle)) => return Poll::Ready(idle),
                Err(error) => return Poll::Ready(Idle::Fail(error)),
            }
            if self.session.wants_to_listen() {
                return Poll::Ready(Idle::Wants(Some(Seen::Other(Reason::Pinned))));
            }
            let drained = match self.drain_client(cx) {
                Ok(drained) => drained,
                Err(_) => return Poll::Ready(Idle::Gone),
            };
            if !drained && self.to_client.pending() > CLIENT_BACKLOG {
                return Poll::Pending;
            }
            match self.to_server.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(Read::Bytes(n))) => self.traffic.received += n as u64,
                // A frame that must be whole and does not fit was refused by its length before.
                Poll::Ready(Ok(Read::Full | Read::End) | Err(_)) => return Poll::Ready(Idle::Gone),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Frames of an idle client, until one needs a server and is there as far as it must be.
    fn judge_idle(&mut self) -> Result<Option<Idle>, Error> {
        loop {
            if self.to_server.in_frame() {
                return Ok(None);
            }
            let Some(header) = self.next_header()? else { return Ok(None) };
            if self.session.wants_server(header.tag) {
                match self.seek(Session::client_needs(&header)) {
                    Sought::Answered => continue,
                    Sought::More => return Ok(None),
                    Sought::Server(seen) => return Ok(Some(Idle::Wants(seen))),
                }
            }
            let verdict = {
                let (staged, span, _) = self.to_client.parts();
                let mut out = Outbox::new(staged, span);
                let verdict = self.session.unattended(Frame { header, body: &[] }, &mut out);
                let folded = out.folded();
                if folded {
                    self.to_client.folded();
                }
                verdict
            };
            if verdict == FromClient::Terminate {
                return Ok(Some(Idle::Quit));
            }
            self.to_server.swallow(header.len);
        }
    }

    /// The head of the client's next frame, if the client may send it.
    #[inline]
    pub(super) fn next_header(&self) -> Result<Option<frame::Header>, Error> {
        if !self.to_server.has_unjudged() {
            return Ok(None);
        }
        match frame::scan(self.to_server.unjudged(), self.limit) {
            Ok(Some(header)) if self.refuses_query && header.tag == front::QUERY => {
                Err(Error::new(Kind::SimpleQuery, Side::Client))
            }
            Ok(header) => Ok(header),
            Err(malformed) => Err(Error::protocol(malformed.0)),
        }
    }

    /// A frame that asks for a server: whether it needs one, and if so, all that is to be known of it.
    fn seek(&mut self, needs: usize) -> Sought {
        let unjudged = self.to_server.unjudged();
        if unjudged.len() < needs {
            return Sought::More;
        }
        let (seen, deferred) = match (&mut self.reader, self.session.absent()) {
            (None, None) => return Sought::Server(None),
            // Only an end is looked for, and that is plain without a catalog.
            (None, Some(_)) => {
                let judge = &mut |text: &[u8], lexical| sql::access(text, lexical, None);
                (self.session.look(unjudged, KEPT, false, judge), false)
            }
            (Some(reader), absent) => {
                let seen = match self.session.may_split() {
                    _ if absent.is_some() => reader.look_first(&self.session, unjudged),
                    Ok(()) if reader.splits() => reader.look(&self.session, unjudged, true),
                    Ok(()) => Seen::Other(Reason::Off),
                    Err(reason) => Seen::Other(reason),
                };
                (seen, reader.policy.deferred_begin && self.session.defers())
            }
        };
        match (seen, self.session.absent()) {
            (Seen::More, _) => Sought::More,
            (Seen::Begin { len, modes }, None) if deferred => {
                self.answer(len, State::IdleInTransaction, |session, batch, out| {
                    session.begin_absent(batch, modes, out);
                    true
                })
            }
            (Seen::SetTransaction { len, modes }, Some(TxStatus::InBlock)) if !self.session.is_lost() => {
                let set =
                    |session: &mut Session, batch: &[u8], out: &mut Outbox<'_>| session.set_absent(batch, modes, out);
                match self.answer(len, State::IdleInTransaction, set) {
                    Sought::Server(_) => Sought::Server(Some(seen)),
                    sought => sought,
                }
            }
            (Seen::End { len }, Some(_)) => self.answer(len, State::Idle, |session, batch, out| {
                session.end_absent(batch, out);
                true
            }),
            (_, Some(_)) if self.session.is_lost() => {
                self.refuse(&Error::new(Kind::TransactionLost, Side::Server));
                Sought::Answered
            }
            (_, Some(TxStatus::Failed)) => {
                self.refuse(&Error::new(Kind::FailedTransaction, Side::Client));
                Sought::Answered
            }
            _ => Sought::Server(Some(seen)),
        }
    }

    /// Answers the whole batch in front, of this length, if `how` does, and notes what the client is doing now.
    fn answer(
        &mut self,
        len: usize,
        state: State,
        how: impl FnOnce(&mut Session, &[u8], &mut Outbox<'_>) -> bool,
    ) -> Sought {
        let Some(batch) = self.to_server.unjudged().get(..len) else { return Sought::More };
        let (staged, span, _) = self.to_client.parts();
        let mut out = Outbox::new(staged, span);
        if !how(&mut self.session, batch, &mut out) {
            return Sought::Server(None);
        }
        if out.folded() {
            self.to_client.folded();
        }
        self.to_server.swallow(len);
        self.answered(state);
        Sought::Answered
    }

    /// The frame that waits for a server is refused: the client is told, and stays.
    pub fn refuse(&mut self, error: &Error) {
        self.book_error(error);
        let Ok(Some(header)) = frame::scan(self.to_server.unjudged(), self.limit) else { return };
        let (staged, span, _) = self.to_client.parts();
        let mut out = Outbox::new(staged, span);
        self.session.refuse(header.tag, error, &mut out);
        if out.folded() {
            self.to_client.folded();
        }
        self.to_server.swallow(header.len);
    }
}

/// What became of a frame that asked for a server.
enum Sought {
    Answered,
    /// Not all of it is there.
    More,
    Server(Option<Seen>),
}

/// Orders that end a client which holds no server.
fn ordered_idle(entry: &Entry) -> Option<Error> {
    let kind = match entry.take_order() {
        _ if entry.is_draining() => entry.farewell(),
        Order::ClientIdle => Kind::ClientIdle,
        Order::IdleTransaction => Kind::IdleTransaction,
        Order::TransactionTimeout => Kind::TransactionTimeout,
        _ => return None,
    };
    Some(Error::new(kind, Side::Proxy))
}

//! The hot loop: both directions of one conversation, in one poll.
//!
//! Neither direction waits for the other: what can be read is read, what can be written is written, until nothing
//! moves any more. A plain steady transaction allocates nothing here and makes four system calls.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::entry::Entry;
use super::reader::Reader;
use super::standby::note_shown_error;
use crate::cluster::split::Witness;
use crate::error::Error;
use crate::net::pipe::{Pipe, Read};
use crate::net::stream::Stream;
use crate::route::Reason;
use crate::server::Server;
use crate::session::hold::Refusal;
use crate::session::ledger::Settled;
use crate::session::outbox::Outbox;
use crate::session::{Ddl, Frame, FromClient, FromServer, Session};
use crate::stats::{Tally, Traffic};
use crate::wire::backend::TxStatus;
use crate::wire::{back, backend, encode, frame, front};

/// Answers of ours that wait for a client that does not read: beyond this, nothing more is read from it.
pub(super) const CLIENT_BACKLOG: usize = 64 << 10;

/// Answers owed to one client: beyond this, none of its messages is looked at until some have come. Messages that we
/// answer ourselves cost a client nothing to send.
const OWED: usize = 4096;

/// One client's streams and state, as the relay moves them.
pub struct Conversation {
    pub stream: Stream,
    pub session: Session,
    pub to_server: Pipe,
    pub to_client: Pipe,
    pub entry: Arc<Entry>,
    /// Largest message from the client.
    pub limit: usize,
    /// A Query ends it (`disable_pqexec`).
    pub refuses_query: bool,
    /// A Flush of ours is on its way (`is_owed_much`).
    pub asked_to_flush: bool,
    /// Where its database's reads are split.
    pub reader: Option<Box<Reader>>,
    pub witness: Arc<Witness>,
    /// The books of its pool, and what was not entered in them yet.
    pub tally: Arc<Tally>,
    pub traffic: Traffic,
}

/// How a loan ends.
#[derive(Debug)]
pub enum End {
    /// The server may go back.
    Settled(Settled),
    /// The client left, with or without Terminate.
    ClientGone,
    /// The server's connection ended. `told`: a FATAL of its own has told the client why.
    ServerGone {
        told: bool,
    },
    Fail(Error),
    /// A standby did not answer the batch, and nothing was shown of it: it stands in front again. `ready`: how the
    /// standby is, if it can be used on.
    Refused {
        refusal: Refusal,
        ready: Option<TxStatus>,
    },
    /// The next statement of the transaction is not one for a standby.
    Unfit(Reason),
}

/// What a look at the server's socket led to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pulled {
    Bytes,
    NoRoom,
    Nothing,
}

/// Why a poll cannot go on.
pub(super) enum Stop {
    End(End),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::End(End::Fail(error))
    }
}

impl Conversation {
    /// A server was lent: what aligns it goes in front of the client's first message, in the same write.
    pub fn attach(&mut self, server: &mut Server) {
        let (staged, span, _) = self.to_server.parts();
        let mut out = Outbox::new(staged, span);
        self.session.attach(&mut server.state, &mut out);
        if out.folded() {
            self.to_server.folded();
        }
    }

    /// With a server, until the loan ends. Cancel-safe: all state is in `self` and the server.
    pub fn poll_relay(&mut self, server: &mut Server, cx: &mut Context<'_>) -> Poll<End> {
        match self.relay(server, cx) {
            Ok(()) => {
                self.note_state(server);
                Poll::Pending
            }
            Err(Stop::End(end)) => Poll::Ready(end),
        }
    }

    /// Moves what can be moved; Ok when all must wait.
    fn relay(&mut self, server: &mut Server, cx: &mut Context<'_>) -> Result<(), Stop> {
        self.obey(server)?;
        loop {
            // Nothing goes to a server that must not have it, however long its client has thought.
            if server.gate.standing().is_replaced() {
                return Err(self.unless_held(Stop::End(End::ServerGone { told: false }), server));
            }
            self.judge_client(server)?;
            let pushed = self.push_to_server(server, cx)?;
            let pulled = match self.pull_from_server(server, cx).and_then(|pulled| {
                self.judge_server(server)?;
                Ok(pulled)
            }) {
                Err(stop) => return Err(self.unless_held(stop, server)),
                Ok(pulled) => pulled,
            };
            let drained = self.push_to_client(cx)?;
            if let Some(settled) = self.settled() {
                return Err(Stop::End(End::Settled(settled)));
            }
            let asks = self.session.may_ask();
            if asks {
                self.session.ask(self.to_server.author());
            }
            let read = self.pull_from_client(cx)?;
            // Whoever had to wait is woken by its socket. Another round is due only for what was read, for a server that
            // found no room before some was made, and for frames that waited until others were out.
            let again = pulled == Pulled::Bytes
                || read
                || asks
                || (pulled == Pulled::NoRoom && drained)
                || (pushed && self.to_server.has_unjudged());
            if !again {
                return Ok(());
            }
        }
    }

    /// The proof, once the server owes nothing and everything for it is out.
    fn settled(&self) -> Option<Settled> {
        let through = !self.to_server.has_pending()
            && !self.to_server.is_mid_frame()
            && !self.to_client.is_mid_frame()
            && !self.to_client.has_unjudged();
        if through { self.session.settled() } else { None }
    }

    fn push_to_server(&mut self, server: &mut Server, cx: &mut Context<'_>) -> Result<bool, Stop> {
        if !self.to_server.has_pending() {
            return Ok(false);
        }
        if self.session.ddl() == Ddl::Running {
            self.changed_catalog();
        }
        let before = self.to_server.pending();
        match self.to_server.poll_drain(&mut server.stream, cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(self.to_server.pending() < before),
            // Why it closed may stand in what it sent before: that is read first.
            Poll::Ready(Err(_)) => {
                self.to_server.lose_pending();
                Ok(true)
            }
        }
    }

    /// The catalog may be another one than it was: for those whose reads are split, and for texts that are shared.
    pub fn changed_catalog(&self) {
        self.witness.changed_catalog();
        self.session.changed_catalog();
    }

    fn pull_from_server(&mut self, server: &mut Server, cx: &mut Context<'_>) -> Result<Pulled, Stop> {
        if self.holds_still() {
            return Ok(Pulled::Nothing);
        }
        match self.to_client.poll_fill(&mut server.stream, cx) {
            Poll::Ready(Ok(Read::Bytes(n))) => {
                self.traffic.sent += n as u64;
                Ok(Pulled::Bytes)
            }
            Poll::Ready(Ok(Read::Full)) => Ok(Pulled::NoRoom),
            Poll::Pending => Ok(Pulled::Nothing),
            Poll::Ready(Ok(Read::End) | Err(_)) => Err(Stop::End(End::ServerGone { told: self.session.told_fatal() })),
        }
    }

    fn push_to_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Stop> {
        let before = self.to_client.pending();
        if !self.to_client.has_pending() || self.keeps_quiet() {
            return Ok(false);
        }
        // Before the client can know of it.
        if self.reader.as_ref().is_none_or(|reader| reader.may_write()) {
            self.witness.wrote();
            if self.session.ddl() != Ddl::None {
                self.changed_catalog();
                self.session.forget_ddl();
            }
        }
        match self.drain_client(cx) {
            Ok(_) => Ok(self.to_client.pending() < before),
            Err(_) => Err(Stop::End(End::ClientGone)),
        }
    }

    /// Whether everything for the client is out.
    pub fn drain_client(&mut self, cx: &mut Context<'_>) -> std::io::Result<bool> {
        if !self.to_client.has_pending() {
            return Ok(true);
        }
        match self.to_client.poll_drain(&mut self.stream, cx) {
            Poll::Ready(Ok(())) => Ok(true),
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    fn pull_from_client(&mut self, cx: &mut Context<'_>) -> Result<bool, Stop> {
        if self.to_client.pending() > CLIENT_BACKLOG || self.holds_still() {
            return Ok(false);
        }
        match self.to_server.poll_fill(&mut self.stream, cx) {
            Poll::Ready(Ok(Read::Bytes(n))) => {
                self.traffic.received += n as u64;
                Ok(true)
            }
            Poll::Ready(Ok(Read::Full)) | Poll::Pending => Ok(false),
            Poll::Ready(Ok(Read::End) | Err(_)) => Err(Stop::End(End::ClientGone)),
        }
    }

    fn judge_client(&mut self, server: &mut Server) -> Result<(), Stop> {
        while !self.session.holds_client() && !self.session.awaits_answer() && !self.to_server.in_frame() {
            // A short Bind may call for a long Parse of ours, and a buffer holds thousands of them.
            if self.to_server.is_heavy() || self.is_owed_much() {
                break;
            }
            let Some(header) = self.next_header()? else { break };
            let there = self.to_server.unjudged().len() >= Session::client_needs(&header);
            if !there || (self.reader.is_some() && !self.is_cleared()?) {
                break;
            }
            let (staged, span, unjudged) = self.to_server.parts();
            let Some(frame) = view(header, unjudged, Session::client_needs(&header)) else { break };
            if header.tag == front::PARSE {
                // Of each pool by itself.
                self.session.foresee(unjudged, Arc::as_ptr(&self.tally).addr() as u64);
            }
            let mut to_server = Outbox::new(staged, span);
            let (staged, span, _) = self.to_client.parts();
            let mut to_client = Outbox::new(staged, span);
            let verdict = self.session.client(frame, &mut server.state, &mut to_server, &mut to_client)?;
            let (server_folded, client_folded) = (to_server.folded(), to_client.folded());
            if server_folded {
                self.to_server.folded();
            }
            if client_folded {
                self.to_client.folded();
            }
            if let Some(reader) = self.reader.as_mut().filter(|_| verdict != FromClient::Wait) {
                reader.took(header.len);
            }
            match verdict {
                FromClient::Forward => self.to_server.pass(header.len),
                FromClient::Replaced { taken } => self.to_server.replace(taken, header.len),
                FromClient::Swallow => self.to_server.swallow(header.len),
                FromClient::Terminate => return Err(Stop::End(End::ClientGone)),
                FromClient::Wait => break,
            }
        }
        Ok(())
    }

    /// Whether so many answers are owed that they must come first. A server keeps them in its buffer until a Sync, which
    /// may stand behind: it is asked once to let them go.
    fn is_owed_much(&mut self) -> bool {
        let much = self.session.owed() >= OWED;
        if much && !self.asked_to_flush {
            encode::flush(self.to_server.author());
        }
        self.asked_to_flush = much;
        much
    }

    fn judge_server(&mut self, server: &mut Server) -> Result<(), Stop> {
        while !self.to_client.in_frame() {
            if self.reader.is_some() && !self.may_show(server)? {
                break;
            }
            let (staged, span, unjudged) = self.to_client.parts();
            let header = match frame::scan(unjudged, frame::MESSAGE_LIMIT) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(malformed) => return Err(Error::desync(malformed.0).into()),
            };
            if self.session.passes(header.tag) {
                self.to_client.pass(header.len);
                continue;
            }
            let Some(frame) = view(header, unjudged, Session::server_needs(&header)) else { break };
            // What stood in the place of a refused statement is none of the server's own.
            if header.tag == back::ERROR && !self.session.refuses_next() {
                self.tally.process().server_errors.add(backend::sqlstate(frame.body));
                note_shown_error(self.reader.as_deref(), &self.session, frame.body);
            }
            let mut out = Outbox::new(staged, span);
            let verdict = self.session.server(frame, &mut server.state, &mut out)?;
            if out.folded() {
                self.to_client.folded();
            }
            match verdict {
                FromServer::Forward => self.to_client.pass(header.len),
                FromServer::Swallow => self.to_client.swallow(header.len),
                FromServer::Replay => {
                    self.to_client.swallow(header.len);
                    self.replay()?;
                }
            }
            if self.session.fakes_due() {
                self.flush_fakes();
            }
            if header.tag == back::READY_FOR_QUERY && verdict == FromServer::Forward {
                self.note_answered(server);
            }
        }
        Ok(())
    }

    fn flush_fakes(&mut self) {
        let (staged, span, _) = self.to_client.parts();
        let mut out = Outbox::new(staged, span);
        self.session.flush_fakes(&mut out);
        if out.folded() {
            self.to_client.folded();
        }
    }
}

/// As much of a frame as is there, if that is enough to judge it.
fn view(header: frame::Header, bytes: &[u8], needs: usize) -> Option<Frame<'_>> {
    if bytes.len() < needs {
        return None;
    }
    Some(Frame { header, body: bytes.get(frame::HEADER..header.len.min(bytes.len()))? })
}

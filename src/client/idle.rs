//! A client without a server: what is left for it is drained, and what needs no server is answered.

use std::task::{Context, Poll};

use super::entry::{Entry, Order};
use super::relay::{CLIENT_BACKLOG, Conversation, scan};
use crate::error::{Error, Kind, Side};
use crate::net::pipe::Read;
use crate::session::outbox::Outbox;
use crate::session::{Frame, FromClient, Session};
use crate::wire::frame;

/// How a client's time without a server ends.
#[derive(Debug)]
pub enum Idle {
    /// Closed its end, or the socket failed.
    Gone,
    /// Terminate.
    Quit,
    /// The next frame, of this tag, needs a server.
    Wants(u8),
    Fail(Error),
}

impl Conversation {
    /// Without a server: drains what is left for the client, answers what needs no server. Cancel-safe.
    pub fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Idle> {
        self.entry.waker.register(cx.waker());
        loop {
            if let Some(error) = ordered_idle(&self.entry) {
                return Poll::Ready(Idle::Fail(error));
            }
            match self.judge_idle() {
                Ok(None) => {}
                Ok(Some(idle)) => return Poll::Ready(idle),
                Err(error) => return Poll::Ready(Idle::Fail(error)),
            }
            let drained = match self.drain_client(cx) {
                Ok(drained) => drained,
                Err(_) => return Poll::Ready(Idle::Gone),
            };
            if !drained && self.to_client.pending() > CLIENT_BACKLOG {
                return Poll::Pending;
            }
            match self.to_server.poll_fill(&mut self.stream, cx) {
                Poll::Ready(Ok(Read::Bytes)) => {}
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
            let unjudged = self.to_server.unjudged();
            let Some(header) = scan(unjudged, self.limit)? else { return Ok(None) };
            if self.session.wants_server(header.tag) {
                let there = unjudged.len() >= Session::client_needs(&header);
                return Ok(there.then_some(Idle::Wants(header.tag)));
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

    /// The frame that waits for a server is refused: the client is told, and stays.
    pub fn refuse(&mut self, error: &Error) {
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

/// Orders that end a client which holds no server.
fn ordered_idle(entry: &Entry) -> Option<Error> {
    let kind = match entry.take_order() {
        _ if entry.is_draining() => Kind::ShuttingDown,
        Order::ClientIdle => Kind::ClientIdle,
        _ => return None,
    };
    Some(Error::new(kind, Side::Proxy))
}

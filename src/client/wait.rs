//! A client's wait for a server: its place in the queue, its limits, and what it costs while there is no primary.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep};

use super::entry::Order;
use super::held::{Hold, Place};
use super::relay::Conversation;
use super::{Client, Leave};
use crate::error::{Error, Kind, Side};
use crate::net::pipe::Read;
use crate::pool::{Lease, Waiting};
use crate::server::Server;
use crate::stats::Wait;

/// What a wait in the queue led to.
pub(super) enum Waited {
    Lease(Lease<Server>),
    /// The pool has no connection, and says why.
    Dismissed(Error),
    Leave(Leave),
    /// Cancelled, or one too many: the client stays.
    Refused(Error),
    /// A reload replaced the pool: the client looks for another one.
    Retired,
}

/// While there is no primary.
struct Holding {
    since: Instant,
    hold: Hold,
    place: Option<Place>,
    /// `failover_hold`, where it is not `query_wait_timeout`.
    over: Option<Pin<Box<Sleep>>>,
}

impl Client {
    /// In the queue, for the primary or a standby. Cancel-safe: the place is given up when dropped.
    pub(super) async fn wait(&mut self, mut waiting: Waiting<Server>, standby: Option<usize>) -> Waited {
        self.conversation.begin_wait(waiting.why);
        let (since, mut holding) = (Instant::now(), None);
        poll_fn(|cx| {
            let is_held = standby.is_none() && self.is_headless();
            if is_held != holding.is_some() {
                let started = || Holding { since, hold: self.house.hold(), place: None, over: None };
                holding = is_held.then(started);
                self.conversation.entry.shown.note_wait(if is_held { Wait::NoPrimary } else { waiting.why });
            }
            match self.poll_wait(&mut waiting, holding.as_ref(), cx) {
                Poll::Pending => holding.as_mut().map_or(Poll::Pending, |holding| self.poll_held(holding, cx)),
                ready => ready,
            }
        })
        .await
    }

    /// It waits for a primary: that is counted, and ends where a bound is passed.
    fn poll_held(&self, holding: &mut Holding, cx: &mut Context<'_>) -> Poll<Waited> {
        let Holding { since, hold, place, over } = holding;
        if let Some(Some(time)) = hold.time {
            let over = over.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(*since + time)));
            if over.as_mut().poll(cx).is_ready() {
                let error = Error::new(Kind::FailoverHold, Side::Server);
                return Poll::Ready(Waited::Leave(Leave::Fail(error)));
            }
        }
        if hold.bounds == Default::default() {
            return Poll::Pending;
        }
        let bytes = self.conversation.to_server.unjudged().len();
        let entered = match place {
            Some(place) => place.grow(bytes, hold.bounds),
            None => self.house.held.enter(bytes, hold.bounds).map(|entered| *place = Some(entered)),
        };
        match entered {
            Ok(()) => Poll::Pending,
            Err(kind) => Poll::Ready(Waited::Refused(Error::new(kind, Side::Proxy))),
        }
    }

    fn is_headless(&self) -> bool {
        self.backed.backend.cluster.as_ref().is_some_and(|cluster| cluster.is_headless())
    }

    fn poll_wait(
        &mut self,
        waiting: &mut Waiting<Server>,
        holding: Option<&Holding>,
        cx: &mut Context<'_>,
    ) -> Poll<Waited> {
        let entry = &self.conversation.entry;
        if entry.is_draining() {
            return Poll::Ready(Waited::Leave(Leave::Fail(Error::new(entry.farewell(), Side::Proxy))));
        }
        match waiting.poll(cx) {
            Poll::Ready(Ok(lease)) => return Poll::Ready(Waited::Lease(lease)),
            Poll::Ready(Err(_)) if self.backed.is_retired() => return Poll::Ready(Waited::Retired),
            Poll::Ready(Err(error)) => return Poll::Ready(Waited::Dismissed(error)),
            Poll::Pending => {}
        }
        match entry.take_order() {
            Order::CancelWait => {
                return Poll::Ready(Waited::Refused(Error::new(Kind::CancelledWait, Side::Client)));
            }
            // The janitor says it again once there is a primary.
            Order::QueryWait if holding.is_some_and(|holding| holding.hold.time.is_some()) => {}
            Order::QueryWait => return Poll::Ready(Waited::Leave(Leave::Fail(self.why_waiting()))),
            Order::WaitNotice => self.conversation.tell_of_wait(),
            _ => {}
        }
        // The tail of its last answer still goes out.
        if self.conversation.drain_client(cx).is_err() {
            return Poll::Ready(Waited::Leave(Leave::Gone));
        }
        // A client that leaves gives up its place; what it sends in the meantime stays in the buffer.
        let Conversation { to_server, stream, traffic, .. } = &mut self.conversation;
        loop {
            match to_server.poll_fill(stream, cx) {
                Poll::Ready(Ok(Read::Bytes(n))) => traffic.received += n as u64,
                Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(Waited::Leave(Leave::Gone)),
                Poll::Ready(Ok(Read::Full)) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The reason behind query_wait_timeout.
    fn why_waiting(&self) -> Error {
        match self.backed.pool.last_error() {
            _ if self.is_headless() => Error::new(Kind::NoPrimary, Side::Server),
            Some(error) => Error::new(Kind::NoServer, Side::Server)
                .about("server login has been failing (server_login_retry)")
                .because(error),
            None => Error::new(Kind::QueryWait, Side::Proxy),
        }
    }
}

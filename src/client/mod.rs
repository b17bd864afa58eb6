//! A client's life: let in, served transaction by transaction, seen off. The only room that holds both a client and a
//! server.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub mod authenticate;
pub mod cancel;
pub mod entry;
pub mod house;
pub mod idle;
pub mod interner;
pub mod login;
pub mod relay;

pub use house::House;

use crate::cluster::backends::Backed;
use crate::config::PoolMode;
use crate::error::{Error, Kind, Side};
use crate::net::pipe::Read;
use crate::pool::{Checkout, Lease, Seat, Waiting, home};
use crate::server::{Server, cleanup};
use entry::{Order, State};
use house::Present;
use idle::Idle;
use relay::{Conversation, End};

/// How long a client that is told goodbye may take to read it.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the cancel of what runs for a client that left may keep the server's place.
const ABANDON: Duration = Duration::from_secs(10);

/// A logged-in client.
pub struct Client {
    pub conversation: Conversation,
    pub house: Arc<House>,
    pub backed: Arc<Backed>,
    /// Made at the first wait.
    seat: Option<Arc<Seat<Server>>>,
    who: Who,
    mode: PoolMode,
    generation: u64,
    present: Present,
}

/// For logs.
pub struct Who {
    pub id: u64,
    pub address: Box<str>,
    pub since: Instant,
}

/// Why a client's life goes no further.
enum Leave {
    Gone,
    Quit,
    Told,
    Fail(Error),
}

/// What a wait in the queue led to.
enum Waited {
    Lease(Lease<Server>),
    /// Cancelled: the client stays.
    Refused(Error),
    /// A reload replaced the pool: the client looks for another one.
    Retired,
    Leave(Leave),
}

impl Client {
    pub fn new(
        conversation: Conversation,
        house: Arc<House>,
        backed: Arc<Backed>,
        who: Who,
        mode: PoolMode,
        present: Present,
    ) -> Client {
        let generation = house.generation.load(Ordering::Relaxed);
        Client { conversation, house, backed, seat: None, who, mode, generation, present }
    }

    /// Until the client leaves, or goes on to another worker: then it is given back, to be run there. Dropping it closes
    /// both ends.
    pub async fn run(mut self: Box<Client>) -> Option<Box<Client>> {
        let leave = loop {
            match poll_fn(|cx| self.conversation.poll_idle(cx)).await {
                Idle::Gone => break Leave::Gone,
                Idle::Quit => break Leave::Quit,
                Idle::Fail(error) => break Leave::Fail(error),
                Idle::Wants(_) if home::is_called_away() => return Some(self),
                Idle::Wants(_) => {}
            }
            if let Some(leave) = self.transact().await {
                break leave;
            }
        };
        Box::pin(self.see_off(leave)).await;
        None
    }

    /// One loan, from the frame that wants a server to the server's return.
    async fn transact(&mut self) -> Option<Leave> {
        if let Err(error) = self.look_around() {
            return Some(Leave::Fail(error));
        }
        let seat = self.seat.get_or_insert_default();
        let mut lease = match self.backed.pool.checkout(seat) {
            Checkout::Ready(lease) => lease,
            Checkout::Wait(waiting) => match Box::pin(self.wait(waiting)).await {
                Waited::Lease(lease) => lease,
                Waited::Leave(leave) => return Some(leave),
                Waited::Refused(error) => {
                    self.conversation.entry.enter(State::Idle);
                    self.conversation.refuse(&error);
                    return None;
                }
                // The frame still stands there, and the wait goes on in the other pool.
                Waited::Retired => return None,
            },
        };
        let entry = &self.conversation.entry;
        entry.serve_by(&lease.gate);
        entry.enter(State::Active);
        self.conversation.attach(&mut lease);
        let end = poll_fn(|cx| self.conversation.poll_relay(&mut lease, cx)).await;
        if let End::Settled(settled) = end {
            self.conversation.entry.serve_end();
            self.conversation.entry.enter(State::Idle);
            self.conversation.session.detach();
            lease.release(settled);
            return None;
        }
        Some(self.part(lease, end))
    }

    /// At a transaction's start: a reload may have changed the limits or retired the pool.
    fn look_around(&mut self) -> Result<(), Error> {
        let generation = self.house.generation.load(Ordering::Relaxed);
        if generation == self.generation && !self.backed.is_retired() {
            return Ok(());
        }
        self.generation = generation;
        let (database, user) = self.present.names();
        self.conversation.entry.set_timeouts(self.house.timeouts(database, user));
        if self.backed.is_retired() {
            let found = self.house.backends.pool(database, user);
            self.backed = found.ok_or_else(|| Error::new(Kind::DatabaseRemoved, Side::Proxy))?;
        }
        Ok(())
    }

    /// In the queue. Cancel-safe: the place is given up when dropped.
    async fn wait(&mut self, mut waiting: Waiting<Server>) -> Waited {
        self.conversation.entry.enter(State::Waiting);
        poll_fn(|cx| self.poll_wait(&mut waiting, cx)).await
    }

    fn poll_wait(&mut self, waiting: &mut Waiting<Server>, cx: &mut Context<'_>) -> Poll<Waited> {
        let entry = &self.conversation.entry;
        entry.waker.register(cx.waker());
        if entry.is_draining() {
            return Poll::Ready(Waited::Leave(Leave::Fail(Error::new(Kind::ShuttingDown, Side::Proxy))));
        }
        match waiting.poll(cx) {
            Poll::Ready(Ok(lease)) => return Poll::Ready(Waited::Lease(lease)),
            Poll::Ready(Err(_)) if self.backed.is_retired() => return Poll::Ready(Waited::Retired),
            Poll::Ready(Err(error)) => return Poll::Ready(Waited::Leave(Leave::Fail(error))),
            Poll::Pending => {}
        }
        match entry.take_order() {
            Order::CancelWait => {
                return Poll::Ready(Waited::Refused(Error::new(Kind::CancelledWait, Side::Client)));
            }
            Order::QueryWait => return Poll::Ready(Waited::Leave(Leave::Fail(self.why_waiting()))),
            _ => {}
        }
        // The tail of its last answer still goes out.
        if self.conversation.drain_client(cx).is_err() {
            return Poll::Ready(Waited::Leave(Leave::Gone));
        }
        // A client that leaves gives up its place; what it sends in the meantime stays in the buffer.
        let Conversation { to_server, stream, .. } = &mut self.conversation;
        loop {
            match to_server.poll_fill(stream, cx) {
                Poll::Ready(Ok(Read::Bytes)) => {}
                Poll::Ready(Ok(Read::End) | Err(_)) => return Poll::Ready(Waited::Leave(Leave::Gone)),
                Poll::Ready(Ok(Read::Full)) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The reason behind query_wait_timeout.
    fn why_waiting(&self) -> Error {
        let headless = self.backed.backend.cluster.as_ref().is_some_and(|c| c.topology().primary().is_none());
        match self.backed.pool.last_error() {
            _ if headless => Error::new(Kind::NoPrimary, Side::Server),
            Some(error) => Error::new(Kind::NoServer, Side::Server)
                .about("server login has been failing (server_login_retry)")
                .because(error),
            None => Error::new(Kind::QueryWait, Side::Proxy),
        }
    }

    /// The loan ended otherwise than settled: what becomes of the server, and why the client leaves.
    fn part(&mut self, lease: Lease<Server>, end: End) -> Leave {
        let session = &mut self.conversation.session;
        let leave = match end {
            End::ServerGone { told: true } => Leave::Told,
            End::ServerGone { told: false } => Leave::Fail(Error::new(Kind::ServerGone, Side::Server)),
            End::ClientGone => Leave::Gone,
            End::Fail(error) => Leave::Fail(error),
            End::Settled(_) => Leave::Gone,
        };
        let reusable = !matches!(&leave, Leave::Told) && !matches!(&leave, Leave::Fail(e) if e.side == Side::Server);
        let whole = !self.conversation.to_server.is_mid_frame()
            && !self.conversation.to_server.has_pending()
            && !self.conversation.to_client.is_mid_frame()
            && !self.conversation.to_client.has_unjudged();
        let running = if reusable && !session.quiet() { self.conversation.entry.abandon() } else { None };
        // Before anybody else can have the server.
        self.conversation.entry.serve_end();
        if let Some(raised) = running {
            // What runs for nobody is cancelled; the connection is closed either way.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(ABANDON, cancel::send(raised)).await;
                drop(lease);
            });
        } else if reusable && whole && session.quiet() && session.pin().is_none() {
            let queries = self.farewell_queries();
            tokio::spawn(cleanup::run(lease, queries));
        }
        leave
    }

    /// What makes the server of a client that left clean again.
    fn farewell_queries(&self) -> Vec<String> {
        let mut queries = Vec::new();
        if self.conversation.session.in_transaction() {
            queries.push("ROLLBACK".to_owned());
        }
        let reset = &self.house.backends.ground().config.global.server_reset_query;
        if self.mode == PoolMode::Session && !reset.is_empty() {
            queries.push(reset.clone());
        }
        if queries.is_empty() {
            // An empty query proves that the server is as we think.
            queries.push(String::new());
        }
        queries
    }

    /// Last words, and the log line.
    async fn see_off(mut self: Box<Client>, leave: Leave) {
        let reason = match &leave {
            Leave::Gone => "client unexpected eof".to_owned(),
            Leave::Quit => "client close request".to_owned(),
            Leave::Told => "server conn crashed?".to_owned(),
            Leave::Fail(error) => error.to_string(),
        };
        if let Leave::Fail(error) = &leave {
            self.conversation.last_words(error);
        }
        if !matches!(leave, Leave::Gone | Leave::Quit) {
            let farewell = poll_fn(|cx| self.conversation.poll_farewell(cx));
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        let Who { id, address, since } = &self.who;
        let (database, user) = self.present.names();
        let pin = self.conversation.session.pin().map(|pin| pin.label());
        let global = self.house.backends.ground();
        if global.config.global.log_disconnections {
            let age = since.elapsed().as_secs();
            tracing::info!(client = id, database, user, address, pin, "closing because: {reason} (age={age}s)");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.house.entries.remove(self.conversation.entry.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DESIGN: memory follows activity. An idle plain client is one task, one `Client`, one `Entry` and a registered
    /// socket; a field more here is a field more for each of ten thousand.
    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 656, "Client: {}", size_of::<Client>());
        assert!(size_of::<entry::Entry>() <= 192, "Entry: {}", size_of::<entry::Entry>());
        assert!(returned_size(Client::run) <= 256, "task: {}", returned_size(Client::run));
    }

    fn returned_size<F, T>(_: F) -> usize
    where
        F: Fn(Box<Client>) -> T,
    {
        size_of::<T>()
    }
}

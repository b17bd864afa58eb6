//! A client's life: let in, served transaction by transaction, seen off. The only room that holds both a client and a
//! server.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

mod announced;
pub mod authenticate;
mod books;
pub mod cancel;
pub mod elders;
pub mod entry;
mod farewell;
pub mod held;
pub mod house;
pub mod idle;
pub mod interner;
pub mod key;
pub mod login;
pub mod operator;
pub mod orders;
pub mod peers;
pub mod pinned;
pub mod reader;
pub mod relay;
pub mod rounds;
pub mod sentence;
pub mod shown;
mod standby;
pub mod survey;
pub mod suspended;
pub mod timeouts;
mod transact;
pub mod verdicts;
mod wait;
mod ways;
mod welcome;
mod wish;

pub use house::House;

use crate::cluster::backends::Backed;
use crate::config::PoolMode;
use crate::error::{Error, Kind, Side};
use crate::pool::{Lease, Lent, Seat, home};
use crate::server::{Server, cleanup};
use crate::session::Ddl;
use entry::State;
use house::Present;
use idle::Idle;
use reader::{Loan, Reader};
use relay::{Conversation, End};
use shown::{Shown, Who};

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
    generation: u64,
    present: Present,
}

/// Why a client's life goes no further.
enum Leave {
    Gone,
    Quit,
    Told,
    Fail(Error),
}

impl Client {
    pub fn new(conversation: Conversation, house: Arc<House>, backed: Arc<Backed>, present: Present) -> Client {
        let generation = house.generation.load(Ordering::Relaxed);
        Client { conversation, house, backed, seat: None, generation, present }
    }

    /// Until the client leaves, or goes on to another worker: then it is given back, to be run there. Dropping it closes
    /// both ends.
    pub async fn run(mut self: Box<Client>) -> Option<Box<Client>> {
        poll_fn(|cx| {
            self.conversation.entry.run_by(cx.waker());
            Poll::Ready(())
        })
        .await;
        let leave = loop {
            match poll_fn(|cx| self.conversation.poll_idle(cx)).await {
                Idle::Gone => break Leave::Gone,
                Idle::Quit => break Leave::Quit,
                Idle::Fail(error) => break Leave::Fail(error),
                Idle::Wants(_) if home::is_called_away() => return Some(self),
                Idle::Wants(seen) => {
                    if let Some(leave) = self.transact(seen).await {
                        break leave;
                    }
                }
            }
        };
        Box::pin(self.see_off(leave)).await;
        None
    }

    /// At a transaction's start: a reload may have changed the limits or retired the pool.
    /// False: it did, and there is another one.
    fn look_around(&mut self) -> Result<bool, Error> {
        let generation = self.house.generation.load(Ordering::Relaxed);
        if generation == self.generation && !self.backed.is_retired() {
            return Ok(true);
        }
        self.generation = generation;
        let (database, user) = self.present.names();
        if let Some(reader) = &mut self.conversation.reader {
            reader.look_around();
        }
        self.conversation.session.set_forgiving(self.house.forgives(&self.backed));
        self.conversation.session.set_pinning(self.house.pinning(&self.backed));
        let timeouts = self.house.timeouts(database, user);
        if self.conversation.session.is_replication() {
            self.conversation.entry.set_timeouts(timeouts.of_replication());
            return Ok(true);
        }
        self.conversation.entry.set_timeouts(timeouts);
        if self.backed.is_retired() {
            let found = self.house.backends.pool(database, user);
            self.backed = found.ok_or_else(|| Error::new(Kind::DatabaseRemoved, Side::Proxy))?;
            self.conversation.reader = Reader::of(&self.backed);
            self.conversation.witness = Arc::clone(&self.backed.witness);
            self.conversation.tally = Arc::clone(&self.backed.backend.tally);
            self.conversation.entry.shown.note_tally(&self.backed.backend.tally);
            return Ok(false);
        }
        Ok(true)
    }

    /// The loan ended otherwise than settled: what becomes of the server, and why the client leaves.
    fn part(&mut self, lease: Lease<Server>, end: End) -> Leave {
        let on_standby = match &self.conversation.reader {
            Some(reader) => matches!(reader.loan, Loan::Standby { .. }),
            None => false,
        };
        // Whatever it was doing may have been done.
        if !on_standby {
            self.conversation.witness.wrote();
            if self.conversation.session.ddl() != Ddl::None {
                self.conversation.changed_catalog();
            }
        }
        if matches!(end, End::ServerGone { .. }) {
            self.suspect(&lease);
        }
        let session = &mut self.conversation.session;
        let leave = match end {
            End::ServerGone { told: true } => Leave::Told,
            End::ServerGone { told: false } if self.backed.backend.cluster.is_some() => {
                Leave::Fail(Error::new(Kind::ServerLost, Side::Server))
            }
            End::ServerGone { told: false } => Leave::Fail(Error::new(Kind::ServerGone, Side::Server)),
            End::ClientGone => Leave::Gone,
            End::Fail(error) => Leave::Fail(error),
            End::Settled(_) | End::Refused { .. } | End::Unfit(_) => Leave::Gone,
        };
        let reusable = !matches!(&leave, Leave::Told) && !matches!(&leave, Leave::Fail(e) if e.side == Side::Server);
        let whole = !self.conversation.to_server.is_mid_frame()
            && !self.conversation.to_server.has_pending()
            && !self.conversation.to_client.is_mid_frame()
            && !self.conversation.to_client.has_unjudged();
        let clean = session.quiet() && session.pin().is_none();
        let running = if reusable && !session.quiet() { self.conversation.entry.abandon() } else { None };
        self.conversation.enter(State::Idle, lease.node());
        self.conversation.settle_books(lease.node());
        // Before anybody else can have the server.
        self.conversation.entry.serve_end();
        if let Some(raised) = running {
            // What runs for nobody is cancelled; the connection is closed either way.
            tokio::spawn(async move {
                let _ = tokio::time::timeout(ABANDON, cancel::send(raised)).await;
                drop(lease);
            });
        } else if reusable && whole && clean {
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
        match self.backed.backend.reset_query() {
            Some(always) => queries.push(always),
            None if self.conversation.session.mode() == PoolMode::Session && !reset.is_empty() => {
                queries.push(reset.clone())
            }
            None => {}
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
        self.conversation.close_books();
        let Shown { who: Who { id, ends, .. }, connected, .. } = &self.conversation.entry.shown;
        let (database, user) = self.present.names();
        let pin = self.conversation.session.pin().map(|pin| pin.label());
        let global = self.house.backends.ground();
        if global.config.global.log_disconnections {
            let age = self.house.epoch.elapsed().saturating_sub(Duration::from_micros(*connected)).as_secs();
            tracing::info!(client = id, database, user, address = %ends, pin, "closing because: {reason} (age={age}s)");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.house.entries.remove(&self.conversation.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DESIGN: memory follows activity. An idle plain client is one task, one `Client`, one `Entry` and a registered
    /// socket; a field more here is a field more for each of ten thousand.
    #[test]
    fn an_idle_client_is_small() {
        assert!(size_of::<Client>() <= 576, "Client: {}", size_of::<Client>());
        assert!(size_of::<entry::Entry>() <= 248, "Entry: {}", size_of::<entry::Entry>());
        assert!(returned_size(Client::run) <= 256, "task: {}", returned_size(Client::run));
    }

    fn returned_size<F, T>(_: F) -> usize
    where
        F: Fn(Box<Client>) -> T,
    {
        size_of::<T>()
    }
}

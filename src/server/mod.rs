//! A logged-in PostgreSQL connection: what a pool lends.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub mod cleanup;
pub mod connect;
pub mod login;
pub mod names;
pub mod roll;

use crate::net::parting;
use crate::net::stream::Stream;
use crate::pool::Lent;
use crate::pool::home::Home;
use crate::session::ServerState;
use crate::session::ledger::Settled;
use crate::session::settings;
use crate::wire::{back, backend, frame};
use connect::Route;
use roll::{Enrolled, Face};

/// A server connection.
pub struct Server {
    pub stream: Stream,
    pub state: ServerState,
    /// What a cancel request needs, and whether one is under way.
    pub gate: Arc<Gate>,
    /// Its place in the pool's list of servers.
    node: usize,
    home: Home,
    born: Instant,
    cancel_wait: Option<Duration>,
    /// Its place on the roll, if it is a pool's.
    enrolled: Option<Enrolled>,
}

/// What those say who watch a server, for whoever has a connection to it.
#[derive(Debug, Default)]
pub struct Standing {
    silent: AtomicBool,
    replaced: AtomicBool,
    vacated: AtomicBool,
}

impl Standing {
    pub fn set(&self, silent: bool, replaced: bool) {
        self.silent.store(silent, Ordering::Relaxed);
        self.replaced.store(replaced, Ordering::Relaxed);
    }

    pub fn vacate(&self, vacated: bool) {
        self.vacated.store(vacated, Ordering::Relaxed);
    }

    /// A standby that may have to take over: its open transactions are to end, since one that is in conflict with replay
    /// delays that.
    pub fn is_vacated(&self) -> bool {
        self.vacated.load(Ordering::Relaxed)
    }

    /// It answers nobody: what can run elsewhere should.
    pub fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// It is fenced, or another one is the primary and this one no standby of it: whatever it still does is for nobody.
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }
}

/// A server's cancel key, and how many cancels are on their way to it. A server with one under way is not lent: the
/// signal could hit the next client's statement.
#[derive(Debug)]
pub struct Gate {
    pub route: Route,
    pub pid: i32,
    pub secret: Box<[u8]>,
    /// What those say who watch its server.
    standing: Arc<Standing>,
    /// What lists show of it.
    face: OnceLock<Face>,
    up: AtomicUsize,
    fell: Notify,
}

/// One cancel on its way; the gate falls when it is dropped.
pub struct Raised(Arc<Gate>);

impl Gate {
    pub fn new(route: Route, pid: i32, secret: &[u8], standing: Arc<Standing>) -> Gate {
        Gate {
            route,
            pid,
            secret: secret.into(),
            standing,
            face: OnceLock::new(),
            up: AtomicUsize::new(0),
            fell: Notify::new(),
        }
    }

    /// None of a connection that is no pool's.
    pub fn face(&self) -> Option<&Face> {
        self.face.get()
    }

    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Before the cancel is dialled, and while the server is known to serve the client that is cancelled.
    pub fn raise(self: &Arc<Gate>) -> Raised {
        self.up.fetch_add(1, Ordering::SeqCst);
        Raised(Arc::clone(self))
    }

    /// How many cancels are on their way.
    pub fn raised(&self) -> usize {
        self.up.load(Ordering::SeqCst)
    }

    pub fn is_up(&self) -> bool {
        self.raised() > 0
    }

    /// Ends when no cancel is under way. Cancel-safe.
    async fn fallen(&self) {
        loop {
            let notified = self.fell.notified();
            if !self.is_up() {
                return;
            }
            notified.await;
        }
    }
}

impl Raised {
    pub fn gate(&self) -> &Arc<Gate> {
        &self.0
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.up.fetch_sub(1, Ordering::SeqCst);
        self.0.fell.notify_waiters();
    }
}

impl Server {
    /// What arrived on an idle connection. Notices and changed parameters are absorbed; anything else, and an end,
    /// means that it is not to be used any more (PROTOCOL 16).
    fn absorb(&mut self, cx: &mut Context<'_>) -> bool {
        let mut bytes = [0; 1024];
        match self.stream.poll_read(cx, &mut bytes) {
            Poll::Pending => true,
            Poll::Ready(Ok(n)) if n > 0 => self.absorb_frames(bytes.get(..n).unwrap_or_default()),
            Poll::Ready(_) => false,
        }
    }

    fn absorb_frames(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let Ok(Some(header)) = frame::scan(bytes, frame::LOGIN_LIMIT) else { return false };
            let (Some(body), Some(rest)) = (bytes.get(frame::HEADER..header.len), bytes.get(header.len..)) else {
                return false;
            };
            match header.tag {
                back::NOTICE if !backend::sqlstate(body).starts_with(b"57P") => {}
                back::PARAMETER_STATUS => self.note_parameter(body),
                _ => return false,
            }
            bytes = rest;
        }
        true
    }

    fn note_parameter(&mut self, body: &[u8]) {
        let Ok((name, value)) = backend::parameter_status(body) else { return };
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else { return };
        if let Some(name) = settings::followed(name) {
            Arc::make_mut(&mut self.state.known).set(name, value);
        }
    }
}

impl Lent for Server {
    type Proof = Settled;

    /// The kernel's report since the last read is looked at; a system call is made only if there is something.
    /// A task that has used up its turn is told Pending whatever there is; the look is taken all the same.
    fn alive(&mut self) -> bool {
        if !self.stream.is_readable() {
            return true;
        }
        let mut cx = Context::from_waker(Waker::noop());
        let look = poll_fn(|cx| Poll::Ready(self.absorb(cx)));
        pin!(tokio::task::unconstrained(look)).poll(&mut cx) == Poll::Ready(true)
    }

    fn born(&self) -> Instant {
        self.born
    }

    fn node(&self) -> usize {
        self.node
    }

    fn home(&self) -> Home {
        self.home
    }

    fn move_to(&mut self, home: Home) {
        if self.stream.watch_here().is_ok() {
            self.home = home;
        }
    }

    fn hindrance(&self) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>> {
        if !self.gate.is_up() {
            return None;
        }
        let gate = Arc::clone(&self.gate);
        let limit = self.cancel_wait;
        Some(Box::pin(async move {
            match limit {
                Some(limit) => tokio::time::timeout(limit, gate.fallen()).await.is_ok(),
                None => {
                    gate.fallen().await;
                    true
                }
            }
        }))
    }

    fn part(&mut self) {
        parting::part(&mut self.stream);
    }
}

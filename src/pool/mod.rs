//! Lending: a pool hands out connections as leases and takes them back only with a proof that they are clean.
//!
//! It is generic over what it lends and knows no PostgreSQL. A lease that ends in any other way than `release` (a
//! panic, a timeout, a dropped task, a forgotten branch) closes its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::error::Error;

pub mod core;
mod lease;
pub mod registry;

use self::core::{Census, Core, Limits, Put, Serving};
pub use self::lease::{Checkout, Lease, Permit, Seat, Waiting};

/// What can be lent.
pub trait Lent: Send + 'static {
    /// What `Lease::release` demands.
    type Proof;

    /// Looks without waiting whether an idle connection is still good.
    fn alive(&mut self) -> bool;

    fn born(&self) -> Instant;

    /// The node that it is connected to.
    fn node(&self) -> usize;

    /// Something that must end before it is lent again, though it is clean (a cancel request on its way). The future
    /// says whether it may then be kept.
    fn hindrance(&self) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>>;
}

/// One of several caps that pools share, per node (max_db_connections, max_user_connections).
#[derive(Debug, Default)]
pub struct Gauge {
    count: AtomicUsize,
    /// 0: unbounded.
    limit: AtomicUsize,
}

impl Gauge {
    pub fn new(limit: usize) -> Gauge {
        Gauge { count: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn acquire(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let one_more = |count| (limit == 0 || count < limit).then_some(count + 1);
        self.count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }

    pub fn release(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The caps that one node's connections count against.
pub type Caps = Vec<Arc<Gauge>>;

/// How a pool gets new connections, and asks others under the same caps for room.
pub trait Dialler<T: Lent>: Send + Sync + 'static {
    /// Starts one dial and returns at once; the permit comes back by `Permit::deliver`, `fail`, or by being dropped.
    fn dial(&self, permit: Permit<T>);
    /// A cap is reached: another pool should give up an idle connection to this node.
    fn make_room(&self, node: usize);
}

/// Connections of one user to one database.
pub struct Pool<T: Lent> {
    core: Mutex<Core<Box<T>, Arc<Seat<T>>>>,
    caps: Vec<Caps>,
    dialler: Box<dyn Dialler<T>>,
    last_error: Mutex<Option<Error>>,
    /// A lifetime of 0: a connection that was lent is not lent again.
    lends_once: AtomicBool,
}

impl<T: Lent> Pool<T> {
    /// One entry of `caps` per node.
    pub fn new(serving: Serving, limits: Limits, caps: Vec<Caps>, dialler: Box<dyn Dialler<T>>) -> Arc<Pool<T>> {
        let lends_once = AtomicBool::new(limits.lifetime.is_zero());
        let core = Mutex::new(Core::new(caps.len(), serving, limits));
        Arc::new(Pool { core, caps, dialler, last_error: Mutex::new(None), lends_once })
    }

    /// A live idle connection, or a place in the queue.
    pub fn checkout(self: &Arc<Self>, seat: &Arc<Seat<T>>) -> Checkout<T> {
        loop {
            let mut core = self.core.lock();
            let Some((node, it)) = core.take() else {
                seat.sit();
                let ticket = core.join(Arc::clone(seat), Instant::now());
                drop(core);
                self.pump();
                return Checkout::Wait(Waiting::new(Arc::clone(self), Arc::clone(seat), ticket));
            };
            let mut lease = Lease::new(it, Permit::new(Arc::clone(self), node, core.epoch(node)));
            drop(core);
            if lease.alive() {
                return Checkout::Ready(lease);
            }
        }
    }

    /// Starts the dials that are needed, allowed and due.
    pub fn pump(self: &Arc<Self>) {
        loop {
            let mut core = self.core.lock();
            let Some(node) = core.next_dial(Instant::now()) else { return };
            if !self.enter_caps(node) {
                core.dialled(node);
                core.closed(node);
                drop(core);
                return self.dialler.make_room(node);
            }
            let permit = Permit::new(Arc::clone(self), node, core.epoch(node)).on_its_way();
            drop(core);
            self.dialler.dial(permit);
        }
    }

    /// Counts one connection against each cap, or against none if one is full.
    fn enter_caps(&self, node: usize) -> bool {
        let caps = &self.caps[node];
        let Some(full) = caps.iter().position(|gauge| !gauge.acquire()) else { return true };
        caps[..full].iter().for_each(|gauge| gauge.release());
        false
    }

    /// A clean connection: to the first in the queue, else among the idle ones.
    fn put(self: &Arc<Self>, lease: Lease<T>) {
        let Some((it, permit)) = lease.take_apart() else { return };
        let born = it.born();
        let put = self.core.lock().put(permit.node(), permit.epoch(), it, born, Instant::now());
        match put {
            Put::Close(it) => drop(it),
            Put::Hand(seat, it) => seat.give(Lease::new(it, permit)),
            Put::Kept => permit.leave_counted(),
        }
    }

    /// Hands idle connections to those who wait, then dials for the rest.
    pub fn match_up(self: &Arc<Self>) {
        loop {
            let mut core = self.core.lock();
            let Some((seat, node, it)) = core.match_up() else { break };
            let permit = Permit::new(Arc::clone(self), node, core.epoch(node));
            drop(core);
            seat.give(Lease::new(it, permit));
        }
        self.pump();
    }

    /// Everybody in the queue is told why there is no connection.
    pub fn dismiss(&self, error: &Error) {
        let seats = self.core.lock().dismiss();
        seats.iter().for_each(|seat| seat.refuse(error.clone()));
    }

    /// Other nodes serve from now on.
    pub fn serve(self: &Arc<Self>, serving: Serving) {
        let gone = self.core.lock().serve(serving);
        self.discard(gone);
        self.match_up();
    }

    pub fn set_limits(self: &Arc<Self>, limits: Limits) {
        self.lends_once.store(limits.lifetime.is_zero(), Ordering::Relaxed);
        self.core.lock().limits = limits;
        self.pump();
    }

    /// Every connection closes once it is not in use.
    pub fn recycle(self: &Arc<Self>) {
        let gone = self.core.lock().recycle_all();
        self.discard(gone);
    }

    pub fn pause(self: &Arc<Self>, paused: bool) {
        self.core.lock().pause(paused);
        if !paused {
            self.match_up();
        }
    }

    /// One look of the janitor: what is dead, idle for too long or too old goes; what is due is dialled.
    pub fn tend(self: &Arc<Self>) {
        let mut core = self.core.lock();
        let mut gone = core.sweep(|it| it.alive());
        gone.extend(core.expired(Instant::now()));
        drop(core);
        self.discard(gone);
        self.match_up();
    }

    /// Gives up one idle connection to the node; whether there was one.
    pub fn evict(&self, node: usize) -> bool {
        let evicted = self.core.lock().evict(node);
        let found = evicted.is_some();
        self.discard(evicted.into_iter().collect());
        found
    }

    pub fn census(&self) -> Census {
        self.core.lock().census()
    }

    /// The last failed dial, until one succeeds.
    pub fn last_error(&self) -> Option<Error> {
        self.last_error.lock().clone()
    }

    /// Closes connections that were idle.
    fn discard(&self, gone: Vec<Box<T>>) {
        for it in gone {
            let node = it.node();
            drop(it);
            self.leave(node);
        }
    }

    fn leave(&self, node: usize) {
        self.core.lock().closed(node);
        self.caps[node].iter().for_each(|gauge| gauge.release());
    }
}

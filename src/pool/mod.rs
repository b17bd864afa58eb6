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
use crate::stats::Wait;

pub mod core;
pub mod home;
mod lease;
pub mod registry;

use self::core::{Census, Core, Limits, Put, Serving};
use self::home::Home;
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

    /// The worker whose driver watches it.
    fn home(&self) -> Home;

    /// It is used on this worker, which is the caller's, from now on. Where it cannot move it stays at home, and is
    /// driven from there.
    fn move_to(&mut self, home: Home);

    /// Something that must end before it is lent again, though it is clean (a cancel request on its way). The future
    /// says whether it may then be kept.
    fn hindrance(&self) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>>;

    /// It is closed next, and owes nothing: the other side is told, as far as it can be without waiting.
    fn part(&mut self);
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

    fn is_full(&self) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        limit != 0 && self.count() >= limit
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
    /// Asks a connection that has rested whether it is good, and returns at once. It comes back by `Lease::release`, or is
    /// dropped.
    fn check(&self, lease: Lease<T>);
    /// A cap is reached: another pool that counts against it should give up an idle connection. Whether one did.
    fn make_room(&self, full: &Arc<Gauge>) -> bool;
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

    /// A live idle connection, or a place in the queue. The seat is made when there is first something to wait for.
    pub fn checkout(self: &Arc<Self>, seat: &mut Option<Arc<Seat<T>>>) -> Checkout<T> {
        loop {
            let mut core = self.core.lock();
            let Some((node, it)) = core.take(home::here()) else {
                let seat = seat.get_or_insert_default();
                // Nobody but this client uses it: nothing is left on it from the last wait.
                let before = seat.take();
                let now = Instant::now();
                let ticket = core.join(Arc::clone(seat), home::here(), now);
                let why = core.why(now);
                drop(core);
                drop(before);
                let why = self.unless_capped(why);
                self.pump();
                return Checkout::Wait(Waiting::new(Arc::clone(self), Arc::clone(seat), ticket, why));
            };
            let mut lease = Lease::new(it, Permit::new(Arc::clone(self), node, core.epoch(node)));
            drop(core);
            if lease.alive() {
                lease.arrive();
                return Checkout::Ready(lease);
            }
        }
    }

    /// Starts the checks and dials that are needed, allowed and due.
    pub fn pump(self: &Arc<Self>) {
        loop {
            let mut core = self.core.lock();
            if let Some((node, it)) = core.next_check() {
                let permit = Permit::new(Arc::clone(self), node, core.epoch(node)).for_check();
                drop(core);
                self.dialler.check(Lease::new(it, permit));
                continue;
            }
            let Some(node) = core.next_dial(Instant::now()) else { return };
            if let Some(full) = self.enter_caps(node) {
                core.not_dialled(node);
                // Not for the minimum's sake: two pools under one cap would take turns at closing each other's.
                let wanted = core.census().waiting > 0;
                drop(core);
                if wanted && self.dialler.make_room(full) {
                    continue;
                }
                return;
            }
            let permit = Permit::new(Arc::clone(self), node, core.epoch(node)).on_its_way();
            drop(core);
            self.dialler.dial(permit);
        }
    }

    /// Counts one connection against each cap, or against none and returns the one that is full.
    fn enter_caps(&self, node: usize) -> Option<&Arc<Gauge>> {
        let caps = &self.caps[node];
        let full = caps.iter().position(|gauge| !gauge.acquire())?;
        caps[..full].iter().for_each(|gauge| gauge.release());
        caps.get(full)
    }

    /// A clean connection: to the first in the queue, else among the idle ones.
    fn put(self: &Arc<Self>, lease: Lease<T>) {
        let Some((it, mut permit)) = lease.take_apart() else { return };
        let (home, born) = (it.home(), it.born());
        let mut core = self.core.lock();
        if permit.end_check() {
            core.checked(permit.node());
        }
        match core.put(permit.node(), permit.epoch(), it, home, born, Instant::now()) {
            Put::Close(mut it) => {
                drop(core);
                it.part();
            }
            Put::Hand(seat, it) => {
                let before = seat.give(Lease::new(it, permit));
                drop(core);
                before.wake();
            }
            Put::Kept => permit.leave_counted(),
        }
    }

    /// Hands idle connections to those who wait, then dials for the rest.
    pub fn match_up(self: &Arc<Self>) {
        loop {
            let mut core = self.core.lock();
            let Some((seat, node, it)) = core.match_up() else { break };
            let permit = Permit::new(Arc::clone(self), node, core.epoch(node));
            let before = seat.give(Lease::new(it, permit));
            drop(core);
            before.wake();
        }
        self.pump();
    }

    /// Everybody in the queue is told why there is no connection.
    pub fn dismiss(&self, error: &Error) {
        let mut core = self.core.lock();
        let before: Vec<_> = core.dismiss().iter().map(|seat| seat.refuse(error.clone())).collect();
        drop(core);
        before.into_iter().for_each(lease::Given::wake);
    }

    /// Other nodes serve from now on.
    pub fn serve(self: &Arc<Self>, serving: Serving) {
        let mut core = self.core.lock();
        let mut gone = core.serve(serving);
        // Whatever made the nodes change may have ended these.
        gone.extend(core.sweep(|it| it.alive()));
        if matches!(serving, Serving::Held(_) | Serving::Nobody) {
            // Other limits hold for those who wait now.
            core.waiters().for_each(|seat| seat.nudge());
        }
        drop(core);
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

    /// It is replaced: its waiters are sent away with this error, and it keeps no connection any more.
    pub fn retire(self: &Arc<Self>, error: &Error) {
        self.lends_once.store(true, Ordering::Relaxed);
        self.core.lock().limits.min_size = 0;
        self.recycle();
        self.dismiss(error);
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

    /// Gives up one idle connection that counts against this cap; whether there was one.
    pub fn evict(&self, full: &Arc<Gauge>) -> bool {
        let counts = |node: &usize| self.caps[*node].iter().any(|gauge| Arc::ptr_eq(gauge, full));
        let evicted = (0..self.caps.len()).filter(counts).find_map(|node| self.core.lock().evict(node));
        let found = evicted.is_some();
        self.discard(evicted.into_iter().collect());
        found
    }

    pub fn census(&self) -> Census {
        self.core.lock().census()
    }

    pub fn census_of(&self, node: usize) -> Census {
        self.core.lock().census_of(node)
    }

    pub fn is_paused(&self) -> bool {
        self.core.lock().is_paused()
    }

    /// Connections that were opened before this epoch close when they come back.
    pub fn epoch(&self, node: usize) -> u64 {
        self.core.lock().epoch(node)
    }

    /// A connection is to come, unless a cap that is full forbids it.
    fn unless_capped(&self, why: Wait) -> Wait {
        let full = || self.caps.iter().flatten().any(|gauge| gauge.is_full());
        if why == Wait::Connect && full() { Wait::Capped } else { why }
    }

    /// The last failed dial, until one succeeds.
    pub fn last_error(&self) -> Option<Error> {
        self.last_error.lock().clone()
    }

    /// Closes connections that were idle.
    fn discard(&self, gone: Vec<Box<T>>) {
        for mut it in gone {
            let node = it.node();
            it.part();
            drop(it);
            self.core.lock().discarded(node);
            self.leave_caps(node);
        }
    }

    /// A connection that had rested was found to be bad.
    fn distrust(&self, node: usize) {
        let gone = {
            let mut core = self.core.lock();
            core.checked(node);
            core.distrust(node)
        };
        self.discard(gone);
    }

    fn leave(&self, node: usize, epoch: u64) {
        self.core.lock().closed(node, epoch);
        self.leave_caps(node);
    }

    fn leave_caps(&self, node: usize) {
        self.caps[node].iter().for_each(|gauge| gauge.release());
    }
}

/// What stands idle has no permit that would give its place under the caps back.
impl<T: Lent> Drop for Pool<T> {
    fn drop(&mut self) {
        let gone = self.core.get_mut().recycle_all();
        self.discard(gone);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::error::{Kind, Side};

    struct Thing(Instant, Home);

    impl Lent for Thing {
        type Proof = ();

        fn alive(&mut self) -> bool {
            true
        }

        fn born(&self) -> Instant {
            self.0
        }

        fn node(&self) -> usize {
            0
        }

        fn home(&self) -> Home {
            self.1
        }

        fn move_to(&mut self, home: Home) {
            self.1 = home;
        }

        fn hindrance(&self) -> Option<Pin<Box<dyn Future<Output = bool> + Send>>> {
            None
        }

        fn part(&mut self) {}
    }

    /// Dials at once, and asks the pools of `others` for room.
    #[derive(Default)]
    struct Instantly {
        others: Vec<Arc<Pool<Thing>>>,
        asked: Arc<AtomicUsize>,
        /// Whether those that have rested are good.
        passes: bool,
    }

    impl Dialler<Thing> for Instantly {
        fn dial(&self, permit: Permit<Thing>) {
            permit.deliver(Box::new(Thing(Instant::now(), home::here())), ());
        }

        fn check(&self, lease: Lease<Thing>) {
            if self.passes {
                lease.release(());
            }
        }

        fn make_room(&self, full: &Arc<Gauge>) -> bool {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.others.iter().any(|pool| pool.evict(full))
        }
    }

    fn limits(size: usize) -> Limits {
        Limits {
            size,
            min_size: 0,
            reserve: 0,
            reserve_after: Duration::from_secs(5),
            round_robin: false,
            lifetime: Duration::from_secs(3600),
            idle_timeout: None,
            check_after: None,
            retry_cap: Duration::from_secs(1),
        }
    }

    fn pool(limits: Limits, caps: &[&Arc<Gauge>], dialler: Instantly) -> Arc<Pool<Thing>> {
        let caps = caps.iter().map(|gauge| Arc::clone(gauge)).collect();
        Pool::new(Serving::One(0), limits, vec![caps], Box::new(dialler))
    }

    fn lease(pool: &Arc<Pool<Thing>>) -> Option<Lease<Thing>> {
        match pool.checkout(&mut None) {
            Checkout::Ready(lease) => Some(lease),
            Checkout::Wait(mut waiting) => match waiting.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(lease) => lease.ok(),
                Poll::Pending => None,
            },
        }
    }

    #[test]
    fn a_place_given_up_while_it_is_served_loses_nothing() {
        let pool = pool(limits(1), &[], Instantly::default());
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    home::settle(Home(worker), Arc::default());
                    let mut seat = None;
                    for round in 0..20_000 {
                        match pool.checkout(&mut seat) {
                            Checkout::Ready(lease) => lease.release(()),
                            Checkout::Wait(mut waiting) if round % 2 == 0 => {
                                let polled = waiting.poll(&mut Context::from_waker(Waker::noop()));
                                if let Poll::Ready(Ok(lease)) = polled {
                                    lease.release(());
                                }
                            }
                            Checkout::Wait(waiting) => drop(waiting),
                        }
                    }
                    assert!(
                        seat.is_none_or(|seat| matches!(seat.take(), lease::Given::Nothing | lease::Given::Waiting(_)))
                    );
                });
            }
        });
        assert_eq!(pool.census(), Census { open: 1, idle: 1, ..Census::default() });
    }

    #[test]
    fn one_that_has_rested_is_asked_for_whoever_waits() {
        let asked = Limits { check_after: Some(Duration::ZERO), ..limits(1) };
        for (passes, opened) in [(true, 1), (false, 2)] {
            let asking = Instantly { passes, ..Instantly::default() };
            let pool = pool(asked.clone(), &[], asking);
            let first = lease(&pool).expect("it was just opened");
            let born = first.born();
            first.release(());
            assert_eq!(pool.census().idle, 1);
            let second = lease(&pool).expect("asked, or in the place of one that failed");
            assert_eq!(second.born() == born, opened == 1);
            assert_eq!(pool.census(), Census { open: 1, ..Census::default() });
        }
    }

    #[test]
    fn what_is_lent_is_at_home_where_it_is_used() {
        let pool = pool(limits(1), &[], Instantly::default());
        let at_home = |home| {
            std::thread::scope(|scope| {
                let borrowed = scope.spawn(|| {
                    home::settle(home, Arc::default());
                    lease(&pool).map(|lease| {
                        let there = lease.home();
                        lease.release(());
                        there
                    })
                });
                borrowed.join().expect("a connection is lent")
            })
        };
        for worker in [0, 1, 1, 0] {
            assert_eq!(at_home(Home(worker)), Some(Home(worker)));
        }
        let held = lease(&pool).expect("a connection");
        let mut seat = None;
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                home::settle(Home(1), Arc::default());
                pool.checkout(&mut seat)
            });
            let Ok(Checkout::Wait(mut waiting)) = waits.join() else { panic!("the pool is full") };
            held.release(());
            let used = scope.spawn(move || {
                home::settle(Home(1), Arc::default());
                match waiting.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(lease)) => Some(lease.home()),
                    _ => None,
                }
            });
            assert_eq!(used.join().ok().flatten(), Some(Home(1)));
        });
    }

    #[test]
    fn a_pool_that_goes_gives_its_places_under_the_caps_back() {
        let cap = Arc::new(Gauge::new(1));
        let pool = pool(limits(1), &[&cap], Instantly::default());
        lease(&pool).expect("a connection").release(());
        assert_eq!(cap.count(), 1);
        drop(pool);
        assert_eq!(cap.count(), 0);
    }

    #[test]
    fn room_is_made_by_a_pool_under_the_cap_that_is_full_and_used_at_once() {
        let (full, roomy) = (Arc::new(Gauge::new(1)), Arc::new(Gauge::new(9)));
        let unrelated = pool(limits(1), &[&roomy], Instantly::default());
        let related = pool(limits(1), &[&full, &roomy], Instantly::default());
        lease(&unrelated).expect("a connection").release(());
        lease(&related).expect("a connection").release(());
        let others = vec![Arc::clone(&unrelated), Arc::clone(&related)];
        let needy = pool(limits(1), &[&roomy, &full], Instantly { others, ..Instantly::default() });
        let _held = lease(&needy).expect("the place that was made");
        assert_eq!((unrelated.census().open, related.census().open), (1, 0));
        assert_eq!((full.count(), roomy.count()), (1, 2));
    }

    #[test]
    fn nobody_makes_room_for_a_minimum() {
        let cap = Arc::new(Gauge::new(1));
        let dialler = Instantly::default();
        let asked = Arc::clone(&dialler.asked);
        let pool = pool(Limits { min_size: 2, ..limits(2) }, &[&cap], dialler);
        pool.tend();
        assert_eq!((pool.census().open, asked.load(Ordering::Relaxed)), (1, 0));
    }

    #[test]
    fn a_retired_pool_sends_its_waiters_away_and_keeps_nothing() {
        let pool = pool(Limits { min_size: 1, ..limits(1) }, &[], Instantly::default());
        let held = lease(&pool).expect("a connection");
        let mut seat = None;
        let Checkout::Wait(mut waiting) = pool.checkout(&mut seat) else { panic!("the pool is full") };
        pool.retire(&Error::new(Kind::DatabaseRemoved, Side::Proxy));
        let polled = waiting.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Err(error)) if error.kind == Kind::DatabaseRemoved));
        held.release(());
        assert_eq!(pool.census(), Census::default());
    }
}

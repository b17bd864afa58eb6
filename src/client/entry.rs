//! What other tasks know of a client, and how they reach it: its cancel key, its state, orders for it.
//!
//! Timeouts are looked at by a janitor that reads each client's state and the time since which it lasts, so that a
//! transaction starts no timer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Instant;

use dashmap::DashMap;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use super::key::{Key, Secret};
use super::shown::{Shown, Who};
use super::timeouts::{Limits, Timeouts};
use crate::config::PoolMode;
use crate::control::Phase;
use crate::server::{Gate, Raised};
use crate::stats::Tally;

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Holds no server, or a quiet one outside a transaction.
    Idle = 0,
    /// In the queue for a server.
    Waiting = 1,
    /// A server works for it.
    Active = 2,
    /// In a transaction, with nothing in flight.
    IdleInTransaction = 3,
}

/// What a client's task is told to do about what it is doing now. It looks again before it obeys: what the order
/// was about may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    None = 0,
    /// Its wait for a server is cancelled (57014).
    CancelWait,
    ClientIdle,
    IdleTransaction,
    QueryTimeout,
    QueryWait,
    TransactionTimeout,
    /// The server that works for it answers nobody any more.
    ServerLost,
    /// Its transaction is on a standby that may have to take over.
    Vacate,
    /// Its client is told that it waits (`query_wait_notify`).
    WaitNotice,
    /// Its session ends: the server that it keeps is to be closed (`server_fast_close`).
    LetGo,
}

/// Cancels on their way to one server; each is a connection to it. More than these would say nothing new.
const CANCELS: usize = 4;

const ORDERS: [Order; 11] = [
    Order::None,
    Order::CancelWait,
    Order::ClientIdle,
    Order::IdleTransaction,
    Order::QueryTimeout,
    Order::QueryWait,
    Order::TransactionTimeout,
    Order::ServerLost,
    Order::Vacate,
    Order::WaitNotice,
    Order::LetGo,
];

/// How long a state lasted that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    pub was: State,
    pub micros: u64,
    /// A transaction ended with it, and had lasted so long.
    pub transaction: Option<u64>,
}

/// One client, as others see it.
pub struct Entry {
    /// Random and positive: pgjdbc takes no negative one (PROTOCOL 24).
    pub pid: i32,
    secret: Secret,
    state: AtomicU8,
    /// Microseconds since `epoch` at which the state began.
    since: AtomicU64,
    /// The same for the transaction; 0 outside one.
    pub(super) transaction_since: AtomicU64,
    pub(super) epoch: Instant,
    order: AtomicU8,
    /// A cancel came while it was being served, on whatever server or on its way to one.
    cancelled: AtomicBool,
    /// Its client was told that this wait is a long one.
    noticed: AtomicBool,
    /// A `suspended::Stillness`.
    pub(super) stillness: AtomicU8,
    /// It keeps its server from its first transaction to its end.
    pub(super) in_session_mode: bool,
    /// The process's `Phase`, as far as this client must follow it, or a `sentence::Sentence` beyond it.
    pub(super) phase: AtomicU8,
    /// Of the task that runs it, on whichever worker.
    waker: Mutex<Option<Waker>>,
    /// The server that works for it now.
    pub(super) target: Mutex<Option<Arc<Gate>>>,
    pub(super) limits: Limits,
    pub shown: Shown,
}

impl Entry {
    pub fn new(key: Key<'_>, epoch: Instant, timeouts: Timeouts, who: Who, tally: Arc<Tally>) -> Entry {
        let Key { pid, secret } = key;
        let born = micros(epoch);
        let limits = Limits::default();
        limits.set(timeouts);
        Entry {
            pid,
            secret: secret.into(),
            state: AtomicU8::new(State::Idle as u8),
            since: AtomicU64::new(born),
            transaction_since: AtomicU64::new(0),
            epoch,
            order: AtomicU8::new(Order::None as u8),
            cancelled: AtomicBool::new(false),
            noticed: AtomicBool::new(false),
            stillness: AtomicU8::new(0),
            in_session_mode: false,
            phase: AtomicU8::new(Phase::Running as u8),
            waker: Mutex::new(None),
            target: Mutex::new(None),
            limits,
            shown: Shown::new(who, tally, born),
        }
    }

    pub fn of_mode(mut self, mode: PoolMode) -> Entry {
        self.in_session_mode = mode == PoolMode::Session;
        self
    }

    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            1 => State::Waiting,
            2 => State::Active,
            3 => State::IdleInTransaction,
            _ => State::Idle,
        }
    }

    /// A new state begins now, if it is another one; what the one before took. A transaction begins with its first
    /// activity and ends with `Idle`.
    pub fn enter(&self, state: State) -> Option<Passed> {
        let was = self.state();
        if was == state {
            return None;
        }
        let now = micros(self.epoch);
        let micros = now.saturating_sub(self.since.swap_own(now));
        self.state.store(state as u8, Ordering::Relaxed);
        if matches!(was, State::Idle | State::IdleInTransaction) {
            self.shown.note_request(now);
        }
        let begun = self.transaction_since.load(Ordering::Relaxed);
        let mut transaction = None;
        match state {
            State::Idle if begun != 0 => {
                self.transaction_since.store(0, Ordering::Relaxed);
                transaction = Some(now.saturating_sub(begun));
            }
            // A BEGIN that was answered here begins it as well.
            State::Active | State::IdleInTransaction if begun == 0 => {
                self.transaction_since.store(now, Ordering::Relaxed);
            }
            State::Waiting => self.noticed.store(false, Ordering::Relaxed),
            _ => {}
        }
        Some(Passed { was, micros, transaction })
    }

    /// A query was answered, and the next one is under way already. `ends`: the transaction ended with it, and another
    /// one begins.
    pub fn again(&self, ends: bool) -> Passed {
        let now = micros(self.epoch);
        let micros = now.saturating_sub(self.since.swap_own(now));
        let begun = if ends { self.transaction_since.swap_own(now) } else { 0 };
        let transaction = (begun != 0).then(|| now.saturating_sub(begun));
        Passed { was: State::Active, micros, transaction }
    }

    /// Takes the order that stands, if what it is about is still so.
    pub fn take_order(&self) -> Order {
        if self.order.load(Ordering::Acquire) == Order::None as u8 {
            return Order::None;
        }
        let taken = self.order.swap(Order::None as u8, Ordering::AcqRel);
        match ORDERS.get(usize::from(taken)).copied().unwrap_or(Order::None) {
            order @ (Order::CancelWait | Order::WaitNotice) if self.state() == State::Waiting => order,
            Order::LetGo if self.must_let_go() => Order::LetGo,
            order if self.overdue() == Some(order) => order,
            _ => Order::None,
        }
    }

    /// The last order wins: the janitor repeats those that still hold.
    pub fn give(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
        self.rouse();
    }

    /// This task runs the client from now on. It looks for orders behind this, and whenever it is polled.
    pub fn run_by(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// What was ordered is to be looked at.
    pub(super) fn rouse(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    pub fn note_notice(&self) {
        self.noticed.store(true, Ordering::Relaxed);
    }

    pub fn was_noticed(&self) -> bool {
        self.noticed.load(Ordering::Relaxed)
    }

    /// The same, unless another order stands.
    pub fn suggest(&self, order: Order) {
        let free = Order::None as u8;
        if self.order.compare_exchange(free, order as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.rouse();
        }
    }

    /// The process drains or stops. It never goes back.
    pub fn enter_phase(&self, phase: Phase) {
        if self.phase.fetch_max(phase as u8, Ordering::AcqRel) < phase as u8 {
            self.rouse();
        }
    }

    pub fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Draining as u8
    }

    pub fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= Phase::Stopping as u8
    }

    pub fn set_timeouts(&self, timeouts: Timeouts) {
        self.limits.set(timeouts);
    }

    /// A server works for this client from now on.
    pub fn serve_by(&self, gate: &Arc<Gate>) {
        *self.target.lock() = Some(Arc::clone(gate));
    }

    /// It does so no more. A cancel that came before has raised the server's gate.
    pub fn serve_end(&self) {
        *self.target.lock() = None;
    }

    /// A batch sets out: what was cancelled before is not this one.
    pub fn forget_cancel(&self) {
        self.cancelled.store(false, Ordering::Release);
    }

    /// Whether a cancel came since, whichever server was told of it.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether this is the secret part of its key.
    fn has_key(&self, secret: &[u8]) -> bool {
        self.secret.bytes().ct_eq(secret).into()
    }

    /// The server that works for it.
    pub fn target(&self) -> Option<Arc<Gate>> {
        self.target.lock().clone()
    }

    /// Since when its state lasts, in microseconds since the epoch.
    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// A CancelRequest with the right key: the server's gate is raised before it can be given to anybody else. None if
    /// nothing runs; a wait in the queue is ended instead.
    pub fn cancel(&self) -> Option<Raised> {
        // Before the lock: who is lent a server next looks behind it (`serve_by`).
        self.cancelled.store(true, Ordering::Release);
        if self.state() == State::Waiting {
            self.give(Order::CancelWait);
            return None;
        }
        let target = self.target.lock();
        let busy = |gate: &&Arc<Gate>| self.state() == State::Active && gate.raised() < CANCELS;
        target.as_ref().filter(busy).map(Gate::raise)
    }

    /// Raises the gate of the server at hand, to cancel what it runs for a client that is gone.
    pub fn abandon(&self) -> Option<Raised> {
        self.target.lock().as_ref().map(Gate::raise)
    }
}

/// The client's own task alone writes these.
trait Own {
    /// What stood there; no other thread writes, so nothing has to be locked.
    fn swap_own(&self, value: u64) -> u64;
}

impl Own for AtomicU64 {
    fn swap_own(&self, value: u64) -> u64 {
        let before = self.load(Ordering::Relaxed);
        self.store(value, Ordering::Relaxed);
        before
    }
}

pub(super) fn micros(epoch: Instant) -> u64 {
    // 0 stands for "no transaction".
    (epoch.elapsed().as_micros() as u64).max(1)
}

/// All clients that are logged in, by their cancel key: the process id and the secret's first four bytes. The id alone would
/// not do, since among peers only 15 bits of it are random (`peers`).
#[derive(Default)]
pub struct Entries {
    pub(super) map: DashMap<(i32, [u8; 4]), Arc<Entry>>,
}

impl Entries {
    /// Adds a client with this secret under a random id. `random` yields ids; the entry is made for one that is free.
    pub fn add(&self, secret: &[u8], mut random: impl FnMut() -> i32, make: impl FnOnce(i32) -> Entry) -> Arc<Entry> {
        loop {
            let pid = random() & i32::MAX;
            if pid == 0 {
                continue;
            }
            if let dashmap::Entry::Vacant(free) = self.map.entry(place(pid, secret)) {
                let entry = Arc::new(make(pid));
                free.insert(Arc::clone(&entry));
                return entry;
            }
        }
    }

    pub fn remove(&self, entry: &Entry) {
        self.map.remove(&place(entry.pid, entry.secret.bytes()));
    }

    /// The client with this key.
    pub fn find(&self, pid: i32, secret: &[u8]) -> Option<Arc<Entry>> {
        let found = self.map.get(&place(pid, secret)).map(|entry| Arc::clone(&entry));
        found.filter(|entry| entry.has_key(secret))
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.map.iter().map(|entry| Arc::clone(&entry)).collect()
    }

    pub fn enter_phase(&self, phase: Phase) {
        self.map.iter().for_each(|entry| entry.enter_phase(phase));
    }
}

fn place(pid: i32, secret: &[u8]) -> (i32, [u8; 4]) {
    (pid, secret.first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::ends::Ends;
    use crate::stats::Stats;

    fn entry(timeouts: Timeouts) -> Entry {
        let who =
            Who { id: 1, ends: Box::new(Ends::Unix { uid: None, pid: None }), user: "ann".into(), tls: "".into() };
        let tally = Stats::default().tally("shop", "ann", &[]);
        Entry::new(Key { pid: 7, secret: b"key!" }, Instant::now(), timeouts, who, tally)
    }

    #[test]
    fn a_phase_never_goes_back() {
        let e = entry(Timeouts::default());
        e.enter_phase(Phase::Stopping);
        e.enter_phase(Phase::Draining);
        assert!(e.is_draining() && e.is_stopping());
    }

    #[test]
    fn a_cancel_needs_the_key_and_ends_a_wait() {
        let e = entry(Timeouts::default());
        e.enter(State::Waiting);
        assert!(!e.has_key(b"nope") && !e.has_key(b"key") && !e.has_key(b"key!!") && e.has_key(b"key!"));
        assert!(e.cancel().is_none());
        assert_eq!((e.take_order(), e.take_order()), (Order::CancelWait, Order::None));
    }

    #[test]
    fn an_order_that_came_too_late_is_not_obeyed() {
        let e = entry(Timeouts { query: Some(Duration::ZERO), ..Timeouts::default() });
        e.enter(State::Active);
        e.give(Order::QueryTimeout);
        e.enter(State::Idle);
        assert_eq!(e.take_order(), Order::None);
    }

    #[test]
    fn what_is_only_suggested_takes_no_orders_place() {
        let e = entry(Timeouts::default());
        e.enter(State::Waiting);
        e.suggest(Order::WaitNotice);
        assert_eq!(e.take_order(), Order::WaitNotice);
        e.give(Order::CancelWait);
        e.suggest(Order::WaitNotice);
        assert_eq!((e.take_order(), e.take_order()), (Order::CancelWait, Order::None));
    }

    #[test]
    fn limits_are_those_of_the_state() {
        let zero = Some(Duration::ZERO);
        let e = entry(Timeouts { query: zero, idle_transaction: zero, ..Timeouts::default() });
        assert_eq!(e.overdue(), None);
        e.enter(State::Active);
        assert_eq!(e.overdue(), Some(Order::QueryTimeout));
        e.enter(State::IdleInTransaction);
        assert_eq!(e.overdue(), Some(Order::IdleTransaction));
        e.set_timeouts(Timeouts { transaction: zero, ..Timeouts::default() });
        assert_eq!(e.overdue(), Some(Order::TransactionTimeout));
        e.enter(State::Idle);
        assert_eq!(e.overdue(), None);
    }
}

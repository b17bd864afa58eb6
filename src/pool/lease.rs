//! The tokens of a pool: a permit to open, a lease to use, a seat to wait on. Each gives back what it stands for when
//! it is dropped.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use super::{Lent, Pool, home};
use crate::error::Error;
use crate::stats::Wait;

/// The right to one connection of a pool; its place is free again when it is dropped.
pub struct Permit<T: Lent> {
    pool: Arc<Pool<T>>,
    node: usize,
    epoch: u64,
    state: PermitState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PermitState {
    /// A dial is under way.
    Dialling,
    /// It is asked whether it is good.
    Checking,
    /// The connection stands idle: the pool counts it without a permit.
    Idle,
    Lent,
}

impl<T: Lent> Permit<T> {
    pub(super) fn new(pool: Arc<Pool<T>>, node: usize, epoch: u64) -> Permit<T> {
        Permit { pool, node, epoch, state: PermitState::Lent }
    }

    pub(super) fn on_its_way(mut self) -> Permit<T> {
        self.state = PermitState::Dialling;
        self
    }

    pub(super) fn for_check(mut self) -> Permit<T> {
        self.state = PermitState::Checking;
        self
    }

    /// It is good. False: nobody had asked.
    pub(super) fn end_check(&mut self) -> bool {
        std::mem::replace(&mut self.state, PermitState::Lent) == PermitState::Checking
    }

    pub(super) fn leave_counted(mut self) {
        self.state = PermitState::Idle;
    }

    pub fn node(&self) -> usize {
        self.node
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn pool(&self) -> &Arc<Pool<T>> {
        &self.pool
    }

    /// The dial succeeded: the connection is lent to the first in the queue, or stands idle. `proof` says that its
    /// login left it clean.
    pub fn deliver(mut self, it: Box<T>, _proof: T::Proof) {
        self.pool.core.lock().dialled(self.node);
        *self.pool.last_error.lock() = None;
        self.state = PermitState::Lent;
        let pool = Arc::clone(&self.pool);
        pool.put(Lease::new(it, self));
    }

    /// The dial failed. The pause before the next one is returned; the caller pumps the pool after it.
    pub fn fail(mut self, error: Error) -> std::time::Duration {
        *self.pool.last_error.lock() = Some(error);
        self.state = PermitState::Lent;
        self.pool.core.lock().dial_failed(self.node, Instant::now())
    }
}

impl<T: Lent> Drop for Permit<T> {
    fn drop(&mut self) {
        match self.state {
            PermitState::Idle => return,
            PermitState::Dialling => self.pool.core.lock().dialled(self.node),
            PermitState::Checking => self.pool.distrust(self.node),
            PermitState::Lent => {}
        }
        self.pool.leave(self.node, self.epoch);
        self.pool.pump();
    }
}

/// A connection on loan. Dropping it closes the connection.
pub struct Lease<T: Lent> {
    it: Option<Box<T>>,
    /// Behind the connection, so that the place is free only once it is closed.
    permit: Option<Permit<T>>,
}

impl<T: Lent> Lease<T> {
    pub(super) fn new(it: Box<T>, permit: Permit<T>) -> Lease<T> {
        Lease { it: Some(it), permit: Some(permit) }
    }

    pub(super) fn take_apart(mut self) -> Option<(Box<T>, Permit<T>)> {
        self.it.take().zip(self.permit.take())
    }

    /// Its user is on this worker: here it is at home from now on.
    pub(super) fn arrive(&mut self) {
        let here = home::here();
        if self.home() != here {
            self.move_to(here);
        }
    }

    /// Gives the connection back, clean as the proof says.
    pub fn release(mut self, proof: T::Proof) {
        let _ = proof;
        let Some(permit) = &self.permit else { return };
        let pool = Arc::clone(&permit.pool);
        if pool.lends_once.load(std::sync::atomic::Ordering::Relaxed) {
            return self.part();
        }
        match self.hindrance() {
            None => pool.put(self),
            Some(end) => drop(tokio::spawn(async move {
                if end.await {
                    pool.put(self);
                }
            })),
        }
    }
}

impl<T: Lent> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.it.as_deref().expect("a lease holds its connection until it is taken apart")
    }
}

impl<T: Lent> DerefMut for Lease<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.it.as_deref_mut().expect("a lease holds its connection until it is taken apart")
    }
}

/// A client's chair in the queue: made once, used for each wait.
pub struct Seat<T: Lent> {
    state: Mutex<Given<T>>,
}

pub(super) enum Given<T: Lent> {
    Lease(Lease<T>),
    Nothing,
    Refusal(Error),
    Waiting(Waker),
}

impl<T: Lent> Given<T> {
    /// Wakes who waited. Whatever else stood there is dropped: not under the pool's lock, which a lease takes.
    pub(super) fn wake(self) {
        if let Given::Waiting(waker) = self {
            waker.wake();
        }
    }
}

impl<T: Lent> Default for Seat<T> {
    fn default() -> Seat<T> {
        Seat { state: Mutex::new(Given::Nothing) }
    }
}

impl<T: Lent> Seat<T> {
    /// Given while the pool's lock is held, in one step with leaving the queue: who gives up a place finds either the
    /// place or what was given. Returns what stood there, to be woken once the lock is gone.
    #[must_use]
    pub(super) fn give(&self, lease: Lease<T>) -> Given<T> {
        self.set(Given::Lease(lease))
    }

    /// The same for a refusal.
    #[must_use]
    pub(super) fn refuse(&self, error: Error) -> Given<T> {
        self.set(Given::Refusal(error))
    }

    /// Whoever waits has a look around.
    pub(super) fn nudge(&self) {
        if let Given::Waiting(waker) = &*self.state.lock() {
            waker.wake_by_ref();
        }
    }

    fn set(&self, given: Given<T>) -> Given<T> {
        std::mem::replace(&mut *self.state.lock(), given)
    }

    pub(super) fn take(&self) -> Given<T> {
        self.set(Given::Nothing)
    }
}

/// What a checkout leads to.
pub enum Checkout<T: Lent> {
    Ready(Lease<T>),
    Wait(Waiting<T>),
}

/// A place in the queue; dropping it leaves.
pub struct Waiting<T: Lent> {
    pool: Arc<Pool<T>>,
    seat: Arc<Seat<T>>,
    ticket: u64,
    /// As it was when the place was taken.
    pub why: Wait,
    /// The wait is over: the queue does not know the ticket any more.
    over: bool,
}

impl<T: Lent> Waiting<T> {
    pub(super) fn new(pool: Arc<Pool<T>>, seat: Arc<Seat<T>>, ticket: u64, why: Wait) -> Waiting<T> {
        Waiting { pool, seat, ticket, why, over: false }
    }

    /// The connection, or why there is none.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Lease<T>, Error>> {
        let mut state = self.seat.state.lock();
        match std::mem::replace(&mut *state, Given::Nothing) {
            Given::Lease(mut lease) => {
                self.over = true;
                drop(state);
                lease.arrive();
                Poll::Ready(Ok(lease))
            }
            Given::Refusal(error) => {
                self.over = true;
                Poll::Ready(Err(error))
            }
            Given::Waiting(waker) if waker.will_wake(cx.waker()) => {
                *state = Given::Waiting(waker);
                Poll::Pending
            }
            Given::Waiting(_) | Given::Nothing => {
                *state = Given::Waiting(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Only a refusal: a connection that comes stays on the seat, and goes back when the place is dropped.
    pub fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let mut state = self.seat.state.lock();
        match std::mem::replace(&mut *state, Given::Nothing) {
            Given::Refusal(error) => {
                self.over = true;
                Poll::Ready(error)
            }
            given @ Given::Lease(_) => {
                *state = given;
                Poll::Pending
            }
            Given::Waiting(_) | Given::Nothing => {
                *state = Given::Waiting(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T: Lent> Drop for Waiting<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.pool.core.lock().leave(self.ticket);
        // Served in the meantime: it was never used, so it is as clean as it came.
        if let Given::Lease(lease) = self.seat.take() {
            let pool = Arc::clone(&self.pool);
            pool.put(lease);
        }
    }
}

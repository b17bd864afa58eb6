//! The janitor's rounds: clients whose limits have passed get their orders, and so do those who are to be told of a wait
//! or to let go of a server. A transaction starts no timer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::entry::{Entries, Entry, Order, State, micros};

/// What a round looks for beside the limits of each client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// `query_wait_notify`.
    pub notify: Option<Duration>,
    /// `server_fast_close`.
    pub fast_close: bool,
    /// Everything is suspended.
    pub suspended: bool,
}

impl Entries {
    pub fn tend(&self, round: Round) {
        for entry in &self.map {
            entry.suspend(round.suspended);
            match entry.overdue() {
                Some(order) => entry.give(order),
                None => entry.asked_of(round).into_iter().for_each(|order| entry.suggest(order)),
            }
        }
    }
}

impl Entry {
    /// The janitor's look: an order, if a limit is passed.
    pub(super) fn overdue(&self) -> Option<Order> {
        let now = micros(self.epoch);
        let passed = |since: u64, limit: Option<Duration>| {
            limit.is_some_and(|limit| u128::from(now.saturating_sub(since)) >= limit.as_micros())
        };
        let since = self.since();
        let timeouts = self.limits.get();
        let begun = self.transaction_since.load(Ordering::Relaxed);
        if begun != 0 && passed(begun, timeouts.transaction) {
            return Some(Order::TransactionTimeout);
        }
        let (limit, order) = match self.state() {
            State::Idle => (timeouts.client_idle, Order::ClientIdle),
            State::Waiting => (timeouts.query_wait, Order::QueryWait),
            State::Active => (timeouts.query, Order::QueryTimeout),
            State::IdleInTransaction => (timeouts.idle_transaction, Order::IdleTransaction),
        };
        if passed(since, limit) {
            return Some(order);
        }
        let state = self.state();
        if state == State::Waiting || state == State::Idle && !self.shown.is_pinned() {
            return None;
        }
        let target = self.target.lock();
        let standing = target.as_ref()?.standing();
        match state {
            // It would wait there for notifications that nobody sends.
            State::Idle => standing.is_replaced().then_some(Order::ServerLost),
            State::Active if standing.is_silent() || standing.is_replaced() => Some(Order::ServerLost),
            _ => standing.is_vacated().then_some(Order::Vacate),
        }
    }

    fn asked_of(&self, round: Round) -> Option<Order> {
        let late = || round.notify.is_some_and(|limit| u128::from(self.lasts()) >= limit.as_micros());
        match self.state() {
            State::Waiting if !self.was_noticed() && late() => Some(Order::WaitNotice),
            State::Idle if round.fast_close && self.must_let_go() => Some(Order::LetGo),
            _ => None,
        }
    }

    /// How long its state has lasted, in microseconds.
    fn lasts(&self) -> u64 {
        micros(self.epoch).saturating_sub(self.since())
    }

    /// Between two transactions of a session whose server is to be closed.
    pub(super) fn must_let_go(&self) -> bool {
        let must_close = || self.target()?.face().map(|face| face.must_close());
        self.in_session_mode && self.state() == State::Idle && must_close() == Some(true)
    }
}

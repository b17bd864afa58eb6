//! Which worker a thread is, so that a connection can be lent where its socket is watched.
//!
//! Each worker has a driver of its own. A connection that is used by another worker than the one whose driver watches
//! its socket works as well, but each of its answers wakes a thread through the other one. So a pool prefers what is at
//! home with whoever asks (`core`), and what was lent away from home moves (`Lent::move_to`).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A worker's number. A thread that was told none is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Home(pub u16);

/// How many of a worker's clients are to go on to another one.
pub type Calls = Arc<AtomicUsize>;

thread_local! {
    static HERE: Cell<Home> = const { Cell::new(Home(0)) };
    static CALLS: RefCell<Option<Calls>> = const { RefCell::new(None) };
}

/// The worker that this is called on.
pub fn here() -> Home {
    HERE.get()
}

/// This thread is that worker from now on, and obeys these calls.
pub fn settle(home: Home, calls: Calls) {
    HERE.set(home);
    CALLS.set(Some(calls));
}

/// Whether whoever asks, who could go on elsewhere now, is called away from this worker: one call is for one.
pub fn is_called_away() -> bool {
    CALLS.with_borrow(|calls| calls.as_ref().is_some_and(|calls| answer(calls)))
}

fn answer(calls: &AtomicUsize) -> bool {
    // Nearly always there is none: then nothing is written.
    let one_less = |calls: usize| calls.checked_sub(1);
    calls.load(Ordering::Relaxed) > 0 && calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_answered_once() {
        assert!(!is_called_away());
        settle(Home(0), Arc::new(AtomicUsize::new(2)));
        assert!(is_called_away() && is_called_away() && !is_called_away());
    }
}

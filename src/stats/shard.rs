//! Counters that each thread bumps in memory of its own, and a reader sums up.
//!
//! No cache line is written by two workers, and none is locked: a thread that has a slot to itself loads, adds and
//! stores. Threads beyond `SLOTS` share the last slot, and add atomically there.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads that count by themselves; more than workers on any machine that we know of.
const SLOTS: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// One more than this thread's number; 0: it has none yet.
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

fn slot() -> usize {
    if NUMBER.get() == 0 {
        NUMBER.set(NEXT.fetch_add(1, Ordering::Relaxed) + 1);
    }
    (NUMBER.get() - 1).min(SLOTS - 1)
}

/// One thread's cells, on cache lines of their own.
#[repr(align(128))]
struct Cells<const N: usize>([AtomicU64; N]);

/// `N` counters. A thread's cells are made when it counts there for the first time.
pub struct Shards<const N: usize> {
    slots: Box<[OnceLock<Box<Cells<N>>>]>,
}

impl<const N: usize> Default for Shards<N> {
    fn default() -> Shards<N> {
        Shards { slots: (0..SLOTS).map(|_| OnceLock::new()).collect() }
    }
}

/// The calling thread's cells. Not to be kept: the thread is part of what they mean.
pub struct Here<'a, const N: usize> {
    cells: &'a [AtomicU64; N],
    alone: bool,
}

impl<const N: usize> Shards<N> {
    pub fn here(&self) -> Here<'_, N> {
        let slot = slot();
        let cells = self.slots[slot].get_or_init(|| Box::new(Cells(std::array::from_fn(|_| AtomicU64::new(0)))));
        Here { cells: &cells.0, alone: slot < SLOTS - 1 }
    }

    /// Of one counter by all threads; each is read once, and none is stopped meanwhile.
    pub fn sums(&self) -> [u64; N] {
        let mut sums = [0_u64; N];
        for cells in self.slots.iter().filter_map(OnceLock::get) {
            for (sum, cell) in sums.iter_mut().zip(&cells.0) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

impl<const N: usize> Here<'_, N> {
    /// Nothing happens for a counter that there is not.
    pub fn add(&self, counter: usize, count: u64) {
        let Some(cell) = self.cells.get(counter) else { return };
        if self.alone {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
        } else {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More threads than slots: those that share one lose nothing.
    #[test]
    fn nothing_is_lost_among_many_threads() {
        let shards = Shards::<2>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SLOTS {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        shards.here().add(0, 1);
                        shards.here().add(1, 2);
                    }
                });
            }
        });
        assert_eq!(shards.sums(), [2_000 * SLOTS as u64, 4_000 * SLOTS as u64]);
    }
}

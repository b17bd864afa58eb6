//! While it is in doubt whether the primary lives: new work waits for the look that was asked for, and what reads on
//! standbys makes room for a promotion.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::judge::Judge;
use super::{Cluster, Follow};

/// From evidence of the primary's loss to the end of open transactions on standbys: a restart of moments ends none.
const GRACE: Duration = Duration::from_millis(200);

impl Cluster {
    /// A connection to this node ended, or could not be opened: its monitor asks at once, and only the answer decides.
    /// Where it is the primary new work waits for that answer. Waits for nothing itself. Without monitors it does nothing.
    pub fn suspect(&self, node: usize) {
        self.hold(node);
        self.sampler.summon(node);
    }

    fn hold(&self, node: usize) {
        if !self.probed || self.is_retired() {
            return;
        }
        let judge = self.judge.lock();
        if judge.topology().primary() == Some(node) && self.held_since.swap(self.now(), Ordering::Relaxed) == 0 {
            self.serve_all();
        }
    }

    /// The primary's monitor has an answer to what it asked then.
    pub(super) fn answered(&self, node: usize, at: u64) {
        let judge = self.judge.lock();
        let since = self.held_since.load(Ordering::Relaxed);
        if since != 0 && at > since && judge.topology().primary() == Some(node) {
            self.held_since.store(0, Ordering::Relaxed);
            self.serve_all();
        }
    }

    /// A node that could not be asked is what it was.
    pub(super) fn spare(&self, node: usize) {
        self.answered(node, self.now());
    }

    /// The pools before the primary are told what they may use. The judge's lock is held: the later word is told last.
    fn serve_all(&self) {
        let pools = self.pools.lock().clone();
        let before_primary = pools.iter().filter(|(_, follow)| *follow == Follow::Primary);
        before_primary.filter_map(|(pool, _)| pool.upgrade()).for_each(|pool| pool.serve(self.serving()));
    }

    /// A standby that is promoted must first replay all it has, for which the transactions that read there would make it
    /// wait (`max_standby_streaming_delay`).
    pub(super) fn vacate(&self, judge: &Judge) {
        let mut since = self.lost_since.lock();
        *since = since.or_else(|| Some(Instant::now())).filter(|_| judge.is_evidently_headless());
        let due = since.is_some_and(|since| since.elapsed() >= GRACE);
        for (node, standing) in self.standing.iter().enumerate() {
            standing.vacate(due && judge.topology().is_standby(node));
        }
    }

    /// Whether transactions on this standby are ended, since it may have to take over.
    pub fn is_vacated(&self, node: usize) -> bool {
        self.standing.get(node).is_some_and(|standing| standing.is_vacated())
    }
}

//! What a pool has where its reads may run on standbys: a pool for each standby, what is known of the catalog, and when
//! anybody last wrote.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::Guard;
use parking_lot::{Mutex, RwLock};

use super::Cluster;
use super::catalog::Watch;
use super::writes::{Clock, Writes};
use crate::config::{MaxLag, PrimaryReads, ReadConsistency, ReadWriteSplit};
use crate::pool::Pool;
use crate::route::Reason;
use crate::server::Server;
use crate::sql::Hidden;
use crate::sql::catalog::Catalog;

/// Texts that are remembered because a standby refused them.
const REFUSED: usize = 1024;

/// How long: functions are relabelled, tables made permanent.
const REFUSED_FOR: Duration = Duration::from_secs(300);

/// Re-runs in one `WINDOW` that a standby may cause before it rests for the remainder and one more.
const RERUNS: u64 = 50;
const WINDOW: u64 = Duration::from_secs(1).as_nanos() as u64;

/// The keys that say how, by the config.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub mode: ReadWriteSplit,
    pub consistency: ReadConsistency,
    pub read_wait: Duration,
    /// For `bounded`; zero where the config has none.
    pub max_staleness: Duration,
    pub max_lag: MaxLag,
    pub deferred_begin: bool,
    pub primary_reads: PrimaryReads,
}

/// What those who read must learn of what passes to a primary, whoever sends it.
pub struct Witness {
    writes: Arc<Writes>,
    clock: Clock,
    /// Of a database whose reads may be split.
    catalog: Option<Arc<Watch>>,
    /// Whether anybody's reads are split: else nobody asks when anything was written.
    asked: Arc<AtomicBool>,
}

impl Witness {
    pub fn new(writes: Arc<Writes>, clock: Clock, catalog: Option<Arc<Watch>>, asked: Arc<AtomicBool>) -> Witness {
        Witness { writes, clock, catalog, asked }
    }

    /// A batch that may have written is about to be acknowledged.
    pub fn wrote(&self) {
        if self.asked.load(Ordering::SeqCst) {
            self.writes.note(self.clock.now());
        }
    }

    /// The catalog may be another one than it was.
    pub fn changed_catalog(&self) {
        if let Some(catalog) = &self.catalog {
            catalog.doubt();
        }
    }
}

/// Behind one pool whose reads may run on standbys.
pub struct Split {
    pub cluster: Arc<Cluster>,
    /// By node: connections to it while it is a standby.
    pub readers: Vec<Arc<Pool<Server>>>,
    policy: RwLock<Arc<Policy>>,
    witness: Arc<Witness>,
    catalog: Arc<Watch>,
    stock: OnceLock<Catalog>,
    refused: Refused,
    reruns: Vec<Reruns>,
    counts: Vec<AtomicU64>,
    turn: AtomicU64,
}

impl Split {
    pub fn new(
        cluster: Arc<Cluster>,
        readers: Vec<Arc<Pool<Server>>>,
        catalog: Arc<Watch>,
        witness: Arc<Witness>,
        policy: Policy,
    ) -> Split {
        let reruns = readers.iter().map(|_| Reruns::default()).collect();
        let counts = (0..Reason::COUNT).map(|_| AtomicU64::new(0)).collect();
        let (refused, turn) = (Refused::default(), AtomicU64::new(0));
        let (policy, stock) = (RwLock::new(Arc::new(policy)), OnceLock::new());
        Split { cluster, readers, policy, witness, catalog, stock, refused, reruns, counts, turn }
    }

    /// The sets, unless DDL has passed since they were read.
    pub fn catalog(&self) -> Guard<Option<Arc<Catalog>>> {
        self.catalog.current()
    }

    /// What functions leave in a session without saying so.
    pub fn hidden(&self) -> Guard<Option<Arc<Hidden>>> {
        self.catalog.hidden()
    }

    /// What there is instead where they cannot be read: enough for READ ONLY transactions.
    pub fn stock(&self) -> Option<&Catalog> {
        self.catalog.is_unreadable().then(|| self.stock.get_or_init(Catalog::stock))
    }

    /// When a batch that may have written was last acknowledged to anybody.
    pub fn last_write(&self) -> u64 {
        self.witness.writes.last()
    }

    /// Each client keeps it until a reload.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }

    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write() = Arc::new(policy);
    }

    /// With `primary_reads = "share"`: whether it is the primary's turn among all servers.
    pub fn is_primarys_turn(&self) -> bool {
        self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.readers.len().max(1) as u64)
    }

    pub fn count(&self, reason: Reason) {
        if let Some(count) = self.counts.get(reason.number()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Decisions so far, by reason, those that never came up left out.
    pub fn counted(&self) -> Vec<(Reason, u64)> {
        let all = Reason::all().map(|reason| (reason, self.counts[reason.number()].load(Ordering::Relaxed)));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// A standby refused the texts of this hash for what they are.
    pub fn remember_refused(&self, texts: u64) {
        let catalog = self.version();
        self.refused.add(texts, catalog, Instant::now());
    }

    pub fn was_refused(&self, texts: u64) -> bool {
        !self.refused.is_empty() && self.refused.holds(texts, self.version(), Instant::now())
    }

    /// Of the sets; 0: there are none.
    fn version(&self) -> u64 {
        self.catalog().as_ref().map_or(0, |catalog| catalog.version())
    }

    pub fn are_all_benched(&self, max_lag: MaxLag) -> bool {
        (0..self.readers.len()).all(|node| self.is_benched(node) || self.cluster.fit(node, max_lag).is_err())
    }

    /// One more batch had to run again because of this standby.
    pub fn note_rerun(&self, node: usize) {
        if let Some(reruns) = self.reruns.get(node) {
            reruns.note(self.cluster.now());
        }
    }

    /// Whether a standby rests, having caused too many re-runs.
    pub fn is_benched(&self, node: usize) -> bool {
        self.reruns.get(node).is_some_and(|reruns| reruns.has_rested() && reruns.is_benched(self.cluster.now()))
    }
}

/// Hashes of refused texts, the catalog that they were refused under, and until when.
#[derive(Default)]
struct Refused {
    len: AtomicUsize,
    texts: Mutex<HashMap<u64, (u64, Instant)>>,
}

impl Refused {
    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    fn add(&self, text: u64, catalog: u64, now: Instant) {
        let mut texts = self.texts.lock();
        texts.retain(|_, (version, until)| *version == catalog && *until > now);
        if texts.len() >= REFUSED {
            // All of them would be refused once more, which costs one re-run each.
            texts.clear();
        }
        texts.insert(text, (catalog, now + REFUSED_FOR));
        self.len.store(texts.len(), Ordering::Release);
    }

    fn holds(&self, text: u64, catalog: u64, now: Instant) -> bool {
        self.texts.lock().get(&text).is_some_and(|(version, until)| *version == catalog && *until > now)
    }
}

/// The re-runs of one standby in the present window.
#[derive(Default)]
struct Reruns {
    since: AtomicU64,
    count: AtomicU64,
    until: AtomicU64,
}

impl Reruns {
    fn note(&self, now: u64) {
        let since = self.since.load(Ordering::Relaxed);
        if now.saturating_sub(since) > WINDOW {
            self.since.store(now, Ordering::Relaxed);
            self.count.store(0, Ordering::Relaxed);
        }
        if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= RERUNS {
            self.until.fetch_max(now + WINDOW, Ordering::Relaxed);
        }
    }

    /// Ever: most standbys never do, and are not worth a look at the clock.
    fn has_rested(&self) -> bool {
        self.until.load(Ordering::Relaxed) > 0
    }

    fn is_benched(&self, now: u64) -> bool {
        self.until.load(Ordering::Relaxed) > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_is_tried_again_under_another_catalog_and_in_time() {
        let refused = Refused::default();
        let now = Instant::now();
        assert!(refused.is_empty());
        refused.add(7, 1, now);
        assert!(refused.holds(7, 1, now) && !refused.holds(8, 1, now) && !refused.holds(7, 2, now));
        assert!(!refused.holds(7, 1, now + REFUSED_FOR));
        (0..3 * REFUSED as u64).for_each(|text| refused.add(text, 1, now));
        assert!(refused.texts.lock().len() <= REFUSED);
    }

    #[test]
    fn a_standby_that_causes_many_re_runs_rests_and_comes_back() {
        let reruns = Reruns::default();
        let begin = 5 * WINDOW;
        (0..RERUNS - 1).for_each(|n| reruns.note(begin + n));
        assert!(!reruns.is_benched(begin + RERUNS));
        reruns.note(begin + RERUNS);
        assert!(reruns.is_benched(begin + RERUNS + 1));
        assert!(!reruns.is_benched(begin + RERUNS + WINDOW));
        reruns.note(begin + 2 * WINDOW);
        assert!(!reruns.is_benched(begin + 2 * WINDOW), "a new window counts anew");
    }
}

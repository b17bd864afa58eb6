//! What every read looks at, in atomics, and who wants it newer: readers ask, monitors are rung, one answer serves all.
//!
//! A reader that waits needs a sample of the primary's that is newer than what it must see, and then a standby that has
//! replayed that far. So a wish rings the primary's monitor first, and its answer rings those of the standbys that
//! are behind it. Without wishes nobody asks more often than `probe_interval`.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::judge::Judge;
use super::writes::Clock;
use crate::config::MaxLag;
use crate::route::choose::{Candidate, choose, spread};
use crate::route::fit::Unfit;
use crate::route::topology::Topology;

/// The least time between two questions to one server. The runtime's timer ticks once a millisecond and rounds up, so
/// that somebody who waits has about one question a millisecond asked.
pub const GAP: Duration = Duration::from_micros(500);

/// Why no standby serves a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// None is fit; the reason of the one that comes nearest to it.
    NoStandby(Unfit),
    /// Some are fit, but none is new enough.
    TooStale,
}

/// The fast-moving side of a cluster.
#[derive(Debug)]
pub struct Sampler {
    clock: Clock,
    nodes: Vec<Figures>,
    /// When the newest sample was asked for.
    newest: AtomicU64,
    /// `NOBODY`, or its place in the list.
    primary: AtomicUsize,
    /// The newest floor that somebody asked for.
    wanted: AtomicU64,
    waiting: AtomicUsize,
    haste: AtomicU8,
    /// Something grew or changed.
    progress: Notify,
    turns: AtomicU64,
}

/// One server.
#[derive(Debug)]
struct Figures {
    weight: u32,
    near: bool,
    /// 0: fit; else the reason's code.
    verdict: AtomicU8,
    fresh: AtomicU64,
    /// Bytes; u64::MAX: not known.
    behind: AtomicU64,
    ring: Notify,
    /// Somebody's connection to it ended.
    summoned: AtomicBool,
}

/// How often servers are asked without a wish: as usual; often where a connection is open, since one of them may be
/// promoted; often everywhere, since the primary may be lost.
const CALM: u8 = 0;
const HEADLESS: u8 = 1;
const ALARMED: u8 = 2;

const NOBODY: usize = usize::MAX;
const FIT: u8 = 0;

impl Sampler {
    pub fn new(topology: &Topology, clock: Clock, verdict: Unfit) -> Sampler {
        let figures = |node: &crate::route::topology::Node| Figures {
            weight: node.listed.weight,
            near: node.near,
            verdict: AtomicU8::new(verdict as u8),
            fresh: AtomicU64::new(0),
            behind: AtomicU64::new(u64::MAX),
            ring: Notify::new(),
            summoned: AtomicBool::new(false),
        };
        Sampler {
            clock,
            nodes: topology.nodes.iter().map(figures).collect(),
            newest: AtomicU64::new(0),
            primary: AtomicUsize::new(NOBODY),
            wanted: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            haste: AtomicU8::new(CALM),
            progress: Notify::new(),
            turns: AtomicU64::new(0),
        }
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether there is a primary. Takes no lock.
    pub fn has_primary(&self) -> bool {
        self.primary.load(Ordering::SeqCst) != NOBODY
    }

    /// As of when the node is complete; 0: not known.
    pub fn fresh(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |figures| figures.fresh.load(Ordering::SeqCst))
    }

    /// Bytes of WAL that the node has not replayed, by the last answers; `None`: not known.
    pub fn behind(&self, node: usize) -> Option<u64> {
        let behind = self.nodes.get(node)?.behind.load(Ordering::Relaxed);
        Some(behind).filter(|bytes| *bytes != u64::MAX)
    }

    /// Whether the node may serve reads now. Takes no lock.
    pub fn fit(&self, node: usize, max_lag: MaxLag) -> Result<(), Unfit> {
        self.fit_at(self.clock.now(), node, max_lag)
    }

    fn fit_at(&self, now: u64, node: usize, max_lag: MaxLag) -> Result<(), Unfit> {
        let figures = self.nodes.get(node).ok_or(Unfit::NotStandby)?;
        match figures.verdict.load(Ordering::SeqCst) {
            FIT => {}
            code => return Err(reason(code)),
        }
        let fresh = figures.fresh.load(Ordering::SeqCst);
        if fresh == 0 {
            return Err(Unfit::Unsure);
        }
        let lagging = match max_lag {
            MaxLag::Time(limit) => u128::from(now.saturating_sub(fresh)) > limit.as_nanos(),
            MaxLag::Bytes(limit) => figures.behind.load(Ordering::Relaxed) > limit,
        };
        if lagging { Err(Unfit::Lagging) } else { Ok(()) }
    }

    /// A fit standby that is complete as of a time after its floor, without waiting for one. Each has its own; None: it
    /// is not wanted.
    pub fn reader(&self, floor: impl Fn(usize) -> Option<u64>, max_lag: MaxLag) -> Result<usize, Missed> {
        let turn = spread(self.turns.fetch_add(1, Ordering::Relaxed));
        // Each node is asked more than once.
        let now = self.clock.now();
        let is_above = |node: usize| floor(node).is_some_and(|floor| self.fresh(node) > floor);
        let new_enough = |node: &usize| is_above(*node) && self.fit_at(now, *node, max_lag).is_ok();
        let candidate = |node: usize| {
            let figures = self.nodes.get(node)?;
            Some(Candidate { node, weight: figures.weight, near: figures.near })
        };
        let found = choose((0..self.nodes.len()).filter(new_enough).filter_map(candidate), turn);
        found.ok_or_else(|| self.missed(max_lag))
    }

    /// The same, sampled on demand until there is one or the deadline has passed. Cancel-safe.
    pub async fn caught_up(&self, floor: u64, deadline: Instant, max_lag: MaxLag) -> Result<usize, Missed> {
        let _waiting = self.enter();
        loop {
            let mut progress = std::pin::pin!(self.progress.notified());
            progress.as_mut().enable();
            match self.reader(|_| Some(floor), max_lag) {
                Err(Missed::TooStale) => self.want(floor),
                done => return done,
            }
            if tokio::time::timeout_at(deadline.into(), progress).await.is_err() {
                return self.reader(|_| Some(floor), max_lag);
            }
        }
    }

    /// Asks for a sample that is newer than this moment; waits for nothing.
    pub fn demand(&self) {
        self.want(self.clock.now());
    }

    fn want(&self, floor: u64) {
        self.wanted.fetch_max(floor, Ordering::SeqCst);
        if self.newest.load(Ordering::SeqCst) > floor {
            self.ring_standbys();
        } else {
            self.ring(self.primary.load(Ordering::SeqCst));
        }
    }

    /// The node's monitor is woken, now or when it next would sleep.
    fn ring(&self, node: usize) {
        if let Some(figures) = self.nodes.get(node) {
            figures.ring.notify_one();
        }
    }

    fn ring_standbys(&self) {
        let primary = self.primary.load(Ordering::SeqCst);
        (0..self.nodes.len()).filter(|node| *node != primary && self.is_wanted(*node)).for_each(|node| self.ring(node));
    }

    /// Wakes every monitor.
    pub fn ring_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.ring(node));
    }

    /// Ends when the node is rung. Cancel-safe: a ring that nobody heard is kept for the next call.
    pub async fn rung(&self, node: usize) {
        match self.nodes.get(node) {
            Some(figures) => figures.ring.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Whether an answer of this node's may bring what somebody asked for.
    pub fn is_wanted(&self, node: usize) -> bool {
        let (wanted, newest) = (self.wanted.load(Ordering::SeqCst), self.newest.load(Ordering::SeqCst));
        if self.primary.load(Ordering::SeqCst) == node {
            return newest <= wanted;
        }
        let fresh = self.fresh(node);
        // A standby at the newest sample has to wait for the primary's next one.
        fresh <= wanted && fresh < newest
    }

    /// Whether somebody waits, so that the node is to be asked again and again.
    pub fn is_awaited(&self, node: usize) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0 && self.is_wanted(node)
    }

    /// Has the node asked at once, by a new connection too; waits for nothing.
    pub fn summon(&self, node: usize) {
        if let Some(figures) = self.nodes.get(node) {
            figures.summoned.store(true, Ordering::SeqCst);
            figures.ring.notify_one();
        }
    }

    /// Whether it was, since the last call.
    pub fn is_summoned(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|figures| figures.summoned.swap(false, Ordering::SeqCst))
    }

    /// Whether a node, to which a connection is open or not, is asked more often than usual.
    pub fn is_hurried(&self, is_open: bool) -> bool {
        match self.haste.load(Ordering::SeqCst) {
            CALM => false,
            HEADLESS => is_open,
            _ => true,
        }
    }

    /// Publishes what was judged. Callers hold the judge's lock, so that the later judgement is published last.
    pub fn publish(&self, judge: &Judge) {
        let primary = judge.topology().primary().unwrap_or(NOBODY);
        let mut news = self.primary.swap(primary, Ordering::SeqCst) != primary;
        let newest = judge.freshness().newest();
        let sampled = self.newest.swap(newest, Ordering::SeqCst) != newest;
        for (node, figures) in self.nodes.iter().enumerate() {
            let verdict = judge.verdict(node).map_or_else(|unfit| unfit as u8, |()| FIT);
            // Unfit before its freshness goes, fresh before it is fit.
            if verdict != FIT {
                news |= figures.verdict.swap(verdict, Ordering::SeqCst) != verdict;
            }
            let fresh = judge.freshness().fresh(node);
            news |= figures.fresh.swap(fresh, Ordering::SeqCst) != fresh;
            figures.behind.store(judge.freshness().behind(node).unwrap_or(u64::MAX), Ordering::Relaxed);
            news |= figures.verdict.swap(verdict, Ordering::SeqCst) != verdict;
        }
        let haste = match judge.topology().suspect() {
            Some(_) => ALARMED,
            None if judge.is_headless() => HEADLESS,
            None => CALM,
        };
        if haste > self.haste.swap(haste, Ordering::SeqCst) {
            self.ring_all();
        }
        if sampled {
            self.ring_standbys();
        }
        if news {
            self.progress.notify_waiters();
        }
    }

    fn missed(&self, max_lag: MaxLag) -> Missed {
        let verdicts = (0..self.nodes.len()).map(|node| self.fit(node, max_lag));
        // Reasons are in the order of the questions: the last one came furthest.
        match verdicts.map(|verdict| verdict.map_or_else(|unfit| unfit as u8, |()| FIT)).reduce(nearest) {
            Some(FIT) => Missed::TooStale,
            Some(code) => Missed::NoStandby(reason(code)),
            None => Missed::NoStandby(Unfit::NotStandby),
        }
    }

    fn enter(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waits(self)
    }
}

/// Somebody waits for as long as this lives.
struct Waits<'a>(&'a Sampler);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

fn nearest(one: u8, other: u8) -> u8 {
    if one == FIT || other == FIT { FIT } else { one.max(other) }
}

fn reason(code: u8) -> Unfit {
    Unfit::ALL.into_iter().find(|unfit| *unfit as u8 == code).unwrap_or(Unfit::Unsure)
}

//! [pure] Who is lent what: idle connections, the queue of those who wait, and how many connections may be opened.
//!
//! A pool stands before one or more servers (*nodes*). Sizes count per node, since they protect a node's
//! max_connections. Waiters are served first come, first served, and are given a connection directly; idle
//! connections are taken last in, first out, so that the pool can shrink. Time is an argument.
//!
//! Both orders give way a little to where a connection is at home (`home`): a waiter may be overtaken by those who came
//! shortly after it (`OVERTAKE`), so that it waits longer than by first come, first served only for these few; and of the `NEAR` connections that came back last the one at home is taken.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::home::Home;
use crate::stats::Wait;

/// How many connections of a pool may be on their way at once, per node.
pub const DIAL_WIDTH: usize = 8;

/// The first pause after a failed dial; it doubles up to `Limits::retry_cap`.
const RETRY_FIRST: Duration = Duration::from_millis(20);

/// A waiter is overtaken by those only who wait on the worker where the connection is at home, and came at most so much
/// later: a quarter of what it has waited, within these bounds. In a queue in which nobody came so close the order is
/// exact.
const OVERTAKE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(10);

/// How many waiters or idle connections are looked at for one of the same worker.
const NEAR: usize = 32;

/// The pool's bounds, replaced whole by a reload.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Connections per node; 0: unbounded.
    pub size: usize,
    pub min_size: usize,
    /// That many more once the first waiter has waited for `reserve_after`.
    pub reserve: usize,
    pub reserve_after: Duration,
    pub round_robin: bool,
    pub lifetime: Duration,
    pub idle_timeout: Option<Duration>,
    /// One that has rested for so long is asked before it is lent; None: it is not.
    pub check_after: Option<Duration>,
    pub retry_cap: Duration,
}

/// Which nodes get work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// All of them are equal (`host`); the first one is preferred unless `balance`.
    Any {
        balance: bool,
    },
    /// Everybody waits, until it is known whether this node still serves; what it has is kept.
    Held(usize),
    /// No node is fit: everybody waits.
    Nobody,
    One(usize),
}

/// What stands idle.
#[derive(Debug)]
struct Idle<T> {
    it: T,
    home: Home,
    since: Instant,
    born: Instant,
}

#[derive(Debug)]
struct Node<T> {
    idle: VecDeque<Idle<T>>,
    /// Idle, lent and on their way.
    open: usize,
    dialling: usize,
    /// Asked whether they are good, for somebody who waits.
    checking: usize,
    /// Taken out from among the idle ones to be closed, and counted as open until they are.
    closing: usize,
    /// Connections opened before this epoch are closed when they come back.
    epoch: u64,
    /// How many of those there are, lent or on their way.
    stale: usize,
    pause: Duration,
    not_before: Option<Instant>,
}

/// Somebody in the queue; `who` is how the shell reaches them.
#[derive(Debug)]
struct Waiter<W> {
    ticket: u64,
    home: Home,
    since: Instant,
    who: W,
}

/// The state of one pool.
#[derive(Debug)]
pub struct Core<T, W> {
    nodes: Vec<Node<T>>,
    queue: VecDeque<Waiter<W>>,
    next_ticket: u64,
    next_node: usize,
    serving: Serving,
    paused: bool,
    /// What was idle by then has rested, as of the janitor's last look.
    rested: Option<Instant>,
    pub limits: Limits,
}

/// What becomes of a connection that comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum Put<T, W> {
    /// It is over age, of an old epoch, or nobody may use its node: drop it.
    Close(T),
    Hand(W, T),
    Kept,
}

/// Figures for SHOW POOLS and the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub open: usize,
    pub idle: usize,
    pub dialling: usize,
    /// Lent or on their way, and closed when they come back.
    pub stale: usize,
    pub waiting: usize,
}

impl<T, W> Core<T, W> {
    pub fn new(nodes: usize, serving: Serving, limits: Limits) -> Core<T, W> {
        let node = || Node {
            idle: VecDeque::new(),
            open: 0,
            dialling: 0,
            checking: 0,
            closing: 0,
            epoch: 0,
            stale: 0,
            pause: RETRY_FIRST,
            not_before: None,
        };
        Core {
            nodes: (0..nodes).map(|_| node()).collect(),
            queue: VecDeque::new(),
            next_ticket: 1,
            next_node: 0,
            serving,
            paused: false,
            rested: None,
            limits,
        }
    }

    /// An idle connection for whoever asks now, on that worker; None while others wait already, for their turn comes
    /// first.
    pub fn take(&mut self, home: Home) -> Option<(usize, T)> {
        if self.queue.is_empty() { self.take_any(home) } else { None }
    }

    fn take_any(&mut self, home: Home) -> Option<(usize, T)> {
        let node = self.lender()?;
        let (rested, after) = (self.rested, self.limits.check_after);
        let is_fresh = |idle: &Idle<T>| !has_rested(idle, after, rested);
        let idle = &mut self.nodes.get_mut(node)?.idle;
        let taken = match self.limits.round_robin {
            true if idle.front().is_some_and(is_fresh) => idle.pop_front(),
            true => None,
            false => take_near(idle, home, is_fresh),
        };
        taken.map(|idle| (node, idle.it))
    }

    /// The node whose idle connections are lent.
    fn lender(&self) -> Option<usize> {
        match self.serving {
            _ if self.paused => None,
            Serving::Held(_) | Serving::Nobody => None,
            Serving::One(node) => Some(node),
            Serving::Any { .. } => self.most_recent(),
        }
    }

    /// A connection that has rested, for somebody in the queue for whom nothing is on its way: it is to be asked whether
    /// it is good, and counts as lent meanwhile.
    pub fn next_check(&mut self) -> Option<(usize, T)> {
        let at = self.lender()?;
        if self.queue.len() <= self.on_their_way() {
            return None;
        }
        let (rested, after) = (self.rested, self.limits.check_after);
        let round_robin = self.limits.round_robin;
        let node = self.nodes.get_mut(at)?;
        let next = if round_robin { node.idle.front() } else { node.idle.back() };
        next.filter(|idle| has_rested(idle, after, rested))?;
        let taken = if round_robin { node.idle.pop_front() } else { node.idle.pop_back() };
        node.checking += 1;
        taken.map(|idle| (at, idle.it))
    }

    /// What `next_check` took out is good, or gone.
    pub fn checked(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.checking = node.checking.saturating_sub(1);
        }
    }

    /// One that had rested was bad: the others are not waited for.
    pub fn distrust(&mut self, node: usize) -> Vec<T> {
        let (rested, after) = (self.rested, self.limits.check_after);
        let Some(node) = self.nodes.get_mut(node) else { return Vec::new() };
        let count = node.idle.iter().take_while(|idle| has_rested(idle, after, rested)).count();
        node.closing += count;
        node.idle.drain(..count).map(|idle| idle.it).collect()
    }

    /// What is dialled and what is asked, among the nodes that get work.
    fn on_their_way(&self) -> usize {
        self.dial_candidates().map(|n| self.nodes[n].dialling + self.nodes[n].checking).sum()
    }

    fn most_recent(&self) -> Option<usize> {
        let latest = |node: &Node<T>| node.idle.back().map(|idle| idle.since);
        (0..self.nodes.len()).filter(|&n| !self.nodes[n].idle.is_empty()).max_by_key(|&n| latest(&self.nodes[n]))
    }

    /// Joins the queue's end, to be served on that worker.
    pub fn join(&mut self, who: W, home: Home, now: Instant) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.queue.push_back(Waiter { ticket, home, since: now, who });
        ticket
    }

    /// Leaves the queue; false if the waiter was served already.
    pub fn leave(&mut self, ticket: u64) -> bool {
        let at = self.queue.iter().position(|waiter| waiter.ticket == ticket);
        at.map(|at| self.queue.remove(at)).is_some()
    }

    /// A connection comes back, or a dialled one comes for the first time.
    pub fn put(&mut self, node: usize, epoch: u64, it: T, home: Home, born: Instant, now: Instant) -> Put<T, W> {
        let lifetime = self.limits.lifetime;
        let keeps = self.keeps(node);
        let Some(there) = self.nodes.get_mut(node) else { return Put::Close(it) };
        let over_age = !lifetime.is_zero() && now.saturating_duration_since(born) >= lifetime;
        if epoch != there.epoch || over_age || !keeps {
            return Put::Close(it);
        }
        if !self.paused
            && !matches!(self.serving, Serving::Held(_))
            && let Some(next) = next_in(&mut self.queue, home, now)
        {
            return Put::Hand(next.who, it);
        }
        there.idle.push_back(Idle { it, home, since: now, born });
        Put::Kept
    }

    fn keeps(&self, node: usize) -> bool {
        match self.serving {
            Serving::Any { .. } => true,
            Serving::Nobody => false,
            Serving::Held(one) | Serving::One(one) => one == node,
        }
    }

    /// The node to dial next, counted as on its way at once; None if none is needed, allowed or due.
    pub fn next_dial(&mut self, now: Instant) -> Option<usize> {
        if self.paused {
            return None;
        }
        let oldest = self.queue.front().map(|waiter| waiter.since);
        let bound = self.bound(oldest, now);
        let node = self.dial_candidates().find(|&n| self.nodes[n].may_dial(bound, now))?;
        // A dial at a node that serves no more may take long, and what it brings is for nobody.
        let short = self.nodes[node].open < self.limits.min_size;
        if self.queue.len() <= self.on_their_way() && !short {
            return None;
        }
        self.next_node = (node + 1) % self.nodes.len();
        self.nodes[node].dialling += 1;
        self.nodes[node].open += 1;
        Some(node)
    }

    /// Why somebody who waits now has to.
    pub fn why(&self, now: Instant) -> Wait {
        if self.paused {
            return Wait::Paused;
        }
        let oldest = self.queue.front().map(|waiter| waiter.since);
        let bound = self.bound(oldest, now);
        match self.serving {
            Serving::Held(_) | Serving::Nobody => Wait::NoPrimary,
            _ if self.dial_candidates().any(|n| self.nodes[n].is_coming(bound)) => Wait::Connect,
            _ => Wait::PoolFull,
        }
    }

    /// How many connections a node may have: the reserve counts once somebody has waited for long.
    fn bound(&self, oldest: Option<Instant>, now: Instant) -> usize {
        let Limits { size, reserve, reserve_after, .. } = self.limits;
        let late = oldest.is_some_and(|since| now.saturating_duration_since(since) >= reserve_after);
        match size {
            0 => usize::MAX,
            size if late => size + reserve,
            size => size,
        }
    }

    fn dial_candidates(&self) -> impl Iterator<Item = usize> + use<T, W> {
        let all = self.nodes.len();
        let (first, count) = match self.serving {
            Serving::Held(_) | Serving::Nobody => (0, 0),
            Serving::One(node) => (node, usize::from(node < all)),
            Serving::Any { balance: true } => (self.next_node, all),
            Serving::Any { balance: false } => (0, all),
        };
        (0..count).map(move |step| (first + step) % all)
    }

    /// A dial succeeded; its connection follows by `put` or is lent at once.
    pub fn dialled(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.dialling = node.dialling.saturating_sub(1);
            node.forget_failures();
        }
    }

    /// A dial that `next_dial` counted was not begun.
    pub fn not_dialled(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.dialling = node.dialling.saturating_sub(1);
            node.open = node.open.saturating_sub(1);
        }
    }

    /// A dial failed: how long nobody should dial this node.
    pub fn dial_failed(&mut self, node: usize, now: Instant) -> Duration {
        let cap = self.limits.retry_cap.max(RETRY_FIRST);
        let Some(node) = self.nodes.get_mut(node) else { return cap };
        node.dialling = node.dialling.saturating_sub(1);
        if node.not_before.is_some_and(|until| until > now) {
            // Another dial of the same bundle failed already: one failure, one pause.
            return node.not_before.map_or(cap, |until| until - now);
        }
        let pause = node.pause;
        node.not_before = Some(now + pause);
        node.pause = (pause * 2).min(cap);
        pause
    }

    /// A connection of this epoch is gone that was lent, or on its way.
    pub fn closed(&mut self, node: usize, epoch: u64) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.open = node.open.saturating_sub(1);
            if epoch != node.epoch {
                node.stale = node.stale.saturating_sub(1);
            }
        }
    }

    /// One is gone that was taken out to be closed.
    pub fn discarded(&mut self, node: usize) {
        if let Some(node) = self.nodes.get_mut(node) {
            node.open = node.open.saturating_sub(1);
            node.closing = node.closing.saturating_sub(1);
        }
    }

    pub fn epoch(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |node| node.epoch)
    }

    /// Other nodes get the work from now on, and are dialled at once. Waiters stay in their order; what stands idle
    /// elsewhere is to be dropped.
    pub fn serve(&mut self, serving: Serving) -> Vec<T> {
        self.serving = serving;
        self.nodes.iter_mut().for_each(Node::forget_failures);
        let unfit: Vec<usize> = (0..self.nodes.len()).filter(|&n| !self.keeps(n)).collect();
        unfit.into_iter().flat_map(|n| self.recycle(n)).collect()
    }

    /// Everybody in the queue.
    pub fn waiters(&self) -> impl Iterator<Item = &W> {
        self.queue.iter().map(|waiter| &waiter.who)
    }

    /// Every connection of the node closes when it comes back; the idle ones at once.
    pub fn recycle(&mut self, node: usize) -> Vec<T> {
        let Some(node) = self.nodes.get_mut(node) else { return Vec::new() };
        node.epoch += 1;
        node.forget_failures();
        node.closing += node.idle.len();
        node.stale = node.open.saturating_sub(node.closing);
        node.idle.drain(..).map(|idle| idle.it).collect()
    }

    pub fn recycle_all(&mut self) -> Vec<T> {
        (0..self.nodes.len()).flat_map(|n| self.recycle(n)).collect()
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// PAUSE and RESUME: nothing is handed out in between.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Pairs the queue with what stands idle, after a resume or a change of nodes.
    pub fn match_up(&mut self) -> Option<(W, usize, T)> {
        let home = self.queue.front()?.home;
        let (node, it) = self.take_any(home)?;
        self.queue.pop_front().map(|waiter| (waiter.who, node, it))
    }

    /// Empties the queue: everybody gets the same refusal.
    pub fn dismiss(&mut self) -> Vec<W> {
        self.queue.drain(..).map(|waiter| waiter.who).collect()
    }

    /// What stands idle for too long, is too old, or is more than the size allows. Over-age connections go one at a
    /// time, so that a pool does not redial as a whole.
    pub fn expired(&mut self, now: Instant) -> Vec<T> {
        let Limits { lifetime, idle_timeout, min_size, size, check_after, .. } = self.limits;
        self.rested = check_after.and_then(|after| now.checked_sub(after));
        let mut gone = Vec::new();
        for node in &mut self.nodes {
            let mut left = node.open;
            while let Some(oldest) = node.idle.front() {
                let idle = now.saturating_duration_since(oldest.since);
                let too_many = size != 0 && left > size + self.limits.reserve;
                let idle_out = left > min_size && idle_timeout.is_some_and(|limit| idle >= limit);
                if !idle_out && !too_many {
                    break;
                }
                left -= 1;
                node.closing += 1;
                gone.extend(node.idle.pop_front().map(|idle| idle.it));
            }
            let aged = |idle: &Idle<T>| !lifetime.is_zero() && now.saturating_duration_since(idle.born) >= lifetime;
            if let Some(at) = node.idle.iter().position(aged) {
                node.closing += 1;
                gone.extend(node.idle.remove(at).map(|idle| idle.it));
            }
        }
        gone
    }

    /// Gives up one idle connection of the node, for another pool that is under the same cap.
    pub fn evict(&mut self, node: usize) -> Option<T> {
        let node = self.nodes.get_mut(node)?;
        let oldest = node.idle.pop_front()?;
        node.closing += 1;
        Some(oldest.it)
    }

    /// Looks at everything that stands idle and takes out what `keep` refuses.
    pub fn sweep(&mut self, mut keep: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut gone = Vec::new();
        for node in &mut self.nodes {
            for _ in 0..node.idle.len() {
                let Some(mut idle) = node.idle.pop_front() else { break };
                if keep(&mut idle.it) {
                    node.idle.push_back(idle);
                } else {
                    node.closing += 1;
                    gone.push(idle.it);
                }
            }
        }
        gone
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Of one node; who waits is counted with the first one.
    pub fn census_of(&self, node: usize) -> Census {
        let waiting = if node == 0 { self.queue.len() } else { 0 };
        self.nodes.get(node).map_or_else(Census::default, |node| Census {
            open: node.open,
            idle: node.idle.len(),
            dialling: node.dialling,
            stale: node.stale,
            waiting,
        })
    }

    pub fn census(&self) -> Census {
        let sum = |of: fn(&Node<T>) -> usize| self.nodes.iter().map(of).sum();
        Census {
            open: sum(|node| node.open),
            idle: sum(|node| node.idle.len()),
            dialling: sum(|node| node.dialling),
            stale: sum(|node| node.stale),
            waiting: self.queue.len(),
        }
    }
}

/// Who is served next by a connection at home there.
fn next_in<W>(queue: &mut VecDeque<Waiter<W>>, home: Home, now: Instant) -> Option<Waiter<W>> {
    let first = queue.front()?.since;
    let quarter = now.saturating_duration_since(first) / 4;
    let most = quarter.clamp(*OVERTAKE.start(), *OVERTAKE.end());
    let close = |waiter: &&Waiter<W>| waiter.since.saturating_duration_since(first) <= most;
    let at = queue.iter().take(NEAR).take_while(close).position(|waiter| waiter.home == home);
    queue.remove(at.unwrap_or(0))
}

/// The last one that came back there; far from home, the last of all. None that is not fresh: the last ones are those
/// that have rested least.
fn take_near<T>(idle: &mut VecDeque<Idle<T>>, home: Home, is_fresh: impl Fn(&Idle<T>) -> bool) -> Option<Idle<T>> {
    let last = idle.back().filter(|last| is_fresh(last))?;
    if last.home == home {
        return idle.pop_back();
    }
    let mut near = idle.iter().rev().take(NEAR).take_while(|idle| is_fresh(idle));
    let back = near.position(|idle| idle.home == home).unwrap_or(0);
    idle.remove(idle.len().checked_sub(back + 1)?)
}

/// Whether it is asked before it is lent.
fn has_rested<T>(idle: &Idle<T>, after: Option<Duration>, rested: Option<Instant>) -> bool {
    match after {
        None => false,
        Some(Duration::ZERO) => true,
        Some(_) => rested.is_some_and(|by_then| idle.since <= by_then),
    }
}

impl<T> Node<T> {
    fn forget_failures(&mut self) {
        self.pause = RETRY_FIRST;
        self.not_before = None;
    }

    /// Something is on its way to those who wait, or can be had for them.
    fn is_coming(&self, bound: usize) -> bool {
        self.dialling > 0 || self.checking > 0 || !self.idle.is_empty() || self.open < bound
    }

    fn may_dial(&self, bound: usize, now: Instant) -> bool {
        self.open < bound && self.dialling < DIAL_WIDTH && self.not_before.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home(0);
    const AWAY: Home = Home(1);

    fn limits(size: usize) -> Limits {
        Limits {
            size,
            min_size: 0,
            reserve: 0,
            reserve_after: Duration::from_secs(5),
            round_robin: false,
            lifetime: Duration::from_secs(3600),
            idle_timeout: Some(Duration::from_secs(600)),
            check_after: None,
            retry_cap: Duration::from_secs(1),
        }
    }

    fn core(size: usize) -> (Core<u32, &'static str>, Instant) {
        (Core::new(1, Serving::One(0), limits(size)), Instant::now())
    }

    fn opened(core: &mut Core<u32, &'static str>, it: u32, now: Instant) -> Put<u32, &'static str> {
        assert_eq!(core.next_dial(now), Some(0));
        core.dialled(0);
        core.put(0, 0, it, HOME, now, now)
    }

    #[test]
    fn waiters_are_served_in_their_order_and_nobody_jumps_the_queue() {
        let (mut core, now) = core(2);
        core.join("a", HOME, now);
        core.join("b", HOME, now);
        assert_eq!(opened(&mut core, 1, now), Put::Hand("a", 1));
        assert_eq!(core.take(HOME), None);
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Hand("b", 1));
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Kept);
        assert_eq!(core.take(HOME), Some((0, 1)));
    }

    #[test]
    fn what_has_rested_is_not_lent_but_checked() {
        let (mut core, now) = core(3);
        core.limits.check_after = Some(Duration::from_secs(30));
        for it in [1, 2] {
            core.join("nobody", HOME, now);
            assert_eq!(opened(&mut core, it, now), Put::Hand("nobody", it));
        }
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Kept);
        assert_eq!(core.put(0, 0, 2, HOME, now, at(20)), Put::Kept);
        assert!(core.expired(at(40)).is_empty());
        assert_eq!(core.take(HOME), Some((0, 2)), "it came back last, and is fresh");
        assert_eq!(core.take(HOME), None);
        assert_eq!(core.next_check(), None, "nobody waits");
        core.join("a", HOME, at(40));
        assert_eq!(core.next_check(), Some((0, 1)));
        assert_eq!((core.next_check(), core.next_dial(at(40))), (None, None), "one is on its way");
        core.checked(0);
        assert_eq!(core.put(0, 0, 1, HOME, now, at(40)), Put::Hand("a", 1));
        // Both rest, one of them turns out to be bad: the other one goes, too.
        for it in [1, 2] {
            assert_eq!(core.put(0, 0, it, HOME, now, at(41)), Put::Kept);
        }
        assert!(core.expired(at(80)).is_empty());
        core.join("b", HOME, at(80));
        assert_eq!(core.next_check(), Some((0, 2)));
        core.checked(0);
        assert_eq!(core.distrust(0), [1]);
        assert_eq!(core.next_dial(at(80)), Some(0));
    }

    #[test]
    fn a_waiter_is_overtaken_only_by_those_of_the_connections_worker_who_came_right_behind_it() {
        let (mut core, now) = core(1);
        let at = |micros| now + Duration::from_micros(micros);
        core.join("a", AWAY, now);
        core.join("b", AWAY, at(500));
        core.join("c", HOME, at(1000));
        core.join("d", HOME, at(1001));
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Hand("c", 1));
        // `d` came too late to pass `a`, but not `b`.
        assert_eq!(core.put(0, 0, 1, HOME, now, at(4000)), Put::Hand("a", 1));
        assert_eq!(core.put(0, 0, 1, HOME, now, at(4000)), Put::Hand("d", 1));
        assert_eq!(core.put(0, 0, 1, HOME, now, at(4000)), Put::Hand("b", 1));
        // However long it has waited: ten milliseconds are the most.
        core.join("e", AWAY, now);
        core.join("f", HOME, at(10_001));
        assert_eq!(core.put(0, 0, 1, HOME, now, at(9_000_000)), Put::Hand("e", 1));
    }

    #[test]
    fn a_waiter_of_a_busy_pool_is_served_though_all_connections_are_at_home_elsewhere() {
        let (mut core, now) = core(1);
        core.join("away", AWAY, now);
        let mut overtaken = 0;
        for tenth in 1.. {
            let now = now + Duration::from_micros(100 * tenth);
            core.join("home", HOME, now);
            match core.put(0, 0, 1, HOME, now, now) {
                Put::Hand("away", _) => break,
                _ => overtaken += 1,
            }
        }
        assert_eq!(overtaken, 10);
    }

    #[test]
    fn of_those_that_came_back_last_the_one_at_home_is_taken() {
        let (mut core, now) = core(3);
        for (it, home) in [(1, HOME), (2, HOME), (3, AWAY)] {
            core.put(0, 0, it, home, now, now);
        }
        assert_eq!((core.take(HOME), core.take(HOME), core.take(HOME)), (Some((0, 2)), Some((0, 1)), Some((0, 3))));
        assert_eq!(core.take(HOME), None);
        for it in 0..=NEAR as u32 {
            core.put(0, 0, it, if it == 0 { HOME } else { AWAY }, now, now);
        }
        assert_eq!(core.take(HOME), Some((0, NEAR as u32)), "what came back long ago stays, so that it can go");
    }

    #[test]
    fn no_more_dials_than_waiters_or_size() {
        let (mut core, now) = core(2);
        assert_eq!(core.next_dial(now), None);
        for who in ["a", "b", "c"] {
            core.join(who, HOME, now);
        }
        assert_eq!((core.next_dial(now), core.next_dial(now), core.next_dial(now)), (Some(0), Some(0), None));
        core.closed(0, 0);
        core.dialled(0);
        assert_eq!(core.next_dial(now), Some(0));
    }

    #[test]
    fn the_reserve_opens_for_those_who_waited_long() {
        let (mut core, now) = core(1);
        core.limits.reserve = 1;
        core.join("a", HOME, now);
        core.join("b", HOME, now);
        assert_eq!((core.next_dial(now), core.next_dial(now)), (Some(0), None));
        let later = now + Duration::from_secs(5);
        assert_eq!((core.next_dial(later), core.next_dial(later)), (Some(0), None));
    }

    #[test]
    fn a_failed_dial_pauses_and_the_pause_doubles_to_its_cap() {
        let (mut core, mut now) = core(1);
        core.join("a", HOME, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(core.next_dial(now), Some(0));
            let pause = core.dial_failed(0, now);
            core.closed(0, 0);
            pauses.push(pause.as_millis());
            assert_eq!(core.next_dial(now), None);
            now += pause;
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn idle_connections_are_taken_last_in_first_out_or_in_turn() {
        let (mut core, now) = core(3);
        for it in 1..=3 {
            core.join("x", HOME, now);
            opened(&mut core, it, now);
            core.put(0, 0, it, HOME, now, now);
        }
        assert_eq!(core.take(HOME), Some((0, 3)));
        core.limits.round_robin = true;
        assert_eq!(core.take(HOME), Some((0, 1)));
    }

    #[test]
    fn an_old_epoch_or_another_node_closes_on_return() {
        let now = Instant::now();
        let mut core: Core<u32, &str> = Core::new(2, Serving::One(0), limits(2));
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Kept);
        assert_eq!(core.serve(Serving::One(1)), vec![1]);
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Close(1));
        assert_eq!(core.put(1, 0, 2, HOME, now, now), Put::Kept);
        core.recycle(1);
        assert_eq!(core.put(1, 0, 2, HOME, now, now), Put::Close(2));
        assert_eq!(core.serve(Serving::Nobody), Vec::<u32>::new());
        assert_eq!(core.take(HOME), None);
    }

    #[test]
    fn a_dial_that_hangs_at_a_lost_node_is_waited_for_by_nobody() {
        let now = Instant::now();
        let mut core: Core<u32, &str> = Core::new(2, Serving::One(0), limits(2));
        core.join("first", HOME, now);
        assert_eq!((core.next_dial(now), core.next_dial(now)), (Some(0), None));
        core.serve(Serving::One(1));
        assert_eq!((core.next_dial(now), core.next_dial(now)), (Some(1), None));
    }

    #[test]
    fn a_held_node_keeps_what_it_has_and_gives_none_of_it() {
        let (mut core, now) = core(3);
        core.put(0, 0, 1, HOME, now, now);
        assert_eq!(core.serve(Serving::Held(0)), Vec::<u32>::new());
        assert_eq!(core.take(HOME), None);
        core.join("a", HOME, now);
        assert_eq!((core.next_dial(now), core.match_up()), (None, None));
        assert_eq!(core.put(0, 0, 2, HOME, now, now), Put::Kept);
        core.serve(Serving::One(0));
        assert_eq!(core.match_up(), Some(("a", 0, 2)));
        core.serve(Serving::Held(0));
        assert_eq!(core.serve(Serving::Nobody), vec![1]);
    }

    #[test]
    fn a_change_of_what_serves_ends_the_pause_after_a_failed_dial() {
        let (mut core, now) = core(1);
        core.join("a", HOME, now);
        assert_eq!(core.next_dial(now), Some(0));
        core.dial_failed(0, now);
        core.closed(0, 0);
        core.serve(Serving::Held(0));
        core.serve(Serving::One(0));
        assert_eq!(core.next_dial(now), Some(0));
    }

    #[test]
    fn what_must_close_is_counted_until_it_has() {
        let (mut core, now) = core(3);
        for _ in 0..3 {
            core.join("x", HOME, now);
            assert!(core.next_dial(now).is_some());
        }
        core.dismiss();
        core.dialled(0);
        core.dialled(0);
        assert_eq!(core.put(0, 0, 1, HOME, now, now), Put::Kept);
        let stale = |core: &Core<u32, &str>| (core.census().open, core.census().stale);
        // One is idle, one is lent, one on its way.
        assert_eq!(core.recycle(0), vec![1]);
        assert_eq!(stale(&core), (3, 2));
        assert!(core.recycle(0).is_empty());
        assert_eq!(stale(&core), (3, 2), "the one taken out is not counted again");
        core.discarded(0);
        core.closed(0, 0);
        assert_eq!(stale(&core), (1, 1));
        core.join("x", HOME, now);
        core.join("x", HOME, now);
        assert!(core.next_dial(now).is_some());
        core.closed(0, 2);
        assert_eq!(stale(&core), (1, 1), "a new one is not stale");
        core.closed(0, 0);
        assert_eq!(stale(&core), (0, 0));
    }

    #[test]
    fn a_pause_hands_nothing_out() {
        let (mut core, now) = core(1);
        core.put(0, 0, 1, HOME, now, now);
        core.pause(true);
        assert_eq!(core.take(HOME), None);
        core.join("a", HOME, now);
        assert_eq!((core.next_dial(now), core.match_up()), (None, None));
        core.pause(false);
        assert_eq!(core.match_up(), Some(("a", 0, 1)));
    }

    #[test]
    fn what_stands_idle_too_long_goes_but_not_below_the_minimum() {
        let (mut core, now) = core(3);
        core.limits.min_size = 1;
        for it in 1..=3 {
            core.join("x", HOME, now);
            assert!(core.next_dial(now).is_some());
            core.dialled(0);
            core.dismiss();
            core.put(0, 0, it, HOME, now, now);
        }
        assert_eq!(core.expired(now + Duration::from_secs(599)), Vec::<u32>::new());
        assert_eq!(core.expired(now + Duration::from_secs(600)), vec![1, 2]);
    }

    #[test]
    fn each_node_shrinks_to_its_own_minimum() {
        let now = Instant::now();
        let mut core: Core<u32, &str> =
            Core::new(2, Serving::Any { balance: true }, Limits { min_size: 1, ..limits(3) });
        for it in 0..6 {
            core.join("x", HOME, now);
            let node = core.next_dial(now).expect("room on both");
            core.dialled(node);
            core.dismiss();
            core.put(node, 0, it, HOME, now, now);
        }
        assert_eq!(core.expired(now + Duration::from_secs(600)).len(), 4);
    }

    #[test]
    fn a_waiter_that_leaves_is_not_served() {
        let (mut core, now) = core(1);
        let a = core.join("a", HOME, now);
        core.join("b", HOME, now);
        assert!(core.leave(a) && !core.leave(a));
        assert_eq!(opened(&mut core, 1, now), Put::Hand("b", 1));
    }
}

//! The servers of one `servers` list: watched, judged, and the judgement published to the pools in front of them.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

mod answer;
pub mod backend;
pub mod backends;
pub mod catalog;
mod change;
pub mod decide;
pub mod dedicated;
mod doubt;
pub mod holds;
pub mod judge;
pub mod lookup;
pub mod memory;
pub mod probe;
mod question;
pub mod sampler;
pub mod shown;
pub mod split;
mod splits;
pub mod state;
pub mod told;
pub mod watched;
pub mod writes;

use crate::config::{Listed, MaxLag};
use crate::error::{Error, Kind, Side};
use crate::pool::Pool;
use crate::pool::core::Serving;
use crate::route::fit::Unfit;
use crate::route::topology::{Node, Role, Topology};
use crate::server::names::Names;
use crate::server::{Server, Standing};
use decide::Seen;
use judge::{Judge, Look};
use memory::Memory;
use sampler::{Missed, Sampler};
use state::State;
use writes::{Book, Books, Clock, Writes};

/// One cluster of servers.
pub struct Cluster {
    judge: Mutex<Judge>,
    topology: watch::Sender<Arc<Topology>>,
    sampler: Arc<Sampler>,
    books: Arc<Books>,
    book: Arc<Book>,
    pools: Mutex<Vec<(Weak<Pool<Server>>, Follow)>>,
    /// What is known of its databases is the primary's word.
    catalogs: Mutex<Vec<Weak<catalog::Watch>>>,
    /// Somebody asks the servers for their role; without, roles show when connections are opened.
    probed: bool,
    /// Where monitors may log in: the databases that are behind these servers.
    places: Mutex<Vec<String>>,
    /// The identifier that the book is known by; 0: not asked yet.
    system: AtomicU64,
    is_synchronous: AtomicBool,
    /// The primary's monitor was summoned then (0: it was not), and until it has answered new work waits.
    held_since: AtomicU64,
    lost_since: Mutex<Option<Instant>>,
    /// By node, for whoever has a connection to it.
    standing: Vec<Arc<Standing>>,
    names: Vec<String>,
    state: Arc<State>,
    /// A reload replaced it: nobody asks its servers any more.
    retired: AtomicBool,
    /// How often another server than before was found to be the primary.
    failovers: AtomicU64,
    last_primary: AtomicUsize,
}

/// What all clusters of the process share.
#[derive(Clone, Default)]
pub struct Sight {
    pub clock: Clock,
    pub books: Arc<Books>,
    pub state: Arc<State>,
    pub names: Arc<Names>,
    /// Some database's reads are split.
    pub splits: Arc<AtomicBool>,
}

/// Which of a cluster's servers a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    Primary,
    /// This one, for as long as it is a standby.
    Standby(usize),
}

impl Cluster {
    /// `zone` is where the proxy stands.
    pub fn new(servers: &[Listed], zone: Option<&str>, patience: u32, probed: bool, sight: &Sight) -> Arc<Cluster> {
        let topology = Topology::unknown(servers, zone);
        let names: Vec<String> = servers.iter().map(|listed| listed.address.to_string()).collect();
        let memory = sight.state.recall(&names);
        let unfit = if probed { Unfit::NotStandby } else { Unfit::NoProbe };
        Arc::new(Cluster {
            judge: Mutex::new(Judge::new(topology.clone(), patience, probed, memory)),
            sampler: Arc::new(Sampler::new(&topology, sight.clock, unfit)),
            topology: watch::Sender::new(Arc::new(topology)),
            books: Arc::clone(&sight.books),
            book: sight.books.of(servers.iter().map(|listed| &listed.address)),
            pools: Mutex::new(Vec::new()),
            catalogs: Mutex::default(),
            probed,
            places: Mutex::default(),
            system: AtomicU64::new(0),
            is_synchronous: AtomicBool::new(false),
            held_since: AtomicU64::new(0),
            lost_since: Mutex::default(),
            standing: servers.iter().map(|_| Arc::default()).collect(),
            names,
            state: Arc::clone(&sight.state),
            retired: AtomicBool::new(false),
            failovers: AtomicU64::new(0),
            last_primary: AtomicUsize::new(usize::MAX),
        })
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.sampler.ring_all();
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    pub fn subscribe(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// The clock of `fresh` and of `Writes`.
    pub fn now(&self) -> u64 {
        self.sampler.clock().now()
    }

    /// As of when this standby is complete: it shows every transaction that was acknowledged to anybody before. 0: not
    /// known.
    pub fn fresh(&self, node: usize) -> u64 {
        self.sampler.fresh(node)
    }

    /// Told to connections: what is known of their server.
    fn standing(&self, node: usize) -> Arc<Standing> {
        self.standing.get(node).map(Arc::clone).unwrap_or_default()
    }

    /// Nobody is primary, as far as is known: new work is held. Takes no lock.
    pub fn is_headless(&self) -> bool {
        !self.sampler.has_primary()
    }

    /// Whether this node may serve reads now, however new they must be. Takes no lock; meant for every read.
    pub fn fit(&self, node: usize, max_lag: MaxLag) -> Result<(), Unfit> {
        self.sampler.fit(node, max_lag)
    }

    /// A fit standby with `fresh > floor` (each has its own; None: not that one), or why there is none; waits for nothing
    /// and takes no lock.
    pub fn reader(&self, floor: impl Fn(usize) -> Option<u64>, max_lag: MaxLag) -> Result<usize, Missed> {
        self.sampler.reader(floor, max_lag)
    }

    /// The same, sampled on demand until the deadline. Does not wait where no standby is fit at all. Cancel-safe.
    pub async fn caught_up(&self, floor: u64, deadline: Instant, max_lag: MaxLag) -> Result<usize, Missed> {
        self.sampler.caught_up(floor, deadline, max_lag).await
    }

    /// Asks for a sample of now; waits for nothing.
    pub fn demand(&self) {
        self.sampler.demand();
    }

    /// When this database (its name on the server) was last written to.
    pub fn writes(&self, dbname: &str) -> Arc<Writes> {
        self.book.writes(dbname, self.now())
    }

    /// The major version of the last known primary.
    fn major(&self) -> Option<u32> {
        self.judge.lock().line()?.major
    }

    /// Commits wait for standbys (synchronous_standby_names), so that a standby may show what the primary does not yet.
    pub fn is_synchronous(&self) -> bool {
        self.is_synchronous.load(Ordering::Relaxed)
    }

    /// What the pools in front of the primary may use. Before it is known, unprobed servers are tried in turn: each
    /// login says what it found.
    pub fn serving(&self) -> Serving {
        self.serving_for(Follow::Primary)
    }

    pub fn serving_for(&self, follow: Follow) -> Serving {
        self.serving_by(&self.topology.borrow(), follow)
    }

    fn serving_by(&self, topology: &Topology, follow: Follow) -> Serving {
        match follow {
            Follow::Primary => match (topology.primary(), topology.suspect()) {
                (Some(node), _) if self.held_since.load(Ordering::Relaxed) != 0 => Serving::Held(node),
                (Some(node), _) => Serving::One(node),
                (None, Some(node)) => Serving::Held(node),
                (None, None) if self.probed => Serving::Nobody,
                (None, None) => Serving::Any { balance: true },
            },
            Follow::Standby(node) if topology.is_standby(node) => Serving::One(node),
            Follow::Standby(_) => Serving::Nobody,
        }
    }

    /// A pool that follows this cluster from now on.
    pub fn join(&self, pool: &Arc<Pool<Server>>, follow: Follow) {
        let _in_order = self.judge.lock();
        let mut pools = self.pools.lock();
        pools.retain(|(pool, _)| pool.strong_count() > 0);
        pools.push((Arc::downgrade(pool), follow));
        drop(pools);
        pool.serve(self.serving_for(follow));
    }

    /// A watch that must doubt what it knows when another server is the primary.
    fn believe(&self, watch: &Arc<catalog::Watch>) {
        let mut catalogs = self.catalogs.lock();
        catalogs.retain(|watch| watch.strong_count() > 0);
        catalogs.push(Arc::downgrade(watch));
    }

    /// One more database where monitors may log in.
    fn offer_place(&self, dbname: &str) {
        let mut places = self.places.lock();
        if !places.iter().any(|place| place == dbname) {
            places.push(dbname.to_owned());
        }
    }

    /// The database for a login after that many refused ones.
    fn place(&self, refused: usize) -> String {
        let places = self.places.lock();
        refused.checked_rem(places.len()).and_then(|n| places.get(n)).cloned().unwrap_or_default()
    }

    /// Takes what was seen of a server into account.
    pub fn see(&self, node: usize, seen: Seen) {
        self.judged(|judge| judge.see(node, seen));
    }

    /// A login at this node failed.
    fn refused(&self, node: usize, error: &Error) {
        match &error.said {
            Some(said) if !said.sqlstate.starts_with("57P") => {}
            _ if self.probed => self.suspect(node),
            Some(_) => {}
            None => self.see(node, Seen::Failed),
        }
    }

    /// What the operator asks for after a restore, an upgrade or a timeline that was given up: its system identifier and
    /// its highest timeline are forgotten, in the state file too. Nobody is primary until every server was asked again,
    /// which begins at once; new work waits for that.
    pub fn forget(&self) {
        tracing::warn!(servers = self.names.join(", "), "system identifier and timeline are forgotten, as asked for");
        self.judged(Judge::forget);
        (0..self.names.len()).for_each(|node| self.sampler.summon(node));
    }

    fn is_known(&self, node: usize) -> bool {
        self.topology.borrow().nodes.get(node).is_some_and(|node| node.role != Role::Unknown)
    }

    /// Takes a monitor's look into account; `synchronous` is a primary's, where it was asked.
    fn look(&self, node: usize, look: &Look, synchronous: Option<bool>) {
        self.judged(|judge| judge.look(node, look));
        if self.held_since.load(Ordering::Relaxed) != 0 {
            self.answered(node, look.at);
        }
        let Some(now) = synchronous.filter(|_| self.topology.borrow().primary() == Some(node)) else { return };
        if now && !self.is_synchronous.load(Ordering::Relaxed) && self.topology.borrow().nodes.len() > 1 {
            tracing::warn!(
                "synchronous_standby_names is set: a standby may show a commit that the primary does not show yet"
            );
        }
        self.is_synchronous.store(now, Ordering::Relaxed);
    }

    /// A connection to a standby was opened, which had replayed up to there.
    fn opened(&self, node: usize, replayed: u64) {
        self.judged(|judge| {
            judge.opened(node, replayed);
            None
        });
    }

    fn tell_standing(&self, topology: &Topology) {
        let primary = topology.primary();
        for (at, (node, standing)) in topology.nodes.iter().zip(&self.standing).enumerate() {
            let serves = matches!(node.role, Role::Primary | Role::Standby | Role::Suspect);
            let fenced = matches!(node.role, Role::Fenced(_));
            let succeeded = !serves && primary.is_some_and(|primary| primary != at);
            standing.set(fenced || node.role == Role::Down, fenced || succeeded);
        }
    }

    /// Publishes what follows from a look and, if roles changed, tells the pools. The judge's lock is held to the end:
    /// of two changes at the same moment the later one must be told last.
    fn judged(&self, look: impl FnOnce(&mut Judge) -> Option<Topology>) {
        let mut judge = self.judge.lock();
        let was = judge.memory();
        let changed = look(&mut judge);
        self.vacate(&judge);
        self.note(was, judge.memory());
        // Before anything is published that is judged by it.
        let system = judge.line().and_then(|line| line.system);
        if let Some(system) = system.filter(|system| self.system.swap(*system, Ordering::Relaxed) != *system) {
            self.books.identify(&self.book, system);
        }
        let Some(changed) = changed else { return self.sampler.publish(&judge) };
        let before = self.topology.send_replace(Arc::new(changed));
        self.sampler.publish(&judge);
        let after = judge.topology();
        let changed = before.nodes.iter().zip(&after.nodes).filter(|(was, now)| was.role != now.role);
        changed.for_each(|(_, now)| report(now));
        self.tell_standing(after);
        if before.primary() != after.primary() {
            // What is asked of another one is no answer, and a lost one is held anyway.
            self.held_since.store(0, Ordering::Relaxed);
            self.catalogs.lock().iter().filter_map(Weak::upgrade).for_each(|watch| watch.doubt());
        }
        self.note_primary(after);
        self.tell(&before, after);
    }

    fn note_primary(&self, topology: &Topology) {
        let Some(primary) = topology.primary() else { return };
        let last = self.last_primary.swap(primary, Ordering::Relaxed);
        if last != usize::MAX && last != primary {
            self.failovers.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, before: &Topology, after: &Topology) {
        let pools = self.pools.lock().clone();
        for (pool, follow) in pools {
            let (was, serving) = (self.serving_by(before, follow), self.serving_by(after, follow));
            if let Some(pool) = pool.upgrade().filter(|_| was != serving) {
                pool.serve(serving);
                if follow != Follow::Primary && serving == Serving::Nobody {
                    // Whoever waits for it reads elsewhere.
                    pool.dismiss(&Error::new(Kind::ServerLost, Side::Server));
                }
            }
        }
    }

    fn note(&self, was: Memory, now: Memory) {
        if was == now {
            return;
        }
        if let (Some(before), Some(system)) = (was.system, now.system.filter(|_| was.system != now.system)) {
            tracing::error!(
                before,
                system,
                "all servers that answer are of another system identifier than the one remembered: it is accepted"
            );
        }
        match now == Memory::default() {
            true => self.state.forget(&self.names),
            false => self.state.remember(&self.names, now),
        }
    }
}

fn report(node: &Node) {
    let (server, role) = (&node.listed.address, node.role.label());
    match node.role {
        Role::Fenced(fence) => {
            let reason = fence.label();
            tracing::error!(%server, role, reason, "it accepts writes and must not: it is not used");
        }
        Role::Down | Role::Suspect => tracing::warn!(%server, role, "server role changed"),
        _ => tracing::info!(%server, role, "server role changed"),
    }
}

//! The servers of one `servers` list: watched, judged, and the judgement published to the pools in front of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::watch;

pub mod backend;
pub mod backends;
pub mod catalog;
pub mod decide;
pub mod probe;

use crate::config::{Address, Config, Database};
use crate::pool::Pool;
use crate::pool::core::Serving;
use crate::route::topology::{Role, Topology};
use crate::server::Server;
use decide::{Decider, Seen};

/// One cluster of servers.
pub struct Cluster {
    decider: Mutex<Decider>,
    topology: watch::Sender<Arc<Topology>>,
    pools: Mutex<Vec<Weak<Pool<Server>>>>,
    /// Somebody asks the servers for their role; without, roles show when connections are opened.
    probed: bool,
    /// A reload replaced it: nobody asks its servers any more.
    retired: AtomicBool,
}

impl Cluster {
    pub fn new(addresses: &[Address], patience: u32, probed: bool) -> Arc<Cluster> {
        let topology = Topology::unknown(addresses);
        Arc::new(Cluster {
            decider: Mutex::new(Decider::new(topology.clone(), patience)),
            topology: watch::Sender::new(Arc::new(topology)),
            pools: Mutex::new(Vec::new()),
            probed,
            retired: AtomicBool::new(false),
        })
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
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

    /// What the pools in front of these servers may use. Before a primary is known, unprobed servers are tried in turn:
    /// each login says what it found.
    pub fn serving(&self) -> Serving {
        match self.topology.borrow().primary() {
            Some(node) => Serving::One(node),
            None if self.probed => Serving::Nobody,
            None => Serving::Any { balance: true },
        }
    }

    /// A pool that follows this cluster from now on.
    pub fn join(&self, pool: &Arc<Pool<Server>>) {
        let _in_order = self.decider.lock();
        let mut pools = self.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
        drop(pools);
        pool.serve(self.serving());
    }

    /// Takes a look at a server into account and, if it changes who is primary, tells the pools. The decider's lock is
    /// held to the end: of two changes at the same moment the later one must be told last.
    pub fn see(&self, node: usize, seen: Seen) {
        let mut decider = self.decider.lock();
        let before = decider.topology().primary();
        let Some(changed) = decider.see(node, seen) else { return };
        let after = changed.primary();
        report(&changed, node);
        self.topology.send_replace(Arc::new(changed));
        if before == after {
            return;
        }
        let serving = self.serving();
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        pools.iter().for_each(|pool| pool.serve(serving));
    }
}

fn report(topology: &Topology, node: usize) {
    let Some(node) = topology.nodes.get(node) else { return };
    let (server, role) = (&node.address, node.role.label());
    match node.role {
        Role::Contested => tracing::error!(%server, role, "a second server accepts writes: it is not used"),
        Role::Down => tracing::warn!(%server, role, "server role changed"),
        _ => tracing::info!(%server, role, "server role changed"),
    }
}

/// Whether the two configs watch this database's servers in the same way.
pub fn same_watch(old: (&Config, &Database), new: (&Config, &Database)) -> bool {
    let of = |(config, database): (&Config, &Database)| {
        let global = &config.global;
        let times = (global.probe_interval, global.probe_timeout, global.probe_failures);
        (database.target.clone(), config.probe(database).cloned(), times)
    };
    of(old) == of(new)
}

//! What the pools and clusters of the process look like to whoever counts or shows them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cluster;
use super::backends::{Backed, Backends, addresses};
use super::lookup::CONNECTIONS;
use super::split::Split;
use super::watched::Watch;
use crate::config::{Address, Database};
use crate::pool::Pool;
use crate::server::Server;
use crate::stats::Tally;

/// All pools of one pair of database and server user, with their books.
pub struct Pair {
    pub tally: Arc<Tally>,
    pub pools: Vec<Arc<Pool<Server>>>,
    pub split: Option<Arc<Split>>,
    /// Where it is not the config's.
    pub size: Option<usize>,
}

impl Backends {
    /// Those that clients use, and those that `auth_query` goes by: where one user has both they are one pair.
    pub fn pairs(&self) -> Vec<Pair> {
        let of_clients = |backed: Arc<Backed>| Pair {
            tally: Arc::clone(&backed.backend.tally),
            pools: backed.pools().map(Arc::clone).collect(),
            split: backed.split.clone(),
            size: None,
        };
        let mut pairs: Vec<Pair> = self.all().into_iter().map(of_clients).collect();
        for (tally, pool) in self.lookups.pools() {
            match pairs.iter_mut().find(|pair| Arc::ptr_eq(&pair.tally, &tally)) {
                Some(pair) => pair.pools.push(pool),
                None => pairs.push(Pair { tally, pools: vec![pool], split: None, size: Some(CONNECTIONS) }),
            }
        }
        pairs
    }

    /// A pool's books, which outlive it.
    pub(super) fn tally(&self, name: &str, database: &Database, user: &str) -> Arc<Tally> {
        let servers: Vec<String> = addresses(database).into_iter().map(Address::to_string).collect();
        self.stats.tally(name, user, &servers)
    }

    /// The clusters that are watched, and the databases that are behind each.
    pub fn clusters(&self) -> Vec<(Arc<Cluster>, Vec<String>)> {
        let config = self.ground().config;
        let behind = |watch: &Watch| {
            let is_of = |name: &str, database| Watch::of(&config, name, database).as_ref() == Some(watch);
            let named = config.databases.iter().filter(|(name, database)| is_of(name, database));
            let named: Vec<String> = named.map(|(name, _)| name.clone()).collect();
            if named.is_empty() { watch.only.clone().into_iter().collect() } else { named }
        };
        self.clusters.lock().iter().map(|(watch, cluster)| (Arc::clone(cluster), behind(watch))).collect()
    }
}

impl Cluster {
    /// Bytes of WAL that this standby has not replayed, by the last answers.
    pub fn behind(&self, node: usize) -> Option<u64> {
        self.sampler.behind(node)
    }

    /// Somebody asks its servers for their role.
    pub fn is_probed(&self) -> bool {
        self.probed
    }

    /// How often another server than before was found to be the primary.
    pub fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::Relaxed)
    }
}

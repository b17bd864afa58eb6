//! What the pools and clusters of the process look like to whoever counts or shows them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Cluster;
use super::backends::{Backends, addresses};
use super::watched::Watch;
use crate::config::{Address, Database};
use crate::stats::Tally;

impl Backends {
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
    /// Somebody asks its servers for their role.
    pub fn is_probed(&self) -> bool {
        self.probed
    }

    /// How often another server than before was found to be the primary.
    pub fn failovers(&self) -> u64 {
        self.failovers.load(Ordering::Relaxed)
    }
}

//! The last minutes, for the page: one sample every `STEP`, in memory that does not grow.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::stats::snapshot::{Pool, Snapshot};
use crate::stats::totals::Totals;

/// Samples that are kept: five minutes.
pub const KEPT: usize = 150;

/// Pools and servers that a sample, and a status, has room for: the busiest.
pub const ROOM: usize = 100;

/// One moment.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: SystemTime,
    /// Of all pools.
    pub totals: Totals,
    pub pools: Vec<Load>,
    /// By cluster and server: bytes of WAL that a standby had not replayed.
    pub lags: Vec<(String, String, Option<u64>)>,
}

/// One pool at that moment.
#[derive(Clone, Debug)]
pub struct Load {
    pub database: Box<str>,
    pub user: Box<str>,
    pub totals: Totals,
    pub active: usize,
    pub waiting: usize,
}

/// The ring.
#[derive(Default)]
pub struct History(Mutex<VecDeque<Sample>>);

impl History {
    pub fn add(&self, snapshot: &Snapshot) {
        let mut samples = self.0.lock();
        if samples.len() >= KEPT {
            samples.pop_front();
        }
        samples.push_back(Sample::of(snapshot));
    }

    /// The oldest one first.
    pub fn read<T>(&self, with: impl FnOnce(&VecDeque<Sample>) -> T) -> T {
        with(&self.0.lock())
    }
}

impl Sample {
    pub fn of(snapshot: &Snapshot) -> Sample {
        let nodes = snapshot.clusters.iter().flat_map(|cluster| {
            cluster.nodes.iter().map(|node| (cluster.name().to_owned(), node.address.clone(), node.lag))
        });
        Sample {
            at: snapshot.at,
            totals: snapshot.totals(),
            pools: snapshot.busiest(ROOM).into_iter().map(Load::of).collect(),
            lags: nodes.take(ROOM).collect(),
        }
    }

    pub fn load(&self, pool: &Pool) -> Option<&Load> {
        self.pools.iter().find(|load| *load.database == *pool.database && *load.user == *pool.user)
    }

    pub fn lag(&self, cluster: &str, server: &str) -> Option<u64> {
        let found = self.lags.iter().find(|(of, address, _)| of == cluster && address == server);
        found.and_then(|(_, _, lag)| *lag)
    }

    /// How long before `later` it was taken.
    pub fn before(&self, later: SystemTime) -> Duration {
        later.duration_since(self.at).unwrap_or_default()
    }
}

impl Load {
    fn of(pool: &Pool) -> Load {
        Load {
            database: Box::from(&*pool.database),
            user: Box::from(&*pool.user),
            totals: pool.totals,
            active: pool.servers.active,
            waiting: pool.clients.waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::snapshot::{Cluster, Node};

    fn snapshot(lag: u64) -> Snapshot {
        let node = Node { address: "h:1".to_owned(), lag: Some(lag), ..Node::default() };
        let cluster = Cluster { databases: vec!["shop".to_owned()], nodes: vec![node], failovers: 0, is_probed: true };
        Snapshot { clusters: vec![cluster], pools: vec![Pool::default()], ..Snapshot::default() }
    }

    #[test]
    fn the_oldest_samples_give_way() {
        let history = History::default();
        (0..KEPT as u64 + 3).for_each(|lag| history.add(&snapshot(lag)));
        history.read(|samples| {
            assert_eq!(samples.len(), KEPT);
            assert_eq!(samples[0].lag("shop", "h:1"), Some(3));
            assert_eq!(samples[KEPT - 1].lag("shop", "h:1"), Some(KEPT as u64 + 2));
            assert_eq!((samples[0].lag("shop", "h:2"), samples[0].lag("x", "h:1")), (None, None));
            assert!(samples[0].load(&Pool::default()).is_some());
        });
    }
}

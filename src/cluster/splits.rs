//! What a reload and a new pool make of the keys for reads: pools for standbys, watches over catalogs, policies.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backend::{Backend, Behind};
use super::backends::{Backed, Backends, Ground, limits, routes};
use super::catalog::Watch;
use super::split::{Policy, Split, Witness};
use super::{Cluster, Follow, watched};
use crate::config::{Config, Database, ReadWriteSplit, Target};
use crate::pool::core::Serving;
use crate::pool::{Caps, Pool};
use crate::server::Server;

/// The catalog watches that exist, by what they watch.
pub type Watches = Vec<(Arc<Cluster>, String, Arc<Watch>)>;

impl Backends {
    /// What those who read must learn of a pool, and the pool's own reads if its database lists several servers that
    /// somebody asks.
    pub(super) fn split(
        &self,
        ground: &Ground,
        name: &str,
        database: &Database,
        backend: &Arc<Backend>,
        caps: &[Caps],
    ) -> (Arc<Witness>, Option<Arc<Split>>) {
        let writes = self.writes(name, database);
        let several = matches!(&database.target, Target::Servers(servers) if servers.len() > 1);
        let cluster = backend.cluster.as_ref().filter(|_| several);
        let found = cluster.and_then(|cluster| Some((cluster, self.catalog(ground, name, database, cluster)?)));
        let catalog = found.as_ref().map(|(_, catalog)| Arc::clone(catalog));
        let witness = Arc::new(Witness::new(writes, self.sight.clock, catalog, Arc::clone(&self.sight.splits)));
        let split = found.map(|(cluster, catalog)| {
            let readers = readers(ground, database, backend, cluster, caps);
            let policy = policy(&ground.config, database, &backend.credentials.user);
            Arc::new(Split::new(Arc::clone(cluster), readers, catalog, Arc::clone(&witness), policy))
        });
        (witness, split)
    }

    /// The watch over this database's catalog, made if there is none. None: there is nobody to ask as.
    fn catalog(&self, ground: &Ground, name: &str, database: &Database, cluster: &Arc<Cluster>) -> Option<Arc<Watch>> {
        let dbname = database.dbname.as_deref().unwrap_or(name);
        let mut watches = self.catalogs.lock();
        let known = |(of, place, _): &&(Arc<Cluster>, String, _)| Arc::ptr_eq(of, cluster) && place == dbname;
        if let Some((_, _, watch)) = watches.iter().find(known) {
            return Some(Arc::clone(watch));
        }
        let plans = watched::Watch::of(&ground.config, name, database)?.plans(
            &ground.userlist,
            routes(ground, database, &self.sight.names),
            dbname,
        )?;
        let topology = cluster.subscribe();
        let watch = Watch::start(dbname, move || plans.get(topology.borrow().primary()?).cloned());
        cluster.believe(&watch);
        watches.push((Arc::clone(cluster), dbname.to_owned(), Arc::clone(&watch)));
        Some(watch)
    }

    /// Who watches a catalog that no pool asks for any more goes; the janitor's work.
    pub(super) fn sweep_catalogs(&self) {
        self.catalogs.lock().retain(|(_, _, watch)| Arc::strong_count(watch) > 1);
    }

    /// Whether any database of the config splits its reads: only then does anybody have to note writes.
    pub(super) fn note_splits(&self, config: &Config) {
        let users = || config.users.keys().map(|name| config.user(name)).chain([None]);
        let splits = config
            .databases
            .values()
            .any(|database| users().any(|user| config.read_write_split(database, user) != ReadWriteSplit::Off));
        if !self.sight.splits.swap(splits, Ordering::SeqCst) && splits {
            // What was written before went unnoticed.
            self.all().iter().for_each(|backed| backed.witness.wrote());
        }
    }

    /// A reload changed bounds or policies.
    pub(super) fn reform(&self, ground: &Ground, backed: &Backed, database: &Database) {
        let Some(split) = &backed.split else { return };
        let user = &backed.backend.credentials.user;
        split.set_policy(policy(&ground.config, database, user));
        split.readers.iter().for_each(|pool| pool.set_limits(limits(ground, database, user)));
    }
}

/// One pool for each server, which lends while that server is a standby.
fn readers(
    ground: &Ground,
    database: &Database,
    backend: &Arc<Backend>,
    cluster: &Arc<Cluster>,
    caps: &[Caps],
) -> Vec<Arc<Pool<Server>>> {
    let pool = |node| {
        let follow = Follow::Standby(node);
        let behind = Behind { backend: Arc::clone(backend), follow };
        let limits = limits(ground, database, &backend.credentials.user);
        let pool = Pool::new(Serving::Nobody, limits, caps.to_vec(), Box::new(behind));
        cluster.join(&pool, follow);
        pool
    };
    (0..caps.len()).map(pool).collect()
}

fn policy(config: &Config, database: &Database, user: &str) -> Policy {
    Policy {
        mode: config.read_write_split(database, config.user(user)),
        consistency: config.read_consistency(database),
        read_wait: config.read_wait(database),
        max_staleness: config.max_staleness(database).unwrap_or(Duration::ZERO),
        max_lag: config.max_replica_lag(database),
        deferred_begin: config.deferred_begin(database),
        primary_reads: config.primary_reads(database),
    }
}

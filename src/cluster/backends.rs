//! All pools of the process: made when a client first asks, changed or retired by a reload.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::backend::{Backend, Behind, Recipe};
use super::holds::{Holds, Leaving};
use super::lookup::Lookups;
use super::split::{Split, Witness};
use super::splits::Watches;
use super::watched::Watch;
use super::writes::Writes;
use super::{Cluster, Follow, Sight};
use crate::auth::{Secret, Userlist};
use crate::config::{Address, Config, Database, Global, Target};
use crate::error::{Error, Kind, Side};
use crate::net::tls::Connector;
use crate::pool::core::{Census, Limits, Serving};
use crate::pool::registry::{Key, Registry};
use crate::pool::{Caps, Gauge, Pool};
use crate::server::Server;
use crate::server::connect::Route;
use crate::server::login::Credentials;
use crate::server::names::Names;
use crate::server::roll::Roll;
use crate::stats::Stats;

/// A pool and what stands behind it.
pub struct Backed {
    pub pool: Arc<Pool<Server>>,
    pub backend: Arc<Backend>,
    /// Where its reads may run on standbys.
    pub split: Option<Arc<Split>>,
    pub witness: Arc<Witness>,
    /// A reload changed or removed its database: clients look for another one at their next transaction.
    retired: AtomicBool,
}

impl Backed {
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Who waits in it is sent away, and looks for another pool or learns that there is none.
    fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.pools().for_each(|pool| pool.retire(&Error::new(Kind::DatabaseRemoved, Side::Proxy)));
    }

    /// The one for the primary, and those for standbys.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool<Server>>> {
        std::iter::once(&self.pool).chain(self.split.iter().flat_map(|split| &split.readers))
    }
}

/// What the pools are made from; replaced whole by a reload.
#[derive(Clone)]
pub struct Ground {
    pub config: Arc<Config>,
    pub userlist: Arc<Userlist>,
    pub server_tls: Option<Connector>,
    /// The bytes of the files that it was built from.
    pub server_tls_stamp: Arc<[Option<Vec<u8>>]>,
}

/// The pools, the caps that they share, and the clusters that they follow.
pub struct Backends {
    me: Weak<Backends>,
    ground: RwLock<Ground>,
    pools: Registry<Backed>,
    gauges: Mutex<HashMap<GaugeKey, Arc<Gauge>>>,
    pub(super) clusters: Mutex<Vec<(Watch, Arc<Cluster>)>>,
    pub(super) sight: Sight,
    pub(super) catalogs: Mutex<Watches>,
    /// Secrets that servers told.
    pub lookups: Lookups,
    pub stats: Arc<Stats>,
    /// The connections of all pools.
    pub roll: Arc<Roll>,
    /// Locked while a pool is added, so that none misses a RESUME.
    pub(super) holds: Mutex<Holds>,
    pub(super) leaving: Mutex<Leaving>,
}

/// Caps count per server.
#[derive(Clone, PartialEq, Eq, Hash)]
enum GaugeKey {
    Database(String, Address),
    User(String, Address),
}

impl Backends {
    pub(super) holding: watch::Sender<()>,
    pub fn new(ground: Ground) -> Arc<Backends> {
        let config = Arc::clone(&ground.config);
        let backends = Arc::new_cyclic(|me| Backends {
            me: Weak::clone(me),
            ground: RwLock::new(ground),
            pools: Registry::default(),
            gauges: Mutex::default(),
            clusters: Mutex::default(),
            sight: Sight::default(),
            catalogs: Mutex::default(),
            lookups: Lookups::default(),
            stats: Arc::default(),
            roll: Arc::default(),
            holds: Mutex::default(),
            leaving: Mutex::default(),
        });
        backends.note_splits(&config);
        backends
    }

    /// Remembers system identifiers and timelines in this file. Before anything is watched.
    pub fn keep_state_in(&self, path: &Path) -> Result<(), String> {
        self.sight.state.keep_in(path)
    }

            holding: watch::Sender::new(()),
    pub fn ground(&self) -> Ground {
        self.ground.read().clone()
    }

    /// The pool for a client of this user in this database (the config's name); None if the config does not know it.
    pub fn pool(&self, name: &str, client_user: &str) -> Option<Arc<Backed>> {
        loop {
            let ground = self.ground();
            let database = ground.config.database(name)?;
            let user = database.user.as_deref().unwrap_or(client_user);
            let key = (name.to_owned(), user.to_owned());
            if let Some(found) = self.pools.get(&key) {
                return Some(found);
            }
            // Made outside the registry's lock, since a pool may begin to dial at once; of two made at the same moment
            // the second one is dropped unused.
            let made = self.make(&ground, name, database, user);
            let found = self.add(key.clone(), made);
            if self.is_current(&ground) {
                return Some(found);
            }
            // A reload came in between and may not have seen it.
            self.pools.remove(&key);
            self.see_off(&found);
            found.retire();
        }
    }

    fn add(&self, key: Key, made: Arc<Backed>) -> Arc<Backed> {
        let holds = self.holds.lock();
        let found = self.pools.or_make(key, || made);
        let held = holds.holds(&found.backend.database);
        found.pools().for_each(|pool| pool.pause(held));
        found
    }

    pub(super) fn me(&self) -> Option<Arc<Backends>> {
        self.me.upgrade()
    }

    pub(super) fn is_current(&self, ground: &Ground) -> bool {
        Arc::ptr_eq(&ground.config, &self.ground.read().config)
    }

    fn make(&self, ground: &Ground, name: &str, database: &Database, user: &str) -> Arc<Backed> {
        let cluster = self.cluster(ground, name, database);
        let backend = Arc::new(Backend {
            database: name.to_owned(),
            dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
            credentials: Arc::new(Credentials::new(user, secret(ground, database, user))),
            recipe: RwLock::new(Arc::new(recipe(ground, database, &self.sight.names))),
            cluster: cluster.clone(),
            reported: watch::Sender::new(None),
            all: Weak::clone(&self.me),
            tally: self.tally(name, database, user),
            roll: Arc::clone(&self.roll),
        });
        let serving = serving(database, cluster.as_deref());
        let caps: Vec<_> =
            addresses(database).into_iter().map(|address| self.caps(ground, name, database, user, address)).collect();
        let (witness, split) = self.split(ground, name, database, &backend, &caps);
        let behind = Behind { backend: Arc::clone(&backend), follow: Follow::Primary };
        let pool = Pool::new(serving, limits(ground, database, user), caps, Box::new(behind));
        if let Some(cluster) = cluster {
            cluster.join(&pool, Follow::Primary);
        }
        let backed = Arc::new(Backed { pool, backend, split, witness, retired: AtomicBool::new(false) });
        let held = self.holds.lock().holds(name);
        backed.pools().for_each(|pool| pool.pause(held));
        backed
    }

    fn caps(&self, ground: &Ground, name: &str, database: &Database, user: &str, address: &Address) -> Caps {
        let config = &ground.config;
        let per_database = config.max_db_connections(database);
        let per_user = config.max_user_connections(config.user(user));
        vec![
            self.gauge(GaugeKey::Database(name.to_owned(), address.clone()), per_database),
            self.gauge(GaugeKey::User(user.to_owned(), address.clone()), per_user),
        ]
    }

    fn gauge(&self, key: GaugeKey, limit: usize) -> Arc<Gauge> {
        let mut gauges = self.gauges.lock();
        let gauge = gauges.entry(key).or_insert_with(|| Arc::new(Gauge::new(limit)));
        gauge.set_limit(limit);
        Arc::clone(gauge)
    }

    /// The cluster of a `servers` list, watched from its first use on. `host` has none: nobody asks it for a role.
    pub fn cluster(&self, ground: &Ground, name: &str, database: &Database) -> Option<Arc<Cluster>> {
        let watch = Watch::of(&ground.config, name, database)?;
        let mut clusters = self.clusters.lock();
        let found = clusters.iter().find(|(known, _)| *known == watch).map(|(_, cluster)| Arc::clone(cluster));
        let cluster = found.clone().unwrap_or_else(|| watch.cluster(&self.sight));
        watch.offer(&cluster, name, database);
        if found.is_none() {
            watch.start(&cluster, &ground.userlist, routes(ground, database, &self.sight.names));
            // One made from a config that a reload has just replaced serves its caller only.
            if self.is_current(ground) {
                clusters.push((watch, Arc::clone(&cluster)));
            }
        }
        Some(cluster)
    }

    /// When this database was last written to, by whatever name of the config: `host` and `servers` alike.
    pub fn writes(&self, name: &str, database: &Database) -> Arc<Writes> {
        let dbname = database.dbname.as_deref().unwrap_or(name);
        self.sight.books.of(addresses(database).into_iter()).writes(dbname, self.sight.clock.now())
    }

    /// Begins to watch the servers of every database, so that roles are known before the first client comes.
    pub fn watch_all(&self) {
        let ground = self.ground();
        for (name, database) in ground.config.databases.iter().filter(|(name, _)| *name != "*") {
            self.cluster(&ground, name, database);
        }
    }

    /// A cap is full: some other pool under it gives up an idle connection. Whether there was one.
    pub fn make_room(&self, whose: &Backend, full: &Arc<Gauge>) -> bool {
        let others = self.pools.all().into_iter().filter(|(_, backed)| !std::ptr::eq(&*backed.backend, whose));
        others.into_iter().any(|(_, backed)| backed.pools().any(|pool| pool.evict(full)))
    }

    /// The janitor's round over all pools.
    pub fn tend(&self) {
        for (_, backed) in self.pools.all() {
            backed.pools().for_each(|pool| pool.tend());
        }
        self.lookups.tend();
    }

    /// Forgets pools that clients brought into being by names of their own choice (`*`), once they hold no connection
    /// and nobody uses them.
    pub fn sweep(&self) {
        let config = self.ground().config;
        let named = |name: &str| config.databases.contains_key(name);
        self.pools.retain(|(name, _), backed| {
            let used = Arc::strong_count(backed) > 1 || backed.pools().any(|pool| pool.census() != Census::default());
            used || named(name)
        });
        let wanted = watches(&config);
        self.clusters.lock().retain(|(watch, cluster)| wanted.contains(watch) || Arc::strong_count(cluster) > 1);
        self.sight.books.sweep();
        self.lookups.sweep();
        self.sweep_catalogs();
        self.stats.sweep(named);
        self.gauges.lock().retain(|_, gauge| Arc::strong_count(gauge) > 1);
    }

    pub fn all(&self) -> Vec<Arc<Backed>> {
        self.pools.all().into_iter().map(|(_, backed)| backed).collect()
    }

    /// A checked reload takes effect: pools whose definition changed are retired, the others get their new bounds.
    pub fn change(&self, ground: Ground) {
        let old = std::mem::replace(&mut *self.ground.write(), ground.clone());
        self.drop_changed_clusters(&old, &ground);
        for (key, backed) in self.pools.all() {
            let (name, user) = (&key.0, &key.1);
            let before = old.config.database(name);
            match ground.config.database(name) {
                Some(now) if before.is_some_and(|before| !redefined(name, (&old, before), (&ground, now), user)) => {
                    *backed.backend.recipe.write() = Arc::new(recipe(&ground, now, &self.sight.names));
                    addresses(now).into_iter().for_each(|address| {
                        self.caps(&ground, name, now, user, address);
                    });
                    backed.pool.set_limits(limits(&ground, now, user));
                    self.reform(&ground, &backed, now);
                }
                _ => {
                    self.pools.remove(&key);
                    self.see_off(&backed);
                    backed.retire();
                }
            }
        }
        self.lookups.clear();
        self.watch_all();
        self.note_splits(&ground.config);
    }

    fn drop_changed_clusters(&self, old: &Ground, new: &Ground) {
        let config = &new.config;
        let wanted = watches(config);
        let same_tls = old.server_tls == new.server_tls;
        self.clusters.lock().retain(|(watch, cluster)| {
            let made_up = || watch.only.as_deref().and_then(|name| Watch::of(config, name, config.database(name)?));
            let keep = same_tls && (wanted.contains(watch) || made_up().as_ref() == Some(watch));
            if !keep {
                cluster.retire();
            }
            keep
        });
    }
}

/// What the databases of the config watch; names that clients make up come on top.
fn watches(config: &Config) -> Vec<Watch> {
    let named = config.databases.iter().filter(|(name, _)| *name != "*");
    named.filter_map(|(name, database)| Watch::of(config, name, database)).collect()
}

/// Whether a pool's connections would come out differently: PgBouncer recycles on the same changes (1.8).
fn redefined(name: &str, old: (&Ground, &Database), new: (&Ground, &Database), user: &str) -> bool {
    let of = |(ground, database): (&Ground, &Database)| {
        let names = (database.dbname.clone(), database.user.clone(), database.connect_query.clone());
        let watch = Watch::of(&ground.config, name, database);
        (database.target.clone(), names, database.server_parameters.clone(), secret(ground, database, user), watch)
    };
    of(old) != of(new) || old.0.server_tls != new.0.server_tls
}

/// Which servers a new pool lends connections to.
pub(super) fn serving(database: &Database, cluster: Option<&Cluster>) -> Serving {
    match (&database.target, cluster) {
        (_, Some(cluster)) => cluster.serving(),
        (Target::Hosts { load_balance, .. }, None) => Serving::Any { balance: *load_balance },
        (Target::Servers(_), None) => Serving::Nobody,
    }
}

pub(super) fn addresses(database: &Database) -> Vec<&Address> {
    match &database.target {
        Target::Hosts { servers, .. } => servers.iter().collect(),
        Target::Servers(servers) => servers.iter().map(|listed| &listed.address).collect(),
    }
}

pub(super) fn routes(ground: &Ground, database: &Database, names: &Arc<Names>) -> Vec<Route> {
    let global: Arc<Global> = Arc::new(ground.config.global.clone());
    let route = |address: &Address| Route {
        address: address.clone(),
        tls: ground.server_tls.clone(),
        global: Arc::clone(&global),
        names: Arc::clone(names),
    };
    addresses(database).into_iter().map(route).collect()
}

fn recipe(ground: &Ground, database: &Database, names: &Arc<Names>) -> Recipe {
    Recipe {
        routes: routes(ground, database, names),
        parameters: database.server_parameters.clone(),
        connect_query: database.connect_query.clone(),
        max_prepared_statements: ground.config.global.max_prepared_statements,
    }
}

pub(super) fn limits(ground: &Ground, database: &Database, user: &str) -> Limits {
    let (config, overrides) = (&ground.config, ground.config.user(user));
    Limits {
        size: config.pool_size(database, overrides),
        min_size: config.min_pool_size(database),
        reserve: config.reserve_pool_size(database, overrides),
        reserve_after: config.global.reserve_pool_timeout,
        round_robin: config.global.server_round_robin,
        lifetime: config.server_lifetime(database),
        idle_timeout: config.global.server_idle_timeout,
        retry_cap: config.global.server_login_retry,
    }
}

/// The server password: the database's own for its forced user, else the user's in auth_file.
fn secret(ground: &Ground, database: &Database, user: &str) -> Secret {
    match (&database.user, &database.password) {
        (Some(forced), Some(password)) if forced == user => Secret::parse(&password.0),
        _ => ground.userlist.secret(user).cloned().unwrap_or(Secret::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::super::holds::Mode;
    use super::*;
    use crate::config::Nowhere;

    fn backends() -> Arc<Backends> {
        let text = "[pgweir]\nauth_file = 'x'\n[databases.known]\nhost = '127.0.0.1'\nport = 1\n\
                    [databases.'*']\nhost = '127.0.0.1'\nport = 1\n";
        Backends::new(Ground {
            config: Arc::new(Nowhere::config(text).expect("a sound file")),
            userlist: Arc::default(),
            server_tls: None,
            server_tls_stamp: Arc::default(),
        })
    }

    #[tokio::test]
    async fn pools_of_made_up_names_go_once_nobody_uses_them() {
        let backends = backends();
        let held = backends.pool("held", "ann");
        for name in ["known", "made up", "another"] {
            assert!(backends.pool(name, "ann").is_some());
        }
        backends.sweep();
        let names = |backends: &Backends| {
            let mut names: Vec<_> = backends.all().iter().map(|backed| backed.backend.database.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&backends), ["held", "known"]);
        assert_eq!(backends.gauges.lock().len(), 3, "one for each database, one for the user");
        drop(held);
        backends.sweep();
        assert_eq!(names(&backends), ["known"]);
    }

    #[tokio::test]
    async fn a_pool_made_during_a_pause_follows_the_resume() {
        let backends = backends();
        assert!(backends.hold_all(Mode::Paused));
        let backed = backends.pool("known", "ann").expect("a pool");
        let seat = Arc::default();
        let _waiting = backed.pool.checkout(&seat);
        assert_eq!(backed.pool.census().dialling, 0);
        assert!(backends.release_all());
        assert_eq!(backed.pool.census().dialling, 1);
    }
}

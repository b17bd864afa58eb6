//! All pools of the process: made when a client first asks, changed or retired by a reload.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::backend::{Backend, Behind, Made, Recipe};
use super::change;
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
    /// Since when nobody uses it, as of the last sweep.
    idle_since: Mutex<Option<Instant>>,
}

impl Backed {
    pub(super) fn new(
        pool: Arc<Pool<Server>>,
        backend: Arc<Backend>,
        split: Option<Arc<Split>>,
        witness: Arc<Witness>,
    ) -> Backed {
        let (retired, idle_since) = (AtomicBool::new(false), Mutex::default());
        Backed { pool, backend, split, witness, retired, idle_since }
    }

    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// How long it has not been used, by what is so now; None: it is.
    fn rested(&self, used: bool) -> Option<Duration> {
        let mut since = self.idle_since.lock();
        *since = if used { None } else { since.or_else(|| Some(Instant::now())) };
        since.map(|since| since.elapsed())
    }

    /// Who waits in it is sent away, and looks for another pool or learns that there is none.
    pub(super) fn retire(&self) {
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
    pub(super) ground: RwLock<Ground>,
    pub(super) pools: Registry<Backed>,
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
    pub(super) holding: watch::Sender<()>,
    pub(super) leaving: Mutex<Leaving>,
}

/// Caps count per server.
#[derive(Clone, PartialEq, Eq, Hash)]
enum GaugeKey {
    Database(String, Address),
    User(String, Address),
}

impl Backends {
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
            holding: watch::Sender::new(()),
            leaving: Mutex::default(),
        });
        backends.note_splits(&config);
        backends
    }

    /// Remembers system identifiers and timelines in this file. Before anything is watched.
    pub fn keep_state_in(&self, path: &Path) -> Result<(), String> {
        self.sight.state.keep_in(path)
    }

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

    pub(super) fn add(&self, key: Key, made: Arc<Backed>) -> Arc<Backed> {
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

    pub(super) fn make(&self, ground: &Ground, name: &str, database: &Database, user: &str) -> Arc<Backed> {
        let cluster = self.cluster(ground, name, database);
        let made = Made {
            database: name.to_owned(),
            dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
            credentials: Arc::new(Credentials::new(user, secret(ground, database, user))),
            cluster: cluster.clone(),
            all: Weak::clone(&self.me),
            tally: self.tally(name, database, user),
            roll: Arc::clone(&self.roll),
            replication: None,
        };
        let backend = Arc::new(Backend::new(made, recipe(ground, database, &self.sight.names)));
        let serving = serving(database, cluster.as_deref());
        let caps: Vec<_> =
            addresses(database).into_iter().map(|address| self.caps(ground, name, database, user, address)).collect();
        let (witness, split) = self.split(ground, name, database, &backend, &caps);
        let behind = Behind { backend: Arc::clone(&backend), follow: Follow::Primary };
        let pool = Pool::new(serving, limits(ground, database, user), caps, Box::new(behind));
        if let Some(cluster) = cluster {
            cluster.join(&pool, Follow::Primary);
        }
        let backed = Arc::new(Backed::new(pool, backend, split, witness));
        let held = self.holds.lock().holds(name);
        backed.pools().for_each(|pool| pool.pause(held));
        backed
    }

    pub(super) fn caps(&self, ground: &Ground, name: &str, database: &Database, user: &str, address: &Address) -> Caps {
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

    /// Forgets pools that hold no connection and that nobody has used for long, among them those that clients brought into
    /// being by names of their own choice (`*`).
    pub fn sweep(&self) {
        let config = self.ground().config;
        let named = |name: &str| config.databases.contains_key(name);
        self.pools.retain(|(name, _), backed| {
            let used = Arc::strong_count(backed) > 1 || backed.pools().any(|pool| pool.census() != Census::default());
            let limit = idle_limit(&config, name);
            backed.rested(used).is_none_or(|rested| limit.is_none_or(|limit| rested < limit))
        });
        let wanted = change::watches(&config);
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
}

/// How long a pool of this name may rest; None: for ever. Where a client's own choice of a name is watched by itself its
/// monitors go with it, at once.
fn idle_limit(config: &Config, name: &str) -> Option<Duration> {
    let database = config.database(name)?;
    match config.databases.contains_key(name) {
        true if config.min_pool_size(database) > 0 => None,
        true => config.global.pool_idle_timeout,
        false if Watch::of(config, name, database).is_some_and(|watch| watch.only.is_some()) => Some(Duration::ZERO),
        false => config.global.autodb_idle_timeout,
    }
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

pub(super) fn recipe(ground: &Ground, database: &Database, names: &Arc<Names>) -> Recipe {
    Recipe {
        routes: routes(ground, database, names),
        parameters: database.server_parameters.clone(),
        connect_query: database.connect_query.clone(),
        max_prepared_statements: ground.config.global.max_prepared_statements,
        check_query: ground.config.global.server_check_query.clone().unwrap_or_default(),
        reset_query: reset_query(&ground.config.global),
    }
}

/// What is sent whenever a connection comes back.
fn reset_query(global: &Global) -> Option<String> {
    let query = &global.server_reset_query;
    (global.server_reset_query_always && !query.is_empty()).then(|| query.clone())
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
        check_after: config.global.server_check_query.as_ref().map(|_| config.global.server_check_delay),
        retry_cap: config.global.server_login_retry,
    }
}

/// The server password: the database's own for its forced user, else the user's in auth_file.
pub(super) fn secret(ground: &Ground, database: &Database, user: &str) -> Secret {
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
        let text = "[pgweir]\nauth_file = 'x'\nautodb_idle_timeout = '1ms'\n[databases.known]\nhost = '127.0.0.1'\nport = 1\n\
                    [databases.'*']\nhost = '127.0.0.1'\nport = 1\n";
        Backends::new(Ground {
            config: Arc::new(Nowhere::config(text).expect("a sound file")),
            userlist: Arc::default(),
            server_tls: None,
            server_tls_stamp: Arc::default(),
        })
    }

    /// The first look finds that nobody uses it, the second one that it is over.
    async fn sweep(backends: &Backends) {
        backends.sweep();
        tokio::time::sleep(Duration::from_millis(2)).await;
        backends.sweep();
    }

    #[tokio::test]
    async fn pools_of_made_up_names_go_once_nobody_uses_them() {
        let backends = backends();
        let held = backends.pool("held", "ann");
        for name in ["known", "made up", "another"] {
            assert!(backends.pool(name, "ann").is_some());
        }
        sweep(&backends).await;
        let names = |backends: &Backends| {
            let mut names: Vec<_> = backends.all().iter().map(|backed| backed.backend.database.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&backends), ["held", "known"]);
        assert_eq!(backends.gauges.lock().len(), 3, "one for each database, one for the user");
        drop(held);
        sweep(&backends).await;
        assert_eq!(names(&backends), ["known"]);
    }

    #[test]
    fn how_long_a_pool_may_rest() {
        let text = "[pgweir]\nauth_type = 'trust'\npool_idle_timeout = 3\nautodb_idle_timeout = 5\nprobe_user = 'p'\n\
                    [databases.named]\nhost = 'h'\n[databases.kept]\nhost = 'h'\nmin_pool_size = 1\n";
        let limit = |rest: &str, name: &str| {
            let config = Nowhere::config(&format!("{text}{rest}")).expect("a sound file");
            idle_limit(&config, name).map(|limit| limit.as_secs())
        };
        let star = "[databases.'*']\nhost = 'h'\n";
        let watched = "[databases.'*']\nservers = 'h:1'\n";
        assert_eq!((limit("", "named"), limit("", "kept")), (Some(3), None));
        assert_eq!((limit(star, "made up"), limit(star, "named")), (Some(5), Some(3)));
        assert_eq!(limit(watched, "made up"), Some(0));
    }

    #[tokio::test]
    async fn a_pool_made_during_a_pause_follows_the_resume() {
        let backends = backends();
        assert!(backends.hold_all(Mode::Paused));
        let backed = backends.pool("known", "ann").expect("a pool");
        let mut seat = None;
        let _waiting = backed.pool.checkout(&mut seat);
        assert_eq!(backed.pool.census().dialling, 0);
        assert!(backends.release_all());
        assert_eq!(backed.pool.census().dialling, 1);
    }
}

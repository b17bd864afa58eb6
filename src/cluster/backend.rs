//! How one pool gets its connections: whom it logs in as, where, and what a login taught.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::answer::{self, Row, column, lsn};
use super::backends::Backends;
use super::decide::Seen;
use super::probe;
use super::told::{Reported, Told};
use super::{Cluster, Follow};
use crate::error::{Error, Kind, Side};
use crate::net::talk::Talk;
use crate::pool::{Dialler, Gauge, Lease, Lent, Permit, Pool};
use crate::server::connect::Route;
use crate::server::login::{self, Credentials, LoggedIn, Plan};
use crate::server::roll::Roll;
use crate::server::{Server, cleanup};
use crate::stats::Tally;
use crate::wire::startup::Replication;

/// What all logins of one pool share; replaced by a reload.
pub struct Recipe {
    pub routes: Vec<Route>,
    pub parameters: Vec<(String, String)>,
    pub connect_query: Option<String>,
    pub max_prepared_statements: usize,
    /// Asks a connection that has rested whether it is good.
    pub check_query: String,
    /// Sent whenever a connection comes back; None: only where a session ends.
    pub reset_query: Option<String>,
}

/// Behind one pool.
pub struct Backend {
    /// The name in the config, and the one on the server.
    pub database: String,
    pub dbname: String,
    pub credentials: Arc<Credentials>,
    recipe: RwLock<Arc<Recipe>>,
    /// The recipe has a `reset_query`.
    resets: AtomicBool,
    pub cluster: Option<Arc<Cluster>>,
    /// What new clients are told.
    pub told: Told,
    pub all: Weak<Backends>,
    pub tally: Arc<Tally>,
    pub roll: Arc<Roll>,
    /// Its one connection is such a one.
    pub replication: Option<Replication>,
}

/// What a backend keeps for its life.
pub struct Made {
    pub database: String,
    pub dbname: String,
    pub credentials: Arc<Credentials>,
    pub cluster: Option<Arc<Cluster>>,
    pub all: Weak<Backends>,
    pub tally: Arc<Tally>,
    pub roll: Arc<Roll>,
    pub replication: Option<Replication>,
}

/// The pool's own handle on it, and which servers the pool is for.
pub struct Behind {
    pub backend: Arc<Backend>,
    /// Without a cluster nobody asks.
    pub follow: Follow,
}

impl Dialler<Server> for Behind {
    fn dial(&self, permit: Permit<Server>) {
        let (backend, follow) = (Arc::clone(&self.backend), self.follow);
        tokio::spawn(async move { backend.open(permit, follow).await });
    }

    fn check(&self, lease: Lease<Server>) {
        let query = self.backend.recipe().check_query.clone();
        tokio::spawn(cleanup::run(lease, vec![query]));
    }

    fn make_room(&self, full: &Arc<Gauge>) -> bool {
        self.backend.all.upgrade().is_some_and(|all| all.make_room(&self.backend, full))
    }
}

impl Backend {
    /// All but what it is `made` of.
    pub fn new(made: Made, recipe: Recipe) -> Backend {
        let Made { database, dbname, credentials, cluster, all, tally, roll, replication } = made;
        let resets = AtomicBool::new(recipe.reset_query.is_some());
        let (recipe, told) = (RwLock::new(Arc::new(recipe)), Told::default());
        Backend { database, dbname, credentials, recipe, resets, cluster, told, all, tally, roll, replication }
    }

    pub(super) fn recipe(&self) -> Arc<Recipe> {
        Arc::clone(&self.recipe.read())
    }

    /// A reload says so.
    pub fn set_recipe(&self, recipe: Recipe) {
        self.resets.store(recipe.reset_query.is_some(), Ordering::Relaxed);
        *self.recipe.write() = Arc::new(recipe);
    }

    /// What each connection is sent that comes back. Takes no lock where there is none.
    pub fn reset_query(&self) -> Option<String> {
        if !self.resets.load(Ordering::Relaxed) {
            return None;
        }
        self.recipe().reset_query.clone()
    }

    /// One dial, from permit to pool.
    async fn open(&self, permit: Permit<Server>, follow: Follow) {
        let node = permit.node();
        let pool = Arc::clone(permit.pool());
        let (meter, began) = (self.tally.at(node), Instant::now());
        let error = match self.log_in(node, follow).await {
            Ok(mut found) => {
                meter.connected(began.elapsed().as_micros() as u64);
                found.server.enrol(&self.roll, &permit, &self.tally, self.replication);
                // A standby reports itself, which clients are not to believe of the primary.
                if follow == Follow::Primary {
                    self.told.hear(found.reported);
                }
                return permit.deliver(Box::new(found.server), found.settled);
            }
            Err(error) => error,
        };
        meter.not_connected();
        tracing::warn!(database = self.database, user = self.credentials.user, "server login failed: {error}");
        // Nobody else's login could go better.
        if is_final(&error) || self.replication.is_some() && error.said.is_some() {
            pool.dismiss(&error);
        }
        let pause = permit.fail(error);
        wait_and_pump(&pool, pause).await;
    }

    async fn log_in(&self, node: usize, follow: Follow) -> Result<LoggedIn, Error> {
        let plan = self.plan(node).ok_or_else(|| Error::desync("the server is not in the config any more"))?;
        let outcome = login::login(&plan).await;
        match &self.cluster {
            Some(cluster) => {
                let limit = plan.route.global.server_connect_timeout;
                let checked = tokio::time::timeout(limit, self.check_role(cluster, node, follow, outcome)).await;
                checked.unwrap_or_else(|_| Err(Error::new(Kind::ServerGone, Side::Server).because("no answer")))
            }
            None => outcome,
        }
    }

    fn plan(&self, node: usize) -> Option<Plan> {
        let recipe = self.recipe();
        Some(Plan {
            route: recipe.routes.get(node)?.clone(),
            database: self.dbname.clone(),
            credentials: Arc::clone(&self.credentials),
            parameters: recipe.parameters.clone(),
            connect_query: recipe.connect_query.clone(),
            node,
            max_prepared_statements: recipe.max_prepared_statements,
            standing: self.cluster.as_ref().map(|cluster| cluster.standing(node)).unwrap_or_default(),
        })
    }

    /// The last fence: a connection is used only if its server has the role that the pool is for.
    async fn check_role(
        &self,
        cluster: &Cluster,
        node: usize,
        follow: Follow,
        outcome: Result<LoggedIn, Error>,
    ) -> Result<LoggedIn, Error> {
        let mut found = match outcome {
            Ok(found) => found,
            Err(error) => {
                cluster.refused(node, &error);
                return Err(error);
            }
        };
        let mut talk = Talk::new(found.server.stream);
        let fit = check(cluster, node, follow, &found.reported, &mut talk).await;
        found.server.stream = talk.into_parts().0;
        match fit {
            Ok(()) => Ok(found),
            Err(error) => {
                found.server.part();
                Err(error)
            }
        }
    }
}

/// Whether a server that has just been logged in to has the role that is looked for. Not cancel-safe.
async fn check(
    cluster: &Cluster,
    node: usize,
    follow: Follow,
    reported: &Reported,
    talk: &mut Talk,
) -> Result<(), Error> {
    let in_recovery = match reported.iter().find(|(name, _)| name == "in_hot_standby") {
        Some((_, value)) => value == "on",
        // Before PostgreSQL 14 it is not reported.
        None => answer::role(&probe::ask(talk, b"select pg_catalog.pg_is_in_recovery()").await?)?,
    };
    cluster.see(node, Seen::InRecovery(in_recovery));
    match follow {
        Follow::Primary if in_recovery => Err(Error::desync("the server is in recovery")),
        Follow::Standby(_) if !in_recovery => Err(Error::desync("the server is not in recovery")),
        Follow::Primary => Ok(()),
        Follow::Standby(_) => {
            same_version(cluster, reported)?;
            let row = probe::ask(talk, STANDBY).await?;
            cluster.opened(node, usable(&row)?);
            Ok(())
        }
    }
}

/// Under serializable a standby refuses every statement, this one among them (0A000).
const STANDBY: &[u8] = b"select pg_catalog.current_setting('default_transaction_isolation'), \
    pg_catalog.pg_last_wal_replay_lsn()";

fn same_version(cluster: &Cluster, reported: &[(String, String)]) -> Result<(), Error> {
    match (cluster.major(), answer::major(reported)) {
        (Some(primary), Some(own)) if primary != own => {
            Err(Error::desync("the standby is of another major version than the primary"))
        }
        _ => Ok(()),
    }
}

/// How far the standby had replayed, if reads can run there at all.
fn usable(row: &Row) -> Result<u64, Error> {
    if column(row, 0) == Some("serializable") {
        return Err(Error::desync("default_transaction_isolation is serializable, which no standby serves"));
    }
    column(row, 1).and_then(lsn).ok_or_else(|| Error::desync("a standby without a replay position"))
}

/// A server's own answer ends the wait of everybody in the queue, unless it may change within moments: starting up or
/// shutting down (57P03), no free slot (53300), an operator's shutdown (57P01).
fn is_final(error: &Error) -> bool {
    match &error.said {
        Some(said) => !["57P03", "53300", "57P01", "57P02"].contains(&said.sqlstate.as_str()),
        None => error.kind == Kind::ServerLogin,
    }
}

async fn wait_and_pump(pool: &Arc<Pool<Server>>, pause: Duration) {
    tokio::time::sleep(pause).await;
    pool.pump();
}

//! A pool of one connection for one client. A replication connection is nobody else's before its client or after it, and
//! what its client said at login goes to the server as it is.

use std::sync::Arc;

use super::Follow;
use super::backend::{Backend, Behind, Made, Recipe};
use super::backends::{Backed, Backends, addresses, limits, serving};
use crate::pool::Pool;
use crate::pool::core::Limits;
use crate::wire::startup::Replication;

impl Backends {
    /// Not among the other pools, but under the same caps (`max_db_connections`, `max_user_connections`), and with the primary
    /// as its only server. None: a reload has just removed its database.
    pub fn dedicated(
        &self,
        like: &Backed,
        replication: Replication,
        parameters: &[(String, String)],
    ) -> Option<Arc<Backed>> {
        let ground = self.ground();
        let Backed { backend, witness, .. } = like;
        let (name, user) = (&backend.database, &backend.credentials.user);
        let database = ground.config.database(name)?;
        let recipe = backend.recipe().for_replication(replication, parameters);
        let made = Made {
            database: name.clone(),
            dbname: backend.dbname.clone(),
            credentials: Arc::clone(&backend.credentials),
            cluster: backend.cluster.clone(),
            all: backend.all.clone(),
            tally: Arc::clone(&backend.tally),
            roll: Arc::clone(&backend.roll),
            replication: Some(replication),
        };
        let backend = Arc::new(Backend::new(made, recipe));
        let caps = addresses(database).into_iter().map(|address| self.caps(&ground, name, database, user, address));
        let limits = Limits { size: 1, min_size: 0, reserve: 0, check_after: None, ..limits(&ground, database, user) };
        let behind = Behind { backend: Arc::clone(&backend), follow: Follow::Primary };
        let pool = Pool::new(serving(database, backend.cluster.as_deref()), limits, caps.collect(), Box::new(behind));
        if let Some(cluster) = &backend.cluster {
            cluster.join(&pool, Follow::Primary);
        }
        pool.pause(self.holds.lock().holds(name));
        Some(Arc::new(Backed::new(pool, backend, None, Arc::clone(witness))))
    }
}

impl Recipe {
    /// The client's own parameters win. A walsender of the whole cluster runs no SQL, `connect_query` included.
    fn for_replication(&self, replication: Replication, parameters: &[(String, String)]) -> Recipe {
        let own = |name: &str| parameters.iter().any(|(known, _)| known == name);
        let ours = self.parameters.iter().filter(|(name, _)| !own(name));
        Recipe {
            routes: self.routes.clone(),
            parameters: ours.chain(parameters).cloned().collect(),
            connect_query: self.connect_query.clone().filter(|_| replication == Replication::Logical),
            max_prepared_statements: self.max_prepared_statements,
            check_query: String::new(),
            reset_query: None,
        }
    }
}

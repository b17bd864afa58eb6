//! What a reload makes of the pools: those whose definition changed are replaced, the others get their new bounds. And
//! their end.

use std::sync::Arc;

use super::backends::{Backed, Backends, Ground, addresses, limits, recipe, secret};
use super::told::Bequest;
use super::watched::Watch;
use crate::config::{Config, Database};
use crate::pool::registry::Key;

impl Backends {
    /// A checked reload takes effect: pools whose definition changed are retired, the others get their new bounds.
    pub fn change(&self, ground: Ground) {
        let old = std::mem::replace(&mut *self.ground.write(), ground.clone());
        self.drop_changed_clusters(&old, &ground);
        for (key, backed) in self.pools.all() {
            let (name, user) = (&key.0, &key.1);
            let before = old.config.database(name);
            match ground.config.database(name) {
                Some(now) if before.is_some_and(|before| !redefined(name, (&old, before), (&ground, now), user)) => {
                    backed.backend.set_recipe(recipe(&ground, now, &self.sight.names));
                    addresses(now).into_iter().for_each(|address| {
                        self.caps(&ground, name, now, user, address);
                    });
                    backed.pool.set_limits(limits(&ground, now, user));
                    self.reform(&ground, &backed, now);
                }
                _ => {
                    let bequest = Bequest::between(&old, &ground, name, user);
                    self.replace(key, &backed, bequest);
                }
            }
        }
        self.lookups.clear();
        self.watch_all();
        self.note_splits(&ground.config);
    }

    /// The process ends: idle connections are closed in good order, and nothing is watched any more.
    pub fn close(&self) {
        self.all().iter().for_each(|backed| backed.retire());
        self.lookups.clear();
        self.clusters.lock().iter().for_each(|(_, cluster)| cluster.retire());
    }

    /// A pool goes. Where its word is worth something another one takes its place at once.
    fn replace(&self, key: Key, backed: &Arc<Backed>, bequest: Bequest) {
        self.pools.remove(&key);
        if bequest != Bequest::Nothing {
            let ground = self.ground();
            if let Some(database) = ground.config.database(&key.0) {
                let heir = self.make(&ground, &key.0, database, &key.1);
                heir.backend.told.inherit(&backed.backend.told, bequest);
                self.add(key, heir);
            }
        }
        self.see_off(backed);
        backed.retire();
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
pub(super) fn watches(config: &Config) -> Vec<Watch> {
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

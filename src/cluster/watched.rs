//! What is watched, and by whom: databases of the config with the same servers and probe share one cluster.

use std::sync::Arc;
use std::time::Duration;

use super::Cluster;
use super::probe::Monitor;
use crate::auth::{Secret, Userlist};
use crate::config::{Config, Database, Global, Listed, Probe, Target};
use crate::server::connect::Route;
use crate::server::login::{Credentials, Plan};

/// For monitors only: on other connections it would end those whose server has no room for more data for a while.
const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// A list of servers and how they are asked. Clusters with the same one are one.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    servers: Vec<Listed>,
    zone: Option<String>,
    probe: Option<Probe>,
    interval: Duration,
    timeout: Duration,
    failures: u32,
    /// A name that a client made up (`*`) and that is the probe's database too: a wrong one must not harm the others.
    pub only: Option<String>,
}

impl Watch {
    /// `None`: nobody asks a `host` for its role. `name` is what clients call the database.
    pub fn of(config: &Config, name: &str, database: &Database) -> Option<Watch> {
        let Target::Servers(servers) = &database.target else { return None };
        let global = &config.global;
        let probe = config.probe(database);
        let placed = database.dbname.is_some() || probe.is_none_or(|probe| probe.dbname.is_some());
        let only = (!placed && !config.databases.contains_key(name)).then(|| name.to_owned());
        Some(Watch {
            servers: servers.clone(),
            zone: global.zone.clone(),
            probe: probe.cloned(),
            interval: global.probe_interval,
            timeout: global.probe_timeout,
            failures: global.probe_failures,
            only,
        })
    }

    /// The cluster, not looked at yet.
    pub fn cluster(&self, sight: &super::Sight) -> Arc<Cluster> {
        Cluster::new(&self.servers, self.zone.as_deref(), self.failures, self.probe.is_some(), sight)
    }

    /// One more database behind these servers: monitors may log in there too.
    pub fn offer(&self, cluster: &Cluster, name: &str, database: &Database) {
        let Some(probe) = &self.probe else { return };
        let own = probe.dbname.as_deref().or(database.dbname.as_deref());
        cluster.offer_place(own.unwrap_or(name));
    }

    /// Begins to look, with one task for each server. They end with the cluster.
    pub fn start(&self, cluster: &Arc<Cluster>, userlist: &Userlist, routes: Vec<Route>) {
        for mut plan in self.plans(userlist, routes, "").unwrap_or_default() {
            let tcp_user_timeout = USER_TIMEOUT;
            plan.route.global = Arc::new(Global { tcp_user_timeout, ..(*plan.route.global).clone() });
            tokio::spawn(Monitor::new(cluster, plan, self.interval, self.timeout).run());
        }
    }

    /// How the probe's role logs in to each server; None: there is no such role.
    pub fn plans(&self, userlist: &Userlist, routes: Vec<Route>, dbname: &str) -> Option<Vec<Plan>> {
        let who = self.probe.as_ref()?;
        let secret = match &who.password {
            Some(password) => Secret::parse(&password.0),
            None => userlist.secret(&who.user).cloned().unwrap_or(Secret::Missing),
        };
        let credentials = Arc::new(Credentials::new(&who.user, secret));
        let plan = |(node, route)| Plan {
            route,
            database: dbname.to_owned(),
            credentials: Arc::clone(&credentials),
            parameters: vec![("application_name".to_owned(), "pgweir probe".to_owned())],
            connect_query: None,
            node,
            max_prepared_statements: 0,
            standing: Arc::default(),
        };
        Some(routes.into_iter().enumerate().map(plan).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Nowhere;

    fn config(text: &str) -> Config {
        let text = format!("[pgweir]\nauth_type = 'trust'\n{text}");
        Nowhere::config(&text).expect("a sound file")
    }

    fn watch(config: &Config, name: &str) -> Option<Watch> {
        Watch::of(config, name, config.database(name)?)
    }

    #[test]
    fn the_same_servers_and_probe_are_one_watch() {
        let config = config(
            "probe_user = 'p'\n[databases.a]\nservers = 'h:1, h:2'\n[databases.b]\nservers = ['h:1', 'h:2']\n\
             dbname = 'other'\nread_wait = 0\n[databases.c]\nservers = ['h:2', 'h:1']\n\
             [databases.d]\nservers = ['h:1', { host = 'h', port = 2, weight = 0 }]\n\
             [databases.e]\nservers = 'h:1, h:2'\nprobe_user = 'q'\n[databases.f]\nhost = 'h'\n",
        );
        let a = watch(&config, "a");
        assert!(a.is_some() && a == watch(&config, "b"));
        for other in ["c", "d", "e", "f"] {
            assert_ne!(a, watch(&config, other), "{other}");
        }
        assert_eq!(watch(&config, "f"), None);
    }

    #[test]
    fn a_made_up_name_is_watched_alone_where_the_probe_would_log_in_to_it() {
        let star = "[databases.a]\nservers = 'h:1'\n[databases.'*']\nservers = 'h:1'\n";
        let made_up = |text: &str| {
            let config = config(text);
            [watch(&config, "x"), watch(&config, "y"), watch(&config, "a")]
        };
        let [x, y, a] = made_up(&format!("probe_user = 'p'\n{star}"));
        assert!(x != y && x != a);
        for text in [format!("probe_user = 'p'\nprobe_dbname = 'd'\n{star}"), star.to_owned()] {
            let [x, y, a] = made_up(&text);
            assert!(x == y && x == a, "{text}");
        }
    }

    #[test]
    fn what_a_reload_changes_about_the_looks_is_another_watch() {
        let database = "[databases.a]\nservers = 'h:1, h:2'\n";
        let before = watch(&config(database), "a");
        assert_eq!(before, watch(&config(&format!("default_pool_size = 1\n{database}")), "a"));
        for line in ["zone = 'z'", "probe_user = 'p'", "probe_interval = 1", "probe_timeout = 1", "probe_failures = 1"]
        {
            assert_ne!(before, watch(&config(&format!("{line}\n{database}")), "a"), "{line}");
        }
    }
}

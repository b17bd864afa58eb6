//! [pure] Which value holds where several tables may give one. PgBouncer's precedence, written once.
//!
//! A user or database without a table of its own has only the defaults; callers pass `None` or use the name.

use std::time::Duration;

use super::{
    Config, Database, FailoverError, ListenFailover, MaxLag, Pinning, PoolMode, PrimaryReads, Probe, ReadConsistency,
    ReadWriteSplit, Target, UserOverrides,
};

impl Config {
    /// The database of that name, else the fallback `*`.
    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.get(name).or_else(|| self.databases.get("*"))
    }

    /// What `[users.NAME]` says.
    pub fn user(&self, name: &str) -> Option<&UserOverrides> {
        self.users.get(name)
    }

    /// Who asks this database's servers for their role; `None`: nobody does before a client's login teaches a key.
    pub fn probe<'a>(&'a self, database: &'a Database) -> Option<&'a Probe> {
        database.probe.as_ref().or(self.global.probe.as_ref())
    }

    /// User, then database, then global; off wherever `servers` does not name several.
    pub fn read_write_split(&self, database: &Database, user: Option<&UserOverrides>) -> ReadWriteSplit {
        if !matches!(&database.target, Target::Servers(list) if list.len() > 1) {
            return ReadWriteSplit::Off;
        }
        user.and_then(|user| user.read_write_split).or(database.reads.split).unwrap_or(self.global.reads.split)
    }

    /// Database, then global.
    pub fn read_consistency(&self, database: &Database) -> ReadConsistency {
        database.reads.consistency.unwrap_or(self.global.reads.consistency)
    }

    /// Database, then global. 0: a read never waits for a standby.
    pub fn read_wait(&self, database: &Database) -> Duration {
        database.reads.wait.unwrap_or(self.global.reads.wait)
    }

    /// Database, then global. Set wherever `read_consistency` is bounded.
    pub fn max_staleness(&self, database: &Database) -> Option<Duration> {
        database.reads.max_staleness.or(self.global.reads.max_staleness)
    }

    /// Database, then global.
    pub fn max_replica_lag(&self, database: &Database) -> MaxLag {
        database.reads.max_lag.unwrap_or(self.global.reads.max_lag)
    }

    /// Database, then global.
    pub fn deferred_begin(&self, database: &Database) -> bool {
        database.reads.deferred_begin.unwrap_or(self.global.reads.deferred_begin)
    }

    /// Database, then global.
    pub fn failover_error(&self, database: &Database) -> FailoverError {
        database.failover_error.unwrap_or(self.global.failover_error)
    }

    /// Database, then global.
    pub fn listen_failover(&self, database: &Database) -> ListenFailover {
        database.listen_failover.unwrap_or(self.global.listen_failover)
    }

    /// Database, then global.
    pub fn pinning(&self, database: &Database) -> Pinning {
        database.pinning.unwrap_or(self.global.pinning)
    }

    /// Database, then global.
    pub fn primary_reads(&self, database: &Database) -> PrimaryReads {
        database.reads.primary.unwrap_or(self.global.reads.primary)
    }

    /// User, then database, then global.
    pub fn pool_mode(&self, database: &Database, user: Option<&UserOverrides>) -> PoolMode {
        user.and_then(|user| user.pool_mode).or(database.pool_mode).unwrap_or(self.global.pool_mode)
    }

    /// User, then database, then `default_pool_size`. 0: unlimited.
    pub fn pool_size(&self, database: &Database, user: Option<&UserOverrides>) -> usize {
        user.and_then(|user| user.pool_size).or(database.pool_size).unwrap_or(self.global.default_pool_size)
    }

    /// Database, then global.
    pub fn min_pool_size(&self, database: &Database) -> usize {
        database.min_pool_size.unwrap_or(self.global.min_pool_size)
    }

    /// User, then database, then global. A `reserve_pool_timeout` of 0 turns the reserve off.
    pub fn reserve_pool_size(&self, database: &Database, user: Option<&UserOverrides>) -> usize {
        if self.global.reserve_pool_timeout.is_zero() {
            return 0;
        }
        let own = user.and_then(|user| user.reserve_pool_size).or(database.reserve_pool_size);
        own.unwrap_or(self.global.reserve_pool_size)
    }

    /// The database's where it is above 0, else global. 0: unlimited.
    pub fn max_db_connections(&self, database: &Database) -> usize {
        database.max_db_connections.filter(|cap| *cap > 0).unwrap_or(self.global.max_db_connections)
    }

    /// The database's where it is above 0, else global. 0: unlimited.
    pub fn max_db_client_connections(&self, database: &Database) -> usize {
        database.max_db_client_connections.filter(|cap| *cap > 0).unwrap_or(self.global.max_db_client_connections)
    }

    /// User, then global. 0: unlimited.
    pub fn max_user_connections(&self, user: Option<&UserOverrides>) -> usize {
        user.and_then(|user| user.max_user_connections).unwrap_or(self.global.max_user_connections)
    }

    /// User, then global. 0: unlimited.
    pub fn max_user_client_connections(&self, user: Option<&UserOverrides>) -> usize {
        user.and_then(|user| user.max_user_client_connections).unwrap_or(self.global.max_user_client_connections)
    }

    /// Database, then global. 0: a server is used once.
    pub fn server_lifetime(&self, database: &Database) -> Duration {
        database.server_lifetime.unwrap_or(self.global.server_lifetime)
    }

    /// User, then database, then global. `None`: a client waits for ever.
    pub fn query_wait_timeout(&self, database: &Database, user: Option<&UserOverrides>) -> Option<Duration> {
        user.and_then(|user| user.query_wait_timeout).or(database.query_wait_timeout).or(self.global.query_wait_timeout)
    }

    /// User, then global.
    pub fn query_timeout(&self, user: Option<&UserOverrides>) -> Option<Duration> {
        user.and_then(|user| user.query_timeout).or(self.global.query_timeout)
    }

    /// User, then global.
    pub fn idle_transaction_timeout(&self, user: Option<&UserOverrides>) -> Option<Duration> {
        user.and_then(|user| user.idle_transaction_timeout).or(self.global.idle_transaction_timeout)
    }

    /// User, then global.
    pub fn transaction_timeout(&self, user: Option<&UserOverrides>) -> Option<Duration> {
        user.and_then(|user| user.transaction_timeout).or(self.global.transaction_timeout)
    }

    /// User, then global.
    pub fn client_idle_timeout(&self, user: Option<&UserOverrides>) -> Option<Duration> {
        user.and_then(|user| user.client_idle_timeout).or(self.global.client_idle_timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Nowhere;
    use super::super::{PoolMode, parse};
    use super::*;

    fn config(text: &str) -> Config {
        parse(Path::new("p.toml"), text, &Nowhere).expect("a sound file").config
    }

    const FILE: &str = "\
        [pgweir]\nauth_type = 'trust'\nreserve_pool_size = 1\nmax_db_connections = 50\nmax_user_connections = 9\n\
        query_timeout = 30\n\
        [databases.a]\nservers = ['h:1']\n\
        [databases.b]\nservers = ['h:1']\npool_mode = 'session'\npool_size = 7\nreserve_pool_size = 2\n\
        max_db_connections = 0\nquery_wait_timeout = 5\nserver_lifetime = 0\n\
        [databases.c]\nservers = ['h:1']\nmax_db_connections = 3\n\
        [databases.'*']\nhost = 'fallback'\n\
        [users.u]\npool_mode = 'statement'\npool_size = 1\nreserve_pool_size = 0\nmax_user_connections = 0\n\
        query_timeout = 2\nquery_wait_timeout = 1\nidle_transaction_timeout = 0\n";

    #[test]
    fn user_goes_before_database_before_global() {
        let config = config(FILE);
        let user = config.user("u");
        let [a, b, c] = ["a", "b", "c"].map(|name| config.database(name).expect("in the file"));
        assert_eq!(config.pool_mode(a, None), PoolMode::Transaction);
        assert_eq!(config.pool_mode(b, None), PoolMode::Session);
        assert_eq!(config.pool_mode(b, user), PoolMode::Statement);
        let sizes = [(a, None, 20), (b, None, 7), (b, user, 1)];
        assert!(sizes.iter().all(|(database, user, size)| config.pool_size(database, *user) == *size));
        let reserves = [(a, None, 1), (b, None, 2), (b, user, 0)];
        assert!(reserves.iter().all(|(database, user, size)| config.reserve_pool_size(database, *user) == *size));
        assert_eq!([a, b, c].map(|database| config.max_db_connections(database)), [50, 50, 3]);
        assert_eq!([config.max_user_connections(None), config.max_user_connections(user)], [9, 0]);
        let seconds = |timeout: Option<Duration>| timeout.map(|timeout| timeout.as_secs());
        assert_eq!(seconds(config.query_wait_timeout(a, None)), Some(120));
        assert_eq!(seconds(config.query_wait_timeout(b, None)), Some(5));
        assert_eq!(seconds(config.query_wait_timeout(b, user)), Some(1));
        assert_eq!(seconds(config.query_timeout(None)), Some(30));
        assert_eq!(seconds(config.query_timeout(user)), Some(2));
        assert_eq!(config.idle_transaction_timeout(user), None);
        assert_eq!([config.server_lifetime(a).as_secs(), config.server_lifetime(b).as_secs()], [3600, 0]);
    }

    #[test]
    fn what_is_split_and_how_fresh_a_read_must_be() {
        let config = config(
            "[pgweir]\nauth_type = 'trust'\nread_wait = 5\nmax_staleness = '1s'\n\
             [databases.a]\nservers = ['h:1', 'h:2']\n\
             [databases.b]\nservers = 'h:1, h:2'\nread_write_split = 'declared'\nread_consistency = 'bounded'\n\
             read_wait = 0\nmax_staleness = '2s'\nmax_replica_lag = '64MB'\ndeferred_begin = false\n\
             failover_error = '57P01'\nprimary_reads = 'share'\nlisten_failover = 'relisten'\npinning = 'forbid'\n\
             [databases.one]\nservers = ['h:1']\nread_write_split = 'auto'\n\
             [databases.host]\nhost = 'a,b'\n\
             [users.u]\nread_write_split = 'off'\n[users.d]\nread_write_split = 'declared'\n",
        );
        let [a, b, one, host] = ["a", "b", "one", "host"].map(|name| config.database(name).expect("in the file"));
        let (u, d) = (config.user("u"), config.user("d"));
        use ReadWriteSplit::{Auto, Declared, Off};
        let splits = [
            (a, None, Auto),
            (a, u, Off),
            (a, d, Declared),
            (b, None, Declared),
            (b, u, Off),
            (one, None, Off),
            (one, d, Off),
            (host, None, Off),
            (host, d, Off),
        ];
        for (database, user, split) in splits {
            assert_eq!(config.read_write_split(database, user), split, "{database:?} {user:?}");
        }
        assert_eq!([a, b].map(|x| config.read_consistency(x)), [ReadConsistency::Pool, ReadConsistency::Bounded]);
        assert_eq!([a, b].map(|x| config.read_wait(x).as_secs()), [5, 0]);
        assert_eq!([a, b].map(|x| config.max_staleness(x).map(|x| x.as_secs())), [Some(1), Some(2)]);
        assert_eq!(config.max_replica_lag(a), MaxLag::Time(Duration::from_secs(10)));
        assert_eq!(config.max_replica_lag(b), MaxLag::Bytes(64 << 20));
        assert_eq!([a, b].map(|x| config.deferred_begin(x)), [true, false]);
        let errors = [FailoverError::RolledBack, FailoverError::Disconnect];
        assert_eq!([a, b].map(|x| config.failover_error(x)), errors);
        let listens = [ListenFailover::Disconnect, ListenFailover::Relisten];
        assert_eq!([a, b].map(|x| config.listen_failover(x)), listens);
        assert_eq!([a, b].map(|x| config.pinning(x)), [Pinning::Allow, Pinning::Forbid]);
        assert_eq!([a, b].map(|x| config.primary_reads(x)), [PrimaryReads::Fallback, PrimaryReads::Share]);
    }

    #[test]
    fn the_star_answers_for_names_not_listed() {
        let config = config(FILE);
        assert_eq!(config.database("zzz"), config.databases.get("*"));
        assert_ne!(config.database("a"), config.databases.get("*"));
    }

    #[test]
    fn a_reserve_without_a_timeout_is_off() {
        let config = config(&FILE.replace("[databases.a]", "reserve_pool_timeout = 0\n[databases.a]"));
        assert_eq!(config.reserve_pool_size(&config.databases["b"], None), 0);
    }
}

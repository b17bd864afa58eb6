//! `auth_query`: the secrets of users whom auth_file does not have, asked of a server and remembered for a moment.
//!
//! The connections for it are a pool of their own, so that logins do not wait behind transactions, and count against no
//! cap. They carry nothing of any client, and their search_path holds `pg_catalog` alone: what the query names
//! otherwise it names with its schema, and nobody can slip another function or operator under it (CVE-2025-12819).
//!
//! An unknown user is remembered as a known one is, so that the time of a login tells nothing.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Follow;
use super::backend::{Backend, Behind, Made, Recipe};
use super::backends::{self, Backends, Ground};
use super::question;
use crate::auth::Secret;
use crate::config::{Config, Database};
use crate::error::{Error, Kind, Side};
use crate::pool::core::{Census, Limits};
use crate::pool::{Checkout, Pool};
use crate::server::Server;
use crate::server::login::Credentials;
use crate::stats::Tally;

/// How long an answer holds. A changed or expired password shows so much later.
const HOLDS: Duration = Duration::from_secs(10);

/// A failed login makes an answer doubtful that is older than this: who guesses passwords asks no more often.
const SURE: Duration = Duration::from_secs(1);

/// Answers kept at most, until the next sweep. Whoever is asked for beyond that is asked for anew each time.
const KEPT: usize = 10_000;

/// Connections to one server. An answer takes well under a millisecond.
pub const CONNECTIONS: usize = 2;

/// NAMEDATALEN, less its zero byte.
const LONGEST_NAME: usize = 63;

/// How long an answer may take, the wait for a connection included.
const LIMIT: Duration = Duration::from_secs(60);

/// Who is asked, by whom and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    /// As the config names it.
    database: String,
    asker: String,
    query: String,
}

/// None: there is no such user.
type Answer = Result<Option<Secret>, Error>;

type Pools = HashMap<(String, String), Asking>;

/// A pool to ask by, and its books.
#[derive(Clone)]
struct Asking {
    pool: Arc<Pool<Server>>,
    tally: Arc<Tally>,
}

/// An answer that came or is on its way.
struct Known {
    since: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

/// What was asked, and the pools to ask by.
pub struct Lookups {
    /// By database and asker.
    pools: Mutex<Pools>,
    known: Mutex<HashMap<(Source, String), Known>>,
    /// The last secret that was found was a SCRAM verifier.
    scram: AtomicBool,
}

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups { pools: Mutex::default(), known: Mutex::default(), scram: AtomicBool::new(true) }
    }
}

impl Lookups {
    /// Whether an unknown user is to be shown SCRAM where auth_type is md5, since known ones are.
    pub fn shows_scram(&self) -> bool {
        self.scram.load(Ordering::Relaxed)
    }

    /// The answer that is known or awaited, or the place of a new one. The second: somebody must ask.
    fn answer(
        &self,
        source: &Source,
        user: &str,
    ) -> (watch::Receiver<Option<Answer>>, Option<watch::Sender<Option<Answer>>>) {
        let key = (source.clone(), user.to_owned());
        let mut known = self.known.lock();
        if let Some(found) = known.get(&key).filter(|known| known.since.elapsed() < HOLDS) {
            return (found.answer.clone(), None);
        }
        let (tell, answer) = watch::channel(None);
        if known.len() < KEPT {
            known.insert(key, Known { since: Instant::now(), answer: answer.clone() });
        }
        (answer, Some(tell))
    }

    fn forget(&self, source: &Source, user: &str, older_than: Duration) {
        let key = (source.clone(), user.to_owned());
        let mut known = self.known.lock();
        if known.get(&key).is_some_and(|known| known.since.elapsed() >= older_than) {
            known.remove(&key);
        }
    }

    /// A reload: everything is asked anew.
    pub(super) fn clear(&self) {
        self.known.lock().clear();
        for (_, asking) in self.pools.lock().drain() {
            asking.pool.retire(&Error::new(Kind::DatabaseRemoved, Side::Proxy));
        }
    }

    /// The pools with their books.
    pub(super) fn pools(&self) -> Vec<(Arc<Tally>, Arc<Pool<Server>>)> {
        self.pools.lock().values().map(|it| (Arc::clone(&it.tally), Arc::clone(&it.pool))).collect()
    }

    pub(super) fn tend(&self) {
        self.pools().iter().for_each(|(_, pool)| pool.tend());
    }

    pub(super) fn sweep(&self) {
        self.known.lock().retain(|_, known| known.since.elapsed() < HOLDS);
        self.pools.lock().retain(|_, it| Arc::strong_count(&it.pool) > 1 || it.pool.census() != Census::default());
    }
}

impl Backends {
    /// What a server says of this user, for a client of this database. None: there is no such user, or nobody to ask.
    pub async fn look_up(&self, database: &str, user: &str) -> Answer {
        let broken = || Error::new(Kind::Internal, Side::Proxy);
        let Some(source) = source(&self.ground().config, database) else { return Ok(None) };
        let (mut answer, tell) = self.lookups.answer(&source, user);
        if let (Some(tell), Some(all)) = (tell, self.me()) {
            let (database, user) = (database.to_owned(), user.to_owned());
            // In a task of its own: others wait for the same answer, and a client that hangs up must not cut it short.
            tokio::spawn(async move {
                let said = all.fetch(&database, &user).await;
                if let Err(error) = &said {
                    tracing::warn!(database, user, "auth_query failed: {error}");
                    all.lookups.forget(&source, &user, Duration::ZERO);
                }
                let _ = tell.send(Some(said));
            });
        }
        let said = answer.wait_for(Option::is_some).await.map_err(|_| broken())?.clone();
        // What a server or its login said is for the log, before it is known who asks.
        said.unwrap_or(Ok(None)).map_err(|_| broken())
    }

    /// Whether users of this database are looked up at all.
    pub fn looks_up(&self, database: &str) -> bool {
        source(&self.ground().config, database).is_some()
    }

    /// A login failed: what was remembered may be out of date.
    pub fn doubt(&self, database: &str, user: &str) {
        if let Some(source) = source(&self.ground().config, database) {
            self.lookups.forget(&source, user, SURE);
        }
    }

    async fn fetch(&self, database: &str, user: &str) -> Answer {
        loop {
            let ground = self.ground();
            let Some(source) = source(&ground.config, database) else { return Ok(None) };
            let asked = tokio::time::timeout(LIMIT, self.ask(&ground, &source, user)).await;
            let late = || Error::new(Kind::ServerGone, Side::Server).because("no answer in time");
            match asked.unwrap_or_else(|_| Err(late())) {
                // A reload took the pool away.
                Err(_) if !self.is_current(&ground) => {}
                said => return said,
            }
        }
    }

    async fn ask(&self, ground: &Ground, source: &Source, user: &str) -> Answer {
        let pool = self.asking(ground, source)?;
        let mut seat = None;
        let mut lease = match pool.checkout(&mut seat) {
            Checkout::Ready(lease) => lease,
            Checkout::Wait(mut waiting) => poll_fn(|cx| waiting.poll(cx)).await?,
        };
        let (rows, settled) = question::ask(&mut lease, &source.query, user).await?;
        lease.release(settled);
        let secret = secret(&rows, user).map_err(|what| Error::new(Kind::Internal, Side::Proxy).because(what))?;
        if let Some(secret @ (Secret::Scram(_) | Secret::Md5(_))) = &secret {
            self.lookups.scram.store(matches!(secret, Secret::Scram(_)), Ordering::Relaxed);
        }
        Ok(secret)
    }

    /// The pool of the asker, made at its first use.
    fn asking(&self, ground: &Ground, source: &Source) -> Result<Arc<Pool<Server>>, Error> {
        let name = source.database.as_str();
        let missing = || Error::new(Kind::Internal, Side::Proxy).because(format_args!("no such auth_dbname: {name}"));
        let database = ground.config.database(name).ok_or_else(missing)?;
        let key = (name.to_owned(), source.asker.clone());
        if let Some(found) = self.lookups.pools.lock().get(&key) {
            return Ok(Arc::clone(&found.pool));
        }
        let made = self.make_asking(ground, name, database, &source.asker);
        let found = Arc::clone(&self.lookups.pools.lock().entry(key.clone()).or_insert(made).pool);
        if !self.is_current(ground) {
            // A reload came in between and may not have seen it.
            self.lookups.pools.lock().remove(&key);
        }
        Ok(found)
    }

    fn make_asking(&self, ground: &Ground, name: &str, database: &Database, asker: &str) -> Asking {
        let cluster = self.cluster(ground, name, database);
        let secret = ground.userlist.secret(asker).cloned().unwrap_or(Secret::Missing);
        let parameters = [("application_name", "pgweir auth_query"), ("search_path", "pg_catalog")];
        let recipe = Recipe {
            routes: backends::routes(ground, database, &self.sight.names),
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            connect_query: None,
            max_prepared_statements: 0,
            check_query: String::new(),
            reset_query: None,
        };
        let tally = self.tally(name, database, asker);
        let made = Made {
            database: name.to_owned(),
            dbname: database.dbname.clone().unwrap_or_else(|| name.to_owned()),
            credentials: Arc::new(Credentials::new(asker, secret)),
            cluster: cluster.clone(),
            all: std::sync::Weak::new(),
            tally: Arc::clone(&tally),
            roll: Arc::clone(&self.roll),
            replication: None,
        };
        let backend = Arc::new(Backend::new(made, recipe));
        let limits = Limits { size: CONNECTIONS, min_size: 0, reserve: 0, ..backends::limits(ground, database, asker) };
        let caps = vec![Vec::new(); backends::addresses(database).len()];
        let behind = Behind { backend, follow: Follow::Primary };
        let pool = Pool::new(backends::serving(database, cluster.as_deref()), limits, caps, Box::new(behind));
        if let Some(cluster) = cluster {
            cluster.join(&pool, Follow::Primary);
        }
        Asking { pool, tally }
    }
}

/// None: nobody is named to ask, or the client's database is not known and no other is named.
fn source(config: &Config, name: &str) -> Option<Source> {
    let database = config.database(name);
    let own = |of: fn(&Database) -> &Option<String>| database.and_then(|database| of(database).clone());
    let global = &config.global;
    let asker = own(|database| &database.auth_user).or_else(|| global.auth_user.clone())?;
    let query = own(|database| &database.auth_query).unwrap_or_else(|| global.auth_query.clone());
    let place = own(|database| &database.auth_dbname).or_else(|| global.auth_dbname.clone());
    let database = place.or_else(|| database.map(|_| name.to_owned()))?;
    Some(Source { database, asker, query })
}

/// The secret in the answer's one row of name and secret. A NULL in it is no secret: the user has none, or it expired.
fn secret(rows: &[Vec<Option<String>>], user: &str) -> Result<Option<Secret>, &'static str> {
    let row = match rows {
        [] => return Ok(None),
        [row] => row,
        _ => return Err("expected at most one row of auth_query"),
    };
    let [name, secret] = row.as_slice() else { return Err("expected two columns of auth_query: a user and a secret") };
    match name {
        Some(name) if name == user => Ok(Some(Secret::parse(secret.as_deref().unwrap_or_default()))),
        // The server cuts a longer name short, and that is another user's.
        Some(name) if name.len() == LONGEST_NAME && user.starts_with(name) => Ok(None),
        Some(_) => Err("auth_query answered with another user"),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Nowhere;

    fn place(text: &str, name: &str) -> Option<(String, String)> {
        let text = format!("[pgweir]\nauth_type = 'trust'\n{text}");
        let config = Nowhere::config(&text).expect("a sound file");
        source(&config, name).map(|source| (source.database, source.asker))
    }

    #[test]
    fn who_is_asked_where() {
        let databases = "[databases.a]\nhost = 'h'\n[databases.b]\nhost = 'h'\nauth_user = 'own'\n\
                         [databases.c]\nhost = 'h'\nauth_dbname = 'a'\n";
        let place = |global: &str, name: &str| place(&format!("{global}\n{databases}"), name);
        let some = |database: &str, asker: &str| Some((database.to_owned(), asker.to_owned()));
        assert_eq!(place("", "a"), None);
        assert_eq!(place("", "b"), some("b", "own"));
        assert_eq!(place("auth_user = 'all'", "a"), some("a", "all"));
        assert_eq!(place("auth_user = 'all'", "b"), some("b", "own"));
        assert_eq!(place("auth_user = 'all'", "c"), some("a", "all"));
        assert_eq!(place("auth_user = 'all'", "unknown"), None);
        assert_eq!(place("auth_user = 'all'\nauth_dbname = 'a'", "unknown"), some("a", "all"));
        assert_eq!(place("auth_user = 'all'\nauth_dbname = 'b'", "c"), some("a", "all"));
    }

    #[test]
    fn an_answer_is_one_row_of_the_user_asked_for() {
        let row =
            |columns: &[&str]| columns.iter().map(|c| (*c != "NULL").then(|| (*c).to_owned())).collect::<Vec<_>>();
        assert_eq!(secret(&[], "ann"), Ok(None));
        assert_eq!(secret(&[row(&["ann", "word"])], "ann"), Ok(Some(Secret::parse("word"))));
        assert_eq!(secret(&[row(&["ann", "NULL"])], "ann"), Ok(Some(Secret::Missing)));
        assert_eq!(secret(&[row(&["NULL", "word"])], "ann"), Ok(None));
        let cut = "x".repeat(63);
        assert_eq!(secret(&[row(&[&cut, "word"])], &format!("{cut}y")), Ok(None));
        for rows in [
            &[row(&["an", "word"])][..],
            &[row(&["ann"])],
            &[row(&["ann", "a", "b"])],
            &[row(&["ann", "a"]), row(&["ann", "b"])],
        ] {
            assert!(secret(rows, "ann").is_err(), "{rows:?}");
        }
    }

    #[test]
    fn one_asks_and_the_others_wait_for_the_same_answer() {
        let lookups = Lookups::default();
        let source = Source { database: "a".into(), asker: "b".into(), query: "c".into() };
        let (_, first) = lookups.answer(&source, "ann");
        assert!(
            first.is_some() && lookups.answer(&source, "ann").1.is_none() && lookups.answer(&source, "bob").1.is_some()
        );
        lookups.forget(&source, "ann", Duration::from_secs(3600));
        assert!(lookups.answer(&source, "ann").1.is_none(), "too young to doubt");
        lookups.forget(&source, "ann", Duration::ZERO);
        assert!(lookups.answer(&source, "ann").1.is_some());
        for n in 0..2 * KEPT {
            lookups.answer(&source, &n.to_string());
        }
        assert_eq!(lookups.known.lock().len(), KEPT);
        assert!(lookups.answer(&source, "carl").1.is_some() && lookups.answer(&source, "carl").1.is_some());
    }
}

//! What all clients share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::elders::Elders;
use super::entry::Entries;
use super::held::{Bounds, Held, Hold};
use super::interner::Interner;
use super::peers::Peers;
use super::rounds::Round;
use super::timeouts::Timeouts;
use crate::auth::scram::Verifier;
use crate::auth::{Secret, hba, names};
use crate::cluster::backends::{Backed, Backends, Ground};
use crate::cluster::holds::Mode;
use crate::config::{FailoverError, ListenFailover, Pinning};
use crate::control::{Bell, Phase};
use crate::error::{Error, Kind, Side};
use crate::net::tls::Acceptor;
use crate::session::settings::Settings;

/// Iterations of verifiers that are made from plain secrets, and of those that are shown for unknown users.
const ITERATIONS: u32 = 4096;

/// What clients are let in by; replaced whole by a reload.
pub struct Doors {
    pub acceptor: Option<Acceptor>,
    /// Looked at where auth_type is hba.
    pub hba: hba::Rules,
    pub names: names::Map,
}

/// The process, as its clients see it.
pub struct House {
    pub backends: Arc<Backends>,
    pub doors: RwLock<Arc<Doors>>,
    pub entries: Entries,
    pub elders: Elders,
    pub peers: Peers,
    /// This process's number among its peers, as it was at the start; 0: none.
    pub peer_id: u32,
    pub held: Arc<Held>,
    pub interner: Arc<Interner>,
    pub phase: watch::Receiver<Phase>,
    /// For what only the process as a whole can do.
    pub bell: Bell,
    pub epoch: Instant,
    /// Rises with each reload: clients look at their limits again.
    pub generation: AtomicU64,
    /// Sockets of clients, logged in or not.
    clients: AtomicUsize,
    by_database: Counts,
    by_user: Counts,
    /// Makes the salts that unknown users are shown.
    mock_key: [u8; 32],
    /// Verifiers made from plain secrets: PBKDF2 once per user, not once per login.
    derived: Mutex<HashMap<String, (Secret, Arc<Verifier>)>>,
    /// Settings that clients have, one value for all that have the same.
    settings: Mutex<HashSet<Arc<Settings>>>,
}

type Counts = Mutex<HashMap<Arc<str>, Arc<Count>>>;

/// How many clients a database or a user has. Its name is the one that all of them share.
#[derive(Debug)]
pub struct Count {
    pub name: Arc<str>,
    clients: AtomicUsize,
}

impl House {
    pub fn new(ground: Ground, doors: Doors, phase: watch::Receiver<Phase>, bell: Bell) -> Arc<House> {
        let peer_id = ground.config.global.peer_id;
        let interner = Interner::default();
        interner.share_after(ground.config.global.share_unnamed_after);
        Arc::new(House {
            backends: Backends::new(ground),
            doors: RwLock::new(Arc::new(doors)),
            entries: Entries::default(),
            elders: Elders::default(),
            peers: Peers::default(),
            peer_id,
            held: Arc::default(),
            interner: Arc::new(interner),
            phase,
            bell,
            epoch: Instant::now(),
            generation: AtomicU64::new(0),
            clients: AtomicUsize::new(0),
            by_database: Counts::default(),
            by_user: Counts::default(),
            mock_key: random(),
            derived: Mutex::default(),
            settings: Mutex::default(),
        })
    }

    pub fn doors(&self) -> Arc<Doors> {
        Arc::clone(&self.doors.read())
    }

    /// How many sockets of clients there are.
    pub fn clients(&self) -> usize {
        self.clients.load(Ordering::Relaxed)
    }

    /// Counts a socket until the guard is dropped.
    pub fn count_in(self: &Arc<Self>) -> Present {
        self.clients.fetch_add(1, Ordering::AcqRel);
        Present { house: Arc::clone(self), database: None, user: None }
    }

    /// The verifier to authenticate this user with, and whether it is genuine: an unknown user gets one that no
    /// password matches, at the same cost.
    pub fn verifier(&self, user: &str, secret: Option<&Secret>) -> (Arc<Verifier>, bool) {
        // Made for everybody: its time, a tenth of a login's, would tell who is known.
        let mock = std::hint::black_box(Verifier::mock(&self.mock_key, user, ITERATIONS));
        match secret {
            Some(Secret::Scram(verifier)) => (Arc::clone(verifier), true),
            Some(Secret::Plain(password)) => (self.derive(user, secret, password), true),
            _ => (Arc::new(mock), false),
        }
    }

    fn derive(&self, user: &str, secret: Option<&Secret>, password: &str) -> Arc<Verifier> {
        let mut derived = self.derived.lock();
        if let Some((from, verifier)) = derived.get(user)
            && Some(from) == secret
        {
            return Arc::clone(verifier);
        }
        let verifier = Arc::new(Verifier::derive(password, &random::<16>(), ITERATIONS));
        if let Some(secret) = secret {
            derived.insert(user.to_owned(), (secret.clone(), Arc::clone(&verifier)));
        }
        verifier
    }

    /// The one value of these settings.
    pub fn share(&self, settings: Settings) -> Arc<Settings> {
        let mut known = self.settings.lock();
        if let Some(found) = known.get(&settings) {
            return Arc::clone(found);
        }
        let settings = Arc::new(settings);
        known.insert(Arc::clone(&settings));
        settings
    }

    /// The janitor's look at limits and at idle servers.
    pub fn tend(&self) {
        let ground = self.backends.ground();
        let global = &ground.config.global;
        self.entries.tend(Round {
            notify: global.query_wait_notify,
            fast_close: global.server_fast_close,
            suspended: self.backends.mode() == Mode::Suspended,
        });
        self.backends.tend();
    }

    /// Forgets what nobody has any more; the janitor's work.
    pub fn sweep(&self) {
        self.backends.sweep();
        self.settings.lock().retain(|settings| Arc::strong_count(settings) > 1);
        self.interner.sweep();
    }

    /// Whether a client of this pool outlives its server: one of several, where the operator does not want it otherwise.
    pub fn forgives(&self, backed: &Backed) -> bool {
        let config = self.backends.ground().config;
        let wants = |database| config.failover_error(database) == FailoverError::RolledBack;
        backed.backend.cluster.is_some() && config.database(&backed.backend.database).is_some_and(wants)
    }

    /// Whether a client of this pool that listens goes on with another server once its own is lost.
    pub fn lets_listen_again(&self, backed: &Backed) -> bool {
        let config = self.backends.ground().config;
        let wants = |database| config.listen_failover(database) == ListenFailover::Relisten;
        backed.backend.cluster.is_some() && config.database(&backed.backend.database).is_some_and(wants)
    }

    /// What becomes of a statement of this pool that would pin.
    pub fn pinning(&self, backed: &Backed) -> Pinning {
        let config = self.backends.ground().config;
        config.database(&backed.backend.database).map_or(Pinning::Allow, |database| config.pinning(database))
    }

    /// What may wait for a primary.
    pub fn hold(&self) -> Hold {
        let global = &self.backends.ground().config.global;
        // Where it was not set it is each client's own query_wait_timeout.
        let time = Some(global.failover_hold).filter(|own| *own != global.query_wait_timeout);
        Hold { time, bounds: Bounds { clients: global.max_held_clients, bytes: global.max_held_bytes } }
    }

    /// The limits of a client.
    pub fn timeouts(&self, database: &str, user: &str) -> Timeouts {
        let config = self.backends.ground().config;
        let overrides = config.user(user);
        Timeouts {
            client_idle: config.client_idle_timeout(overrides),
            idle_transaction: config.idle_transaction_timeout(overrides),
            query: config.query_timeout(overrides),
            query_wait: config.database(database).and_then(|db| config.query_wait_timeout(db, overrides)),
            transaction: config.transaction_timeout(overrides),
        }
    }
}

/// A client's socket, counted against the client-side limits.
pub struct Present {
    house: Arc<House>,
    database: Option<Arc<Count>>,
    user: Option<Arc<Count>>,
}

impl Present {
    /// Counts a login against its database and user, or refuses it.
    pub fn enter(&mut self, database: &str, user: &str) -> Result<(), Error> {
        let config = self.house.backends.ground().config;
        let of_database = config.database(database).map_or(0, |db| config.max_db_client_connections(db));
        let of_user = config.max_user_client_connections(config.user(user));
        let entered = increase(&self.house.by_database, database, of_database);
        self.database = Some(entered.ok_or_else(|| Error::new(Kind::DatabaseClients, Side::Client))?);
        let entered = increase(&self.house.by_user, user, of_user);
        self.user = Some(entered.ok_or_else(|| Error::new(Kind::UserClients, Side::Client))?);
        Ok(())
    }

    /// The client's user: empty before `enter`.
    pub fn user(&self) -> Arc<str> {
        self.user.as_ref().map_or_else(|| "".into(), |count| Arc::clone(&count.name))
    }

    /// The database's name in the config, and the client's user: empty before `enter`.
    pub fn names(&self) -> (&str, &str) {
        (name_of(&self.database), name_of(&self.user))
    }
}

fn name_of(count: &Option<Arc<Count>>) -> &str {
    count.as_ref().map_or("", |count| &count.name)
}

impl Drop for Present {
    fn drop(&mut self) {
        self.house.clients.fetch_sub(1, Ordering::AcqRel);
        for (counts, count) in [(&self.house.by_database, &self.database), (&self.house.by_user, &self.user)] {
            if let Some(count) = count {
                decrease(counts, count);
            }
        }
    }
}

/// None, and no change, at the limit; 0 is none.
fn increase(counts: &Counts, name: &str, limit: usize) -> Option<Arc<Count>> {
    let mut counts = counts.lock();
    let count = match counts.get(name) {
        Some(count) => Arc::clone(count),
        None => Arc::new(Count { name: name.into(), clients: AtomicUsize::new(0) }),
    };
    if limit != 0 && count.clients.load(Ordering::Relaxed) >= limit {
        return None;
    }
    count.clients.fetch_add(1, Ordering::Relaxed);
    counts.entry(Arc::clone(&count.name)).or_insert_with(|| Arc::clone(&count));
    Some(count)
}

/// Under the lock, so that a name with no client left is not counted again while it goes.
fn decrease(counts: &Counts, count: &Count) {
    let mut counts = counts.lock();
    if count.clients.fetch_sub(1, Ordering::Relaxed) == 1 {
        counts.remove(&count.name);
    }
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has booted");
    bytes
}

//! PAUSE, SUSPEND, DISABLE and their ends: what an operator holds back, of everything or of one database.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::backends::{Backed, Backends};
use crate::error::{Error, Kind, Side};
use crate::pool::Pool;
use crate::server::Server;

/// Whether everything is held, and as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Running,
    /// No server is lent, and none is kept.
    Paused,
    /// No server is lent.
    Suspended,
}

/// What is held. Names are the config's, and need not be in it: a reload changes nothing here.
#[derive(Debug, Default)]
pub struct Holds {
    mode: Mode,
    databases: HashSet<String>,
    disabled: HashSet<String>,
}

impl Holds {
    /// Whether this database's pools lend nothing.
    pub fn holds(&self, database: &str) -> bool {
        self.mode != Mode::Running || self.databases.contains(database)
    }
}

/// One thing that is held, in the words of the handover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// PAUSE.
    All,
    /// PAUSE or KILL of a database.
    Database(String),
    /// DISABLE.
    Disabled(String),
}

/// Pools that a reload replaced, with their database, for as long as they have connections.
pub type Leaving = Vec<(String, Weak<Pool<Server>>)>;

/// How a database's pools, or all, stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Connections, those on their way included.
    pub open: usize,
    /// Those that close when they come back.
    pub stale: usize,
}

impl Backends {
    pub fn mode(&self) -> Mode {
        self.holds.lock().mode
    }

    /// Holds everything. False, and no change: it is held already.
    pub fn hold_all(&self, mode: Mode) -> bool {
        let mut holds = self.holds.lock();
        if holds.mode != Mode::Running {
            return false;
        }
        holds.mode = mode;
        self.apply(&holds);
        if mode == Mode::Paused {
            self.recycle(None);
        }
        true
    }

    /// Ends `hold_all`; False: there is nothing to end. Databases that are held by name stay so.
    pub fn release_all(&self) -> bool {
        let mut holds = self.holds.lock();
        let was = std::mem::take(&mut holds.mode);
        self.apply(&holds);
        was != Mode::Running
    }

    /// Holds nothing any more.
    pub fn release_everything(&self) {
        let mut holds = self.holds.lock();
        *holds = Holds { disabled: std::mem::take(&mut holds.disabled), ..Holds::default() };
        self.apply(&holds);
    }

    /// Lends none of this database's servers, and keeps none.
    pub fn hold(&self, database: &str) {
        let mut holds = self.holds.lock();
        holds.databases.insert(database.to_owned());
        self.apply(&holds);
        self.recycle(Some(database));
    }

    /// Ends `hold`. False: it was not held.
    pub fn release(&self, database: &str) -> bool {
        let mut holds = self.holds.lock();
        let was = holds.databases.remove(database);
        self.apply(&holds);
        was
    }

    /// Whether this database is held by its own name.
    pub fn is_held(&self, database: &str) -> bool {
        self.holds.lock().databases.contains(database)
    }

    /// Whether any database is.
    pub fn holds_some(&self) -> bool {
        !self.holds.lock().databases.is_empty()
    }

    /// New clients of a disabled database are refused.
    pub fn disable(&self, database: &str, disabled: bool) {
        let mut holds = self.holds.lock();
        match disabled {
            true => holds.disabled.insert(database.to_owned()),
            false => holds.disabled.remove(database),
        };
        self.holding.send_replace(());
    }

    pub fn is_disabled(&self, database: &str) -> bool {
        self.holds.lock().disabled.contains(database)
    }

    /// RECONNECT: each connection closes once it is not in use.
    pub fn recycle(&self, database: Option<&str>) {
        for pool in self.pools_of(database) {
            pool.recycle();
            pool.match_up();
        }
    }

    /// How this database's pools stand, or all of them, those included that a reload replaced.
    pub fn standing(&self, database: Option<&str>) -> Standing {
        let mut sum = Standing::default();
        for pool in self.pools_of(database) {
            let census = pool.census();
            sum.open += census.open;
            sum.stale += census.stale;
        }
        for pool in self.leaving(database) {
            let open = pool.census().open;
            (sum.open, sum.stale) = (sum.open + open, sum.stale + open);
        }
        sum
    }

    /// Forgets which system identifier and highest timeline this database's servers are known by, as an operator says who
    /// has made others of them. Err: it has no `servers`.
    pub fn forget(&self, database: &str) -> Result<(), Error> {
        let ground = self.ground();
        let cluster = ground.config.database(database).and_then(|found| self.cluster(&ground, database, found));
        match cluster {
            Some(cluster) => {
                cluster.forget();
                Ok(())
            }
            None => {
                let text = format!("database {database} has no servers list to forget anything of");
                Err(Error::new(Kind::ConsoleState, Side::Client).about(&text))
            }
        }
    }

    /// All that outlasts who ordered it: SUSPEND ends with its console.
    pub fn held(&self) -> Vec<Hold> {
        let holds = self.holds.lock();
        let all = (holds.mode == Mode::Paused).then_some(Hold::All);
        let databases = holds.databases.iter().cloned().map(Hold::Database);
        let mut held: Vec<Hold> =
            all.into_iter().chain(databases).chain(holds.disabled.iter().cloned().map(Hold::Disabled)).collect();
        held.sort();
        held
    }

    /// The same is held here, and nothing else, as another process says whose place this one takes, or that took its.
    pub fn hold_as(&self, held: Vec<Hold>) {
        let mut holds = self.holds.lock();
        let (mut mode, mut databases, mut disabled) = (Mode::Running, HashSet::new(), HashSet::new());
        for hold in held {
            match hold {
                Hold::All => mode = Mode::Paused,
                Hold::Database(name) => drop(databases.insert(name)),
                Hold::Disabled(name) => drop(disabled.insert(name)),
            }
        }
        if holds.mode == Mode::Suspended && mode == Mode::Running {
            mode = Mode::Suspended;
        }
        let newly: Vec<String> = databases.difference(&holds.databases).cloned().collect();
        let pauses = mode == Mode::Paused && holds.mode != Mode::Paused;
        *holds = Holds { mode, databases, disabled };
        self.apply(&holds);
        newly.iter().for_each(|name| self.recycle(Some(name)));
        if pauses {
            self.recycle(None);
        }
    }

    /// Changes whenever something is held, or no longer.
    pub fn holding(&self) -> watch::Receiver<()> {
        self.holding.subscribe()
    }

    fn pools_of(&self, database: Option<&str>) -> Vec<Arc<Pool<Server>>> {
        let all = self.all();
        let these = all.iter().filter(|backed| database.is_none_or(|name| backed.backend.database == name));
        these.flat_map(|backed| backed.pools()).map(Arc::clone).collect()
    }

    fn leaving(&self, database: Option<&str>) -> Vec<Arc<Pool<Server>>> {
        let leaving = self.leaving.lock();
        let these = leaving.iter().filter(|(name, _)| database.is_none_or(|wanted| wanted == name));
        these.filter_map(|(_, pool)| pool.upgrade()).collect()
    }

    /// Follows the pools of a retired pair to their end.
    pub(super) fn see_off(&self, backed: &Backed) {
        let mut leaving = self.leaving.lock();
        leaving.retain(|(_, pool)| pool.strong_count() > 0);
        leaving.extend(backed.pools().map(|pool| (backed.backend.database.clone(), Arc::downgrade(pool))));
    }

    /// Called with the lock held, so that of two changes at the same moment the later one is told last.
    fn apply(&self, holds: &Holds) {
        for backed in self.all() {
            let held = holds.holds(&backed.backend.database);
            backed.pools().for_each(|pool| pool.pause(held));
        }
        self.holding.send_replace(());
    }
}

//! The catalog sets of one database, kept as new as the primary's: what the read/write split may trust.
//!
//! A [`Watch`] has one task and one connection, to the primary. It loads the sets when somebody first asks, looks at
//! the stamp of the catalog each second while somebody does, and loads again when it differs. DDL that passes through
//! the proxy raises a [`doubt`](Watch::doubt): from that moment there are no sets until a load that began later is
//! through. DDL that goes past the proxy is seen one interval later, and one look's time.

mod load;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::RwLock;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::server::login::Plan;
use crate::sql::{Catalog, Hidden};
use load::{Cause, Link, Stamp};

/// Between two looks at the stamp.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two loads: a migration raises one doubt after the other, and a load costs the primary 0.1 s.
const LOAD_GAP: Duration = Duration::from_millis(500);
/// After an error.
const ERROR_PAUSE: Duration = Duration::from_secs(2);
/// That many looks that nobody has asked for, and the watch rests without sets and without a connection.
const PATIENCE: u32 = 60;

/// Causes that another try will not mend by itself.
const REFUSED: [&str; 3] = ["answer", "login", "query"];

/// Which server is the primary now, and how to log in to it.
type Primary = Box<dyn Fn() -> Option<Plan> + Send + Sync>;

/// The watch over one database of one cluster. It ends when its last `Arc` is dropped.
pub struct Watch {
    database: String,
    /// What there is to give; written under the slot's lock alone.
    catalog: ArcSwapOption<Catalog>,
    /// What functions leave in a session, as it was last read: a doubt does not take it away.
    hidden: ArcSwapOption<Hidden>,
    slot: RwLock<Slot>,
    /// It cannot be read: the last try was refused, and the next one will be.
    unreadable: AtomicBool,
    /// Somebody has asked since the last look.
    asked: AtomicBool,
    /// Wakes the task before its time.
    wake: Arc<Notify>,
}

/// What stands behind it.
struct Slot {
    /// Why nothing can be proven with it, or why it is missing.
    reason: Option<&'static str>,
    /// How many times somebody has raised one. A load is worth nothing if it has changed meanwhile.
    doubts: u64,
}

impl Watch {
    /// `primary` tells whom to ask: it is called at each look, and no plan means that there is no primary. Whoever
    /// learns that the primary changed raises a doubt, or the old one's sets are kept for up to a second.
    pub fn start(database: &str, primary: impl Fn() -> Option<Plan> + Send + Sync + 'static) -> Arc<Watch> {
        let watch = Arc::new(Watch {
            database: database.to_owned(),
            catalog: ArcSwapOption::empty(),
            hidden: ArcSwapOption::empty(),
            slot: RwLock::new(Slot { reason: Some("catalog_loading"), doubts: 0 }),
            unreadable: AtomicBool::new(false),
            asked: AtomicBool::new(true),
            wake: Arc::new(Notify::new()),
        });
        let task = Task::new(&watch, Box::new(primary));
        tokio::spawn(task.run());
        watch
    }

    /// The sets, if they may be trusted now. To ask is to keep the watch awake.
    /// Each read does: it takes no lock.
    pub fn current(&self) -> Guard<Option<Arc<Catalog>>> {
        let catalog = self.catalog.load();
        if !self.asked.load(Ordering::Relaxed) && !self.asked.swap(true, Ordering::Relaxed) && catalog.is_none() {
            self.wake.notify_one();
        }
        catalog
    }

    /// What its functions leave in a session without saying so, where any does. It takes no lock.
    pub fn hidden(&self) -> Guard<Option<Arc<Hidden>>> {
        self.hidden.load()
    }

    /// Whether there are no sets because the monitor's user may not read them, and not for a moment.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable.load(Ordering::Acquire)
    }

    /// Why nothing can be proven now: a label. `None`: there are sets, and they can prove something.
    pub fn reason(&self) -> Option<&'static str> {
        self.slot.read().reason
    }

    /// Something may have changed the catalog, or is about to: from now on there are no sets until they were loaded
    /// again, from the beginning. To be called when DDL is sent and again when its transaction has ended, before the
    /// client learns of it.
    pub fn doubt(&self) {
        let mut slot = self.slot.write();
        slot.doubts += 1;
        self.catalog.store(None);
        slot.reason = Some("catalog_changing");
        drop(slot);
        self.wake.notify_one();
    }

    fn doubts(&self) -> u64 {
        self.slot.read().doubts
    }

    /// Gives new sets out, unless a doubt was raised since `doubts` was read.
    fn publish(&self, catalog: Arc<Catalog>, doubts: u64) -> bool {
        let mut slot = self.slot.write();
        let valid = slot.doubts == doubts;
        if valid {
            slot.reason = catalog.hard_off().map(|reason| reason.label());
            self.catalog.store(Some(catalog));
            self.unreadable.store(false, Ordering::Release);
        }
        valid
    }

    fn withdraw(&self, reason: &'static str) {
        let mut slot = self.slot.write();
        self.catalog.store(None);
        self.unreadable.store(REFUSED.contains(&reason), Ordering::Release);
        slot.reason = Some(reason);
    }
}

/// The task's own state.
struct Task {
    watch: Weak<Watch>,
    wake: Arc<Notify>,
    primary: Primary,
    link: Option<Link>,
    /// Of the sets that were given out last.
    stamp: Option<Stamp>,
    /// When the last load began.
    loaded: Option<Instant>,
    /// Looks in a row that nobody asked for.
    idle: u32,
    /// The last cause, so that it is told once.
    told: Option<Cause>,
    /// What functions leave could not be read: it is not asked for again.
    blind: bool,
}

/// What comes after a round.
enum Next {
    Look,
    /// A doubt came in between.
    LoadAgain,
    Retry,
    /// Until somebody asks.
    Rest,
}

impl Task {
    fn new(watch: &Arc<Watch>, primary: Primary) -> Task {
        Task {
            watch: Arc::downgrade(watch),
            wake: Arc::clone(&watch.wake),
            primary,
            link: None,
            stamp: None,
            loaded: None,
            idle: 0,
            told: None,
            blind: false,
        }
    }

    async fn run(mut self) {
        while let Some(watch) = self.watch.upgrade() {
            let next = match self.round(&watch).await {
                Ok(next) => next,
                Err(cause) => {
                    self.fail(&watch, cause);
                    Next::Retry
                }
            };
            drop(watch);
            self.pause(next).await;
        }
    }

    /// Waits for the next round. While it rests nobody wakes it but a question, a doubt, or the watch's end, which is
    /// looked for now and then.
    async fn pause(&self, next: Next) {
        let woken = self.wake.notified();
        match next {
            Next::Look | Next::Rest => _ = tokio::time::timeout(INTERVAL, woken).await,
            Next::LoadAgain => {}
            Next::Retry => tokio::time::sleep(ERROR_PAUSE).await,
        }
    }

    async fn round(&mut self, watch: &Watch) -> Result<Next, Cause> {
        self.idle = if watch.asked.swap(false, Ordering::Relaxed) { 0 } else { self.idle.saturating_add(1) };
        if self.idle > PATIENCE {
            self.rest(watch);
            return Ok(Next::Rest);
        }
        self.connect(watch).await?;
        let Some(link) = &mut self.link else { return Err(Cause::new("no_primary", "no connection")) };
        if watch.catalog.load().is_some() {
            let stamp = link.stamp().await?;
            if self.stamp.as_ref() == Some(&stamp) {
                return Ok(Next::Look);
            }
            watch.withdraw("catalog_changing");
        }
        self.load(watch).await
    }

    /// A connection to who is the primary now.
    async fn connect(&mut self, watch: &Watch) -> Result<(), Cause> {
        let Some(plan) = (self.primary)() else { return Err(Cause::new("no_primary", "no server is the primary")) };
        if self.link.as_ref().is_some_and(|link| link.node == plan.node) {
            return Ok(());
        }
        if self.link.take().is_some() {
            watch.withdraw("primary_changed");
        }
        self.link = Some(Link::open(&plan).await?);
        Ok(())
    }

    async fn load(&mut self, watch: &Watch) -> Result<Next, Cause> {
        if let Some(last) = self.loaded {
            let gap = LOAD_GAP.saturating_sub(last.elapsed());
            tokio::time::sleep(gap).await;
        }
        static VERSION: AtomicU64 = AtomicU64::new(1);
        let Some(link) = &mut self.link else { return Err(Cause::new("no_primary", "no connection")) };
        // Read before anything is asked: a doubt that is raised from here on makes the answer worthless.
        let doubts = watch.doubts();
        self.loaded = Some(Instant::now());
        let loaded = link.load(!self.blind).await;
        if loaded.as_ref().is_err_and(|cause| cause.label == "query") && !self.blind {
            self.blind = true;
            tracing::warn!(database = %watch.database, "what functions leave in a session cannot be read");
        }
        let (stamp, mut rows) = loaded?;
        let version = VERSION.fetch_add(1, Ordering::Relaxed);
        // A database of many thousand objects takes a moment that other tasks of this thread need not wait for.
        let built = tokio::task::spawn_blocking(move || {
            let hidden = Hidden::new(version, &rows.hidden);
            if let Some(hidden) = &hidden {
                rows.suspect_all(|name| hidden.is_called(name));
            }
            (Catalog::new(version, &rows), hidden)
        });
        let (catalog, hidden) = built.await.map_err(|error| Cause::new("answer", error))?;
        let catalog = Arc::new(catalog);
        watch.hidden.store(hidden.map(Arc::new));
        if !watch.publish(Arc::clone(&catalog), doubts) {
            return Ok(Next::LoadAgain);
        }
        self.stamp = Some(stamp);
        self.succeed(watch, &catalog);
        Ok(Next::Look)
    }

    fn rest(&mut self, watch: &Watch) {
        if self.link.take().is_some() {
            watch.withdraw("catalog_idle");
        }
        self.stamp = None;
    }

    fn succeed(&mut self, watch: &Watch, catalog: &Catalog) {
        let database = &watch.database;
        let cause = catalog.hard_off().map(|off| Cause::new(off.label(), "reads cannot be told from writes here"));
        match (&cause, &self.told) {
            (Some(now), before) if before.as_ref() != Some(now) => {
                tracing::warn!(%database, reason = now.label, "no statement is proven to be a read: {}", now.detail);
            }
            (None, Some(_)) => tracing::info!(%database, "the catalog is known again"),
            _ => {}
        }
        self.told = cause;
    }

    fn fail(&mut self, watch: &Watch, cause: Cause) {
        self.link = None;
        watch.withdraw(cause.label);
        if self.told.as_ref() != Some(&cause) {
            let database = &watch.database;
            tracing::warn!(%database, reason = cause.label, "the catalog cannot be read: {}", cause.detail);
        }
        self.told = Some(cause);
    }
}

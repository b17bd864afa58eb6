//! What lists show of a client beyond its state: noted by its own task at the end of a loan, read by whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::net::ends::Ends;
use crate::session::Session;
use crate::session::pin::Pin;
use crate::session::settings::Settings;
use crate::stats::{Tally, Wait};
use crate::wire::startup::Replication;

/// Who a client is, for logs and lists.
pub struct Who {
    pub id: u64,
    pub ends: Box<Ends>,
    /// The one that it logged in as.
    pub user: Arc<str>,
    /// Its TLS by name; empty without.
    pub tls: Box<str>,
}

/// One client's. Times are microseconds on the clock of entries.
pub struct Shown {
    pub who: Who,
    pub connected: u64,
    requested: AtomicU64,
    /// The books of its pool.
    tally: Mutex<Arc<Tally>>,
    /// What it waits for while it is `Waiting`.
    wait: AtomicU8,
    settings: Mutex<Arc<Settings>>,
    /// Where they are in memory, so that the lock is taken only for others.
    settings_at: AtomicUsize,
    prepared: AtomicU32,
    pin: Mutex<Option<Pin>>,
    /// 0: not pinned.
    pinned_since: AtomicU64,
    /// The log has named this pin for its age.
    pin_named: AtomicBool,
}

impl Shown {
    pub fn new(who: Who, tally: Arc<Tally>, now: u64) -> Shown {
        Shown {
            who,
            connected: now,
            requested: AtomicU64::new(now),
            tally: Mutex::new(tally),
            wait: AtomicU8::new(0),
            settings: Mutex::default(),
            settings_at: AtomicUsize::new(0),
            prepared: AtomicU32::new(0),
            pin: Mutex::new(None),
            pinned_since: AtomicU64::new(0),
            pin_named: AtomicBool::new(false),
        }
    }

    pub fn note_request(&self, now: u64) {
        self.requested.store(now, Ordering::Relaxed);
    }

    /// When its last request began.
    pub fn requested(&self) -> u64 {
        self.requested.load(Ordering::Relaxed)
    }

    /// A reload gave it another pool.
    pub fn note_tally(&self, tally: &Arc<Tally>) {
        *self.tally.lock() = Arc::clone(tally);
    }

    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally.lock())
    }

    pub fn note_wait(&self, why: Wait) {
        self.wait.store(why as u8, Ordering::Relaxed);
    }

    /// What it waits for, or waited for last.
    pub fn waits_for(&self) -> Wait {
        let number = usize::from(self.wait.load(Ordering::Relaxed));
        Wait::ALL.get(number).copied().unwrap_or(Wait::PoolFull)
    }

    /// The settings that it has without a session.
    pub fn note_settings(&self, settings: &Arc<Settings>) {
        *self.settings.lock() = Arc::clone(settings);
    }

    /// How its session is now. The pin, if it is a new one.
    pub fn note(&self, session: &Session, now: u64) -> Option<Pin> {
        let at = Arc::as_ptr(session.settings()) as usize;
        if self.settings_at.load(Ordering::Relaxed) != at {
            *self.settings.lock() = Arc::clone(session.settings());
            self.settings_at.store(at, Ordering::Relaxed);
        }
        self.prepared.store(session.prepared() as u32, Ordering::Relaxed);
        let (pin, since) = (session.pin(), self.pinned_since.load(Ordering::Relaxed));
        if pin.is_some() == (since != 0) {
            return None;
        }
        *self.pin.lock() = pin;
        self.pin_named.store(false, Ordering::Relaxed);
        self.pinned_since.store(if pin.is_some() { now.max(1) } else { 0 }, Ordering::Relaxed);
        pin
    }

    pub fn application_name(&self) -> Box<str> {
        self.settings.lock().get("application_name").unwrap_or_default().into()
    }

    pub fn prepared(&self) -> usize {
        self.prepared.load(Ordering::Relaxed) as usize
    }

    /// Why its server stays with it, and since when.
    pub fn pin(&self) -> Option<(&'static str, u64)> {
        let pin = *self.pin.lock();
        pin.map(|pin| (pin.label(), self.pinned_since.load(Ordering::Relaxed)))
    }

    /// The pin and its age, once it has lasted for so long; None when it was asked for before.
    pub fn outlasts(&self, now: Duration, limit: Duration) -> Option<(&'static str, Duration)> {
        let (reason, since) = self.pin()?;
        let lasted = now.saturating_sub(Duration::from_micros(since));
        let new = lasted >= limit && !self.pin_named.swap(true, Ordering::Relaxed);
        new.then_some((reason, lasted))
    }

    /// What its connection is for, if not for queries.
    pub fn replication(&self) -> Option<Replication> {
        match *self.pin.lock() {
            Some(Pin::Replication(replication)) => Some(replication),
            _ => None,
        }
    }

    pub fn is_pinned(&self) -> bool {
        self.pinned_since.load(Ordering::Relaxed) != 0
    }
}

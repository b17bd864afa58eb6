//! The roll: every server connection of the pools, for whoever lists them.
//!
//! A connection is entered when it was opened and struck off when it is dropped. What it does is not noted but derived
//! when somebody looks (`client::survey`); what else changes is an atomic of its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use dashmap::DashMap;

use super::{Gate, Server};
use crate::pool::{Permit, Pool};
use crate::stats::Tally;
use crate::wire::startup::Replication;

/// What lists show of a connection.
pub struct Face {
    pub id: u64,
    pub tally: Arc<Tally>,
    pool: Weak<Pool<Server>>,
    pub node: usize,
    epoch: u64,
    /// Ours, and the server's; None over a unix socket.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    pub tls: Box<str>,
    pub replication: Option<Replication>,
    pub connected: SystemTime,
    /// Microseconds on the clock of `client::Entry`; 0: never lent.
    requested: AtomicU64,
    prepared: AtomicU32,
    cleaning: AtomicBool,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Face({})", self.id)
    }
}

impl Face {
    /// Its last request began then.
    pub fn note_request(&self, micros: u64) {
        self.requested.store(micros, Ordering::Relaxed);
    }

    pub fn requested(&self) -> u64 {
        self.requested.load(Ordering::Relaxed)
    }

    /// How many prepared statements it has.
    pub fn note_prepared(&self, count: usize) {
        self.prepared.store(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    pub fn prepared(&self) -> usize {
        self.prepared.load(Ordering::Relaxed) as usize
    }

    /// It is made clean for the next client.
    pub fn is_cleaning(&self) -> bool {
        self.cleaning.load(Ordering::Relaxed)
    }

    /// It closes when it comes back.
    pub fn must_close(&self) -> bool {
        self.pool.upgrade().is_none_or(|pool| pool.epoch(self.node) != self.epoch)
    }
}

/// All of them.
#[derive(Default)]
pub struct Roll {
    last: AtomicU64,
    gates: DashMap<u64, Arc<Gate>>,
}

impl Roll {
    /// In the order of their ids.
    pub fn all(&self) -> Vec<Arc<Gate>> {
        let mut all: Vec<_> = self.gates.iter().map(|entry| Arc::clone(&entry)).collect();
        all.sort_by_key(|gate| gate.face().map(|face| face.id));
        all
    }
}

/// A place on the roll, given back when it is dropped.
pub struct Enrolled {
    roll: Arc<Roll>,
    id: u64,
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.roll.gates.remove(&self.id);
    }
}

impl Gate {
    pub(super) fn note_cleaning(&self, cleaning: bool) {
        if let Some(face) = self.face() {
            face.cleaning.store(cleaning, Ordering::Relaxed);
        }
    }
}

impl Server {
    /// Enters a connection that was opened for this permit.
    pub fn enrol(
        &mut self,
        roll: &Arc<Roll>,
        permit: &Permit<Server>,
        tally: &Arc<Tally>,
        replication: Option<Replication>,
    ) {
        let id = roll.last.fetch_add(1, Ordering::Relaxed) + 1;
        let face = Face {
            id,
            tally: Arc::clone(tally),
            pool: Arc::downgrade(permit.pool()),
            node: permit.node(),
            epoch: permit.epoch(),
            ends: self.stream.ends(),
            tls: self.stream.tls_name().into(),
            replication,
            connected: SystemTime::now() - Instant::now().saturating_duration_since(self.born),
            requested: AtomicU64::new(0),
            prepared: AtomicU32::new(0),
            cleaning: AtomicBool::new(false),
        };
        if self.gate.face.set(face).is_ok() {
            roll.gates.insert(id, Arc::clone(&self.gate));
            self.enrolled = Some(Enrolled { roll: Arc::clone(roll), id });
        }
    }
}

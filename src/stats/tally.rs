//! The books of one pool: what was done for one user in one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Process;
use super::meter::Meter;
use super::rare::Named;
use super::totals::{Looks, Totals};

/// No server: what clients were told or waited for without one.
pub const NOWHERE: usize = usize::MAX;

/// One pool's counters. A pool that a reload replaced goes on with the same ones, so that no total falls.
pub struct Tally {
    database: Arc<str>,
    user: Arc<str>,
    /// By the node's place in the pool's list.
    servers: Box<[(Box<str>, Arc<Meter>)]>,
    /// Of servers that are not in the list any more.
    past: Totals,
    kept: Arc<Kept>,
    process: Arc<Process>,
}

/// What does not depend on the list of servers.
#[derive(Default)]
struct Kept {
    nowhere: Meter,
    pins: Named,
    logins: AtomicU64,
    looks: Mutex<Looks>,
}

impl Tally {
    pub(super) fn new(database: &str, user: &str, addresses: &[String], process: &Arc<Process>) -> Tally {
        Tally {
            database: database.into(),
            user: user.into(),
            servers: addresses.iter().map(|address| (address.as_str().into(), Arc::default())).collect(),
            past: Totals::default(),
            kept: Arc::default(),
            process: Arc::clone(process),
        }
    }

    /// The same books, for a pool in front of these servers.
    pub(super) fn moved(&self, addresses: &[String]) -> Tally {
        let known = |address: &String| self.servers.iter().find(|(known, _)| **known == **address);
        let meter = |address: &String| known(address).map(|(_, meter)| Arc::clone(meter)).unwrap_or_default();
        let servers = addresses.iter().map(|address| (address.as_str().into(), meter(address))).collect();
        let mut past = self.past;
        let left = self.servers.iter().filter(|(known, _)| addresses.iter().all(|address| **address != **known));
        left.for_each(|(_, meter)| past.add(&meter.totals()));
        Tally {
            database: Arc::clone(&self.database),
            user: Arc::clone(&self.user),
            servers,
            past,
            kept: Arc::clone(&self.kept),
            process: Arc::clone(&self.process),
        }
    }

    pub(super) fn is_of(&self, addresses: &[String]) -> bool {
        self.servers.iter().map(|(known, _)| &**known).eq(addresses.iter().map(String::as_str))
    }

    /// The database's name in the config.
    pub fn database(&self) -> &Arc<str> {
        &self.database
    }

    /// The user that servers know.
    pub fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// The node's counters; any other number (`NOWHERE`) has its own.
    pub fn at(&self, node: usize) -> &Meter {
        self.servers.get(node).map_or(&self.kept.nowhere, |(_, meter)| meter)
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn logged_in(&self) {
        self.kept.logins.fetch_add(1, Ordering::Relaxed);
    }

    pub fn pinned(&self, reason: &'static str) {
        self.kept.pins.add(reason);
    }

    pub fn logins(&self) -> u64 {
        self.kept.logins.load(Ordering::Relaxed)
    }

    pub fn pins(&self) -> Vec<(&'static str, u64)> {
        self.kept.pins.all()
    }

    /// Each server's counters, under its address.
    pub fn by_server(&self) -> impl Iterator<Item = (&str, Totals)> {
        self.servers.iter().map(|(address, meter)| (&**address, meter.totals()))
    }

    /// Of servers that are not in the list any more, and of none.
    pub fn elsewhere(&self) -> Totals {
        let mut sum = self.past;
        sum.add(&self.kept.nowhere.totals());
        sum
    }

    /// Of all servers, present and past, and of none.
    pub fn totals(&self) -> Totals {
        let mut sum = self.elsewhere();
        self.by_server().for_each(|(_, totals)| sum.add(&totals));
        sum
    }

    pub fn looks(&self) -> Looks {
        *self.kept.looks.lock()
    }

    pub(super) fn turn(&self) {
        let now = self.totals();
        self.kept.looks.lock().turn(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn other_servers_take_nothing_away() {
        let tally = Tally::new("shop", "ann", &list(&["a", "b"]), &Arc::default());
        tally.at(0).here().query(1);
        tally.at(1).here().query(2);
        tally.at(NOWHERE).here().query(4);
        tally.logged_in();
        let moved = tally.moved(&list(&["c", "b"]));
        moved.at(0).here().query(8);
        assert_eq!((moved.totals().queries.sum, moved.logins()), (15, 1));
        assert!(moved.by_server().map(|(address, totals)| (address, totals.queries.sum)).eq([("c", 8), ("b", 2)]));
        assert!(moved.is_of(&list(&["c", "b"])) && !moved.is_of(&list(&["b", "c"])));
        assert_eq!(moved.moved(&list(&["a"])).totals().queries.sum, 15);
    }
}

//! When a database was last written to through this proxy: kept per cluster and the database's name on the server,
//! whatever names the config has for either.
//!
//! Lists that name a server in common are of one cluster, and so are those whose primaries show the same system
//! identifier. What is not known to be written to counts as written to just now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use parking_lot::Mutex;

use crate::config::Address;

/// The one clock of samples and writes: nanoseconds since the process began, never 0. Monotonic.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    pub fn now(self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// The last acknowledged batch that may have written to one database.
#[derive(Debug)]
pub struct Writes {
    last: AtomicU64,
    /// The same database, as another list named it: it is told too, and asked.
    same: OnceLock<Arc<Writes>>,
}

impl Writes {
    fn since(now: u64) -> Arc<Writes> {
        Arc::new(Writes { last: AtomicU64::new(now), same: OnceLock::new() })
    }

    /// `now` was read before the acknowledgement was passed on.
    pub fn note(&self, now: u64) {
        self.last.fetch_max(now, Ordering::SeqCst);
        // Either we see the other one here, or who joins the two sees what we wrote.
        fence(Ordering::SeqCst);
        if let Some(same) = self.same.get() {
            same.note(now);
        }
    }

    pub fn last(&self) -> u64 {
        let own = self.last.load(Ordering::SeqCst);
        self.same.get().map_or(own, |same| own.max(same.last()))
    }

    fn join(&self, same: Arc<Writes>) {
        if self.same.set(Arc::clone(&same)).is_ok() {
            fence(Ordering::SeqCst);
            same.note(self.last.load(Ordering::SeqCst));
        }
    }
}

/// The databases of one cluster.
#[derive(Debug, Default)]
pub struct Book {
    names: Mutex<HashMap<String, Arc<Writes>>>,
    /// It turned out to be of the same cluster as this one, which has the truth.
    to: OnceLock<Arc<Book>>,
}

impl Book {
    /// The database of that name on the server.
    pub fn writes(&self, dbname: &str, now: u64) -> Arc<Writes> {
        let mut names = self.names.lock();
        if let Some(to) = self.to.get() {
            drop(names);
            return to.writes(dbname, now);
        }
        let found = names.entry(dbname.to_owned()).or_insert_with(|| Writes::since(now));
        Arc::clone(found)
    }

    fn root(self: &Arc<Book>) -> Arc<Book> {
        let mut root = Arc::clone(self);
        while let Some(to) = root.to.get().map(Arc::clone) {
            root = to;
        }
        root
    }
}

/// All books of the process.
#[derive(Debug, Default)]
pub struct Books {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    by_address: HashMap<Address, Arc<Book>>,
    by_system: HashMap<u64, Arc<Book>>,
}

impl Books {
    /// The book of the cluster that these servers belong to.
    pub fn of<'a>(&self, addresses: impl Iterator<Item = &'a Address> + Clone) -> Arc<Book> {
        let mut pages = self.pages.lock();
        let known = addresses.clone().find_map(|address| pages.by_address.get(address).map(Arc::clone));
        let book = known.unwrap_or_default();
        for address in addresses {
            let other = pages.by_address.entry(address.clone()).or_insert_with(|| Arc::clone(&book));
            unite(other, &book);
        }
        book
    }

    /// The book's cluster has this system identifier. To be called before anything is judged by it.
    pub fn identify(&self, book: &Arc<Book>, system: u64) {
        let mut pages = self.pages.lock();
        let other = pages.by_system.entry(system).or_insert_with(|| Arc::clone(book));
        unite(book, other);
    }

    /// Forgets databases that nobody holds; who comes back begins with a write of that moment.
    pub fn sweep(&self) {
        let pages = self.pages.lock();
        for book in pages.by_address.values().chain(pages.by_system.values()) {
            book.names.lock().retain(|_, writes| Arc::strong_count(writes) > 1);
        }
    }
}

/// Makes two books one. Callers hold the lock of all books.
fn unite(one: &Arc<Book>, other: &Arc<Book>) {
    let (from, to) = (one.root(), other.root());
    if Arc::ptr_eq(&from, &to) {
        return;
    }
    let names = from.names.lock();
    let _first = from.to.set(Arc::clone(&to));
    for (dbname, writes) in names.iter() {
        writes.join(to.writes(dbname, writes.last()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<Address> {
        ports.iter().map(|&port| Address::Tcp { host: "h".to_owned(), port }).collect()
    }

    #[test]
    fn the_clock_runs_and_never_says_zero() {
        let clock = Clock::new();
        let first = clock.now();
        assert!(first > 0 && clock.now() >= first);
    }

    #[test]
    fn a_database_is_noted_once_whatever_the_lists() {
        let books = Books::default();
        let [first, second, other] = [&[1, 2][..], &[2, 3], &[9]].map(|ports| books.of(addresses(ports).iter()));
        let (a, b) = (first.writes("app", 5), second.writes("app", 7));
        assert_eq!(a.last(), 5, "the second one is the same");
        b.note(10);
        a.note(8);
        assert_eq!((a.last(), b.last()), (10, 10));
        assert_eq!(first.writes("else", 3).last(), 3, "another database of the cluster");
        assert_eq!(other.writes("app", 1).last(), 1, "another cluster");
    }

    #[test]
    fn lists_that_a_third_one_joins_are_one() {
        let books = Books::default();
        let (a, b) = (books.of(addresses(&[1, 2]).iter()), books.of(addresses(&[3, 4]).iter()));
        let (early, late) = (a.writes("app", 1), b.writes("app", 1));
        early.note(50);
        let c = books.of(addresses(&[2, 3]).iter());
        assert_eq!((early.last(), late.last(), c.writes("app", 99).last()), (50, 50, 50));
        late.note(60);
        assert_eq!((early.last(), c.writes("app", 99).last()), (60, 60));
        early.note(70);
        assert_eq!((late.last(), c.writes("app", 99).last()), (70, 70));
    }

    #[test]
    fn a_shared_system_identifier_makes_one_of_two() {
        let books = Books::default();
        let (a, b) = (books.of(addresses(&[1]).iter()), books.of(addresses(&[2]).iter()));
        let (x, y) = (a.writes("app", 1), b.writes("app", 2));
        x.note(20);
        books.identify(&a, 7);
        assert_eq!(y.last(), 2);
        books.identify(&b, 7);
        books.identify(&a, 7);
        assert_eq!((x.last(), y.last()), (20, 20));
        y.note(30);
        x.note(25);
        assert_eq!((x.last(), y.last(), b.writes("app", 99).last()), (30, 30, 30));
        // They change places: no circle.
        books.identify(&b, 8);
        books.identify(&a, 8);
        x.note(40);
        assert_eq!(y.last(), 40);
    }

    #[test]
    fn what_nobody_holds_is_forgotten_towards_caution() {
        let books = Books::default();
        let book = books.of(addresses(&[1]).iter());
        let held = book.writes("held", 1);
        drop(book.writes("gone", 1));
        books.sweep();
        assert_eq!((book.writes("held", 9).last(), book.writes("gone", 9).last()), (1, 9));
        drop(held);
    }
}

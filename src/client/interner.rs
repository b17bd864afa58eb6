//! One value per statement text for the whole process, and which unnamed ones repeat, for each thread by itself.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use foldhash::quality::RandomState;

use crate::session::prepared::{Intern, Statement};
use crate::session::repeats::{Repeating, Repeats, Said, Terms, Ticket, Use};
use crate::sql::End;

thread_local! {
    static REPEATS: RefCell<Repeats> = RefCell::new(Repeats::default());
}

/// The shared statements, held weakly: a statement lives as long as some client or server uses it.
pub struct Interner {
    map: DashMap<u64, Vec<Shared>>,
    hash: RandomState,
    next: AtomicU64,
    /// Uses before an unnamed statement is shared; 0: never.
    share_after: AtomicU32,
    /// Changes of the catalog that passed here.
    catalog: AtomicU64,
    /// Rounds of the janitor: what changed elsewhere is seen with the next one.
    rounds: AtomicU64,
}

struct Shared {
    scope: Box<[u8]>,
    statement: Weak<Statement>,
}

impl Default for Interner {
    fn default() -> Interner {
        Interner {
            map: DashMap::new(),
            hash: RandomState::default(),
            next: AtomicU64::new(1),
            share_after: AtomicU32::new(0),
            catalog: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
        }
    }
}

impl Interner {
    /// Forgets statements that nobody uses, and has servers learn those anew that are shared; the janitor's work.
    pub fn sweep(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        self.map.retain(|_, shared| {
            shared.retain(|one| one.statement.strong_count() > 0);
            !shared.is_empty()
        });
    }

    /// The config's `share_unnamed_after`, from now on.
    pub fn share_after(&self, uses: u32) {
        self.share_after.store(uses, Ordering::Relaxed);
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

impl Intern for Interner {
    /// Compared in full: the hash only finds the place.
    fn shared(&self, rest: &[u8], scope: &[u8], make: &mut dyn FnMut(u64) -> Statement) -> Arc<Statement> {
        let mut place = self.map.entry(self.hash.hash_one((rest, scope))).or_default();
        let same =
            |one: &Shared| one.statement.upgrade().filter(|statement| *statement.rest == *rest && *one.scope == *scope);
        if let Some(found) = place.iter().find_map(same) {
            return found;
        }
        let statement = Arc::new(make(self.private_id()));
        place.push(Shared { scope: scope.into(), statement: Arc::downgrade(&statement) });
        statement
    }

    fn private_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Repeating for Interner {
    fn shares(&self) -> bool {
        self.share_after.load(Ordering::Relaxed) > 0
    }

    fn repeated(&self, said: &Said<'_>, fits: &dyn Fn() -> Option<End>) -> Use {
        let catalog = self.catalog.load(Ordering::Acquire);
        let age = catalog.wrapping_add(self.rounds.load(Ordering::Relaxed));
        let terms = Terms { after: self.share_after.load(Ordering::Relaxed), catalog, age };
        let mut make = || {
            let make = |end| self.shared(said.rest, &scope(said), &mut |id| Statement::lasting(id, said.rest, end));
            fits().map(make)
        };
        let tag = self.hash.hash_one((said.rest, said.scope));
        REPEATS.with_borrow_mut(|repeats| repeats.say(tag, said, terms, &mut make))
    }

    fn took(&self, ticket: Ticket, micros: u64) -> bool {
        REPEATS.with_borrow_mut(|repeats| repeats.took(ticket, micros))
    }

    fn changed_catalog(&self) {
        self.catalog.fetch_add(1, Ordering::AcqRel);
    }
}

/// What makes equal unnamed texts different statements. It begins like no named one's.
fn scope(said: &Said<'_>) -> Vec<u8> {
    let mut scope = vec![0];
    for (name, value) in said.settings.plan_scope() {
        for part in [name, value] {
            scope.extend(part.bytes());
            scope.push(0);
        }
    }
    scope
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::prepared::server_name;
    use crate::sql::{End, Taints};

    fn intern(interner: &Interner, rest: &[u8], scope: &[u8]) -> Arc<Statement> {
        let mut make = |id| Statement {
            id,
            name: server_name(id),
            rest: rest.into(),
            taints: Taints::NONE,
            catalog: false,
            end: End::Open,
            effect: None,
        };
        interner.shared(rest, scope, &mut make)
    }

    #[test]
    fn equal_texts_in_equal_scopes_are_one_statement() {
        let interner = Interner::default();
        let a = intern(&interner, b"select 1", b"");
        assert!(Arc::ptr_eq(&a, &intern(&interner, b"select 1", b"")));
        assert_ne!(a.id, intern(&interner, b"select 1", b"search_path").id);
        assert_ne!(a.id, intern(&interner, b"select 2", b"").id);
        interner.sweep();
        assert_eq!(interner.len(), 1);
        drop(a);
        interner.sweep();
        assert!(interner.is_empty());
    }
}

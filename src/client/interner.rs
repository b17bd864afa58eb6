//! One value per statement text for the whole process.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use foldhash::quality::RandomState;

use crate::session::prepared::{Intern, Statement};

/// The shared statements, held weakly: a statement lives as long as some client or server uses it.
pub struct Interner {
    map: DashMap<u64, Vec<Shared>>,
    hash: RandomState,
    next: AtomicU64,
}

struct Shared {
    scope: Box<[u8]>,
    statement: Weak<Statement>,
}

impl Default for Interner {
    fn default() -> Interner {
        Interner { map: DashMap::new(), hash: RandomState::default(), next: AtomicU64::new(1) }
    }
}

impl Interner {
    /// Forgets statements that nobody uses; the janitor's work.
    pub fn sweep(&self) {
        self.map.retain(|_, shared| {
            shared.retain(|one| one.statement.strong_count() > 0);
            !shared.is_empty()
        });
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

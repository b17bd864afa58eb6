//! Verdicts on texts, remembered by exact text: each thread has its own, bounded in bytes.
//!
//! A verdict holds for one version of a catalog and one way to cut texts; both belong to the key. Two generations take
//! turns: when the young one is full, the old one goes, and what is used again moves over. A text is remembered at its
//! second sight: whoever writes values into texts sends each of them once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::quality::FixedState;

use crate::sql::catalog::Catalog;
use crate::sql::{self, Access, Lexical};

/// Bytes of texts that one generation may hold.
const GENERATION: usize = 1 << 20;

/// Hashes of texts that were seen once, each in its own place; a power of two.
const SIGHTS: usize = 4096;

/// A longer text is judged each time: judging is linear, and so is comparing.
const LONGEST: usize = 8 << 10;

thread_local! {
    static VERDICTS: RefCell<Verdicts> = RefCell::new(Verdicts::default());
}

/// What decides a verdict beside the text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Terms {
    catalog: u64,
    lexical: Lexical,
}

struct Verdict {
    terms: Terms,
    text: Box<[u8]>,
    access: Access,
}

#[derive(Default)]
struct Verdicts {
    young: HashMap<u64, Verdict, foldhash::fast::FixedState>,
    old: HashMap<u64, Verdict, foldhash::fast::FixedState>,
    bytes: usize,
    sights: Vec<u64>,
}

/// The verdict on a text, and a hash of the text: the same for equal texts in the whole process.
pub fn judge(text: &[u8], lexical: Lexical, catalog: Option<&Catalog>) -> (Access, u64) {
    let hash = FixedState::with_seed(0).hash_one(text);
    if text.len() > LONGEST {
        return (sql::access(text, lexical, catalog), hash);
    }
    let terms = Terms { catalog: catalog.map_or(0, Catalog::version), lexical };
    let fresh = || sql::access(text, lexical, catalog);
    let access = VERDICTS.with_borrow_mut(|verdicts| verdicts.judge(hash, text, terms, fresh));
    (access, hash)
}

impl Verdicts {
    fn judge(&mut self, hash: u64, text: &[u8], terms: Terms, fresh: impl FnOnce() -> Access) -> Access {
        let holds = |verdict: &&Verdict| verdict.terms == terms && *verdict.text == *text;
        if let Some(found) = self.young.get(&hash).filter(holds) {
            return found.access;
        }
        let kept = self.old.remove(&hash).filter(|verdict| holds(&verdict));
        let verdict = match kept {
            Some(kept) => kept,
            None if self.is_first_sight(hash) => return fresh(),
            None => Verdict { terms, text: text.into(), access: fresh() },
        };
        let access = verdict.access;
        self.keep(hash, verdict);
        access
    }

    fn is_first_sight(&mut self, hash: u64) -> bool {
        if self.sights.is_empty() {
            self.sights = vec![0; SIGHTS];
        }
        let place = usize::try_from(hash % SIGHTS as u64).unwrap_or_default();
        self.sights.get_mut(place).is_some_and(|last| std::mem::replace(last, hash) != hash)
    }

    fn keep(&mut self, hash: u64, verdict: Verdict) {
        self.bytes += verdict.text.len() + size_of::<Verdict>();
        if self.bytes > GENERATION {
            self.bytes = verdict.text.len() + size_of::<Verdict>();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, verdict);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_remembered_for_its_terms_and_forgotten_in_time() {
        let mut verdicts = Verdicts::default();
        let mut asked = 0;
        let mut ask = |verdicts: &mut Verdicts, hash, text: &[u8], catalog| {
            let terms = Terms { catalog, lexical: Lexical::STANDARD };
            verdicts.judge(hash, text, terms, || {
                asked += 1;
                Access::Read
            });
            asked
        };
        assert_eq!(ask(&mut verdicts, 1, b"select 1", 1), 1);
        assert_eq!(ask(&mut verdicts, 1, b"select 1", 1), 2, "kept at the second sight");
        assert_eq!(ask(&mut verdicts, 1, b"select 1", 1), 2);
        assert_eq!(ask(&mut verdicts, 1, b"select 1", 2), 3, "another catalog");
        assert_eq!(ask(&mut verdicts, 1, b"select 2", 2), 4, "another text of the same hash");
        for n in 0..2_000 {
            ask(&mut verdicts, 10 + n, &[b'x'; 4096], 2);
            ask(&mut verdicts, 10 + n, &[b'x'; 4096], 2);
        }
        assert!(verdicts.young.len() + verdicts.old.len() <= 2 * GENERATION / 4096);
    }
}

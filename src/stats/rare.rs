//! Counters of rare things by name, and of errors by SQLSTATE; both are bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// By names of our own, which are few.
#[derive(Debug, Default)]
pub struct Named(Mutex<BTreeMap<&'static str, u64>>);

impl Named {
    pub fn add(&self, name: &'static str) {
        *self.0.lock().entry(name).or_default() += 1;
    }

    /// In the names' order; what never came up is not there.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().iter().map(|(name, count)| (*name, *count)).collect()
    }
}

/// Codes that are told apart; PostgreSQL has about 260, and an extension may make up its own.
const CODES: usize = 512;

/// What the rest is counted under.
pub const OTHER: &str = "other";

/// By SQLSTATE. Takes no lock: an application may provoke many.
pub struct Codes {
    /// The five characters as a number, or 0 for a free place; and the count.
    places: Box<[(AtomicU64, AtomicU64)]>,
    other: AtomicU64,
}

impl Default for Codes {
    fn default() -> Codes {
        Codes { places: (0..CODES).map(|_| Default::default()).collect(), other: AtomicU64::new(0) }
    }
}

impl Codes {
    pub fn add(&self, sqlstate: &[u8]) {
        let place = number(sqlstate).and_then(|code| self.place(code));
        place.unwrap_or(&self.other).fetch_add(1, Ordering::Relaxed);
    }

    /// The code's own place; None if all are taken by others.
    fn place(&self, code: u64) -> Option<&AtomicU64> {
        let first = code as usize % CODES;
        (0..CODES).map(|step| &self.places[(first + step) % CODES]).find_map(|(key, count)| {
            let there = match key.load(Ordering::Relaxed) {
                0 => key
                    .compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed)
                    .map_or_else(|taken| taken, |_| code),
                taken => taken,
            };
            (there == code).then_some(count)
        })
    }

    /// In the codes' order, with `OTHER` last if there is any.
    pub fn all(&self) -> Vec<(String, u64)> {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let taken = self.places.iter().filter(|(key, count)| load(key) != 0 && load(count) != 0);
        let mut all: Vec<_> = taken.map(|(key, count)| (text(load(key)), load(count))).collect();
        all.sort();
        all.extend(Some((OTHER.to_owned(), load(&self.other))).filter(|(_, count)| *count > 0));
        all
    }
}

/// Five capital letters and digits, as the standard has them; anything else is not believed.
fn number(sqlstate: &[u8]) -> Option<u64> {
    let sound = sqlstate.len() == 5 && sqlstate.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    sound.then(|| sqlstate.iter().fold(0, |code, byte| code << 8 | u64::from(*byte)))
}

fn text(code: u64) -> String {
    code.to_be_bytes()[3..].iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_and_bounded() {
        let codes = Codes::default();
        ["23505", "40001", "23505", "nope!", ""].iter().for_each(|code| codes.add(code.as_bytes()));
        let found = codes.all();
        assert_eq!(found, [("23505".into(), 2), ("40001".into(), 1), (OTHER.into(), 2)]);
        for n in 0..2 * CODES {
            codes.add(format!("X{n:04}").as_bytes());
        }
        assert_eq!(codes.all().len(), CODES + 1);
        assert_eq!(codes.all().iter().map(|(_, count)| count).sum::<u64>(), 5 + 2 * CODES as u64);
    }

    #[test]
    fn names_are_counted_in_order() {
        let named = Named::default();
        ["b", "a", "b"].into_iter().for_each(|name| named.add(name));
        assert_eq!(named.all(), [("a", 1), ("b", 2)]);
    }
}

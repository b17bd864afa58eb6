//! [pure] Which names need no look-up: nearly all words of a text mean nothing to the split, wherever they stand.

use super::catalog::NAME_LIMIT;

/// A set of names that holds at least those that were added: by their lengths and three of their letters.
#[derive(Debug)]
pub(super) struct Sieve([u64; 1 << (SIEVE_BITS - 6)]);

/// A stock database adds four hundred names: one of twenty others passes.
const SIEVE_BITS: u32 = 13;

impl Default for Sieve {
    fn default() -> Sieve {
        Sieve([0; 1 << (SIEVE_BITS - 6)])
    }
}

impl Sieve {
    pub(super) fn add(&mut self, name: &[u8]) {
        let place = Self::place(name);
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    #[inline]
    pub(super) fn may_hold(&self, name: &[u8]) -> bool {
        let place = Self::place(name);
        name.len() >= NAME_LIMIT || self.0.get(place / 64).is_some_and(|word| word & (1 << (place % 64)) != 0)
    }

    /// The same for both cases of a letter.
    #[inline]
    fn place(name: &[u8]) -> usize {
        let letter = |at: usize| name.get(at).map_or(0, |byte| u32::from(byte | 0x20));
        let len = name.len();
        let key = letter(0) | letter(len / 2) << 8 | letter(len.wrapping_sub(1)) << 16 | (len as u32 & 0x7F) << 24;
        (key.wrapping_mul(0x9e37_79b1) >> (32 - SIEVE_BITS)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_held_in_any_case_and_little_else() {
        let mut sieve = Sieve::default();
        let names: Vec<String> = (0..400).map(|n| format!("pg_stat_{n}_view")).chain(["a".to_owned()]).collect();
        names.iter().for_each(|name| sieve.add(name.as_bytes()));
        for name in &names {
            assert!(sieve.may_hold(name.as_bytes()) && sieve.may_hold(name.to_uppercase().as_bytes()), "{name}");
        }
        let others = (0..1000).filter(|n| sieve.may_hold(format!("column_{n}").as_bytes())).count();
        assert!(others < 200, "{others} of 1000");
        assert!(sieve.may_hold(&[b'x'; NAME_LIMIT]) && !sieve.may_hold(b""), "PostgreSQL cuts a long name");
    }
}

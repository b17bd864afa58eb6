//! [pure] One of several fit standbys: the proxy's own zone first, then by weight. Chance is an argument.

/// A standby that may serve the read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub node: usize,
    pub weight: u32,
    /// In the proxy's own zone.
    pub near: bool,
}

/// The candidate that `seed` falls on. Those of other zones count only where no near one has a weight.
pub fn choose(candidates: impl Iterator<Item = Candidate> + Clone, seed: u64) -> Option<usize> {
    let total =
        |near: bool| candidates.clone().filter(|one| one.near || !near).map(|one| u64::from(one.weight)).sum::<u64>();
    let near = total(true) > 0;
    let mut left = seed.checked_rem(total(near))?;
    for one in candidates.filter(|one| one.near || !near) {
        match left.checked_sub(u64::from(one.weight)) {
            Some(rest) => left = rest,
            None => return Some(one.node),
        }
    }
    None
}

/// Spreads a counter over all values (splitmix64), so that counting up gives a fair seed.
pub fn spread(count: u64) -> u64 {
    let mut z = count.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(list: &[(u32, bool)]) -> Vec<Candidate> {
        list.iter().enumerate().map(|(node, &(weight, near))| Candidate { node, weight, near }).collect()
    }

    fn picks(list: &[(u32, bool)], seeds: std::ops::Range<u64>) -> Vec<Option<usize>> {
        seeds.map(|seed| choose(all(list).into_iter(), seed)).collect()
    }

    #[test]
    fn weights_are_shares_and_zero_is_none() {
        assert_eq!(picks(&[], 0..2), [None, None]);
        assert_eq!(picks(&[(0, false), (0, true)], 0..2), [None, None]);
        assert_eq!(picks(&[(1, false), (0, false), (2, false)], 0..4), [Some(0), Some(2), Some(2), Some(0)]);
    }

    #[test]
    fn the_own_zone_goes_first() {
        assert_eq!(picks(&[(9, false), (1, true), (1, true)], 0..4), [Some(1), Some(2), Some(1), Some(2)]);
        // A near one without a weight does not keep the others away.
        assert_eq!(picks(&[(1, false), (0, true)], 0..2), [Some(0), Some(0)]);
    }

    #[test]
    fn a_counter_becomes_fair_chance() {
        let list = all(&[(1, false), (3, false)]);
        let hits = (0..4000).filter(|n| choose(list.iter().copied(), spread(*n)) == Some(1)).count();
        assert!((2850..3150).contains(&hits), "{hits} of 4000");
    }
}

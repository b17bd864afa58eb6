//! [pure] Durations by size: the bounds that all histograms share, and a histogram as a reader sees it.

/// Upper bounds in microseconds, each included; a last bucket has none. Fine where pools live (a tenth of a millisecond
/// to a second), so that a quantile is off by a factor of 2.5 at most.
pub const BOUNDS: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// With the one that has no bound.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a duration.
pub fn bucket(micros: u64) -> usize {
    // Most are short: they are found at once.
    BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len())
}

/// How many durations fell in each bucket, and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; BUCKETS],
    /// Microseconds.
    pub sum: u64,
}

impl Histogram {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn add(&mut self, other: &Histogram) {
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// Each bound with how many durations are within it; the last one, without a bound, is `count`.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        BOUNDS.into_iter().zip(self.buckets).scan(0, |below, (bound, count)| {
            *below += count;
            Some((bound, *below))
        })
    }

    /// The bound in microseconds that this share (0 to 1) of all durations keeps; None of no durations. Beyond the last
    /// bound it is the last one.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = (share * count as f64).ceil() as u64;
        let last = BOUNDS[BOUNDS.len() - 1];
        (count > 0).then(|| self.cumulative().find(|(_, below)| *below >= rank).map_or(last, |(bound, _)| bound))
    }

    /// What came since an earlier look.
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut left = *self;
        left.buckets.iter_mut().zip(earlier.buckets).for_each(|(now, then)| *now = now.saturating_sub(then));
        left.sum = left.sum.saturating_sub(earlier.sum);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        assert_eq!((bucket(0), bucket(50), bucket(51)), (0, 0, 1));
        assert_eq!((bucket(10_000_000), bucket(10_000_001), bucket(u64::MAX)), (16, 17, 17));
    }

    #[test]
    fn quantiles_are_bounds() {
        let mut seen = Histogram::default();
        assert_eq!(seen.quantile(0.5), None);
        [40, 60, 60, 400, 20_000_000].iter().for_each(|micros| seen.buckets[bucket(*micros)] += 1);
        assert_eq!((seen.quantile(0.2), seen.quantile(0.6), seen.quantile(0.8)), (Some(50), Some(100), Some(500)));
        assert_eq!(seen.quantile(1.0), Some(10_000_000));
        assert_eq!(seen.cumulative().last(), Some((10_000_000, 4)));
        assert_eq!(seen.since(&seen).count(), 0);
    }
}

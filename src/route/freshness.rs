//! [pure] As of when a standby is complete: the causal floor of every read that it serves.
//!
//! A sample is the primary's WAL insert position P together with a time *before* the question for it was sent. A
//! standby that has replayed up to R shows every transaction that was acknowledged before the latest sample with
//! P <= R: that sample's time is its `fresh`. A commit record is inserted before its acknowledgement in every mode, so
//! that only the insert position will do (a flush or write position misses asynchronous commits), and `fresh` may be
//! too small, which costs a read's way to the standby, but never too large.

use std::collections::VecDeque;

/// How many samples are kept. When they are too many, the one goes that leaves the smallest gap for its age: a standby
/// far behind keeps finding some, further apart the older they are.
const KEPT: usize = 256;

/// WAL positions of one primary on one timeline, against one clock.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// Times rise strictly, positions rise or stay.
    samples: VecDeque<Sample>,
    nodes: Vec<Replay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    at: u64,
    position: u64,
}

/// One standby.
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    /// `None`: not known, or of another history.
    position: Option<u64>,
    fresh: u64,
}

impl Freshness {
    pub fn new(nodes: usize) -> Freshness {
        Freshness { samples: VecDeque::with_capacity(KEPT), nodes: vec![Replay::default(); nodes] }
    }

    /// The primary's insert position, normalised, asked for at `at`. A sample as old as the last one or older says
    /// nothing new.
    pub fn sampled(&mut self, at: u64, position: u64) {
        if self.samples.back().is_some_and(|last| at <= last.at) {
            return;
        }
        // After a crash of the primary its log may end earlier than it once did.
        while self.samples.back().is_some_and(|last| last.position > position) {
            self.samples.pop_back();
        }
        match self.samples.back_mut() {
            Some(last) if last.position == position => last.at = at,
            _ => self.push(Sample { at, position }),
        }
        (0..self.nodes.len()).for_each(|node| self.refresh(node));
    }

    /// A standby's replay position. One that is smaller than the last is a restart's: what was shown before the restart
    /// may not be there yet.
    pub fn replayed(&mut self, node: usize, position: u64) {
        let Some(replay) = self.nodes.get_mut(node) else { return };
        if replay.position.is_some_and(|last| position < last) {
            replay.fresh = 0;
        }
        replay.position = Some(position);
        self.refresh(node);
    }

    /// This node's position means nothing any more: it is no standby, or of another history.
    pub fn forget(&mut self, node: usize) {
        if let Some(replay) = self.nodes.get_mut(node) {
            *replay = Replay::default();
        }
    }

    /// Another primary or timeline: positions of before cannot be compared with those of after.
    pub fn clear(&mut self) {
        self.samples.clear();
        self.nodes.fill(Replay::default());
    }

    /// 0: never.
    pub fn fresh(&self, node: usize) -> u64 {
        self.nodes.get(node).map_or(0, |replay| replay.fresh)
    }

    /// When the newest sample was asked for; 0: never.
    pub fn newest(&self) -> u64 {
        self.samples.back().map_or(0, |last| last.at)
    }

    /// Bytes of WAL between the newest sample and the node; `None`: one of them is not known.
    pub fn behind(&self, node: usize) -> Option<u64> {
        let replayed = self.nodes.get(node)?.position?;
        Some(self.samples.back()?.position.saturating_sub(replayed))
    }

    fn refresh(&mut self, node: usize) {
        let Some(replay) = self.nodes.get_mut(node) else { return };
        let Some(position) = replay.position else { return };
        let reached = self.samples.partition_point(|sample| sample.position <= position);
        if let Some(sample) = reached.checked_sub(1).and_then(|last| self.samples.get(last)) {
            replay.fresh = replay.fresh.max(sample.at);
        }
    }

    fn push(&mut self, sample: Sample) {
        if self.samples.len() >= KEPT {
            let gap = |n: usize| {
                let (before, after) = (self.samples.get(n - 1)?.at, self.samples.get(n + 1)?.at);
                Some((after - before) as f64 / (sample.at - self.samples.get(n)?.at) as f64)
            };
            let gaps = (1..self.samples.len()).filter_map(|n| Some((n, gap(n)?)));
            let least = gaps.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(n, _)| n);
            self.samples.remove(least);
        }
        self.samples.push_back(sample);
    }
}

/// The insert position as replay would report it. PostgreSQL reports a position at a page's start as behind the header
/// that the page will get (24 bytes, 40 at a segment's start), where replay reports the boundary: on an idle server the
/// two would never meet. No record ends inside a header, so that nothing is claimed that was not replayed.
pub fn normalised(position: u64, page: u64, segment: u64) -> u64 {
    const PAGE_HEADER: u64 = 24;
    const SEGMENT_HEADER: u64 = 40;
    if segment > 0 && position % segment == SEGMENT_HEADER {
        position - SEGMENT_HEADER
    } else if page > 0 && position % page == PAGE_HEADER {
        position - PAGE_HEADER
    } else {
        position
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fresh_is_the_time_of_the_last_sample_that_was_reached() {
        let mut f = Freshness::new(2);
        assert_eq!((f.fresh(0), f.newest(), f.behind(0)), (0, 0, None));
        f.sampled(10, 100);
        assert_eq!((f.fresh(0), f.newest(), f.behind(0)), (0, 10, None));
        f.replayed(0, 99);
        assert_eq!((f.fresh(0), f.behind(0)), (0, Some(1)));
        f.replayed(0, 100);
        assert_eq!((f.fresh(0), f.behind(0)), (10, Some(0)));
        // An idle primary's samples need no further answer of the standby's.
        f.sampled(20, 100);
        assert_eq!(f.fresh(0), 20);
        f.sampled(30, 200);
        assert_eq!(f.fresh(0), 20);
        f.replayed(0, 150);
        assert_eq!((f.fresh(0), f.behind(0)), (20, Some(50)));
        f.replayed(0, 250);
        assert_eq!((f.fresh(0), f.behind(0)), (30, Some(0)));
        assert_eq!((f.fresh(1), f.fresh(2)), (0, 0));
    }

    #[test]
    fn a_late_or_repeated_sample_says_nothing() {
        let mut f = Freshness::new(1);
        f.replayed(0, 500);
        f.sampled(20, 300);
        f.sampled(20, 600);
        f.sampled(10, 400);
        assert_eq!((f.fresh(0), f.newest()), (20, 20));
        f.replayed(0, 300);
        f.sampled(30, 400);
        assert_eq!(f.fresh(0), 20, "the refused ones are not kept");
    }

    #[test]
    fn a_standby_that_restarts_behind_is_judged_anew() {
        let mut f = Freshness::new(2);
        for (at, position) in [(10, 100), (20, 200), (30, 300)] {
            f.sampled(at, position);
        }
        f.replayed(0, 300);
        f.replayed(1, 300);
        f.replayed(0, 250);
        assert_eq!((f.fresh(0), f.fresh(1)), (20, 30));
        f.replayed(0, 50);
        assert_eq!(f.fresh(0), 0);
        f.replayed(0, 300);
        assert_eq!(f.fresh(0), 30);
    }

    #[test]
    fn a_primary_that_lost_the_end_of_its_log_takes_its_samples_along() {
        let mut f = Freshness::new(1);
        f.sampled(10, 100);
        f.sampled(20, 200);
        f.sampled(30, 150);
        f.replayed(0, 120);
        assert_eq!(f.fresh(0), 10);
        f.replayed(0, 150);
        assert_eq!(f.fresh(0), 30);
    }

    #[test]
    fn nothing_is_left_after_a_change_of_primary() {
        let mut f = Freshness::new(2);
        f.sampled(10, 100);
        f.replayed(0, 100);
        f.replayed(1, 100);
        f.forget(1);
        assert_eq!((f.fresh(0), f.fresh(1)), (10, 0));
        f.sampled(15, 100);
        assert_eq!(f.fresh(1), 0, "its position is not known");
        f.clear();
        assert_eq!((f.fresh(0), f.newest(), f.behind(0)), (0, 0, None));
        f.sampled(20, 50);
        assert_eq!(f.fresh(0), 0);
        f.replayed(0, 50);
        assert_eq!(f.fresh(0), 20);
    }

    #[test]
    fn a_standby_far_behind_finds_a_sample_all_the_same() {
        let mut f = Freshness::new(1);
        for n in 1..=100_000 {
            f.sampled(n, n);
        }
        assert!(f.samples.len() <= KEPT);
        for behind in [0, 5, 100, 10_000, 90_000] {
            f.replayed(0, 100_000 - behind);
            // Within a tenth of how far it is behind.
            let least = 100_000 - behind - behind / 10;
            assert!((least..=100_000 - behind).contains(&f.fresh(0)), "{} at {behind}", f.fresh(0));
        }
    }

    #[test]
    fn a_position_behind_a_page_header_is_the_boundary() {
        const PAGE: u64 = 8192;
        const SEGMENT: u64 = 16 << 20;
        let table = [
            (5 * PAGE + 24, 5 * PAGE),
            (5 * PAGE + 40, 5 * PAGE + 40),
            (5 * PAGE + 25, 5 * PAGE + 25),
            (3 * SEGMENT + 40, 3 * SEGMENT),
            (3 * SEGMENT + 24, 3 * SEGMENT),
            (3 * SEGMENT, 3 * SEGMENT),
            (3 * SEGMENT + 8, 3 * SEGMENT + 8),
            (0, 0),
        ];
        for (position, expected) in table {
            assert_eq!(normalised(position, PAGE, SEGMENT), expected, "{position}");
        }
        assert_eq!(normalised(SEGMENT + 40, PAGE, 4 * SEGMENT), SEGMENT + 40, "segments of 64 MB");
        assert_eq!(normalised(7, 0, 0), 7);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Sampled { after: u64, position: u64 },
        Replayed { node: usize, position: u64 },
        Forget(usize),
        Clear,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0..3_u64, 0..40_u64).prop_map(|(after, position)| Event::Sampled { after, position }),
            6 => (0..3_usize, 0..40_u64).prop_map(|(node, position)| Event::Replayed { node, position }),
            1 => (0..3_usize).prop_map(Event::Forget),
            1 => Just(Event::Clear),
        ]
    }

    proptest! {
        /// Against the definition: all samples since the last change of primary, the node's position, nothing else.
        #[test]
        fn fresh_never_exceeds_the_definition(events in proptest::collection::vec(event(), 0..600)) {
            let (mut f, mut now) = (Freshness::new(3), 1);
            let (mut samples, mut positions) = (Vec::new(), [None; 3]);
            for event in events {
                match event {
                    Event::Sampled { after, position } => {
                        now += after;
                        f.sampled(now, position);
                        samples.push((now, position));
                    }
                    Event::Replayed { node, position } => {
                        f.replayed(node, position);
                        positions[node] = Some(position);
                    }
                    Event::Forget(node) => {
                        f.forget(node);
                        positions[node] = None;
                    }
                    Event::Clear => {
                        f.clear();
                        samples.clear();
                        positions = [None; 3];
                    }
                }
                for (node, position) in positions.iter().enumerate() {
                    let reached = samples.iter().filter(|(_, sampled)| position.is_some_and(|at| *sampled <= at));
                    let expected = reached.map(|(at, _)| *at).max().unwrap_or(0);
                    prop_assert!(f.fresh(node) <= expected, "{} > {expected} at node {node}", f.fresh(node));
                }
            }
        }

        /// With a log that only grows and a standby that only follows, nothing is lost either.
        #[test]
        fn fresh_is_exact_where_positions_only_rise(steps in proptest::collection::vec((0..3_u64, 0..3_u64), 0..200)) {
            let (mut f, mut written, mut replayed, mut samples) = (Freshness::new(1), 1, 0, Vec::new());
            for (now, (more, less)) in (1..).zip(steps) {
                written += more;
                f.sampled(now, written);
                samples.push((now, written));
                replayed = (replayed + less).min(written);
                f.replayed(0, replayed);
                let reached = samples.iter().filter(|(_, position)| *position <= replayed);
                prop_assert_eq!(f.fresh(0), reached.map(|(at, _)| *at).max().unwrap_or(0));
            }
        }
    }
}

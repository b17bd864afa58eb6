//! [pure] On which worker a client lives: on as few as the work needs.
//!
//! A thread that has little to do is woken for each message alone, where a busy one finds several at once: the same work
//! costs up to a third more on two threads than on one. So clients gather on the first workers, and some go on to
//! another one when theirs comes near a core's worth of work. What counts is CPU time, not the time in which a thread is
//! not asleep: where others take the cores, more threads would only cost more.

/// One worker at a look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// CPU time over time: 1.0 is a core.
    pub busy: f64,
    pub clients: usize,
}

/// A new client goes to the first worker below this.
const ROOMY: f64 = 0.5;

/// A worker above this gives clients away.
const FULL: f64 = 0.7;

/// To one that is less busy by so much: where all are full nobody moves.
const WORTH: f64 = 0.2;

/// How many go at one look. What they bring to the other worker shows before more go, so that not all that work go and
/// make that one full.
const AT_ONCE: usize = 4;

/// How much of a look counts, against those before.
const WEIGHT: f64 = 0.7;

impl Load {
    /// The share of a core after another look.
    pub fn seen(&mut self, busy: f64) {
        self.busy += (busy - self.busy) * WEIGHT;
    }
}

/// Where a client goes that may go anywhere.
pub fn place(loads: &[Load]) -> usize {
    loads.iter().position(|load| load.busy < ROOMY).unwrap_or_else(|| least_busy(loads))
}

/// How many of this worker's clients are to go on elsewhere: as many as would make both equally busy, were all clients
/// alike, but few at once. One that works alone stays.
pub fn surplus(loads: &[Load], worker: usize) -> usize {
    let Some((load, to)) = loads.get(worker).zip(loads.get(place(loads))) else { return 0 };
    let more = load.busy - to.busy;
    if load.busy <= FULL || more <= WORTH {
        return 0;
    }
    let half = load.clients as f64 * more / 2.0 / load.busy;
    AT_ONCE.min(half as usize)
}

fn least_busy(loads: &[Load]) -> usize {
    let by_busy = |a: &(usize, &Load), b: &(usize, &Load)| a.1.busy.total_cmp(&b.1.busy);
    loads.iter().enumerate().min_by(by_busy).map_or(0, |(worker, _)| worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(all: &[(f64, usize)]) -> Vec<Load> {
        all.iter().map(|&(busy, clients)| Load { busy, clients }).collect()
    }

    #[test]
    fn clients_gather_on_the_first_workers_that_have_room() {
        assert_eq!(place(&loads(&[(0.4, 900), (0.0, 0)])), 0);
        assert_eq!(place(&loads(&[(0.6, 9), (0.1, 4), (0.0, 0)])), 1);
        assert_eq!(place(&loads(&[(0.9, 9), (0.7, 9), (0.8, 9)])), 1);
    }

    #[test]
    fn a_full_worker_gives_some_away_where_that_helps() {
        let calls = |all: &[(f64, usize)]| surplus(&loads(all), 0);
        assert_eq!(calls(&[(0.6, 16), (0.0, 0)]), 0, "not full");
        assert_eq!(calls(&[(0.9, 16), (0.0, 0)]), 4);
        assert_eq!(calls(&[(0.9, 3), (0.0, 0)]), 1);
        assert_eq!(calls(&[(1.0, 1), (0.0, 0)]), 0, "who works alone stays");
        assert_eq!(calls(&[(1.0, 99), (0.9, 99)]), 0, "all are full");
        assert_eq!(calls(&[(0.9, 99)]), 0, "there is no other");
    }

    /// Sixteen equal clients that need two cores and a half spread over four workers and stay there.
    #[test]
    fn work_spreads_until_no_worker_is_full_and_then_rests() {
        let each = 2.4 / 16.0;
        let mut all = loads(&[(0.0, 16), (0.0, 0), (0.0, 0), (0.0, 0)]);
        let look = |all: &mut Vec<Load>| {
            all.iter_mut().for_each(|load| load.seen((load.clients as f64 * each).min(1.0)));
            let moves: Vec<usize> = (0..all.len()).map(|worker| surplus(all, worker)).collect();
            let to = place(all);
            for (from, count) in moves.iter().enumerate() {
                all[from].clients -= count;
                all[to].clients += count;
            }
            moves.iter().sum::<usize>()
        };
        (0..40).for_each(|_| _ = look(&mut all));
        assert_eq!((0..20).map(|_| look(&mut all)).sum::<usize>(), 0, "{all:?}");
        assert!(all.iter().all(|load| load.busy <= 0.8), "{all:?}");
    }
}

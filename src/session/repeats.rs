//! [pure] Texts that come again and again as unnamed statements: how often, how long they take, and which are shared.
//!
//! A text counts once it was answered, with its batch to itself. After so many uses it has a shared name, and servers no
//! longer parse it. That may cost: PostgreSQL may plan a named statement once for all values. So its time is watched:
//! where `WINDOW` uses took clearly longer than before, as many go unshared, by turns with as many that are shared. A busy
//! machine slows both alike; only where those without are clearly faster, twice, the text stays unshared.
//!
//! Bounded: a newcomer takes the place of the text that was used least among the few that could stand there.

use std::sync::Arc;

use super::prepared::{Statement, server_name};
use super::settings::Settings;
use crate::sql::{End, Taints};

/// So many texts are known at a time, and each can stand in so many places.
const SETS: usize = 256;
const PLACES: usize = 4;

/// A mean is of so many uses.
const WINDOW: u32 = 50;

/// Microseconds that are no difference, and how often longer a mean must be.
const SLACK: u64 = 200;
const SLOWER: u64 = 2;

/// One use counts for no more than so many of the mean before: a few locks that were waited for say nothing.
const OUTLIER: u64 = 8;

/// What a use adds to the heat of a text; those that it does not find lose an eighth.
const WARMTH: u32 = 8;

/// One Parse of an unnamed statement.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Text, NUL and parameter types.
    pub rest: &'a [u8],
    pub settings: &'a Arc<Settings>,
    /// A number for those settings and the pool.
    pub scope: u64,
}

/// Under which name a use goes to the server.
#[derive(Debug, Default)]
pub enum Use {
    /// It is none that could be shared, now or later.
    #[default]
    Alone,
    /// Under none, like any unnamed statement; how long it takes is of interest.
    Counted(Ticket),
    /// What a server learnt of it in another age is out of date.
    Shared { ticket: Ticket, statement: Arc<Statement>, age: u64 },
}

/// A use that is not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    tag: u64,
    shared: bool,
}

/// Where uses are counted; implemented above, for each thread by itself. Nothing is shared where nobody counts.
pub trait Repeating {
    /// Whether unnamed statements are counted at all.
    fn shares(&self) -> bool {
        false
    }

    /// An unnamed statement is parsed, with its batch to itself. `fits`: what executing it does to its transaction, if it
    /// may have a shared name.
    fn repeated(&self, _said: &Said<'_>, _fits: &dyn Fn() -> Option<End>) -> Use {
        Use::Alone
    }

    /// It was answered, in so many microseconds. True: it is shared no more (`Repeats::took`).
    fn took(&self, _ticket: Ticket, _micros: u64) -> bool {
        false
    }

    /// The catalog may be another one than it was.
    fn changed_catalog(&self) {}
}

impl Statement {
    /// One that changes nothing of the session.
    pub fn lasting(id: u64, rest: &[u8], end: End) -> Statement {
        let (taints, name) = (Taints::NONE, server_name(id));
        Statement { id, name, rest: rest.into(), taints, catalog: false, end, effect: None }
    }
}

/// What the process says of sharing.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Uses before a text is shared; not 0.
    pub after: u32,
    /// Rises with each change of the catalog that passed here: a name may mean something else behind it.
    pub catalog: u64,
    /// Rises with that too, and with time, for what changed elsewhere.
    pub age: u64,
}

/// The table.
#[derive(Debug, Default)]
pub struct Repeats {
    /// `SETS * PLACES` of them once there is one.
    places: Vec<Place>,
}

#[derive(Debug, Default)]
struct Place {
    tag: u64,
    heat: u32,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It has not come often enough.
    Counting(Mean),
    /// `before`: its mean without.
    Shared { text: Text, before: u64, now: Mean },
    /// For a while it goes with it and without, by turns. `again`: it was slower with it the time before, too.
    Doubted { text: Text, before: u64, turn: bool, shared: Mean, alone: Mean, again: bool },
    /// It is faster without, or may not have a shared name.
    Unshared,
}

#[derive(Debug)]
struct Text {
    statement: Arc<Statement>,
    settings: Arc<Settings>,
    catalog: u64,
}

/// Of some uses, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    uses: u32,
    sum: u64,
}

impl Repeats {
    /// A text is parsed. `tag`: a strong hash of it and of its scope. `make`: its statement, if it may have one.
    pub fn say(
        &mut self,
        tag: u64,
        said: &Said<'_>,
        terms: Terms,
        make: &mut dyn FnMut() -> Option<Arc<Statement>>,
    ) -> Use {
        let Some(place) = self.place(tag) else { return Use::Alone };
        match &mut place.stage {
            Stage::Counting(mean) if mean.uses >= terms.after => {
                let before = mean.mean();
                let text = |statement| Text { statement, settings: Arc::clone(said.settings), catalog: terms.catalog };
                place.stage = match make() {
                    Some(statement) => Stage::Shared { text: text(statement), before, now: Mean::default() },
                    None => Stage::Unshared,
                };
            }
            // What it was parsed as it may not be any more. Where that goes on, it is as if nothing were shared.
            Stage::Shared { text, .. } | Stage::Doubted { text, .. } if text.catalog != terms.catalog => {
                place.stage = Stage::Counting(Mean::default());
            }
            _ => {}
        }
        let shared = |text: &Text| match text.is(said) {
            true => Use::Shared {
                ticket: Ticket { tag, shared: true },
                statement: Arc::clone(&text.statement),
                age: terms.age,
            },
            false => Use::Alone,
        };
        let alone = Use::Counted(Ticket { tag, shared: false });
        match &mut place.stage {
            Stage::Counting(_) => alone,
            Stage::Shared { text, .. } => shared(text),
            Stage::Doubted { text, turn, .. } => {
                *turn = !*turn;
                if *turn { alone } else { shared(text) }
            }
            Stage::Unshared => Use::Alone,
        }
    }

    /// A use was answered, in so many microseconds. True: the text is not shared any more, since it got slower.
    pub fn took(&mut self, ticket: Ticket, micros: u64) -> bool {
        let mut places = self.set(ticket.tag).iter_mut();
        let Some(place) = places.find(|place| place.tag == ticket.tag) else { return false };
        let (stage, unshared) = std::mem::take(&mut place.stage).after(ticket.shared, micros);
        place.stage = stage;
        unshared
    }

    /// The place of this text, which is the coldest one's if it had none.
    fn place(&mut self, tag: u64) -> Option<&mut Place> {
        if self.places.is_empty() {
            self.places.resize_with(SETS * PLACES, Place::default);
        }
        let set = self.set(tag);
        let known = set.iter().position(|place| place.tag == tag);
        let at = match known {
            Some(at) => at,
            None => {
                set.iter_mut().for_each(|place| place.heat -= place.heat.div_ceil(8));
                let (at, _) = set.iter().enumerate().min_by_key(|(_, place)| place.heat)?;
                set[at] = Place { tag, ..Place::default() };
                at
            }
        };
        let place = set.get_mut(at)?;
        place.heat = place.heat.saturating_add(WARMTH);
        Some(place)
    }

    fn set(&mut self, tag: u64) -> &mut [Place] {
        let first = (tag % SETS as u64) as usize * PLACES;
        self.places.get_mut(first..first + PLACES).unwrap_or_default()
    }
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Counting(Mean::default())
    }
}

impl Stage {
    /// Another use is over. True: it is shared no more.
    fn after(self, shared: bool, micros: u64) -> (Stage, bool) {
        let stage = match self {
            Stage::Counting(mean) if !shared => Stage::Counting(mean.with(micros)),
            Stage::Shared { text, before, now } if shared => {
                let now = now.with(bounded(micros, before));
                match now.uses {
                    ..WINDOW => Stage::Shared { text, before, now },
                    _ if is_slower(now.mean(), before) => {
                        let (shared, alone) = Default::default();
                        Stage::Doubted { text, before, turn: false, shared, alone, again: false }
                    }
                    _ => Stage::Shared { text, before, now: Mean::default() },
                }
            }
            Stage::Doubted { text, before, turn, shared: mut with, mut alone, again } => {
                let one = if shared { &mut with } else { &mut alone };
                *one = one.with(bounded(micros, before));
                if with.uses.min(alone.uses) < WINDOW {
                    Stage::Doubted { text, before, turn, shared: with, alone, again }
                } else if !is_slower(with.mean(), alone.mean()) {
                    Stage::Shared { text, before: alone.mean(), now: Mean::default() }
                } else if again {
                    return (Stage::Unshared, true);
                } else {
                    let (shared, alone) = Default::default();
                    Stage::Doubted { text, before, turn, shared, alone, again: true }
                }
            }
            // One that was begun in the stage before.
            stage => stage,
        };
        (stage, false)
    }
}

impl Text {
    /// The hash of another text may be the same, though nobody has seen it.
    fn is(&self, said: &Said<'_>) -> bool {
        let settings =
            || Arc::ptr_eq(&self.settings, said.settings) || self.settings.plan_scope().eq(said.settings.plan_scope());
        *self.statement.rest == *said.rest && settings()
    }
}

impl Mean {
    fn with(self, micros: u64) -> Mean {
        Mean { uses: self.uses.saturating_add(1), sum: self.sum.saturating_add(micros) }
    }

    fn mean(&self) -> u64 {
        self.sum.checked_div(self.uses.into()).unwrap_or(0)
    }
}

fn bounded(micros: u64, before: u64) -> u64 {
    micros.min(OUTLIER * (before + SLACK))
}

/// Whether a mean is clearly longer than another one.
fn is_slower(mean: u64, than: u64) -> bool {
    mean > SLOWER * than + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { after: 3, catalog: 0, age: 0 };

    struct Bench {
        repeats: Repeats,
        settings: Arc<Settings>,
        made: u64,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { repeats: Repeats::default(), settings: Arc::default(), made: 0 }
        }

        fn say(&mut self, tag: u64, terms: Terms) -> Use {
            let rest = b"select\0\0\0";
            let said = Said { rest, settings: &self.settings, scope: 0 };
            let made = &mut self.made;
            let mut make = || {
                *made += 1;
                Some(Arc::new(Statement::lasting(*made, rest, End::Open)))
            };
            self.repeats.say(tag, &said, terms, &mut make)
        }

        /// So many uses of so many microseconds; whether they went by a shared name, and whether one of them ended that.
        fn uses(&mut self, count: u32, mut micros: impl FnMut(bool) -> u64) -> (Vec<bool>, bool) {
            let mut ended = false;
            let shared = (0..count).map(|_| match self.say(7, TERMS) {
                Use::Shared { ticket, .. } => {
                    ended |= self.repeats.took(ticket, micros(true));
                    true
                }
                Use::Counted(ticket) => {
                    ended |= self.repeats.took(ticket, micros(false));
                    false
                }
                Use::Alone => false,
            });
            (shared.collect(), ended)
        }
    }

    #[test]
    fn a_text_is_shared_once_it_was_answered_often_enough() {
        let mut bench = Bench::new();
        for _ in 0..10 {
            assert!(matches!(bench.say(7, TERMS), Use::Counted(_)), "none of them was answered");
        }
        assert_eq!(bench.uses(5, |_| 100).0, [false, false, false, true, true]);
        assert_eq!(bench.made, 1);
        assert!(matches!(bench.say(8, TERMS), Use::Counted(_)), "another text");
    }

    #[test]
    fn a_change_of_the_catalog_begins_anew() {
        let mut bench = Bench::new();
        bench.uses(4, |_| 100);
        let later = Terms { catalog: 1, ..TERMS };
        assert!(matches!(bench.say(7, later), Use::Counted(_)));
        assert!(matches!(bench.say(7, later), Use::Counted(_)), "no more than before a first sharing");
    }

    #[test]
    fn one_that_is_slower_for_it_is_shared_no_more() {
        let mut bench = Bench::new();
        bench.uses(3, |_| 100);
        assert_eq!(bench.uses(WINDOW, |_| 5_000), (vec![true; WINDOW as usize], false));
        let (shared, ended) = bench.uses(4 * WINDOW, |shared| if shared { 5_000 } else { 100 });
        assert!(ended && shared.iter().filter(|shared| **shared).count() == 2 * WINDOW as usize, "by turns");
        assert_eq!(bench.uses(40, |_| 100), (vec![false; 40], false), "and it stays so");
    }

    #[test]
    fn one_that_is_slow_either_way_is_shared_again() {
        let mut bench = Bench::new();
        bench.uses(3, |_| 100);
        bench.uses(WINDOW, |_| 5_000);
        assert!(!bench.uses(2 * WINDOW, |shared| if shared { 1_500 } else { 1_000 }).1);
        assert_eq!(
            bench.uses(3 * WINDOW, |_| 1_500),
            (vec![true; 3 * WINDOW as usize], false),
            "1 ms is what it takes"
        );
    }

    #[test]
    fn microseconds_and_a_busy_machine_are_no_difference() {
        let mut bench = Bench::new();
        bench.uses(3, |_| 100);
        assert_eq!(bench.uses(2 * WINDOW, |_| 390), (vec![true; 2 * WINDOW as usize], false));
        // Of a hundred uses some wait for a processor, or for a lock: now one, now twenty.
        let mut seed = 1_u64;
        let mut dice = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % 100
        };
        for round in 0..4_000_u64 {
            let waits = [1, 2, 5, 20][round as usize % 4];
            let mut time = |_| if dice() < waits { 10_000 } else { 300 };
            assert!(!bench.uses(100, &mut time).1, "round {round}");
        }
    }

    #[test]
    fn a_text_without_a_shared_name_is_not_asked_again() {
        let mut bench = Bench::new();
        bench.uses(3, |_| 100);
        let settings = Arc::default();
        let said = Said { rest: b"", settings: &settings, scope: 0 };
        let mut asked = 0;
        for _ in 0..5 {
            let mut make = || {
                asked += 1;
                None
            };
            assert!(matches!(bench.repeats.say(7, &said, TERMS, &mut make), Use::Alone));
        }
        assert_eq!(asked, 1);
    }

    #[test]
    fn another_text_of_the_same_hash_is_not_taken_for_it() {
        let mut bench = Bench::new();
        bench.uses(4, |_| 100);
        let said = |rest, settings| Said { rest, settings, scope: 0 };
        let mut say = |said: &Said<'_>| bench.repeats.say(7, said, TERMS, &mut || None);
        let plain = Arc::new(Settings::default());
        assert!(matches!(say(&said(b"insert\0\0\0", &plain)), Use::Alone));
        let mut other = Settings::default();
        other.set("work_mem", "1MB");
        let other = Arc::new(other);
        assert!(matches!(say(&said(b"select\0\0\0", &other)), Use::Alone));
        assert!(matches!(say(&said(b"select\0\0\0", &plain)), Use::Shared { .. }));
    }

    #[test]
    fn a_flood_of_single_texts_does_not_push_out_what_is_used() {
        let mut bench = Bench::new();
        bench.uses(4, |_| 100);
        for n in 0..100_000 {
            bench.say(1_000 + n, TERMS);
            if n % 500 == 0 {
                assert!(matches!(bench.say(7, TERMS), Use::Shared { .. }), "after {n}");
            }
        }
        assert_eq!(bench.repeats.places.len(), SETS * PLACES);
        for n in 0..100 * SETS as u64 {
            bench.say(1_000_000 + n, TERMS);
        }
        assert!(matches!(bench.say(7, TERMS), Use::Counted(_)), "nobody used it for long");
    }
}

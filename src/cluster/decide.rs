//! [pure] From what was seen of each server to who is primary.
//!
//! The highest timeline ever seen of a system identifier wins: who accepts writes on a lower one is fenced until it is
//! in recovery. Of several on the same timeline the accepted one stays; without one all of them are fenced. Where
//! timelines are not known, the first one that accepts writes is primary until it is down or in recovery.

use super::memory::Memory;
use crate::route::topology::{Fence, Identity, Role, Topology};

/// What one look at a server showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A sign of its loss that is no answer to a question: the monitor's connection ended.
    Doubted,
    /// Refused, reset, or an error.
    Failed,
    /// No answer in time: a failure that is no evidence, since a pause looks the same.
    Late,
    /// `pg_is_in_recovery()`, or the reported `in_hot_standby`; nothing else was asked.
    InRecovery(bool),
    /// All that a server is asked for.
    Is { in_recovery: bool, identity: Identity },
}

/// The state between looks.
#[derive(Debug)]
pub struct Decider {
    topology: Topology,
    facts: Vec<Fact>,
    /// That many failures in a row make a server down.
    patience: u32,
    /// Somebody asks all servers, again and again.
    probed: bool,
    memory: Memory,
    /// The memory is of an earlier time, and no server has confirmed its system identifier yet.
    recalled: bool,
    /// Every server was asked at least once.
    opened: bool,
    /// The last primary, also while it is down.
    accepted: Option<usize>,
}

/// What is known of one server.
#[derive(Clone, Copy, Debug, Default)]
struct Fact {
    says: Says,
    identity: Identity,
    /// The timeline on which it last accepted writes. Outlives its being down; ends when it is in recovery.
    claim: Option<u32>,
    failures: u32,
    doubted: bool,
    /// Of the signs of its loss since its last answer one was more than a late answer.
    evident: bool,
    asked: bool,
    /// What is known of it was forgotten: a role alone, which may have been asked for before that, is no answer.
    forgotten: bool,
    /// It was seen to accept writes beside another server on the same timeline.
    contested: bool,
}

/// Its last answer, unless it is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Says {
    #[default]
    Nothing,
    Recovers,
    Writes,
}

impl Decider {
    pub fn new(topology: Topology, patience: u32, probed: bool, memory: Memory) -> Decider {
        let facts = vec![Fact::default(); topology.nodes.len()];
        let recalled = memory.system.is_some();
        let (patience, opened) = (patience.max(1), !probed);
        Decider { topology, facts, patience, probed, memory, recalled, opened, accepted: None }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Nothing is known any more, not even whose copies the servers are and which timeline was the highest. The new
    /// topology: nobody is primary until every server has said again who it is.
    pub fn forget(&mut self) -> Option<Topology> {
        self.facts.fill(Fact { forgotten: self.probed, ..Fact::default() });
        (self.memory, self.recalled, self.opened, self.accepted) = (Memory::default(), false, !self.probed, None);
        self.publish()
    }

    /// There was a primary, and now there is none that answers.
    pub fn is_headless(&self) -> bool {
        self.accepted.is_some() && self.topology.primary().is_none()
    }

    /// The same, and it is more than a late answer that says so.
    pub fn is_evidently_headless(&self) -> bool {
        let is_late = |node: usize| {
            let is_suspect = self.topology.nodes.get(node).is_some_and(|node| node.role == Role::Suspect);
            is_suspect && self.facts.get(node).is_some_and(|fact| !fact.evident)
        };
        self.is_headless() && !self.accepted.is_some_and(is_late)
    }

    /// Takes a look into account; the new topology if it changed.
    pub fn see(&mut self, node: usize, seen: Seen) -> Option<Topology> {
        let patience = self.patience;
        let fact = self.facts.get_mut(node)?;
        if fact.forgotten && matches!(seen, Seen::Doubted | Seen::InRecovery(_)) {
            return None;
        }
        fact.take(seen, patience);
        self.opened |= self.facts.iter().all(|fact| fact.asked);
        self.settle_system();
        self.raise_timeline();
        self.settle_primary(node);
        self.publish()
    }

    /// Positions and timelines mean something within one system only. A remembered one stands if any server confirms
    /// it; at a start it gives way to another one that all reachable servers agree on.
    fn settle_system(&mut self) {
        let mut known = self.facts.iter().filter_map(|fact| fact.identity.system);
        if self.recalled {
            let first = known.next();
            if first == self.memory.system || known.clone().any(|system| Some(system) == self.memory.system) {
                self.recalled = false;
            } else if self.opened && first.is_some() && known.all(|system| Some(system) == first) {
                self.memory = Memory { system: first, timeline: None };
                self.recalled = false;
            }
        } else if self.memory.system.is_none() && self.opened {
            let writers = self.facts.iter().enumerate().filter(|(_, fact)| fact.says == Says::Writes);
            let decisive = |node: usize| self.accepted.is_none_or(|accepted| accepted == node);
            let mut systems = writers.filter(|(node, _)| decisive(*node)).filter_map(|(_, fact)| fact.identity.system);
            let first = systems.next();
            if systems.all(|system| Some(system) == first) {
                self.memory.system = first;
            }
        }
    }

    /// A standby shows timelines too, of a primary that nobody here may know.
    fn raise_timeline(&mut self) {
        let own = self.facts.iter().filter(|fact| fact.identity.system.is_some());
        let own = own.filter(|fact| fact.identity.system == self.memory.system);
        self.memory.timeline = own.filter_map(|fact| fact.identity.timeline).chain(self.memory.timeline).max();
    }

    fn settle_primary(&mut self, node: usize) {
        self.release();
        let rivals: Vec<usize> = (0..self.facts.len()).filter(|n| self.is_candidate(*n)).collect();
        if !self.opened {
            return;
        }
        let favoured = self.accepted.filter(|accepted| rivals.contains(accepted));
        let with_timeline = || rivals.iter().copied().filter(|n| self.claim(*n).is_some());
        let chosen = favoured.or_else(|| match with_timeline().count() {
            0 => Some(node).filter(|node| rivals.contains(node)),
            1 => with_timeline().find(|n| self.facts.get(*n).is_some_and(|fact| !fact.contested)),
            _ => None,
        });
        // Diverged from each other, whoever of them may be lost next.
        let tied: Vec<usize> = with_timeline().filter(|n| Some(*n) != chosen).collect();
        let among_known = chosen.is_none_or(|chosen| self.claim(chosen).is_some());
        for n in tied.into_iter().filter(|_| among_known) {
            self.facts[n].contested |= rivals.len() > 1;
        }
        self.accepted = chosen.or(self.accepted);
    }

    /// Nobody else lays claim to its timeline any more: the others were made standbys.
    fn release(&mut self) {
        for node in 0..self.facts.len() {
            let own = self.claim(node);
            let is_alone = (0..self.facts.len()).all(|other| other == node || self.claim(other) != own);
            self.facts[node].contested &= !is_alone;
        }
    }

    fn claim(&self, node: usize) -> Option<u32> {
        self.facts.get(node)?.claim
    }

    fn is_candidate(&self, node: usize) -> bool {
        self.facts.get(node).is_some_and(|fact| fact.says == Says::Writes && self.fence(fact).is_none())
    }

    fn fence(&self, fact: &Fact) -> Option<Fence> {
        let is_other = |system| self.memory.system.is_some_and(|own| own != system);
        let is_lower = |claim| self.memory.timeline.is_some_and(|highest| claim < highest);
        if fact.identity.system.is_some_and(is_other) {
            return Some(Fence::OtherSystem);
        }
        fact.claim.is_some_and(is_lower).then_some(Fence::Stale)
    }

    fn role(&self, node: usize, fact: &Fact) -> Role {
        match fact.says {
            Says::Nothing if fact.failures >= self.patience => Role::Down,
            Says::Nothing => Role::Unknown,
            Says::Recovers => Role::Standby,
            Says::Writes => match self.fence(fact) {
                Some(fence) => Role::Fenced(fence),
                None if !self.opened => Role::Unknown,
                None if self.accepted != Some(node) => Role::Fenced(Fence::Contested),
                // Without probes nobody would find out.
                None if self.probed && (fact.doubted || fact.failures > 0) => Role::Suspect,
                None => Role::Primary,
            },
        }
    }

    fn publish(&mut self) -> Option<Topology> {
        let roles: Vec<Role> = self.facts.iter().enumerate().map(|(node, fact)| self.role(node, fact)).collect();
        let mut changed = false;
        for ((slot, fact), role) in self.topology.nodes.iter_mut().zip(&self.facts).zip(roles) {
            changed |= (slot.role, slot.identity) != (role, fact.identity);
            (slot.role, slot.identity) = (role, fact.identity);
        }
        if !changed {
            return None;
        }
        self.topology.epoch += 1;
        Some(self.topology.clone())
    }
}

impl Fact {
    fn take(&mut self, seen: Seen, patience: u32) {
        let (in_recovery, identity) = match seen {
            Seen::Doubted => {
                (self.doubted, self.evident) = (true, true);
                return;
            }
            Seen::Failed | Seen::Late => {
                self.evident |= seen == Seen::Failed;
                (self.asked, self.forgotten) = (true, false);
                self.failures = self.failures.saturating_add(1);
                if self.failures >= patience {
                    (self.says, self.identity) = (Says::Nothing, Identity::default());
                }
                return;
            }
            Seen::InRecovery(in_recovery) => (in_recovery, None),
            Seen::Is { in_recovery, identity } => (in_recovery, Some(identity)),
        };
        (self.asked, self.forgotten, self.failures) = (true, false, 0);
        (self.doubted, self.evident) = (false, false);
        let says = if in_recovery { Says::Recovers } else { Says::Writes };
        if self.says != says {
            // What it said of itself in one role does not hold for the next one.
            self.identity = Identity::default();
        }
        self.says = says;
        self.identity = identity.unwrap_or(self.identity);
        if in_recovery {
            (self.claim, self.contested) = (None, false);
        } else {
            self.claim = self.identity.timeline.or(self.claim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Listed};
    use Fence::{Contested, OtherSystem, Stale};
    use Role::{Down, Fenced, Primary, Standby, Suspect, Unknown};

    const FAILED: Seen = Seen::Failed;
    const DOUBTED: Seen = Seen::Doubted;

    fn decider(nodes: u16, probed: bool, memory: Memory) -> Decider {
        let listed =
            |port| Listed { address: Address::Tcp { host: "localhost".to_owned(), port }, weight: 1, zone: None };
        let servers: Vec<_> = (0..nodes).map(listed).collect();
        Decider::new(Topology::unknown(&servers, None), 3, probed, memory)
    }

    fn of(system: u64, in_recovery: bool, timeline: u32) -> Seen {
        let identity = Identity { system: Some(system), timeline: Some(timeline), major: Some(15) };
        Seen::Is { in_recovery, identity }
    }

    /// Accepts writes on a timeline.
    fn w(timeline: u32) -> Seen {
        of(7, false, timeline)
    }

    /// Is in recovery on a timeline.
    fn r(timeline: u32) -> Seen {
        of(7, true, timeline)
    }

    /// Accepts writes on nobody knows which.
    const W: Seen = Seen::InRecovery(false);
    const R: Seen = Seen::InRecovery(true);

    fn roles(d: &Decider) -> Vec<Role> {
        d.topology().nodes.iter().map(|node| node.role).collect()
    }

    /// Each step is a look at a node and all roles after it.
    fn walk<const N: usize>(d: &mut Decider, steps: &[(usize, Seen, [Role; N])]) {
        for (at, (node, seen, expected)) in steps.iter().enumerate() {
            d.see(*node, *seen);
            assert_eq!(roles(d), expected, "step {at}: {node} {seen:?}");
        }
    }

    fn fresh<const N: usize>(steps: &[(usize, Seen, [Role; N])]) -> Decider {
        let mut d = decider(N as u16, true, Memory::default());
        walk(&mut d, steps);
        d
    }

    #[test]
    fn nobody_is_primary_before_all_were_asked() {
        fresh(&[(0, w(1), [Unknown, Unknown]), (1, r(1), [Primary, Standby])]);
        fresh(&[(0, w(1), [Unknown, Unknown]), (1, FAILED, [Primary, Unknown])]);
        // The old primary answers first.
        fresh(&[(0, w(1), [Unknown, Unknown]), (1, w(2), [Fenced(Stale), Primary])]);
        fresh(&[(0, w(1), [Primary])]);
    }

    #[test]
    fn the_highest_timeline_wins_at_the_first_look() {
        let mut d = fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, r(1), [Primary, Standby]),
            (1, w(2), [Fenced(Stale), Primary]),
            // Fenced while it accepts writes, also where it does not say on which timeline, and after an absence.
            (0, w(1), [Fenced(Stale), Primary]),
            (0, W, [Fenced(Stale), Primary]),
            (0, FAILED, [Fenced(Stale), Primary]),
            (0, FAILED, [Fenced(Stale), Primary]),
            (0, FAILED, [Down, Primary]),
            (0, W, [Fenced(Stale), Primary]),
            // The new primary's loss does not bring the old one back.
            (1, FAILED, [Fenced(Stale), Suspect]),
            (1, FAILED, [Fenced(Stale), Suspect]),
            (1, FAILED, [Fenced(Stale), Down]),
            (0, w(1), [Fenced(Stale), Down]),
            (1, w(2), [Fenced(Stale), Primary]),
            (0, r(1), [Standby, Primary]),
            (0, w(3), [Primary, Fenced(Stale)]),
        ]);
        assert_eq!(d.memory(), Memory { system: Some(7), timeline: Some(3) });
        // Restored in its place to an older timeline.
        walk(&mut d, &[(0, w(2), [Fenced(Stale), Fenced(Stale)])]);
    }

    #[test]
    fn a_standbys_timeline_fences_too() {
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, r(1), [Primary, Standby]),
            (1, r(2), [Fenced(Stale), Standby]),
            (1, w(2), [Fenced(Stale), Primary]),
        ]);
    }

    #[test]
    fn a_sign_of_loss_makes_the_primary_suspect_and_only_an_answer_lifts_it() {
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, r(1), [Primary, Standby]),
            (1, DOUBTED, [Primary, Standby]),
            (0, DOUBTED, [Suspect, Standby]),
            (0, W, [Primary, Standby]),
            (0, FAILED, [Suspect, Standby]),
            (0, w(1), [Primary, Standby]),
            (0, DOUBTED, [Suspect, Standby]),
            (0, FAILED, [Suspect, Standby]),
            (0, FAILED, [Suspect, Standby]),
            (0, FAILED, [Down, Standby]),
            (0, w(1), [Primary, Standby]),
            (0, FAILED, [Suspect, Standby]),
            (1, w(2), [Fenced(Stale), Primary]),
        ]);
    }

    #[test]
    fn a_lost_primary_is_headless_until_another_one_comes() {
        let mut d = fresh(&[(1, r(1), [Unknown, Standby])]);
        let mut see = |node, seen| {
            d.see(node, seen);
            d.is_headless()
        };
        assert!(!see(0, FAILED) && !see(0, w(1)) && see(0, DOUBTED));
        assert!(see(0, FAILED) && see(0, FAILED) && see(0, FAILED) && !see(1, w(2)));
    }

    #[test]
    fn a_late_answer_is_no_evidence_before_there_were_enough_of_them() {
        let mut d = fresh(&[(1, r(1), [Unknown, Standby]), (0, w(1), [Primary, Standby])]);
        let mut see = |node, seen| {
            d.see(node, seen);
            d.is_evidently_headless()
        };
        assert!(!see(0, Seen::Late) && !see(0, Seen::Late) && see(0, Seen::Late), "down");
        assert!(!see(0, w(1)) && !see(0, Seen::Late) && see(0, FAILED) && !see(0, w(1)));
        assert!(see(0, DOUBTED) && see(0, Seen::Late), "an end of a connection stays one");
        assert!(!see(1, w(2)));
    }

    #[test]
    fn a_rival_on_the_same_timeline_is_fenced_until_one_of_them_is_a_standby() {
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, r(1), [Primary, Standby]),
            (1, w(1), [Primary, Fenced(Contested)]),
            (0, FAILED, [Suspect, Fenced(Contested)]),
            (0, FAILED, [Suspect, Fenced(Contested)]),
            (0, FAILED, [Down, Fenced(Contested)]),
            // Diverged: nobody chooses between the two but the operator.
            (1, w(1), [Down, Fenced(Contested)]),
            (0, w(1), [Primary, Fenced(Contested)]),
            (0, r(1), [Standby, Primary]),
        ]);
    }

    #[test]
    fn a_server_that_takes_the_place_of_one_that_is_down_is_accepted() {
        // Both names lead to the same data, one at a time.
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, FAILED, [Primary, Unknown]),
            (0, FAILED, [Suspect, Unknown]),
            (0, FAILED, [Suspect, Unknown]),
            (0, FAILED, [Down, Unknown]),
            (1, w(1), [Down, Primary]),
        ]);
    }

    #[test]
    fn two_on_the_same_timeline_and_none_accepted_are_both_fenced() {
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, w(1), [Fenced(Contested), Fenced(Contested)]),
            (0, w(1), [Fenced(Contested), Fenced(Contested)]),
            (1, r(1), [Primary, Standby]),
        ]);
        fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, w(1), [Fenced(Contested), Fenced(Contested)]),
            (1, w(2), [Fenced(Stale), Primary]),
        ]);
    }

    #[test]
    fn another_system_is_refused_by_name() {
        let other = of(8, false, 9);
        let d = fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, r(1), [Primary, Standby]),
            (1, other, [Primary, Fenced(OtherSystem)]),
            (0, FAILED, [Suspect, Fenced(OtherSystem)]),
            (0, FAILED, [Suspect, Fenced(OtherSystem)]),
            (0, FAILED, [Down, Fenced(OtherSystem)]),
            (1, other, [Down, Fenced(OtherSystem)]),
        ]);
        assert_eq!(d.memory(), Memory { system: Some(7), timeline: Some(1) });
        // Of two systems at a start nobody knows which one is meant.
        fresh(&[(0, w(1), [Unknown, Unknown]), (1, other, [Fenced(Contested), Fenced(Contested)])]);
    }

    #[test]
    fn what_was_remembered_fences() {
        let memory = Memory { system: Some(7), timeline: Some(2) };
        let mut d = decider(2, true, memory);
        walk(&mut d, &[(0, w(1), [Fenced(Stale), Unknown]), (1, FAILED, [Fenced(Stale), Unknown])]);
        walk(&mut d, &[(1, w(2), [Fenced(Stale), Primary])]);
        // One that confirms the remembered identifier is enough to refuse the others.
        let mut d = decider(2, true, memory);
        walk(&mut d, &[(0, of(8, false, 5), [Fenced(OtherSystem), Unknown])]);
        walk(&mut d, &[(1, r(2), [Fenced(OtherSystem), Standby])]);
        assert_eq!(d.memory(), memory);
    }

    #[test]
    fn a_start_where_all_reachable_servers_are_of_another_system_accepts_it() {
        let memory = Memory { system: Some(7), timeline: Some(5) };
        let mut d = decider(3, true, memory);
        walk(&mut d, &[(0, of(8, false, 1), [Fenced(OtherSystem), Unknown, Unknown])]);
        walk(&mut d, &[(1, of(8, true, 1), [Fenced(OtherSystem), Standby, Unknown])]);
        walk(&mut d, &[(2, FAILED, [Primary, Standby, Unknown])]);
        assert_eq!(d.memory(), Memory { system: Some(8), timeline: Some(1) });
        // They do not agree.
        let mut d = decider(2, true, memory);
        walk(&mut d, &[(0, of(8, false, 1), [Fenced(OtherSystem), Unknown])]);
        walk(&mut d, &[(1, of(9, false, 1), [Fenced(OtherSystem), Fenced(OtherSystem)])]);
        assert_eq!(d.memory(), memory);
    }

    #[test]
    fn what_is_forgotten_is_asked_for_again() {
        let mut d = fresh(&[
            (0, w(1), [Unknown, Unknown]),
            (1, w(2), [Fenced(Stale), Primary]),
            (1, FAILED, [Fenced(Stale), Suspect]),
            (1, FAILED, [Fenced(Stale), Suspect]),
            (1, FAILED, [Fenced(Stale), Down]),
        ]);
        assert!(d.forget().is_some());
        assert_eq!((roles(&d), d.memory()), (vec![Unknown, Unknown], Memory::default()));
        // What was under way says nothing of timelines.
        walk(&mut d, &[(0, W, [Unknown, Unknown]), (1, DOUBTED, [Unknown, Unknown])]);
        walk(&mut d, &[(0, w(1), [Unknown, Unknown]), (1, FAILED, [Primary, Unknown])]);
        walk(&mut d, &[(0, W, [Primary, Unknown]), (1, w(2), [Fenced(Stale), Primary])]);
        // Restored from a copy of another system, all of them.
        d.forget();
        walk(&mut d, &[(1, of(8, false, 1), [Unknown, Unknown]), (0, of(8, true, 1), [Standby, Primary])]);
        assert_eq!(d.memory(), Memory { system: Some(8), timeline: Some(1) });
    }

    #[test]
    fn without_timelines_the_first_writable_server_is_primary_and_a_second_one_waits() {
        for probed in [false, true] {
            let mut d = decider(2, probed, Memory::default());
            walk(
                &mut d,
                &[(1, R, [Unknown, Standby]), (0, W, [Primary, Standby]), (1, W, [Primary, Fenced(Contested)])],
            );
            walk(&mut d, &[(0, R, [Standby, Fenced(Contested)]), (1, W, [Standby, Primary])]);
            assert_eq!(d.see(1, W), None);
        }
        // A timeline that shows late decides late.
        fresh(&[
            (1, R, [Unknown, Standby]),
            (0, W, [Primary, Standby]),
            (1, w(2), [Primary, Fenced(Contested)]),
            (0, w(1), [Fenced(Stale), Primary]),
        ]);
    }

    #[test]
    fn without_probes_nobody_is_suspect() {
        let mut d = decider(1, false, Memory::default());
        walk(&mut d, &[(0, W, [Primary]), (0, FAILED, [Primary]), (0, FAILED, [Primary]), (0, W, [Primary])]);
        walk(&mut d, &[(0, FAILED, [Primary]), (0, FAILED, [Primary]), (0, FAILED, [Down]), (0, W, [Primary])]);
    }

    #[test]
    fn what_a_server_said_holds_for_its_role() {
        let mut d = decider(1, true, Memory::default());
        let identity = |d: &Decider| d.topology().nodes[0].identity;
        d.see(0, r(1));
        assert_eq!(identity(&d).timeline, Some(1));
        assert_eq!((d.see(0, r(1)), d.see(0, R)), (None, None));
        d.see(0, W);
        assert_eq!(identity(&d), Identity::default());
        d.see(0, w(2));
        assert_eq!((d.topology().primary(), identity(&d).timeline), (Some(0), Some(2)));
        (0..3).for_each(|_| drop(d.see(0, FAILED)));
        assert_eq!(identity(&d), Identity::default());
    }
}

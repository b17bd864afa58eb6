//! [pure] From the looks at a cluster's servers to roles, fitness and freshness; time is an argument.
//!
//! Positions compare only within one history: the *line*, a primary with its system identifier and timeline. When
//! that changes, all that was sampled before is void. A primary that is lost leaves its line until another one comes.

use super::decide::{Decider, Seen};
use super::memory::Memory;
use crate::route::fit::{self, Unfit};
use crate::route::freshness::Freshness;
use crate::route::topology::{Identity, Topology};

/// One answer of a server that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Before the question was sent.
    pub at: u64,
    pub in_recovery: bool,
    /// A standby's replay position, or a primary's insert position, normalised.
    pub position: Option<u64>,
    pub paused: bool,
    /// `None`: not asked for this time.
    pub identity: Option<Identity>,
}

/// What is known of one cluster.
#[derive(Debug)]
pub struct Judge {
    decider: Decider,
    freshness: Freshness,
    line: Option<Line>,
    paused: Vec<bool>,
    /// Somebody looks at the servers at all.
    probed: bool,
}

/// The history that positions belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    node: usize,
    identity: Identity,
}

impl Judge {
    pub fn new(topology: Topology, patience: u32, probed: bool, memory: Memory) -> Judge {
        let nodes = topology.nodes.len();
        Judge {
            decider: Decider::new(topology, patience, probed, memory),
            freshness: Freshness::new(nodes),
            line: None,
            paused: vec![false; nodes],
            probed,
        }
    }

    pub fn topology(&self) -> &Topology {
        self.decider.topology()
    }

    /// What is not to be forgotten.
    pub fn memory(&self) -> Memory {
        self.decider.memory()
    }

    /// Nothing is known any more; the new topology.
    pub fn forget(&mut self) -> Option<Topology> {
        self.line = None;
        self.freshness.clear();
        self.paused.fill(false);
        self.decider.forget()
    }

    /// There was a primary, and now there is none that answers.
    pub fn is_headless(&self) -> bool {
        self.decider.is_headless()
    }

    /// The same, and it is more than a late answer that says so.
    pub fn is_evidently_headless(&self) -> bool {
        self.decider.is_evidently_headless()
    }

    pub fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// What the last known primary said of itself.
    pub fn line(&self) -> Option<Identity> {
        self.line.map(|line| line.identity)
    }

    /// Whether a node may serve reads, but for its lag.
    pub fn verdict(&self, node: usize) -> Result<(), Unfit> {
        if !self.probed {
            return Err(Unfit::NoProbe);
        }
        let paused = self.paused.get(node).copied().unwrap_or(false);
        let slot = self.topology().nodes.get(node).ok_or(Unfit::NotStandby)?;
        fit::judge(slot, paused, self.line())
    }

    /// Takes less than a whole look into account; the new topology if it changed.
    pub fn see(&mut self, node: usize, seen: Seen) -> Option<Topology> {
        let changed = self.decider.see(node, seen);
        self.follow();
        if !self.topology().is_standby(node) {
            self.freshness.forget(node);
        }
        changed
    }

    /// Takes a look into account; the new topology if it changed.
    pub fn look(&mut self, node: usize, look: &Look) -> Option<Topology> {
        let seen = match look.identity {
            Some(identity) => Seen::Is { in_recovery: look.in_recovery, identity },
            None => Seen::InRecovery(look.in_recovery),
        };
        let changed = self.see(node, seen);
        if look.in_recovery {
            self.standby(node, look);
        } else if self.topology().primary() == Some(node) {
            self.primary(node, look);
        }
        changed
    }

    /// A connection to a standby was opened, and the standby was this far at that moment: after a restart less far than
    /// it once was.
    pub fn opened(&mut self, node: usize, replayed: u64) {
        if self.verdict(node).is_ok() {
            self.freshness.replayed(node, replayed);
        }
    }

    fn standby(&mut self, node: usize, look: &Look) {
        if let Some(paused) = self.paused.get_mut(node) {
            *paused = look.paused;
        }
        match self.verdict(node) {
            Ok(()) | Err(Unfit::Paused) => {
                if let Some(position) = look.position {
                    self.freshness.replayed(node, position);
                }
            }
            Err(_) => self.freshness.forget(node),
        }
    }

    fn primary(&mut self, node: usize, look: &Look) {
        if let Some(identity) = look.identity {
            self.begin(Line { node, identity });
        }
        if let (Some(_), Some(position)) = (self.line, look.position) {
            self.freshness.sampled(look.at, position);
        }
    }

    fn begin(&mut self, line: Line) {
        if self.line != Some(line) {
            self.freshness.clear();
            self.line = Some(line);
        }
    }

    /// Another primary than the line's ends the line. The new one's begins at once where it has said who it is.
    fn follow(&mut self) {
        let Some(node) = self.topology().primary() else { return };
        if self.line.is_some_and(|line| node == line.node) {
            return;
        }
        self.line = None;
        self.freshness.clear();
        let identity = self.topology().nodes.get(node).map(|slot| slot.identity);
        if let Some(identity) = identity.filter(|identity| identity.timeline.is_some()) {
            self.begin(Line { node, identity });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Listed};
    use crate::route::topology::{Fence, Role};

    fn judge(nodes: u16) -> Judge {
        let listed = |port| Listed { address: Address::Tcp { host: "h".to_owned(), port }, weight: 1, zone: None };
        let servers: Vec<_> = (0..nodes).map(listed).collect();
        Judge::new(Topology::unknown(&servers, None), 2, true, Memory::default())
    }

    fn identity(timeline: u32) -> Identity {
        Identity { system: Some(7), timeline: Some(timeline), major: Some(15) }
    }

    fn look(at: u64, in_recovery: bool, position: u64, timeline: Option<u32>) -> Look {
        Look { at, in_recovery, position: Some(position), paused: false, identity: timeline.map(identity) }
    }

    /// Node 0 is primary at 100, node 1 its standby, caught up.
    fn pair() -> Judge {
        let mut j = judge(2);
        j.look(1, &look(5, true, 100, Some(1)));
        j.look(0, &look(10, false, 100, Some(1)));
        j.look(1, &look(11, true, 100, Some(1)));
        j
    }

    #[test]
    fn a_standby_becomes_fit_and_fresh() {
        let mut j = judge(2);
        assert_eq!(j.verdict(1), Err(Unfit::NotStandby));
        j.look(1, &look(5, true, 100, Some(1)));
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Err(Unfit::Unsure), 0));
        j.look(0, &look(10, false, 100, Some(1)));
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Ok(()), 0), "its position is of before the line");
        j.look(1, &look(11, true, 100, None));
        assert_eq!(j.freshness().fresh(1), 10);
        j.look(0, &look(20, false, 100, None));
        assert_eq!(j.freshness().fresh(1), 20);
        assert_eq!(j.verdict(0), Err(Unfit::NotStandby));
    }

    #[test]
    fn without_probes_nothing_is_fit() {
        let mut j = pair();
        j.probed = false;
        assert_eq!(j.verdict(1), Err(Unfit::NoProbe));
    }

    #[test]
    fn a_lost_primary_stops_the_growth_and_no_more() {
        let mut j = pair();
        for role in [Role::Suspect, Role::Down] {
            j.see(0, Seen::Failed);
            assert_eq!((j.topology().nodes[0].role, j.is_headless()), (role, true));
            assert_eq!((j.topology().primary(), j.freshness().fresh(1), j.verdict(1)), (None, 10, Ok(())));
        }
        j.look(1, &look(30, true, 120, None));
        assert_eq!(j.freshness().fresh(1), 10);
        // The same one comes back: nothing was void.
        j.look(0, &look(40, false, 110, Some(1)));
        assert_eq!(j.freshness().fresh(1), 40);
    }

    #[test]
    fn another_primary_or_timeline_voids() {
        let mut j = pair();
        j.see(0, Seen::Failed);
        j.see(0, Seen::Failed);
        j.see(1, Seen::InRecovery(false));
        assert_eq!((j.topology().primary(), j.freshness().fresh(1), j.line()), (Some(1), 0, None));
        // A look that asked for nothing but the role gives no sample.
        j.look(1, &look(50, false, 130, None));
        assert_eq!(j.freshness().newest(), 0);
        j.look(1, &look(60, false, 130, Some(2)));
        assert_eq!(j.freshness().newest(), 60);
        // The old one returns as a standby that is still on the old timeline, and far ahead.
        j.look(0, &look(61, true, 900, Some(1)));
        assert_eq!((j.verdict(0), j.freshness().fresh(0)), (Err(Unfit::OtherTimeline), 0));
        j.look(0, &look(62, true, 130, Some(2)));
        assert_eq!((j.verdict(0), j.freshness().fresh(0)), (Ok(()), 60));
        // The same node on a new timeline: restored in its place.
        j.look(1, &look(70, false, 130, Some(3)));
        assert_eq!((j.verdict(0), j.freshness().fresh(0)), (Err(Unfit::OtherTimeline), 0));
    }

    #[test]
    fn what_is_forgotten_is_not_fresh() {
        let mut j = pair();
        j.forget();
        assert_eq!((j.line(), j.freshness().fresh(1), j.memory()), (None, 0, Memory::default()));
        assert_eq!(j.verdict(1), Err(Unfit::NotStandby));
        j.look(0, &look(20, false, 100, Some(1)));
        j.look(1, &look(21, true, 100, Some(1)));
        j.look(0, &look(22, false, 100, None));
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Ok(()), 22));
    }

    #[test]
    fn a_fenced_server_gives_no_samples() {
        let mut j = pair();
        j.look(1, &look(20, false, 500, Some(1)));
        assert_eq!(j.topology().nodes[1].role, Role::Fenced(Fence::Contested));
        assert_eq!((j.topology().primary(), j.freshness().fresh(1), j.freshness().newest()), (Some(0), 0, 10));
    }

    #[test]
    fn a_promotion_beside_a_living_primary_voids_at_once() {
        let mut j = pair();
        j.look(1, &look(20, false, 500, Some(2)));
        assert_eq!((j.topology().primary(), j.line()), (Some(1), Some(identity(2))));
        assert_eq!((j.topology().nodes[0].role, j.freshness().newest()), (Role::Fenced(Fence::Stale), 20));
        j.look(0, &look(30, false, 900, Some(1)));
        assert_eq!((j.freshness().newest(), j.memory().timeline), (20, Some(2)));
    }

    #[test]
    fn a_primary_that_another_ones_look_reveals_has_its_line_at_once() {
        let mut j = judge(2);
        j.look(0, &look(10, false, 100, Some(1)));
        assert_eq!((j.topology().primary(), j.line()), (None, None));
        j.look(1, &look(11, true, 100, Some(1)));
        assert_eq!((j.topology().primary(), j.line(), j.verdict(1)), (Some(0), Some(identity(1)), Ok(())));
    }

    #[test]
    fn a_paused_standby_and_one_that_changes_its_role_are_unfit() {
        let mut j = pair();
        j.look(1, &Look { paused: true, ..look(12, true, 100, None) });
        assert_eq!(j.verdict(1), Err(Unfit::Paused));
        j.look(1, &look(13, true, 100, None));
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Ok(()), 10));
        j.see(1, Seen::Failed);
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Ok(()), 10));
        j.see(1, Seen::Failed);
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Err(Unfit::NotStandby), 0));
        // Back again, but who it is has to be asked first.
        j.see(1, Seen::InRecovery(true));
        assert_eq!(j.verdict(1), Err(Unfit::Unsure));
    }

    #[test]
    fn an_answer_without_a_position_changes_nothing() {
        let mut j = pair();
        let bare = |in_recovery| Look { position: None, ..look(20, in_recovery, 0, None) };
        assert_eq!((j.look(0, &bare(false)), j.look(1, &bare(true))), (None, None));
        assert_eq!((j.verdict(1), j.freshness().fresh(1), j.freshness().newest()), (Ok(()), 10, 10));
        // Who has ceased to say who it is is not known.
        j.look(1, &Look { identity: Some(Identity::default()), ..bare(true) });
        assert_eq!((j.verdict(1), j.freshness().fresh(1)), (Err(Unfit::Unsure), 0));
    }

    #[test]
    fn a_restarted_standby_shows_at_a_new_connection() {
        let mut j = pair();
        j.opened(1, 90);
        assert_eq!(j.freshness().fresh(1), 0);
        j.opened(1, 100);
        assert_eq!(j.freshness().fresh(1), 10);
        j.see(1, Seen::InRecovery(false));
        j.opened(1, 200);
        assert_eq!(j.freshness().behind(1), None, "it is no standby");
    }
}

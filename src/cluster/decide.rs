//! [pure] From what was seen of each server to who is primary.
//!
//! A server that says it is not in recovery becomes primary if no other one holds that place; a second one is
//! contested and gets nothing until the first is down or in recovery. (Fencing by timeline is the failover issue's.)

use crate::route::topology::{Identity, Role, Topology};

/// What one look at a server showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No answer, or an error.
    Failed,
    /// `pg_is_in_recovery()`, or the reported `in_hot_standby`; nothing else was asked.
    InRecovery(bool),
    /// All that a server is asked for.
    Is { in_recovery: bool, identity: Identity },
}

/// The state between looks.
#[derive(Debug)]
pub struct Decider {
    topology: Topology,
    failures: Vec<u32>,
    /// That many failures in a row make a server down.
    patience: u32,
}

impl Decider {
    pub fn new(topology: Topology, patience: u32) -> Decider {
        let failures = vec![0; topology.nodes.len()];
        Decider { topology, failures, patience: patience.max(1) }
    }

    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Takes a look into account; the new topology if it changed. What a server said of itself in one role does not
    /// hold for the next one.
    pub fn see(&mut self, node: usize, seen: Seen) -> Option<Topology> {
        let role = self.role_of(node, seen)?;
        let slot = self.topology.nodes.get_mut(node)?;
        let before = (slot.role, slot.identity);
        if slot.role != role {
            slot.identity = Identity::default();
        }
        slot.role = role;
        if let Seen::Is { identity, .. } = seen {
            slot.identity = identity;
        }
        if before == (slot.role, slot.identity) {
            return None;
        }
        self.topology.epoch += 1;
        Some(self.topology.clone())
    }

    fn role_of(&mut self, node: usize, seen: Seen) -> Option<Role> {
        let failures = self.failures.get_mut(node)?;
        match seen {
            Seen::Failed => {
                *failures = failures.saturating_add(1);
                (*failures >= self.patience).then_some(Role::Down)
            }
            Seen::InRecovery(true) | Seen::Is { in_recovery: true, .. } => {
                *failures = 0;
                Some(Role::Standby)
            }
            Seen::InRecovery(false) | Seen::Is { in_recovery: false, .. } => {
                *failures = 0;
                let rival = self.topology.primary().is_some_and(|primary| primary != node);
                Some(if rival { Role::Contested } else { Role::Primary })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Listed};

    fn decider(nodes: u16) -> Decider {
        let listed =
            |port| Listed { address: Address::Tcp { host: "localhost".to_owned(), port }, weight: 1, zone: None };
        Decider::new(Topology::unknown(&(0..nodes).map(listed).collect::<Vec<_>>(), None), 3)
    }

    #[test]
    fn the_first_writable_server_is_primary_and_a_second_one_waits() {
        let mut d = decider(2);
        assert_eq!(d.topology().primary(), None);
        assert_eq!(d.see(0, Seen::InRecovery(false)).and_then(|t| t.primary()), Some(0));
        assert_eq!(d.see(0, Seen::InRecovery(false)), None);
        let contested = d.see(1, Seen::InRecovery(false)).expect("a change");
        assert_eq!((contested.primary(), contested.nodes[1].role), (Some(0), Role::Contested));
        assert_eq!(d.see(0, Seen::InRecovery(true)).and_then(|t| t.primary()), None);
        assert_eq!(d.see(1, Seen::InRecovery(false)).and_then(|t| t.primary()), Some(1));
    }

    #[test]
    fn a_server_is_down_after_several_failures_and_one_answer_forgets_them() {
        let mut d = decider(1);
        d.see(0, Seen::InRecovery(false));
        assert_eq!((d.see(0, Seen::Failed), d.see(0, Seen::Failed)), (None, None));
        d.see(0, Seen::InRecovery(false));
        assert_eq!((d.see(0, Seen::Failed), d.see(0, Seen::Failed)), (None, None));
        assert_eq!(d.see(0, Seen::Failed).map(|t| t.nodes[0].role), Some(Role::Down));
    }

    #[test]
    fn what_a_server_said_holds_for_its_role() {
        let mut d = decider(1);
        let identity = Identity { system: Some(1), timeline: Some(1), major: Some(15) };
        let is = Seen::Is { in_recovery: true, identity };
        assert_eq!(d.see(0, is).map(|t| t.nodes[0].identity), Some(identity));
        assert_eq!((d.see(0, is), d.see(0, Seen::InRecovery(true))), (None, None));
        let promoted = d.see(0, Seen::InRecovery(false)).expect("a change");
        assert_eq!(promoted.nodes[0].identity, Identity::default());
        let identity = Identity { timeline: Some(2), ..identity };
        let changed = d.see(0, Seen::Is { in_recovery: false, identity }).expect("a change");
        assert_eq!((changed.primary(), changed.nodes[0].identity), (Some(0), identity));
    }
}

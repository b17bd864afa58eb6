//! [pure] Whether a standby may serve reads at all, whatever they need to see; how new it is comes after that.

use super::topology::{Identity, Node, Role};

/// Why it may not; in the order of the questions, of which the first one that fails is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Unfit {
    /// Nobody asks these servers: there are no probe credentials.
    NoProbe = 1,
    NotStandby,
    /// The operator wants no reads there.
    WeightZero,
    /// Not enough is known yet, of it or of the primary.
    Unsure,
    /// A copy of some other cluster.
    OtherSystem,
    /// Not known to have followed the primary over its last promotion: its positions mean something else.
    OtherTimeline,
    /// Another major version: it may answer differently.
    OtherVersion,
    /// Its replay was paused by hand.
    Paused,
    /// Further behind than `max_replica_lag`.
    Lagging,
}

impl Unfit {
    pub const ALL: [Unfit; 9] = [
        Unfit::NoProbe,
        Unfit::NotStandby,
        Unfit::WeightZero,
        Unfit::Unsure,
        Unfit::OtherSystem,
        Unfit::OtherTimeline,
        Unfit::OtherVersion,
        Unfit::Paused,
        Unfit::Lagging,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Unfit::NoProbe => "no_probe",
            Unfit::NotStandby => "not_standby",
            Unfit::WeightZero => "weight_zero",
            Unfit::Unsure => "unsure",
            Unfit::OtherSystem => "other_system",
            Unfit::OtherTimeline => "other_timeline",
            Unfit::OtherVersion => "other_version",
            Unfit::Paused => "paused",
            Unfit::Lagging => "lagging",
        }
    }
}

/// What the slow-moving facts say of a node beside the primary's identity (the last one known). Its lag is judged at
/// each read.
pub fn judge(node: &Node, paused: bool, primary: Option<Identity>) -> Result<(), Unfit> {
    if node.role != Role::Standby {
        return Err(Unfit::NotStandby);
    }
    if node.listed.weight == 0 {
        return Err(Unfit::WeightZero);
    }
    let line = primary.ok_or(Unfit::Unsure)?;
    let same = |own: Option<u64>, other: Option<u64>, unlike: Unfit| match (own, other) {
        (Some(own), Some(other)) if own == other => Ok(()),
        (Some(_), Some(_)) => Err(unlike),
        _ => Err(Unfit::Unsure),
    };
    same(node.identity.system, line.system, Unfit::OtherSystem)?;
    same(node.identity.timeline.map(u64::from), line.timeline.map(u64::from), Unfit::OtherTimeline)?;
    same(node.identity.major.map(u64::from), line.major.map(u64::from), Unfit::OtherVersion)?;
    if paused { Err(Unfit::Paused) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Address, Listed};
    use crate::route::topology::Fence;

    fn identity(system: u64, timeline: u32, major: u32) -> Identity {
        Identity { system: Some(system), timeline: Some(timeline), major: Some(major) }
    }

    fn node(role: Role, weight: u32, identity: Identity) -> Node {
        let address = Address::Tcp { host: "h".into(), port: 1 };
        Node { listed: Listed { address, weight, zone: None }, near: false, role, identity }
    }

    #[test]
    fn a_fit_standby_is_like_its_primary_in_all_that_counts() {
        let own = identity(7, 2, 15);
        let standby = node(Role::Standby, 1, own);
        let without = |change: fn(&mut Identity)| {
            let mut less = own;
            change(&mut less);
            Some(less)
        };
        let table = [
            (&standby, false, Some(own), Ok(())),
            (&standby, true, Some(own), Err(Unfit::Paused)),
            (&standby, false, None, Err(Unfit::Unsure)),
            (&standby, false, Some(identity(8, 2, 15)), Err(Unfit::OtherSystem)),
            (&standby, false, Some(identity(7, 1, 15)), Err(Unfit::OtherTimeline)),
            (&standby, false, Some(identity(7, 3, 15)), Err(Unfit::OtherTimeline)),
            (&standby, false, Some(identity(7, 2, 16)), Err(Unfit::OtherVersion)),
            (&standby, false, without(|line| line.system = None), Err(Unfit::Unsure)),
            (&standby, false, without(|line| line.timeline = None), Err(Unfit::Unsure)),
            (&standby, false, without(|line| line.major = None), Err(Unfit::Unsure)),
            (&node(Role::Standby, 0, own), false, Some(own), Err(Unfit::WeightZero)),
            (&node(Role::Standby, 1, Identity::default()), false, Some(own), Err(Unfit::Unsure)),
            (&node(Role::Primary, 1, own), false, Some(own), Err(Unfit::NotStandby)),
            (&node(Role::Fenced(Fence::Stale), 1, own), false, Some(own), Err(Unfit::NotStandby)),
            (&node(Role::Suspect, 1, own), false, Some(own), Err(Unfit::NotStandby)),
            (&node(Role::Down, 1, own), false, Some(own), Err(Unfit::NotStandby)),
            (&node(Role::Unknown, 1, own), false, Some(own), Err(Unfit::NotStandby)),
        ];
        for (node, paused, primary, expected) in table {
            assert_eq!(judge(node, paused, primary), expected, "{node:?} {paused} {primary:?}");
        }
    }

    #[test]
    fn each_reason_has_a_label_and_a_code_of_its_own() {
        for (at, reason) in Unfit::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at + 1);
            assert!(Unfit::ALL[..at].iter().all(|other| other.label() != reason.label()));
        }
    }
}

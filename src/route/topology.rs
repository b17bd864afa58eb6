//! [pure] Who is primary: a value, published whole, read at a transaction boundary.

use crate::config::Address;

/// What a server was last seen to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It accepts writes, but another server did so first and still does: it gets nothing.
    Contested,
    /// Several probes in a row had no answer.
    Down,
    Primary,
    Standby,
    /// Not asked yet.
    #[default]
    Unknown,
}

impl Role {
    pub fn label(self) -> &'static str {
        match self {
            Role::Contested => "contested",
            Role::Down => "down",
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Unknown => "unknown",
        }
    }
}

/// The servers of one `servers` list, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub nodes: Vec<Node>,
    /// Rises with each change.
    pub epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub address: Address,
    pub role: Role,
}

impl Topology {
    pub fn unknown(addresses: &[Address]) -> Topology {
        let node = |address: &Address| Node { address: address.clone(), role: Role::Unknown };
        Topology { nodes: addresses.iter().map(node).collect(), epoch: 0 }
    }

    pub fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.role == Role::Primary)
    }
}

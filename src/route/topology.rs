//! [pure] Who is primary and what each server is: a value, published whole at changes, read at a transaction boundary.
//!
//! What changes with every look (positions, freshness) is not here but beside it, in atomics.

use crate::config::Listed;

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

/// What a server says of itself, as far as it has been asked; `None`: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Made by initdb, and the same in every physical copy.
    pub system: Option<u64>,
    /// A primary's own. Of a standby the highest one that is known to be in its history, which may come late.
    pub timeline: Option<u32>,
    /// The first part of server_version.
    pub major: Option<u32>,
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
    pub listed: Listed,
    /// In the proxy's own zone.
    pub near: bool,
    pub role: Role,
    pub identity: Identity,
}

impl Topology {
    /// Nothing is known yet. `zone` is where the proxy stands.
    pub fn unknown(servers: &[Listed], zone: Option<&str>) -> Topology {
        let node = |listed: &Listed| Node {
            listed: listed.clone(),
            near: zone.is_some() && listed.zone.as_deref() == zone,
            role: Role::Unknown,
            identity: Identity::default(),
        };
        Topology { nodes: servers.iter().map(node).collect(), epoch: 0 }
    }

    pub fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.role == Role::Primary)
    }

    pub fn is_standby(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.role == Role::Standby)
    }
}

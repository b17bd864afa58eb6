//! [pure] Who is primary and what each server is: a value, published whole at changes, read at a transaction boundary.
//!
//! What changes with every look (positions, freshness) is not here but beside it, in atomics.

use crate::config::Listed;

/// What a server was last seen to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Several probes in a row had no answer.
    Down,
    /// It accepts writes and must not be given any, nor reads, until it is in recovery.
    Fenced(Fence),
    Primary,
    Standby,
    /// The primary, of whose loss there is a sign: what is new waits until it answers, is down, or another one is primary.
    Suspect,
    /// Not asked yet.
    #[default]
    Unknown,
}

/// Why a server that accepts writes is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Another one does so on the same timeline, or on one that is not known.
    Contested,
    /// A copy of some other cluster.
    OtherSystem,
    /// A higher timeline was seen: another server was promoted since.
    Stale,
}

impl Fence {
    pub fn label(self) -> &'static str {
        match self {
            Fence::Contested => "contested",
            Fence::OtherSystem => "other_system",
            Fence::Stale => "stale",
        }
    }
}

impl Role {
    pub fn label(self) -> &'static str {
        match self {
            Role::Down => "down",
            Role::Fenced(_) => "fenced",
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Suspect => "suspect",
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

    /// The primary that may be lost.
    pub fn suspect(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.role == Role::Suspect)
    }

    pub fn is_standby(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.role == Role::Standby)
    }
}

//! Where a client comes from: the two ends of its socket, or what a trusted proxy says of them.

use std::fmt;
use std::net::SocketAddr;

/// Both ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    Tcp {
        /// The client's end.
        from: SocketAddr,
        /// The end that it dialled.
        to: SocketAddr,
    },
    /// The process that dialled, as the kernel saw it then; None where the kernel does not tell.
    Unix { uid: Option<u32>, pid: Option<i32> },
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ends::Tcp { from, .. } => from.fmt(f),
            Ends::Unix { .. } => f.write_str("unix"),
        }
    }
}

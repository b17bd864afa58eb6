//! Sockets and what they are wrapped in.

pub mod tls;

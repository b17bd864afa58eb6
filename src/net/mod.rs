//! Sockets and what is read from them: streams, buffers, listeners, TLS, and who is at the other end.

pub mod buffer;
pub mod ends;
pub mod listen;
pub mod packets;
pub mod parting;
pub mod pipe;
pub mod proxy_protocol;
pub mod stream;
pub mod talk;
pub mod tls;

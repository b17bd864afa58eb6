//! Sockets and what is read from them: streams, buffers, listeners, TLS.

pub mod buffer;
pub mod listen;
pub mod pipe;
pub mod stream;
pub mod talk;
pub mod tls;

//! The drill: a primary and a standby, a proxy before them, counting writers and readers, and everything that can befall
//! a server. `tests/it/drill.rs` judges what pgweir made of it; `benches/drill.rs` puts its times beside those of others.

// The test judges, the bench measures.
#![allow(dead_code)]

pub mod event;
pub mod field;
pub mod link;
pub mod load;
pub mod tally;

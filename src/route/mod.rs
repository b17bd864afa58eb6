//! [pure] Where work may go, and why: who is primary, which standby is fit for reads, and how new what it shows is.

pub mod choose;
pub mod fit;
pub mod freshness;
pub mod reason;
pub mod topology;

pub use reason::Reason;

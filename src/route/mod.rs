//! [pure] Where work may go. Today: to the one server that is not in recovery.

pub mod topology;

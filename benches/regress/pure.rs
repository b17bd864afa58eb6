//! The suite's pure parts as a test target of their own: the bench itself has no test harness.

// What only the bench calls is no dead code.
#![allow(dead_code)]

mod compare;
mod known;
mod suite;

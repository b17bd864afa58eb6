//! What the integration tests stand on: the servers of the runner, pgweir as a process, and two kinds of clients.
//!
//! [`Servers`] are told by the environment (`pgweir demo --exec`), [`Proxy`] is the built program with a config of the
//! test's own, [`Proxy::connect`] gives a tokio-postgres client and [`wire::Wire`] one that writes and reads messages.
//! Nothing here measures time: conditions are waited for, with a deadline that only a hang reaches.

// Each test binary uses a part of it.
#![allow(dead_code, unused_imports, unused_macros)]

pub mod certs;
pub mod http;
pub mod proxy;
pub mod reads;
pub mod servers;
pub mod sets;
pub mod stack;
pub mod tool;
pub mod wire;

use std::time::{Duration, Instant};

pub use proxy::{Proxy, Setup};
pub use servers::Servers;
pub use wire::Wire;

/// How long a condition may take to come true on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long something that must not happen is given to happen.
pub const MOMENT: Duration = Duration::from_millis(300);

/// Polls until the condition holds; fails with what was waited for.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The result, or a failure that names what hangs.
pub async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(DEADLINE, work).await;
    limited.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain: {what}"))
}

/// SQLSTATE of a tokio-postgres error.
#[track_caller]
pub fn sqlstate<T>(result: Result<T, tokio_postgres::Error>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => panic!("expected an ErrorResponse, got {error:?}"),
        },
    }
}

/// SQLSTATE and text of it.
#[track_caller]
pub fn refusal<T>(result: Result<T, tokio_postgres::Error>) -> String {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => match error.as_db_error() {
            Some(said) => format!("{} {} {}", said.severity(), said.code().code(), said.message()),
            None => panic!("expected an ErrorResponse, got {error:?}"),
        },
    }
}

/// Tests by the servers that they need: `async fn name(pg: Servers)` becomes `on15::name`, and `on18::name` where what
/// it shows depends on the server.
macro_rules! tests {
    (on both: [$($both:ident),* $(,)?], on 15: [$($first:ident),* $(,)?]) => {
        mod on15 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $both() { super::$both($crate::support::Servers::pg15()).await })*
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $first() { super::$first($crate::support::Servers::pg15()).await })*
        }
        mod on18 {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $both() { super::$both($crate::support::Servers::pg18()).await })*
        }
    };
}

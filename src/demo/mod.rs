//! Throw-away PostgreSQL servers on this machine: `pgweir demo`, the tests and the benches share this room.
//!
//! [`demo`] is the command. [`Room`] and [`Cluster`] serve whoever needs servers of his own: a [`Room`] is a temporary
//! directory, a [`Cluster`] a server in it, and dropping them, in any order, leaves nothing behind.
//!
//! All of it blocks: it never runs inside the proxy.

mod account;
mod binaries;
mod cluster;
mod exec;
mod ports;
mod problem;
mod process;
mod proxy;
mod psql;
mod room;
mod seed;
mod show;
mod signals;
mod watchdog;

pub use account::Account;
pub use binaries::Binaries;
pub use cluster::{Cluster, Stop};
pub use ports::free_ports;
pub use problem::{Problem, Result, Trying, log_tail};
pub use process::{Process, run, wait_until};
pub use room::Room;
pub use signals::{Caught, Signals};

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `pgweir demo` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Where the ports begin: 5432 for the demo, 15432 for a command.
    pub port_base: Option<u16>,
    /// Instead of the demo: a command to run among clusters, told by the variables of `exec.rs`.
    pub exec: Option<Vec<OsString>>,
    /// With `exec`: the bindir of a second PostgreSQL (the npm package's 18) for a second pair.
    pub second_bindir: Option<PathBuf>,
}

/// Runs the demo, or a command among clusters, to its end or to a signal's; says on standard error what failed.
pub fn demo(options: Options) -> ExitCode {
    let run = || {
        let signals = Signals::install()?;
        let Some(words) = options.exec else {
            return show::show(options.port_base.unwrap_or(DEMO_BASE), &signals).map(|()| ExitCode::SUCCESS);
        };
        exec::exec(&words, options.second_bindir.as_deref(), options.port_base.unwrap_or(EXEC_BASE), &signals)
    };
    run().unwrap_or_else(|problem| {
        eprintln!("pgweir demo: {problem}");
        ExitCode::FAILURE
    })
}

/// The standby's physical replication slot on its primary.
const SLOT: &str = "replica_slot_1";
const DEMO_BASE: u16 = 5432;
const EXEC_BASE: u16 = 15432;

//! pgweir before real servers: each module shows one part of what it promises.
//!
//! They run among clusters that the runner starts: `make test TESTS='--test it'`.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[path = "../drill/mod.rs"]
mod drill;

mod auth;
mod badinput;
mod by_sql;
mod cancel;
mod catalog;
mod console;
mod copy;
mod described;
mod differential;
mod disconnect;
mod drain;
mod events;
mod failover;
mod followed;
mod hba;
mod hidden;
mod http;
mod inherited;
mod ini;
mod limits;
mod lookup;
mod monitor;
mod ops;
mod ops_files;
mod outcomes;
mod pinning;
mod pins;
mod pipeline;
mod pooling;
mod prepared;
mod proxied;
mod reload;
mod reload_matrix;
mod replication;
mod restart;
mod servers;
mod session_mode;
mod settings;
mod shared;
mod split;
mod split_net;
mod split_session;
mod split_transactions;
mod stale;
mod timeouts;
mod tls;
mod upkeep;
mod workers;

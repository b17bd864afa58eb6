//! pgweir: a transaction-pooling proxy for the PostgreSQL wire protocol.
//!
//! # Glossary
//!
//! *client*, *server*: our two peers, as in PgBouncer. *frontend*, *backend*: message directions only, as in
//! the PostgreSQL manual. *checkout*, *lease*: lending a server connection. *ledger*: the replies that a server
//! still owes. *settled*: the proof that it owes none. *pin*: a server that must stay with its client.
//!
//! # The staircase
//!
//! Each room imports only from those before it:
//!
//! `error < wire < sql < auth < config < control < stats < route < session < pool < net < server < cluster <
//! client < admin < http < serve < demo < cli < main`
//!
//! Judgement is pure and lies below; waiting lies above.
//!
//! # The rooms
//!
//! - [`error`]: what can go wrong, and what a client is told of it.
//! - [`wire`]: messages of the protocol, found, viewed and written. [`sql`]: what a text may do to session state.
//! - [`auth`]: who may log in, and how either side proves it. [`config`]: what the operator asked for, checked.
//! - [`control`]: the process's phase, and what a console asks of it. [`stats`]: what was counted, and the snapshot that
//!   is shown of it. [`route`]: who is primary and which standby is fit and new enough, as values.
//! - [`session`]: one conversation without sockets: the ledger, prepared statements (`prepared`; a server's: `parsed`),
//!   settings, pins; what the next batch is to the split (`look`), a standby's first bytes (`hold`), a BEGIN that no server has heard of (`absent`), settings that
//!   nobody reports (`sets`), PREPARE and EXECUTE by SQL (`by_sql`, `by_name`), unnamed statements that repeat (`sharing`), pins that are
//!   warned of or refused (`pinning`) and their ends (`pins`), what became of what a lost server was asked (`lost`).
//! - [`pool`]: lending. [`net`]: sockets, buffers, TLS. [`server`]: a logged-in PostgreSQL connection.
//! - [`cluster`]: watching and sampling servers, fencing the stale (`decide`), what is known of their catalogs, who may log
//!   in by their word (`lookup`), the pools before them, and those of one replication connection (`dedicated`). [`client`]: a client's life; `client/relay.rs` is the hot loop.
//! - [`admin`]: the console. [`http`]: metrics, health and the status page. [`serve`]: the process, and how it hands over to
//!   the next one. [`demo`]: throw-away servers for the demo, the tests and the benches. [`cli`]: the command line.
//!
//! A query's way: `client::idle` (what it is), `client::transact` (where it runs), `client::relay` and, on a standby,
//! `client::standby`, `session::Session::client` and `server`, and back. A release build has what is on it side by side
//! (`hot.ld`).
//!
//! # Invariants
//!
//! 1. Files whose first line says `[pure]` contain no `.await`, `tokio::`, clock, randomness, global or lock
//!    (`tests/tidy.rs`).
//! 2. Imports follow the staircase (`tests/tidy.rs`).
//! 3. No `unsafe` (`unsafe_code = "forbid"`).
//! 4. A server returns to a pool only with a `Settled` that a ledger minted (types).
//! 5. A peer's length is compared with a limit before it is used (`wire::frame` alone; fuzzed).
//! 6. No lock or map guard lives across an await (clippy).
//! 7. Only `client/` holds both a client and a server.
//! 8. `Config` and `Topology` are values, read at a transaction boundary and never inside one.
//! 9. A steady relayed transaction over plain sockets allocates nothing (`tests/alloc.rs`).
//! 10. What was written to a server's socket is never sent again, unless PostgreSQL refused it before running it, or a
//!     standby had it, or it is proven to read, and nothing of its answer was forwarded.
//! 11. An idle, unpinned client in transaction mode holds no relay buffer and no server.

pub mod admin;
pub mod auth;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod control;
pub mod demo;
pub mod error;
pub mod http;
pub mod net;
pub mod pool;
pub mod route;
pub mod serve;
pub mod server;
pub mod session;
pub mod sql;
pub mod stats;
pub mod wire;

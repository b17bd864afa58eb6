//! pgweir before real clients: what applications use, checked by their own rules.
//!
//! | module | client |
//! |---|---|
//! | `scripts` | psycopg 3 and its pool, asyncpg, node-postgres, SQLAlchemy, TypeORM: a script each, run as it stands; the console, through most of these |
//! | `by_tokio_postgres` | tokio-postgres, in this process |
//! | `psql`, `pgbench` | PostgreSQL's own programs |
//!
//! Each test makes a database of its own and lends it three servers, fewer than it has clients: statements move. The
//! scripts also run without pgweir, so that a failure of theirs tells whose it is. They run among clusters that the
//! runner starts: `make test TESTS='--test drivers'`.

#[macro_use]
#[path = "../support/mod.rs"]
mod support;

#[path = "tokio_postgres.rs"]
mod by_tokio_postgres;
mod ground;
mod pgbench;
mod psql;
mod scripts;

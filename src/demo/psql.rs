//! SQL by way of psql: the demo and the tests need an honest libpq client more than a driver.

use super::account::Account;
use super::problem::Result;
use super::process::run_heard;
use std::path::PathBuf;

pub(super) struct Psql<'a> {
    pub account: &'a Account,
    pub program: PathBuf,
    /// An address, or the directory of a unix socket.
    pub host: String,
    pub port: u16,
    pub user: &'a str,
    pub password: &'a str,
}

impl Psql<'_> {
    /// Runs the statements one by one and stops at the first error; unaligned rows, nothing else.
    pub(super) fn run(&self, database: &str, sql: &str) -> Result<String> {
        self.run_heard(database, sql).map(|(rows, _)| rows)
    }

    /// The same, and the notices.
    pub(super) fn run_heard(&self, database: &str, sql: &str) -> Result<(String, String)> {
        let mut psql = self.account.command(&self.program);
        psql.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--host", &self.host, "--username", self.user, "--dbname", database, "--port"]);
        psql.arg(self.port.to_string())
            .env("PGPASSWORD", self.password)
            .env("PGCONNECT_TIMEOUT", "10")
            .current_dir("/");
        run_heard(&mut psql, sql)
    }
}

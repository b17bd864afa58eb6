//! [pure] What must hold between keys. A check is skipped where a value that it needs was refused already.

use super::keys::Grammar;
use super::read::{Reader, Row};
use super::{AuthType, Config, Database, Global, MaxLag, ReadConsistency, SslMode, Tls, address};

/// PgBouncer's bounds on names, less their zero byte.
const LONGEST_DATABASE: usize = 63;
const LONGEST_USER: usize = 127;

/// Checks of `[pgweir]`.
pub(crate) fn global(reader: &mut Reader<'_>, row: &Row, global: &Global) {
    listening(reader, row, global);
    http(reader, row, global);
    client_tls(reader, row, &global.client_tls);
    server_tls(reader, row, &global.server_tls);
    let sizes = (global.min_pool_size, global.default_pool_size);
    if row.is_sound(&["min_pool_size", "default_pool_size"]) && exceeds(sizes) {
        let expected = format!("expected at most default_pool_size, {}; found {}", sizes.1, sizes.0);
        doubt_in_ini(reader, row, "min_pool_size", expected);
    }
    if row.is_sound(&["max_replica_lag", "probe_interval"]) {
        lag(reader, row, global.reads.max_lag, global);
    }
}

/// Positions are known as of the last look only: a standby would seem to lag before the next one.
fn lag(reader: &mut Reader<'_>, row: &Row, limit: MaxLag, global: &Global) {
    if matches!(limit, MaxLag::Time(limit) if limit <= global.probe_interval) {
        reader.blame(row, "max_replica_lag", format!("expected more than probe_interval, {:?}", global.probe_interval));
    }
}

fn listening(reader: &mut Reader<'_>, row: &Row, global: &Global) {
    for name in global.listen_addr.iter().filter(|name| *name != "*") {
        let is_host = !name.starts_with(['/', '@', '[']) && address::host(name, 0).is_ok();
        if !is_host {
            let expected = "expected \"*\", IP addresses or host names, without a port";
            reader.blame(row, "listen_addr", format!("{expected}; found {name:?}"));
        }
    }
    if let Some(dir) = &global.unix_socket_dir
        && !dir.starts_with(['/', '@'])
    {
        let expected = format!("expected an absolute directory, \"@name\" or \"\"; found {dir:?}");
        reader.blame(row, "unix_socket_dir", expected);
    }
    let silent = global.listen_addr.is_empty() && global.unix_socket_dir.is_none();
    if silent && row.is_sound(&["listen_addr", "unix_socket_dir"]) {
        reader.blame(row, "listen_addr", "expected an address here or a directory in unix_socket_dir; found neither");
    }
}

fn http(reader: &mut Reader<'_>, row: &Row, global: &Global) {
    let Some(listen) = &global.http_listen else { return };
    let host = listen.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map(|(host, _)| host);
    let is_host = |host: &str| host == "*" || !host.starts_with(['/', '@']) && address::host(host, 0).is_ok();
    if !host.is_some_and(is_host) {
        reader.blame(row, "http_listen", format!("expected host:port, as \"127.0.0.1:9632\"; found {listen:?}"));
    }
}

/// Whether anybody can log in.
pub(crate) fn logins(reader: &mut Reader<'_>, row: &Row, config: &Config) {
    let global = &config.global;
    let keys = ["auth_type", "auth_file", "auth_user", "auth_hba_file", "client_tls_sslmode", "client_tls_ca_file"];
    if !row.is_sound(&keys) {
        return;
    }
    let is_asked = global.auth_user.is_some() || config.databases.values().any(|database| database.auth_user.is_some());
    match global.auth_type {
        AuthType::Md5 | AuthType::Plain | AuthType::ScramSha256 if global.auth_file.is_none() && !is_asked => {
            let expected = format!("expected a file of users: auth_type is {}", global.auth_type);
            reader.blame(row, "auth_file", expected);
        }
        AuthType::Hba if global.auth_hba_file.is_none() => {
            reader.blame(row, "auth_hba_file", "expected a file: auth_type is hba");
        }
        AuthType::Cert if global.client_tls.sslmode != SslMode::VerifyFull => {
            let expected = "expected client_tls_sslmode = \"verify-full\" (and a CA) beside auth_type cert";
            reader.blame(row, "auth_type", format!("{expected}; found \"{}\"", global.client_tls.sslmode));
        }
        _ => {}
    }
}

/// An `auth_dbname`, which must be a database of the file; known only once all of them are.
pub(crate) struct Asker {
    line: usize,
    path: String,
    name: String,
}

impl Asker {
    pub(crate) fn of(row: &Row, name: &Option<String>) -> Option<Asker> {
        let name = name.clone()?;
        Some(Asker { line: row.line_of("auth_dbname"), path: row.at("auth_dbname"), name })
    }

    pub(crate) fn check(self, reader: &mut Reader<'_>, config: &Config) {
        if config.database(&self.name).is_some() {
            return;
        }
        let text = format!("expected one of the databases; there is no {:?}", self.name);
        match reader.grammar {
            // PgBouncer starts with it, and refuses the logins that need it.
            Grammar::Ini => reader.warn(self.line, &self.path, text),
            Grammar::Toml => reader.problem(self.line, &self.path, text),
        }
    }
}

fn client_tls(reader: &mut Reader<'_>, row: &Row, tls: &Tls) {
    if tls.sslmode == SslMode::Disable {
        return;
    }
    for (name, file) in [("client_tls_key_file", &tls.key_file), ("client_tls_cert_file", &tls.cert_file)] {
        if file.is_none() && row.is_sound(&[name]) {
            reader.blame(row, name, format!("expected a file: client_tls_sslmode is {}", tls.sslmode));
        }
    }
    needs_ca(reader, row, tls, "client");
}

fn server_tls(reader: &mut Reader<'_>, row: &Row, tls: &Tls) {
    let (key, cert) = ("server_tls_key_file", "server_tls_cert_file");
    if tls.key_file.is_some() != tls.cert_file.is_some() && row.is_sound(&[key, cert]) {
        let (missing, present) = if tls.key_file.is_none() { (key, cert) } else { (cert, key) };
        reader.blame(row, missing, format!("expected a file beside {present}"));
    }
    needs_ca(reader, row, tls, "server");
}

fn needs_ca(reader: &mut Reader<'_>, row: &Row, tls: &Tls, side: &str) {
    let name = format!("{side}_tls_ca_file");
    if tls.sslmode >= SslMode::VerifyCa && tls.ca_file.is_none() && row.is_sound(&[&name]) {
        reader.blame(row, &name, format!("expected a file: {side}_tls_sslmode is {}", tls.sslmode));
    }
}

/// Checks of one `[databases.NAME]`.
pub(crate) fn database(reader: &mut Reader<'_>, row: &Row, name: &str, database: &Database, global: &Global) {
    if matches!(name, "pgbouncer" | "pgweir") {
        reader.problem(row.line, &row.path, "expected another name: it is the console's");
    }
    name_fits(reader, row, name, LONGEST_DATABASE);
    target(reader, row, database, global);
    reads(reader, row, database, global);
    let needs_user = global.auth_type == AuthType::Any && database.user.is_none();
    if needs_user && row.is_sound(&["user"]) {
        reader.blame(row, "user", "expected a user: auth_type is any");
    }
    if database.password.is_some() && database.user.is_none() && row.is_sound(&["user"]) {
        reader.warn(row.line, &row.path, "the password has no effect without `user`");
    }
    let own = ["min_pool_size", "pool_size"];
    let sizes = (
        database.min_pool_size.unwrap_or(global.min_pool_size),
        database.pool_size.unwrap_or(global.default_pool_size),
    );
    if let Some(key) = own.into_iter().find(|key| row.is_given(key))
        && row.is_sound(&own)
        && exceeds(sizes)
    {
        let expected = format!("expected min_pool_size, {}, to be at most pool_size, {}", sizes.0, sizes.1);
        doubt_in_ini(reader, row, key, expected);
    }
}

fn target(reader: &mut Reader<'_>, row: &Row, database: &Database, global: &Global) {
    if !row.is_given("servers") {
        return;
    }
    for name in ["host", "port", "load_balance_hosts"].into_iter().filter(|name| row.is_given(name)) {
        reader.blame(row, name, "expected `servers` without it: servers name hosts and ports themselves");
    }
    if database.probe.is_none() && global.probe.is_none() {
        let text = "no `probe_user`: roles are learned only from clients' logins, and nobody watches before the first";
        reader.warn(row.line_of("servers"), &row.at("servers"), text);
    }
}

/// What belongs to the split of reads and writes.
fn reads(reader: &mut Reader<'_>, row: &Row, database: &Database, global: &Global) {
    if !row.is_given("servers") {
        let keys = [
            "read_write_split",
            "read_consistency",
            "read_wait",
            "max_staleness",
            "max_replica_lag",
            "deferred_begin",
            "primary_reads",
            "failover_error",
            "listen_failover",
        ];
        for name in keys.into_iter().filter(|name| row.is_given(name)) {
            reader.warn(row.line_of(name), &row.at(name), "has no effect: it speaks of `servers`");
        }
        return;
    }
    if let Some(limit) = database.reads.max_lag {
        lag(reader, row, limit, global);
    }
    let consistency = database.reads.consistency.unwrap_or(global.reads.consistency);
    let bound = database.reads.max_staleness.or(global.reads.max_staleness);
    let own = ["read_consistency", "max_staleness"];
    if consistency == ReadConsistency::Bounded && bound.is_none() && row.is_sound(&own) {
        let name = if row.is_given("max_staleness") { "max_staleness" } else { "read_consistency" };
        let expected = "expected a max_staleness above 0 beside read_consistency bounded";
        reader.blame(row, name, expected);
    }
}

/// Checks of one `[users.NAME]`.
pub(crate) fn user(reader: &mut Reader<'_>, row: &Row, name: &str) {
    name_fits(reader, row, name, LONGEST_USER);
}

fn name_fits(reader: &mut Reader<'_>, row: &Row, name: &str, longest: usize) {
    if name.is_empty() || name.len() > longest || name.contains('\0') {
        reader.problem(row.line, &row.path, format!("expected a name of 1 to {longest} bytes"));
    }
}

/// PgBouncer takes it, and so does an ini.
fn doubt_in_ini(reader: &mut Reader<'_>, row: &Row, name: &str, expected: String) {
    if reader.is_ini() {
        reader.warn(row.line_of(name), &row.at(name), expected)
    } else {
        reader.blame(row, name, expected)
    }
}

/// A pool of size 0 has no limit to exceed.
fn exceeds((min, size): (usize, usize)) -> bool {
    size > 0 && min > size
}

//! [pure] Rows into the checked types. Each key is named once here, beside the field that it fills.

use super::diff::Rows;
use super::keys::Table;
use super::read::{Reader, Row};
use super::value::{Entry, Written};
use super::words::{
    FailoverError, ListenFailover, LoadBalance, Pinning, PoolMode, PrimaryReads, ReadConsistency, ReadWriteSplit,
};
use super::{
    Address, Config, Database, Global, Peer, Probe, ReadOverrides, Target, UserOverrides, address, check, global,
};

/// The whole file. Problems and warnings are left with the reader.
pub(crate) fn config(reader: &mut Reader<'_>, top: &[Entry]) -> Config {
    for entry in top {
        strange_table(reader, entry);
    }
    let own = table(reader, top, "pgweir");
    let row = reader.row(Table::Global, reader.grammar.global().trim_matches(['[', ']']), own.line, own.entries);
    let global = global::global(reader, &row);
    check::global(reader, &row, &global);

    let named = table(reader, top, "databases");
    let (databases, users, peers) = Default::default();
    let mut config = Config { global, databases, users, peers, rows: Rows::default(), shown: row.shown() };
    config.rows.add(Table::Global, "", row.values());
    let mut askers = vec![check::Asker::of(&row, &config.global.auth_dbname)];
    for (name, line, entries) in rows(reader, "databases", named.entries) {
        let path = format!("databases.{name}");
        let own = reader.row(Table::Database, &path, line, entries);
        let database = database(reader, &own, &config.global);
        check::database(reader, &own, &name, &database, &config.global);
        askers.push(check::Asker::of(&own, &database.auth_dbname));
        config.rows.add(Table::Database, &name, own.values());
        config.databases.insert(name, database);
    }
    askers.into_iter().flatten().for_each(|asker| asker.check(reader, &config));
    if named.entries.is_empty() && named.is_table {
        // A TOML file says so on purpose.
        match top.iter().any(|entry| entry.name == "databases") {
            true => reader.warn(named.line, "databases", "there is none: clients reach the console only"),
            false => reader.problem(named.line, "databases", "expected at least one [databases.NAME]"),
        }
    }
    check::logins(reader, &row, &config);

    let named = table(reader, top, "users");
    for (name, line, entries) in rows(reader, "users", named.entries) {
        let row = reader.row(Table::User, &format!("users.{name}"), line, entries);
        check::user(reader, &row, &name);
        config.rows.add(Table::User, &name, row.values());
        config.users.insert(name, user(&row));
    }

    let named = table(reader, top, "peers");
    for (name, line, entries) in rows(reader, "peers", named.entries) {
        let row = reader.row(Table::Peer, &format!("peers.{name}"), line, entries);
        if let Some((number, peer)) = peer(reader, &row, &name) {
            config.rows.add(Table::Peer, &number.to_string(), row.values());
            config.peers.insert(number, peer);
        }
    }
    config
}

struct Found<'a> {
    /// False: something else stands under the name, and a problem says so.
    is_table: bool,
    line: usize,
    entries: &'a [Entry],
}

fn table<'a>(reader: &mut Reader<'_>, top: &'a [Entry], name: &str) -> Found<'a> {
    let Some(entry) = top.iter().find(|entry| entry.name == name) else {
        return Found { is_table: true, line: 1, entries: &[] };
    };
    let Written::Table(entries) = &entry.value else {
        reader.problem(entry.line, name, format!("expected a table, [{name}]"));
        return Found { is_table: false, line: entry.line, entries: &[] };
    };
    Found { is_table: true, line: entry.line, entries }
}

/// The tables under `[databases]` or `[users]`.
fn rows<'a>(reader: &mut Reader<'_>, parent: &str, entries: &'a [Entry]) -> Vec<(String, usize, &'a [Entry])> {
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        match &entry.value {
            Written::Table(inner) => rows.push((entry.name.clone(), entry.line, inner.as_slice())),
            // A connection string as in an ini may hold a password, so that it is not shown.
            _ => {
                let at = format!("{parent}.{}", entry.name);
                reader.problem(entry.line, &at, format!("expected a table, [{at}], with a key on each line"));
            }
        }
    }
    rows
}

fn strange_table(reader: &mut Reader<'_>, entry: &Entry) {
    let name = entry.name.as_str();
    let tables = ["pgweir", "databases", "users", "peers"];
    if tables.contains(&name) {
        return;
    }
    let expected = match name {
        "pgbouncer" => "expected a known table; did you mean `pgweir`?".to_owned(),
        _ if Table::Global.key(name).is_some() => "expected it under [pgweir]".to_owned(),
        _ => match super::keys::nearest(name, tables.into_iter()) {
            Some(near) => format!("expected a known table; did you mean `{near}`?"),
            None => "expected [pgweir], [databases.NAME], [users.NAME] or [peers.NUMBER]".to_owned(),
        },
    };
    reader.problem(entry.line, name, expected);
}

pub(crate) fn word<T>(row: &Row, name: &str, from_word: fn(&str) -> Option<T>) -> Option<T> {
    from_word(&row.text(name)?)
}

pub(crate) fn pool_mode(row: &Row) -> Option<PoolMode> {
    word(row, "pool_mode", PoolMode::from_word)
}

pub(crate) fn split(row: &Row) -> Option<ReadWriteSplit> {
    word(row, "read_write_split", ReadWriteSplit::from_word)
}

pub(crate) fn consistency(row: &Row) -> Option<ReadConsistency> {
    word(row, "read_consistency", ReadConsistency::from_word)
}

pub(crate) fn failover_error(row: &Row) -> Option<FailoverError> {
    word(row, "failover_error", FailoverError::from_word)
}

pub(crate) fn listen_failover(row: &Row) -> Option<ListenFailover> {
    word(row, "listen_failover", ListenFailover::from_word)
}

pub(crate) fn pinning(row: &Row) -> Option<Pinning> {
    word(row, "pinning", Pinning::from_word)
}

pub(crate) fn primary_reads(row: &Row) -> Option<PrimaryReads> {
    word(row, "primary_reads", PrimaryReads::from_word)
}

fn database(reader: &mut Reader<'_>, row: &Row, global: &Global) -> Database {
    let parameters = ["client_encoding", "datestyle", "timezone", "application_name"];
    let (user, password) = (row.text("user"), reader.secret(row, "password", "password_file"));
    let target = target(reader, row, global);
    let mut database = Database {
        dbname: row.text("dbname"),
        target,
        user,
        password,
        auth_user: row.text("auth_user"),
        auth_query: row.text("auth_query"),
        auth_dbname: row.text("auth_dbname"),
        probe: None,
        reads: ReadOverrides {
            split: split(row),
            consistency: consistency(row),
            wait: row.duration("read_wait"),
            max_staleness: row.timeout("max_staleness"),
            max_lag: row.lag("max_replica_lag"),
            deferred_begin: row.given_boolean("deferred_begin"),
            primary: primary_reads(row),
        },
        failover_error: failover_error(row),
        listen_failover: listen_failover(row),
        pinning: pinning(row),
        pool_mode: pool_mode(row),
        pool_size: row.integer("pool_size"),
        min_pool_size: row.integer("min_pool_size"),
        reserve_pool_size: row.integer("reserve_pool_size"),
        max_db_connections: row.integer("max_db_connections"),
        max_db_client_connections: row.integer("max_db_client_connections"),
        server_lifetime: row.duration("server_lifetime"),
        query_wait_timeout: row.timeout("query_wait_timeout"),
        server_parameters: parameters.iter().filter_map(|name| Some((name.to_string(), row.text(name)?))).collect(),
        connect_query: row.text("connect_query"),
    };
    database.probe = probe(reader, row, &database, global);
    database
}

/// The probe of a database that differs from the global one: its own keys, or its `user` where there is no global one.
fn probe(reader: &mut Reader<'_>, row: &Row, database: &Database, global: &Global) -> Option<Probe> {
    let password = reader.secret(row, "probe_password", "probe_password_file");
    let own = ["probe_user", "probe_password", "probe_password_file", "probe_dbname"];
    let given = own.into_iter().find(|name| row.text(name).is_some());
    if !row.is_given("servers") {
        if let Some(name) = given {
            reader.warn(row.line_of(name), &row.at(name), "has no effect: roles are asked for only beside `servers`");
        }
        return None;
    }
    let wide = global.probe.as_ref();
    if given.is_none() && wide.is_some() {
        return None;
    }
    let inherited = || wide.map(|probe| probe.user.clone()).or_else(|| database.user.clone());
    let Some(user) = row.text("probe_user").or_else(inherited) else {
        if let Some(name) = given.filter(|_| row.is_sound(&["probe_user", "user"])) {
            reader.blame(row, name, "expected `probe_user` beside it");
        }
        return None;
    };
    // A password goes with its user: another one's is never tried.
    let known = wide.filter(|probe| probe.user == user).and_then(|probe| probe.password.clone());
    let forced = database.password.clone().filter(|_| database.user.as_ref() == Some(&user));
    let dbname = row.text("probe_dbname").or_else(|| wide.and_then(|probe| probe.dbname.clone()));
    Some(Probe { user, password: password.or(known).or(forced), dbname })
}

fn target(reader: &mut Reader<'_>, row: &Row, global: &Global) -> Target {
    if let Some(servers) = row.servers() {
        return Target::Servers(servers);
    }
    let port = row.integer("port").unwrap_or(0_u16);
    let hosts = row.list("host");
    let mut servers = Vec::with_capacity(hosts.len());
    for host in &hosts {
        match address::host(host.trim(), port) {
            Ok(address) => servers.push(address),
            Err(expected) => reader.blame(row, "host", expected),
        }
    }
    if hosts.is_empty() {
        let dir = global.unix_socket_dir.as_ref();
        servers.extend(dir.map(|dir| Address::Unix { dir: dir.into(), port }));
        if servers.is_empty() && !row.is_given("servers") && row.is_sound(&["host"]) {
            reader.blame(row, "servers", "expected `servers` or `host`; found neither, and no unix_socket_dir");
        }
    }
    let balance = word(row, "load_balance_hosts", LoadBalance::from_word);
    Target::Hosts { servers, load_balance: balance != Some(LoadBalance::Disable) }
}

fn user(row: &Row) -> UserOverrides {
    UserOverrides {
        pool_mode: pool_mode(row),
        read_write_split: split(row),
        pool_size: row.integer("pool_size"),
        reserve_pool_size: row.integer("reserve_pool_size"),
        max_user_connections: row.integer("max_user_connections"),
        max_user_client_connections: row.integer("max_user_client_connections"),
        query_timeout: row.timeout("query_timeout"),
        query_wait_timeout: row.timeout("query_wait_timeout"),
        idle_transaction_timeout: row.timeout("idle_transaction_timeout"),
        transaction_timeout: row.timeout("transaction_timeout"),
        client_idle_timeout: row.timeout("client_idle_timeout"),
    }
}

/// PgBouncer's range of `peer_id`: 14 bits of a cancel key.
const PEERS: std::ops::RangeInclusive<u32> = 1..=16_383;

fn peer(reader: &mut Reader<'_>, row: &Row, name: &str) -> Option<(u32, Peer)> {
    let number = name.parse().ok().filter(|number| PEERS.contains(number));
    if number.is_none() {
        reader.problem(row.line, &row.path, "expected a peer's number from 1 to 16383");
    }
    let port = row.integer("port").unwrap_or(0_u16);
    let address = match row.text("host").map(|host| address::host(host.trim(), port)) {
        Some(Ok(address)) => Some(address),
        Some(Err(expected)) => {
            reader.blame(row, "host", expected);
            None
        }
        None => {
            if row.is_sound(&["host"]) {
                reader.blame(row, "host", "expected the peer's host");
            }
            None
        }
    };
    Some((number?, Peer { address: address?, pool_size: row.integer("pool_size") }))
}

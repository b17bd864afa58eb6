//! [pure] Rows into the checked types. Each key is named once here, beside the field that it fills.

use super::keys::Table;
use super::read::{Reader, Row};
use super::value::{Entry, Written};
use super::words::{
    AuthType, FailoverError, LoadBalance, LogFormat, PoolMode, PrimaryReads, ReadConsistency, ReadWriteSplit, SslMode,
};
use super::{
    Address, Config, Database, Global, MaxLag, Probe, ReadOverrides, Reads, Target, Tls, UserOverrides, address, check,
};

/// The whole file. Problems and warnings are left with the reader.
pub(crate) fn config(reader: &mut Reader<'_>, top: &[Entry]) -> Config {
    for entry in top {
        strange_table(reader, entry);
    }
    let own = table(reader, top, "pgweir");
    let row = reader.row(Table::Global, "pgweir", own.line, own.entries);
    let global = global(reader, &row);
    check::global(reader, &row, &global);

    let named = table(reader, top, "databases");
    let mut config = Config { global, databases: Default::default(), users: Default::default() };
    for (name, line, entries) in rows(reader, "databases", named.entries) {
        let path = format!("databases.{name}");
        let row = reader.row(Table::Database, &path, line, entries);
        let database = database(reader, &row, &config.global);
        check::database(reader, &row, &name, &database, &config.global);
        config.databases.insert(name, database);
    }
    if named.entries.is_empty() && named.is_table {
        reader.problem(named.line, "databases", "expected at least one [databases.NAME]");
    }

    let named = table(reader, top, "users");
    for (name, line, entries) in rows(reader, "users", named.entries) {
        let row = reader.row(Table::User, &format!("users.{name}"), line, entries);
        check::user(reader, &row, &name);
        config.users.insert(name, user(&row));
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
    let tables = ["pgweir", "databases", "users"];
    if tables.contains(&name) {
        return;
    }
    let expected = match name {
        "peers" => "known to PgBouncer but not supported yet".to_owned(),
        "pgbouncer" => "expected a known table; did you mean `pgweir`?".to_owned(),
        _ if Table::Global.key(name).is_some() => "expected it under [pgweir]".to_owned(),
        _ => match super::keys::nearest(name, tables.into_iter()) {
            Some(near) => format!("expected a known table; did you mean `{near}`?"),
            None => "expected [pgweir], [databases.NAME] or [users.NAME]".to_owned(),
        },
    };
    reader.problem(entry.line, name, expected);
}

/// Every key of `[pgweir]` has a default of its kind (a test says so), so that the fallbacks below are never seen.
fn global(reader: &mut Reader<'_>, row: &Row) -> Global {
    let number = |name: &str| row.integer(name).unwrap_or(0_usize);
    let small = |name: &str| row.integer(name).unwrap_or(0_u32);
    let duration = |name: &str| row.duration(name).unwrap_or_default();
    Global {
        listen_addr: row.list("listen_addr"),
        listen_port: row.integer("listen_port").unwrap_or(0),
        unix_socket_dir: row.text("unix_socket_dir"),
        unix_socket_mode: small("unix_socket_mode"),
        unix_socket_group: row.text("unix_socket_group"),
        listen_backlog: small("listen_backlog"),
        so_reuseport: row.boolean("so_reuseport"),
        workers: number("workers"),
        auth_type: word(row, "auth_type", AuthType::from_word).unwrap_or(AuthType::Md5),
        auth_file: row.path("auth_file"),
        auth_ident_file: row.path("auth_ident_file"),
        client_tls: tls(reader, row, "client"),
        server_tls: tls(reader, row, "server"),
        pool_mode: pool_mode(row).unwrap_or(PoolMode::Transaction),
        max_client_conn: number("max_client_conn"),
        default_pool_size: number("default_pool_size"),
        min_pool_size: number("min_pool_size"),
        reserve_pool_size: number("reserve_pool_size"),
        reserve_pool_timeout: duration("reserve_pool_timeout"),
        max_db_connections: number("max_db_connections"),
        max_user_connections: number("max_user_connections"),
        max_db_client_connections: number("max_db_client_connections"),
        max_user_client_connections: number("max_user_client_connections"),
        server_round_robin: row.boolean("server_round_robin"),
        max_prepared_statements: number("max_prepared_statements"),
        server_reset_query: row.text("server_reset_query").unwrap_or_default(),
        server_lifetime: duration("server_lifetime"),
        server_idle_timeout: row.timeout("server_idle_timeout"),
        server_connect_timeout: duration("server_connect_timeout"),
        server_login_retry: duration("server_login_retry"),
        client_login_timeout: row.timeout("client_login_timeout"),
        query_timeout: row.timeout("query_timeout"),
        query_wait_timeout: row.timeout("query_wait_timeout"),
        cancel_wait_timeout: row.timeout("cancel_wait_timeout"),
        client_idle_timeout: row.timeout("client_idle_timeout"),
        idle_transaction_timeout: row.timeout("idle_transaction_timeout"),
        transaction_timeout: row.timeout("transaction_timeout"),
        shutdown_timeout: row.timeout("shutdown_timeout"),
        tcp_keepalive: row.boolean("tcp_keepalive"),
        tcp_keepcnt: small("tcp_keepcnt"),
        tcp_keepidle: duration("tcp_keepidle"),
        tcp_keepintvl: duration("tcp_keepintvl"),
        tcp_user_timeout: duration("tcp_user_timeout"),
        max_packet_size: number("max_packet_size"),
        ignore_startup_parameters: row.list("ignore_startup_parameters"),
        probe: global_probe(reader, row),
        probe_interval: duration("probe_interval"),
        probe_timeout: duration("probe_timeout"),
        probe_failures: small("probe_failures"),
        topology_state_file: row.path("topology_state_file"),
        reads: Reads {
            split: split(row).unwrap_or(ReadWriteSplit::Off),
            consistency: consistency(row).unwrap_or(ReadConsistency::Pool),
            wait: duration("read_wait"),
            max_staleness: row.timeout("max_staleness"),
            max_lag: row.lag("max_replica_lag").unwrap_or(MaxLag::Bytes(0)),
            deferred_begin: row.boolean("deferred_begin"),
            primary: primary_reads(row).unwrap_or(PrimaryReads::Fallback),
        },
        failover_error: failover_error(row).unwrap_or(FailoverError::RolledBack),
        zone: row.text("zone"),
        log_connections: row.boolean("log_connections"),
        log_disconnections: row.boolean("log_disconnections"),
        log_pooler_errors: row.boolean("log_pooler_errors"),
        log_format: word(row, "log_format", LogFormat::from_word).unwrap_or(LogFormat::Text),
        logfile: row.path("logfile"),
        verbose: small("verbose"),
        pidfile: row.path("pidfile"),
    }
}

fn word<T>(row: &Row, name: &str, from_word: fn(&str) -> Option<T>) -> Option<T> {
    from_word(&row.text(name)?)
}

fn pool_mode(row: &Row) -> Option<PoolMode> {
    word(row, "pool_mode", PoolMode::from_word)
}

fn split(row: &Row) -> Option<ReadWriteSplit> {
    word(row, "read_write_split", ReadWriteSplit::from_word)
}

fn consistency(row: &Row) -> Option<ReadConsistency> {
    word(row, "read_consistency", ReadConsistency::from_word)
}

fn failover_error(row: &Row) -> Option<FailoverError> {
    word(row, "failover_error", FailoverError::from_word)
}

fn primary_reads(row: &Row) -> Option<PrimaryReads> {
    word(row, "primary_reads", PrimaryReads::from_word)
}

fn tls(reader: &mut Reader<'_>, row: &Row, side: &str) -> Tls {
    let key = |name: &str| format!("{side}_tls_{name}");
    let mut tls = Tls {
        sslmode: word(row, &key("sslmode"), SslMode::from_word).unwrap_or(SslMode::Disable),
        key_file: row.path(&key("key_file")),
        cert_file: row.path(&key("cert_file")),
        ca_file: row.path(&key("ca_file")),
        tls12: false,
        tls13: false,
    };
    let protocols = key("protocols");
    for word in row.list(&protocols) {
        let (tls12, tls13, old) = match word.to_ascii_lowercase().as_str() {
            "secure" => (true, true, false),
            "all" | "legacy" => (true, true, true),
            "tlsv1.2" => (true, false, false),
            "tlsv1.3" => (false, true, false),
            "tlsv1.0" | "tlsv1.1" => (false, false, true),
            _ => {
                reader.blame(row, &protocols, format!("expected secure, tlsv1.2 or tlsv1.3; found {word:?}"));
                return tls;
            }
        };
        (tls.tls12, tls.tls13) = (tls.tls12 || tls12, tls.tls13 || tls13);
        if old {
            let text = format!("{word}: TLS 1.0 and 1.1 are never spoken");
            reader.warn(row.line_of(&protocols), &row.at(&protocols), text);
        }
    }
    if !(tls.tls12 || tls.tls13) && row.is_sound(&[&protocols]) {
        reader.blame(row, &protocols, "expected TLS 1.2 or 1.3 among the protocols; found neither");
    }
    tls
}

fn global_probe(reader: &mut Reader<'_>, row: &Row) -> Option<Probe> {
    let password = reader.secret(row, "probe_password", "probe_password_file");
    let dbname = row.text("probe_dbname");
    if let Some(user) = row.text("probe_user") {
        return Some(Probe { user, password, dbname });
    }
    let rest = ["probe_password", "probe_password_file", "probe_dbname"];
    let alone = rest.into_iter().find(|name| row.text(name).is_some());
    if let Some(name) = alone.filter(|_| row.is_sound(&["probe_user"])) {
        reader.blame(row, name, "expected `probe_user` beside it");
    }
    None
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

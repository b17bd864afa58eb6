//! Each key of the table changed alone: SIGHUP closes the server connections that the table says, and no others, and
//! the log says what changed.

use pgweir::config::keys::{Bare, Fallback, Key, Kind, Reload, Table, Zero};

use crate::support::proxy::backend;
use crate::support::*;

/// Changes that need more than a line, and where they are shown.
const ELSEWHERE: &[&str] = &[
    // Certificates: tests/it/tls.rs.
    "client_tls_ca_file",
    "client_tls_cert_file",
    "client_tls_key_file",
    "client_tls_protocols",
    "client_tls_sslmode",
    "server_tls_ca_file",
    "server_tls_cert_file",
    "server_tls_key_file",
    // The list of users: tests/it/reload.rs. Maps and rules: tests/it/hba.rs.
    "auth_file",
    "auth_hba_file",
    "auth_ident_file",
    // The same as the keys that they stand in for.
    "password_file",
    "probe_password_file",
    // The log moves, and what it says with it: `the_log_follows_its_file`.
    "logfile",
];

/// A value that is not the default, as TOML.
fn sample(table: Table, key: &Key, pg: &Servers) -> String {
    let fixed = match (table, key.name) {
        (_, "auth_type") => "'md5'",
        (_, "dbname" | "probe_dbname") => "'test2'",
        (_, "auth_dbname") => "'plain'",
        (_, "host") => "'localhost'",
        (_, "http_listen") => "'127.0.0.1:1'",
        (_, "listen_addr") => "'localhost'",
        (_, "max_packet_size") => "'1MB'",
        // More would be opened, and lent.
        (_, "min_pool_size") => "1",
        (_, "peer_id") => "7",
        // Session mode would keep the server.
        (_, "pool_mode") => "'statement'",
        (_, "probe_interval") => "'3s'",
        (_, "probe_user") => "'postgres'",
        (_, "port") => return pg.standby.to_string(),
        (_, "read_consistency") => "'session'",
        (_, "server_tls_protocols") => "'tlsv1.3'",
        (_, "client_encoding") => "'LATIN1'",
        (_, "datestyle") => "'German'",
        (_, "timezone") => "'UTC'",
        (_, "connect_query" | "auth_query" | "server_check_query" | "server_reset_query") => "'SELECT 1'",
        (_, "unix_socket_dir") => "'/nowhere'",
        (Table::Database, "user") => "'other'",
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    match key.kind {
        Kind::Boolean => (default(key) != "true").to_string(),
        Kind::Choice(words) => {
            let other = words.iter().find(|word| default(key) != format!("\"{word}\""));
            format!("'{}'", other.expect("several words"))
        }
        Kind::Duration { bare: Bare::Milliseconds, .. } => "1234".to_owned(),
        Kind::Duration { zero: Zero::Refused | Zero::Off | Zero::Plain, .. } => "'2h'".to_owned(),
        Kind::Integer { max, .. } => max.min(33).to_string(),
        Kind::Lag => "'11s'".to_owned(),
        Kind::List => "['x']".to_owned(),
        Kind::Mode => "'0700'".to_owned(),
        Kind::Networks => "['203.0.113.0/24']".to_owned(),
        Kind::Path | Kind::Secret | Kind::Text => "'x'".to_owned(),
        Kind::Servers => format!("['localhost:{}']", pg.primary),
        Kind::Size { .. } => "'1MB'".to_owned(),
    }
}

fn default(key: &Key) -> &'static str {
    match key.default {
        Fallback::Is(text) => text,
        Fallback::Global(name) => Table::Global.key(name).map_or("", default),
        Fallback::Unset => "",
    }
}

/// What must stand beside a key for it to be sound.
fn beside(table: Table, key: &Key) -> &'static str {
    match (table, key.name) {
        (Table::Database, "password") => "user = 'trust_user'\n",
        _ => "",
    }
}

/// `plain` stands behind `host`, `roles` behind `servers`; the key, where one is given, has its sample. Each has one server,
/// so that another one means that it was closed.
fn setup(pg: &Servers, table: Table, in_roles: bool, lines: &str) -> Setup {
    let own = |at: Table, roles: bool| if table == at && in_roles == roles { lines } else { "" };
    let probe = if global_names(table, lines, "probe_user") { "" } else { "probe_user = 'trust_user'\n" };
    let global = if table == Table::Global { lines } else { "" };
    let servers = format!("servers = ['127.0.0.1:{}']\n", pg.primary);
    let servers = if own(Table::Database, true).contains("servers =") { "" } else { &servers };
    let dbname =
        |lines: &str| if lines.contains("dbname =") && !lines.contains("_dbname") { "" } else { "dbname = 'test1'\n" };
    let size = |lines: &str| if lines.starts_with("pool_size =") { "" } else { "pool_size = 1\n" };
    let rest = |lines: &str| format!("{}{}{lines}", size(lines), dbname(lines));
    let plain = rest(own(Table::Database, false));
    let roles = format!("{servers}{}", rest(own(Table::Database, true)));
    let user = if table == Table::User { lines } else { "" };
    let peer = if table == Table::Peer { lines } else { "" };
    Setup::new(pg).global(&format!("{probe}{global}")).database("plain", &plain).database("roles", &roles).rest(
        &format!("[users.app]\n{user}\n[peers.7]\n{peer}{}", if peer.contains("host =") { "" } else { "host = 'h'" }),
    )
}

fn global_names(table: Table, lines: &str, key: &str) -> bool {
    table == Table::Global && lines.contains(key)
}

async fn every_key_recycles_what_the_table_says(pg: Servers) {
    let mut offences = Vec::new();
    let mut proxy = setup(&pg, Table::User, false, "").start().await;
    let (plain, roles) = (proxy.connect("app", "plain").await, proxy.connect("app", "roles").await);
    for table in [Table::Global, Table::Database, Table::User, Table::Peer] {
        for key in table.keys().iter().filter(|key| !ELSEWHERE.contains(&key.name)) {
            let only_roles = table == Table::Database
                && (key.name == "servers" || key.name.starts_with("probe_") || READS.contains(&key.name));
            let without = beside(table, key);
            let with = format!("{without}{} = {}\n", key.name, sample(table, key, &pg));
            proxy.reload(setup(&pg, table, only_roles, without)).await;
            let before = [backend(&plain).await, backend(&roles).await];
            let said = proxy.log().len();
            proxy.reload(setup(&pg, table, only_roles, &with)).await;
            let after = [backend(&plain).await, backend(&roles).await];
            let closed = [before[0] != after[0], before[1] != after[1]];
            let expected = match (table, key.reload) {
                (_, Reload::Taken | Reload::Restart) => [false, false],
                (Table::Database, Reload::Recycles(_)) => [!only_roles, only_roles],
                (_, Reload::Recycles(what)) => [!what.contains("`servers`"), true],
            };
            if closed != expected {
                offences.push(format!("{table:?} {}: closed {closed:?}, expected {expected:?}", key.name));
            }
            let log = proxy.log();
            let line = log[said..].lines().find(|line| line.contains(&format!(".{}: ", key.name)));
            let late = key.reload == Reload::Restart;
            if !line.is_some_and(|line| line.contains("config: ") && line.contains("next start") == late) {
                offences.push(format!("{table:?} {}: the log has no line of it: {line:?}", key.name));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Keys of a database that speak of `servers` alone.
const READS: &[&str] = &[
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

async fn the_log_follows_its_file(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    proxy.rewrite(Setup::new(&pg).global("logfile = 'moved.log'"));
    proxy.signal(proxy::Signal::HUP);
    let moved = proxy.dir.join("moved.log");
    let says = |text: &'static str| {
        let moved = moved.clone();
        move || std::future::ready(std::fs::read_to_string(&moved).is_ok_and(|log| log.contains(text)))
    };
    eventually("the new file has the end of that reload", says("config reloaded")).await;
    proxy.rewrite(Setup::new(&pg).global("logfile = 'moved.log'\nverbose = 1"));
    proxy.signal(proxy::Signal::HUP);
    eventually("it has the next one", says("pgweir.verbose: 0 -> 1")).await;
}

tests! {
    on both: [],
    on 15: [every_key_recycles_what_the_table_says, the_log_follows_its_file]
}

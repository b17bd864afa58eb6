//! Pools, clients and servers, as they are at this moment.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::row;
use crate::admin::rows::{Row, Value};
use crate::client::House;
use crate::client::operator::is_console;
use crate::config::{Config, Target};
use crate::stats::snapshot::{Client, Pool, Server};

/// One row for each pair of database and user, and one for the consoles.
pub fn pools(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let consoles = house.clients_shown().iter().filter(|client| is_console(&client.database)).count();
    let own = house.snapshot().pools.into_iter().map(|pool| pool_row(&config, &pool));
    let admin = row!["pgbouncer", "pgbouncer", consoles, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "statement", None::<&str>];
    own.chain([admin]).collect()
}

fn pool_row(config: &Config, pool: &Pool) -> Row {
    let servers = &pool.servers;
    let wait = Duration::from_micros(pool.maxwait);
    row![
        &*pool.database,
        &*pool.user,
        pool.clients.active,
        pool.clients.waiting,
        servers.active_cancel,
        0,
        servers.active,
        servers.active_cancel,
        servers.being_canceled,
        servers.idle,
        0,
        servers.tested,
        servers.login,
        wait.as_secs(),
        wait.subsec_micros(),
        pool.pool_mode,
        load_balance(config, &pool.database),
    ]
}

/// PgBouncer's word, where there are several hosts to choose from.
pub fn load_balance(config: &Config, database: &str) -> Option<&'static str> {
    match &config.database(database)?.target {
        Target::Hosts { servers, load_balance } if servers.len() > 1 => {
            Some(if *load_balance { "round-robin" } else { "disable" })
        }
        Target::Hosts { .. } | Target::Servers(_) => None,
    }
}

pub fn clients(house: &House) -> Vec<Row> {
    let port = house.backends.ground().config.global.listen_port;
    house.clients_shown().iter().map(|client| client_row(client, "", port)).collect()
}

pub fn servers(house: &House) -> Vec<Row> {
    house.servers_shown().iter().map(|server| server_row(server, "")).collect()
}

/// Both, with PgBouncer's columns for its buffers: ours are elsewhere, and not counted.
pub fn sockets(house: &House, active_only: bool) -> Vec<Row> {
    let port = house.backends.ground().config.global.listen_port;
    let is_shown = |state: &str| !active_only || state != "idle";
    let (clients, servers) = (house.clients_shown(), house.servers_shown());
    let clients = clients.iter().filter(|client| is_shown(client.state)).map(|client| client_row(client, "cl_", port));
    let servers = servers.iter().filter(|server| is_shown(server.state)).map(|server| server_row(server, "sv_"));
    let with_buffers = |mut row: Row| {
        row.extend([const { Value::Number(0) }; 7]);
        row
    };
    clients.chain(servers).map(with_buffers).collect()
}

fn client_row(client: &Client, prefix: &str, listen_port: u16) -> Row {
    let (addr, port) = ends(client.address, listen_port);
    let (local_addr, local_port) = ends(client.local, listen_port);
    let wait = Duration::from_micros(client.wait);
    row![
        "C",
        &*client.user,
        &*client.database,
        client.replication,
        format!("{prefix}{}", client.state),
        addr,
        port,
        local_addr,
        local_port,
        time(client.connected),
        time(client.requested),
        wait.as_secs(),
        wait.subsec_micros(),
        0,
        client_ptr(client.id),
        client.link.map_or_else(String::new, server_ptr),
        client.remote_pid.unwrap_or(0),
        &*client.tls,
        &*client.application_name,
        client.prepared_statements,
        client.id,
    ]
}

fn server_row(server: &Server, prefix: &str) -> Row {
    let listed = || split(&server.address, 0);
    let (addr, port) = server.peer.map_or_else(listed, |peer| ends(Some(peer), 0));
    let (local_addr, local_port) = ends(server.local, 0);
    row![
        "S",
        &*server.user,
        &*server.database,
        server.replication,
        format!("{prefix}{}", server.state),
        addr,
        port,
        local_addr,
        local_port,
        time(server.connected),
        time(server.requested),
        0,
        0,
        server.close_needed,
        server_ptr(server.id),
        server.link.map_or_else(String::new, client_ptr),
        server.remote_pid,
        &*server.tls,
        &*server.application_name,
        server.prepared_statements,
        server.id,
    ]
}

/// What `link` of the other side shows. PgBouncer prints addresses in its memory; only their equality means anything.
fn client_ptr(id: u64) -> String {
    format!("0xc{id:011x}")
}

fn server_ptr(id: u64) -> String {
    format!("0x5{id:011x}")
}

/// An address and its port; a unix socket has the port in its name.
pub fn ends(address: Option<SocketAddr>, unix_port: u16) -> (String, u16) {
    match address {
        Some(address) => (address.ip().to_canonical().to_string(), address.port()),
        None => ("unix".to_owned(), unix_port),
    }
}

/// An address as it was written: one and its port, or a unix socket's, which has the port in its name.
pub fn split(address: &str, unix_port: u16) -> (String, u16) {
    if let Ok(address) = address.parse() {
        return ends(Some(address), unix_port);
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    match parts {
        Some((host, port)) if !host.starts_with(['/', '@']) => (host.to_owned(), port),
        Some((_, port)) => ("unix".to_owned(), port),
        None => ("unix".to_owned(), unix_port),
    }
}

/// As `2026-07-31 23:59:59 UTC`.
pub fn time(at: SystemTime) -> String {
    let at = time::OffsetDateTime::from(at);
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_pgbouncer_shows_them() {
        let table = [
            ("10.0.0.7:5012", ("10.0.0.7", 5012)),
            ("[::1]:5012", ("::1", 5012)),
            ("[::ffff:10.0.0.7]:5012", ("10.0.0.7", 5012)),
            ("db.example:5432", ("db.example", 5432)),
            ("unix", ("unix", 6432)),
            ("/run/postgresql:5432", ("unix", 5432)),
        ];
        for (address, (host, port)) in table {
            assert_eq!(split(address, 6432), (host.to_owned(), port), "{address}");
        }
    }

    #[test]
    fn times_are_utc_to_the_second() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_785_542_399) + Duration::from_millis(900);
        assert_eq!(time(at), "2026-07-31 23:59:59 UTC");
    }
}

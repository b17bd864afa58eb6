//! What the config says, beside how much of it is in use.

use std::collections::{BTreeMap, BTreeSet};

use super::live::{load_balance, split};
use super::row;
use crate::admin::rows::Row;
use crate::client::operator::is_console;
use crate::client::{Client, House, entry};
use crate::cluster::backends::Backed;
use crate::cluster::holds::Mode;
use crate::config::{Address, Config, Database, Target};
use crate::server::Server;

/// SHOW CONFIG.
pub fn config(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let row = |shown: &crate::config::Shown| {
        let changeable = if shown.changeable { "yes" } else { "no" };
        row![shown.key, shown.value.as_str(), shown.default.as_str(), changeable]
    };
    config.shown.iter().map(row).collect()
}

/// How many clients and servers each name has.
#[derive(Default)]
struct InUse {
    clients: BTreeMap<String, usize>,
    servers: BTreeMap<String, usize>,
}

impl InUse {
    fn clients(&self, name: &str) -> usize {
        self.clients.get(name).copied().unwrap_or(0)
    }

    fn servers(&self, name: &str) -> usize {
        self.servers.get(name).copied().unwrap_or(0)
    }
}

/// The databases of the config, those that clients named by way of `*`, and the console's.
pub fn databases(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let mut used = InUse::default();
    let mut names: BTreeSet<String> = config.databases.keys().filter(|name| *name != "*").cloned().collect();
    for pool in house.snapshot().pools {
        *used.servers.entry(pool.database.to_string()).or_default() += pool.servers.open();
        names.insert(pool.database.to_string());
    }
    let mut consoles = 0;
    for client in house.clients_shown() {
        match is_console(&client.database) {
            true => consoles += 1,
            false => *used.clients.entry(client.database.to_string()).or_default() += 1,
        }
    }
    let mut rows: Vec<(String, Row)> = Vec::new();
    for name in names {
        if let Some(database) = config.database(&name) {
            rows.push((name.clone(), database_row(house, &config, &name, database, &used)));
        }
    }
    rows.push(("pgbouncer".to_owned(), console_row(&config, consoles)));
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn database_row(house: &House, config: &Config, name: &str, database: &Database, used: &InUse) -> Row {
    let (host, port) = place(database);
    row![
        name,
        host,
        port,
        database.dbname.as_deref().unwrap_or(name),
        database.user.as_deref(),
        config.pool_size(database, None),
        config.min_pool_size(database),
        config.reserve_pool_size(database, None),
        config.server_lifetime(database).as_secs(),
        database.pool_mode.map(|mode| mode.as_str()),
        load_balance(config, name),
        config.max_db_connections(database),
        used.servers(name),
        config.max_db_client_connections(database),
        used.clients(name),
        house.backends.is_held(name),
        house.backends.is_disabled(name),
    ]
}

fn console_row(config: &Config, clients: usize) -> Row {
    let nobody = None::<&str>;
    row![
        "pgbouncer",
        nobody,
        config.global.listen_port,
        "pgbouncer",
        "pgbouncer",
        2,
        0,
        0,
        config.global.server_lifetime.as_secs(),
        "statement",
        nobody,
        0,
        0,
        0,
        clients,
        0,
        0,
    ]
}

/// The hosts with commas between them, and the port of the first.
fn place(database: &Database) -> (String, u16) {
    let addresses: Vec<&Address> = match &database.target {
        Target::Hosts { servers, .. } => servers.iter().collect(),
        Target::Servers(servers) => servers.iter().map(|listed| &listed.address).collect(),
    };
    let host = |address: &&Address| match address {
        Address::Tcp { host, .. } => host.clone(),
        Address::Unix { dir, .. } => dir.display().to_string(),
    };
    let port = addresses.first().map_or(0, |address| match address {
        Address::Tcp { port, .. } | Address::Unix { port, .. } => *port,
    });
    (addresses.iter().map(host).collect::<Vec<_>>().join(","), port)
}

/// Everybody whom the user list, the config or a pool knows.
pub fn users(house: &House) -> Vec<Row> {
    let ground = house.backends.ground();
    let config = &ground.config;
    let mut used = InUse::default();
    for pool in house.snapshot().pools {
        *used.servers.entry(pool.user.to_string()).or_default() += pool.servers.open();
    }
    for client in house.clients_shown() {
        *used.clients.entry(client.user.to_string()).or_default() += 1;
    }
    let listed = ground.userlist.users().chain(config.users.keys().map(String::as_str));
    let mut names: BTreeSet<&str> = listed.collect();
    names.extend(used.servers.keys().map(String::as_str));
    let row = |name: &str| {
        let own = config.user(name);
        // PgBouncer's text is nine wide.
        let size = |size: Option<usize>| size.map_or_else(String::new, |size| format!("{size:9}"));
        row![
            name,
            size(own.and_then(|own| own.pool_size)),
            size(own.and_then(|own| own.reserve_pool_size)),
            own.and_then(|own| own.pool_mode).map(|mode| mode.as_str()),
            config.max_user_connections(own),
            used.servers(name),
            config.max_user_client_connections(own),
            used.clients(name),
        ]
    };
    names.into_iter().map(row).collect()
}

/// SHOW LISTS: nothing is kept free in advance, and names are not looked up by us.
pub fn lists(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let snapshot = house.snapshot();
    let servers: usize = snapshot.pools.iter().map(|pool| pool.servers.open()).sum();
    let process = &snapshot.process;
    let rows = [
        ("databases", databases(house).len()),
        ("users", users(house).len()),
        ("peers", config.peers.len()),
        ("pools", snapshot.pools.len() + 1),
        ("peer_pools", config.peers.len()),
        ("free_clients", 0),
        ("used_clients", process.clients),
        ("login_clients", process.client_sockets.saturating_sub(process.clients)),
        ("free_servers", 0),
        ("used_servers", servers),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    rows.into_iter().map(|(list, items)| row![list, items]).collect()
}

pub fn state(house: &House) -> Vec<Row> {
    let mode = house.backends.mode();
    let yes = |is_so: bool| if is_so { "yes" } else { "no" };
    let rows = [
        ("active", yes(mode == Mode::Running)),
        ("paused", yes(mode == Mode::Paused)),
        ("suspended", yes(mode == Mode::Suspended)),
    ];
    rows.into_iter().map(|(key, value)| row![key, value]).collect()
}

/// SHOW MEM: of each kind of thing its own size, without what hangs on it, and how many there are.
pub fn memory(house: &House) -> Vec<Row> {
    let snapshot = house.snapshot();
    let servers: usize = snapshot.pools.iter().map(|pool| pool.servers.open()).sum();
    let rows = [
        ("db_cache", size_of::<Database>(), house.backends.ground().config.databases.len()),
        ("pool_cache", size_of::<Backed>(), snapshot.pools.len()),
        ("client_cache", size_of::<Client>() + size_of::<entry::Entry>(), snapshot.process.clients),
        ("server_cache", size_of::<Server>(), servers),
    ];
    rows.into_iter().map(|(name, size, used)| row![name, size, used, 0, size * used]).collect()
}

pub fn peers(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let row = |(number, peer): (&u32, &crate::config::Peer)| {
        let (host, port) = match &peer.address {
            Address::Tcp { .. } => split(&peer.address.to_string(), 0),
            Address::Unix { dir, port } => (dir.display().to_string(), *port),
        };
        row![*number, host, port, peer.pool_size.unwrap_or(config.global.default_pool_size)]
    };
    config.peers.iter().map(row).collect()
}

/// Cancel requests to peers are short, and not counted one by one.
pub fn peer_pools(house: &House) -> Vec<Row> {
    house.backends.ground().config.peers.keys().map(|number| row![*number, 0, 0, 0, 0]).collect()
}

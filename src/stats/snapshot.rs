//! What the console and the metrics print: plain values of one moment.
//!
//! Names are PgBouncer's where it has the thing. Times are microseconds where a field says nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::meter::Wait;
use super::totals::{Averages, Totals};

/// The process at one moment. Single clients and servers are apart (`House::clients_shown`,
/// `House::servers_shown`): there may be
/// many.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: SystemTime,
    pub started: SystemTime,
    /// Over how long the averages are: between one `stats_period` and two.
    pub averaged_over: Duration,
    /// By database and server user, in the order of their names.
    pub pools: Vec<Pool>,
    pub clusters: Vec<Cluster>,
    pub process: Process,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot {
            at: SystemTime::UNIX_EPOCH,
            started: SystemTime::UNIX_EPOCH,
            averaged_over: Duration::ZERO,
            pools: Vec::new(),
            clusters: Vec::new(),
            process: Process::default(),
        }
    }
}

impl Snapshot {
    /// The pools that did most so far, at most so many; the busiest one first.
    pub fn busiest(&self, count: usize) -> Vec<&Pool> {
        let mut pools: Vec<&Pool> = self.pools.iter().collect();
        pools.sort_by_key(|pool| std::cmp::Reverse(pool.totals.transactions.count()));
        pools.truncate(count);
        pools
    }

    /// Of all pools together.
    pub fn totals(&self) -> Totals {
        Totals::sum(self.pools.iter().map(|pool| &pool.totals))
    }
}

/// One pool: what PgBouncer shows as one row, whatever the number of servers behind it.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    /// The database's name in the config, and the user that servers know.
    pub database: Arc<str>,
    pub user: Arc<str>,
    pub pool_mode: &'static str,
    pub clients: Clients,
    /// Over all servers.
    pub servers: Servers,
    /// Of the client that waits longest.
    pub maxwait: u64,
    pub totals: Totals,
    /// What they were at the look that averages are taken from.
    pub earlier: Totals,
    pub averages: Averages,
    pub logins: u64,
    /// In the order of the config's list.
    pub by_server: Vec<Target>,
    /// What was done without a server, or at one that is not in the list any more.
    pub elsewhere: Totals,
    /// Where batches went and why, since the start: reasons that never came up left out.
    pub routes: Vec<(&'static str, u64)>,
    /// Clients that were pinned to a server so far, by reason.
    pub pins: Vec<(&'static str, u64)>,
    pub paused: bool,
    /// Connections that it may have at each server; 0: any number.
    pub pool_size: usize,
}

impl Pool {
    /// Both as one, under the name of the first.
    pub fn with(&self, other: &Pool) -> Pool {
        let mut sum = self.clone();
        sum.clients.add(&other.clients);
        sum.servers.add(&other.servers);
        sum.maxwait = sum.maxwait.max(other.maxwait);
        sum.totals.add(&other.totals);
        sum.elsewhere.add(&other.elsewhere);
        sum.logins += other.logins;
        sum.by_server.extend(other.by_server.iter().cloned());
        merge(&mut sum.routes, &other.routes);
        merge(&mut sum.pins, &other.pins);
        sum.pool_size += other.pool_size;
        sum
    }
}

fn merge(into: &mut Vec<(&'static str, u64)>, from: &[(&'static str, u64)]) {
    for (reason, count) in from {
        match into.iter_mut().find(|(known, _)| known == reason) {
            Some((_, sum)) => *sum += count,
            None => into.push((*reason, *count)),
        }
    }
}

/// Clients that are logged in, by what they do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients {
    /// Linked to a server, or idle.
    pub active: usize,
    /// Of these, without a server.
    pub idle: usize,
    pub waiting: usize,
    /// By `Wait`.
    pub waiting_for: [usize; Wait::ALL.len()],
    pub pinned: usize,
}

impl Clients {
    fn add(&mut self, other: &Clients) {
        self.active += other.active;
        self.idle += other.idle;
        self.waiting += other.waiting;
        self.pinned += other.pinned;
        self.waiting_for.iter_mut().zip(other.waiting_for).for_each(|(sum, more)| *sum += more);
    }

    /// How many wait for what, what nobody waits for left out.
    pub fn waits(&self) -> impl Iterator<Item = (Wait, usize)> {
        Wait::ALL.into_iter().zip(self.waiting_for).filter(|(_, count)| *count > 0)
    }
}

/// Connections to servers, by what they do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    /// Linked to a client.
    pub active: usize,
    pub idle: usize,
    /// Cleaned for the next client.
    pub tested: usize,
    /// On their way.
    pub login: usize,
    /// Cancel requests on their way to them, and how many have one.
    pub active_cancel: usize,
    pub being_canceled: usize,
}

impl Servers {
    pub fn add(&mut self, other: &Servers) {
        self.active += other.active;
        self.idle += other.idle;
        self.tested += other.tested;
        self.login += other.login;
        self.active_cancel += other.active_cancel;
        self.being_canceled += other.being_canceled;
    }

    /// Connections that exist or are on their way.
    pub fn open(&self) -> usize {
        self.active + self.idle + self.tested + self.being_canceled + self.login
    }
}

/// One server of a pool.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Box<str>,
    pub servers: Servers,
    pub totals: Totals,
}

/// One `servers` list.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The databases that are behind it.
    pub databases: Vec<String>,
    pub nodes: Vec<Node>,
    /// How often another server than before was found to be the primary.
    pub failovers: u64,
    /// Somebody asks its servers for their role; without, roles show at logins.
    pub is_probed: bool,
}

impl Cluster {
    /// The first of its databases stands for it: a database is behind one cluster.
    pub fn name(&self) -> &str {
        self.databases.first().map_or("", String::as_str)
    }
}

/// One server, as the proxy sees it.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub address: String,
    pub role: &'static str,
    /// Why it is fenced.
    pub fence: Option<&'static str>,
    pub near: bool,
    pub timeline: Option<u32>,
    pub system: Option<u64>,
    pub major: Option<u32>,
    /// Bytes of WAL that a standby has not replayed, by the last answers.
    pub lag: Option<u64>,
    /// Why no read goes there now; None: it is a standby that may serve reads.
    pub unfit: Option<&'static str>,
}

/// What belongs to no pool.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Sockets of clients, logged in or not, and clients that are logged in.
    pub client_sockets: usize,
    pub clients: usize,
    /// Errors that clients were told, by SQLSTATE.
    pub own_errors: Vec<(String, u64)>,
    pub server_errors: Vec<(String, u64)>,
    /// By reason.
    pub logins_failed: Vec<(&'static str, u64)>,
    pub cancels_received: u64,
    pub cancels_sent: u64,
    pub paused: bool,
}

/// A row of SHOW CLIENTS.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: u64,
    /// Of its cancel key.
    pub pid: i32,
    /// The one that it logged in as.
    pub user: Arc<str>,
    /// The database's name in the config, and the server user: its pool's.
    pub database: Arc<str>,
    pub pool_user: Arc<str>,
    /// active, idle, waiting: PgBouncer's words. Linked to a server it is active.
    pub state: &'static str,
    /// Its end, and the one that it dialled; None over a unix socket.
    pub address: Option<std::net::SocketAddr>,
    pub local: Option<std::net::SocketAddr>,
    pub connected: SystemTime,
    pub requested: SystemTime,
    /// Microseconds that it has waited so far, and what for.
    pub wait: u64,
    pub waits_for: Option<Wait>,
    /// The id of its server.
    pub link: Option<u64>,
    /// The process id of the server's backend.
    pub remote_pid: Option<i32>,
    /// Its protocol version and cipher suite; empty without TLS.
    pub tls: Box<str>,
    pub application_name: Box<str>,
    pub prepared_statements: usize,
    /// Why its server stays with it, and since when.
    /// none, physical, logical.
    pub replication: &'static str,
    pub pin: Option<(&'static str, SystemTime)>,
    pub in_transaction: bool,
}

/// A row of SHOW SERVERS.
#[derive(Clone, Debug)]
pub struct Server {
    pub id: u64,
    /// Its pool's.
    pub database: Arc<str>,
    pub user: Arc<str>,
    /// active, idle, tested, being_canceled: PgBouncer's words.
    pub state: &'static str,
    /// As it stands in the config.
    pub address: Box<str>,
    pub peer: Option<std::net::SocketAddr>,
    pub local: Option<std::net::SocketAddr>,
    pub connected: SystemTime,
    pub requested: SystemTime,
    /// none, physical, logical.
    pub replication: &'static str,
    /// It closes when it comes back.
    pub close_needed: bool,
    /// The id of its client.
    pub link: Option<u64>,
    pub remote_pid: i32,
    pub tls: Box<str>,
    pub application_name: Box<str>,
    pub prepared_statements: usize,
}

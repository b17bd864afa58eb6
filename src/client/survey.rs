//! The process as the console and the metrics show it: what was counted, and what lives now, put together when somebody
//! asks. Nothing here is on a client's way; each lock is held for a copy.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::House;
use super::entry::{Entry, State};
use crate::cluster::Cluster;
use crate::cluster::holds::Mode;
use crate::cluster::shown::Pair;
use crate::config::{Config, MaxLag};
use crate::net::ends::Ends;
use crate::route::Reason;
use crate::route::topology::{Node, Role};
use crate::server::Gate;
use crate::stats::Tally;
use crate::stats::snapshot::{self, Clients, Pool, Process, Servers, Snapshot, Target};
use crate::wire::startup::Replication;

/// A pool's identity: its books.
type Key = *const Tally;

/// What lives, by pool.
#[derive(Default)]
struct Census {
    clients: HashMap<Key, (Clients, u64)>,
    /// By node.
    servers: HashMap<Key, HashMap<usize, Servers>>,
}

impl House {
    /// Everything but the single clients and servers.
    pub fn snapshot(&self) -> Snapshot {
        let config = self.backends.ground().config;
        let census = self.census();
        let averaged_over = self.backends.stats.averaged_over();
        let mut pools: Vec<Pool> =
            self.backends.pairs().iter().map(|pair| pool(&config, pair, &census, averaged_over)).collect();
        pools.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
        Snapshot {
            at: SystemTime::now(),
            started: self.backends.stats.started(),
            averaged_over,
            pools,
            clusters: self.clusters_shown(),
            process: self.process(),
        }
    }

    /// Every client that is logged in, in the order of their ids.
    pub fn clients_shown(&self) -> Vec<snapshot::Client> {
        let now = self.epoch.elapsed().as_micros() as u64;
        let mut all: Vec<_> = self.entries.all().iter().map(|entry| client(entry, &self.wall(), now)).collect();
        all.sort_by_key(|client| client.id);
        all
    }

    /// Every connection to a server that pools have, in the order of their ids.
    pub fn servers_shown(&self) -> Vec<snapshot::Server> {
        let links = self.links();
        let wall = self.wall();
        self.backends.roll.all().iter().filter_map(|gate| server(gate, &links, &wall)).collect()
    }

    /// By a server's id, the client that is linked to it.
    fn links(&self) -> HashMap<u64, Arc<Entry>> {
        let link = |entry: Arc<Entry>| Some((entry.target()?.face()?.id, entry));
        self.entries.all().into_iter().filter_map(link).collect()
    }

    fn wall(&self) -> Wall {
        Wall { at: SystemTime::now(), micros: self.epoch.elapsed().as_micros() as u64 }
    }

    fn census(&self) -> Census {
        let mut census = Census::default();
        let now = self.epoch.elapsed().as_micros() as u64;
        for entry in self.entries.all() {
            let (clients, maxwait) = census.clients.entry(Arc::as_ptr(&entry.shown.tally())).or_default();
            let state = entry.state();
            match state {
                State::Waiting => {
                    clients.waiting += 1;
                    clients.waiting_for[entry.shown.waits_for() as usize] += 1;
                    *maxwait = (*maxwait).max(now.saturating_sub(entry.since()));
                }
                _ => clients.active += 1,
            }
            clients.idle += usize::from(state == State::Idle && entry.target().is_none());
            clients.pinned += usize::from(entry.shown.is_pinned());
        }
        let links = self.links();
        for gate in self.backends.roll.all() {
            let Some(face) = gate.face() else { continue };
            let of_pool = census.servers.entry(Arc::as_ptr(&face.tally)).or_default();
            let servers = of_pool.entry(face.node).or_default();
            servers.active_cancel += gate.raised();
            match state_of(&gate, links.contains_key(&face.id)) {
                "active" => servers.active += 1,
                "being_canceled" => servers.being_canceled += 1,
                "tested" => servers.tested += 1,
                _ => servers.idle += 1,
            }
        }
        census
    }

    /// The servers of all lists, as they are seen now.
    pub fn clusters_shown(&self) -> Vec<snapshot::Cluster> {
        let config = self.backends.ground().config;
        let show = |(cluster, databases): (Arc<Cluster>, Vec<String>)| {
            let database = databases.first().and_then(|name| config.database(name));
            let max_lag = database.map(|database| config.max_replica_lag(database));
            let topology = cluster.topology();
            let nodes = topology.nodes.iter().enumerate();
            let nodes = nodes.map(|(at, node)| shown_node(&cluster, at, node, max_lag)).collect();
            let (failovers, is_probed) = (cluster.failovers(), cluster.is_probed());
            snapshot::Cluster { databases, nodes, failovers, is_probed }
        };
        self.backends.clusters().into_iter().map(show).collect()
    }

    fn process(&self) -> Process {
        let counted = self.backends.stats.process();
        let (cancels_received, cancels_sent) = counted.cancels.counted();
        Process {
            client_sockets: self.clients(),
            clients: self.entries.len(),
            own_errors: counted.own_errors.all(),
            server_errors: counted.server_errors.all(),
            logins_failed: counted.logins_failed.all(),
            cancels_received,
            cancels_sent,
            paused: self.backends.mode() != Mode::Running,
        }
    }
}

/// The clock on the wall, beside the one of entries.
struct Wall {
    at: SystemTime,
    micros: u64,
}

impl Wall {
    fn time(&self, micros: u64) -> SystemTime {
        self.at - Duration::from_micros(self.micros.saturating_sub(micros))
    }
}

fn pool(config: &Config, pair: &Pair, census: &Census, averaged_over: Duration) -> Pool {
    let tally = &pair.tally;
    let key = Arc::as_ptr(tally);
    let (clients, maxwait) = census.clients.get(&key).copied().unwrap_or_default();
    let of_nodes = census.servers.get(&key);
    let target = |(node, (address, totals)): (usize, (&str, _))| {
        let mut servers = of_nodes.and_then(|nodes| nodes.get(&node)).copied().unwrap_or_default();
        servers.login = pair.pools.iter().map(|pool| pool.census_of(node).dialling).sum();
        Target { address: address.into(), servers, totals }
    };
    let by_server: Vec<Target> = tally.by_server().enumerate().map(target).collect();
    let mut servers = Servers::default();
    by_server.iter().for_each(|target| servers.add(&target.servers));
    let totals = tally.totals();
    let database = config.database(tally.database());
    let overrides = config.user(tally.user());
    let counted = pair.split.as_ref().map(|split| split.counted()).unwrap_or_default();
    Pool {
        database: Arc::clone(tally.database()),
        user: Arc::clone(tally.user()),
        pool_mode: database.map_or("", |database| config.pool_mode(database, overrides).as_str()),
        clients,
        servers,
        maxwait,
        earlier: tally.looks().earlier,
        averages: totals.averages(&tally.looks().earlier, averaged_over),
        totals,
        logins: tally.logins(),
        by_server,
        elsewhere: tally.elsewhere(),
        routes: counted.into_iter().map(|(reason, count): (Reason, u64)| (reason.label(), count)).collect(),
        pins: tally.pins(),
        paused: pair.pools.iter().any(|pool| pool.is_paused()),
        pool_size: pair.size.unwrap_or_else(|| database.map_or(0, |database| config.pool_size(database, overrides))),
    }
}

fn client(entry: &Entry, wall: &Wall, now: u64) -> snapshot::Client {
    let shown = &entry.shown;
    let tally = shown.tally();
    let target = entry.target();
    let state = entry.state();
    let waits = state == State::Waiting;
    let ends = match *shown.who.ends {
        Ends::Tcp { from, to } => Some((from, to)),
        Ends::Unix { .. } => None,
    };
    snapshot::Client {
        id: shown.who.id,
        pid: entry.pid,
        user: Arc::clone(&shown.who.user),
        database: Arc::clone(tally.database()),
        pool_user: Arc::clone(tally.user()),
        state: match (state, &target) {
            (State::Waiting, _) => "waiting",
            (State::Idle, None) => "idle",
            _ => "active",
        },
        address: ends.map(|(from, _)| from),
        local: ends.map(|(_, to)| to),
        connected: wall.time(shown.connected),
        requested: wall.time(shown.requested()),
        wait: if waits { now.saturating_sub(entry.since()) } else { 0 },
        waits_for: waits.then(|| shown.waits_for()),
        link: target.as_ref().and_then(|gate| Some(gate.face()?.id)),
        remote_pid: target.as_ref().map(|gate| gate.pid),
        tls: shown.who.tls.clone(),
        application_name: shown.application_name(),
        prepared_statements: shown.prepared(),
        replication: shown.replication().map_or("none", Replication::label),
        pin: shown.pin().map(|(reason, since)| (reason, wall.time(since))),
        in_transaction: matches!(state, State::Active | State::IdleInTransaction),
    }
}

fn server(gate: &Gate, links: &HashMap<u64, Arc<Entry>>, wall: &Wall) -> Option<snapshot::Server> {
    let face = gate.face()?;
    let link = links.get(&face.id);
    let name = link.map(|entry| entry.shown.application_name()).unwrap_or_default();
    let requested = if face.requested() == 0 { face.connected } else { wall.time(face.requested()) };
    Some(snapshot::Server {
        id: face.id,
        database: Arc::clone(face.tally.database()),
        user: Arc::clone(face.tally.user()),
        state: state_of(gate, link.is_some()),
        address: gate.route.address.to_string().into(),
        peer: face.ends.map(|(_, peer)| peer),
        local: face.ends.map(|(local, _)| local),
        connected: face.connected,
        requested,
        replication: face.replication.map_or("none", Replication::label),
        close_needed: face.must_close(),
        link: link.map(|entry| entry.shown.who.id),
        remote_pid: gate.pid,
        tls: face.tls.clone(),
        application_name: name,
        prepared_statements: face.prepared(),
    })
}

/// PgBouncer's word for what a server does.
fn state_of(gate: &Gate, linked: bool) -> &'static str {
    match gate.face() {
        _ if linked => "active",
        _ if gate.is_up() => "being_canceled",
        Some(face) if face.is_cleaning() => "tested",
        _ => "idle",
    }
}

fn shown_node(cluster: &Cluster, at: usize, node: &Node, max_lag: Option<MaxLag>) -> snapshot::Node {
    let fence = match node.role {
        Role::Fenced(fence) => Some(fence.label()),
        _ => None,
    };
    snapshot::Node {
        address: node.listed.address.to_string(),
        role: node.role.label(),
        fence,
        near: node.near,
        timeline: node.identity.timeline,
        system: node.identity.system,
        major: node.identity.major,
        lag: cluster.behind(at).filter(|_| node.role == Role::Standby),
        unfit: max_lag.and_then(|max_lag| cluster.fit(at, max_lag).err()).map(|unfit| unfit.label()),
    }
}

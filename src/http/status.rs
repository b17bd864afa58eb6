//! [pure] What the status page and `pgweir top` show, as JSON: the snapshot, rates over the last moments, and the last
//! minutes of load and lag.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::history::{Load, ROOM, Sample};
use crate::stats::Wait;
use crate::stats::histogram::Histogram;
use crate::stats::snapshot::{self, Pool, Snapshot};
use crate::stats::totals::Totals;

/// Rates are over so long, as far as samples reach back: short enough to be called now.
const NOW: Duration = Duration::from_secs(6);

/// The whole answer. Times are in microseconds where the name says so, else in seconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub uptime: u64,
    /// Why it takes no new clients; null: it is ready.
    pub not_ready: Option<String>,
    pub paused: bool,
    pub sockets: usize,
    pub clients: usize,
    pub rates: Rates,
    pub clusters: Vec<Cluster>,
    /// The busiest ones, and how many more there are.
    pub pools: Vec<PoolStatus>,
    pub more_pools: usize,
    /// Reasons and counts over all pools, the most frequent one first.
    pub routes: Vec<(String, u64)>,
    pub pins: Vec<(String, u64)>,
    pub waits: Vec<WaitStatus>,
    /// SQLSTATE, whose it is, and how often.
    pub errors: Vec<(String, String, u64)>,
    /// Seconds before now, of each element of all `past` lists.
    pub past: Vec<f64>,
}

/// Per second, over the last moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    pub transactions: f64,
    pub queries: f64,
    pub received: f64,
    pub sent: f64,
    /// Of what came in these moments; null: nothing did.
    pub transaction_p50_us: Option<u64>,
    pub transaction_p99_us: Option<u64>,
    pub query_p50_us: Option<u64>,
    pub query_p99_us: Option<u64>,
    pub wait_p99_us: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Cluster {
    pub name: String,
    pub databases: Vec<String>,
    pub failovers: u64,
    pub nodes: Vec<NodeStatus>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    pub address: String,
    pub role: String,
    pub fence: Option<String>,
    pub unfit: Option<String>,
    pub near: bool,
    pub timeline: Option<u32>,
    pub major: Option<u32>,
    pub lag: Option<u64>,
    pub past_lag: Vec<Option<u64>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PoolStatus {
    pub database: String,
    pub user: String,
    pub mode: String,
    pub size: usize,
    pub paused: bool,
    /// With a server, idle without one, waiting for one, and with a server that stays.
    pub linked: usize,
    pub idle: usize,
    pub waiting: usize,
    pub pinned: usize,
    pub maxwait_us: u64,
    /// What those who wait do so for.
    pub waiting_for: Vec<(String, usize)>,
    pub rates: Rates,
    pub servers: Vec<ServerStatus>,
    pub past_rate: Vec<f64>,
    pub past_waiting: Vec<usize>,
    pub past_active: Vec<usize>,
}

/// A pool's connections to one server.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    pub address: String,
    pub active: usize,
    pub idle: usize,
    pub tested: usize,
    pub login: usize,
    /// Connections lent so far.
    pub assignments: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct WaitStatus {
    pub reason: String,
    pub now: usize,
    pub count: u64,
    pub seconds: f64,
}

impl Status {
    pub fn of(snapshot: &Snapshot, not_ready: Option<String>, samples: &VecDeque<Sample>) -> Status {
        let totals = snapshot.totals();
        let recent = recent(snapshot, samples);
        let before = recent.map(|sample| &sample.totals);
        let errors = [("proxy", &snapshot.process.own_errors), ("server", &snapshot.process.server_errors)];
        let errors = errors.into_iter().flat_map(|(source, errors)| {
            errors.iter().map(move |(code, count)| (code.clone(), source.to_owned(), *count))
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: snapshot.at.duration_since(snapshot.started).unwrap_or_default().as_secs(),
            not_ready,
            paused: snapshot.process.paused,
            sockets: snapshot.process.client_sockets,
            clients: snapshot.process.clients,
            rates: rates(&totals, before, recent.map(|sample| sample.before(snapshot.at))),
            clusters: snapshot.clusters.iter().take(ROOM).map(|cluster| shown_cluster(cluster, samples)).collect(),
            pools: snapshot.busiest(ROOM).into_iter().map(|pool| shown_pool(pool, snapshot, samples)).collect(),
            more_pools: snapshot.pools.len().saturating_sub(ROOM),
            routes: summed(snapshot.pools.iter().flat_map(|pool| &pool.routes)),
            pins: summed(snapshot.pools.iter().flat_map(|pool| &pool.pins)),
            waits: waits(snapshot, &totals),
            errors: errors.collect(),
            past: samples.iter().map(|sample| sample.before(snapshot.at).as_secs_f64()).collect(),
        }
    }
}

/// The sample that rates are taken since.
fn recent<'a>(snapshot: &Snapshot, samples: &'a VecDeque<Sample>) -> Option<&'a Sample> {
    samples.iter().find(|sample| sample.before(snapshot.at) <= NOW)
}

fn rates(totals: &Totals, before: Option<&Totals>, passed: Option<Duration>) -> Rates {
    let (Some(before), Some(passed)) = (before, passed.filter(|passed| !passed.is_zero())) else {
        return Rates::default();
    };
    let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / passed.as_secs_f64();
    let new = |now: &Histogram, then: &Histogram| now.since(then);
    let transactions = new(&totals.transactions, &before.transactions);
    let queries = new(&totals.queries, &before.queries);
    Rates {
        transactions: transactions.count() as f64 / passed.as_secs_f64(),
        queries: queries.count() as f64 / passed.as_secs_f64(),
        received: rate(totals.received, before.received),
        sent: rate(totals.sent, before.sent),
        transaction_p50_us: transactions.quantile(0.5),
        transaction_p99_us: transactions.quantile(0.99),
        query_p50_us: queries.quantile(0.5),
        query_p99_us: queries.quantile(0.99),
        wait_p99_us: new(&totals.queue, &before.queue).quantile(0.99),
    }
}

fn shown_cluster(cluster: &snapshot::Cluster, samples: &VecDeque<Sample>) -> Cluster {
    let name = cluster.name().to_owned();
    let node = |node: &snapshot::Node| NodeStatus {
        address: node.address.clone(),
        role: node.role.to_owned(),
        fence: node.fence.map(str::to_owned),
        unfit: node.unfit.map(str::to_owned),
        near: node.near,
        timeline: node.timeline,
        major: node.major,
        lag: node.lag,
        past_lag: samples.iter().map(|sample| sample.lag(&name, &node.address)).collect(),
    };
    let nodes = cluster.nodes.iter().map(node).collect();
    Cluster { databases: cluster.databases.clone(), failovers: cluster.failovers, nodes, name }
}

fn shown_pool(pool: &Pool, snapshot: &Snapshot, samples: &VecDeque<Sample>) -> PoolStatus {
    let loads: Vec<Option<&Load>> = samples.iter().map(|sample| sample.load(pool)).collect();
    let recent = recent(snapshot, samples);
    let before = recent.and_then(|sample| sample.load(pool)).map(|load| &load.totals);
    let server = |target: &snapshot::Target| ServerStatus {
        address: target.address.to_string(),
        active: target.servers.active + target.servers.being_canceled,
        idle: target.servers.idle,
        tested: target.servers.tested,
        login: target.servers.login,
        assignments: target.totals.assignments,
    };
    PoolStatus {
        database: pool.database.to_string(),
        user: pool.user.to_string(),
        mode: pool.pool_mode.to_owned(),
        size: pool.pool_size,
        paused: pool.paused,
        linked: pool.clients.active.saturating_sub(pool.clients.idle),
        idle: pool.clients.idle,
        waiting: pool.clients.waiting,
        pinned: pool.clients.pinned,
        maxwait_us: pool.maxwait,
        waiting_for: pool.clients.waits().map(|(why, count)| (why.label().to_owned(), count)).collect(),
        rates: rates(&pool.totals, before, recent.map(|sample| sample.before(snapshot.at))),
        servers: pool.by_server.iter().map(server).collect(),
        past_rate: past_rate(&loads, samples),
        past_waiting: loads.iter().map(|load| load.map_or(0, |load| load.waiting)).collect(),
        past_active: loads.iter().map(|load| load.map_or(0, |load| load.active)).collect(),
    }
}

/// Transactions per second up to each sample; of the first one nothing is known.
fn past_rate(loads: &[Option<&Load>], samples: &VecDeque<Sample>) -> Vec<f64> {
    let counts = loads.iter().map(|load| load.map_or(0, |load| load.totals.transactions.count()));
    let points: Vec<_> = counts.zip(samples).collect();
    let rate = |pair: &[(u64, &Sample)]| match pair {
        [(then, earlier), (now, later)] => {
            let passed = earlier.before(later.at).as_secs_f64();
            if passed > 0.0 { now.saturating_sub(*then) as f64 / passed } else { 0.0 }
        }
        _ => 0.0,
    };
    points.first().map(|_| 0.0).into_iter().chain(points.windows(2).map(rate)).collect()
}

fn summed<'a>(all: impl Iterator<Item = &'a (&'static str, u64)>) -> Vec<(String, u64)> {
    let mut sums = BTreeMap::<&str, u64>::new();
    all.for_each(|(reason, count)| *sums.entry(reason).or_default() += count);
    let mut sums: Vec<_> = sums.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sums
}

fn waits(snapshot: &Snapshot, totals: &Totals) -> Vec<WaitStatus> {
    let now = |why: Wait| snapshot.pools.iter().map(|pool| pool.clients.waiting_for[why as usize]).sum::<usize>();
    let all = totals.waits.all().map(|(why, count, micros)| WaitStatus {
        reason: why.label().to_owned(),
        now: now(why),
        count,
        seconds: micros as f64 / 1e6,
    });
    all.filter(|wait| wait.now > 0 || wait.count > 0).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn snapshot(second: u64, transactions: u64) -> Snapshot {
        let mut pool = Pool { database: "shop".into(), user: "ann".into(), ..Pool::default() };
        pool.totals.transactions.buckets[2] = transactions;
        pool.routes = vec![("select", 2), ("write", 5)];
        let other = Pool { user: "bob".into(), routes: vec![("select", 9)], ..pool.clone() };
        Snapshot { at: UNIX_EPOCH + Duration::from_secs(second), pools: vec![pool, other], ..Snapshot::default() }
    }

    #[test]
    fn rates_are_of_the_last_moments() {
        let samples: VecDeque<_> = [(100, 10), (102, 30), (110, 50)].map(|(at, n)| Sample::of(&snapshot(at, n))).into();
        let status = Status::of(&snapshot(112, 70), None, &samples);
        assert_eq!(status.pools[0].rates.transactions, 10.0);
        assert_eq!(status.rates.transactions, 20.0, "of both pools");
        assert_eq!((status.rates.transaction_p50_us, status.rates.query_p50_us), (Some(250), None));
        assert_eq!(status.pools[0].past_rate, [0.0, 10.0, 2.5]);
        assert_eq!(status.past, [12.0, 10.0, 2.0]);
        assert_eq!(status.routes, [("select".to_owned(), 11), ("write".to_owned(), 5)]);
    }

    #[test]
    fn many_pools_are_few_lines_and_one_rate() {
        let many = |second, transactions| {
            let one = snapshot(second, transactions);
            let pools = (0..2 * ROOM).map(|n| Pool { user: format!("u{n}").into(), ..one.pools[0].clone() }).collect();
            Snapshot { pools, ..one }
        };
        let samples: VecDeque<_> = [Sample::of(&many(100, 10))].into();
        let status = Status::of(&many(102, 20), None, &samples);
        assert_eq!((status.pools.len(), status.more_pools), (ROOM, ROOM));
        assert_eq!(status.rates.transactions, 2.0 * ROOM as f64 * 10.0 / 2.0);
    }

    #[test]
    fn without_samples_there_are_no_rates() {
        let status = Status::of(&snapshot(1, 5), Some("why".to_owned()), &VecDeque::new());
        assert_eq!((status.rates, status.not_ready.as_deref()), (Rates::default(), Some("why")));
    }

    /// `pgweir top` reads what the port says.
    #[test]
    fn what_is_written_can_be_read() {
        let samples: VecDeque<_> = [Sample::of(&snapshot(1, 5))].into();
        let text = serde_json::to_string(&Status::of(&snapshot(2, 6), None, &samples)).expect("JSON");
        let read: Status = serde_json::from_str(&text).expect("the same shape");
        assert_eq!(serde_json::to_string(&read).expect("JSON"), text);
    }
}

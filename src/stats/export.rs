//! A snapshot in Prometheus' text format (version 0.0.4).
//!
//! It is written from the snapshot itself: its histograms are counted already, and have nothing to be recorded again.
//! The number of series is bounded: beyond `POOLS` pools and as many clusters the least busy ones are one, `other`.

use std::fmt::{Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::histogram::Histogram;
use super::machine::Machine;
use super::snapshot::{Cluster, Node, Pool, Snapshot, Target};
use super::totals::Totals;

/// Pools, and clusters, that have series of their own.
pub const POOLS: usize = 100;

const OTHER: &str = "other";

/// All of a server's roles, so that a series is there before its role is.
const ROLES: [&str; 6] = ["down", "fenced", "primary", "standby", "suspect", "unknown"];

/// The whole page. `certificates`: which one, and when it expires.
pub fn text(snapshot: &Snapshot, machine: &Machine, certificates: &[(&'static str, SystemTime)]) -> String {
    let mut page = Page::default();
    process(&mut page, snapshot, machine, certificates);
    let pools = bounded(snapshot);
    gauges(&mut page, &pools);
    counters(&mut page, &pools);
    by_server(&mut page, &pools);
    topology(&mut page, &snapshot.clusters);
    errors(&mut page, snapshot);
    page.0
}

/// What has been written.
#[derive(Default)]
struct Page(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

/// A name, its help, and where a sample's value comes from.
type Family<T, V> = (&'static str, &'static str, fn(&T) -> V);

impl Page {
    /// Begins a family; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (at, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if at == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, below) in histogram.cumulative() {
            let bound = seconds(bound).to_string();
            self.sample(&bucket, &[labels, &[("le", bound.as_str())]].concat(), below);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), histogram.count());
        self.sample(&format!("{name}_sum"), labels, seconds(histogram.sum));
        self.sample(&format!("{name}_count"), labels, histogram.count());
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}

fn process(page: &mut Page, snapshot: &Snapshot, machine: &Machine, certificates: &[(&'static str, SystemTime)]) {
    page.family("pgweir_info", "gauge", "The version of this process.");
    page.sample("pgweir_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let process = &snapshot.process;
    let started = unix(snapshot.started);
    page.single("pgweir_start_time_seconds", "gauge", "When it started, since the epoch.", started);
    page.single("pgweir_cpu_seconds_total", "counter", "CPU time of the process.", machine.cpu_seconds);
    page.single("pgweir_resident_memory_bytes", "gauge", "Resident memory.", machine.resident_bytes);
    page.single("pgweir_open_fds", "gauge", "Open file descriptors.", machine.open_fds);
    page.single("pgweir_max_fds", "gauge", "Their limit.", machine.max_fds);
    page.single("pgweir_client_sockets", "gauge", "Clients' sockets, logged in or not.", process.client_sockets);
    page.single("pgweir_clients", "gauge", "Clients that are logged in.", process.clients);
    page.single("pgweir_paused", "gauge", "1 while everything is paused.", u8::from(process.paused));
    let name = "pgweir_tls_certificate_expiry_timestamp_seconds";
    page.family(name, "gauge", "When a certificate expires, since the epoch.");
    for (side, expiry) in certificates {
        page.sample(name, &[("certificate", side)], unix(*expiry));
    }
}

fn errors(page: &mut Page, snapshot: &Snapshot) {
    let process = &snapshot.process;
    let name = "pgweir_errors_total";
    page.family(name, "counter", "Errors that clients were told, by SQLSTATE, and whose they are.");
    for (source, errors) in [("proxy", &process.own_errors), ("server", &process.server_errors)] {
        for (code, count) in errors {
            page.sample(name, &[("sqlstate", code), ("source", source)], count);
        }
    }
    let name = "pgweir_logins_failed_total";
    page.family(name, "counter", "Clients that were not let in, by reason.");
    for (reason, count) in &process.logins_failed {
        page.sample(name, &[("reason", reason)], count);
    }
    let (name, help) = ("pgweir_cancel_requests_total", "Cancel requests of clients.");
    page.single(name, "counter", help, process.cancels_received);
    let (name, help) = ("pgweir_cancel_requests_sent_total", "Cancel requests that went on to a server.");
    page.single(name, "counter", help, process.cancels_sent);
}

/// The busiest pools, and one of all others.
fn bounded(snapshot: &Snapshot) -> Vec<Pool> {
    let pools = &snapshot.pools;
    if pools.len() <= POOLS {
        return pools.to_vec();
    }
    let by_load = snapshot.busiest(pools.len());
    let (busy, rest) = by_load.split_at(POOLS - 1);
    let mut all: Vec<Pool> = busy.iter().map(|pool| (*pool).clone()).collect();
    all.sort_by(|a, b| (&a.database, &a.user).cmp(&(&b.database, &b.user)));
    all.extend(rest.iter().map(|pool| (*pool).clone()).reduce(|sum, pool| sum.with(&pool)).map(|mut sum| {
        (sum.database, sum.user) = (OTHER.into(), OTHER.into());
        (sum.by_server, sum.elsewhere) = (Vec::new(), sum.totals);
        sum
    }));
    all
}

fn gauges(page: &mut Page, pools: &[Pool]) {
    let name = "pgweir_pool_clients";
    page.family(name, "gauge", "Clients by what they do: with a server, idle without one, waiting for one.");
    for pool in pools {
        let clients = &pool.clients;
        let linked = clients.active.saturating_sub(clients.idle);
        for (state, count) in [("active", linked), ("idle", clients.idle), ("waiting", clients.waiting)] {
            page.sample(name, &[("database", &pool.database), ("user", &pool.user), ("state", state)], count);
        }
    }
    let name = "pgweir_pool_waiting_clients";
    page.family(name, "gauge", "Clients that wait, by reason.");
    for pool in pools {
        for (why, count) in pool.clients.waits() {
            page.sample(name, &[("database", &pool.database), ("user", &pool.user), ("reason", why.label())], count);
        }
    }
    let each: [Family<Pool, f64>; 4] = [
        ("pgweir_pool_pinned_clients", "Clients whose server stays with them.", |pool| pool.clients.pinned as f64),
        ("pgweir_pool_maxwait_seconds", "How long the first client has waited.", |pool| seconds(pool.maxwait)),
        ("pgweir_pool_size", "Connections that it may have at each server; 0: any number.", |pool| {
            pool.pool_size as f64
        }),
        ("pgweir_pool_paused", "1 while it is paused.", |pool| f64::from(u8::from(pool.paused))),
    ];
    for (name, help, value) in each {
        page.family(name, "gauge", help);
        for pool in pools {
            page.sample(name, &[("database", &pool.database), ("user", &pool.user)], value(pool));
        }
    }
}

fn counters(page: &mut Page, pools: &[Pool]) {
    let each: [Family<Pool, u64>; 5] = [
        ("pgweir_pool_logins_total", "Clients that logged in.", |pool| pool.logins),
        (
            "pgweir_pool_client_parses_total",
            "Statements that clients prepared, named ones and shared unnamed ones.",
            |pool| pool.totals.client_parses,
        ),
        ("pgweir_pool_server_parses_total", "Of them, those that servers were given.", |pool| {
            pool.totals.server_parses
        }),
        ("pgweir_pool_binds_total", "Binds of them.", |pool| pool.totals.binds),
        ("pgweir_pool_unnamed_shared_total", "Uses of unnamed statements under a shared name.", |pool| {
            pool.totals.shared
        }),
    ];
    for (name, help, value) in each {
        page.family(name, "counter", help);
        for pool in pools {
            page.sample(name, &[("database", &pool.database), ("user", &pool.user)], value(pool));
        }
    }
    let (waits, times) = ("pgweir_pool_waits_total", "pgweir_pool_wait_seconds_total");
    page.family(waits, "counter", "Waits that ended, by reason.");
    by_reason(page, waits, pools, |pool| pool.totals.waits.all().map(|(why, count, _)| (why.label(), count as f64)));
    page.family(times, "counter", "Their time.");
    by_reason(page, times, pools, |pool| pool.totals.waits.all().map(|(why, _, time)| (why.label(), seconds(time))));
    let unshared = "pgweir_pool_unnamed_unshared_total";
    page.family(unshared, "counter", "Texts that lost their shared name, and uses that ran without it, by reason.");
    by_reason(page, unshared, pools, |pool| {
        let of = pool.totals.unshared;
        [("slower", of.slower as f64), ("refused", of.refused as f64)].into_iter()
    });
    let (routes, pins) = ("pgweir_pool_routes_total", "pgweir_pool_pins_total");
    page.family(routes, "counter", "Batches by why they ran where they ran.");
    by_reason(page, routes, pools, |pool| pool.routes.iter().map(|(reason, count)| (*reason, *count as f64)));
    page.family(pins, "counter", "Clients that were pinned to a server, by reason.");
    by_reason(page, pins, pools, |pool| pool.pins.iter().map(|(reason, count)| (*reason, *count as f64)));
}

fn by_reason<'a, I>(page: &mut Page, name: &str, pools: &'a [Pool], values: impl Fn(&'a Pool) -> I)
where
    I: Iterator<Item = (&'static str, f64)>,
{
    for pool in pools {
        for (reason, value) in values(pool) {
            page.sample(name, &[("database", &pool.database), ("user", &pool.user), ("reason", reason)], value);
        }
    }
}

fn by_server(page: &mut Page, pools: &[Pool]) {
    let name = "pgweir_pool_servers";
    page.family(name, "gauge", "Connections to servers by what they do.");
    for (pool, target) in targets(pools) {
        let servers = &target.servers;
        let states = [
            ("active", servers.active),
            ("idle", servers.idle),
            ("tested", servers.tested),
            ("login", servers.login),
            ("being_canceled", servers.being_canceled),
        ];
        for (state, count) in states {
            page.sample(name, &[&labels(pool, &target.address)[..], &[("state", state)]].concat(), count);
        }
    }
    let each: [Family<Totals, u64>; 4] = [
        ("pgweir_pool_assignments_total", "Connections lent to clients.", |totals| totals.assignments),
        ("pgweir_pool_received_bytes_total", "Bytes from clients.", |totals| totals.received),
        ("pgweir_pool_sent_bytes_total", "Bytes from servers.", |totals| totals.sent),
        ("pgweir_pool_connect_failures_total", "Logins to servers that failed.", |totals| totals.connect_failures),
    ];
    for (name, help, value) in each {
        page.family(name, "counter", help);
        sums(pools).for_each(|(pool, server, totals)| page.sample(name, &labels(pool, server), value(totals)));
    }
    let each: [Family<Totals, Histogram>; 4] = [
        ("pgweir_queue_wait_seconds", "Waits for a connection, those of no length too.", queue),
        ("pgweir_transaction_seconds", "Transactions, from their first server to their end.", |totals| {
            totals.transactions
        }),
        ("pgweir_query_seconds", "Queries, while a server worked.", |totals| totals.queries),
        ("pgweir_connect_seconds", "Logins to servers.", |totals| totals.connects),
    ];
    for (name, help, value) in each {
        page.family(name, "histogram", help);
        sums(pools).for_each(|(pool, server, totals)| page.histogram(name, &labels(pool, server), &value(totals)));
    }
}

fn labels<'a>(pool: &'a Pool, server: &'a str) -> [(&'a str, &'a str); 3] {
    [("database", &pool.database), ("user", &pool.user), ("server", server)]
}

fn targets(pools: &[Pool]) -> impl Iterator<Item = (&Pool, &Target)> {
    pools.iter().flat_map(|pool| pool.by_server.iter().map(move |target| (pool, target)))
}

/// By server, and what belongs to none that is in the list.
fn sums(pools: &[Pool]) -> impl Iterator<Item = (&Pool, &str, &Totals)> {
    pools.iter().flat_map(|pool| {
        let each = pool.by_server.iter().map(move |target| (pool, &*target.address, &target.totals));
        each.chain([(pool, "none", &pool.elsewhere)])
    })
}

/// Who was lent a connection at once has waited, too: for no time.
fn queue(totals: &Totals) -> Histogram {
    let mut queue = totals.queue;
    queue.buckets[0] += totals.assignments.saturating_sub(queue.count());
    queue
}

fn topology(page: &mut Page, clusters: &[Cluster]) {
    let clusters = &clusters[..clusters.len().min(POOLS)];
    let (name, help) = ("pgweir_failovers_total", "How often another server than before was the primary.");
    page.family(name, "counter", help);
    for cluster in clusters {
        page.sample(name, &[("cluster", cluster.name())], cluster.failovers);
    }
    let name = "pgweir_server_role";
    page.family(name, "gauge", "1 for the role that a server has.");
    for (cluster, node) in nodes(clusters) {
        for role in ROLES {
            let labels = [("cluster", cluster.name()), ("server", &*node.address), ("role", role)];
            page.sample(name, &labels, u8::from(node.role == role));
        }
    }
    let each: [Family<Node, Option<u64>>; 4] = [
        ("pgweir_server_up", "1 while a server answers.", |node| {
            Some(u64::from(!matches!(node.role, "down" | "unknown")))
        }),
        ("pgweir_server_serves_reads", "1 while reads may go to this standby.", |node| {
            Some(u64::from(node.role == "standby" && node.unfit.is_none()))
        }),
        ("pgweir_server_timeline", "Its timeline, where it is known.", |node| node.timeline.map(u64::from)),
        ("pgweir_replication_lag_bytes", "WAL that a standby has not replayed.", |node| node.lag),
    ];
    for (name, help, value) in each {
        page.family(name, "gauge", help);
        for (cluster, node) in nodes(clusters) {
            if let Some(value) = value(node) {
                page.sample(name, &[("cluster", cluster.name()), ("server", &*node.address)], value);
            }
        }
    }
}

fn nodes(clusters: &[Cluster]) -> impl Iterator<Item = (&Cluster, &Node)> {
    clusters.iter().flat_map(|cluster| cluster.nodes.iter().map(move |node| (cluster, node)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::snapshot::Process;
    use super::*;

    fn pool(database: &str, transactions: u64) -> Pool {
        let mut totals = Totals { assignments: 3, ..Totals::default() };
        totals.transactions.buckets[1] = transactions;
        totals.queue.buckets[4] = 1;
        totals.queue.sum = 900;
        let target = Target { address: "h:1".into(), servers: Default::default(), totals };
        Pool {
            database: database.into(),
            user: "ann".into(),
            by_server: vec![target],
            totals,
            routes: vec![("select", 2)],
            pins: vec![("listen", 1)],
            ..Pool::default()
        }
    }

    fn snapshot(pools: Vec<Pool>) -> Snapshot {
        let node = |role| Node { address: format!("{role}:5432"), role, ..Node::default() };
        let standby = Node { lag: Some(77), timeline: Some(3), ..node("standby") };
        let nodes = vec![node("primary"), standby];
        let cluster = Cluster { databases: vec!["shop".to_owned()], nodes, failovers: 2, is_probed: true };
        Snapshot {
            at: UNIX_EPOCH,
            started: UNIX_EPOCH + Duration::from_millis(1_500),
            averaged_over: Duration::ZERO,
            pools,
            clusters: vec![cluster],
            process: Process { own_errors: vec![("57P01".to_owned(), 4)], ..Process::default() },
        }
    }

    fn page(pools: Vec<Pool>) -> String {
        text(&snapshot(pools), &Machine::default(), &[("client", UNIX_EPOCH)])
    }

    #[test]
    fn samples_stand_where_prometheus_looks() {
        let page = page(vec![pool("sh\"op\\", 5)]);
        for line in [
            "pgweir_start_time_seconds 1.5",
            "pgweir_tls_certificate_expiry_timestamp_seconds{certificate=\"client\"} 0",
            "pgweir_pool_routes_total{database=\"sh\\\"op\\\\\",user=\"ann\",reason=\"select\"} 2",
            "pgweir_server_up{cluster=\"shop\",server=\"primary:5432\"} 1",
            "pgweir_server_role{cluster=\"shop\",server=\"standby:5432\",role=\"standby\"} 1",
            "pgweir_replication_lag_bytes{cluster=\"shop\",server=\"standby:5432\"} 77",
            "pgweir_failovers_total{cluster=\"shop\"} 2",
            "pgweir_errors_total{sqlstate=\"57P01\",source=\"proxy\"} 4",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
    }

    #[test]
    fn a_histogram_is_cumulative_and_a_wait_of_no_length_is_one() {
        let page = page(vec![pool("shop", 5)]);
        let labels = "database=\"shop\",user=\"ann\",server=\"h:1\"";
        for (bound, count) in [("0.00005", 2), ("0.001", 3), ("+Inf", 3)] {
            let line = format!("pgweir_queue_wait_seconds_bucket{{{labels},le=\"{bound}\"}} {count}");
            assert!(page.contains(&line), "{line}\n{page}");
        }
        assert!(page.contains(&format!("pgweir_queue_wait_seconds_sum{{{labels}}} 0.0009\n")));
        assert!(page.contains(&format!("pgweir_transaction_seconds_count{{{labels}}} 5\n")));
    }

    /// Each family is announced once, before its samples, under our own prefix.
    #[test]
    fn every_sample_has_its_family() {
        let page = page(vec![pool("shop", 5), pool("store", 1)]);
        let mut families = std::collections::HashSet::new();
        let mut family = "";
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap_or_default();
                assert!(families.insert(family), "{family} twice");
            } else if !line.starts_with('#') {
                assert!(line.starts_with("pgweir_") && line.starts_with(family), "{line} under {family}");
            }
        }
    }

    #[test]
    fn many_pools_are_few_series() {
        let many = (0..3 * POOLS as u64).map(|n| pool(&format!("db{n}"), n)).collect();
        let page = page(many);
        let count = |metric: &str| page.lines().filter(|line| line.starts_with(metric)).count();
        assert_eq!(count("pgweir_pool_logins_total{"), POOLS);
        let other = "pgweir_transaction_seconds_count{database=\"other\",user=\"other\",server=\"none\"} ";
        let rest: u64 = (0..=2 * POOLS as u64).sum();
        assert!(page.contains(&format!("{other}{rest}\n")), "{rest}");
    }
}

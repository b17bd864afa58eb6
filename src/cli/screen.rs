//! [pure] The status as lines of text, for `pgweir top`.

use std::fmt::Write;

use crate::http::status::{Cluster, NodeStatus, PoolStatus, Status};

/// Pools that are listed, the busiest first.
const POOLS: usize = 30;

/// Reasons of each list.
const REASONS: usize = 8;

/// All of it. No line is wrapped: a terminal cuts what is too long.
pub fn screen(status: &Status) -> String {
    let mut text = String::new();
    head(&mut text, status);
    status.clusters.iter().for_each(|cluster| servers(&mut text, cluster));
    pools(&mut text, &status.pools, status.more_pools);
    reasons(&mut text, status);
    text
}

fn head(text: &mut String, status: &Status) {
    let rates = &status.rates;
    let ready = status.not_ready.as_ref().map_or("ready".to_owned(), |why| format!("not ready: {why}"));
    let paused = if status.paused { ", paused" } else { "" };
    let _ = writeln!(text, "pgweir {}, up {}: {ready}{paused}", status.version, time(status.uptime));
    let _ = writeln!(
        text,
        "{:.0} transactions/s, {:.0} queries/s, in {}/s, out {}/s; transaction {} (99 %: {}), wait 99 %: {}",
        rates.transactions,
        rates.queries,
        size(rates.received),
        size(rates.sent),
        micros(rates.transaction_p50_us),
        micros(rates.transaction_p99_us),
        micros(rates.wait_p99_us),
    );
    let waiting: usize = status.pools.iter().map(|pool| pool.waiting).sum();
    let linked: usize = status.pools.iter().map(|pool| pool.linked).sum();
    let _ = writeln!(text, "{} clients, {linked} with a server, {waiting} waiting", status.clients);
}

fn servers(text: &mut String, cluster: &Cluster) {
    let _ = writeln!(
        text,
        "\n{:<32} {:<22} {:>8} {:>10}   {}",
        "SERVER",
        "ROLE",
        "TIMELINE",
        "LAG",
        cluster.databases.join(", ")
    );
    for node in &cluster.nodes {
        let timeline = node.timeline.map_or("-".to_owned(), |timeline| timeline.to_string());
        let lag = node.lag.map_or("-".to_owned(), |lag| size(lag as f64));
        let _ = writeln!(text, "{:<32} {:<22} {timeline:>8} {lag:>10}", node.address, role(node));
    }
}

fn role(node: &NodeStatus) -> String {
    match (&node.fence, &node.unfit) {
        (Some(fence), _) => format!("{} ({fence})", node.role),
        (None, Some(unfit)) if node.role == "standby" => format!("{} ({unfit})", node.role),
        _ => node.role.clone(),
    }
}

fn pools(text: &mut String, pools: &[PoolStatus], more: usize) {
    let _ = writeln!(
        text,
        "\n{:<32} {:>7} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "POOL", "CLIENTS", "WAITING", "MAXWAIT", "SV_ACTIVE", "SV_IDLE", "TX/S", "TX", "TX 99 %"
    );
    let mut by_load: Vec<&PoolStatus> = pools.iter().collect();
    by_load.sort_by(|a, b| (b.waiting.cmp(&a.waiting)).then(b.rates.transactions.total_cmp(&a.rates.transactions)));
    for pool in by_load.iter().take(POOLS) {
        let active: usize = pool.servers.iter().map(|server| server.active).sum();
        let idle: usize = pool.servers.iter().map(|server| server.idle).sum();
        let _ = writeln!(
            text,
            "{:<32} {:>7} {:>7} {:>7} {active:>9} {idle:>9} {:>9.0} {:>9} {:>9}",
            format!("{}/{}", pool.database, pool.user),
            pool.linked + pool.idle + pool.waiting,
            pool.waiting,
            micros((pool.waiting > 0).then_some(pool.maxwait_us)),
            pool.rates.transactions,
            micros(pool.rates.transaction_p50_us),
            micros(pool.rates.transaction_p99_us),
        );
    }
    let more = more + pools.len().saturating_sub(POOLS);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
}

fn reasons(text: &mut String, status: &Status) {
    let counts = |all: &[(String, u64)]| {
        all.iter().take(REASONS).map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>()
    };
    let waits: Vec<String> = status.waits.iter().map(|wait| format!("{} {}", wait.reason, wait.count)).collect();
    let errors = status.errors.iter().take(REASONS).map(|(code, source, count)| format!("{code} ({source}) {count}"));
    let lists = [
        ("routes", counts(&status.routes)),
        ("pins", counts(&status.pins)),
        ("waits", waits),
        ("errors", errors.collect()),
    ];
    text.push('\n');
    for (name, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        let _ = writeln!(text, "{name:<8}{}", list.join("  "));
    }
}

fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{:02}", seconds % 60),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

fn micros(micros: Option<u64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros) if micros < 1_000 => format!("{micros} us"),
        Some(micros) if micros < 1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.1} s", micros as f64 / 1e6),
    }
}

fn size(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1e3 => format!("{bytes:.0} B"),
        bytes if bytes < 1e6 => format!("{:.1} kB", bytes / 1024.0),
        bytes if bytes < 1e9 => format!("{:.1} MB", bytes / 1024.0 / 1024.0),
        bytes => format!("{:.1} GB", bytes / 1024.0 / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_a_screen() {
        let node = NodeStatus {
            address: "db2:5432".to_owned(),
            role: "standby".to_owned(),
            unfit: Some("lagging".to_owned()),
            lag: Some(2 << 20),
            ..NodeStatus::default()
        };
        let cluster = Cluster { databases: vec!["shop".to_owned()], nodes: vec![node], ..Cluster::default() };
        let pool = |database: &str, waiting| PoolStatus {
            database: database.to_owned(),
            user: "ann".to_owned(),
            waiting,
            maxwait_us: 1_500,
            ..PoolStatus::default()
        };
        let status = Status {
            uptime: 3_700,
            not_ready: Some("shutting down".to_owned()),
            clusters: vec![cluster],
            pools: vec![pool("calm", 0), pool("busy", 2)],
            pins: vec![("listen".to_owned(), 3)],
            ..Status::default()
        };
        let text = screen(&status);
        for part in
            ["up 1 h 1 min: not ready: shutting down", "standby (lagging)", "2.0 MB", "1.5 ms", "pins    listen 3"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.find("busy/ann") < text.find("calm/ann"), "who waits comes first\n{text}");
    }

    #[test]
    fn amounts_have_their_units() {
        assert_eq!((time(59), time(90_000)), ("0:59".to_owned(), "1 d 1 h".to_owned()));
        assert_eq!((micros(None), micros(Some(2_500_000))), ("-".to_owned(), "2.5 s".to_owned()));
        assert_eq!((size(12.0), size(2048.0)), ("12 B".to_owned(), "2.0 kB".to_owned()));
    }
}

//! What PgBouncer has no table for: where the servers stand, and why batches, pins and waits are as they are.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::live::{ends, time};
use super::row;
use crate::admin::rows::Row;
use crate::client::House;
use crate::config::AuthType;

/// One row for each server of each database with a `servers` list.
pub fn topology(house: &House) -> Vec<Row> {
    let mut rows = Vec::new();
    for cluster in house.snapshot().clusters {
        for database in &cluster.databases {
            rows.extend(cluster.nodes.iter().map(|node| {
                row![
                    database.as_str(),
                    node.address.as_str(),
                    node.role,
                    node.fence.or(node.unfit.filter(|_| node.role != "primary")),
                    node.unfit.is_none(),
                    node.timeline,
                    node.system.map(|system| system.to_string()),
                    node.major,
                    node.lag,
                    node.near,
                    cluster.failovers,
                ]
            }));
        }
    }
    rows.sort_by_cached_key(key);
    rows
}

/// Database and server.
fn key(row: &Row) -> Option<(String, String)> {
    use crate::admin::rows::Value::Text;
    match &row[..] {
        [Text(database), Text(server), ..] => Some((database.clone(), server.clone())),
        _ => None,
    }
}

/// None where auth_type is not hba: they are read, and decide nothing.
pub fn hba(house: &House) -> Vec<Row> {
    let config = house.backends.ground().config;
    let Some(file) = config.global.auth_hba_file.as_ref().filter(|_| config.global.auth_type == AuthType::Hba) else {
        return Vec::new();
    };
    let file = file.display().to_string();
    house.doors().hba.all().iter().map(|rule| row![file.as_str(), rule.line, &*rule.text]).collect()
}

/// Reasons that never came up are left out.
pub fn routes(house: &House) -> Vec<Row> {
    let pools = house.snapshot().pools;
    let rows = pools
        .iter()
        .flat_map(|pool| pool.routes.iter().map(|(reason, count)| row![&*pool.database, &*pool.user, *reason, *count]));
    rows.collect()
}

pub fn pins(house: &House) -> Vec<Row> {
    let mut now: BTreeMap<(String, String, &str), usize> = BTreeMap::new();
    for client in house.clients_shown() {
        if let Some((reason, _)) = client.pin {
            *now.entry((client.database.to_string(), client.pool_user.to_string(), reason)).or_default() += 1;
        }
    }
    let pools = house.snapshot().pools;
    let rows = pools.iter().flat_map(|pool| {
        let row = |(reason, total): &(&'static str, u64)| {
            let pinned = now.get(&(pool.database.to_string(), pool.user.to_string(), reason)).copied().unwrap_or(0);
            row![&*pool.database, &*pool.user, *reason, pinned, *total]
        };
        pool.pins.iter().map(row).collect::<Vec<_>>()
    });
    rows.collect()
}

pub fn pinned(house: &House) -> Vec<Row> {
    let listen_port = house.backends.ground().config.global.listen_port;
    let now = SystemTime::now();
    let row = |client: &crate::stats::snapshot::Client| {
        let (reason, since) = client.pin?;
        let (addr, port) = ends(client.address, listen_port);
        let lasted = now.duration_since(since).unwrap_or_default();
        Some(row![
            client.id,
            &*client.user,
            &*client.database,
            reason,
            time(since),
            client.state,
            addr,
            port,
            client.remote_pid,
            &*client.application_name,
            lasted.as_secs(),
            house.is_long_pin(lasted),
        ])
    };
    house.clients_shown().iter().filter_map(row).collect()
}

/// Pools whose clients repeat unnamed statements.
pub fn shared(house: &House) -> Vec<Row> {
    let row = |pool: &crate::stats::snapshot::Pool| {
        let (uses, unshared) = (pool.totals.shared, pool.totals.unshared);
        row![&*pool.database, &*pool.user, uses, unshared.slower, unshared.refused]
    };
    house.snapshot().pools.iter().filter(|pool| pool.totals.shared > 0).map(row).collect()
}

/// Each reason for which somebody waits, or has.
pub fn waits(house: &House) -> Vec<Row> {
    let pools = house.snapshot().pools;
    let rows = pools.iter().flat_map(|pool| {
        pool.totals.waits.all().filter_map(|(why, count, micros)| {
            let waiting = pool.clients.waiting_for[why as usize];
            let is_shown = waiting > 0 || count > 0;
            is_shown.then(|| row![&*pool.database, &*pool.user, why.label(), waiting, count, micros])
        })
    });
    rows.collect()
}

//! [pure] SHOW STATS and its kin: counters by database, in PgBouncer's words and order.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::admin::rows::{Row, Value};
use crate::stats::snapshot::{Pool, Snapshot};
use crate::stats::totals::{Averages, Totals};

/// The database that consoles are at.
const CONSOLE: &str = "pgbouncer";

/// One database: its totals, and the averages of the last periods.
struct Sums {
    database: String,
    totals: Totals,
    averages: Averages,
}

/// One row for each database, the pools of all its users together.
pub fn stats(snapshot: &Snapshot) -> Vec<Row> {
    by_database(snapshot, |sums| counted(&sums.totals).into_iter().chain(averaged(&sums.averages)).collect())
}

pub fn totals(snapshot: &Snapshot) -> Vec<Row> {
    by_database(snapshot, |sums| counted(&sums.totals).to_vec())
}

pub fn averages(snapshot: &Snapshot) -> Vec<Row> {
    by_database(snapshot, |sums| averaged(&sums.averages).to_vec())
}

/// SHOW TOTALS: everything together, by name.
pub fn sums(snapshot: &Snapshot) -> Vec<Row> {
    const NAMES: [&str; 11] = [
        "server_assignment_count",
        "xact_count",
        "query_count",
        "client_bytes",
        "server_bytes",
        "xact_time",
        "query_time",
        "wait_time",
        "ps_client_parse_count",
        "ps_server_parse_count",
        "ps_bind_count",
    ];
    let all = sum("", snapshot.pools.iter(), snapshot.averaged_over);
    let named = |prefix: &'static str, values: [u64; 11]| {
        let row = move |(name, value)| vec![Value::from(format!("{prefix}_{name}")), Value::from(value)];
        NAMES.into_iter().zip(values).map(row)
    };
    named("total", counted(&all.totals)).chain(named("avg", averaged(&all.averages))).collect()
}

fn by_database(snapshot: &Snapshot, values: impl Fn(&Sums) -> Vec<u64>) -> Vec<Row> {
    // The console is one of PgBouncer's databases: a proxy that nobody has used yet has statistics, too.
    let mut databases: BTreeMap<&str, Vec<&Pool>> = BTreeMap::from([(CONSOLE, Vec::new())]);
    for pool in &snapshot.pools {
        databases.entry(&pool.database).or_default().push(pool);
    }
    let row = |(database, pools): (&str, Vec<&Pool>)| {
        let sums = sum(database, pools.into_iter(), snapshot.averaged_over);
        let values = values(&sums).into_iter().map(Value::from);
        std::iter::once(Value::from(sums.database)).chain(values).collect()
    };
    databases.into_iter().map(row).collect()
}

fn sum<'a>(database: &str, pools: impl Iterator<Item = &'a Pool>, over: Duration) -> Sums {
    let (mut totals, mut earlier) = (Totals::default(), Totals::default());
    for pool in pools {
        totals.add(&pool.totals);
        earlier.add(&pool.earlier);
    }
    Sums { database: database.to_owned(), totals, averages: totals.averages(&earlier, over) }
}

fn counted(totals: &Totals) -> [u64; 11] {
    [
        totals.assignments,
        totals.transactions.count(),
        totals.queries.count(),
        totals.received,
        totals.sent,
        totals.transactions.sum,
        totals.queries.sum,
        totals.wait_time(),
        totals.client_parses,
        totals.server_parses,
        totals.binds,
    ]
}

fn averaged(averages: &Averages) -> [u64; 11] {
    [
        averages.assignments,
        averages.transactions,
        averages.queries,
        averages.received,
        averages.sent,
        averages.transaction_time,
        averages.query_time,
        averages.wait_time,
        averages.client_parses,
        averages.server_parses,
        averages.binds,
    ]
}

//! pgbench: no transaction fails, and the money adds up.

use std::process::{Command, Output, Stdio};

use tokio_postgres::Client;

use crate::ground::{Ground, wrote};
use crate::support::Servers;

async fn tpc_b(pg: Servers) {
    let bench = Bench::open(pg, "pgbench_tpcb").await;
    for mode in ["simple", "extended", "prepared"] {
        for (clients, each) in [(1, 100), (16, 20), (100, 5)] {
            bench.run(&["-M", mode], clients, each).await;
        }
    }
    bench.balanced(3 * (100 + 16 * 20 + 100 * 5)).await;
}

async fn a_connection_for_each_transaction(pg: Servers) {
    let bench = Bench::open(pg, "pgbench_connect").await;
    for mode in ["simple", "prepared"] {
        bench.run(&["-C", "-M", mode], 8, 10).await;
    }
    bench.balanced(2 * 8 * 10).await;
}

async fn selects(pg: Servers) {
    let bench = Bench::open(pg, "pgbench_select").await;
    for mode in ["simple", "extended", "prepared"] {
        bench.run(&["-S", "-M", mode], 16, 100).await;
    }
}

async fn pipelines(pg: Servers) {
    let bench = Bench::open(pg, "pgbench_pipeline").await;
    let script = bench.ground.proxy.dir.join("pipeline.sql");
    std::fs::write(&script, PIPELINE).expect("the script is written");
    let file = script.to_str().expect("a plain path");
    for mode in ["extended", "prepared"] {
        for (clients, each) in [(1, 50), (16, 10), (100, 3)] {
            bench.run(&["-M", mode, "-f", file], clients, each).await;
        }
    }
    bench.balanced(2 * (50 + 16 * 10 + 100 * 3)).await;
}

/// Deadlocks and serialization failures are pgbench's to repeat.
async fn retries(pg: Servers) {
    let bench = Bench::open(pg, "pgbench_retry").await;
    let serializable = "-c default_transaction_isolation=serializable";
    let output = bench.pgbench(&["-M", "prepared", "--max-tries", "1000"], 8, 20, Some(serializable)).await;
    assert!(output.status.success(), "{}", wrote(&output));
    assert!(wrote(&output).contains("number of failed transactions: 0 "), "{}", wrote(&output));
    bench.balanced(8 * 20).await;
}

tests! {
    on both: [tpc_b, a_connection_for_each_transaction, selects, pipelines, retries],
    on 15: []
}

/// The tables of `pgbench -i`, made through pgweir.
struct Bench {
    ground: Ground,
    direct: Client,
}

impl Bench {
    async fn open(pg: Servers, name: &str) -> Bench {
        let ground = Ground::open(pg, name).await;
        let direct = ground.pg.direct(&ground.database).await;
        let mut command = ground.program("pgbench");
        command.args(["--initialize", "--scale=1", "--foreign-keys"]);
        let output = finish(command).await;
        assert!(output.status.success(), "{}", wrote(&output));
        Bench { ground, direct }
    }

    /// None fails, and all are done.
    async fn run(&self, arguments: &[&str], clients: usize, each: usize) {
        let output = self.pgbench(arguments, clients, each, None).await;
        let said = wrote(&output);
        let done = format!("number of transactions actually processed: {0}/{0}", clients * each);
        let good = output.status.success() && said.contains(&done) && said.contains("failed transactions: 0 (");
        assert!(good, "pgbench {arguments:?} -c {clients}\n{said}");
    }

    async fn pgbench(&self, arguments: &[&str], clients: usize, each: usize, options: Option<&str>) -> Output {
        let mut command = self.ground.program("pgbench");
        command.args(["--no-vacuum", "--jobs=2"]).args(arguments);
        command.arg(format!("--client={clients}")).arg(format!("--transactions={each}"));
        command.envs(options.map(|options| ("PGOPTIONS", options)));
        finish(command).await
    }

    /// What each table says of the same money, and how many transactions moved it.
    async fn balanced(&self, transactions: i64) {
        let row = self.direct.query_one(BALANCES, &[]).await.expect("the tables are there");
        let [history, accounts, tellers, branches, count] = std::array::from_fn(|at| row.get::<_, i64>(at));
        assert_eq!((accounts, tellers, branches, count), (history, history, history, transactions));
    }
}

async fn finish(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    done.expect("pgbench runs")
}

const BALANCES: &str = "\
SELECT (SELECT coalesce(sum(delta), 0) FROM pgbench_history)::int8, (SELECT sum(abalance) FROM pgbench_accounts)::int8,
       (SELECT sum(tbalance) FROM pgbench_tellers)::int8, (SELECT sum(bbalance) FROM pgbench_branches)::int8,
       (SELECT count(*) FROM pgbench_history)::int8";

/// TPC-B's transaction in one pipeline.
const PIPELINE: &str = r"
\set aid random(1, 100000 * :scale)
\set bid random(1, 1 * :scale)
\set tid random(1, 10 * :scale)
\set delta random(-5000, 5000)
\startpipeline
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
COMMIT;
\endpipeline
";

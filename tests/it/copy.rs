//! COPY in both directions and both protocols, ended by either side at any moment.

use crate::support::proxy::value;
use crate::support::wire::say;
use crate::support::*;

struct Table {
    name: String,
    direct: tokio_postgres::Client,
}

impl Table {
    async fn new(pg: &Servers, what: &str) -> Table {
        let name = format!("copy_{what}_{}_{}", pg.major, std::process::id());
        let direct = pg.direct("test1").await;
        let sql = format!(
            "DROP TABLE IF EXISTS {name}; CREATE TABLE {name} (n int CHECK (n < 1000)); GRANT ALL ON {name} TO app"
        );
        direct.batch_execute(&sql).await.expect("a table");
        Table { name, direct }
    }

    async fn count(&self) -> String {
        value(&self.direct, &format!("SELECT count(*) FROM {}", self.name)).await
    }

    fn copy(&self) -> String {
        format!("COPY {} FROM STDIN", self.name)
    }

    async fn drop(self) {
        self.direct.batch_execute(&format!("DROP TABLE {}", self.name)).await.expect("it goes");
    }
}

/// The server is back and clean: another client uses it.
async fn is_whole(proxy: &Proxy) {
    let client = proxy.app().await;
    assert_eq!(soon("the server is free", value(&client, "SELECT 1")).await, "1");
}

async fn in_by_a_simple_query(pg: Servers) {
    let table = Table::new(&pg, "simple").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query(&table.copy())).await;
    assert_eq!(wire.read(1).await, "G");
    wire.send(&[say::copy_data(b"1\n2\n"), say::flush(), say::sync(), say::copy_data(b"3\n")].concat()).await;
    assert_eq!(wire.ask(&[say::copy_done()]).await, "C(COPY 3) Z(I)", "Flush and Sync within are ignored");
    is_whole(&proxy).await;
    // Everything at once, two COPYs in one query, and a query behind them.
    wire.send(&[say::query(&format!("{0}; {0}", table.copy())), say::copy_data(b"4\n"), say::copy_done()].concat())
        .await;
    assert_eq!(wire.read(3).await, "G C(COPY 1) G");
    wire.send(&[say::copy_data(b"5\n"), say::copy_done(), say::query("SELECT 1")].concat()).await;
    assert_eq!(wire.ready().await, "C(COPY 1) Z(I)");
    assert_eq!(wire.ready().await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(table.count().await, "5");
    is_whole(&proxy).await;
    table.drop().await;
}

async fn in_by_an_extended_query(pg: Servers) {
    let table = Table::new(&pg, "extended").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&[say::run(&table.copy()), say::flush()].concat()).await;
    assert_eq!(wire.read(3).await, "1 2 G");
    assert_eq!(wire.ask(&[say::copy_data(b"1\n"), say::copy_done(), say::sync()]).await, "C(COPY 1) Z(I)");
    // libpq sends the Sync behind the Execute; the server ignores it, and another follows CopyDone.
    wire.send(&[say::run(&table.copy()), say::sync()].concat()).await;
    assert_eq!(wire.read(3).await, "1 2 G");
    assert_eq!(wire.ask(&[say::copy_data(b"2\n"), say::copy_done(), say::sync()]).await, "C(COPY 1) Z(I)");
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(table.count().await, "2");
    is_whole(&proxy).await;
    table.drop().await;
}

async fn in_that_the_server_ends(pg: Servers) {
    let table = Table::new(&pg, "refused").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query(&table.copy())).await;
    assert_eq!(wire.read(1).await, "G");
    wire.send(&say::copy_data(b"7777\n")).await;
    // The server may wait for more before it looks.
    wire.send(&say::copy_data(&b"1\n".repeat(100_000))).await;
    assert_eq!(wire.ready().await, "E(23514) Z(I)");
    // What the client had under way goes nowhere.
    wire.send(&[say::copy_data(b"1\n"), say::copy_done()].concat()).await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    // In the extended protocol the server waits for the Sync.
    wire.send(&[say::run(&table.copy()), say::flush()].concat()).await;
    assert_eq!(wire.read(3).await, "1 2 G");
    wire.send(&[say::copy_data(b"7777\n"), say::copy_data(&b"1\n".repeat(100_000))].concat()).await;
    assert_eq!(wire.read(1).await, "E(23514)");
    assert_eq!(wire.ask(&[say::copy_data(b"1\n"), say::copy_done(), say::sync()]).await, "Z(I)");
    assert_eq!(wire.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
    assert_eq!(table.count().await, "0");
    is_whole(&proxy).await;
    table.drop().await;
}

async fn in_that_the_client_ends(pg: Servers) {
    let table = Table::new(&pg, "failed").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query(&table.copy())).await;
    assert_eq!(wire.read(1).await, "G");
    assert_eq!(wire.ask(&[say::copy_data(b"1\n"), say::copy_fail("no more")]).await, "E(57014) Z(I)");
    wire.send(&[say::run(&table.copy()), say::flush()].concat()).await;
    assert_eq!(wire.read(3).await, "1 2 G");
    assert_eq!(wire.ask(&[say::copy_fail("no more"), say::sync()]).await, "E(57014) Z(I)");
    // In the middle of a COPY the client goes.
    wire.send(&say::query(&table.copy())).await;
    assert_eq!(wire.read(1).await, "G");
    wire.send(&say::copy_data(b"1\n")).await;
    drop(wire);
    proxy.wait_for_rest(&table.direct).await;
    assert_eq!(table.count().await, "0");
    is_whole(&proxy).await;
    table.drop().await;
}

async fn out_of_the_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    let sql = "COPY (SELECT generate_series(1, 3)) TO STDOUT";
    assert_eq!(wire.query(sql).await, "H d(1) d(2) d(3) c C(COPY 3) Z(I)");
    assert_eq!(wire.ask(&[say::run(sql), say::sync()]).await, "1 2 H d(1) d(2) d(3) c C(COPY 3) Z(I)");
    let failing = "COPY (SELECT 1 / (3 - n) FROM generate_series(1, 5) n) TO STDOUT";
    assert_eq!(wire.query(failing).await, "H d(0) d(1) E(22012) Z(I)");
    is_whole(&proxy).await;
}

async fn a_million_rows_both_ways(pg: Servers) {
    let table = Table::new(&pg, "million").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query(&table.copy())).await;
    assert_eq!(wire.read(1).await, "G");
    let portion = say::copy_data(&b"123\n".repeat(1000));
    for _ in 0..1000 {
        wire.send(&portion).await;
    }
    assert_eq!(wire.ask(&[say::copy_done()]).await, "C(COPY 1000000) Z(I)");
    wire.send(&say::query(&format!("COPY {} TO STDOUT", table.name))).await;
    let mut rows = 0;
    loop {
        match wire.frame().await.expect("the connection lasts").tag {
            b'd' => rows += 1,
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 1_000_000);
    assert!(proxy.memory() < 64 << 10, "{} kB", proxy.memory());
    table.drop().await;
}

tests! {
    on both: [in_by_a_simple_query, in_by_an_extended_query, in_that_the_client_ends, in_that_the_server_ends, out_of_the_server],
    on 15: [a_million_rows_both_ways]
}

//! Clients that go away at any moment: afterwards the pool is whole, and the server has no transaction of theirs.

use tokio::io::AsyncWriteExt;

use crate::support::proxy::value;
use crate::support::wire::say;
use crate::support::*;

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Exit {
    Terminate,
    Close,
    Reset,
}

const EXITS: [Exit; 3] = [Exit::Terminate, Exit::Close, Exit::Reset];

async fn leave(mut wire: Wire, exit: Exit) {
    match exit {
        Exit::Terminate => wire.send_perhaps(&say::terminate()).await,
        Exit::Close => {
            let _closed = wire.stream.shutdown().await;
        }
        Exit::Reset => wire.stream.set_zero_linger().expect("a live socket"),
    }
}

/// Nobody is left: the one server idles outside a transaction, and all of it can be had again.
async fn is_whole(proxy: &Proxy, direct: &tokio_postgres::Client, after: &str) {
    let whole = || async {
        let rows = proxy.servers(direct).await;
        rows.len() <= 1 && rows.iter().all(|row| row.state == "idle")
    };
    eventually(after, whole).await;
    let client = proxy.app().await;
    assert_eq!(value(&client, "SELECT 1").await, "1", "{after}");
    drop(client);
}

async fn at_every_byte_of_the_login(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nmax_client_conn = 5").start().await;
    let direct = pg.direct("test1").await;
    let startup = say::startup(say::V3_0, &[("user", "app"), ("database", "test1")]);
    for length in 0..startup.len() {
        let mut wire = Wire::open(proxy.port).await;
        wire.send(&startup[..length]).await;
        leave(wire, EXITS[1 + length % 2]).await;
    }
    // Ended logins are not counted: five may come in again.
    let full = || async {
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.extend(proxy.try_connect("app", "test1").await);
        }
        clients.len() == 5
    };
    eventually("nobody counts who left", full).await;
    is_whole(&proxy, &direct, "broken startups").await;
}

async fn in_the_authentication(pg: Servers) {
    let global = "default_pool_size = 1\nmax_client_conn = 5\nauth_type = 'scram-sha-256'";
    let proxy = Setup::new(&pg).global(global).start().await;
    for exit in EXITS {
        for cut in [0, 1, 5, 20] {
            let mut wire = Wire::open(proxy.port).await;
            wire.send(&say::startup(say::V3_0, &[("user", "app"), ("database", "test1")])).await;
            assert_eq!(wire.read(1).await, "R");
            let first = say::message(b'p', b"SCRAM-SHA-256\0\0\0\0\x14n,,n=,r=0123456789ab");
            wire.send(&first[..cut]).await;
            leave(wire, exit).await;
        }
    }
    eventually("logins go on", || async { proxy.try_connect("app", "test1").await.is_ok() }).await;
}

/// What a client has sent when it goes, each by all three exits.
async fn with_work_under_way(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let table = format!("leaves_{}_{}", pg.major, std::process::id());
    let sql = format!("DROP TABLE IF EXISTS {table}; CREATE TABLE {table} (n int); GRANT ALL ON {table} TO app");
    direct.batch_execute(&sql).await.expect("a table");
    let insert = format!("INSERT INTO {table} VALUES (1)");
    let long = "SELECT generate_series(1, 100000000)";
    let stages: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("half a header", b"Q\0\0".to_vec()),
        ("half a query", say::query("SELECT 1")[..8].to_vec()),
        ("half a long query", say::message(b'Q', &[b'x'; 200_000])[..100_000].to_vec()),
        ("half a bind", [say::parse("", "SELECT $1"), say::bind("", "", &["x"])[..9].to_vec()].concat()),
        (
            "half a long bind",
            [say::parse("", "SELECT $1"), say::bind("", "", &[&"x".repeat(200_000)])[..100_000].to_vec()].concat(),
        ),
        ("a batch without its Sync", say::run(&insert)),
        ("a failed batch without its Sync", say::run("SELEC")),
        ("a flushed batch", [say::run(&insert), say::flush()].concat()),
        ("an open transaction", say::query(&format!("BEGIN; {insert}"))),
        ("a failed transaction", say::query(&format!("BEGIN; {insert}; SELECT 1/0"))),
        ("a savepoint", say::query(&format!("BEGIN; SAVEPOINT s; {insert}"))),
        ("a transaction and half a query", [say::query(&format!("BEGIN; {insert}")), b"Q\0\0\0".to_vec()].concat()),
        ("a running query", say::query(&format!("BEGIN; {insert}; SELECT pg_sleep(1000)"))),
        ("a running batch", [say::run(&format!("{insert} RETURNING pg_sleep(1000)")), say::sync()].concat()),
        ("a streaming result", say::query(&format!("BEGIN; {insert}; {long}"))),
        ("a streaming copy", say::query(&format!("BEGIN; {insert}; COPY ({long}) TO STDOUT"))),
        ("a copy", [say::query(&format!("COPY {table} FROM STDIN")), say::copy_data(b"1\n")].concat()),
        (
            "half a copy message",
            [say::query(&format!("COPY {table} FROM STDIN")), say::copy_data(b"1\n")[..6].to_vec()].concat(),
        ),
        (
            "an extended copy",
            [say::run(&format!("COPY {table} FROM STDIN")), say::flush(), say::copy_data(b"1\n")].concat(),
        ),
        ("a pin", say::query("SET work_mem = '77MB'")),
        ("a pin in a transaction", say::query(&format!("BEGIN; CREATE TEMP TABLE t (); {insert}"))),
        ("a pipeline", say::query(&format!("BEGIN; {insert}; SELECT pg_sleep(0.01)")).repeat(50)),
    ];
    for (stage, bytes) in stages {
        for exit in EXITS {
            let after = format!("{stage}, then {exit:?}");
            let mut wire = Wire::login(&proxy).await;
            wire.send(&bytes).await;
            // Some of it is under way, some has been answered.
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            leave(wire, exit).await;
            is_whole(&proxy, &direct, &after).await;
            let count = value(&direct, &format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(count, "0", "{after}: an unfinished transaction was committed");
        }
    }
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

async fn in_the_queue(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let table = format!("leaves_queue_{}", std::process::id());
    direct.batch_execute(&format!("CREATE TABLE {table} (n int); GRANT ALL ON {table} TO app")).await.expect("a table");
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server");
    // A Terminate would stand behind a query that is to be served first.
    for exit in [Exit::Close, Exit::Reset] {
        let mut wire = Wire::login(&proxy).await;
        wire.send(&say::query(&format!("INSERT INTO {table} VALUES (1)"))).await;
        tokio::time::sleep(MOMENT).await;
        leave(wire, exit).await;
    }
    tokio::time::sleep(MOMENT).await;
    holder.batch_execute("COMMIT").await.expect("the end");
    drop(holder);
    is_whole(&proxy, &direct, "clients that left the queue").await;
    let count = value(&direct, &format!("SELECT count(*) FROM {table}")).await;
    assert_eq!(count, "0", "a query ran for a client that was gone");
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

/// A transaction that its client left is rolled back, and its server kept.
async fn a_left_transaction_does_not_cost_its_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
    let before = proxy.servers(&direct).await[0].pid;
    drop(wire);
    let rolled_back = || async { proxy.servers(&direct).await.iter().all(|row| row.state == "idle") };
    eventually("it is rolled back", rolled_back).await;
    assert_eq!(proxy.servers(&direct).await[0].pid, before);
}

tests! {
    on both: [with_work_under_way],
    on 15: [
        a_left_transaction_does_not_cost_its_server, at_every_byte_of_the_login, in_the_authentication, in_the_queue,
    ]
}

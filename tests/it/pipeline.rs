//! The wire itself: pipelines, portals, versions, and bytes in any portion.

use crate::support::proxy::backend;
use crate::support::wire::{line, say};
use crate::support::*;

async fn several_batches_in_one_write(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    let good = |n: u32| [say::run(&format!("SELECT {n}")), say::sync()].concat();
    let bad = [say::run("SELECT 1/(pg_backend_pid() - pg_backend_pid())"), say::run("SELECT 9"), say::sync()].concat();
    wire.send(&[good(1), bad, good(3), say::query("SELECT 4"), say::query("SELEC"), good(5)].concat()).await;
    assert_eq!(wire.ready().await, "1 2 D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ready().await, "1 2 E(22012) Z(I)", "the rest of its batch is skipped");
    assert_eq!(wire.ready().await, "1 2 D(3) C(SELECT 1) Z(I)");
    assert_eq!(wire.ready().await, "T D(4) C(SELECT 1) Z(I)");
    assert_eq!(wire.ready().await, "E(42601) Z(I)");
    assert_eq!(wire.ready().await, "1 2 D(5) C(SELECT 1) Z(I)");
}

async fn an_error_skips_a_query_too(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&[say::run("SELEC"), say::query("SELECT 1"), say::sync(), say::query("SELECT 2")].concat()).await;
    assert_eq!(wire.ready().await, "E(42601) Z(I)");
    assert_eq!(wire.ready().await, "T D(2) C(SELECT 1) Z(I)");
    // The same, when the error is read before the rest is sent.
    wire.send(&[say::run("SELEC"), say::flush()].concat()).await;
    assert_eq!(wire.read(1).await, "E(42601)");
    wire.send(&[say::query("SELECT 1"), say::parse("s", "SELECT 1"), say::flush()].concat()).await;
    assert!(wire.is_silent().await);
    assert_eq!(wire.ask(&[say::sync()]).await, "Z(I)");
    assert_eq!(wire.query("SELECT 3").await, "T D(3) C(SELECT 1) Z(I)");
}

/// More answers are owed than the proxy keeps in mind, most of them its own, and the Sync stands behind them all.
async fn a_batch_of_many_answers(pg: Servers) {
    const CLOSES: usize = 20_000;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    let batch = [say::run("SELECT 1"), say::close(b'S', "none").repeat(CLOSES), say::sync()].concat();
    wire.send(&batch).await;
    let answer = wire.ready().await;
    assert_eq!(answer, format!("1 2 D(1) C(SELECT 1){} Z(I)", " 3".repeat(CLOSES)));
    assert_eq!(wire.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
}

async fn a_batch_is_one_transaction(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let table = format!("batch_{}_{}", pg.major, std::process::id());
    let mut wire = Wire::login(&proxy).await;
    wire.query(&format!("CREATE TABLE {table} (n int)")).await;
    let insert = say::run(&format!("INSERT INTO {table} VALUES (1)"));
    let failing = [insert.clone(), say::run("SELECT 1/(pg_backend_pid() - pg_backend_pid())"), say::sync()].concat();
    assert_eq!(wire.ask(&[failing]).await, "1 2 C(INSERT 0 1) 1 2 E(22012) Z(I)");
    assert_eq!(wire.query(&format!("SELECT * FROM {table}")).await, "T C(SELECT 0) Z(I)");
    assert_eq!(
        wire.ask(&[say::run("BEGIN"), insert.clone(), say::sync()]).await,
        "1 2 C(BEGIN) 1 2 C(INSERT 0 1) Z(T)"
    );
    assert_eq!(wire.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
    let answer = wire.query(&format!("INSERT INTO {table} VALUES (1); COMMIT; SELECT 1/(pg_backend_pid() * 0)")).await;
    assert!(answer.starts_with("C(INSERT 0 1) ") && answer.ends_with("E(22012) Z(I)"), "{answer}");
    assert_eq!(wire.query(&format!("SELECT * FROM {table}")).await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.query("BEGIN; SELECT 1; COMMIT AND CHAIN").await, "C(BEGIN) T D(1) C(SELECT 1) C(COMMIT) Z(T)");
    assert_eq!(wire.query(&format!("ROLLBACK; DROP TABLE {table}")).await, "C(ROLLBACK) C(DROP TABLE) Z(I)");
}

async fn a_flush_is_answered_and_keeps_the_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&[say::run("SELECT 1"), say::flush()].concat()).await;
    assert_eq!(wire.read(4).await, "1 2 D(1) C(SELECT 1)");
    let other = proxy.app().await;
    let waits = tokio::spawn(async move { backend(&other).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!waits.is_finished(), "the batch is not over");
    assert_eq!(wire.ask(&[say::sync()]).await, "Z(I)");
    soon("the server is free", waits).await.expect("it is served");
    wire.send(&say::flush()).await;
    assert!(wire.is_silent().await, "a Flush alone has no answer");
    assert_eq!(wire.ask(&[say::sync()]).await, "Z(I)");
}

async fn portals_give_rows_in_portions(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.query("BEGIN").await;
    let open = [say::parse("", "SELECT generate_series(1, 5)"), say::bind("p", "", &[]), say::sync()].concat();
    assert_eq!(wire.ask(&[open]).await, "1 2 Z(T)");
    assert_eq!(wire.ask(&[say::describe(b'P', "p"), say::execute("p", 2), say::sync()]).await, "T D(1) D(2) s Z(T)");
    assert_eq!(
        wire.ask(&[say::execute("p", 2), say::execute("p", 2), say::sync()]).await,
        "D(3) D(4) s D(5) C(SELECT 1) Z(T)"
    );
    assert_eq!(wire.ask(&[say::close(b'P', "p"), say::execute("p", 0), say::sync()]).await, "3 E(34000) Z(E)");
    assert_eq!(wire.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
    let outside =
        [say::parse("", "SELECT generate_series(1, 3)"), say::bind("", "", &[]), say::execute("", 2), say::sync()];
    assert_eq!(wire.ask(&outside).await, "1 2 D(1) D(2) s Z(I)");
    assert_eq!(wire.ask(&[say::execute("", 2), say::sync()]).await, "E(34000) Z(I)");
}

async fn small_messages(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("").await, "I Z(I)");
    assert_eq!(wire.query(" -- nothing").await, "I Z(I)");
    assert_eq!(wire.ask(&[say::run(""), say::sync()]).await, "1 2 I Z(I)");
    assert_eq!(wire.ask(&[say::sync()]).await, "Z(I)");
    assert_eq!(wire.ask(&[say::parse("", "SELECT 1"), say::describe(b'S', ""), say::sync()]).await, "1 t T Z(I)");
    assert_eq!(wire.ask(&[say::parse("", "BEGIN"), say::describe(b'S', ""), say::sync()]).await, "1 t n Z(I)");
    // FunctionCall: int4pl(20, 22), arguments and result in text.
    let oid = 177_u32;
    let body = [&oid.to_be_bytes()[..], &[0, 0, 0, 2, 0, 0, 0, 2], b"20", &[0, 0, 0, 2], b"22", &[0, 0]].concat();
    wire.send(&say::message(b'F', &body)).await;
    let frames = wire.answers().await;
    assert_eq!(line(&frames), "V Z(I)");
    assert_eq!(frames[0].body, [&[0, 0, 0, 2][..], b"42"].concat());
}

async fn notices_pass_in_their_place(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("DROP TABLE IF EXISTS no_such_table").await, "N(00000) C(DROP TABLE) Z(I)");
    let sql = "DO $$ BEGIN FOR i IN 1..3 LOOP RAISE WARNING 'w%', i; END LOOP; END $$";
    assert_eq!(wire.query(sql).await, "N(01000) N(01000) N(01000) C(DO) Z(I)");
}

async fn versions_are_negotiated(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let own = [("user", "app"), ("database", "test1")];
    for (version, options, told) in [
        (0x0003_0000, &[][..], None),
        (0x0003_0002, &[], None),
        (0x0003_0001, &[], Some((0x0003_0000, vec![]))),
        (0x0003_0063, &[], Some((0x0003_0002, vec![]))),
        (0x0003_0000, &[("_pq_.x", "1")], Some((0x0003_0000, vec!["_pq_.x"]))),
        (0x0003_0002, &[("_pq_.x", "1"), ("_pq_.y", "")], Some((0x0003_0002, vec!["_pq_.x", "_pq_.y"]))),
    ] {
        let mut wire = Wire::login_with(&proxy, version, &[&own[..], options].concat()).await;
        let answer = wire.greeting.iter().find(|frame| frame.tag == b'v').map(|frame| {
            let newest = u32::from_be_bytes(*frame.body.first_chunk().expect("a version"));
            let names = frame.body[8..].split(|&byte| byte == 0).filter(|name| !name.is_empty());
            (newest, names.map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>())
        });
        let told = told.map(|(version, names)| (version, names.into_iter().map(str::to_owned).collect()));
        assert_eq!(answer, told, "{version:x}");
        assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    }
    for version in [0x0002_0000, 0x0004_0000] {
        let mut wire = Wire::open(proxy.port).await;
        wire.send(&say::startup(version, &own)).await;
        assert!(wire.last_words().await.starts_with("FATAL 0A000 unsupported frontend protocol"));
    }
}

async fn bytes_that_come_one_at_a_time(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::open(proxy.port).await;
    let startup = say::startup(say::V3_2, &[("user", "app"), ("database", "test1")]);
    for byte in startup {
        wire.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    wire.greet().await;
    let batch = [say::parse("s", "SELECT $1"), say::bind("", "s", &["x"]), say::execute("", 0), say::sync()].concat();
    for byte in [batch, say::query("SELECT 2")].concat() {
        wire.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.ready().await, "1 2 D(x) C(SELECT 1) Z(I)");
    assert_eq!(wire.ready().await, "T D(2) C(SELECT 1) Z(I)");
}

/// 100 MB in a parameter and in its result; pgweir streams both.
async fn a_large_value_passes_in_bounded_memory(pg: Servers) {
    const SIZE: usize = 100 << 20;
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    let before = proxy.memory();
    let value = "x".repeat(SIZE);
    wire.send(&[say::parse("", "SELECT length($1::text)"), say::bind("", "", &[&value]), say::execute("", 0)].concat())
        .await;
    assert_eq!(wire.ask(&[say::sync()]).await, format!("1 2 D({SIZE}) C(SELECT 1) Z(I)"));
    wire.send(&say::query(&format!("SELECT repeat('y', {SIZE})"))).await;
    let frames = wire.answers().await;
    assert_eq!(frames.iter().map(|frame| frame.tag).collect::<Vec<_>>(), b"TDCZ");
    assert_eq!(frames[1].body.len(), 2 + 4 + SIZE);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 16 << 10, "pgweir grew by {grown} kB");
}

/// A client that sends 50 MB of queries before it reads the first answer: the server's answers wait, and nothing locks.
async fn a_client_that_writes_before_it_reads(pg: Servers) {
    const QUERIES: usize = 5_000;
    let proxy = Proxy::of_size(&pg, 1).await;
    let wire = Wire::login(&proxy).await;
    let padding = "z".repeat(10 << 10);
    let one = [say::parse("", "SELECT $1"), say::bind("", "", &[&padding]), say::execute("", 0), say::sync()].concat();
    let (mut reader, mut writer) = wire.stream.into_split();
    let written = tokio::spawn(async move {
        for _ in 0..QUERIES {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &one).await.expect("pgweir reads on");
        }
        writer
    });
    tokio::time::sleep(MOMENT * 3).await;
    // 1, 2, D, C, Z.
    let answer = 5 + 5 + (5 + 2 + 4 + padding.len()) + (5 + 9) + 6;
    let mut left = answer * QUERIES;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let read = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer);
        let count = soon("the answers go on", read).await.expect("pgweir writes");
        assert!(count > 0, "{left} bytes are missing");
        left -= count;
    }
    soon("everything is written", written).await.expect("no failure");
    assert!(proxy.memory() < 64 << 10, "{} kB", proxy.memory());
}

/// A Query too long to be read is passed on; its server stays with the client.
async fn a_long_query_passes_unread(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    let long = format!("SELECT 1 /* {} */", "x".repeat(3 << 20));
    assert_eq!(wire.query(&long).await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[say::run(&long), say::sync()]).await, "1 2 D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[say::parse("large", &long), say::sync()]).await, "1 Z(I)");
    let used = wire.ask(&[say::bind("", "large", &[]), say::execute("", 0), say::sync()]).await;
    assert_eq!(used, "2 D(1) C(SELECT 1) Z(I)");
    drop(wire);
    assert_eq!(Wire::login(&proxy).await.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
}

async fn a_failed_transaction_stays_with_its_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("BEGIN; SELECT 1/0").await, "C(BEGIN) E(22012) Z(E)");
    assert_eq!(wire.query("SELECT 1").await, "E(25P02) Z(E)");
    assert_eq!(wire.ask(&[say::run("SELECT 1"), say::sync()]).await, "E(25P02) Z(E)");
    assert_eq!(wire.query("COMMIT").await, "C(ROLLBACK) Z(I)");
    assert_eq!(Wire::login(&proxy).await.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
}

tests! {
    on both: [
        a_batch_is_one_transaction, a_client_that_writes_before_it_reads, a_failed_transaction_stays_with_its_server,
        a_flush_is_answered_and_keeps_the_server, a_large_value_passes_in_bounded_memory, a_long_query_passes_unread,
        an_error_skips_a_query_too,
        a_batch_of_many_answers, bytes_that_come_one_at_a_time, notices_pass_in_their_place,
        portals_give_rows_in_portions, several_batches_in_one_write, small_messages, versions_are_negotiated,
    ],
    on 15: []
}

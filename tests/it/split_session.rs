//! One client between two servers: its statements, its own writes and settings, and what it or the operator asks for.

use crate::support::reads::{Lines, Reads, USER};
use crate::support::wire::say;
use crate::support::*;

const SCHEMA: &str = "
    CREATE TABLE t (n int PRIMARY KEY);
    INSERT INTO t SELECT generate_series(1, 10);
    CREATE TABLE log (n int);";

const COUNT: &str = "SELECT count(*) FROM t";
const TEN: &str = "T D(10) C(SELECT 1) Z(I)";

fn run_named(name: &str, parameter: &str) -> [Vec<u8>; 4] {
    [say::bind("", name, &[parameter]), say::describe(b'P', ""), say::execute("", 0), say::sync()]
}

/// Named and unnamed statements alternate between the servers.
async fn statements_are_where_they_are_needed(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let (mut client, mut truth) = (reads.client().await, reads.truth().await);
    client.settle().await;
    let prepare = |name: &str, text: &str| [say::parse(name, text), say::describe(b'S', name), say::sync()];
    let (first, second) = ("SELECT n FROM t WHERE n = $1", "INSERT INTO log VALUES ($1) RETURNING n");
    let unnamed = [&[say::parse("", "SELECT n + 1 FROM t WHERE n = $1")][..], &run_named("", "4")].concat();
    let rounds: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (prepare("r", first).to_vec(), "primary prepare"),
        (prepare("w", second).to_vec(), "primary prepare"),
        (run_named("r", "3").to_vec(), "standby select"),
        (run_named("w", "3").to_vec(), "primary"),
        (run_named("r", "4").to_vec(), "standby select"),
        (unnamed, "standby select"),
        (run_named("", "5").to_vec(), "standby select"),
        (vec![say::bind("", "", &["9"]), say::execute("", 0), say::flush(), say::sync()], "primary flush"),
        (run_named("", "6").to_vec(), "standby select"),
        (vec![say::query("SET pgweir.route = 'primary'")], "primary set"),
        // A Query is the end of the unnamed statement.
        (run_named("", "6").to_vec(), "primary prepare"),
        (run_named("r", "5").to_vec(), "primary chosen"),
        (vec![say::query("SET pgweir.route = 'auto'")], "primary set"),
        (vec![say::query("BEGIN")], ""),
        (run_named("r", "6").to_vec(), "primary in_transaction"),
        (vec![say::query("COMMIT")], ""),
        (run_named("r", "7").to_vec(), "standby select"),
        (prepare("r2", "SELECT $1::int * 2").to_vec(), "primary prepare"),
        (run_named("r2", "21").to_vec(), "standby select"),
        (vec![say::describe(b'S', "r2"), say::sync()], "primary describe_only"),
        (
            vec![say::parse("", COUNT), say::bind("", "", &[]), say::execute("", 0), say::flush(), say::sync()],
            "primary flush",
        ),
        (vec![say::close(b'S', "r"), say::sync()], "primary prepare"),
        (run_named("r", "1").to_vec(), "primary"),
        (run_named("", "1").to_vec(), "standby"),
        (vec![say::query("SELECT 1")], "standby select"),
        (run_named("", "1").to_vec(), "primary"),
        (
            vec![
                say::parse("", "TABLE t"),
                say::bind("p", "", &[]),
                say::execute("p", 2),
                say::execute("p", 3),
                say::sync(),
            ],
            "standby",
        ),
    ];
    for (n, (messages, place)) in rounds.iter().enumerate() {
        let reply = client.ask(messages).await;
        // What concerns pgweir alone has no meaning for PostgreSQL but the answer's shape.
        let ours = messages.concat().windows(7).any(|part| part == b"pgweir.");
        let expected = if ours { truth.query("SET app.name = 'x'").await } else { truth.ask(messages).await };
        assert_eq!(reply.answer, expected.answer, "round {n}");
        assert!(reply.place.starts_with(place), "round {n}: {} for {place}", reply.place);
    }
}

/// Several batches in one write: answered in their order, and by one server where a write stands among them.
async fn pipelines_keep_their_order(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let texts =
        [COUNT, "INSERT INTO log VALUES (1)", "SELECT count(*) FROM log", "SELECT 1/0", "DELETE FROM log", "SELECT 7"];
    let simple: Vec<Vec<u8>> = texts.iter().map(|text| say::query(text)).collect();
    let extended: Vec<Vec<u8>> = texts.iter().map(|text| [say::run(text), say::sync()].concat()).collect();
    for messages in [simple, extended] {
        let (mut client, mut truth) = (reads.client().await, reads.truth().await);
        let mut expected = Vec::new();
        for message in &messages {
            expected.push(truth.ask(std::slice::from_ref(message)).await.answer);
        }
        for _ in 0..20 {
            client.0.send(&messages.concat()).await;
            for (n, expected) in expected.iter().enumerate() {
                assert_eq!(client.reply().await.answer, *expected, "{n}");
            }
        }
    }
}

/// Of 300 reads behind as many writes none is stale, and the standby serves some of them.
async fn a_client_reads_what_it_wrote(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let (mut writer, mut other) = (reads.client().await, reads.client().await);
    writer.settle().await;
    let mut served = 0;
    for n in 1..=300 {
        writer.query("INSERT INTO log VALUES (1)").await;
        // Whoever asks: it was acknowledged.
        for client in [&mut writer, &mut other] {
            let reply = client.query("SELECT count(*) FROM log").await;
            assert_eq!(reply.answer, format!("T D({n}) C(SELECT 1) Z(I)"), "{}", reply.place);
            served += usize::from(reply.place.starts_with("standby"));
        }
    }
    assert!(served > 0, "the standby served none of 600 reads");
}

async fn a_changed_table_is_seen_at_once(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.query("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)").await;
    client.settle().await;
    assert_eq!(client.query("SELECT * FROM shape").await.answer, "T D(1) C(SELECT 1) Z(I)");
    for (column, row) in [("b", "1,2"), ("c", "1,2,2"), ("d", "1,2,2,2")] {
        client.query(&format!("ALTER TABLE shape ADD COLUMN {column} int DEFAULT 2")).await;
        let seen = format!("T D({row}) C(SELECT 1) Z(I)");
        assert_eq!(client.query("SELECT * FROM shape").await.answer, seen);
        client.settle().await;
        let reply = client.query("SELECT * FROM shape").await;
        assert_eq!((reply.place.as_str(), reply.answer), ("standby select", seen));
    }
    // A function that begins to write is no read from then on.
    client.query("CREATE FUNCTION turns() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'").await;
    client.settle().await;
    assert_eq!(client.query("SELECT turns()").await.place, "standby select");
    client.query("ALTER FUNCTION turns() VOLATILE").await;
    assert!(client.query("SELECT turns()").await.place.starts_with("primary"));
    client.settle().await;
    assert_eq!(client.query("SELECT turns()").await.place, "primary unknown_function");
}

async fn nobody_hears_of_a_hot_standby(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    let greeting = crate::support::wire::line(&client.0.greeting);
    assert!(greeting.contains("S(in_hot_standby=off)"), "{greeting}");
    client.settle().await;
    for _ in 0..20 {
        assert_eq!(client.query(COUNT).await.answer, TEN);
        client.query("INSERT INTO log VALUES (1)").await;
    }
    client.query("BEGIN READ ONLY").await;
    assert_eq!(client.query("SELECT 1").await.answer, "T D(1) C(SELECT 1) Z(T)");
    assert_eq!(client.query("SHOW in_hot_standby").await.answer, "T D(off) C(SHOW) Z(T)");
}

/// A setting follows its client to both servers.
async fn settings_follow_to_the_standby(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    for zone in ["Asia/Tokyo", "America/Lima"] {
        client.query(&format!("SET TimeZone = '{zone}'")).await;
        client.settle().await;
        let reply = client.query("SELECT '2020-01-01 12:00+00'::timestamptz").await;
        let there = if zone == "Asia/Tokyo" { "2020-01-01 21:00:00+09" } else { "2020-01-01 07:00:00-05" };
        assert_eq!((reply.place.as_str(), reply.answer), ("standby select", format!("T D({there}) C(SELECT 1) Z(I)")));
    }
}

async fn a_pinned_client_stays_on_the_primary(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for (made_by, read, answer) in [
        ("CREATE TEMP TABLE t (n int)", COUNT, "T D(0) C(SELECT 1) Z(I)"),
        ("PREPARE mine AS SELECT 1", COUNT, TEN),
        ("SET work_mem = '9MB'", COUNT, TEN),
        ("LISTEN channel", COUNT, TEN),
        ("SELECT pg_advisory_lock(1)", COUNT, TEN),
        ("BEGIN; DECLARE c CURSOR WITH HOLD FOR TABLE t; COMMIT", COUNT, TEN),
    ] {
        let mut client = reads.client().await;
        client.settle().await;
        client.query(made_by).await;
        for _ in 0..3 {
            let reply = client.query(read).await;
            assert_eq!(reply.answer, answer, "{made_by}");
            assert!(!reply.place.contains("standby"), "{made_by}: {}", reply.place);
        }
        // Nobody else is.
        reads.settle().await;
    }
}

async fn a_client_may_ask_for_the_primary(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.settle().await;
    for (sql, place) in [
        ("SET pgweir.route = 'primary'", "primary set"),
        (COUNT, "primary chosen"),
        ("BEGIN READ ONLY", ""),
        (COUNT, "primary chosen"),
        ("COMMIT", ""),
        ("RESET pgweir.route", "primary set"),
        (COUNT, "standby select"),
        ("SET SESSION pgweir.route TO primary;", "primary set"),
        (COUNT, "primary chosen"),
        ("SET pgweir.route = auto", "primary set"),
        (COUNT, "standby select"),
        ("SET pgweir.read_consistency = 'strict'", "primary set"),
        (COUNT, "standby select"),
        ("SET pgweir.explain = off", "primary set"),
        (COUNT, ""),
    ] {
        assert_eq!(client.query(sql).await.place, place, "{sql}");
    }
    let mut client = reads.client_with("-c pgweir.route=primary").await;
    assert_eq!(client.query(COUNT).await.place, "primary chosen");
    for sql in
        ["SET pgweir.route = 'standby'", "SET pgweir.explain = 'perhaps'", "SET pgweir.nothing = 1", "RESET pgweir.no"]
    {
        let reply = client.query(sql).await;
        assert!(reply.answer.starts_with("E(42704 ") && reply.answer.ends_with(" Z(I)"), "{sql}: {}", reply.answer);
    }
    client.query("BEGIN").await;
    assert!(client.query("SET pgweir.route = 'standby'").await.answer.ends_with(" Z(E)"));
    assert_eq!(client.query("COMMIT").await.answer, "C(ROLLBACK) Z(I)");
    for wrong in ["pgweir.route=standby", "pgweir.nothing=1"] {
        let mut config = reads.proxy.config(USER, "test1");
        config.options(format!("-c {wrong}"));
        assert!(crate::support::proxy::connect(&config).await.is_err(), "{wrong}");
    }
}

async fn an_operator_may_switch_it(pg: Servers) {
    let mut reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.settle().await;
    for (lines, single, declared) in [
        (Lines { database: "read_write_split = 'off'", ..Lines::default() }, "primary off", "primary off"),
        (
            Lines { database: "read_write_split = 'declared'", ..Lines::default() },
            "primary off",
            "standby declared_read_only",
        ),
        (
            Lines { rest: "[users.trust_user]\nread_write_split = 'off'", ..Lines::default() },
            "primary off",
            "primary off",
        ),
        (Lines { global: "read_write_split = 'off'", ..Lines::default() }, "primary off", "primary off"),
        (Lines::default(), "standby select", "standby declared_read_only"),
    ] {
        reads.reload(lines).await;
        let mut fresh = reads.client().await;
        // Whoever was there before sees it as well. Where nothing is split, nothing may be told.
        for client in [&mut client, &mut fresh] {
            let deadline = std::time::Instant::now() + DEADLINE;
            loop {
                let reply = client.query(COUNT).await;
                assert_eq!(reply.answer, TEN);
                if reply.place == single || (single == "primary off" && reply.place.is_empty()) {
                    break;
                }
                assert!(std::time::Instant::now() < deadline, "{lines:?}: {}", reply.place);
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            client.query("BEGIN READ ONLY").await;
            let reply = client.query(COUNT).await;
            client.query("COMMIT").await;
            let quiet = declared == "primary off" && reply.place.is_empty();
            assert!(quiet || reply.place == declared, "{lines:?}: {}", reply.place);
        }
    }
}

tests! {
    on both: [a_client_reads_what_it_wrote, nobody_hears_of_a_hot_standby, statements_are_where_they_are_needed],
    on 15: [
        a_changed_table_is_seen_at_once, a_client_may_ask_for_the_primary, a_pinned_client_stays_on_the_primary,
        an_operator_may_switch_it, pipelines_keep_their_order, settings_follow_to_the_standby,
    ]
}

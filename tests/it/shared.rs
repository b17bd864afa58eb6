//! Unnamed statements that repeat are prepared once for all: nobody can tell by the answers, and the servers do less.

use std::collections::BTreeMap;

use crate::support::proxy::value;
use crate::support::reads::{Lines, Reads};
use crate::support::wire::say;
use crate::support::*;
use tokio_postgres::types::Type;

/// Uses before a text is shared.
const AFTER: usize = 5;

async fn proxy(pg: &Servers, size: usize, more: &str) -> Proxy {
    let global = format!("workers = 1\ndefault_pool_size = {size}\nhttp_listen = '127.0.0.1:0'\n{more}");
    Setup::new(pg).global(&global).start().await
}

/// The batch of a driver that prepares nothing.
fn batch(sql: &str, parameters: &[&str]) -> Vec<u8> {
    let bind = say::bind("", "", parameters);
    [say::parse("", sql), bind, say::describe(b'P', ""), say::execute("", 0), say::sync()].concat()
}

/// Until the text is shared, and once more.
async fn repeat(wire: &mut Wire, sql: &str, parameters: &[&str]) -> String {
    let mut last = String::new();
    for _ in 0..AFTER + 1 {
        last = wire.ask(&[batch(sql, parameters)]).await;
    }
    last
}

/// How many statements the one server of the pool has of these texts.
async fn prepared(proxy: &Proxy, like: &str) -> String {
    value(&proxy.app().await, &format!("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '{like}'"))
        .await
}

fn sum(metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    metrics.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, value)| value).sum()
}

async fn counted(proxy: &Proxy, name: &str) -> f64 {
    sum(&http::metrics(proxy).await, name)
}

async fn a_text_that_repeats_is_parsed_once(pg: Servers) {
    let proxy = proxy(&pg, 1, "").await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    let sql = "SELECT $1::int + 1";
    for n in 0..20 {
        let wire = if n % 2 == 0 { &mut one } else { &mut two };
        let answer = wire.ask(&[batch(sql, &[&n.to_string()])]).await;
        assert_eq!(answer, format!("1 2 T D({}) C(SELECT 1) Z(I)", n + 1));
        assert_eq!(prepared(&proxy, "SELECT $1::int + %").await, if n < AFTER { "0" } else { "1" }, "use {n}");
    }
    let metrics = http::metrics(&proxy).await;
    let of = |name: &str| metrics.get(&format!("{name}{{database=\"test1\",user=\"app\"}}")).copied();
    assert_eq!(of("pgweir_pool_unnamed_shared_total"), Some(15.0));
    assert_eq!(sum(&metrics, "pgweir_pool_unnamed_unshared_total"), 0.0);
}

async fn with_0_nothing_is_shared(pg: Servers) {
    let proxy = proxy(&pg, 1, "share_unnamed_after = 0").await;
    let mut wire = Wire::login(&proxy).await;
    for _ in 0..3 {
        assert_eq!(repeat(&mut wire, "SELECT 7", &[]).await, "1 2 T D(7) C(SELECT 1) Z(I)");
    }
    assert_eq!(prepared(&proxy, "SELECT 7").await, "0");
}

/// Whatever is said behind this schema must be what PostgreSQL itself says, message by message.
async fn nothing_shows(pg: Servers) {
    let direct = pg.direct("test1").await;
    let table = format!("shared_{}_{}", pg.major, std::process::id());
    direct.batch_execute(&format!("CREATE TABLE {table} (a int); INSERT INTO {table} VALUES (1)")).await.expect("made");
    let grant = format!("GRANT ALL ON {table} TO app; GRANT app TO trust_user");
    direct.batch_execute(&grant).await.expect("granted");
    let proxy = proxy(&pg, 1, "").await;
    let mut through = Wire::login(&proxy).await;
    let mut straight = Wire::open(pg.primary).await;
    straight.send(&say::startup(say::V3_0, &[("user", "trust_user"), ("database", "test1")])).await;
    straight.greet().await;
    assert_eq!(straight.query("SET ROLE app").await, "C(SET) Z(I)");
    let star = format!("SELECT * FROM {table}");
    let quiet = |sql: &str| [say::run(sql), say::sync()].concat();
    let whole = |sql: &str, parameters: &[&str]| {
        let (bind, describe) = (say::bind("", "", parameters), say::describe(b'S', ""));
        [say::parse("", sql), describe, bind, say::execute("", 0), say::sync()].concat()
    };
    let later = |parameters: &[&str]| [say::bind("", "", parameters), say::execute("", 0), say::sync()].concat();
    let number = "SELECT $1::int";
    let changes = [
        "SELECT 1".to_owned(),
        format!("ALTER TABLE {table} ADD b int DEFAULT 2"),
        format!("ALTER TABLE {table} ALTER a TYPE text"),
        format!("ALTER TABLE {table} DROP b"),
        format!("ALTER TABLE {table} RENAME TO {table}_gone"),
        format!("ALTER TABLE {table}_gone RENAME TO {table}"),
        format!("REVOKE ALL ON {table} FROM app"),
        format!("DROP TABLE {table}"),
    ];
    let mut said = Vec::new();
    for change in &changes {
        direct.batch_execute(change).await.expect("changed");
        for bytes in [
            batch(&star, &[]),
            quiet(&star),
            whole(&star, &[]),
            later(&[]),
            batch(number, &["7"]),
            batch(number, &["x"]),
            later(&["8"]),
            batch(number, &[]),
            batch(number, &["1", "2"]),
            whole(number, &["9"]),
            batch("SELECT 1/$1::int", &["0"]),
            say::query("SELECT 2"),
            later(&["8"]),
        ] {
            // Often enough that each is shared, and meets the change under its shared name.
            for _ in 0..AFTER + 2 {
                let mut answers = Vec::new();
                for wire in [&mut straight, &mut through] {
                    wire.send(&bytes).await;
                    let frames = wire.answers().await;
                    let all = frames.iter().map(|frame| match frame.tag {
                        b'E' => format!("{frame} {} {}", frame.field(b'M'), frame.field(b'P')),
                        b'T' | b't' => format!("{frame} {:?}", frame.body),
                        _ => frame.to_string(),
                    });
                    answers.push(all.collect::<Vec<_>>());
                }
                let shown = String::from_utf8_lossy(&bytes).replace('\0', "·");
                assert_eq!(answers[1], answers[0], "behind {change}: {shown}");
                said.push(answers.pop());
            }
        }
    }
    assert!(counted(&proxy, "pgweir_pool_unnamed_shared_total").await > 100.0);
    let refused = "pgweir_pool_unnamed_unshared_total{database=\"test1\",user=\"app\",reason=\"refused\"}";
    assert!(http::metrics(&proxy).await[refused] >= 4.0, "changes were met");
}

async fn types_keep_equal_texts_apart(pg: Servers) {
    let proxy = proxy(&pg, 1, "").await;
    let client = proxy.app().await;
    for _ in 0..10 {
        let row = client.query_typed("SELECT pg_typeof($1)::text", &[(&1_i32, Type::INT4)]).await.expect("a row");
        assert_eq!(row[0].get::<_, String>(0), "integer");
        let row = client.query_typed("SELECT pg_typeof($1)::text", &[(&1_i64, Type::INT8)]).await.expect("a row");
        assert_eq!(row[0].get::<_, String>(0), "bigint");
    }
    assert_eq!(prepared(&proxy, "SELECT pg_typeof%").await, "2");
}

/// A literal is read when its statement is parsed.
async fn literals_are_read_by_each_clients_settings(pg: Servers) {
    let proxy = proxy(&pg, 1, "").await;
    let mut wires = Vec::new();
    for (zone, hour) in [("UTC", "12"), ("Asia/Tokyo", "3")] {
        let parameters = [("user", "app"), ("database", "test1"), ("TimeZone", zone)];
        wires.push((Wire::login_with(&proxy, say::V3_0, &parameters).await, hour));
    }
    let sql = "SELECT extract(hour FROM '2024-01-02 12:00'::timestamptz AT TIME ZONE 'UTC')::int";
    for (wire, _) in &mut wires {
        assert_eq!(wire.ask(&[say::parse("named", sql), say::sync()]).await, "1 Z(I)");
    }
    for _ in 0..AFTER + 2 {
        for (wire, hour) in &mut wires {
            let answer = wire.ask(&[batch(sql, &[])]).await;
            assert_eq!(answer, format!("1 2 T D({hour}) C(SELECT 1) Z(I)"));
            let answer = wire.ask(&[say::bind("", "named", &[]), say::execute("", 0), say::sync()]).await;
            assert_eq!(answer, format!("2 D({hour}) C(SELECT 1) Z(I)"));
        }
    }
    let (wire, _) = &mut wires[0];
    for sql in ["SELECT 'now'::timestamptz > now() - interval '50 years'", "SELECT 'today'::date IS NULL"] {
        repeat(wire, sql, &[]).await;
    }
    assert_eq!(prepared(&proxy, "%''now''%").await, "0");
    assert_eq!(prepared(&proxy, "%''today''%").await, "0");
}

/// A table that comes in front of another one is seen, as PostgreSQL's own cache would not see it.
async fn names_are_looked_up_anew_behind_ddl(pg: Servers) {
    let direct = pg.direct("test1").await;
    let schema = format!("shadow_{}_{}", pg.major, std::process::id());
    let make = format!(
        "CREATE SCHEMA {schema}_1 AUTHORIZATION app; CREATE SCHEMA {schema}_2 AUTHORIZATION app;
         CREATE TABLE {schema}_2.t AS SELECT 'second' AS x; GRANT SELECT ON {schema}_2.t TO app"
    );
    direct.batch_execute(&make).await.expect("the schemas");
    let proxy = proxy(&pg, 2, "").await;
    let path = format!("{schema}_1,{schema}_2");
    let parameters = [("user", "app"), ("database", "test1"), ("search_path", path.as_str())];
    let mut wire = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    assert_eq!(repeat(&mut wire, "SELECT x FROM t", &[]).await, "1 2 T D(second) C(SELECT 1) Z(I)");
    let other = proxy.app().await;
    other.batch_execute(&format!("CREATE TABLE {schema}_1.t AS SELECT 'first' AS x")).await.expect("a table");
    assert_eq!(repeat(&mut wire, "SELECT x FROM t", &[]).await, "1 2 T D(first) C(SELECT 1) Z(I)");
    direct.batch_execute(&format!("DROP SCHEMA {schema}_1, {schema}_2 CASCADE")).await.expect("they go");
}

async fn transactions_pipelines_and_flushes_are_left_alone(pg: Servers) {
    let proxy = proxy(&pg, 1, "").await;
    let mut wire = Wire::login(&proxy).await;
    let sql = "SELECT 'left', $1::int";
    for _ in 0..2 * AFTER {
        assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
        assert_eq!(wire.ask(&[batch(sql, &["1"])]).await, "1 2 T D(left,1) C(SELECT 1) Z(T)");
        assert_eq!(wire.query("COMMIT").await, "C(COMMIT) Z(I)");
        wire.send(&[batch(sql, &["2"]), batch(sql, &["3"])].concat()).await;
        assert_eq!(wire.ready().await, "1 2 T D(left,2) C(SELECT 1) Z(I)");
        assert_eq!(wire.ready().await, "1 2 T D(left,3) C(SELECT 1) Z(I)");
        wire.send(&[say::parse("", sql), say::describe(b'S', ""), say::flush()].concat()).await;
        assert_eq!(wire.read(3).await, "1 t T");
        let rest = [say::bind("", "", &["4"]), say::execute("", 0), say::sync()];
        assert_eq!(wire.ask(&rest).await, "2 D(left,4) C(SELECT 1) Z(I)");
    }
    // The whole is seen while one of them runs: nothing of them is in it.
    let seen = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''left''%'";
    assert_eq!(wire.query(seen).await, "T D(0) C(SELECT 1) Z(I)");
}

async fn a_later_batch_finds_what_was_parsed(pg: Servers) {
    let proxy = proxy(&pg, 2, "").await;
    let mut wire = Wire::login(&proxy).await;
    let later = |n: &str| [say::bind("", "", &[n]), say::execute("", 0), say::sync()].concat();
    assert_eq!(repeat(&mut wire, "SELECT $1::int * 2", &["4"]).await, "1 2 T D(8) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[later("5")]).await, "2 D(10) C(SELECT 1) Z(I)");
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server that has it");
    assert_eq!(wire.ask(&[later("6")]).await, "2 D(12) C(SELECT 1) Z(I)");
    holder.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
    assert_eq!(wire.ask(&[later("7")]).await, "E(26000) Z(E)", "a simple query destroys it");
    assert_eq!(wire.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
    repeat(&mut wire, "SELECT $1::int * 2", &["4"]).await;
    assert_eq!(wire.ask(&[say::parse("", "SELEC"), say::sync()]).await, "E(42601) Z(I)");
    assert_eq!(wire.ask(&[later("7")]).await, "E(26000) Z(I)", "PostgreSQL drops it first");
}

/// PostgreSQL evaluates an immutable function once where it knows the value, and for each row where it plans for any.
async fn one_that_gets_slower_is_shared_no_more(pg: Servers) {
    let direct = pg.direct("test1").await;
    let name = format!("slow_{}_{}", pg.major, std::process::id());
    let function = format!(
        "CREATE FUNCTION {name}(int) RETURNS int IMMUTABLE COST 0.0001 LANGUAGE plpgsql AS
         'BEGIN PERFORM pg_sleep(0.001); RETURN $1; END'"
    );
    direct.batch_execute(&function).await.expect("a function");
    let proxy = proxy(&pg, 1, "").await;
    let mut wire = Wire::login(&proxy).await;
    let sql = format!("SELECT count(*) FROM generate_series(1, 20) n WHERE n = {name}($1)");
    let slower = "pgweir_pool_unnamed_unshared_total{database=\"test1\",user=\"app\",reason=\"slower\"}";
    let mut uses = 0;
    while http::metrics(&proxy).await[slower] == 0.0 {
        uses += 1;
        assert!(uses <= 500, "it stays shared");
        assert_eq!(wire.ask(&[batch(&sql, &["7"])]).await, "1 2 T D(1) C(SELECT 1) Z(I)");
    }
    assert!(uses > AFTER + 50, "after {uses} uses");
    let shared = counted(&proxy, "pgweir_pool_unnamed_shared_total").await;
    repeat(&mut wire, &sql, &["7"]).await;
    assert_eq!(counted(&proxy, "pgweir_pool_unnamed_shared_total").await, shared, "and it stays so");
    direct.batch_execute(&format!("DROP FUNCTION {name}")).await.expect("it goes");
}

async fn many_clients_of_two_workers_get_their_own_answers(pg: Servers) {
    let proxy = Setup::new(&pg).global("workers = 2\ndefault_pool_size = 3\nmax_prepared_statements = 3").start().await;
    let mut tasks = Vec::new();
    for (n, client) in proxy.apps(12).await.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            for round in 0..60_i32 {
                let sql = format!("SELECT $1 * {}", 1 + (n + round as usize) % 5);
                let rows = client.query_typed(&sql, &[(&round, Type::INT4)]).await.expect("a row");
                assert_eq!(rows[0].get::<_, i32>(0), round * (1 + (n as i32 + round) % 5));
            }
        }));
    }
    for task in tasks {
        soon("every client ends", task).await.expect("none fails");
    }
    let kept = value(&proxy.app().await, "SELECT count(*) FROM pg_prepared_statements").await;
    assert!((1..=3).contains(&kept.parse::<u32>().expect("a number")), "{kept}");
}

async fn on_standbys_too(pg: Servers) {
    let global = "workers = 1\nhttp_listen = '127.0.0.1:0'";
    let schema = "CREATE TABLE t (n int); INSERT INTO t VALUES (7)";
    let reads = Reads::with(pg, schema, Lines { global, ..Lines::default() }).await;
    let mut client = reads.client().await;
    for _ in 0..3 * AFTER {
        let reply = client.ask(&[batch("SELECT n FROM t WHERE n = $1", &["7"])]).await;
        assert_eq!((&*reply.place, &*reply.answer), ("standby select", "1 2 T D(7) C(SELECT 1) Z(I)"));
    }
    let shared = counted(&reads.proxy, "pgweir_pool_unnamed_shared_total").await;
    assert_eq!(shared, 2.0 * AFTER as f64);
    // A column more: the standby's plan is stale, and each answer is whole.
    let star = "SELECT * FROM t";
    for n in 0..3 * AFTER {
        if n == 2 * AFTER {
            reads.primary.batch_execute("ALTER TABLE t ADD m int DEFAULT 8").await.expect("changed");
            let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0";
            eventually("the standby has it", || async { value(&reads.standby, columns).await == "2" }).await;
        }
        let expected = if n < 2 * AFTER { "D(7)" } else { "D(7,8)" };
        let reply = client.ask(&[batch(star, &[])]).await;
        assert_eq!(reply.answer, format!("1 2 T {expected} C(SELECT 1) Z(I)"), "{n}: {}", reply.place);
    }
}

tests! {
    on both: [
        a_later_batch_finds_what_was_parsed, a_text_that_repeats_is_parsed_once, nothing_shows,
        literals_are_read_by_each_clients_settings, many_clients_of_two_workers_get_their_own_answers,
        names_are_looked_up_anew_behind_ddl, one_that_gets_slower_is_shared_no_more,
        transactions_pipelines_and_flushes_are_left_alone, types_keep_equal_texts_apart,
    ],
    on 15: [on_standbys_too, with_0_nothing_is_shared]
}

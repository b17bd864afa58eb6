//! `pinning`: what keeps a server is allowed, warned of or forbidden; and pins that last are named.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

/// Nothing that a refused statement would have left is there.
const LEFT: &str = "SELECT count(*) FROM (SELECT 1 FROM pg_listening_channels() UNION ALL \
    SELECT 1 FROM pg_prepared_statements WHERE from_sql UNION ALL \
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() UNION ALL \
    SELECT 1 WHERE to_regclass('pg_temp.mine') IS NOT NULL) AS left_over";

async fn forbidding(pg: &Servers, size: usize) -> Proxy {
    Setup::new(pg).global(&format!("pinning = 'forbid'\ndefault_pool_size = {size}")).start().await
}

async fn a_client_is_warned_of_what_pins(pg: Servers) {
    let proxy = Setup::new(&pg).global("pinning = 'warn'").start().await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query("CREATE TEMP TABLE mine (n int)")).await;
    let answer = wire.answers().await;
    assert_eq!(wire::line(&answer), "N(01000) C(CREATE TABLE) Z(I)");
    let [severity, text, hint] = [b'S', b'M', b'H'].map(|field| answer[0].field(field));
    assert_eq!((&*severity, text.contains("temp_table"), hint.is_empty()), ("WARNING", true, false), "{text}");
    proxy.wait_for_log("pinned: a statement keeps its server").await;
    // Its server is its own from now on.
    assert_eq!(wire.query("LISTEN mine").await, "C(LISTEN) Z(I)");
    let mut other = Wire::login(&proxy).await;
    let asked = [say::parse("l", "LISTEN mine"), say::bind("", "l", &[]), say::execute("", 0), say::sync()].concat();
    assert_eq!(other.ask(&[asked]).await, "1 N(01000) 2 C(LISTEN) Z(I)");
    assert_eq!(other.query("SELECT 1; SELECT 2").await, "T D(1) C(SELECT 1) T D(2) C(SELECT 1) Z(I)");
}

async fn what_would_pin_is_refused(pg: Servers) {
    let proxy = forbidding(&pg, 1).await;
    let (mut one, other) = (Wire::login(&proxy).await, proxy.app().await);
    for text in [
        "LISTEN mine",
        "CREATE TEMP TABLE mine (n int)",
        "SELECT pg_advisory_lock(7800)",
        "PREPARE mine AS SELECT 1; SELECT 1",
        "DO 'BEGIN END'",
        "SELECT 1; LISTEN mine",
        "BEGIN; CREATE TEMP TABLE mine (n int) ON COMMIT DROP; COMMIT",
    ] {
        one.send(&say::query(text)).await;
        let answer = one.answers().await;
        assert_eq!(wire::line(&answer), "E(0A000) Z(I)", "{text}");
        let [severity, said, hint] = [b'S', b'M', b'H'].map(|field| answer[0].field(field));
        assert_eq!((&*severity, said.contains("forbidden"), hint.is_empty()), ("ERROR", true, false), "{said}");
        assert_eq!(soon(text, value(&other, LEFT)).await, "0", "{text}");
        if !text.contains(';') {
            let batch = [say::run(text), say::run("SELECT 2"), say::sync(), say::run("SELECT 3"), say::sync()].concat();
            assert_eq!(one.ask(&[batch]).await, "E(0A000) Z(I)", "{text}: the rest of the batch is skipped");
            assert_eq!(one.ready().await, "1 2 D(3) C(SELECT 1) Z(I)", "{text}");
        }
        assert_eq!(soon(text, value(&other, LEFT)).await, "0", "{text}");
    }
    proxy.wait_for_log("refused: pinning is forbidden").await;
    let long = format!("SELECT 1 /* {} */", "x".repeat(1 << 20));
    assert_eq!(one.query(&long).await, "E(0A000) Z(I)");
    assert_eq!(one.ask(&[say::parse("long", &long), say::sync()]).await, "E(0A000) Z(I)");
    assert_eq!(one.ask(&[say::parse("", &long), say::sync()]).await, "E(0A000) Z(I)");
    assert_eq!(one.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

/// The server's transaction fails with the client's: what stands around the statement goes as PostgreSQL has it.
async fn a_refused_statement_fails_its_transaction(pg: Servers) {
    let proxy = forbidding(&pg, 1).await;
    let mut one = Wire::login(&proxy).await;
    let table = format!("refused_{}_{}", pg.major, std::process::id());
    one.query(&format!("CREATE TABLE {table} (n int)")).await;
    let insert = format!("INSERT INTO {table} VALUES (1)");
    let count = format!("SELECT count(*) FROM {table}");
    for begin in ["BEGIN", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE"] {
        one.query(begin).await;
        one.query(&insert).await;
        assert_eq!(one.query("LISTEN mine").await, "E(0A000) Z(E)");
        assert_eq!(one.query("LISTEN mine").await, "E(25P02) Z(E)");
        assert_eq!(one.query(&insert).await, "E(25P02) Z(E)");
        assert_eq!(one.query("COMMIT").await, "C(ROLLBACK) Z(I)");
        assert_eq!(one.query(&count).await, "T D(0) C(SELECT 1) Z(I)");
    }
    // At the very beginning, and behind a savepoint.
    one.query("BEGIN").await;
    assert_eq!(one.query("LISTEN mine").await, "E(0A000) Z(E)");
    one.query("ROLLBACK").await;
    for text in ["BEGIN", &insert, "SAVEPOINT a"] {
        one.query(text).await;
    }
    assert_eq!(one.query("SELECT pg_advisory_lock(7801)").await, "E(0A000) Z(E)");
    assert_eq!(one.query("ROLLBACK TO a").await, "C(ROLLBACK) Z(T)");
    assert_eq!(one.query("COMMIT").await, "C(COMMIT) Z(I)");
    assert_eq!(one.query(&count).await, "T D(1) C(SELECT 1) Z(I)");
    // A pipeline without a transaction of its own is one up to its Sync.
    let batch = [say::run(&insert), say::run("LISTEN mine"), say::run(&insert), say::sync()].concat();
    assert_eq!(one.ask(&[batch]).await, "1 2 C(INSERT 0 1) E(0A000) Z(I)");
    assert_eq!(one.query(&count).await, "T D(1) C(SELECT 1) Z(I)");
    one.query(&format!("DROP TABLE {table}")).await;
}

async fn what_is_followed_is_not_refused(pg: Servers) {
    let proxy = forbidding(&pg, 1).await;
    let (one, other) = (proxy.app().await, proxy.app().await);
    for text in [
        "SET work_mem = '5MB'",
        "SET TimeZone TO 'Asia/Tokyo'; SET search_path = public",
        "SELECT set_config('app.user', 'ann', false)",
        "BEGIN; SET LOCAL work_mem = '6MB'; SELECT pg_advisory_xact_lock(7802); COMMIT",
        "BEGIN; DECLARE mine CURSOR FOR SELECT 1; FETCH mine; COMMIT",
    ] {
        one.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let _ = soon(text, backend(&other)).await;
    }
    assert_eq!(value(&one, "SHOW work_mem").await, "5MB");
    assert_eq!(value(&one, "SELECT current_setting('app.user')").await, "ann");
    let statement = one.prepare("SELECT 1").await.expect("prepared");
    assert_eq!(one.query(&statement, &[]).await.expect("a row").len(), 1);
    for text in ["DISCARD ALL", "RESET ALL", "DEALLOCATE ALL"] {
        one.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
    assert_eq!(value(&other, "SHOW work_mem").await, "4MB");
}

/// Each database has its own, and SIGHUP changes it; what is pinned stays so.
async fn a_reload_changes_it(pg: Servers) {
    let setup = |mode: &str| {
        let lines = format!("pinning = '{mode}'\ndbname = 'test1'");
        Setup::new(&pg).global("pinning = 'forbid'").database("test1", &lines).database("test2", "")
    };
    let mut proxy = setup("allow").start().await;
    let (mut pinned, mut free) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    let mut elsewhere = Wire::login_with(&proxy, say::V3_0, &[("user", "app"), ("database", "test2")]).await;
    assert_eq!(elsewhere.query("LISTEN mine").await, "E(0A000) Z(I)");
    assert_eq!(pinned.query("CREATE TEMP TABLE mine (n int)").await, "C(CREATE TABLE) Z(I)");
    assert_eq!(free.ask(&[say::parse("l", "LISTEN mine"), say::sync()]).await, "1 Z(I)");
    proxy.reload(setup("forbid")).await;
    assert_eq!(free.query("LISTEN mine").await, "E(0A000) Z(I)");
    let bound = [say::bind("", "l", &[]), say::execute("", 0), say::sync()].concat();
    assert_eq!(free.ask(std::slice::from_ref(&bound)).await, "E(0A000) Z(I)", "it was prepared before");
    assert_eq!(pinned.query("LISTEN mine; INSERT INTO mine VALUES (1)").await, "C(LISTEN) C(INSERT 0 1) Z(I)");
    assert_eq!(pinned.query("UNLISTEN mine; DROP TABLE mine").await, "C(UNLISTEN) C(DROP TABLE) Z(I)");
    // The pin ends once the server was asked, and that is before the next statement that is not sent with it.
    assert_eq!(pinned.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(pinned.query("LISTEN mine").await, "E(0A000) Z(I)");
    proxy.reload(setup("warn")).await;
    assert_eq!(free.ask(&[bound]).await, "N(01000) 2 C(LISTEN) Z(I)");
}

async fn a_pin_that_lasts_is_named_once(pg: Servers) {
    let lines = "admin_users = 'postgres'\npin_warn_after = '100ms'";
    let proxy = Setup::new(&pg).global(lines).start().await;
    let client = proxy.app().await;
    client.batch_execute("CREATE TEMP TABLE mine (n int)").await.expect("a table");
    proxy.wait_for_log("kept its server for long").await;
    let log = proxy.log();
    let line = log.lines().find(|line| line.contains("kept its server for long")).expect("the line");
    assert!(line.contains("temp_table") && line.contains("test1") && line.contains("seconds"), "{line}");
    let console = proxy.connect("postgres", "pgbouncer").await;
    let row = console.simple_query("SHOW PINNED").await.expect("rows");
    let row = row.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => Some((row.get("reason"), row.get("long"))),
        _ => None,
    });
    assert_eq!(row, Some((Some("temp_table"), Some("1"))));
    // The janitor looks again, each second.
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(proxy.log().matches("kept its server for long").count(), 1);
}

tests! {
    on both: [a_refused_statement_fails_its_transaction, what_would_pin_is_refused],
    on 15: [
        a_client_is_warned_of_what_pins, a_pin_that_lasts_is_named_once, a_reload_changes_it, what_is_followed_is_not_refused,
    ]
}

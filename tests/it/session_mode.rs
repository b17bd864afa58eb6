//! A session keeps its server from its first statement to its end, and everything in it is its own.

use crate::support::proxy::{backend, value};
use crate::support::wire::{cancel, say};
use crate::support::*;

fn session(pg: &Servers) -> Setup {
    Setup::new(pg).global("pool_mode = 'session'\ndefault_pool_size = 1")
}

async fn everything_stays(pg: Servers) {
    let proxy = session(&pg).start().await;
    let client = proxy.app().await;
    let pid = backend(&client).await;
    client
        .batch_execute(
            "SET work_mem = '77MB'; SET TimeZone = 'Asia/Tokyo'; CREATE TEMP TABLE mine (n int); \
             PREPARE p AS SELECT 7; SELECT pg_advisory_lock(7710); LISTEN mine; \
             DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)",
        )
        .await
        .expect("a session's state");
    for (sql, expected) in [
        ("SHOW work_mem", "77MB"),
        ("SHOW TimeZone", "Asia/Tokyo"),
        ("SELECT count(*) FROM mine", "0"),
        ("EXECUTE p", "7"),
        ("FETCH c", "1"),
        ("FETCH c", "2"),
        ("SELECT pg_advisory_unlock(7710)", "t"),
    ] {
        assert_eq!(value(&client, sql).await, expected, "{sql}");
    }
    assert_eq!(backend(&client).await, pid);
}

async fn names_of_statements_are_the_clients(pg: Servers) {
    let proxy = session(&pg).start().await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[say::parse("mine", "SELECT 1"), say::sync()]).await, "1 Z(I)");
    assert_eq!(wire.query("EXECUTE mine").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[say::parse("mine", "SELECT 1"), say::sync()]).await, "E(42P05) Z(I)");
    assert_eq!(wire.query("DEALLOCATE mine").await, "C(DEALLOCATE) Z(I)");
    assert_eq!(wire.ask(&[say::bind("", "mine", &[]), say::sync()]).await, "E(26000) Z(I)");
    // The unnamed statement is an ordinary one.
    assert_eq!(wire.ask(&[say::parse("", "SELECT 2"), say::sync()]).await, "1 Z(I)");
    assert_eq!(wire.ask(&[say::bind("", "", &[]), say::execute("", 0), say::sync()]).await, "2 D(2) C(SELECT 1) Z(I)");
}

async fn startup_settings_hold_and_reset_leads_back_to_them(pg: Servers) {
    let proxy = session(&pg).start().await;
    let parameters = [("user", "app"), ("database", "test1"), ("TimeZone", "Asia/Tokyo"), ("work_mem", "9MB")];
    let mut wire = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    assert!(wire.query("SHOW TimeZone").await.contains("D(Asia/Tokyo)"));
    assert!(wire.query("SHOW work_mem").await.contains("D(9MB)"));
    drop(wire);
    let mut plain = Wire::login(&proxy).await;
    assert!(plain.query("SHOW TimeZone").await.contains("D(UTC)"));
    assert!(!plain.query("SHOW work_mem").await.contains("D(9MB)"));
}

async fn a_left_transaction_is_rolled_back(pg: Servers) {
    let proxy = session(&pg).start().await;
    let direct = pg.direct("test1").await;
    let table = format!("session_left_{}", std::process::id());
    direct.batch_execute(&format!("CREATE TABLE {table} (n int); GRANT ALL ON {table} TO app")).await.expect("a table");
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query(&format!("BEGIN; INSERT INTO {table} VALUES (1)")).await, "C(BEGIN) C(INSERT 0 1) Z(T)");
    let pid = proxy.servers(&direct).await[0].pid;
    drop(wire);
    let client = proxy.app().await;
    assert_eq!(backend(&client).await, pid, "the server is cleaned and kept");
    assert_eq!(value(&client, &format!("SELECT count(*) FROM {table}")).await, "0");
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

async fn the_reset_query_is_the_operators(pg: Servers) {
    for (query, left) in [("", "77MB"), ("RESET ALL", "4MB"), ("SET work_mem = '5MB'", "5MB")] {
        let proxy = session(&pg).global(&format!("server_reset_query = \"{query}\"")).start().await;
        let one = proxy.app().await;
        let pid = backend(&one).await;
        one.batch_execute("SET work_mem = '77MB'").await.expect("a setting");
        drop(one);
        let two = proxy.app().await;
        assert_eq!(value(&two, "SHOW work_mem").await, left, "{query}");
        assert_eq!(backend(&two).await, pid, "{query}");
    }
}

async fn a_reset_that_fails_costs_the_server(pg: Servers) {
    let proxy = session(&pg).global("server_reset_query = 'SELEC'").start().await;
    let one = proxy.app().await;
    let pid = backend(&one).await;
    drop(one);
    assert_ne!(backend(&proxy.app().await).await, pid);
}

async fn a_query_is_cancelled(pg: Servers) {
    let proxy = session(&pg).start().await;
    let direct = pg.direct("test1").await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    cancel(proxy.port, &wire.key()).await;
    wire.send(&say::query("SELECT pg_sleep(1000)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    cancel(proxy.port, &wire.key()).await;
    assert_eq!(wire.ready().await, "T E(57014) Z(I)");
    assert_eq!(wire.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
}

tests! {
    on both: [everything_stays, names_of_statements_are_the_clients],
    on 15: [
        a_left_transaction_is_rolled_back, a_query_is_cancelled, a_reset_that_fails_costs_the_server,
        startup_settings_hold_and_reset_leads_back_to_them, the_reset_query_is_the_operators,
    ]
}

//! Settings that no server reports follow their client, in both protocols, with their transactions.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

/// A statement that sets something, a query that shows it, and what it then shows.
struct Set {
    by: &'static str,
    shown_by: &'static str,
    shown: &'static str,
}

const fn set(by: &'static str, shown_by: &'static str, shown: &'static str) -> Set {
    Set { by, shown_by, shown }
}

const WORK_MEM: &str = "SELECT current_setting('work_mem')";
const PATH: &str = "SELECT current_setting('search_path')";

const SETS: &[Set] = &[
    set("SET work_mem = '77MB'", WORK_MEM, "77MB"),
    set("set SESSION Work_Mem to 78848", WORK_MEM, "77MB"),
    set("SELECT set_config('work_mem', '77MB', false)", WORK_MEM, "77MB"),
    set("SELECT pg_catalog . set_config ('work_mem', '77MB', FALSE)", WORK_MEM, "77MB"),
    set("/* SELECT 1 */ SET work_mem = '77MB' -- as it were", WORK_MEM, "77MB"),
    set(
        "SET search_path = \"user\", \"$user\", pg_catalog, 'Other'",
        PATH,
        "\"user\", \"$user\", pg_catalog, \"Other\"",
    ),
    set("SET SCHEMA 'other'", PATH, "other"),
    set("SET enable_seqscan = OFF", "SELECT current_setting('enable_seqscan')", "off"),
    set("SET extra_float_digits = -3", "SELECT current_setting('extra_float_digits')", "-3"),
    set("SET app.user_id = '77'", "SELECT coalesce(current_setting('app.user_id', true), '')", "77"),
    set("SET ROLE pg_monitor", "SELECT current_user", "pg_monitor"),
    set(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, DEFERRABLE",
        "SELECT current_setting('transaction_isolation') || current_setting('transaction_deferrable')",
        "serializableon",
    ),
];

async fn sets_follow_their_client(pg: Servers) {
    let direct = pg.direct("test1").await;
    direct.batch_execute("GRANT pg_monitor TO app").await.expect("a role to change to");
    for Set { by, shown_by, shown } in SETS {
        let proxy = Proxy::of_size(&pg, 1).await;
        let [simple, extended, prepared, other] =
            [proxy.app().await, proxy.app().await, proxy.app().await, proxy.app().await];
        let default = value(&other, shown_by).await;
        assert_ne!(default, *shown, "{by} shows nothing");
        simple.simple_query(by).await.unwrap_or_else(|error| panic!("{by}: {error:?}"));
        extended.query_typed(by, &[]).await.unwrap_or_else(|error| panic!("{by}: {error:?}"));
        let statement = prepared.prepare(by).await.unwrap_or_else(|error| panic!("{by}: {error:?}"));
        assert_eq!(value(&prepared, shown_by).await, default, "{by}, prepared and not yet executed");
        prepared.query(&statement, &[]).await.unwrap_or_else(|error| panic!("{by}: {error:?}"));
        let pid = backend(&other).await;
        for _ in 0..2 {
            for (client, expected) in [(&simple, *shown), (&other, &default), (&extended, shown), (&prepared, shown)] {
                assert_eq!(value(client, shown_by).await, expected, "{by}");
                assert_eq!(backend(client).await, pid, "{by} pins");
            }
        }
    }
}

/// What each step leaves in the session, for this client and never for the other.
async fn sets_end_as_their_transaction_ends(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut wire, mut other) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    let shown = |value: &str| format!("T D({value}) C(SHOW) Z(I)");
    for (steps, left) in [
        (&["SET work_mem = '5MB'"][..], "5MB"),
        (&["BEGIN", "SET work_mem = '6MB'", "ROLLBACK"], "5MB"),
        (&["BEGIN", "SET work_mem = '6MB'", "SELECT 1/0", "COMMIT"], "5MB"),
        (&["SET work_mem = '6MB'; SET work_mem = 'much'"], "5MB"),
        (&["BEGIN", "SET work_mem = '6MB'", "SET LOCAL work_mem = '7MB'", "COMMIT"], "6MB"),
        (&["BEGIN", "SET work_mem = '7MB'", "COMMIT AND CHAIN", "SET work_mem = '8MB'", "ABORT"], "7MB"),
        (&["BEGIN; SAVEPOINT a", "ROLLBACK TO a", "SET work_mem = '8MB'", "RELEASE a", "COMMIT"], "8MB"),
        (&["RESET work_mem"], "4MB"),
        (&["SET work_mem = '5MB'; SET lock_timeout = 1; RESET work_mem"], "4MB"),
    ] {
        for step in steps {
            assert!(wire.query(step).await.contains("Z("), "{step}");
        }
        assert_eq!(wire.query("SHOW work_mem").await, shown(left), "{steps:?}");
        assert_eq!(other.query("SHOW work_mem").await, shown("4MB"), "{steps:?}");
    }
    let batch = [say::run("SET work_mem = '9MB'"), say::run("SELECT 1/0"), say::sync()].concat();
    assert!(wire.ask(&[batch]).await.ends_with("E(22012) Z(I)"));
    assert_eq!(other.query("SHOW work_mem").await, shown("4MB"));
    assert_eq!(wire.query("SHOW work_mem").await, shown("4MB"));
    let skipped = [say::run("SELECT 1/0"), say::run("SET work_mem = '9MB'"), say::sync()].concat();
    let taken = [say::run("SET work_mem = '10MB'"), say::sync()].concat();
    wire.send(&[skipped, taken].concat()).await;
    assert!(wire.ready().await.ends_with("E(22012) Z(I)"));
    assert!(wire.ready().await.ends_with("C(SET) Z(I)"));
    assert_eq!(other.query("SHOW work_mem").await, shown("4MB"));
    assert_eq!(wire.query("SHOW work_mem").await, shown("10MB"));
}

/// Behind a savepoint nobody can tell: the server stays.
async fn a_savepoint_that_is_rolled_back_to_pins(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let (one, other) = (proxy.app().await, proxy.app().await);
    for step in ["BEGIN", "SAVEPOINT a", "SET work_mem = '9MB'", "ROLLBACK TO a", "COMMIT"] {
        one.batch_execute(step).await.expect(step);
    }
    let pid = backend(&one).await;
    for _ in 0..3 {
        assert_ne!(backend(&other).await, pid);
        assert_eq!((value(&one, "SHOW work_mem").await, backend(&one).await), ("4MB".to_owned(), pid));
    }
}

/// A role that is gone: nothing of what the client sent runs as another one.
async fn a_setting_that_is_refused_runs_nothing(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let (role, table) = (format!("passing_{}", pg.major), format!("refused_{}", pg.major));
    direct
        .batch_execute(&format!(
            "CREATE ROLE {role}; GRANT {role} TO app; CREATE TABLE {table} (n int); GRANT ALL ON {table} TO app"
        ))
        .await
        .expect("a role");
    let (mut wire, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(wire.query(&format!("SET ROLE {role}")).await, "C(SET) Z(I)");
    assert_eq!(value(&other, "SELECT current_user").await, "app");
    direct.batch_execute(&format!("DROP ROLE {role}")).await.expect("it goes");
    wire.send(&say::query(&format!("INSERT INTO {table} VALUES (1)"))).await;
    let words = wire.last_words().await;
    assert!(words.starts_with("FATAL 22023"), "{words}");
    let sql = format!("SELECT count(*) FROM {table}");
    assert_eq!(value(&direct, &sql).await, "0");
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

/// RESET ALL leads back settings, not who the client is.
async fn a_role_outlasts_reset_all(pg: Servers) {
    let direct = pg.direct("test1").await;
    direct.batch_execute("GRANT pg_monitor TO app").await.expect("a role to change to");
    let proxy = Proxy::of_size(&pg, 1).await;
    let (one, other) = (proxy.app().await, proxy.app().await);
    let user = "SELECT current_user";
    for (sql, left) in [
        ("RESET ALL", "pg_monitor"),
        ("SELECT 1; RESET ALL", "pg_monitor"),
        ("BEGIN; RESET ALL; COMMIT; RESET ALL", "pg_monitor"),
        ("DISCARD ALL", "app"),
    ] {
        one.batch_execute("SET ROLE pg_monitor").await.expect("a role");
        one.batch_execute(sql).await.expect(sql);
        // What RESET pins for is over by now.
        one.batch_execute("RESET ALL").await.expect("once more");
        assert_eq!(value(&one, user).await, left, "{sql}");
        assert_eq!(value(&other, user).await, "app", "{sql}");
        assert_eq!(value(&one, user).await, left, "{sql}");
        one.batch_execute("DISCARD ALL").await.expect("nothing is left");
    }
}

tests! {
    on both: [sets_follow_their_client, sets_end_as_their_transaction_ends],
    on 15: [
        a_role_outlasts_reset_all, a_savepoint_that_is_rolled_back_to_pins, a_setting_that_is_refused_runs_nothing,
    ]
}

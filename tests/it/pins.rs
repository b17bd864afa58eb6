//! No session state crosses from one client to another: what cannot follow its client pins the server, which is closed
//! when that client leaves.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;
use tokio_postgres::Client;

/// One kind of session state: the statement that makes it, and a query that sees it (`t`) or not (`f`).
struct State {
    made_by: &'static str,
    seen_by: &'static str,
}

const fn state(made_by: &'static str, seen_by: &'static str) -> State {
    State { made_by, seen_by }
}

const SECRET: &str = "SELECT current_setting('work_mem') = '77MB'";

const STATES: &[State] = &[
    state("UPDATE pg_settings SET setting = '78848' WHERE name = 'work_mem'", SECRET),
    state("BEGIN; SET work_mem = '77MB'; COMMIT", SECRET),
    state("DO $$ BEGIN PERFORM set_config('work_mem', '77MB', false); END $$", SECRET),
    state("SELECT set_config('work_mem', '77' || 'MB', false)", SECRET),
    state("SET SESSION AUTHORIZATION app", "SELECT pg_backend_pid() = 0"),
    state("PREPARE mine AS SELECT 1; SELECT 1", "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'mine'"),
    state("LISTEN mine", "SELECT count(*) > 0 FROM pg_listening_channels()"),
    state("CREATE TEMP TABLE mine (n int)", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("CREATE LOCAL TEMPORARY TABLE mine (n int)", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("CREATE TABLE pg_temp.mine (n int)", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("CREATE TEMP VIEW mine AS SELECT 1", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("CREATE TEMP SEQUENCE mine", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("SELECT 1 AS n INTO TEMP mine", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state("CREATE TEMP TABLE mine AS SELECT 1", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
    state(
        "SELECT pg_advisory_lock(7700)",
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7700 AND pid = pg_backend_pid()",
    ),
    state(
        "SELECT pg_try_advisory_lock_shared(7701)",
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7701 AND pid = pg_backend_pid()",
    ),
    state(
        "BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'mine'",
    ),
    state("LOAD 'auto_explain'", "SELECT count(*) > 0 FROM pg_settings WHERE name = 'auto_explain.log_analyze'"),
];

/// Two servers, three clients: whatever the first does, the others see none of it while it is there and after it left.
async fn nothing_crosses(pg: Servers) {
    let direct = pg.direct("test1").await;
    for State { made_by, seen_by } in STATES {
        let proxy = Proxy::of_size(&pg, 2).await;
        if made_by.starts_with("LOAD") && direct.batch_execute(made_by).await.is_err() {
            continue; // No contrib modules here.
        }
        let user = if made_by.starts_with("LOAD") { "postgres" } else { "app" };
        let owner = proxy.connect(user, "test1").await;
        let others = [proxy.connect(user, "test1").await, proxy.connect(user, "test1").await];
        owner.simple_query(made_by).await.unwrap_or_else(|error| panic!("{made_by}: {error:?}"));
        let pinned = backend(&owner).await;
        for other in &others {
            for _ in 0..3 {
                assert_eq!(value(other, seen_by).await, "f", "{made_by} is seen by another client");
                assert_ne!(backend(other).await, pinned, "{made_by} does not pin");
                assert_eq!(backend(&owner).await, pinned, "{made_by} loses its server");
            }
        }
        drop(owner);
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pinned}");
        eventually("the pinned server is closed", || async { value(&direct, &sql).await == "0" }).await;
        for other in others {
            assert_eq!(value(&other, seen_by).await, "f", "{made_by} outlives its client");
        }
    }
}

/// The same state by the extended protocol.
async fn nothing_crosses_in_the_extended_protocol(pg: Servers) {
    let direct = pg.direct("test1").await;
    for State { made_by, seen_by } in STATES.iter().filter(|state| !state.made_by.contains("; ")) {
        if made_by.starts_with("LOAD") {
            continue;
        }
        let proxy = Proxy::of_size(&pg, 1).await;
        let owner = proxy.app().await;
        owner.query(*made_by, &[]).await.unwrap_or_else(|error| panic!("{made_by}: {error:?}"));
        let pinned = backend(&owner).await;
        drop(owner);
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pinned}");
        eventually("the pinned server is closed", || async { value(&direct, &sql).await == "0" }).await;
        assert_eq!(value(&proxy.app().await, seen_by).await, "f", "{made_by} outlives its client");
    }
}

/// The pin of a Parse ends when the server is asked: what is executed later pins anew.
async fn what_was_parsed_before_pins_when_it_is_bound(pg: Servers) {
    for name in ["", "named"] {
        for State { made_by, seen_by } in STATES.iter().filter(|state| !state.made_by.contains("; ")) {
            if made_by.starts_with("LOAD") {
                continue;
            }
            let proxy = Proxy::of_size(&pg, 2).await;
            let (mut owner, other) = (Wire::login(&proxy).await, proxy.app().await);
            let prepared = [say::parse(name, made_by), say::describe(b'S', name), say::sync()].concat();
            assert!(owner.ask(&[prepared]).await.ends_with("Z(I)"), "{made_by}");
            for _ in 0..3 {
                assert_eq!(value(&other, seen_by).await, "f", "{made_by} of {name:?} is seen before it was made");
            }
            let bound = [say::bind("", name, &[]), say::execute("", 0), say::sync()].concat();
            assert!(owner.ask(&[bound]).await.ends_with("Z(I)"), "{made_by}");
            for _ in 0..3 {
                assert_eq!(value(&other, seen_by).await, "f", "{made_by} of {name:?} is seen by another client");
            }
        }
    }
}

async fn what_is_only_parsed_keeps_no_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut owner, other) = (Wire::login(&proxy).await, proxy.app().await);
    for name in ["", "named"] {
        for made_by in ["LISTEN mine", "DO 'BEGIN END'", "LOAD 'auto_explain'", "SELECT pg_advisory_lock(7720)"] {
            let prepared = [say::parse(name, made_by), say::describe(b'S', name), say::sync()].concat();
            assert!(owner.ask(&[prepared]).await.ends_with("Z(I)"), "{made_by}");
            soon(made_by, other.batch_execute("SELECT 1; SELECT 2")).await.expect("the only server");
            let close = [say::close(b'S', name), say::sync()].concat();
            assert_eq!(owner.ask(&[close]).await, "3 Z(I)");
        }
    }
}

/// A statement that pins, and one that ends what it made.
const ENDS: &[(&str, &str)] = &[
    ("CREATE TEMP TABLE mine (n int)", "DROP TABLE mine"),
    ("CREATE TEMP TABLE mine (n int)", "DISCARD TEMP"),
    ("CREATE TEMP SEQUENCE mine", "DROP SEQUENCE pg_temp.mine"),
    ("CREATE TABLE pg_temp.mine AS SELECT 1", "DISCARD ALL"),
    ("CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION pg_temp.mine"),
    ("PREPARE mine AS SELECT 1; SELECT 1", "DEALLOCATE mine"),
    ("PREPARE mine AS SELECT 1; SELECT 1", "DEALLOCATE ALL"),
    ("LISTEN mine", "UNLISTEN mine"),
    ("LISTEN mine", "UNLISTEN *"),
    ("SELECT pg_advisory_lock(7710)", "SELECT pg_advisory_unlock(7710)"),
    ("SELECT pg_try_advisory_lock(7711)", "SELECT pg_advisory_unlock_all()"),
    ("SELECT pg_advisory_lock(7712), set_config('work_mem', '7' || 'MB', false)", "DISCARD ALL"),
    ("BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT", "CLOSE mine"),
];

async fn a_pin_ends_with_what_pins(pg: Servers) {
    for (made_by, ended_by) in ENDS {
        let proxy = Proxy::of_size(&pg, 2).await;
        let (owner, other) = (proxy.app().await, proxy.app().await);
        owner.simple_query(made_by).await.unwrap_or_else(|error| panic!("{made_by}: {error:?}"));
        let pinned = backend(&owner).await;
        // In the queue there is one server for two, as long as the pin lasts.
        assert_ne!(backend(&other).await, pinned, "{made_by} does not pin");
        assert_eq!(backend(&owner).await, pinned, "{made_by} loses its server");
        owner.simple_query(ended_by).await.unwrap_or_else(|error| panic!("{ended_by}: {error:?}"));
        let held = proxy.app().await;
        // One server is busy: who asks gets the other one, which is the owner's no more.
        eventually(&format!("the pin ends: {made_by}; {ended_by}"), || async {
            held.batch_execute("BEGIN").await.expect("a transaction");
            let _ = backend(&held).await;
            let free = tokio::time::timeout(std::time::Duration::from_millis(200), backend(&other)).await;
            let _ = held.batch_execute("ROLLBACK").await;
            free.is_ok()
        })
        .await;
        assert_eq!(value(&owner, "SHOW work_mem").await, "4MB");
    }
}

/// What is sent behind a DISCARD ALL before that is answered is not discarded.
async fn what_stands_behind_discard_all_pins(pg: Servers) {
    let create = "CREATE TEMP TABLE mine (n int)";
    let extended = [say::run("DISCARD ALL"), say::run(create), say::sync()].concat();
    let simple = [say::query("DISCARD ALL"), say::query(create)].concat();
    for (bytes, answers) in [(extended, 1), (simple, 2)] {
        let proxy = Proxy::of_size(&pg, 1).await;
        let mut owner = Wire::login(&proxy).await;
        owner.query("LISTEN mine").await;
        owner.send(&bytes).await;
        for _ in 0..answers {
            owner.ready().await;
        }
        let waits = proxy.app().await;
        let asks = tokio::spawn(async move { value(&waits, "SELECT to_regclass('pg_temp.mine') IS NULL").await });
        assert_eq!(owner.query("SELECT count(*) FROM mine").await, "T D(0) C(SELECT 1) Z(I)");
        owner.query("DROP TABLE mine").await;
        assert_eq!(soon("the pin ends", asks).await.expect("no panic"), "t");
    }
}

/// A text beyond what is read, unnamed and executed at once: the server is asked what it left. It must not fit into the
/// largest buffer, in which a shorter one may be there all at once, and is then read.
async fn a_long_text_is_asked_after(pg: Servers) {
    let long = |sql: &str| [say::run(&format!("{sql} -- {}", "x".repeat(200_000))), say::sync()].concat();
    let proxy = Proxy::of_size(&pg, 2).await;
    let (mut owner, other) = (Wire::login(&proxy).await, proxy.app().await);
    let pid = owner.query("SELECT pg_backend_pid()").await;
    owner.send(&long("CREATE TEMP TABLE mine AS SELECT 1 AS n")).await;
    assert!(owner.ready().await.ends_with("C(SELECT 1) Z(I)"));
    // The last one that came back is lent first: it did not come back.
    let others = value(&other, "SELECT pg_backend_pid()").await;
    assert!(!pid.contains(&format!("D({others})")), "it keeps {pid}");
    assert_eq!(owner.query("SELECT n FROM mine").await, "T D(1) C(SELECT 1) Z(I)");

    let proxy = Proxy::of_size(&pg, 1).await;
    let mut owner = Wire::login(&proxy).await;
    for (sql, ended_by) in [("CREATE TEMP TABLE mine AS SELECT 1 AS n", "DROP TABLE mine"), ("SELECT 2", "SELECT 3")] {
        owner.send(&long(sql)).await;
        owner.ready().await;
        owner.query(ended_by).await;
        let waits = proxy.app().await;
        let seen = soon("the pin ends", value(&waits, "SELECT to_regclass('pg_temp.mine') IS NULL")).await;
        assert_eq!(seen, "t", "{sql}");
    }
}

async fn what_never_came_to_be_pins_nothing(pg: Servers) {
    for (sql, seen_by) in [
        (
            "BEGIN; CREATE TEMP TABLE mine (n int) ON COMMIT DROP; COMMIT",
            "SELECT to_regclass('pg_temp.mine') IS NOT NULL",
        ),
        ("BEGIN; CREATE TEMP TABLE mine (n int); ROLLBACK", "SELECT to_regclass('pg_temp.mine') IS NOT NULL"),
        ("BEGIN; LISTEN mine; ROLLBACK", "SELECT count(*) > 0 FROM pg_listening_channels()"),
        ("SELECT pg_advisory_lock(7720), pg_advisory_unlock(7720)", "SELECT false"),
        ("PREPARE mine AS SELECT 1; DEALLOCATE mine", "SELECT count(*) > 0 FROM pg_prepared_statements WHERE from_sql"),
    ] {
        let proxy = Proxy::of_size(&pg, 1).await;
        let (one, other) = (proxy.app().await, proxy.app().await);
        one.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(soon(sql, value(&other, seen_by)).await, "f", "{sql}");
        assert_eq!(soon(sql, value(&one, seen_by)).await, "f", "{sql}");
    }
}

/// What cannot be told, or is left beside what was ended, pins on.
async fn a_pin_lasts_as_long_as_anything_is_left(pg: Servers) {
    for (made_by, not_ended_by) in [
        ("CREATE TEMP TABLE mine (n int); LISTEN mine", "DROP TABLE mine"),
        ("SELECT pg_advisory_lock(7730), pg_advisory_lock(7730)", "SELECT pg_advisory_unlock(7730)"),
        ("CREATE TEMP TABLE mine (n int); CREATE TEMP TABLE also (n int)", "DROP TABLE mine"),
        ("CREATE TEMP TABLE mine (n int); SELECT setseed(0.5)", "DISCARD ALL"),
        ("PREPARE mine AS SELECT 1; DO 'BEGIN END'", "DEALLOCATE ALL"),
        ("CREATE TEMP TABLE mine (n int)", "BEGIN; DROP TABLE mine; ROLLBACK"),
    ] {
        let proxy = Proxy::of_size(&pg, 2).await;
        let (owner, other) = (proxy.app().await, proxy.app().await);
        owner.batch_execute(made_by).await.unwrap_or_else(|error| panic!("{made_by}: {error:?}"));
        let pinned = backend(&owner).await;
        owner.simple_query(not_ended_by).await.unwrap_or_else(|error| panic!("{not_ended_by}: {error:?}"));
        for _ in 0..5 {
            assert_ne!(backend(&other).await, pinned, "{made_by}; {not_ended_by}");
            assert_eq!(backend(&owner).await, pinned, "{made_by}; {not_ended_by}");
        }
    }
}

async fn what_ends_with_its_transaction_does_not_pin(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let clients = proxy.apps(2).await;
    let pid = backend(&clients[0]).await;
    for sql in [
        "BEGIN; SET LOCAL work_mem = '77MB'; COMMIT",
        "SELECT set_config('work_mem', '77MB', true)",
        "SELECT pg_advisory_xact_lock(7702)",
        "BEGIN; DECLARE mine CURSOR FOR SELECT 1; COMMIT",
        "BEGIN; SET TRANSACTION READ ONLY; COMMIT",
        "NOTIFY mine",
        "SELECT 'SET work_mem'",
    ] {
        clients[0].batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let other = soon(sql, backend(&clients[1])).await;
        assert_eq!(other, pid, "{sql}");
    }
}

async fn a_listener_gets_its_notifications(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let channel = format!("channel_{}", std::process::id());
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query(&format!("LISTEN {channel}")).await, "C(LISTEN) Z(I)");
    let direct = pg.direct("test1").await;
    for _ in 0..3 {
        direct.batch_execute(&format!("NOTIFY {channel}")).await.expect("it is sent");
        assert_eq!(wire.read(1).await, "A");
    }
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

/// A sequence's last value is session state that an INSERT leaves unseen: it is forgotten before another client asks.
async fn sequence_values_do_not_cross(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let sequence = format!("crossing_{}_{}", pg.major, std::process::id());
    let (mut one, mut other) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    one.query(&format!("CREATE SEQUENCE {sequence} START 77")).await;
    let next = format!("SELECT nextval('{sequence}')");
    let current = format!("SELECT currval('{sequence}')");
    let mut last = 77;
    for read in ["SELECT lastval()", &current] {
        for extended in [false, true] {
            assert_eq!(one.query(&next).await, format!("T D({last}) C(SELECT 1) Z(I)"));
            let asked = if extended { [say::run(read), say::sync()].concat() } else { say::query(read) };
            let answer = other.ask(&[asked]).await;
            assert!(answer.ends_with("E(55000) Z(I)"), "{read}: {answer}");
            last += 1;
        }
    }
    // A statement that another loan has parsed is no way round it.
    one.query(&next).await;
    assert!(other.ask(&[say::parse("s", "SELECT lastval()"), say::sync()]).await.ends_with("Z(I)"));
    assert_eq!(one.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    let bound = [say::bind("", "s", &[]), say::execute("", 0), say::sync()].concat();
    one.query(&next).await;
    assert!(other.ask(&[bound]).await.ends_with("E(55000) Z(I)"));
    // In a transaction of its own each client finds its own.
    other.query("BEGIN").await;
    let mine = other.query(&next).await;
    assert_eq!(other.query("SELECT lastval()").await, mine.replace("Z(I)", "Z(T)"));
    other.query(&format!("COMMIT; DROP SEQUENCE {sequence}")).await;
}

async fn the_log_names_what_pinned(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let client: Client = proxy.app().await;
    client.batch_execute("CREATE TEMP TABLE mine ()").await.expect("a table");
    drop(client);
    proxy.wait_for_log("temp_table").await;
}

tests! {
    on both: [
        a_listener_gets_its_notifications, a_pin_ends_with_what_pins, nothing_crosses, sequence_values_do_not_cross,
    ],
    on 15: [
        a_long_text_is_asked_after, a_pin_lasts_as_long_as_anything_is_left, nothing_crosses_in_the_extended_protocol,
        the_log_names_what_pinned, what_ends_with_its_transaction_does_not_pin, what_is_only_parsed_keeps_no_server,
        what_never_came_to_be_pins_nothing, what_stands_behind_discard_all_pins,
        what_was_parsed_before_pins_when_it_is_bound,
    ]
}

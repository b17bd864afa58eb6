//! State that a function leaves without a word of it in the statement that calls it: its body says so, and the server
//! stays as long as anything is left.

use crate::support::proxy::value;
use crate::support::reads::{Lines, Reads, USER};
use crate::support::*;

/// A function's body in its language, what runs it, and a query that sees what it leaves (`t`) or not (`f`). `{}` stands
/// for the case's own name.
struct Case {
    made: &'static str,
    run: &'static str,
    seen: &'static str,
}

const fn case(made: &'static str, run: &'static str, seen: &'static str) -> Case {
    Case { made, run, seen }
}

const LOCKED: &str =
    "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = 7900";
const TEMPORARY: &str = "SELECT to_regclass('pg_temp.hidden_mine') IS NOT NULL";
const SET: &str = "SELECT current_setting('work_mem') = '79MB'";
const LISTENS: &str = "SELECT count(*) > 0 FROM pg_listening_channels()";

const CASES: &[Case] = &[
    case(
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(7900); END'",
        "SELECT {}()",
        LOCKED,
    ),
    case("CREATE FUNCTION {}() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(7900)'", "SELECT {}()", LOCKED),
    case(
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS 'BEGIN CREATE TEMP TABLE hidden_mine (n int); END'",
        "SELECT \"{}\"()",
        TEMPORARY,
    ),
    case(
        "CREATE FUNCTION {}() RETURNS text LANGUAGE sql AS $$SELECT set_config('work_mem', '79MB', false)$$",
        "WITH x AS (SELECT {}()) SELECT * FROM x",
        SET,
    ),
    case(
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS 'BEGIN\n  SET work_mem TO ''79MB'';\nEND'",
        "SELECT {}()",
        SET,
    ),
    case(
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS 'BEGIN EXECUTE ''LISTEN hidden''; END'",
        "SELECT {}()",
        LISTENS,
    ),
    case(
        "CREATE FUNCTION {}_inner() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(7900); END'; \
         CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM {}_inner(); END'",
        "SELECT {}()",
        LOCKED,
    ),
    case(
        "CREATE TABLE {} (n int); CREATE FUNCTION {}_f() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_advisory_lock(7900); RETURN new; END'; \
         CREATE TRIGGER t BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}_f()",
        "INSERT INTO {} VALUES (1)",
        LOCKED,
    ),
    case(
        "CREATE FUNCTION {}_f() RETURNS bool LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(7900); RETURN true; END'; \
         CREATE VIEW {} AS SELECT {}_f() AS locked",
        "SELECT * FROM {}",
        LOCKED,
    ),
    case(
        "CREATE FUNCTION {}_f() RETURNS int LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_lock(7900); RETURN 1; END'; \
         CREATE TABLE {} (n int DEFAULT {}_f(), m int)",
        "INSERT INTO {} (m) VALUES (1)",
        LOCKED,
    ),
];

/// Functions that leave nothing, or nothing for long.
const HARMLESS: &[(&str, &str)] = &[
    (
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN PERFORM set_config('app.tenant', concat('a', lower('B')), true), pg_advisory_xact_lock(7901); END$$",
        "SELECT {}()",
    ),
    (
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN UPDATE {}_t SET n = 1; SET LOCAL work_mem = '79MB'; END -- SET work_mem, pg_advisory_lock$$; \
         CREATE TABLE {}_t (n int)",
        "SELECT {}()",
    ),
    (
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN PERFORM pg_advisory_lock(7902); PERFORM pg_advisory_unlock(7902); END$$",
        "SELECT {}()",
    ),
    (
        "CREATE FUNCTION {}() RETURNS void LANGUAGE plpgsql AS \
         $$BEGIN CREATE TEMP TABLE hidden_mine (n int) ON COMMIT DROP; END$$",
        "SELECT {}()",
    ),
];

fn schema() -> String {
    let made = CASES.iter().map(|case| case.made).chain(HARMLESS.iter().map(|(made, _)| *made));
    made.enumerate().map(|(at, made)| made.replace("{}", &format!("c{at}"))).collect::<Vec<_>>().join(";\n")
}

async fn begun(client: &tokio_postgres::Client, sql: &str) -> String {
    client.batch_execute("BEGIN").await.expect("begun");
    let value = value(client, sql).await;
    client.batch_execute("COMMIT").await.expect("committed");
    value
}

async fn what_a_function_leaves_keeps_its_server(pg: Servers) {
    let reads = Reads::with(pg, &schema(), Lines { global: "default_pool_size = 2", ..Lines::default() }).await;
    for (at, Case { run, seen, .. }) in CASES.iter().enumerate() {
        let run = run.replace("{}", &format!("c{at}"));
        for extended in [false, true] {
            let (owner, other) = (reads.proxy.connect(USER, "test1").await, reads.proxy.connect(USER, "test1").await);
            let ran = match extended {
                false => owner.batch_execute(&run).await,
                true => owner.query(&run, &[]).await.map(|_| ()),
            };
            ran.unwrap_or_else(|error| panic!("{run}: {error:?}"));
            for _ in 0..3 {
                assert_eq!(begun(&other, seen).await, "f", "{run}: another client sees it");
            }
            assert_eq!(begun(&owner, seen).await, "t", "{run}: its client lost it");
        }
    }
}

async fn what_leaves_nothing_keeps_nothing(pg: Servers) {
    let reads = Reads::with(pg, &schema(), Lines { global: "default_pool_size = 1", ..Lines::default() }).await;
    let (one, other) = (reads.proxy.connect(USER, "test1").await, reads.proxy.connect(USER, "test1").await);
    for (at, (_, run)) in HARMLESS.iter().enumerate() {
        let run = run.replace("{}", &format!("c{}", CASES.len() + at));
        one.batch_execute(&run).await.unwrap_or_else(|error| panic!("{run}: {error:?}"));
        // There is one server for both.
        assert_eq!(soon(&run, begun(&other, "SELECT 1")).await, "1");
    }
}

tests! {
    on both: [what_a_function_leaves_keeps_its_server],
    on 15: [what_leaves_nothing_keeps_nothing]
}

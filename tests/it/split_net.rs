//! The net under the split: what a standby refuses, or does not live to answer, runs on the primary unseen, once.

use crate::support::reads::{Reads, Reply};
use crate::support::wire::{cancel, say};
use crate::support::*;

/// A function that is called STABLE, and writes where `n = at`.
const SCHEMA: &str = "
    CREATE TABLE log (n int);
    CREATE FUNCTION writes(n int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES (n); RETURN n; END $$;
    CREATE FUNCTION sly(n int, at int) RETURNS int LANGUAGE plpgsql STABLE AS
        $$ BEGIN IF n = at THEN PERFORM writes(n); END IF; RETURN n; END $$;";

const RERUN: &str = "standby select, primary rerun";

async fn written(reads: &Reads) -> i64 {
    let rows = reads.primary.query_one("SELECT count(*) FROM log", &[]).await;
    rows.expect("a count").get(0)
}

/// Refused at the first row, and in the middle of 2,000, within the first 8 kB.
async fn a_refused_read_runs_on_the_primary_once(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let texts = [
        "SELECT sly(1, 1)",
        "SELECT count(sly(g, 3)) FROM generate_series(1, 9) g",
        "SELECT sly(g, 300) FROM generate_series(1, 2000) g",
        "COPY (SELECT sly(g, 300) FROM generate_series(1, 2001) g) TO STDOUT",
        "WITH x AS MATERIALIZED (SELECT sly(g, 2) AS n FROM generate_series(1, 3) g) SELECT * FROM x",
    ];
    for in_extended in [false, true] {
        for sql in texts {
            let (mut truth, mut client) = (reads.truth().await, reads.client().await);
            // The texts of both protocols are remembered as the same one.
            let sql = if in_extended { format!("{sql} -- extended") } else { sql.to_owned() };
            client.settle().await;
            let before = written(&reads).await;
            let expected = if in_extended { truth.extended(&sql).await } else { truth.query(&sql).await };
            assert_eq!(written(&reads).await, before + 1, "{sql}");
            let reply = if in_extended { client.extended(&sql).await } else { client.query(&sql).await };
            assert_eq!(reply, Reply { place: RERUN.to_owned(), answer: expected.answer }, "{sql}");
            assert_eq!(written(&reads).await, before + 2, "{sql}");
            client.settle().await;
            let again = if in_extended { client.extended(&sql).await } else { client.query(&sql).await };
            assert_eq!(again.place, "primary refused_before", "{sql}");
            assert_eq!(written(&reads).await, before + 3, "{sql}");
        }
    }
}

/// Behind the first 8 kB it cannot be taken back: the client is told, and the next time it runs where it can.
async fn a_read_refused_too_late_is_an_error_once(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.settle().await;
    // It rests behind the first 8 kB, which are read by then.
    let sql = "SELECT sly(g, 1000) + length(pg_sleep(CASE g WHEN 900 THEN 1 ELSE 0 END)::text) \
               FROM generate_series(1, 2000) g";
    let reply = client.query(sql).await;
    assert_eq!(reply.place, "standby select");
    let end = " D(999) E(25006 cannot execute INSERT in a read-only transaction) Z(I)";
    assert!(reply.answer.ends_with(end), "{}", reply.answer);
    assert_eq!(written(&reads).await, 0);
    client.settle().await;
    let reply = client.query(sql).await;
    assert_eq!(reply.place, "primary refused_before");
    assert!(reply.answer.ends_with(" D(2000) C(SELECT 2000) Z(I)"), "{}", reply.answer);
    assert_eq!(written(&reads).await, 1);
}

async fn runs_on_the_standby(reads: &Reads, mark: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
               AND pid <> pg_backend_pid() AND strpos(query, $1) > 0";
    let running = || async { reads.standby.query_one(sql, &[&mark]).await.is_ok_and(|row| row.get::<_, i64>(0) == 1) };
    eventually("it runs on the standby", running).await;
}

async fn terminate_on_the_standby(reads: &Reads, mark: &str) {
    runs_on_the_standby(reads, mark).await;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND pid <> pg_backend_pid() AND strpos(query, $1) > 0";
    assert_eq!(reads.standby.query(sql, &[&mark]).await.expect("terminated").len(), 1);
}

async fn a_cancel_ends_it_where_it_runs(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for in_extended in [false, true] {
        let mut client = reads.client().await;
        client.settle().await;
        let sql = "SELECT pg_sleep(1000) /* cancelled */";
        let extended = [say::run(sql), say::sync()].concat();
        client.0.send(&if in_extended { extended } else { say::query(sql) }).await;
        runs_on_the_standby(&reads, "/* cancelled */").await;
        cancel(reads.proxy.port, &client.0.key()).await;
        let reply = client.reply().await;
        assert_eq!(reply.place, "standby select");
        assert!(reply.answer.ends_with("E(57014 canceling statement due to user request) Z(I)"), "{}", reply.answer);
        assert_eq!(client.query("SELECT 1").await.answer, "T D(1) C(SELECT 1) Z(I)");
    }
}

/// A cancel that the standby was told of counts on the primary, too, where the batch would run again.
async fn a_cancel_is_not_lost_between_two_servers(pg: Servers) {
    let stubborn = "CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN \
        PERFORM pg_sleep(1000); RETURN 1; EXCEPTION WHEN query_canceled THEN RETURN writes(1); END $$;";
    let reads = Reads::of(pg, &format!("{SCHEMA} {stubborn}")).await;
    for (begin, end) in [("", "I"), ("BEGIN READ ONLY", "E")] {
        let mut client = reads.client().await;
        client.settle().await;
        if !begin.is_empty() {
            client.query(begin).await;
        }
        let sql = format!("SELECT stubborn() /* cancelled {end} */");
        client.0.send(&say::query(&sql)).await;
        runs_on_the_standby(&reads, &format!("/* cancelled {end} */")).await;
        cancel(reads.proxy.port, &client.0.key()).await;
        let reply = client.reply().await;
        assert!(reply.place.ends_with("primary rerun"), "{}", reply.place);
        assert_eq!(reply.answer, format!("E(57014 canceling statement due to user request) Z({end})"));
        assert_eq!(written(&reads).await, 0);
        client.query("ROLLBACK").await;
        assert_eq!(client.query("SELECT 1").await.answer, "T D(1) C(SELECT 1) Z(I)");
    }
}

async fn statement_timeout_is_not_doubled(pg: Servers) {
    let timeout = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout = ''1s''', current_database()); \
                   END $$;";
    let reads = Reads::of(pg, &format!("{timeout} {SCHEMA}")).await;
    let mut client = reads.client().await;
    client.settle().await;
    let reply = client.query("SELECT pg_sleep(1000)").await;
    assert_eq!(reply.place, "standby select");
    assert_eq!(reply.answer, "T E(57014 canceling statement due to statement timeout) Z(I)");
    client.settle().await;
    assert_eq!(client.query("SELECT pg_sleep(1000)").await.place, "standby select", "it is not remembered");
}

async fn a_standbys_backend_that_dies_is_nobodys_business(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for in_extended in [false, true] {
        let mut client = reads.client().await;
        client.settle().await;
        let sql = "SELECT pg_sleep(2)::text /* dies */";
        let extended = [say::run(sql), say::sync()].concat();
        client.0.send(&if in_extended { extended } else { say::query(sql) }).await;
        terminate_on_the_standby(&reads, "/* dies */").await;
        let reply = client.reply().await;
        let answer = if in_extended { "1 2 D() C(SELECT 1) Z(I)" } else { "T D() C(SELECT 1) Z(I)" };
        assert_eq!(reply, Reply { place: RERUN.to_owned(), answer: answer.to_owned() });
        client.settle().await;
    }
}

async fn what_was_shown_cannot_be_taken_back(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.settle().await;
    client.0.send(&say::query("SELECT repeat('x', 20000) UNION ALL SELECT pg_sleep(1000)::text /* dies */")).await;
    assert_eq!(client.0.read(2).await, "N(00000) T");
    terminate_on_the_standby(&reads, "/* dies */").await;
    // A read that could not be finished did nothing: it may be tried again, on the same connection.
    let told = client.0.ready().await;
    assert!(told.ends_with(" E(40001) Z(I)"), "{}", told.get(..80).unwrap_or(&told));
    assert!(client.query("SELECT 1").await.answer.starts_with("T D(1)"));
}

async fn an_error_of_the_clients_own_is_one_error(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    for sql in
        ["SELECT 1/0", "SELECT 'x'::int", "SELECT no_such()", "SELECT 10 / (g - 300) FROM generate_series(1, 900) g"]
    {
        for _ in 0..2 {
            client.settle().await;
            let reply = client.query(sql).await;
            assert_eq!(reply.answer, reads.truth().await.query(sql).await.answer);
            assert_eq!(reply.answer.matches("E(").count(), 1, "{}", reply.answer);
        }
    }
    // It is not what the text is.
    client.settle().await;
    assert_eq!(client.query("SELECT 1/0").await.place, RERUN);
}

async fn a_standby_that_refuses_much_rests_and_comes_back(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    let deadline = std::time::Instant::now() + DEADLINE;
    while client.query("SELECT 1/0").await.place != "primary standby_benched" {
        assert!(std::time::Instant::now() < deadline, "it never rests");
    }
    client.settle().await;
}

/// Only the parts of a batch that a server has seen may be sent to another one again.
async fn a_batch_of_several_statements_is_taken_back_whole(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let (mut client, mut truth) = (reads.client().await, reads.truth().await);
    let batch = |at: &str| {
        let write = format!("SELECT sly(g, {at}) FROM generate_series(1, 5) g");
        [say::run("SELECT 1"), say::run(&write), say::run("SELECT 3"), say::sync()]
    };
    client.settle().await;
    let reply = client.ask(&batch("3")).await;
    assert_eq!(reply, Reply { place: RERUN.to_owned(), answer: truth.ask(&batch("3")).await.answer });
    assert_eq!(written(&reads).await, 2);
    client.settle().await;
    let reply = client.ask(&batch("0")).await;
    assert_eq!(reply.place, "standby select");
    assert_eq!(reply.answer, truth.ask(&batch("0")).await.answer);
}

/// A batch that has often run on the standby, and that it then refuses: each answer is there once.
async fn a_batch_that_repeats_is_taken_back(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let (mut truth, mut client) = (reads.truth().await, reads.client().await);
    let batch = |n: usize| {
        let parse = say::parse("", "SELECT sly($1, 20)");
        [parse, say::bind("", "", &[&n.to_string()]), say::execute("", 0), say::sync()]
    };
    client.settle().await;
    for n in 1..=20 {
        let reply = client.ask(&batch(n)).await;
        let place = if n == 20 { RERUN } else { "standby select" };
        assert_eq!(reply, Reply { place: place.to_owned(), answer: truth.ask(&batch(n)).await.answer });
        client.settle().await;
    }
    assert_eq!(written(&reads).await, 2);
    assert_eq!(client.ask(&batch(21)).await.place, "primary refused_before");
}

tests! {
    on both: [
        a_cancel_ends_it_where_it_runs, a_read_refused_too_late_is_an_error_once,
        a_refused_read_runs_on_the_primary_once, a_standbys_backend_that_dies_is_nobodys_business,
        what_was_shown_cannot_be_taken_back,
    ],
    on 15: [
        a_batch_of_several_statements_is_taken_back_whole, a_batch_that_repeats_is_taken_back, a_cancel_is_not_lost_between_two_servers, a_standby_that_refuses_much_rests_and_comes_back,
        an_error_of_the_clients_own_is_one_error, statement_timeout_is_not_doubled,
    ]
}

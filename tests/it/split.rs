//! The read/write split, statement by statement: what runs on the standby, what does not, and that the answer is always
//! the one that the primary itself gives.

use crate::support::reads::Reads;
use crate::support::*;

const SCHEMA: &str = "
    CREATE TABLE t (n int PRIMARY KEY, s text);
    INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 100) g;
    CREATE TABLE log (n int);
    CREATE UNLOGGED TABLE unlogged (n int);
    CREATE SEQUENCE seq;
    SELECT nextval('seq');
    CREATE FUNCTION writes(n int) RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES (n); RETURN n; END $$;
    CREATE FUNCTION swallows(n int) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO log VALUES (n); RETURN 'written';
        EXCEPTION WHEN OTHERS THEN RETURN 'swallowed:' || SQLSTATE; END $$;
    CREATE FUNCTION recovers() RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN IF pg_is_in_recovery() THEN RETURN 'standby'; END IF; RETURN 'primary'; END $$;
    CREATE FUNCTION recovers_inside() RETURNS bool LANGUAGE sql STABLE BEGIN ATOMIC SELECT pg_is_in_recovery(); END;
    CREATE FUNCTION recovers_in_words() RETURNS bool LANGUAGE sql STABLE AS $$ SELECT pg_is_in_recovery() $$;
    CREATE FUNCTION only_reads() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('transaction_read_only') $$;
    CREATE FUNCTION doubles(n int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT n * 2 $$;

    CREATE VIEW hidden AS SELECT writes(1) AS n;
    CREATE VIEW over_hidden AS SELECT * FROM hidden;
    CREATE VIEW plain AS SELECT n, upper(s) AS s FROM t;
    CREATE VIEW sees_locks AS SELECT count(*) > 0 AS n FROM pg_locks;
    CREATE FUNCTION logged(t, int) RETURNS bool LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO log VALUES ($2); RETURN true; END $$;
    CREATE OPERATOR ### (LEFTARG = t, RIGHTARG = int, FUNCTION = logged);
    CREATE FUNCTION attr(t) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (1); RETURN 7; END $$;
    CREATE DOMAIN checked AS int CHECK (writes(VALUE) > 0);
    CREATE TABLE guarded (n int);
    INSERT INTO guarded VALUES (1), (2);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY guard ON guarded USING (writes(n) = 1);";

/// A text, and where it runs.
type Row = (&'static str, &'static str);

const STANDBY: &str = "standby select";

/// Reads that nothing is wrong with.
const READS: &[Row] = &[
    ("SELECT 1", STANDBY),
    ("SELECT * FROM t ORDER BY n", STANDBY),
    ("select count(*), max(s) from t where n between 10 and 20;", STANDBY),
    ("(SELECT n FROM t LIMIT 1) UNION ALL (VALUES (7))", STANDBY),
    ("TABLE t", STANDBY),
    ("VALUES (1, 'a'), (2, 'b')", STANDBY),
    ("WITH x AS (SELECT n FROM t) SELECT sum(n) OVER (ORDER BY n) FROM x", STANDBY),
    ("/* a /* b */ */ SELECT s FROM t WHERE s = 'insert into log' -- update\n", STANDBY),
    ("SELECT doubles(n) FROM t WHERE n = 3", STANDBY),
    ("SELECT * FROM plain WHERE n < 5", STANDBY),
    ("SELECT 1/0", "standby select, primary rerun"),
    ("SELECT no_such FROM t", "standby select, primary rerun"),
    ("SELECT * FROM no_such", "standby select, primary rerun"),
    ("COPY t TO STDOUT", STANDBY),
    ("COPY (SELECT n FROM t WHERE n < 4) TO STDOUT (FORMAT csv)", STANDBY),
];

/// What a standby accepts and answers otherwise, or does to itself (ROUTING.md A1).
const SILENT: &[Row] = &[
    ("SELECT pg_advisory_lock(77)", "primary unknown_function"),
    ("SELECT pg_try_advisory_lock(78) IS NULL", "primary unknown_function"),
    ("SELECT pg_advisory_xact_lock(77)", "primary"),
    ("SELECT pg_advisory_unlock_all()", "primary"),
    ("LOCK TABLE t IN ACCESS SHARE MODE", "primary utility"),
    ("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE; COMMIT", "primary"),
    ("SELECT last_value, is_called FROM seq", "primary tainted_relation"),
    ("SELECT pg_sequence_last_value('seq')", "primary"),
    ("SELECT last_value FROM pg_sequences", "primary"),
    ("SELECT set_config('work_mem', '5MB', false)", "primary"),
    ("SELECT set_config('app.x', 'y', true)", "primary"),
    ("SET work_mem = '5MB'", "primary"),
    ("PREPARE mine AS SELECT 1", "primary utility"),
    ("EXECUTE nothing", "primary utility"),
    ("DEALLOCATE ALL", "primary"),
    ("COPY t TO '/tmp/never'", "primary"),
    ("COPY t TO PROGRAM 'true'", "primary"),
    ("CHECKPOINT", "primary utility"),
    ("SELECT pg_reload_conf()", "primary"),
    ("SELECT pg_terminate_backend(0)", "primary"),
    ("SELECT pg_export_snapshot() IS NULL", "primary"),
    ("SELECT swallows(1)", "primary unknown_function"),
    ("SELECT recovers()", "primary unknown_function"),
    ("SELECT recovers_inside()", "primary unknown_function"),
    ("SELECT recovers_in_words()", "primary unknown_function"),
    ("SELECT only_reads()", "primary unknown_function"),
    ("SELECT current_setting('transaction_read_only')", "primary"),
    ("SHOW transaction_read_only", "primary show"),
    ("SELECT pg_is_in_recovery()", "primary per_node"),
    ("SELECT pg_is_in_recovery ( ) FROM t LIMIT 1", "primary per_node"),
    ("SELECT \"pg_is_in_recovery\"()", "primary per_node"),
    ("SELECT inet_server_port()", "primary per_node"),
    ("SELECT pg_postmaster_start_time()", "primary per_node"),
    ("SELECT pg_backend_pid() > 0", "primary per_node"),
    ("SELECT setting FROM pg_settings WHERE name = 'port'", "primary"),
    ("SELECT count(*) FROM pg_stat_replication", "primary"),
    ("SELECT count(*) FROM pg_stat_wal_receiver", "primary"),
    ("SELECT slot_name FROM pg_replication_slots", "primary"),
    ("SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()", "primary per_node"),
    ("SELECT pg_last_wal_replay_lsn() IS NULL", "primary per_node"),
    ("SELECT txid_current_if_assigned()", "primary per_node"),
    ("SELECT pg_current_wal_lsn() IS NULL", "primary per_node"),
    ("SELECT count(*) FROM pg_prepared_xacts", "primary"),
    ("SELECT * FROM sees_locks", "primary"),
    ("LISTEN channel", "primary utility"),
    ("UNLISTEN channel", "primary utility"),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "primary utility"),
    ("EXPLAIN (COSTS off) SELECT * FROM log", "primary explain"),
    ("SELECT 1; SELECT 2", "primary multi_statement"),
    ("SELECT 'pgweir' /* pgweir: primary */", "primary comment"),
];

/// What a standby refuses, with an error or another.
const LOUD: &[Row] = &[
    ("INSERT INTO log VALUES (1)", "primary write_keyword"),
    ("UPDATE t SET s = s WHERE n = 1", "primary write_keyword"),
    ("DELETE FROM log WHERE n < 0", "primary write_keyword"),
    ("MERGE INTO log USING t ON false WHEN NOT MATCHED THEN DO NOTHING", "primary write_keyword"),
    ("SELECT * FROM t WHERE n = 1 FOR UPDATE", "primary write_keyword"),
    ("SELECT * FROM t WHERE n = 1 FOR NO KEY UPDATE", "primary write_keyword"),
    ("SELECT * FROM t WHERE n = 1 for/**/share", "primary write_keyword"),
    ("SELECT * FROM t WHERE n = 1 FOR KEY SHARE", "primary write_keyword"),
    ("SELECT 1 FOR UPDATE", "primary write_keyword"),
    ("WITH w AS (INSERT INTO log VALUES (2) RETURNING n) SELECT n FROM w", "primary write_keyword"),
    ("WITH w AS (DELETE FROM log WHERE false RETURNING n) SELECT n FROM w", "primary write_keyword"),
    ("COPY (INSERT INTO log VALUES (3) RETURNING n) TO STDOUT", "primary write_keyword"),
    ("SELECT nextval('seq') > 0", "primary unknown_function"),
    ("SELECT currval('seq')", "primary"),
    ("SELECT writes(4)", "primary unknown_function"),
    ("SELECT txid_current() > 0", "primary per_node"),
    ("SELECT * FROM unlogged", "primary tainted_relation"),
    ("SELECT lo_unlink(0)", "primary unknown_function"),
    ("SELECT pg_logical_emit_message(false, 'a', 'b') IS NULL", "primary"),
    ("NOTIFY channel", "primary utility"),
    (
        "EXPLAIN (ANALYZE, BUFFERS off, COSTS off, TIMING off, SUMMARY off) INSERT INTO log VALUES (5)",
        "primary explain",
    ),
    ("PREPARE TRANSACTION 'x'", "primary utility"),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT", "primary"),
];

/// Volatile functions without a call (ROUTING.md A3).
const HIDDEN: &[Row] = &[
    ("SELECT * FROM hidden", "primary tainted_relation"),
    ("SELECT * FROM over_hidden", "primary tainted_relation"),
    ("TABLE \"hidden\"", "primary tainted_relation"),
    ("SELECT t ### 1 FROM t WHERE n = 1", "primary tainted_operator"),
    ("SELECT t.attr FROM t WHERE n = 1", "primary unknown_function"),
    ("SELECT 1::checked", "primary tainted_relation"),
    ("SELECT CAST(n AS checked) FROM t WHERE n = 1", "primary tainted_relation"),
    ("SELECT * FROM guarded", "primary tainted_relation"),
    ("SELECT query_to_xml('SELECT writes(1)', true, true, '') IS NULL", "primary per_node"),
];

/// Each text by a client of its own, in either protocol, and by one that asks the primary itself.
async fn compare(reads: &Reads, rows: &[Row]) {
    for (sql, place) in rows {
        for in_extended in [false, true] {
            let mut truth = reads.truth().await;
            let expected = if in_extended { truth.extended(sql).await } else { truth.query(sql).await }.answer;
            // What it holds, it holds no longer.
            drop(truth);
            let mut client = reads.client().await;
            client.settle().await;
            let reply = if in_extended { client.extended(sql).await } else { client.query(sql).await };
            assert_eq!(reply.answer, expected, "{sql}, extended: {in_extended}");
            assert!(reply.place.starts_with(place), "{sql}, extended: {in_extended}: {}", reply.place);
        }
    }
}

async fn reads_run_on_the_standby(pg: Servers) {
    compare(&Reads::of(pg, SCHEMA).await, READS).await;
}

async fn what_a_standby_would_answer_otherwise_runs_on_the_primary(pg: Servers) {
    compare(&Reads::of(pg, SCHEMA).await, SILENT).await;
}

async fn what_a_standby_would_refuse_runs_on_the_primary(pg: Servers) {
    compare(&Reads::of(pg, SCHEMA).await, LOUD).await;
}

async fn functions_that_no_text_shows_run_on_the_primary(pg: Servers) {
    compare(&Reads::of(pg, SCHEMA).await, HIDDEN).await;
}

tests! {
    on both: [
        functions_that_no_text_shows_run_on_the_primary, reads_run_on_the_standby,
        what_a_standby_would_answer_otherwise_runs_on_the_primary, what_a_standby_would_refuse_runs_on_the_primary,
    ],
    on 15: []
}

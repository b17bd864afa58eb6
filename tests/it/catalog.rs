//! What a database's own catalog says: each way in which a text can write without showing it is found by the loader, for
//! a role that may do nothing but log in, and the classifier then keeps the text on the primary.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use pgweir::cluster::catalog::Watch;
use pgweir::sql::{Access, Catalog, Lexical, Why, access};

use crate::support::sets::{Scratch, plan};
use crate::support::*;

/// What must not run on a standby, with its reason, and beside it what may.
const SCRIPT: &str = r#"
    CREATE TABLE t (id int, name text);
    CREATE TABLE log (id int);
    CREATE FUNCTION wr(int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($1) RETURNING id';
    CREATE FUNCTION wr_attr(t) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES (1) RETURNING id';
    CREATE FUNCTION rd(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION rd_attr(t) RETURNS int LANGUAGE sql STABLE AS 'SELECT ($1).id';
    CREATE FUNCTION by_default(a int DEFAULT wr(1)) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE FUNCTION by_plain_default(a int DEFAULT 1) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a';
    CREATE SCHEMA other;
    CREATE FUNCTION other.mixed(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE FUNCTION mixed(text) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION other.lower(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1';

    CREATE SEQUENCE plain_seq;
    CREATE TABLE with_serial (id serial);
    CREATE UNLOGGED TABLE unlogged (id int);
    CREATE TABLE heap (id int) PARTITION BY RANGE (id);
    CREATE UNLOGGED TABLE heap_1 PARTITION OF heap FOR VALUES FROM (1) TO (10);
    CREATE TABLE good_heap (id int) PARTITION BY RANGE (id);
    CREATE TABLE good_heap_1 PARTITION OF good_heap FOR VALUES FROM (1) TO (10);

    CREATE VIEW v_function AS SELECT wr(id) FROM t;
    CREATE VIEW v_nextval AS SELECT nextval('plain_seq');
    CREATE VIEW v_over AS SELECT * FROM (SELECT * FROM v_nextval) AS x;
    CREATE VIEW v_deep AS SELECT id FROM t WHERE EXISTS (SELECT 1 FROM v_over);
    CREATE VIEW v_unlogged AS SELECT * FROM unlogged;
    CREATE VIEW v_instance AS SELECT pg_backend_pid();
    CREATE VIEW v_locks AS SELECT * FROM pg_locks;
    CREATE VIEW v_setting AS SELECT current_setting('work_mem');
    CREATE VIEW v_two_settings AS SELECT current_setting('app.x', true) AS a, current_setting('work_mem', true) AS b;
    CREATE VIEW v_good AS SELECT id, lower(name), rd(id) FROM t;
    CREATE VIEW v_good_setting AS SELECT current_setting('app.who') AS a, current_setting('app.b', true) AS b FROM t;

    CREATE FUNCTION wr_operator(t, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($2) RETURNING id';
    CREATE OPERATOR ### (LEFTARG = t, RIGHTARG = int, FUNCTION = wr_operator);
    CREATE FUNCTION rd_operator(t, int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $2';
    CREATE OPERATOR @@@ (LEFTARG = t, RIGHTARG = int, FUNCTION = rd_operator);
    CREATE VIEW v_operator AS SELECT t ### 1 AS x FROM t;
    CREATE VIEW v_good_operator AS SELECT t @@@ 1 AS x FROM t;

    CREATE DOMAIN dd AS int CHECK (wr(VALUE) IS NOT NULL);
    CREATE DOMAIN ddd AS dd;
    CREATE DOMAIN good_domain AS int CHECK (VALUE > 0);
    CREATE TYPE composite AS (a int, b dd);
    CREATE TYPE good_composite AS (a int, b good_domain);
    CREATE TABLE with_domain (id int, b dd);
    CREATE FUNCTION of_domain(dd) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE VIEW v_domain AS SELECT id::dd FROM t;
    CREATE VIEW v_good_domain AS SELECT id::good_domain FROM t;

    CREATE TABLE rls (id int);
    ALTER TABLE rls ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON rls USING (wr(id) > 0);
    CREATE TABLE rls_setting (id int, tenant text);
    ALTER TABLE rls_setting ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON rls_setting USING (tenant = current_setting('app.tenant'));
    CREATE TABLE rls_instance (id int, tenant text);
    ALTER TABLE rls_instance ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON rls_instance USING (tenant = current_setting('server_version'));

    CREATE FUNCTION wr_state(int, int) RETURNS int LANGUAGE sql AS 'INSERT INTO log VALUES ($2) RETURNING id';
    CREATE AGGREGATE wr_sum(int) (SFUNC = wr_state, STYPE = int, INITCOND = '0');
    CREATE AGGREGATE rd_sum(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
    CREATE VIEW v_aggregate AS SELECT wr_sum(id) FROM t;
    CREATE MATERIALIZED VIEW kept AS SELECT id FROM t;
    CREATE TABLE "Größe" (id int);
"#;

const ON_THE_PRIMARY: &[(&str, Why)] = &[
    ("SELECT wr(1)", Why::UnknownFunction),
    ("SELECT wr_attr(t) FROM t", Why::UnknownFunction),
    ("SELECT t.wr_attr FROM t", Why::UnknownFunction),
    ("SELECT by_default()", Why::UnknownFunction),
    ("SELECT mixed('a')", Why::UnknownFunction),
    ("SELECT lower(name) FROM t", Why::UnknownFunction),
    ("SELECT pr()", Why::UnknownFunction),
    ("SELECT of_domain(1)", Why::UnknownFunction),
    ("SELECT wr_sum(id) FROM t", Why::UnknownFunction),
    ("SELECT nextval('plain_seq')", Why::UnknownFunction),
    ("SELECT pg_advisory_lock(1)", Why::UnknownFunction),
    ("SELECT * FROM nosuch(1)", Why::UnknownFunction),
    ("SELECT last_value FROM plain_seq", Why::TaintedRelation),
    ("SELECT last_value FROM with_serial_id_seq", Why::TaintedRelation),
    ("SELECT * FROM unlogged", Why::TaintedRelation),
    ("SELECT * FROM heap", Why::TaintedRelation),
    ("COPY unlogged TO STDOUT", Why::TaintedRelation),
    ("SELECT * FROM v_function", Why::TaintedRelation),
    ("SELECT * FROM v_nextval", Why::TaintedRelation),
    ("SELECT * FROM v_over", Why::TaintedRelation),
    ("SELECT * FROM v_deep", Why::TaintedRelation),
    ("SELECT * FROM v_unlogged", Why::TaintedRelation),
    ("SELECT * FROM v_instance", Why::TaintedRelation),
    ("SELECT * FROM v_locks", Why::TaintedRelation),
    ("SELECT * FROM v_setting", Why::TaintedRelation),
    ("SELECT * FROM v_two_settings", Why::TaintedRelation),
    ("SELECT * FROM v_operator", Why::TaintedRelation),
    ("SELECT * FROM v_domain", Why::TaintedRelation),
    ("SELECT * FROM v_aggregate", Why::TaintedRelation),
    ("SELECT * FROM rls", Why::TaintedRelation),
    ("SELECT * FROM rls_instance", Why::TaintedRelation),
    ("SELECT t ### 1 FROM t", Why::TaintedOperator),
    ("SELECT 1::dd", Why::TaintedRelation),
    ("SELECT cast(1 AS ddd)", Why::TaintedRelation),
    ("SELECT '(1,1)'::composite", Why::TaintedRelation),
    ("SELECT '{1}'::_dd", Why::TaintedRelation),
    ("SELECT NULL::with_domain", Why::TaintedRelation),
    ("SELECT * FROM pg_locks", Why::PerNode),
    ("SELECT * FROM pg_settings", Why::PerNode),
    ("SELECT * FROM pg_sequences", Why::PerNode),
    ("SELECT * FROM pg_stat_activity", Why::PerNode),
    ("SELECT * FROM pg_stat_user_tables", Why::PerNode),
    ("SELECT * FROM pg_replication_slots", Why::PerNode),
    ("SELECT * FROM pg_file_settings", Why::PerNode),
    ("SELECT * FROM pg_prepared_statements", Why::PerNode),
    ("SELECT * FROM pg_cursors", Why::PerNode),
    ("SELECT pg_is_in_recovery()", Why::PerNode),
    ("SELECT pg_current_xact_id_if_assigned()", Why::PerNode),
    ("SELECT pg_relation_size('t')", Why::PerNode),
    ("SELECT database_to_xml(true, true, '')", Why::PerNode),
];

const ANYWHERE: &[&str] = &[
    "SELECT * FROM t",
    "SELECT rd(id), upper(name), count(*) FROM t GROUP BY 1, 2",
    "SELECT t.rd_attr FROM t",
    "SELECT by_plain_default()",
    "SELECT rd_sum(id) FROM t",
    "SELECT * FROM with_serial",
    "SELECT * FROM good_heap",
    "SELECT * FROM v_good",
    "SELECT * FROM v_good_setting",
    "SELECT * FROM v_good_operator",
    "SELECT * FROM v_good_domain",
    "SELECT t @@@ 1 FROM t",
    "SELECT 1::good_domain, '(1,1)'::good_composite",
    "SELECT * FROM rls_setting",
    "SELECT * FROM kept",
    "SELECT * FROM \"Größe\"",
    "SELECT now(), random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0)",
    "SELECT current_setting('app.tenant', true)",
    "SELECT relname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace",
    "SELECT t.table_name, column_name FROM information_schema.columns JOIN information_schema.tables AS t USING (table_name)",
    "SELECT jsonb_build_object('a', 1) -> 'a', array_agg(x), to_char(now(), 'YYYY') FROM generate_series(1, 3) AS g(x)",
    "SELECT pg_get_viewdef('v_good'::regclass), format('%s', 1), obj_description(1, 'pg_class')",
    "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 9) SELECT max(n) FROM r",
];

async fn each_invisible_call_is_found(pg: Servers) {
    let scratch = Scratch::of(&pg, "catalog_cases", SCRIPT).await;
    assert_eq!(scratch.catalog().await.hard_off(), None);
    for (text, why) in ON_THE_PRIMARY {
        assert_eq!(scratch.ask(text).await, Access::Primary(*why), "{text}");
    }
    for text in ANYWHERE {
        assert_eq!(scratch.ask(text).await, Access::Read, "{text}");
    }
    // What is called harmless here really runs in a transaction that may not write.
    let reader = pg.direct("catalog_cases").await;
    reader
        .batch_execute(
            "SET default_transaction_read_only = on; SET app.who = 'x'; SET app.tenant = 'y'; SET app.b = 'z'",
        )
        .await
        .expect("a setting");
    for text in ANYWHERE {
        reader.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
}

/// What is known without a database's own catalog never says more than a catalog does.
async fn what_is_known_of_stock_names_is_true(pg: Servers) {
    let scratch = Scratch::of(&pg, "catalog_stock", "").await;
    let (catalog, stock) = (scratch.catalog().await, Catalog::stock());
    let names = "SELECT format('SELECT %I(1)', proname) FROM pg_proc UNION SELECT format('TABLE pg_catalog.%I', relname) \
        FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')";
    let mut both = 0;
    for row in scratch.sql.query(names, &[]).await.expect("names") {
        let text: String = row.get(0);
        let ask = |catalog: &Catalog| access(text.as_bytes(), Lexical::STANDARD, Some(catalog));
        if ask(&stock) == Access::Read {
            assert_eq!(ask(&catalog), Access::Read, "{text}");
            both += 1;
        }
    }
    assert!(both > 230, "only {both}: each name in the list must be one of PostgreSQL's");
}

async fn what_no_text_shows_switches_it_off(pg: Servers) {
    for (name, script, reason) in [
        (
            "catalog_cast",
            "CREATE TYPE e AS ENUM ('a'); CREATE FUNCTION c(int) RETURNS e LANGUAGE sql AS 'SELECT ''a''::e'; \
             CREATE CAST (int AS e) WITH FUNCTION c(int) AS IMPLICIT",
            "volatile_cast",
        ),
        (
            "catalog_type",
            "CREATE TYPE own; \
             CREATE FUNCTION own_in(cstring) RETURNS own LANGUAGE internal STRICT AS 'int4in'; \
             CREATE FUNCTION own_out(own) RETURNS cstring LANGUAGE internal STRICT IMMUTABLE AS 'int4out'; \
             CREATE TYPE own (INPUT = own_in, OUTPUT = own_out, LIKE = int)",
            "volatile_type",
        ),
        (
            "catalog_operator",
            "CREATE TYPE e AS (a int); CREATE FUNCTION o(e, int) RETURNS bool LANGUAGE sql AS 'SELECT true'; \
             CREATE OPERATOR = (LEFTARG = e, RIGHTARG = int, FUNCTION = o)",
            "volatile_common_operator",
        ),
        (
            "catalog_support",
            "CREATE FUNCTION h(int) RETURNS int LANGUAGE sql AS 'SELECT $1'; CREATE OPERATOR CLASS own_ops FOR TYPE int \
             USING hash AS OPERATOR 1 =, FUNCTION 1 h(int)",
            "volatile_support",
        ),
    ] {
        let scratch = Scratch::of(&pg, name, script).await;
        assert_eq!(scratch.ask("SELECT 1").await, Access::Primary(Why::CatalogOff), "{name}");
        assert_eq!(scratch.watch.reason(), Some(reason), "{name}");
    }
}

async fn a_foreign_table_is_found(pg: Servers) {
    let script = "CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE f \
        (a text) SERVER s OPTIONS (filename '/dev/null'); CREATE VIEW v AS SELECT * FROM f";
    let scratch = Scratch::of(&pg, "catalog_foreign", script).await;
    assert_eq!(scratch.ask("TABLE f").await, Access::Primary(Why::TaintedRelation));
    assert_eq!(scratch.ask("TABLE v").await, Access::Primary(Why::TaintedRelation));
}

/// The role's and the database's own settings, and objects of a user's that are called as PostgreSQL's are.
async fn nothing_of_a_users_own_misleads_it(pg: Servers) {
    let script = r#"
        CREATE SCHEMA evil;
        CREATE TABLE evil.pg_proc (oid oid, proname name, provolatile "char");
        CREATE FUNCTION evil.eq(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT false';
        CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
        CREATE TABLE t (id int);
        GRANT USAGE ON SCHEMA evil TO PUBLIC;
        ALTER DATABASE catalog_path SET search_path = evil, pg_catalog;
        ALTER DATABASE catalog_path SET statement_timeout = '1ms';
        ALTER DATABASE catalog_path SET default_transaction_isolation = 'serializable';
        ALTER DATABASE catalog_path SET client_encoding = 'LATIN1';
    "#;
    let scratch = Scratch::of(&pg, "catalog_path", script).await;
    assert_eq!(scratch.ask("SELECT abs(1) FROM t").await, Access::Read);
    assert_eq!(scratch.ask("TABLE pg_locks").await, Access::Primary(Why::PerNode));
}

async fn ddl_elsewhere_is_seen_within_a_moment(pg: Servers) {
    let scratch = Scratch::of(
        &pg,
        "catalog_stamp",
        "CREATE TABLE t (id int); CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )
    .await;
    for (ddl, text) in [
        ("CREATE VIEW v AS SELECT w()", "TABLE v"),
        ("CREATE OR REPLACE VIEW u AS SELECT 1 AS w; CREATE OR REPLACE VIEW u AS SELECT w()", "TABLE u"),
        ("ALTER TABLE t SET UNLOGGED", "TABLE t"),
        ("CREATE SEQUENCE s", "TABLE s"),
        ("CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CHECK (w() = VALUE)", "SELECT 1::d"),
        (
            "CREATE FUNCTION o(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE OPERATOR @#@ (RIGHTARG = int, FUNCTION = o)",
            "SELECT @#@ 1",
        ),
        (
            "CREATE TABLE r (id int); ALTER TABLE r ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON r USING (w() = id)",
            "TABLE r",
        ),
        (
            "CREATE TABLE x (id int); ALTER TABLE x RENAME TO y; CREATE UNLOGGED TABLE z (id int); ALTER TABLE z INHERIT y",
            "TABLE y",
        ),
        ("CREATE FUNCTION abs(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT abs(1)"),
        (
            "CREATE FUNCTION a() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1'; ALTER FUNCTION a() VOLATILE",
            "SELECT a()",
        ),
    ] {
        if !text.starts_with("SELECT a()") {
            assert_eq!(scratch.ask(text).await, Access::Read, "before: {text}");
        }
        scratch.sql.batch_execute(ddl).await.expect("sound DDL");
        let seen = || async { matches!(scratch.ask(text).await, Access::Primary(_)) };
        eventually(ddl, seen).await;
    }
    // And back again.
    scratch.sql.batch_execute("ALTER TABLE t SET LOGGED").await.expect("sound DDL");
    eventually("logged", || async { scratch.ask("TABLE t").await == Access::Read }).await;
    // What changes nothing costs no load.
    let version = scratch.catalog().await.version();
    scratch
        .sql
        .batch_execute("INSERT INTO t VALUES (1); CREATE TEMP TABLE temp (a int); ANALYZE t")
        .await
        .expect("sound");
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(scratch.catalog().await.version(), version);
}

async fn a_doubt_takes_the_sets_away_at_once(pg: Servers) {
    let scratch = Scratch::of(&pg, "catalog_doubt", "CREATE TABLE t (id int)").await;
    let before = scratch.catalog().await.version();
    for _ in 0..5 {
        scratch.watch.doubt();
        assert!(scratch.watch.current().is_none());
        assert_eq!(scratch.watch.reason(), Some("catalog_changing"));
        scratch.sql.batch_execute("ALTER TABLE t SET UNLOGGED").await.expect("sound DDL");
        scratch.watch.doubt();
        assert!(scratch.watch.current().is_none());
        assert_eq!(scratch.ask("TABLE t").await, Access::Primary(Why::TaintedRelation));
        scratch.watch.doubt();
        scratch.sql.batch_execute("ALTER TABLE t SET LOGGED").await.expect("sound DDL");
        scratch.watch.doubt();
        assert_eq!(scratch.ask("TABLE t").await, Access::Read);
    }
    assert!(scratch.catalog().await.version() > before);
    assert_eq!(scratch.watch.reason(), None);
}

/// It follows a change of primary, believes no standby, and comes back by itself.
async fn only_a_primary_is_believed(pg: Servers) {
    let scratch = Scratch::of(&pg, "catalog_primary", "CREATE TABLE t (id int)").await;
    scratch.catalog().await;
    let at = Arc::new(AtomicU16::new(0));
    let (now, password) = (Arc::clone(&at), pg.password.clone());
    let watch = Watch::start("catalog_primary", move || match now.load(Ordering::Relaxed) {
        0 => None,
        port => Some(plan(port, &password, "catalog_primary")),
    });
    let reason = |expected| {
        let watch = Arc::clone(&watch);
        async move { watch.current().is_none() && watch.reason() == Some(expected) }
    };
    eventually("no primary", || reason("no_primary")).await;
    at.store(pg.primary, Ordering::Relaxed);
    eventually("the primary", || async { watch.current().is_some() && watch.reason().is_none() }).await;
    at.store(pg.standby, Ordering::Relaxed);
    eventually("a standby is none", || reason("no_primary")).await;
    at.store(1, Ordering::Relaxed);
    eventually("nobody there", || reason("login")).await;
    at.store(pg.primary, Ordering::Relaxed);
    eventually("the primary again", || async { watch.current().is_some() }).await;
}

tests! {
    on both: [
        a_doubt_takes_the_sets_away_at_once, ddl_elsewhere_is_seen_within_a_moment, each_invisible_call_is_found,
        nothing_of_a_users_own_misleads_it, only_a_primary_is_believed, what_is_known_of_stock_names_is_true, what_no_text_shows_switches_it_off,
    ],
    on 15: [a_foreign_table_is_found]
}

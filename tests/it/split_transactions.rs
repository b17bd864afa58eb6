//! Transactions: READ ONLY ones on the standby for as long as it answers as the primary does, all others on the primary,
//! and those that only their client knows of.

use crate::support::reads::{Lines, Reads, Reply, Told, reply};
use crate::support::wire::{Frame, cancel, say};
use crate::support::*;

const SCHEMA: &str = "
    CREATE TABLE t (n int PRIMARY KEY);
    INSERT INTO t SELECT generate_series(1, 10);
    CREATE TABLE log (n int);
    CREATE SEQUENCE seq;";

/// Anywhere but on the standby, or where the transaction is.
const ANY: &str = "not the standby";

const COUNT: &str = "SELECT count(*) FROM t";

/// Texts one after the other, each with where it ran: nothing where its transaction was somewhere already.
async fn converse(reads: &Reads, options: &str, steps: &[(&str, &str)]) {
    let (mut client, mut truth) = (reads.client_with(options).await, reads.truth_with(options).await);
    // A client whose transactions are SERIALIZABLE reads nowhere else.
    reads.settle().await;
    for (sql, place) in steps {
        let (reply, expected) = (client.query(sql).await, truth.query(sql).await);
        assert_eq!(reply.answer, expected.answer, "{sql} of {steps:?}");
        let expected = match *place {
            "" => reply.place.is_empty(),
            ANY => !reply.place.contains("standby"),
            _ => reply.place.starts_with(place),
        };
        assert!(expected, "{sql} of {steps:?}: {}", reply.place);
    }
}

async fn read_only_in_every_spelling(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for begin in [
        "BEGIN READ ONLY",
        "begin transaction read only;",
        "BEGIN WORK READ ONLY /* so */",
        "START TRANSACTION READ ONLY",
        "START TRANSACTION READ WRITE, READ ONLY",
        "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY",
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "BEGIN READ ONLY, ISOLATION LEVEL REPEATABLE READ, NOT DEFERRABLE",
        "BEGIN TRANSACTION READ ONLY DEFERRABLE",
    ] {
        let steps = [(begin, ""), (COUNT, "standby declared_read_only"), ("TABLE t", ""), ("COMMIT", "")];
        converse(&reads, "", &steps).await;
    }
    for set in ["SET TRANSACTION READ ONLY", "set transaction isolation level repeatable read, read only"] {
        let steps = [("BEGIN", ""), (set, ""), (COUNT, "standby declared_read_only"), (COUNT, ""), ("ROLLBACK", "")];
        converse(&reads, "", &steps).await;
    }
}

async fn others_run_on_the_primary(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for begin in ["BEGIN", "START TRANSACTION", "BEGIN READ WRITE", "BEGIN ISOLATION LEVEL REPEATABLE READ"] {
        converse(&reads, "", &[(begin, ""), (COUNT, "primary in_transaction"), (COUNT, ""), ("COMMIT", "")]).await;
    }
    for begin in
        ["BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY", "BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE DEFERRABLE"]
    {
        converse(&reads, "", &[(begin, ANY), (COUNT, ANY), ("COMMIT", ""), (COUNT, "standby")]).await;
    }
    let set = ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ANY);
    converse(&reads, "", &[("BEGIN READ ONLY", ""), set, (COUNT, ANY), ("COMMIT", "")]).await;
    let serializable = "-c default_transaction_isolation=serializable";
    let steps = [(COUNT, "primary"), ("BEGIN READ ONLY", ANY), (COUNT, ANY), (COUNT, ""), ("COMMIT", "")];
    converse(&reads, serializable, &steps).await;
    let steps = [("BEGIN READ ONLY; SELECT 1", "primary"), (COUNT, ""), ("END", ""), (COUNT, "standby")];
    converse(&reads, "", &steps).await;
}

async fn read_only_by_default(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let steps = [
        (COUNT, "standby select"),
        ("BEGIN", ""),
        (COUNT, "standby declared_read_only"),
        ("COMMIT", ""),
        ("BEGIN READ WRITE", ""),
        (COUNT, "primary in_transaction"),
        ("INSERT INTO log VALUES (1)", ""),
        ("ROLLBACK", ""),
        ("INSERT INTO log VALUES (1)", "primary write_keyword"),
        ("CREATE TABLE no ()", "primary utility"),
    ];
    converse(&reads, "-c default_transaction_read_only=on", &steps).await;
    let set = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY";
    let steps = [
        (set, "primary"),
        ("BEGIN", ""),
        (COUNT, "standby declared_read_only"),
        ("COMMIT", ""),
        ("INSERT INTO log VALUES (1)", "primary write_keyword"),
    ];
    converse(&reads, "", &steps).await;
}

/// What it may not do, it may not do in the primary's words.
async fn refusals_are_the_primarys(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for begin in ["BEGIN READ ONLY", "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ"] {
        for sql in [
            "INSERT INTO log VALUES (1)",
            "UPDATE t SET n = n",
            "SELECT * FROM t FOR UPDATE",
            "WITH w AS (INSERT INTO log VALUES (1) RETURNING n) SELECT * FROM w",
            "SELECT n INTO copied FROM t",
        ] {
            // One that keeps its snapshot fails where it is.
            let place = if begin.contains("REPEATABLE") { "" } else { "primary write_keyword" };
            let steps =
                [(begin, ""), (COUNT, "standby"), (sql, place), (COUNT, ""), ("COMMIT", ""), (COUNT, "standby")];
            converse(&reads, "", &steps).await;
            converse(&reads, "", &[(begin, ""), (sql, "primary"), (COUNT, ""), ("ROLLBACK", "")]).await;
        }
    }
}

/// Each statement of a READ COMMITTED transaction has a snapshot of its own: at one that needs the primary it goes on there.
async fn one_that_needs_the_primary_goes_on_there(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for (sql, reason) in [
        ("SELECT pg_is_in_recovery()", "primary per_node"),
        ("SELECT last_value FROM seq", "primary tainted_relation"),
        ("SELECT nextval('seq')", "primary unknown_function"),
        ("SELECT pg_advisory_xact_lock_shared(1)", "primary unknown_function"),
        ("SHOW transaction_read_only", "primary show"),
        ("INSERT INTO log VALUES (1)", "primary write_keyword"),
        ("CREATE TABLE no ()", "primary utility"),
        ("SAVEPOINT s", "primary utility"),
        ("DECLARE c CURSOR WITH HOLD FOR TABLE t", "primary utility"),
        ("SET LOCAL work_mem = '9MB'", "primary set"),
        ("LOCK TABLE t IN SHARE MODE", "primary utility"),
        ("NOTIFY channel", "primary utility"),
        ("SET LOCAL transaction_read_only = off", "primary set"),
        ("SET TRANSACTION READ WRITE; INSERT INTO log VALUES (1)", "primary"),
        ("SELECT 1; SELECT 2", "primary multi_statement"),
    ] {
        let steps = [("BEGIN READ ONLY", ""), (COUNT, "standby"), (sql, reason), (COUNT, ""), ("COMMIT", "")];
        converse(&reads, "", &steps).await;
        converse(&reads, "", &[("BEGIN READ ONLY", ""), (sql, "primary"), (COUNT, ""), ("COMMIT", "")]).await;
    }
    // Too late, or a warning: in the primary's words.
    for sql in [
        "SET TRANSACTION READ WRITE",
        "SET TRANSACTION READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        "SET TRANSACTION DEFERRABLE",
        "BEGIN",
        "BEGIN READ WRITE",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        let steps = [("BEGIN READ ONLY", ""), (COUNT, "standby"), (sql, ANY), (COUNT, ANY), ("COMMIT", "")];
        converse(&reads, "", &steps).await;
        let failed =
            [("BEGIN READ ONLY", ""), (COUNT, "standby"), ("SELECT 1/0", ""), (sql, ""), (COUNT, ""), ("COMMIT", "")];
        converse(&reads, "", &failed).await;
    }
}

/// A cursor is where it was declared: so is the rest of its transaction.
async fn cursors_stay_where_they_are(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let cursor = [
        ("FETCH 3 FROM c", ""),
        ("SAVEPOINT s", ""),
        ("SELECT 1/0", ""),
        ("ROLLBACK TO s", ""),
        ("MOVE 2 IN c", ""),
        ("FETCH BACKWARD 1 FROM c", ""),
        (COUNT, ""),
        ("CLOSE c", ""),
        ("FETCH c", ""),
        ("COMMIT", ""),
        (COUNT, "standby"),
    ];
    let declare = "DECLARE c SCROLL CURSOR FOR SELECT n FROM t ORDER BY n";
    for begin in ["BEGIN READ ONLY", "BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ"] {
        let first = [(begin, ""), (declare, "standby declared_read_only")];
        converse(&reads, "", &[&first[..], &cursor].concat()).await;
        let later = [(begin, ""), (COUNT, "standby declared_read_only"), (declare, "")];
        converse(&reads, "", &[&later[..], &cursor].concat()).await;
    }
    for (begin, place) in [("BEGIN", "primary"), ("BEGIN READ ONLY; SELECT 1", "")] {
        converse(&reads, "", &[(begin, ANY), (declare, place), ("FETCH c", ""), ("COMMIT", "")]).await;
    }
    converse(&reads, "", &[(declare, "primary utility"), ("FETCH c", "primary utility")]).await;
}

/// At a statement that needs the primary it fails, as one that keeps its snapshot does, and is begun there the next time.
async fn a_cursor_does_not_move(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    for in_a_portal in [false, true] {
        let mut client = reads.client().await;
        client.settle().await;
        let first = format!("SELECT n FROM t /* {in_a_portal} */");
        let declare = format!("DECLARE c CURSOR FOR {first}");
        for place in ["standby declared_read_only", "primary refused_before"] {
            client.query("BEGIN READ ONLY").await;
            let reply = if in_a_portal {
                let portal = [say::parse("", &first), say::bind("p", "", &[]), say::execute("p", 3), say::sync()];
                client.ask(&portal).await
            } else {
                client.query(&declare).await
            };
            assert_eq!(reply.place, place);
            let reply = client.query("SELECT pg_is_in_recovery()").await.answer;
            let expected = if place.starts_with("standby") { "E(40001 " } else { "T D(f) C(SELECT 1) Z(T)" };
            assert!(reply.starts_with(expected), "{reply}");
            client.query("ROLLBACK").await;
        }
    }
}

/// asyncpg, and whoever prepares before it runs: the first batch of a READ ONLY transaction may end in a Flush, or run nothing.
async fn one_that_begins_by_preparing(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let prepare = |end: &[u8]| [say::parse("s", COUNT), say::describe(b'S', "s"), end.to_vec()].concat();
    let run = [say::bind("", "s", &[]), say::execute("", 0), say::sync()].concat();
    for flush in [true, false] {
        let mut client = reads.client().await;
        client.settle().await;
        client.query("BEGIN READ ONLY").await;
        let end = if flush { say::flush() } else { say::sync() };
        client.0.send(&prepare(&end)).await;
        let described = until(&mut client, if flush { b'T' } else { b'Z' }).await;
        assert_eq!(described, told("standby declared_read_only", if flush { "1 t T" } else { "1 t T Z(T)" }));
        assert_eq!(client.ask(std::slice::from_ref(&run)).await, told("", "2 D(10) C(SELECT 1) Z(T)"));
        assert_eq!(
            client.query("SELECT pg_is_in_recovery()").await,
            told("primary per_node", "T D(f) C(SELECT 1) Z(T)")
        );
        assert_eq!(client.ask(std::slice::from_ref(&run)).await, told("", "2 D(10) C(SELECT 1) Z(T)"));
        assert_eq!(client.query("COMMIT").await.answer, "C(COMMIT) Z(I)");
        // Now it is known, and outside of transactions, too.
        assert_eq!(client.ask(std::slice::from_ref(&run)).await, told("standby select", "2 D(10) C(SELECT 1) Z(I)"));
    }
    for (end, answer) in [(say::flush(), "1 t T 1 t T Z(T)"), (say::sync(), "1 t T Z(T)")] {
        let mut client = reads.client().await;
        client.settle().await;
        client.query("BEGIN READ ONLY").await;
        let second = [say::parse("w", "SELECT pg_is_in_recovery()"), say::describe(b'S', "w"), say::sync()].concat();
        client.0.send(&[prepare(&end), second].concat()).await;
        assert_eq!(client.reply().await.answer, answer);
        if answer.len() < 12 {
            assert_eq!(client.reply().await.answer, answer);
        }
        assert_eq!(client.ask(std::slice::from_ref(&run)).await.answer, "2 D(10) C(SELECT 1) Z(T)");
        let other = [say::bind("", "w", &[]), say::execute("", 0), say::sync()].concat();
        assert_eq!(client.ask(&[other]).await.answer, "2 D(f) C(SELECT 1) Z(T)");
        client.query("COMMIT").await;
    }
}

async fn until(client: &mut Told, tag: u8) -> Reply {
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &Frame| frame.tag != tag) {
        frames.push(client.0.frame().await.expect("an answer"));
    }
    reply(&frames)
}

fn told(place: &str, answer: &str) -> Reply {
    Reply { place: place.to_owned(), answer: answer.to_owned() }
}

/// A REPEATABLE READ one keeps its snapshot: it fails as one that cannot be serialized, and is begun on the primary then.
async fn a_snapshot_does_not_move(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let mut client = reads.client().await;
    client.settle().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
    assert_eq!(client.query(begin).await.answer, "C(BEGIN) Z(T)");
    assert_eq!(client.query(COUNT).await.place, "standby declared_read_only");
    let reply = client.query("SELECT pg_is_in_recovery()").await;
    assert!(reply.answer.starts_with("E(40001 ") && reply.answer.ends_with(" Z(E)"), "{}", reply.answer);
    assert!(client.query(COUNT).await.answer.starts_with("E(25P02 "));
    assert_eq!(client.query("COMMIT").await.answer, "C(ROLLBACK) Z(I)");
    client.query(begin).await;
    assert_eq!(client.query(COUNT).await.place, "primary refused_before");
    assert_eq!(client.query("SELECT pg_is_in_recovery()").await.answer, "T D(f) C(SELECT 1) Z(T)");
    assert_eq!(client.query("COMMIT").await.answer, "C(COMMIT) Z(I)");
}

/// One snapshot, on the standby too.
async fn repeatable_reads_are_repeatable(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let (mut client, mut writer) = (reads.client().await, reads.client().await);
    client.settle().await;
    client.query("BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ").await;
    assert_eq!(client.query(COUNT).await.place, "standby declared_read_only");
    writer.query("INSERT INTO t VALUES (11)").await;
    writer.settle().await;
    assert_eq!(writer.query(COUNT).await.answer, "T D(11) C(SELECT 1) Z(I)");
    assert_eq!(client.query(COUNT).await.answer, "T D(10) C(SELECT 1) Z(T)");
    client.query("COMMIT").await;
    assert_eq!(client.query(COUNT).await.answer, "T D(11) C(SELECT 1) Z(I)");
}

/// The monitor may not connect to the database: what was not declared stays on the primary, and says why.
async fn where_the_catalog_cannot_be_read(pg: Servers) {
    let lock = "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM public', current_database()); END $$; \
        CREATE FUNCTION own() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';";
    let elsewhere = Lines { global: "probe_dbname = 'postgres'", ..Lines::default() };
    let reads = Reads::unsettled(pg, &format!("{SCHEMA} {lock}"), elsewhere).await;
    let mut client = reads.client().await;
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        client.query("BEGIN READ ONLY").await;
        let reply = client.query(COUNT).await;
        client.query("COMMIT").await;
        if reply.place == "standby declared_read_only" {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "it stays away from the standby: {}", reply.place);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut truth = reads.truth().await;
    for (sql, place) in [
        (COUNT, "primary no_catalog"),
        ("INSERT INTO t VALUES (11)", "primary write_keyword"),
        ("BEGIN READ ONLY", ""),
        (COUNT, "standby declared_read_only"),
        ("SELECT n FROM t WHERE n > 9 ORDER BY n", ""),
        ("SELECT last_value FROM seq", "primary per_node"),
        ("COMMIT", ""),
        ("BEGIN READ ONLY", ""),
        ("SELECT own()", "primary unknown_function"),
        ("COMMIT", ""),
        ("BEGIN", ""),
        (COUNT, "primary in_transaction"),
        ("DELETE FROM t WHERE n = 11", ""),
        ("COMMIT", ""),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "primary set"),
    ] {
        let reply = client.query(sql).await;
        assert_eq!(reply.place, place, "{sql}");
        // What it writes, the primary need not be told twice.
        if sql.starts_with("SELECT") && !sql.contains("count") {
            assert_eq!(reply.answer.replace("Z(T)", "Z(I)"), truth.query(sql).await.answer, "{sql}");
        }
    }
}

fn batch(texts: &[&str]) -> Vec<Vec<u8>> {
    let statement = |text: &&str| {
        [say::parse("", text), say::bind("", "", &[]), say::describe(b'P', ""), say::execute("", 0)].concat()
    };
    texts.iter().map(statement).chain([say::sync()]).collect()
}

/// As drivers send it: BEGIN by itself, or in front of the first statement's messages.
async fn in_the_extended_protocol(pg: Servers) {
    let reads = Reads::of(pg, SCHEMA).await;
    let conversations: &[&[(&[&str], &str)]] = &[
        &[(&["BEGIN"], ""), (&["COMMIT"], "")],
        &[(&["START TRANSACTION READ ONLY"], ""), (&[COUNT], "standby"), (&["ROLLBACK"], "")],
        &[(&["BEGIN"], ""), (&["SET TRANSACTION READ ONLY"], ""), (&[COUNT], "standby"), (&["COMMIT"], "")],
        &[(&["BEGIN"], ""), (&["INSERT INTO log VALUES (1)"], "primary"), (&["ROLLBACK"], "")],
        &[(&["BEGIN READ ONLY", COUNT], "standby declared_read_only"), (&[COUNT], ""), (&["COMMIT"], "")],
        &[
            (&["BEGIN READ ONLY", COUNT], "standby declared_read_only"),
            (&["SELECT pg_is_in_recovery()"], "primary"),
            (&["COMMIT"], ""),
        ],
        &[
            (&["BEGIN READ ONLY", "SELECT 1/0"], "standby declared_read_only, primary rerun"),
            (&[COUNT], ""),
            (&["ROLLBACK"], ""),
        ],
        &[(&["BEGIN READ ONLY", COUNT, "COMMIT"], "primary"), (&[COUNT], "standby select")],
        &[(&["BEGIN", COUNT], "primary in_transaction"), (&["COMMIT"], "")],
        &[(&["BEGIN READ ONLY", "INSERT INTO log VALUES (1)"], "primary"), (&["ROLLBACK"], "")],
    ];
    for steps in conversations {
        let (mut client, mut truth) = (reads.client().await, reads.truth().await);
        client.settle().await;
        for (texts, place) in *steps {
            let (reply, expected) = (client.ask(&batch(texts)).await, truth.ask(&batch(texts)).await);
            assert_eq!(reply.answer, expected.answer, "{texts:?} of {steps:?}");
            assert!(reply.place.starts_with(place), "{texts:?} of {steps:?}: {}", reply.place);
            assert!(!place.is_empty() || reply.place.is_empty(), "{texts:?} of {steps:?}: {}", reply.place);
        }
    }
}

/// A client whose statement waits in the queue for the one server, which another client has.
async fn held(reads: &Reads) -> (Told, Told) {
    let (mut holder, client) = (reads.client().await, reads.client().await);
    holder.query("BEGIN").await;
    assert_eq!(holder.query("INSERT INTO log VALUES (1)").await.answer, "C(INSERT 0 1) Z(T)");
    (holder, client)
}

async fn one_that_never_began_needs_no_server(pg: Servers) {
    let one = Lines { global: "default_pool_size = 1", ..Lines::default() };
    let reads = Reads::with(pg, SCHEMA, one).await;
    let (mut holder, mut client) = held(&reads).await;
    for (end, tag) in [("COMMIT", "COMMIT"), ("rollback", "ROLLBACK"), ("END", "COMMIT"), ("ABORT", "ROLLBACK")] {
        assert_eq!(client.query("BEGIN").await.answer, "C(BEGIN) Z(T)");
        assert_eq!(client.query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await.answer, "C(SET) Z(T)");
        assert_eq!(client.query(end).await.answer, format!("C({tag}) Z(I)"));
        assert_eq!(client.ask(&batch(&["BEGIN"])).await.answer, "1 2 n C(BEGIN) Z(T)");
        assert_eq!(client.ask(&batch(&[end])).await.answer, format!("1 2 n C({tag}) Z(I)"));
    }
    // The queue is left by a cancel: the transaction has failed, and no server needs to know.
    assert_eq!(client.query("BEGIN").await.answer, "C(BEGIN) Z(T)");
    client.0.send(&say::query("INSERT INTO log VALUES (2)")).await;
    assert_eq!(client.0.read(1).await, "N(00000)", "where it is to run, once it does");
    cancel(reads.proxy.port, &client.0.key()).await;
    let reply = client.reply().await;
    assert!(reply.answer.starts_with("E(57014 ") && reply.answer.ends_with(" Z(E)"), "{}", reply.answer);
    for _ in 0..2 {
        let aborted = "E(25P02 current transaction is aborted, commands ignored until end of transaction block) Z(E)";
        assert_eq!(client.query("INSERT INTO log VALUES (2)").await.answer, aborted);
        assert_eq!(client.ask(&batch(&["SELECT 1"])).await.answer, aborted);
    }
    assert_eq!(client.query("COMMIT").await.answer, "C(ROLLBACK) Z(I)");
    assert_eq!(holder.query("COMMIT").await.answer, "C(COMMIT) Z(I)");
    assert_eq!(client.query("SELECT sum(n) FROM log").await.answer, "T D(1) C(SELECT 1) Z(I)");
}

async fn one_that_never_began_may_not_idle_for_ever(pg: Servers) {
    let limit = Lines { global: "idle_transaction_timeout = '500ms'", ..Lines::default() };
    let reads = Reads::with(pg, SCHEMA, limit).await;
    for begin in ["BEGIN", "BEGIN READ ONLY"] {
        let mut client = reads.client().await;
        assert_eq!(client.query(begin).await.answer, "C(BEGIN) Z(T)");
        assert_eq!(client.0.last_words().await, "FATAL 25P03 idle transaction timeout");
    }
}

async fn begin_is_sent_at_once_where_that_is_asked_for(pg: Servers) {
    let at_once = Lines { database: "deferred_begin = false", ..Lines::default() };
    let reads = Reads::with(pg, SCHEMA, at_once).await;
    converse(&reads, "", &[("BEGIN READ ONLY", "primary"), (COUNT, ""), ("COMMIT", ""), (COUNT, "standby")]).await;
}

tests! {
    on both: [cursors_stay_where_they_are, one_that_begins_by_preparing, in_the_extended_protocol, one_that_needs_the_primary_goes_on_there, read_only_in_every_spelling],
    on 15: [
        a_cursor_does_not_move, a_snapshot_does_not_move, begin_is_sent_at_once_where_that_is_asked_for, one_that_never_began_may_not_idle_for_ever,
        one_that_never_began_needs_no_server, others_run_on_the_primary, read_only_by_default, refusals_are_the_primarys,
        repeatable_reads_are_repeatable, where_the_catalog_cannot_be_read,
    ]
}

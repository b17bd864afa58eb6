//! PREPARE, EXECUTE and DEALLOCATE by SQL: they follow their client, in one namespace with the protocol's statements.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

fn use_of(name: &str, parameters: &[&str]) -> Vec<u8> {
    [say::bind("", name, parameters), say::execute("", 0), say::sync()].concat()
}

/// The messages of a client's, each answered before the next is sent, beside what PostgreSQL itself answers.
async fn alike(pg: &Servers, proxy: &Proxy, asked: &[Vec<u8>]) {
    let mut through = Wire::login(proxy).await;
    let mut straight = Wire::open(pg.primary).await;
    straight.send(&say::startup(say::V3_0, &[("user", "trust_user"), ("database", "test1")])).await;
    straight.greet().await;
    let seen = |frames: &[wire::Frame]| {
        let shown = frames.iter().filter(|frame| frame.tag != b'S');
        let of = |frame: &wire::Frame| match frame.tag {
            b'E' => format!("{frame} {} {}", frame.field(b'M'), frame.field(b'P')),
            _ => frame.to_string(),
        };
        shown.map(of).collect::<Vec<_>>().join(" ")
    };
    for message in asked {
        let shown = String::from_utf8_lossy(message).replace('\0', "·");
        through.send(message).await;
        straight.send(message).await;
        let expected = seen(&straight.answers().await);
        assert_eq!(seen(&through.answers().await), expected, "{shown}");
    }
}

async fn what_sql_prepares_follows_its_client(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("PREPARE s (int) AS SELECT $1 + 1").await, "C(PREPARE) Z(I)");
    let (holder, other) = (proxy.app().await, proxy.app().await);
    for round in 0..3 {
        // Whichever server it was last is taken away.
        for busy in [&holder, &other] {
            busy.batch_execute("BEGIN").await.expect("a server");
            assert_eq!(wire.query("EXECUTE s(41)").await, "T D(42) C(SELECT 1) Z(I)", "round {round}");
            assert_eq!(wire.ask(&[use_of("s", &["41"])]).await, "2 D(42) C(SELECT 1) Z(I)", "round {round}");
            busy.batch_execute("COMMIT").await.expect("the end");
        }
    }
    assert_eq!(wire.query("EXPLAIN (COSTS OFF) EXECUTE s(1)").await, "T D(Result) C(EXPLAIN) Z(I)");
    // Nothing of it holds a server.
    holder.batch_execute("BEGIN").await.expect("one server");
    other.batch_execute("BEGIN").await.expect("the other");
}

/// PostgreSQL knows the rows of an EXECUTE from its Parse on: by then the server must have what it executes.
async fn an_execute_is_described_wherever_it_is(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let (holder, other) = (proxy.app().await, proxy.app().await);
    for name in ["", "named"] {
        let mut wire = Wire::login(&proxy).await;
        assert_eq!(wire.query("PREPARE s (int) AS SELECT $1 + 1").await, "C(PREPARE) Z(I)");
        assert!(wire.ask(&[say::parse(name, "EXECUTE s(1)"), say::sync()]).await.starts_with('1'));
        for busy in [&holder, &other] {
            busy.batch_execute("BEGIN").await.expect("a server");
            let anew = [say::parse("", "EXECUTE s(2)"), say::describe(b'S', ""), say::sync()];
            let earlier = [say::describe(b'S', name), say::sync()];
            // An unnamed one is replaced by the other.
            for (batch, answer) in [(&earlier[..], "t T Z(I)"), (&anew[..], "1 t T Z(I)")] {
                assert_eq!(wire.ask(batch).await, answer, "{name}");
            }
            busy.batch_execute("COMMIT").await.expect("the end");
        }
    }
}

async fn names_are_each_clients_own_and_texts_are_shared(pg: Servers) {
    for size in [1, 2] {
        let proxy = Proxy::of_size(&pg, size).await;
        let mut wires = Vec::new();
        for n in 0..6 {
            let mut wire = Wire::login(&proxy).await;
            assert_eq!(wire.query(&format!("PREPARE s AS SELECT {}", n / 2)).await, "C(PREPARE) Z(I)");
            wires.push(wire);
        }
        for _ in 0..2 {
            for (n, wire) in wires.iter_mut().enumerate() {
                assert_eq!(wire.query("EXECUTE s").await, format!("T D({}) C(SELECT 1) Z(I)", n / 2));
            }
        }
        assert_eq!(wires[0].query("DEALLOCATE s").await, "C(DEALLOCATE) Z(I)");
        assert_eq!(wires[0].query("EXECUTE s").await, "E(26000) Z(I)");
        assert_eq!(wires[1].query("EXECUTE s").await, "T D(0) C(SELECT 1) Z(I)");
        if size == 1 {
            let sql = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql";
            assert_eq!(value(&proxy.app().await, sql).await, "3");
        }
    }
}

async fn both_protocols_know_the_same_names(pg: Servers) {
    for size in [1, 3] {
        let proxy = Proxy::of_size(&pg, size).await;
        alike(
            &pg,
            &proxy,
            &[
                [say::parse("p", "SELECT $1::int * 2"), say::sync()].concat(),
                say::query("EXECUTE p(21)"),
                say::query("PREPARE p AS SELECT 1"),
                say::query("EXPLAIN (COSTS OFF) EXECUTE p(1)"),
                say::query("PREPARE s (text) AS SELECT $1 || '!'"),
                [say::parse("s", "SELECT 1"), say::sync()].concat(),
                [say::describe(b'S', "s"), say::sync()].concat(),
                use_of("s", &["x"]),
                say::query("EXECUTE s('y')"),
                [say::close(b'S', "s"), say::sync()].concat(),
                say::query("EXECUTE s('y')"),
                say::query("DEALLOCATE p"),
                use_of("p", &["1"]),
                say::query("PREPARE \"Mixed Case\" AS SELECT 3; "),
                use_of("Mixed Case", &[]),
                say::query("EXECUTE \"Mixed Case\""),
                say::query("EXECUTE mixed"),
                say::query("DEALLOCATE ALL"),
                say::query("EXECUTE \"Mixed Case\""),
                say::query("PREPARE d AS SELECT 4"),
                say::query("DISCARD ALL"),
                say::query("EXECUTE d"),
                say::query("DEALLOCATE d"),
            ],
        )
        .await;
    }
}

async fn refusals_are_postgresqls_own(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    alike(
        &pg,
        &proxy,
        &[
            say::query("PREPARE s AS SELECT 1"),
            say::query("PREPARE s AS SELECT 2"),
            // Its text is judged before its name.
            say::query("PREPARE s AS SELECT nothing_there"),
            say::query("PREPARE t AS SELECT nothing_there"),
            say::query("EXECUTE t"),
            say::query("PREPARE t AS SELEC"),
            say::query("PREPARE t AS CREATE TABLE x ()"),
            say::query("PREPARE t (nothing) AS SELECT $1"),
            say::query("EXECUTE s(1)"),
            say::query("EXECUTE s(nothing_there)"),
            say::query("/* ünïcode */ EXECUTE s , 1"),
            say::query("PREPARE n (int) AS SELECT $1"),
            say::query("EXECUTE n('x')"),
            say::query("EXECUTE n(1, 2)"),
            say::query("EXECUTE n('2017-01-01'::date)"),
            say::query("BEGIN"),
            say::query("SELECT 1/0"),
            say::query("PREPARE u AS SELECT 1"),
            say::query("EXECUTE s"),
            say::query("DEALLOCATE s"),
            [say::parse("", "EXECUTE s"), say::sync()].concat(),
            use_of("s", &[]),
            say::query("ROLLBACK"),
            say::query("EXECUTE u"),
            say::query("EXECUTE s"),
            say::query("DEALLOCATE nobody"),
            say::query("EXECUTE nobody(1)"),
        ],
    )
    .await;
}

async fn it_is_not_undone_with_its_transaction(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    alike(
        &pg,
        &proxy,
        &[
            say::query("BEGIN"),
            say::query("PREPARE s AS SELECT 1"),
            say::query("SAVEPOINT a"),
            say::query("PREPARE t AS SELECT 2"),
            say::query("EXECUTE s"),
            say::query("ROLLBACK TO a"),
            say::query("EXECUTE t"),
            say::query("ROLLBACK"),
            say::query("EXECUTE s"),
            say::query("EXECUTE t"),
            say::query("BEGIN; EXECUTE s; EXECUTE t; COMMIT"),
            say::query("BEGIN; EXECUTE s; EXECUTE nobody; COMMIT"),
            say::query("ROLLBACK"),
        ],
    )
    .await;
}

async fn by_the_extended_protocol(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let run = |text: &str| [say::run(text), say::sync()].concat();
    let described = |text: &str| [say::parse("e", text), say::describe(b'S', "e"), say::sync()].concat();
    alike(
        &pg,
        &proxy,
        &[
            run("PREPARE s (int) AS SELECT generate_series(1, $1)"),
            run("EXECUTE s(3)"),
            run("PREPARE s AS SELECT 1"),
            described("EXECUTE s(2)"),
            use_of("e", &[]),
            [say::bind("p", "e", &[]), say::execute("p", 1), say::execute("p", 0), say::sync()].concat(),
            // What its name means is looked at when it is executed.
            say::query("DEALLOCATE s"),
            use_of("e", &[]),
            say::query("PREPARE s (int) AS SELECT 'other ' || $1"),
            use_of("e", &[]),
            [say::close(b'S', "e"), say::sync()].concat(),
            // One batch, and a refusal in the middle of it.
            [say::run("PREPARE b AS SELECT 7"), say::bind("", "b", &[]), say::execute("", 0), say::sync()].concat(),
            [say::run("PREPARE c AS SELECT 8"), say::run("SELECT 1/0"), say::run("PREPARE d AS SELECT 9"), say::sync()]
                .concat(),
            use_of("c", &[]),
            use_of("d", &[]),
            [say::parse("f", "PREPARE f2 AS SELECT 1"), say::bind("", "f", &[]), say::sync()].concat(),
            use_of("f2", &[]),
            [say::parse("", "PREPARE g AS SELEC"), say::bind("", "", &[]), say::execute("", 0), say::sync()].concat(),
            [say::run("DEALLOCATE b"), say::run("EXECUTE b"), say::sync()].concat(),
        ],
    )
    .await;
}

/// Pipelined: nothing waits for an answer.
async fn in_a_pipeline(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    let all = ["PREPARE s AS SELECT 1", "EXECUTE s", "PREPARE t AS SELECT 2", "EXECUTE t", "DEALLOCATE s", "EXECUTE t"];
    wire.send(&all.map(say::query).concat()).await;
    let expected = ["C(PREPARE)", "T D(1) C(SELECT 1)", "C(PREPARE)", "T D(2) C(SELECT 1)", "C(DEALLOCATE)"];
    for answer in expected.into_iter().chain(["T D(2) C(SELECT 1)"]) {
        assert_eq!(wire::line(&wire.answers().await), format!("{answer} Z(I)"));
    }
}

async fn several_statements_in_one_text_keep_their_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    alike(
        &pg,
        &proxy,
        &[
            say::query("PREPARE s AS SELECT 1"),
            [say::parse("p", "SELECT 2"), say::sync()].concat(),
            say::query("PREPARE a AS SELECT 3; EXECUTE a; EXECUTE s"),
            use_of("a", &[]),
            say::query("EXECUTE a"),
            say::query("DEALLOCATE s; PREPARE s AS SELECT 4; DEALLOCATE p"),
            say::query("EXECUTE s"),
            use_of("s", &[]),
            use_of("p", &[]),
            say::query("PREPARE a AS SELECT 5"),
            [say::parse("a", "SELECT 5"), say::sync()].concat(),
            [say::parse("q", "SELECT 6"), say::sync()].concat(),
            say::query("PREPARE q AS SELECT 7"),
            say::query("EXECUTE q"),
            [say::close(b'S', "a"), say::sync()].concat(),
            say::query("EXECUTE a"),
            say::query("SELECT 1; DEALLOCATE nobody"),
        ],
    )
    .await;
    // The pin ends with the last of them.
    let (mut wire, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(wire.query("PREPARE a AS SELECT 3; EXECUTE a").await, "C(PREPARE) T D(3) C(SELECT 1) Z(I)");
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the free server");
    assert_eq!(wire.query("DEALLOCATE a").await, "C(DEALLOCATE) Z(I)");
    soon("its server is free", backend(&other)).await;
}

/// In one pipeline: a DEALLOCATE ALL on a server that has names of its own, and what is prepared behind it, under names that
/// were in use before as well.
async fn what_is_prepared_behind_deallocate_all_stays(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    for ended_by in ["DEALLOCATE ALL", "DEALLOCATE ALL; SELECT 0", "run DEALLOCATE ALL", "run named"] {
        let mut wire = Wire::login(&proxy).await;
        assert_eq!(wire.query("PREPARE a AS SELECT 3; SELECT 1").await, "C(PREPARE) T D(1) C(SELECT 1) Z(I)");
        assert_eq!(wire.ask(&[[say::parse("p", "SELECT 8"), say::sync()].concat()]).await, "1 Z(I)");
        let named = [say::parse("named", "DEALLOCATE ALL"), say::sync()].concat();
        assert_eq!(wire.ask(&[named]).await, "1 Z(I)");
        let (ends, said) = match ended_by {
            "run named" => (use_of("named", &[]), "2 C(DEALLOCATE ALL) Z(I)"),
            "run DEALLOCATE ALL" => ([say::run("DEALLOCATE ALL"), say::sync()].concat(), "1 2 C(DEALLOCATE ALL) Z(I)"),
            "DEALLOCATE ALL" => (say::query(ended_by), "C(DEALLOCATE ALL) Z(I)"),
            _ => (say::query(ended_by), "C(DEALLOCATE ALL) T D(0) C(SELECT 1) Z(I)"),
        };
        let name = if ended_by.contains(';') { "q" } else { "p" };
        let parsed = [say::parse(name, "SELECT 8"), say::sync()].concat();
        let execute = format!("EXECUTE {name}");
        wire.send(&[ends, parsed, use_of(name, &[]), say::query(&execute), say::query("EXECUTE a")].concat()).await;
        for expected in [said, "1 Z(I)", "2 D(8) C(SELECT 1) Z(I)", "T D(8) C(SELECT 1) Z(I)", "E(26000) Z(I)"] {
            assert_eq!(wire::line(&wire.answers().await), expected, "{ended_by}");
        }
        assert_eq!(wire.ask(&[use_of(name, &[])]).await, "2 D(8) C(SELECT 1) Z(I)", "{ended_by}");
        let gone = if name == "p" { "named" } else { "p" };
        assert_eq!(wire.ask(&[use_of(gone, &[])]).await, "E(26000) Z(I)", "{ended_by}");
    }
}

async fn a_full_server_learns_it_again(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nmax_prepared_statements = 1").start().await;
    let mut wire = Wire::login(&proxy).await;
    for n in 0..4 {
        assert_eq!(wire.query(&format!("PREPARE s{n} AS SELECT {n}")).await, "C(PREPARE) Z(I)");
    }
    for _ in 0..2 {
        for n in 0..4 {
            assert_eq!(wire.query(&format!("EXECUTE s{n}")).await, format!("T D({n}) C(SELECT 1) Z(I)"));
            assert_eq!(wire.ask(&[use_of(&format!("s{n}"), &[])]).await, format!("2 D({n}) C(SELECT 1) Z(I)"));
        }
    }
    let both = wire.query("EXECUTE s0; EXECUTE s3").await;
    assert_eq!(both, "T D(0) C(SELECT 1) T D(3) C(SELECT 1) Z(I)");
    let executed =
        [say::parse("e", "EXECUTE s1"), say::describe(b'S', "e"), say::bind("", "e", &[]), say::execute("", 0)];
    assert_eq!(wire.ask(&[executed.concat(), say::sync()]).await, "1 t T 2 D(1) C(SELECT 1) Z(I)");
}

async fn a_changed_table_is_no_error(pg: Servers) {
    let table = format!("by_sql_{}_{}", pg.major, std::process::id());
    let proxy = Proxy::of_size(&pg, 2).await;
    let other = proxy.app().await;
    other.batch_execute(&format!("CREATE TABLE {table} (a int); INSERT INTO {table} VALUES (1)")).await.expect("made");
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query(&format!("PREPARE s AS SELECT * FROM {table}")).await, "C(PREPARE) Z(I)");
    assert_eq!(wire.query("EXECUTE s").await, "T D(1) C(SELECT 1) Z(I)");
    other.batch_execute(&format!("ALTER TABLE {table} ADD b int DEFAULT 2")).await.expect("changed");
    assert_eq!(wire.query("EXECUTE s").await, "T D(1,2) C(SELECT 1) Z(I)", "repeated unseen");
    wire.query(&format!("CREATE TABLE {table}_made AS EXECUTE s")).await;
    assert_eq!(wire.query(&format!("TABLE {table}_made")).await, "T D(1,2) C(SELECT 1) Z(I)");
    other.batch_execute(&format!("DROP TABLE {table}, {table}_made")).await.expect("they go");
    assert_eq!(wire.query("EXECUTE s").await, "E(42P01) Z(I)");
    // A server that never had it cannot be taught it: that is said once.
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("one server");
    for _ in 0..2 {
        assert_eq!(wire.query("EXECUTE s").await, "E(42P01) Z(I)");
    }
    holder.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

async fn what_it_leaves_pins_when_it_is_executed(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut owner, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(owner.query("PREPARE l AS SELECT pg_advisory_lock(7740)").await, "C(PREPARE) Z(I)");
    soon("it holds nothing yet", backend(&other)).await;
    assert!(owner.query("EXECUTE l").await.ends_with("C(SELECT 1) Z(I)"));
    let held = tokio::time::timeout(std::time::Duration::from_millis(300), backend(&other)).await;
    assert!(held.is_err(), "a lock is held on the only server");
    assert!(owner.query("SELECT pg_advisory_unlock(7740)").await.ends_with("Z(I)"));
    soon("it is free", backend(&other)).await;
}

async fn where_pins_are_forbidden_only_what_pins_is(pg: Servers) {
    let proxy = Setup::new(&pg).global("pinning = 'forbid'\ndefault_pool_size = 1").start().await;
    let (mut wire, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(wire.query("PREPARE s AS SELECT 1").await, "C(PREPARE) Z(I)");
    assert_eq!(wire.query("PREPARE l AS SELECT pg_advisory_lock(7741)").await, "C(PREPARE) Z(I)");
    let executed = |text: &str| [say::run(text), say::sync()].concat();
    for refused in
        [say::query("EXECUTE l"), say::query("EXPLAIN ANALYZE EXECUTE l"), executed("EXECUTE l"), use_of("l", &[])]
    {
        assert_eq!(wire.ask(&[refused]).await, "E(0A000) Z(I)");
    }
    assert_eq!(wire.query("EXECUTE s").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[executed("EXECUTE s")]).await, "1 2 D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.query("PREPARE t AS SELECT 1; SELECT 1").await, "E(0A000) Z(I)");
    soon("its server is free", backend(&other)).await;
}

async fn names_like_ours_find_none_of_ours(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("PREPARE s AS SELECT 1").await, "C(PREPARE) Z(I)");
    for text in ["EXECUTE pgweir_1", "DEALLOCATE pgweir_1", "EXPLAIN EXECUTE pgweir_1", "DEALLOCATE pgweir_own"] {
        assert_eq!(wire.query(text).await, "E(26000) Z(I)", "{text}");
    }
    assert_eq!(wire.query("EXECUTE s").await, "T D(1) C(SELECT 1) Z(I)");
}

async fn a_large_execute_finds_it(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("PREPARE s (text) AS SELECT length($1)").await, "C(PREPARE) Z(I)");
    let text = format!("EXECUTE s('{}')", "x".repeat(100_000));
    assert_eq!(wire.query(&text).await, "T D(100000) C(SELECT 1) Z(I)");
    assert_eq!(wire.query("EXECUTE s('x')").await, "T D(1) C(SELECT 1) Z(I)");
}

async fn without_tracking_it_pins(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 2\nmax_prepared_statements = 0").start().await;
    let (mut wire, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(wire.query("PREPARE s AS SELECT 1").await, "C(PREPARE) Z(I)");
    other.batch_execute("BEGIN").await.expect("the other server");
    assert_eq!(wire.query("EXECUTE s").await, "T D(1) C(SELECT 1) Z(I)");
}

tests! {
    on both: [
        a_changed_table_is_no_error, a_full_server_learns_it_again, an_execute_is_described_wherever_it_is, both_protocols_know_the_same_names,
        by_the_extended_protocol, in_a_pipeline, it_is_not_undone_with_its_transaction,
        names_are_each_clients_own_and_texts_are_shared, refusals_are_postgresqls_own,
        several_statements_in_one_text_keep_their_server, what_sql_prepares_follows_its_client,
    ],
    on 15: [
        a_large_execute_finds_it, names_like_ours_find_none_of_ours, what_it_leaves_pins_when_it_is_executed,
        what_is_prepared_behind_deallocate_all_stays, where_pins_are_forbidden_only_what_pins_is, without_tracking_it_pins,
    ]
}

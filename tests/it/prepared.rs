//! Prepared statements follow their client from server to server, under names that are shared.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

fn use_of(name: &str, parameters: &[&str]) -> Vec<u8> {
    [say::bind("", name, parameters), say::execute("", 0), say::sync()].concat()
}

fn named(name: &str, sql: &str) -> Vec<u8> {
    [say::parse(name, sql), say::sync()].concat()
}

async fn a_statement_follows_its_client(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[named("s", "SELECT $1::int + 1")]).await, "1 Z(I)");
    let holder = proxy.app().await;
    for round in 0..3 {
        // Whichever server the statement was on is taken away.
        holder.batch_execute("BEGIN").await.expect("a server");
        let answer = wire.ask(&[use_of("s", &["41"])]).await;
        assert_eq!(answer, "2 D(42) C(SELECT 1) Z(I)", "round {round}");
        let other = proxy.app().await;
        other.batch_execute("BEGIN").await.expect("the other server");
        holder.batch_execute("COMMIT").await.expect("the end");
        assert_eq!(wire.ask(&[use_of("s", &["41"])]).await, "2 D(42) C(SELECT 1) Z(I)");
    }
}

async fn equal_texts_are_one_statement(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    for n in 0..20 {
        let mut wire = Wire::login(&proxy).await;
        let name = format!("of_{n}");
        assert_eq!(wire.ask(&[named(&name, "SELECT 7")]).await, "1 Z(I)");
        assert_eq!(wire.ask(&[use_of(&name, &[])]).await, "2 D(7) C(SELECT 1) Z(I)");
    }
    let sql = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 7'";
    assert_eq!(value(&proxy.app().await, sql).await, "1");
}

async fn names_are_each_clients_own(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wires = [Wire::login(&proxy).await, Wire::login(&proxy).await];
    for (n, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.ask(&[named("s", &format!("SELECT {n}"))]).await, "1 Z(I)");
    }
    for (n, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.ask(&[use_of("s", &[])]).await, format!("2 D({n}) C(SELECT 1) Z(I)"));
    }
}

async fn errors_name_what_the_client_named(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    wire.ask(&[named("mine", "SELECT 1")]).await;
    for (message, expected) in [
        (named("mine", "SELECT 2"), "42P05 prepared statement \"mine\" already exists"),
        (use_of("yours", &[]), "26000 prepared statement \"yours\" does not exist"),
        ([say::describe(b'S', "yours"), say::sync()].concat(), "26000 prepared statement \"yours\" does not exist"),
        (use_of("pgweir_1", &[]), "26000 prepared statement \"pgweir_"),
    ] {
        wire.send(&message).await;
        let frames = wire.answers().await;
        let error = frames.first().expect("an answer");
        let said = format!("{} {}", error.field(b'C'), error.field(b'M'));
        assert!(said.starts_with(expected), "{said}");
        assert_eq!(frames.len(), 2, "the error and ReadyForQuery");
    }
    assert_eq!(wire.ask(&[use_of("mine", &[])]).await, "2 D(1) C(SELECT 1) Z(I)");
}

async fn a_refused_text_leaves_its_name_free(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[named("s", "SELEC 1")]).await, "E(42601) Z(I)");
    assert_eq!(wire.ask(&[use_of("s", &[])]).await, "E(26000) Z(I)");
    assert_eq!(wire.ask(&[named("s", "SELECT 1")]).await, "1 Z(I)");
    assert_eq!(wire.ask(&[use_of("s", &[])]).await, "2 D(1) C(SELECT 1) Z(I)");
    // An error before it in its batch: it was skipped.
    let batch = [say::run("SELECT 1/0"), say::parse("t", "SELECT 1"), say::sync()].concat();
    assert_eq!(wire.ask(&[batch]).await, "1 E(22012) Z(I)");
    assert_eq!(wire.ask(&[use_of("t", &[])]).await, "E(26000) Z(I)");
}

async fn close_frees_the_name_only(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    for wire in [&mut one, &mut two] {
        assert_eq!(wire.ask(&[named("s", "SELECT 1")]).await, "1 Z(I)");
    }
    assert_eq!(one.ask(&[say::close(b'S', "s"), say::close(b'S', "never"), say::sync()]).await, "3 3 Z(I)");
    assert_eq!(one.ask(&[use_of("s", &[])]).await, "E(26000) Z(I)");
    assert_eq!(two.ask(&[use_of("s", &[])]).await, "2 D(1) C(SELECT 1) Z(I)");
    assert_eq!(one.ask(&[named("s", "SELECT 2")]).await, "1 Z(I)");
    assert_eq!(one.ask(&[use_of("s", &[])]).await, "2 D(2) C(SELECT 1) Z(I)");
}

async fn deallocate_forgets_the_clients_own(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    for (forget, tag) in
        [("DEALLOCATE s", "DEALLOCATE"), ("DEALLOCATE ALL", "DEALLOCATE ALL"), ("DISCARD ALL", "DISCARD ALL")]
    {
        for wire in [&mut one, &mut two] {
            wire.ask(&[say::close(b'S', "s"), say::sync()]).await;
            assert_eq!(wire.ask(&[named("s", "SELECT 1")]).await, "1 Z(I)", "{forget}");
        }
        let answer = one.query(forget).await;
        assert!(answer.starts_with(&format!("C({tag})")) && answer.ends_with("Z(I)"), "{answer}");
        assert_eq!(one.ask(&[use_of("s", &[])]).await, "E(26000) Z(I)", "{forget}");
        assert_eq!(two.ask(&[use_of("s", &[])]).await, "2 D(1) C(SELECT 1) Z(I)", "{forget}");
    }
    assert_eq!(one.query("DEALLOCATE never").await, "E(26000) Z(I)");
    // The same by the extended protocol.
    assert_eq!(one.ask(&[named("t", "SELECT 1")]).await, "1 Z(I)");
    assert_eq!(one.ask(&[say::run("DEALLOCATE t"), say::sync()]).await, "1 2 C(DEALLOCATE) Z(I)");
    assert_eq!(one.ask(&[use_of("t", &[])]).await, "E(26000) Z(I)");
}

async fn a_full_server_forgets_the_oldest(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nmax_prepared_statements = 2").start().await;
    let mut wire = Wire::login(&proxy).await;
    let names: Vec<_> = (0..5).map(|n| (format!("s{n}"), format!("SELECT {n}"))).collect();
    for (name, sql) in &names {
        assert_eq!(wire.ask(&[named(name, sql)]).await, "1 Z(I)");
    }
    for _ in 0..2 {
        for (n, (name, _)) in names.iter().enumerate() {
            assert_eq!(wire.ask(&[use_of(name, &[])]).await, format!("2 D({n}) C(SELECT 1) Z(I)"));
        }
    }
    // All of them in one batch, too.
    let all: Vec<_> = names.iter().map(|(name, _)| [say::bind("", name, &[]), say::execute("", 0)].concat()).collect();
    let answer = wire.ask(&[all.concat(), say::sync()]).await;
    let rows: Vec<_> = (0..5).map(|n| format!("2 D({n}) C(SELECT 1)")).collect();
    assert_eq!(answer, rows.join(" ") + " Z(I)");
    let kept = value(&proxy.app().await, "SELECT count(*) FROM pg_prepared_statements").await;
    assert!(kept.parse::<u32>().expect("a number") <= 2, "{kept}");
}

async fn a_changed_table_is_no_error(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let table = format!("changes_{}_{}", pg.major, std::process::id());
    let other = proxy.app().await;
    other.batch_execute(&format!("CREATE TABLE {table} (a int); INSERT INTO {table} VALUES (1)")).await.expect("made");
    let mut wire = Wire::login(&proxy).await;
    wire.ask(&[named("s", &format!("SELECT * FROM {table}"))]).await;
    assert_eq!(wire.ask(&[use_of("s", &[])]).await, "2 D(1) C(SELECT 1) Z(I)");
    let asking = [say::bind("", "s", &[]), say::describe(b'P', ""), say::execute("", 0), say::sync()].concat();
    other.batch_execute(&format!("ALTER TABLE {table} ADD b int DEFAULT 2")).await.expect("changed");
    let answer = wire.ask(std::slice::from_ref(&asking)).await;
    assert_eq!(answer, "2 T D(1,2) C(SELECT 1) Z(I)", "repeated unseen");
    other.batch_execute(&format!("ALTER TABLE {table} ADD c int DEFAULT 3")).await.expect("changed");
    assert_eq!(wire.ask(&[use_of("s", &[])]).await, "E(0A000) Z(I)", "it would not know what its rows are");
    assert_eq!(wire.ask(std::slice::from_ref(&asking)).await, "2 T D(1,2,3) C(SELECT 1) Z(I)");
    other.batch_execute(&format!("ALTER TABLE {table} ADD d int DEFAULT 4")).await.expect("changed");
    wire.query("BEGIN").await;
    assert_eq!(wire.ask(std::slice::from_ref(&asking)).await, "E(0A000) Z(E)", "in a transaction it cannot be");
    assert_eq!(wire.query("ROLLBACK").await, "C(ROLLBACK) Z(I)");
    assert_eq!(wire.ask(std::slice::from_ref(&asking)).await, "2 T D(1,2,3,4) C(SELECT 1) Z(I)");
    other.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

async fn an_unnamed_statement_outlives_its_batch(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[named("", "SELECT $1::int + 1")]).await, "1 Z(I)");
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server that has it");
    assert_eq!(wire.ask(&[use_of("", &["1"])]).await, "2 D(2) C(SELECT 1) Z(I)");
    holder.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(wire.ask(&[use_of("", &["2"])]).await, "2 D(3) C(SELECT 1) Z(I)");
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(wire.ask(&[use_of("", &["2"])]).await, "E(26000) Z(I)", "a simple query destroys it");
}

async fn another_clients_unnamed_statement_is_not_ours(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let (mut one, mut two) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(one.ask(&[named("", "SELECT 1")]).await, "1 Z(I)");
    assert_eq!(two.ask(&[named("", "SELECT 2")]).await, "1 Z(I)");
    assert_eq!(one.ask(&[use_of("", &[])]).await, "2 D(1) C(SELECT 1) Z(I)");
    assert_eq!(two.ask(&[use_of("", &[])]).await, "2 D(2) C(SELECT 1) Z(I)");
}

async fn without_tracking_names_go_as_they_are(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nmax_prepared_statements = 0").start().await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[named("as_it_is", "SELECT 1")]).await, "1 Z(I)");
    let sql = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'as_it_is'";
    assert_eq!(wire.query(sql).await, "T D(1) C(SELECT 1) Z(I)");
}

async fn search_paths_keep_equal_texts_apart(pg: Servers) {
    let direct = pg.direct("test1").await;
    let schema = format!("apart_{}_{}", pg.major, std::process::id());
    for name in ["a", "b"] {
        let sql = format!(
            "CREATE SCHEMA {schema}_{name}; CREATE TABLE {schema}_{name}.t AS SELECT '{name}' AS x; \
             GRANT USAGE ON SCHEMA {schema}_{name} TO app; GRANT SELECT ON {schema}_{name}.t TO app"
        );
        direct.batch_execute(&sql).await.expect("a schema");
    }
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wires = Vec::new();
    for name in ["a", "b"] {
        let path = format!("{schema}_{name}");
        let parameters = [("user", "app"), ("database", "test1"), ("search_path", path.as_str())];
        let mut wire = Wire::login_with(&proxy, say::V3_0, &parameters).await;
        assert_eq!(wire.ask(&[named("s", "SELECT x FROM t")]).await, "1 Z(I)");
        wires.push((name, wire));
    }
    for _ in 0..2 {
        for (name, wire) in &mut wires {
            assert_eq!(wire.ask(&[use_of("s", &[])]).await, format!("2 D({name}) C(SELECT 1) Z(I)"));
        }
    }
    direct.batch_execute(&format!("DROP SCHEMA {schema}_a, {schema}_b CASCADE")).await.expect("they go");
}

async fn a_driver_sees_nothing_of_it(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 3).await;
    let mut tasks = Vec::new();
    for client in proxy.apps(12).await {
        tasks.push(tokio::spawn(async move {
            let double = client.prepare("SELECT $1::int * 2").await.expect("prepared");
            let name = client.prepare("SELECT $1::text || '!'").await.expect("prepared");
            for n in 0..30_i32 {
                assert_eq!(client.query_one(&double, &[&n]).await.expect("a row").get::<_, i32>(0), n * 2);
                let text = n.to_string();
                let row = client.query_one(&name, &[&text]).await.expect("a row");
                assert_eq!(row.get::<_, String>(0), format!("{n}!"));
            }
            backend(&client).await;
        }));
    }
    for task in tasks {
        soon("every client ends", task).await.expect("none fails");
    }
}

tests! {
    on both: [
        a_changed_table_is_no_error, a_driver_sees_nothing_of_it, a_full_server_forgets_the_oldest,
        a_refused_text_leaves_its_name_free, a_statement_follows_its_client,
        an_unnamed_statement_outlives_its_batch, another_clients_unnamed_statement_is_not_ours,
        close_frees_the_name_only, deallocate_forgets_the_clients_own, equal_texts_are_one_statement,
        errors_name_what_the_client_named, names_are_each_clients_own, search_paths_keep_equal_texts_apart,
    ],
    on 15: [without_tracking_names_go_as_they_are]
}

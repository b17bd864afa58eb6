//! Who gets a server, which one, and for how long.

use std::collections::BTreeSet;

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

async fn a_crowd_is_served_by_three_servers(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 3).await;
    let mut tasks = Vec::new();
    for client in proxy.apps(50).await {
        tasks.push(tokio::spawn(async move {
            let mut pids = Vec::new();
            for _ in 0..10 {
                pids.push(backend(&client).await);
            }
            pids
        }));
    }
    let mut pids = BTreeSet::new();
    for task in tasks {
        pids.extend(soon("every client is served", task).await.expect("no client fails"));
    }
    assert!((1..=3).contains(&pids.len()), "{pids:?}");
    assert!(proxy.servers(&pg.direct("test1").await).await.len() <= 3);
}

async fn who_waits_first_is_served_first(pg: Servers) {
    let direct = pg.direct("test1").await;
    let proxy = Proxy::of_size(&pg, 1).await;
    let sequence = format!("fifo_{}", std::process::id());
    let sql =
        format!("DROP SEQUENCE IF EXISTS {sequence}; CREATE SEQUENCE {sequence}; GRANT USAGE ON {sequence} TO app");
    direct.batch_execute(&sql).await.expect("a sequence");
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("a server");
    let mut queue = Vec::new();
    for _ in 0..5 {
        let mut wire = Wire::login(&proxy).await;
        wire.send(&say::query(&format!("SELECT nextval('{sequence}')"))).await;
        // Until it stands in the queue.
        tokio::time::sleep(MOMENT).await;
        queue.push(wire);
    }
    holder.batch_execute("COMMIT").await.expect("the end");
    for (place, wire) in queue.iter_mut().enumerate() {
        assert_eq!(wire.ready().await, format!("T D({}) C(SELECT 1) Z(I)", place + 1));
    }
    direct.batch_execute(&format!("DROP SEQUENCE {sequence}")).await.expect("it goes");
}

async fn a_server_in_a_transaction_stays_with_its_client(pg: Servers) {
    // Among several workers a client prefers what is at home with its own.
    let proxy = Setup::new(&pg).global("default_pool_size = 2\nworkers = 1").start().await;
    let (one, two) = (proxy.app().await, proxy.app().await);
    one.batch_execute("BEGIN").await.expect("a server");
    let mine = backend(&one).await;
    for _ in 0..10 {
        assert_ne!(backend(&two).await, mine);
        assert_eq!(backend(&one).await, mine);
    }
    one.batch_execute("COMMIT").await.expect("the end");
    // Last in, first out.
    assert_eq!(backend(&two).await, mine);
}

async fn transactions_share_a_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let clients = proxy.apps(4).await;
    let pid = backend(&clients[0]).await;
    for client in &clients {
        client.batch_execute("BEGIN").await.expect("a server");
        assert_eq!(backend(client).await, pid);
        client.batch_execute("ROLLBACK").await.expect("the end");
    }
}

async fn a_session_keeps_its_server_and_leaves_it_clean(pg: Servers) {
    let proxy = Setup::new(&pg).global("pool_mode = 'session'\ndefault_pool_size = 1").start().await;
    let one = proxy.app().await;
    let pid = backend(&one).await;
    one.batch_execute("CREATE TEMP TABLE mine (); SET work_mem = '1MB'; PREPARE p AS SELECT 1; LISTEN l")
        .await
        .expect("a session's own state");
    assert_eq!(value(&one, "SHOW work_mem").await, "1MB");
    let two = proxy.app().await;
    let waits = tokio::spawn(async move { (backend(&two).await, two) });
    tokio::time::sleep(MOMENT).await;
    assert!(!waits.is_finished(), "the one server belongs to the first session");
    drop(one);
    let (other, two) = soon("the server changes hands", waits).await.expect("it is served");
    assert_eq!(other, pid);
    assert_ne!(value(&two, "SHOW work_mem").await, "1MB");
    assert_eq!(value(&two, "SELECT count(*) FROM pg_class WHERE relname = 'mine'").await, "0");
    assert_eq!(value(&two, "SELECT count(*) FROM pg_prepared_statements WHERE name = 'p'").await, "0");
    assert_eq!(value(&two, "SELECT count(*) FROM pg_listening_channels()").await, "0");
}

async fn a_statement_pool_refuses_transactions(pg: Servers) {
    let proxy = Setup::new(&pg).global("pool_mode = 'statement'\ndefault_pool_size = 1").start().await;
    let client = proxy.app().await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    let refused = refusal(client.batch_execute("BEGIN").await);
    assert_eq!(refused, "FATAL 0A000 transaction blocks not allowed in statement pooling mode");
    assert_eq!(value(&proxy.app().await, "SELECT 2").await, "2");
}

async fn the_mode_is_the_users_then_the_databases(pg: Servers) {
    let setup = Setup::new(&pg).global("pool_mode = 'session'\ndefault_pool_size = 1");
    let setup = setup.database("test1", "pool_mode = 'statement'").database("test2", "");
    let proxy = setup.rest("[users.other]\npool_mode = 'transaction'").start().await;
    assert_eq!(sqlstate(proxy.app().await.batch_execute("BEGIN").await), "0A000");
    let clients = [proxy.connect("other", "test1").await, proxy.connect("other", "test1").await];
    for client in &clients {
        client.batch_execute("BEGIN; SELECT 1; COMMIT").await.expect("transactions share the server");
    }
    let session = proxy.connect("app", "test2").await;
    session.batch_execute("SET work_mem = '1MB'").await.expect("a session");
    let other = proxy.connect("app", "test2").await;
    let waits = tokio::spawn(async move { backend(&other).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!waits.is_finished());
    drop(session);
    soon("the session's server is free", waits).await.expect("it is served");
}

async fn an_idle_server_is_closed(pg: Servers) {
    let proxy = Setup::new(&pg).global("server_idle_timeout = '500ms'").start().await;
    let direct = pg.direct("test1").await;
    let client = proxy.app().await;
    backend(&client).await;
    proxy.wait_for_servers(&direct, 0).await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
}

async fn an_old_server_is_replaced(pg: Servers) {
    let proxy = Setup::new(&pg).global("server_lifetime = '1s'\ndefault_pool_size = 1").start().await;
    let client = proxy.app().await;
    let first = backend(&client).await;
    eventually("the server is replaced", || async { backend(&client).await != first }).await;
}

async fn a_server_without_a_lifetime_is_used_once(pg: Servers) {
    let proxy = Setup::new(&pg).global("server_lifetime = 0\ndefault_pool_size = 1").start().await;
    let client = proxy.app().await;
    let mut pids = BTreeSet::new();
    for _ in 0..5 {
        pids.insert(value(&client, "SELECT pg_backend_pid()").await);
    }
    assert_eq!(pids.len(), 5, "{pids:?}");
}

async fn a_pool_with_a_client_keeps_its_least_size(pg: Servers) {
    let proxy = Setup::new(&pg).global("min_pool_size = 3\nserver_idle_timeout = '300ms'").start().await;
    let direct = pg.direct("test1").await;
    let client = proxy.app().await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    proxy.wait_for_servers(&direct, 3).await;
    tokio::time::sleep(MOMENT * 3).await;
    assert_eq!(proxy.servers(&direct).await.len(), 3);
}

async fn the_reserve_opens_for_who_waits_long(pg: Servers) {
    let global = "default_pool_size = 1\nreserve_pool_size = 1\nreserve_pool_timeout = '500ms'";
    let proxy = Setup::new(&pg).global(global).start().await;
    let clients = proxy.apps(3).await;
    clients[0].batch_execute("BEGIN").await.expect("the pool's server");
    soon("the reserve opens", clients[1].batch_execute("BEGIN")).await.expect("the reserve's server");
    let waits = tokio::time::timeout(MOMENT * 3, clients[2].batch_execute("SELECT 1"));
    assert!(waits.await.is_err(), "pool and reserve are in use");
    assert_eq!(proxy.servers(&pg.direct("test1").await).await.len(), 2);
}

async fn a_full_database_takes_an_idle_server_from_another_pool(pg: Servers) {
    let proxy = Setup::new(&pg).database("test1", "max_db_connections = 1").start().await;
    let direct = pg.direct("test1").await;
    let (app, other) = (proxy.app().await, proxy.connect("other", "test1").await);
    for client in [&app, &other, &app, &other] {
        assert_eq!(soon("an idle server is given up", one(client)).await, 1);
        assert!(proxy.servers(&direct).await.len() <= 1);
    }
    app.batch_execute("BEGIN").await.expect("a server");
    let waits = tokio::spawn(async move { one(&other).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!waits.is_finished(), "a server in use is not taken");
    app.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(soon("it is given up at last", waits).await.expect("it is served"), 1);
}

async fn one(client: &tokio_postgres::Client) -> i32 {
    value(client, "SELECT 1").await.parse().expect("a number")
}

async fn a_full_user_takes_an_idle_server_from_another_pool(pg: Servers) {
    let proxy = Setup::new(&pg).rest("[users.app]\nmax_user_connections = 1").start().await;
    let direct = pg.direct("test1").await;
    let (here, there) = (proxy.connect("app", "test1").await, proxy.connect("app", "test2").await);
    for client in [&here, &there, &here, &there] {
        soon("an idle server is given up", one(client)).await;
        // The one given up may still be on its way out.
        proxy.wait_for_servers(&direct, 1).await;
    }
    let others = [proxy.connect("other", "test1").await, proxy.connect("other", "test2").await];
    for other in &others {
        one(other).await;
    }
    assert!(proxy.servers(&direct).await.len() >= 2, "another user has no such limit");
}

async fn databases_have_names_users_and_settings_of_their_own(pg: Servers) {
    let connect_query = "connect_query = \"SET search_path TO 'of_connect_query'\"";
    let proxy = Setup::new(&pg)
        .database("alias", &format!("dbname = 'test2'\nuser = 'other'\ntimezone = 'Asia/Tokyo'\n{connect_query}"))
        .database("'*'", "")
        .start()
        .await;
    let client = proxy.connect("app", "alias").await;
    let sql = "SELECT current_database() || ' ' || session_user || ' ' || current_setting('TimeZone') || ' ' || \
               current_setting('search_path')";
    assert_eq!(value(&client, sql).await, "test2 other Asia/Tokyo of_connect_query");
    let client = proxy.connect("app", "test1").await;
    assert_eq!(value(&client, "SELECT current_database() || ' ' || session_user").await, "test1 app");
}

tests! {
    on both: [a_crowd_is_served_by_three_servers],
    on 15: [
        a_full_database_takes_an_idle_server_from_another_pool,
        a_full_user_takes_an_idle_server_from_another_pool,
        a_pool_with_a_client_keeps_its_least_size,
        a_server_in_a_transaction_stays_with_its_client,
        a_server_without_a_lifetime_is_used_once,
        a_session_keeps_its_server_and_leaves_it_clean,
        a_statement_pool_refuses_transactions,
        an_idle_server_is_closed,
        an_old_server_is_replaced,
        databases_have_names_users_and_settings_of_their_own,
        the_mode_is_the_users_then_the_databases,
        the_reserve_opens_for_who_waits_long,
        transactions_share_a_server,
        who_waits_first_is_served_first,
    ]
}

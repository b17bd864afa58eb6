//! Each limit on time ends what it limits, with its own SQLSTATE and text, and leaves nothing behind on the server.

use crate::support::proxy::value;
use crate::support::wire::say;
use crate::support::*;

async fn a_wait_in_the_queue(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nquery_wait_timeout = '500ms'").start().await;
    let clients = proxy.apps(2).await;
    clients[0].batch_execute("BEGIN").await.expect("the server");
    let refused = refusal(soon("the wait ends", clients[1].batch_execute("SELECT 1")).await);
    assert_eq!(refused, "FATAL 57P03 query_wait_timeout");
    clients[0].batch_execute("COMMIT").await.expect("the holder is untouched");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn a_wait_has_the_users_limit(pg: Servers) {
    let setup = Setup::new(&pg).global("default_pool_size = 1").rest("[users.other]\nquery_wait_timeout = '500ms'");
    let proxy = setup.start().await;
    let (holder, waiter) = (proxy.connect("other", "test1").await, proxy.connect("other", "test1").await);
    holder.batch_execute("BEGIN").await.expect("the server");
    assert_eq!(sqlstate(soon("the wait ends", waiter.batch_execute("SELECT 1")).await), "57P03");
}

async fn a_query(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nquery_timeout = '500ms'").start().await;
    let direct = pg.direct("test1").await;
    let client = proxy.app().await;
    let refused = refusal(soon("the query ends", client.batch_execute("SELECT pg_sleep(1000)")).await);
    assert_eq!(refused, "FATAL 57014 query timeout");
    let sleeping = || async { !proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("nothing runs on the server any more", sleeping).await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn many_short_queries_are_no_long_one(pg: Servers) {
    let proxy = Setup::new(&pg).global("query_timeout = '1s'").start().await;
    let client = proxy.app().await;
    client.batch_execute("BEGIN").await.expect("a server");
    for _ in 0..8 {
        client.batch_execute("SELECT pg_sleep(0.2)").await.expect("each has its own time");
    }
    // A pipeline that never runs dry, of queries that are all short.
    let mut wire = Wire::login(&proxy).await;
    let all: Vec<_> = (0..8).map(|_| say::query("SELECT pg_sleep(0.2)")).collect();
    wire.send(&all.concat()).await;
    for _ in 0..8 {
        assert_eq!(wire.ready().await, "T D() C(SELECT 1) Z(I)");
    }
}

async fn an_idle_transaction(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nidle_transaction_timeout = '500ms'").start().await;
    let direct = pg.direct("test1").await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
    assert_eq!(wire.query("SELECT pg_sleep(1)").await, "T D() C(SELECT 1) Z(T)", "a busy transaction is not idle");
    assert_eq!(wire.last_words().await, "FATAL 25P03 idle transaction timeout");
    proxy.wait_for_rest(&direct).await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn a_transaction(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\ntransaction_timeout = '1s'").start().await;
    let direct = pg.direct("test1").await;
    let client = proxy.app().await;
    client.batch_execute("BEGIN").await.expect("a server");
    let mut outcome = Ok(());
    while outcome.is_ok() {
        outcome = client.batch_execute("SELECT pg_sleep(0.1)").await;
    }
    assert_eq!(refusal(outcome), "FATAL 25P04 transaction timeout");
    proxy.wait_for_rest(&direct).await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn an_idle_client(pg: Servers) {
    let proxy = Setup::new(&pg).global("client_idle_timeout = '500ms'").start().await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.query("BEGIN; SELECT pg_sleep(1); COMMIT").await, "C(BEGIN) T D() C(SELECT 1) C(COMMIT) Z(I)");
    assert_eq!(wire.last_words().await, "FATAL 57P05 client_idle_timeout");
}

async fn an_idle_client_in_a_transaction_is_not_an_idle_client(pg: Servers) {
    let proxy = Setup::new(&pg).global("client_idle_timeout = '300ms'").start().await;
    let client = proxy.app().await;
    client.batch_execute("BEGIN").await.expect("a server");
    tokio::time::sleep(MOMENT * 3).await;
    client.batch_execute("COMMIT").await.expect("it was left alone");
}

async fn a_login(pg: Servers) {
    let global = "client_login_timeout = '3s'\nauth_type = 'scram-sha-256'";
    let proxy = Setup::new(&pg).global(global).start().await;
    let mut silent = Wire::open(proxy.port).await;
    let mut undecided = Wire::open(proxy.port).await;
    undecided.send(&say::startup(say::V3_0, &[("user", "app"), ("database", "test1")])).await;
    assert_eq!(silent.rest().await, "");
    assert!(undecided.rest().await.starts_with('R'));
    proxy.wait_for_log("client_login_timeout").await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn limits_of_one_user(pg: Servers) {
    let users = "[users.app]\nquery_timeout = '500ms'\n[users.other]\nidle_transaction_timeout = '500ms'";
    let proxy = Setup::new(&pg).rest(users).start().await;
    let (app, other) = (proxy.app().await, proxy.connect("other", "test1").await);
    let (app_sleeps, other_sleeps) =
        tokio::join!(app.batch_execute("SELECT pg_sleep(2)"), other.batch_execute("SELECT pg_sleep(2)"));
    assert_eq!(sqlstate(app_sleeps), "57014");
    other_sleeps.expect("another user may take its time");
    other.batch_execute("BEGIN").await.expect("a server");
    eventually("the idle transaction ends", || async { other.is_closed() }).await;
}

tests! {
    on both: [],
    on 15: [
        a_login, a_query, a_transaction, a_wait_has_the_users_limit, a_wait_in_the_queue, an_idle_client,
        an_idle_client_in_a_transaction_is_not_an_idle_client, an_idle_transaction, limits_of_one_user,
        many_short_queries_are_no_long_one,
    ]
}

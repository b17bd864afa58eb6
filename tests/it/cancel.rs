//! A cancel request ends its own client's query and nobody else's.

use crate::support::proxy::{backend, value};
use crate::support::wire::{Key, cancel, say};
use crate::support::*;

async fn logged_in(proxy: &Proxy, version: u32) -> Wire {
    Wire::login_with(proxy, version, &[("user", "app"), ("database", "test1")]).await
}

/// Waits until this runs on one of the proxy's servers.
async fn runs(proxy: &Proxy, direct: &tokio_postgres::Client, what: &str) {
    let running = || async { proxy.servers(direct).await.iter().any(|row| row.state == "active" && row.query == what) };
    eventually(&format!("{what} runs"), running).await;
}

async fn a_running_query(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    for (version, length) in [(say::V3_0, 4), (say::V3_2, 32)] {
        let mut wire = logged_in(&proxy, version).await;
        assert_eq!(wire.key().secret.len(), length);
        wire.send(&say::query("SELECT pg_sleep(1000)")).await;
        runs(&proxy, &direct, "SELECT pg_sleep(1000)").await;
        cancel(proxy.port, &wire.key()).await;
        assert_eq!(wire.ready().await, "T E(57014) Z(I)");
        assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    }
}

async fn a_query_in_the_queue(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let table = format!("cancel_queue_{}", std::process::id());
    let holder = proxy.app().await;
    holder.batch_execute(&format!("CREATE TABLE {table} (n int); BEGIN")).await.expect("the server");
    let mut simple = logged_in(&proxy, say::V3_0).await;
    let mut extended = logged_in(&proxy, say::V3_2).await;
    simple.send(&say::query(&format!("INSERT INTO {table} VALUES (1)"))).await;
    extended.send(&[say::run(&format!("INSERT INTO {table} VALUES (2)")), say::sync()].concat()).await;
    tokio::time::sleep(MOMENT).await;
    cancel(proxy.port, &simple.key()).await;
    assert_eq!(simple.ready().await, "E(57014) Z(I)");
    cancel(proxy.port, &extended.key()).await;
    assert_eq!(extended.ready().await, "E(57014) Z(I)");
    holder.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(simple.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(extended.ask(&[say::run("SELECT 2"), say::sync()]).await, "1 2 D(2) C(SELECT 1) Z(I)");
    assert_eq!(value(&direct, &format!("SELECT count(*) FROM {table}")).await, "0", "neither ran");
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("it goes");
}

/// The time in the queue that a cancel ended does not count towards the next one's query_wait_timeout.
async fn the_next_wait_is_a_new_one(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nquery_wait_timeout = '2s'").start().await;
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server");
    let mut wire = logged_in(&proxy, say::V3_0).await;
    wire.send(&say::query("SELECT 1")).await;
    tokio::time::sleep(MOMENT).await;
    cancel(proxy.port, &wire.key()).await;
    assert_eq!(wire.ready().await, "E(57014) Z(I)");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    wire.send(&say::query("SELECT 1")).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    holder.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(wire.ready().await, "T D(1) C(SELECT 1) Z(I)");
}

async fn an_idle_client(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let mut idle = logged_in(&proxy, say::V3_0).await;
    assert_eq!(idle.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    let busy = proxy.app().await;
    let query = tokio::spawn(async move { busy.batch_execute("SELECT pg_sleep(1)").await });
    runs(&proxy, &direct, "SELECT pg_sleep(1)").await;
    for _ in 0..5 {
        cancel(proxy.port, &idle.key()).await;
    }
    query.await.expect("it does not panic").expect("the other client's query on the same server is not hit");
    assert_eq!(idle.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
}

async fn a_client_idle_in_a_transaction(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = logged_in(&proxy, say::V3_0).await;
    assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
    cancel(proxy.port, &wire.key()).await;
    assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(T)");
    assert_eq!(wire.query("COMMIT").await, "C(COMMIT) Z(I)");
}

async fn a_wrong_key(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let mut wire = logged_in(&proxy, say::V3_2).await;
    wire.send(&say::query("SELECT pg_sleep(1)")).await;
    runs(&proxy, &direct, "SELECT pg_sleep(1)").await;
    let Key { pid, secret } = wire.key();
    let mut near = secret.clone();
    near[31] ^= 1;
    for wrong in [near, secret[..4].to_vec(), secret[..31].to_vec(), [&secret[..], &[0]].concat()] {
        cancel(proxy.port, &Key { pid, secret: wrong }).await;
    }
    cancel(proxy.port, &Key { pid: pid ^ 1, secret }).await;
    assert_eq!(wire.ready().await, "T D() C(SELECT 1) Z(I)");
}

async fn the_servers_own_key_is_worth_nothing(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut wire = logged_in(&proxy, say::V3_0).await;
    let client = proxy.app().await;
    assert_ne!(wire.key().pid, backend(&client).await);
    assert!(wire.key().pid > 0);
    assert_eq!(wire.query("").await, "I Z(I)");
}

async fn by_a_driver(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let direct = pg.direct("test1").await;
    let client = proxy.app().await;
    let token = client.cancel_token();
    let query = tokio::spawn(async move { (client.batch_execute("SELECT pg_sleep(1000)").await, client) });
    runs(&proxy, &direct, "SELECT pg_sleep(1000)").await;
    token.cancel_query(tokio_postgres::NoTls).await.expect("it is sent");
    let (outcome, client) = soon("the query ends", query).await.expect("it does not panic");
    assert_eq!(sqlstate(outcome), "57014");
    assert_eq!(value(&client, "SELECT 1").await, "1");
}

/// Thirty clients on three servers; half of them are cancelled again and again, at any moment. The others' queries are
/// never hit, and a cancelled client loses no more than the query of that moment.
async fn a_storm(pg: Servers) {
    const ROUNDS: usize = 60;
    let proxy = Proxy::of_size(&pg, 3).await;
    let mut calm = Vec::new();
    let mut stormy = Vec::new();
    let mut cancels = Vec::new();
    for n in 0..30 {
        let client = proxy.app().await;
        if n % 2 == 0 {
            calm.push(tokio::spawn(async move {
                for round in 0..ROUNDS {
                    let sql = format!("SELECT pg_sleep(0.002), {round}");
                    client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("client {n}: {error:?}"));
                }
            }));
            continue;
        }
        let token = client.cancel_token();
        cancels.push(tokio::spawn(async move {
            loop {
                token.cancel_query(tokio_postgres::NoTls).await.expect("it is sent");
                tokio::time::sleep(std::time::Duration::from_millis(n % 7)).await;
            }
        }));
        stormy.push(tokio::spawn(async move {
            let mut hit = 0;
            for round in 0..ROUNDS {
                match client.simple_query(&format!("SELECT pg_sleep(0.002), {round}")).await {
                    Ok(_) => {}
                    Err(error) if error.code().is_some_and(|code| code.code() == "57014") => hit += 1,
                    Err(error) => panic!("client {n}: {error:?}"),
                }
            }
            hit
        }));
    }
    for task in calm {
        soon("a calm client", task).await.expect("nobody else's query is cancelled");
    }
    let mut hit = 0;
    for task in stormy {
        hit += soon("a stormy client", task).await.expect("nothing but 57014");
    }
    cancels.iter().for_each(|task| task.abort());
    assert!(hit > 0, "some cancel met its query");
    for client in proxy.apps(6).await {
        assert_eq!(value(&client, "SELECT 1").await, "1");
    }
    assert!(proxy.servers(&pg.direct("test1").await).await.len() <= 3);
}

tests! {
    on both: [a_query_in_the_queue, a_running_query, a_storm],
    on 15: [a_client_idle_in_a_transaction, a_wrong_key, an_idle_client, by_a_driver, the_next_wait_is_a_new_one, the_servers_own_key_is_worth_nothing]
}

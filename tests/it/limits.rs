//! How many clients are let in: whoever is refused is told 53300 and which limit it was.

use crate::support::*;

const MAX_CLIENTS: &str = "FATAL 53300 no more connections allowed (max_client_conn)";
const DATABASE_CLIENTS: &str = "FATAL 53300 client connections exceeded (max_db_client_connections)";
const USER_CLIENTS: &str = "FATAL 53300 client connections exceeded (max_user_client_connections)";

/// Somebody left: the place is free as soon as pgweir has seen it.
async fn room_again(proxy: &Proxy, user: &str, database: &str) {
    eventually("a place is free again", || async { proxy.try_connect(user, database).await.is_ok() }).await;
}

async fn clients_in_all(pg: Servers) {
    let proxy = Setup::new(&pg).global("max_client_conn = 2").start().await;
    let mut clients = vec![proxy.connect("app", "test1").await, proxy.connect("other", "test2").await];
    assert_eq!(refusal(proxy.try_connect("app", "test2").await), MAX_CLIENTS);
    clients.pop();
    room_again(&proxy, "app", "test2").await;
}

async fn clients_that_say_nothing_count(pg: Servers) {
    let proxy = Setup::new(&pg).global("max_client_conn = 1").start().await;
    let silent = Wire::open(proxy.port).await;
    let refused = || async {
        let outcome = proxy.try_connect("app", "test1").await;
        outcome.is_err_and(|error| error.code().is_some_and(|code| code.code() == "53300"))
    };
    eventually("the silent connection is counted", refused).await;
    drop(silent);
    room_again(&proxy, "app", "test1").await;
}

async fn clients_of_a_database(pg: Servers) {
    let setup = Setup::new(&pg).global("max_db_client_connections = 3");
    let proxy = setup.database("test1", "max_db_client_connections = 1").database("test2", "").start().await;
    let one = proxy.connect("app", "test1").await;
    assert_eq!(refusal(proxy.try_connect("other", "test1").await), DATABASE_CLIENTS);
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(proxy.connect("app", "test2").await);
    }
    assert_eq!(refusal(proxy.try_connect("app", "test2").await), DATABASE_CLIENTS);
    drop(one);
    room_again(&proxy, "other", "test1").await;
}

async fn clients_of_a_user(pg: Servers) {
    let setup = Setup::new(&pg).global("max_user_client_connections = 2");
    let proxy = setup.rest("[users.app]\nmax_user_client_connections = 1").start().await;
    let one = proxy.connect("app", "test1").await;
    assert_eq!(refusal(proxy.try_connect("app", "test2").await), USER_CLIENTS);
    let others = [proxy.connect("other", "test1").await, proxy.connect("other", "test2").await];
    assert_eq!(refusal(proxy.try_connect("other", "test1").await), USER_CLIENTS);
    drop((one, others));
    room_again(&proxy, "app", "test1").await;
    room_again(&proxy, "other", "test1").await;
}

tests! {
    on both: [],
    on 15: [clients_in_all, clients_of_a_database, clients_of_a_user, clients_that_say_nothing_count]
}

//! Who gets a server, which one, and for how long.

use crate::support::proxy::backend;
use crate::support::*;

async fn a_crowd_is_served_by_three_servers(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 3).await;
    let clients = proxy.apps(50).await;
    let mut tasks = Vec::new();
    for client in clients {
        tasks.push(tokio::spawn(async move {
            let mut pids = Vec::new();
            for _ in 0..10 {
                pids.push(backend(&client).await);
            }
            pids
        }));
    }
    let mut pids = std::collections::BTreeSet::new();
    for task in tasks {
        pids.extend(soon("every client is served", task).await.expect("no client fails"));
    }
    assert!((1..=3).contains(&pids.len()), "{pids:?}");
    assert!(proxy.servers(&pg.direct("test1").await).await.len() <= 3);
}

on_both!(a_crowd_is_served_by_three_servers);

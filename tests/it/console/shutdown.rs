//! SHUTDOWN in its forms.

use super::*;

async fn at_once(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let mut busy = Wire::login(&proxy).await;
    assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
    let mut console = Wire::login_with(&proxy, say::V3_0, &[("user", "app"), ("database", "pgbouncer")]).await;
    console.send(&say::query("SHUTDOWN")).await;
    assert!(proxy.end().await.success());
    assert_eq!(busy.last_words().await, "FATAL 57P01 server shutting down");
    let rest = console.rest().await;
    assert!(!rest.contains('C'), "no answer but the end: {rest}");
}

async fn wait_for_clients(pg: Servers) {
    let dir = std::env::temp_dir().join(format!("pgweir-shutdown-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("it is new");
    let setup = setup(&pg).global("shutdown_timeout = 0\nunix_socket_dir = '${IT_DIR}'");
    let mut proxy = setup.env("IT_DIR", &dir.display().to_string()).start().await;
    let client = proxy.app().await;
    let console = admin(&proxy).await;
    console.batch_execute("SHUTDOWN WAIT_FOR_CLIENTS").await.expect("it is answered");
    let refused = || async { tokio::net::TcpStream::connect(("127.0.0.1", proxy.port)).await.is_err() };
    eventually("nobody listens", refused).await;
    assert_eq!(value(&client, "SELECT 1").await, "1", "who is here may stay");
    assert_eq!(refusal(console.batch_execute("RESUME").await), "ERROR 55000 pooler is shutting down");
    assert_eq!(sqlstate(console.batch_execute("RELOAD").await), "F0000");
    // By the unix socket only administrators come in.
    let url = |database: &str| format!("host={} port={} user=app dbname={database}", dir.display(), proxy.port);
    let said = psql(&url("pgbouncer"), &pg.password, "SHOW STATE").await;
    assert!(said.success, "{said:?}");
    let said = psql(&url("test1"), &pg.password, "SELECT 1").await;
    assert!(said.err.contains("pooler is shutting down"), "{said:?}");
    drop(client);
    // A console does not hold it up.
    assert!(proxy.end().await.success());
    let _gone = std::fs::remove_dir_all(dir);
}

async fn wait_for_servers(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let (mut idle, mut busy) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
    let console = admin(&proxy).await;
    console.batch_execute("SHUTDOWN WAIT_FOR_SERVERS").await.expect("it is answered");
    assert_eq!(idle.last_words().await, "FATAL 57P01 server shutting down");
    assert_eq!(proxy.ended(), None);
    busy.send(&say::query("COMMIT")).await;
    assert_eq!(busy.ready().await, "C(COMMIT) Z(I)");
    assert!(proxy.end().await.success());
}

tests! {
    on both: [],
    on 15: [at_once, wait_for_clients, wait_for_servers]
}

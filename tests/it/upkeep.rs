//! A pool under strain: killed servers, many clients, and nothing left over afterwards.

use crate::support::proxy::{Signal, backend, value};
use crate::support::wire::say;
use crate::support::*;

async fn killed_idle_servers_are_nobodys_trouble(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 4).await;
    let direct = pg.direct("test1").await;
    let clients = proxy.apps(4).await;
    for _ in 0..5 {
        for client in &clients {
            client.batch_execute("BEGIN").await.expect("a server each");
        }
        for client in &clients {
            client.batch_execute("COMMIT").await.expect("the end");
        }
        let pids: Vec<i32> = proxy.servers(&direct).await.iter().map(|row| row.pid).collect();
        direct.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid", &[&pids]).await.expect("killed");
        let gone = || async { proxy.servers(&direct).await.iter().all(|row| !pids.contains(&row.pid)) };
        eventually("they are gone", gone).await;
        for client in &clients {
            assert_eq!(value(client, "SELECT 1").await, "1");
        }
    }
}

async fn a_killed_busy_server_takes_its_own_client_only(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let direct = pg.direct("test1").await;
    let (mut hit, other) = (Wire::login(&proxy).await, proxy.app().await);
    other.batch_execute("BEGIN").await.expect("a server");
    let spared = backend(&other).await;
    hit.send(&say::query("SELECT pg_sleep(1000)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    let pid = proxy.servers(&direct).await.iter().find(|row| row.pid != spared).expect("the other one").pid;
    direct.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.expect("killed");
    let words = hit.last_words().await;
    assert_eq!(words, "FATAL 57P01 terminating connection due to administrator command");
    assert_eq!(backend(&other).await, spared);
    other.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

/// Servers count sessions that end without a word, and log those that are reset.
async fn servers_are_left_with_a_word(pg: Servers) {
    let direct = pg.direct("postgres").await;
    let name = format!("upkeep_left_{}", std::process::id());
    direct.batch_execute(&format!("CREATE DATABASE {name}")).await.expect("a database");
    let lines = format!("dbname = '{name}'\npool_size = 3");
    let servers = format!("servers = ['127.0.0.1:{}']\n{lines}", pg.primary);
    let global = "admin_users = 'app'\nprobe_user = 'trust_user'\nserver_lifetime = '1h'";
    let mut proxy = Setup::new(&pg).global(global).database("left", &lines).database("listed", &servers).start().await;
    for database in ["left", "listed"] {
        for client in [proxy.connect("app", database).await, proxy.connect("app", database).await] {
            client.batch_execute("BEGIN; SELECT 1; COMMIT").await.expect("a server");
        }
    }
    let console = proxy.connect("app", "pgbouncer").await;
    console.batch_execute("RECONNECT").await.expect("idle ones are closed");
    let client = proxy.connect("app", "listed").await;
    client.batch_execute("BEGIN").await.expect("a server");
    console.batch_execute("RECONNECT").await.expect("this one when it comes back");
    client.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(value(&client, "SELECT 1").await, "1");
    drop((client, console));
    proxy.signal(Signal::TERM);
    assert!(proxy.end().await.success());
    let sql = "SELECT sessions, sessions_abandoned, (SELECT count(*) FROM pg_stat_activity WHERE datname = $1) FROM \
               pg_stat_database WHERE datname = $1";
    let counted = async || {
        let row = direct.query_one(sql, &[&name]).await.expect("its row");
        (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2))
    };
    eventually("all have ended", || async { counted().await.2 == 0 }).await;
    let (sessions, abandoned, _) = counted().await;
    assert!(sessions >= 4, "{sessions}");
    assert_eq!(abandoned, 0, "of {sessions}");
    direct.batch_execute(&format!("DROP DATABASE {name}")).await.expect("it goes");
}

async fn users_never_share_a_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut tasks = Vec::new();
    for user in ["app", "other", "trust_user"].repeat(4) {
        let client = proxy.connect(user, "test1").await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..30 {
                assert_eq!(
                    value(&client, "SELECT session_user || ' ' || current_user").await,
                    format!("{user} {user}")
                );
            }
        }));
    }
    for task in tasks {
        soon("every client ends", task).await.expect("nobody is somebody else");
    }
}

async fn hundreds_of_clients_come_and_go(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 5\nmax_client_conn = 1000").start().await;
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("pgweir runs").count();
    let first = proxy.app().await;
    assert_eq!(value(&first, "SELECT 1").await, "1");
    let before = descriptors();
    for _ in 0..2 {
        let clients = proxy.apps(300).await;
        let mut tasks = Vec::new();
        for client in clients {
            tasks.push(tokio::spawn(async move {
                for n in 0..5_i32 {
                    let row = client.query_one("SELECT $1::int", &[&n]).await.expect("a row");
                    assert_eq!(row.get::<_, i32>(0), n);
                }
            }));
        }
        for task in tasks {
            soon("every client is served", task).await.expect("none fails");
        }
        // At most the pool's other servers are more than there was.
        eventually("nothing is left over", || async { descriptors() <= before + 4 }).await;
    }
    assert_eq!(value(&first, "SELECT 2").await, "2");
}

async fn a_client_that_does_not_read_blocks_nobody(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 2).await;
    let mut deaf = Wire::login(&proxy).await;
    deaf.send(&say::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")).await;
    tokio::time::sleep(MOMENT).await;
    let other = proxy.app().await;
    for _ in 0..50 {
        assert_eq!(soon("the other server answers", value(&other, "SELECT 1")).await, "1");
    }
    assert!(proxy.memory() < 64 << 10, "{} kB", proxy.memory());
    let mut rows = 0;
    while let Some(frame) = deaf.frame().await {
        match frame.tag {
            b'D' => rows += 1,
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 1_000_000);
}

/// A short answer's tail may still drain to a client while its server works for another.
async fn a_slow_reader_does_not_hold_a_finished_server(pg: Servers) {
    let proxy = Proxy::of_size(&pg, 1).await;
    let mut slow = Wire::login(&proxy).await;
    assert_eq!(slow.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    slow.send(&say::query("SELECT repeat('x', 50000)")).await;
    let other = proxy.app().await;
    assert_eq!(soon("the server is free", value(&other, "SELECT 1")).await, "1");
    assert!(slow.ready().await.ends_with("C(SELECT 1) Z(I)"));
}

tests! {
    on both: [killed_idle_servers_are_nobodys_trouble],
    on 15: [
        a_client_that_does_not_read_blocks_nobody, a_killed_busy_server_takes_its_own_client_only,
        a_slow_reader_does_not_hold_a_finished_server, hundreds_of_clients_come_and_go, servers_are_left_with_a_word, users_never_share_a_server,
    ]
}

/// A server that tells its clients of a new setting, in a room of the test's own.
mod room {
    use pgweir::demo::{Room, free_ports};

    use super::*;
    use crate::support::servers::bin15;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_setting_that_changes_on_the_server() {
        let room = Room::open("it-setting").expect("a room");
        let port = free_ports(22_000, 1).expect("a port is free")[0];
        let cluster = room.primary(&bin15(), port, &[]).expect("a server");
        let proxy = Setup::before(port, room.password()).global("default_pool_size = 1").start().await;
        let mut wire = Wire::login(&proxy).await;
        assert_eq!(wire.query("SHOW TimeZone").await, "T D(UTC) C(SHOW) Z(I)");
        cluster.psql("postgres", "ALTER SYSTEM SET timezone = 'Asia/Tokyo'").expect("it is written");
        cluster.psql("postgres", "SELECT pg_reload_conf()").expect("it is read");
        // As without pgweir: the next answer tells of it.
        let told = "T D(Asia/Tokyo) C(SHOW) S(TimeZone=Asia/Tokyo) Z(I)";
        let mut answer = String::new();
        while answer != told {
            answer = wire.query("SHOW TimeZone").await;
            assert!(answer == told || answer == "T D(UTC) C(SHOW) Z(I)", "{answer}");
        }
        assert_eq!(wire.query("SHOW TimeZone").await, "T D(Asia/Tokyo) C(SHOW) Z(I)");
        let proxy = Setup::before(port, room.password()).start().await;
        let mut wire = Wire::login(&proxy).await;
        assert_eq!(wire.query("SHOW TimeZone").await, "T D(Asia/Tokyo) C(SHOW) Z(I)");
    }
}

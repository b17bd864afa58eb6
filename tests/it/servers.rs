//! Several servers behind one name: who is primary, what happens when one goes, and when another takes its place.

use crate::support::proxy::value;
use crate::support::*;

const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";
const PORT: &str = "SELECT inet_server_port()";

fn list(first: u16, second: u16) -> String {
    format!("servers = ['127.0.0.1:{first}', '127.0.0.1:{second}']")
}

fn probe(pg: &Servers) -> String {
    format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", pg.password)
}

async fn a_list_of_servers_leads_to_the_primary(pg: Servers) {
    for (first, second) in [(pg.standby, pg.primary), (pg.primary, pg.standby)] {
        for global in [probe(&pg), String::new()] {
            let proxy = Setup::new(&pg).global(&global).database("test1", &list(first, second)).start().await;
            for client in proxy.apps(5).await {
                assert_eq!(value(&client, IN_RECOVERY).await, "f");
                assert_eq!(value(&client, PORT).await, pg.primary.to_string());
            }
        }
    }
}

async fn a_list_without_a_primary_holds_and_says_so(pg: Servers) {
    let lines = format!("servers = ['127.0.0.1:{}']", pg.standby);
    let global = probe(&pg) + "\nquery_wait_timeout = '1s'\nclient_login_timeout = '2s'";
    let proxy = Setup::new(&pg).global(&global).database("test1", &lines).start().await;
    assert!(soon("the login ends", proxy.try_connect("app", "test1")).await.is_err());
    proxy.wait_for_log("standby").await;
}

async fn a_lone_standby_serves_as_a_host(pg: Servers) {
    let proxy = Setup::before(pg.standby, &pg.password).start().await;
    let client = proxy.app().await;
    assert_eq!(value(&client, IN_RECOVERY).await, "t");
    assert_eq!(sqlstate(client.batch_execute("CREATE TABLE no ()").await), "25006");
    assert_eq!(value(&client, "SELECT 1").await, "1");
}

async fn several_hosts_are_equal(pg: Servers) {
    let direct = pg.direct("test1").await;
    let sockets = pg.sockets.display();
    let hosts = format!("host = ['127.0.0.1', '{sockets}']\nport = {}", pg.primary);
    let way = "SELECT CASE WHEN inet_server_port() IS NULL THEN 'unix' ELSE 'tcp' END";
    for (balance, expected) in [("round-robin", &["tcp", "unix"][..]), ("disable", &["tcp"])] {
        let lines = format!("{hosts}\nload_balance_hosts = '{balance}'");
        let proxy = Setup::new(&pg).database("test1", &lines).start().await;
        let mut ways = std::collections::BTreeSet::new();
        let clients = proxy.apps(6).await;
        for client in &clients {
            client.batch_execute("BEGIN").await.expect("a server");
            ways.insert(value(client, way).await);
        }
        assert_eq!(ways.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{balance}");
        assert_eq!(proxy.servers(&direct).await.len(), 6);
    }
}

async fn a_dead_host_among_several_is_passed_over(pg: Servers) {
    let sockets = pg.sockets.display();
    for hosts in [format!("'127.0.0.2', '{sockets}'"), format!("'{sockets}', '127.0.0.2'")] {
        let lines = format!("host = [{hosts}]\nport = {}", pg.primary);
        let proxy = Setup::new(&pg).database("test1", &lines).start().await;
        for client in proxy.apps(4).await {
            soon("the living host serves", client.batch_execute("BEGIN; SELECT 1; COMMIT")).await.expect("it does");
        }
    }
}

tests! {
    on both: [a_list_of_servers_leads_to_the_primary],
    on 15: [
        a_dead_host_among_several_is_passed_over, a_list_without_a_primary_holds_and_says_so,
        a_lone_standby_serves_as_a_host, several_hosts_are_equal,
    ]
}

/// Servers that stop, in a room of the test's own.
mod room {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use pgweir::demo::{Cluster, Room, Stop, free_ports};

    use super::*;
    use crate::support::servers::bin15;
    use crate::support::wire::say;

    fn open(name: &str) -> (Room, Cluster) {
        let room = Room::open(name).expect("a room");
        let port = free_ports(22_000, 1).expect("a port is free")[0];
        let cluster = room.primary(&bin15(), port, &[]).expect("a server");
        (room, cluster)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_answers_for_a_while() {
        let (room, mut cluster) = open("it-silence");
        let servers = format!("servers = ['127.0.0.1:{}']", cluster.port());
        let setup = Setup::before(cluster.port(), room.password()).global("query_wait_timeout = '1s'");
        let global = format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", room.password());
        let setup =
            setup.global(&global).database("test1", "").database("listed", &format!("dbname = 'test1'\n{servers}"));
        let proxy = setup.start().await;
        for database in ["test1", "listed"] {
            assert_eq!(value(&proxy.connect("app", database).await, "SELECT 1").await, "1");
        }
        cluster.stop(Stop::Fast);
        for (database, why) in [
            ("test1", "FATAL 57P03 query_wait_timeout: server login has been failing (server_login_retry)"),
            ("listed", "FATAL 57P03 query_wait_timeout: no server of this database is a primary"),
        ] {
            let client = proxy.connect("app", database).await;
            let refused = || async {
                let client = proxy.connect("app", database).await;
                refusal(client.batch_execute("SELECT 1").await) == why
            };
            eventually(why, refused).await;
            drop(client);
        }
        cluster.start().expect("it starts again");
        for database in ["test1", "listed"] {
            let again = || async {
                let client = proxy.connect("app", database).await;
                client.batch_execute("SELECT 1").await.is_ok()
            };
            eventually("it serves again", again).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_restart_costs_only_what_was_under_way() {
        let (room, mut cluster) = open("it-restart");
        let proxy = Setup::before(cluster.port(), room.password()).global("default_pool_size = 4").start().await;
        let (mut idle, mut open, mut busy) =
            (Wire::login(&proxy).await, Wire::login(&proxy).await, Wire::login(&proxy).await);
        assert_eq!(idle.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
        assert_eq!(idle.ask(&[say::parse("s", "SELECT 7"), say::sync()]).await, "1 Z(I)");
        assert_eq!(open.query("BEGIN").await, "C(BEGIN) Z(T)");
        busy.send(&say::query("SELECT pg_sleep(1000)")).await;
        tokio::time::sleep(MOMENT).await;
        cluster.stop(Stop::Fast);
        for wire in [&mut open, &mut busy] {
            let words = wire.last_words().await;
            assert!(words.starts_with("FATAL 57P01 "), "{words}");
        }
        // Who asks while it is down waits until it is up.
        idle.send(&[say::bind("", "s", &[]), say::execute("", 0), say::sync()].concat()).await;
        tokio::time::sleep(MOMENT).await;
        cluster.start().expect("it starts again");
        assert_eq!(idle.ready().await, "2 D(7) C(SELECT 1) Z(I)");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_crash_is_told_to_those_it_hits() {
        let (room, mut cluster) = open("it-crash");
        let proxy = Setup::before(cluster.port(), room.password()).start().await;
        let mut idle = Wire::login(&proxy).await;
        assert_eq!(idle.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
        let mut open = Wire::login(&proxy).await;
        assert_eq!(open.query("BEGIN").await, "C(BEGIN) Z(T)");
        cluster.stop(Stop::Kill);
        let words = open.last_words().await;
        assert!(words.starts_with("FATAL 08006 ") || words.starts_with("FATAL 57P0"), "{words}");
        cluster.start().expect("it recovers");
        assert_eq!(idle.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    }

    /// The primary dies, the standby takes over: clients that write all the time lose what was under way and go on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_moves_to_a_promoted_standby() {
        let (room, mut primary) = open("it-promotion");
        let port = free_ports(22_000, 1).expect("a port is free")[0];
        let mut standby = room.standby(&primary, port, "slot").expect("a standby");
        primary.psql_as("app", "test1", "CREATE TABLE moves (n int)").expect("a table");
        let global = format!("probe_user = 'pgweir_probe'\nprobe_password = '{}'", room.password());
        let setup = Setup::before(primary.port(), room.password()).global(&global);
        let proxy = setup.database("test1", &list(primary.port(), standby.port())).start().await;
        let waiting = proxy.app().await;
        assert_eq!(value(&waiting, PORT).await, primary.port().to_string());

        let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let mut writers = Vec::new();
        for _ in 0..4 {
            let (config, done, written) = (proxy.config("app", "test1"), done.clone(), written.clone());
            writers.push(tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let Ok(client) = crate::support::proxy::connect(&config).await else { continue };
                    while client.batch_execute("INSERT INTO moves VALUES (1)").await.is_ok() {
                        written.fetch_add(1, Ordering::Relaxed);
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                }
            }));
        }
        let some = || async { written.load(Ordering::Relaxed) > 20 };
        eventually("they write", some).await;
        primary.stop(Stop::Kill);
        // What a client asks while there is no primary is held for the new one.
        let held = tokio::spawn(async move { (value(&waiting, PORT).await, waiting) });
        tokio::time::sleep(MOMENT).await;
        standby.promote().expect("it takes over");
        let (at, waiting) = soon("it is served by the new primary", held).await.expect("no panic");
        assert_eq!(at, standby.port().to_string());
        let before = written.load(Ordering::Relaxed);
        let more = || async { written.load(Ordering::Relaxed) > before + 20 };
        eventually("they write again", more).await;
        done.store(true, Ordering::Relaxed);
        for writer in writers {
            soon("a writer ends", writer).await.expect("no panic");
        }
        assert_eq!(value(&waiting, IN_RECOVERY).await, "f");
        // The old primary comes back and believes itself to be one: it gets nothing.
        primary.start().expect("it starts");
        proxy.wait_for_log("fenced").await;
        for client in proxy.apps(3).await {
            assert_eq!(value(&client, PORT).await, standby.port().to_string());
        }
    }
}

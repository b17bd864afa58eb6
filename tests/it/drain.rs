//! The process's life: what each signal does to clients, and where it listens.

use crate::support::proxy::{Signal, connect, value};
use crate::support::wire::say;
use crate::support::*;

const GOODBYE: &str = "FATAL 57P01 server shutting down";

async fn refuses_connections(proxy: &Proxy) {
    let refused = || async { tokio::net::TcpStream::connect(("127.0.0.1", proxy.port)).await.is_err() };
    eventually("nobody listens", refused).await;
}

async fn sigterm_waits_for_clients_to_leave(pg: Servers) {
    let mut proxy = Setup::new(&pg).global("shutdown_timeout = 0").start().await;
    let (idle, busy) = (proxy.app().await, proxy.app().await);
    busy.batch_execute("BEGIN").await.expect("a server");
    proxy.signal(Signal::TERM);
    refuses_connections(&proxy).await;
    for _ in 0..3 {
        assert_eq!(value(&idle, "SELECT 1").await, "1", "who is here may stay");
        assert_eq!(value(&busy, "SELECT 1").await, "1");
    }
    busy.batch_execute("COMMIT").await.expect("the end");
    drop(busy);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(proxy.ended(), None);
    drop(idle);
    assert!(proxy.end().await.success());
    assert!(proxy.log().contains("process down"));
}

async fn sigterm_has_a_limit(pg: Servers) {
    let mut proxy = Setup::new(&pg).global("shutdown_timeout = '1s'").start().await;
    let (mut idle, mut busy) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
    proxy.signal(Signal::TERM);
    assert_eq!(idle.last_words().await, GOODBYE);
    assert_eq!(busy.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(T)", "a transaction may end");
    busy.send(&say::query("COMMIT")).await;
    assert_eq!(busy.ready().await, "C(COMMIT) Z(I)");
    assert_eq!(busy.last_words().await, GOODBYE);
    assert!(proxy.end().await.success());
}

async fn sigint_lets_transactions_end(pg: Servers) {
    let mut proxy = Setup::new(&pg).global("default_pool_size = 1").start().await;
    let (mut idle, mut busy, mut queued) =
        (Wire::login(&proxy).await, Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
    queued.send(&say::query("SELECT 1")).await;
    tokio::time::sleep(MOMENT).await;
    proxy.signal(Signal::INT);
    assert_eq!(idle.last_words().await, GOODBYE);
    assert_eq!(queued.last_words().await, GOODBYE);
    busy.send(&say::query("SELECT 1; COMMIT")).await;
    assert_eq!(busy.ready().await, "T D(1) C(SELECT 1) C(COMMIT) Z(I)");
    assert_eq!(busy.last_words().await, GOODBYE);
    assert!(proxy.end().await.success());
}

async fn sigint_waits_for_the_running_query(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    let direct = pg.direct("test1").await;
    let mut wire = Wire::login(&proxy).await;
    wire.send(&say::query("SELECT pg_sleep(1)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    proxy.signal(Signal::INT);
    assert_eq!(wire.ready().await, "T D() C(SELECT 1) Z(I)");
    assert_eq!(wire.last_words().await, GOODBYE);
    assert!(proxy.end().await.success());
}

async fn sigquit_ends_at_once(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    let direct = pg.direct("test1").await;
    let (mut idle, mut open, mut busy) =
        (Wire::login(&proxy).await, Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(open.query("BEGIN").await, "C(BEGIN) Z(T)");
    busy.send(&say::query("SELECT pg_sleep(1000)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    proxy.signal(Signal::QUIT);
    assert!(proxy.end().await.success());
    for wire in [&mut idle, &mut open, &mut busy] {
        assert_eq!(wire.last_words().await, GOODBYE);
    }
    let gone = || async { !proxy.servers(&direct).await.iter().any(|row| row.state != "active") };
    eventually("the servers' idle sessions end", gone).await;
}

async fn a_second_signal_ends_at_once(pg: Servers) {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::TERM, Signal::INT), (Signal::INT, Signal::TERM)] {
        let mut proxy = Setup::new(&pg).global("shutdown_timeout = 0").start().await;
        let mut wire = Wire::login(&proxy).await;
        assert_eq!(wire.query("BEGIN").await, "C(BEGIN) Z(T)");
        proxy.signal(first);
        refuses_connections(&proxy).await;
        proxy.signal(Signal::HUP);
        tokio::time::sleep(MOMENT).await;
        assert_eq!(proxy.ended(), None, "{first:?} waits");
        proxy.signal(second);
        assert!(proxy.end().await.success());
        assert_eq!(wire.last_words().await, GOODBYE);
    }
}

async fn pause_holds_and_resume_releases(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    let busy = proxy.app().await;
    busy.batch_execute("BEGIN").await.expect("a server");
    proxy.signal(Signal::USR1);
    proxy.wait_for_log("PAUSE").await;
    assert_eq!(value(&busy, "SELECT 1").await, "1", "a transaction goes on");
    busy.batch_execute("COMMIT").await.expect("the end");
    let client = proxy.app().await;
    let held = tokio::spawn(async move { value(&client, "SELECT 2").await });
    let held_too = tokio::spawn(async move { value(&busy, "SELECT 3").await });
    tokio::time::sleep(MOMENT).await;
    assert!(!held.is_finished() && !held_too.is_finished());
    proxy.signal(Signal::USR2);
    assert_eq!(soon("it is released", held).await.expect("no panic"), "2");
    assert_eq!(soon("it is released", held_too).await.expect("no panic"), "3");
}

async fn everywhere_it_listens(pg: Servers) {
    let setup = Setup::new(&pg).global("listen_addr = '127.0.0.1, ::1'\nunix_socket_dir = '${IT_DIR}'");
    let dir = std::env::temp_dir().join(format!("pgweir-listen-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("it is new");
    let mut proxy = setup.env("IT_DIR", &dir.display().to_string()).start().await;
    let socket = dir.join(format!(".s.PGSQL.{}", proxy.port));
    for host in ["127.0.0.1", "::1", &dir.display().to_string()] {
        let mut config = tokio_postgres::Config::new();
        config.host(host).port(proxy.port).user("app").dbname("test1");
        let client = connect(&config).await.unwrap_or_else(|error| panic!("{host}: {error:?}"));
        assert_eq!(value(&client, "SELECT 1").await, "1", "{host}");
    }
    assert!(socket.exists());
    proxy.signal(Signal::QUIT);
    assert!(proxy.end().await.success());
    assert!(!socket.exists(), "the socket's file goes with the process");
    std::fs::remove_dir(dir).expect("nothing else is there");
}

async fn a_port_in_use_is_named(pg: Servers) {
    let proxy = Proxy::start(&pg).await;
    let mut second = Setup::new(&pg).global(&format!("listen_port = {}", proxy.port)).spawn();
    assert!(!second.end().await.success());
    let log = second.log();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{}", proxy.port)), "{log}");
}

async fn sigint_does_not_wait_for_logins(pg: Servers) {
    let setup = Setup::new(&pg).global("client_login_timeout = 0\nauth_type = 'scram-sha-256'");
    let mut proxy = setup.users("\"app\" \"word\"\n").start().await;
    let (_silent, mut asked) = (Wire::open(proxy.port).await, Wire::open(proxy.port).await);
    asked.send(&say::startup(say::V3_0, &[("user", "app"), ("database", "test1")])).await;
    assert!(asked.frame().await.is_some(), "it is asked for its password");
    proxy.signal(Signal::INT);
    assert!(proxy.end().await.success());
}

async fn files_of_a_process(pg: Servers) {
    let setup = Setup::new(&pg).global("pidfile = 'its.pid'\nlogfile = 'its.log'\nlog_format = 'json'");
    let mut proxy = setup.spawn();
    let (pid, log) = (proxy.dir.join("its.pid"), proxy.dir.join("its.log"));
    let logged = |text: &str| std::fs::read_to_string(&log).is_ok_and(|log| log.contains(text));
    eventually("it is up", || async { logged("process up") }).await;
    assert_eq!(std::fs::read_to_string(&pid).expect("the pid file").trim(), proxy.pid().to_string());
    // A rotated log is opened again by its name.
    std::fs::rename(&log, proxy.dir.join("old.log")).expect("it is moved");
    proxy.signal(Signal::HUP);
    eventually("the log is opened again", || async { logged("config reloaded") }).await;
    proxy.signal(Signal::TERM);
    assert!(proxy.end().await.success());
    assert!(!pid.exists());
    assert!(logged("process down"));
}

tests! {
    on both: [],
    on 15: [
        a_port_in_use_is_named, a_second_signal_ends_at_once, everywhere_it_listens, files_of_a_process,
        pause_holds_and_resume_releases, sigint_does_not_wait_for_logins, sigint_lets_transactions_end, sigint_waits_for_the_running_query,
        sigquit_ends_at_once, sigterm_has_a_limit, sigterm_waits_for_clients_to_leave,
    ]
}

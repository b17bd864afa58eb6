//! A new process in place of a running one, and several behind one port: nobody is refused, and no work is lost.

use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::proxy::{Signal, connect, value};
use crate::support::servers::bin15;
use crate::support::tool::{Said, psql, run};
use crate::support::wire::{Key, cancel, say};
use crate::support::*;

const GOODBYE: &str = "FATAL 57P01 server shutting down";

fn setup(pg: &Servers) -> Setup {
    Setup::new(pg).global("unix_socket_dir = '{dir}'\nshutdown_timeout = 0\npidfile = 'its.pid'")
}

/// The pid file names the process that serves.
fn names_it(proxy: &Proxy) {
    let named = std::fs::read_to_string(proxy.dir.join("its.pid")).expect("the pid file");
    assert_eq!(named.trim(), proxy.pid().to_string());
}

/// Runs until it is told to stop: connections that each do one thing, one after the other, in several tasks.
struct Knocking {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Knocking {
    fn begin(port: u16) -> Knocking {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let knock = |_| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut config = tokio_postgres::Config::new();
                    config.host("127.0.0.1").port(port).user("app").dbname("test1");
                    let client = connect(&config).await.unwrap_or_else(|error| panic!("a connect: {error:?}"));
                    assert_eq!(value(&client, "SELECT 1").await, "1");
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = (0..8).map(knock).collect();
        Knocking { stop, done, tasks }
    }

    /// Waits until some more were served.
    async fn go_on(&self) {
        let before = self.done.load(Ordering::Relaxed);
        eventually("some are served", || async { self.done.load(Ordering::Relaxed) >= before + 50 }).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            soon("the last is served", task).await.expect("none failed");
        }
    }
}

async fn who_is_here_stays_and_who_comes_is_served(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let socket = proxy.dir.join(format!(".s.PGSQL.{}", proxy.port));
    let (idle, busy) = (proxy.app().await, proxy.app().await);
    busy.batch_execute("BEGIN; SELECT 1").await.expect("a server");
    let mut first = proxy.replace().await;
    for _ in 0..3 {
        assert_eq!(value(&idle, "SELECT 1").await, "1");
        assert_eq!(value(&busy, "SELECT 2").await, "2");
        assert_eq!(value(&proxy.app().await, "SELECT 3").await, "3");
    }
    let mut config = tokio_postgres::Config::new();
    let by_socket = config.host_path(&proxy.dir).port(proxy.port).user("app").dbname("test1");
    assert_eq!(value(&connect(by_socket).await.expect("by the unix socket"), "SELECT 4").await, "4");
    busy.batch_execute("COMMIT").await.expect("the end");
    drop(busy);
    tokio::time::sleep(MOMENT).await;
    assert_eq!(first.ended(), None, "it lives as long as a client of its does");
    let mut second = proxy.replace().await;
    assert!(second.end().await.success(), "it has no client");
    assert_eq!(value(&idle, "SELECT 5").await, "5");
    drop(idle);
    assert!(first.end().await.success());
    assert!(socket.exists(), "the socket's file is the last process's");
    names_it(&proxy);
    assert_eq!(value(&connect(by_socket).await.expect("by the unix socket"), "SELECT 6").await, "6");
    proxy.signal(Signal::QUIT);
    assert!(proxy.end().await.success());
    assert!(!socket.exists());
}

/// One console is enough: the new process holds what the old one did, and tells it of what it holds from then on.
async fn what_is_held_is_handed_on(pg: Servers) {
    let setup = setup(&pg).global("admin_users = 'app'\ndefault_pool_size = 1");
    let mut proxy = setup.database("test1", "").database("test2", "").start().await;
    let old = proxy.app().await;
    assert_eq!(value(&old, "SELECT 1").await, "1");
    let console = proxy.connect("app", "pgbouncer").await;
    console.batch_execute("PAUSE test1; DISABLE test2").await.expect("both");
    drop(console);
    let _first = proxy.replace().await;
    let console = proxy.connect("app", "pgbouncer").await;
    let row = |name: &'static str| {
        let console = &console;
        async move {
            let rows = console.query("SHOW DATABASES", &[]).await.expect("a table");
            let row = rows.iter().find(|row| row.get::<_, &str>("name") == name).expect("its row");
            (row.get::<_, i32>("paused"), row.get::<_, i32>("disabled"))
        }
    };
    assert_eq!((row("test1").await, row("test2").await), ((1, 0), (0, 1)));
    let refused = refusal(proxy.try_connect("app", "test2").await);
    assert_eq!(refused, "FATAL 55000 database \"test2\" is disabled");
    // Whoever waits there is let go from here.
    let waits = tokio::spawn(async move {
        assert_eq!(value(&old, "SELECT 2").await, "2");
        old
    });
    tokio::time::sleep(MOMENT).await;
    assert!(!waits.is_finished());
    console.batch_execute("RESUME test1; ENABLE test2").await.expect("both");
    let old = soon("the old process lends again", waits).await.expect("an answer");
    assert_eq!(value(&proxy.connect("app", "test2").await, "SELECT 3").await, "3");
    console.batch_execute("PAUSE").await.expect("all");
    // Nobody waits for it to hear of that.
    let is_held = || async { tokio::time::timeout(MOMENT, value(&old, "SELECT 4")).await.is_err() };
    eventually("the old process pauses as well", is_held).await;
    console.batch_execute("RESUME").await.expect("all");
    assert_eq!(soon("it lends again", value(&old, "SELECT 5")).await, "5");
}

async fn pgbench(port: u16, arguments: &[&str], script: &std::path::Path) -> Said {
    let mut command = Command::new(bin15().program("pgbench"));
    command.args(["--no-vacuum", "--client=4", "--jobs=4", "--transactions=400", "--host=127.0.0.1"]);
    command.arg(format!("--port={port}")).args(["--username=app", "--file"]).arg(script).args(arguments).arg("test1");
    run(command).await
}

/// Lasting clients, and a connection for each transaction, across three restarts.
async fn pgbench_across_restarts(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let script = proxy.dir.join("script.sql");
    std::fs::write(&script, "\\sleep 3 ms\nBEGIN;\nSELECT 1;\nEND;\n").expect("the script is written");
    for round in 0..3 {
        let (port, script) = (proxy.port, script.clone());
        let lasting = {
            let script = script.clone();
            tokio::spawn(async move { pgbench(port, &["-M", "prepared"], &script).await })
        };
        let fleeting = tokio::spawn(async move { pgbench(port, &["-C"], &script).await });
        let logins = || async { proxy.log().matches("login attempt: accepted").count() >= 20 };
        eventually("pgbench is at work", logins).await;
        let mut old = proxy.replace().await;
        for load in [lasting, fleeting] {
            let said = load.await.expect("no panic");
            assert!(said.success && said.out.contains("number of failed transactions: 0 "), "round {round}: {said:?}");
            assert!(said.out.contains("processed: 1600/1600"), "round {round}: {said:?}");
        }
        assert!(old.end().await.success());
    }
}

async fn none_of_those_who_knock_is_refused(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let knocking = Knocking::begin(proxy.port);
    let mut old = Vec::new();
    for _ in 0..3 {
        knocking.go_on().await;
        old.push(proxy.replace().await);
    }
    knocking.go_on().await;
    knocking.end().await;
    for mut process in old {
        assert!(process.end().await.success());
    }
}

async fn runs(proxy: &Proxy, direct: &tokio_postgres::Client, count: usize) {
    let busy = || async { proxy.servers(direct).await.iter().filter(|row| row.state == "active").count() == count };
    eventually("the queries run", busy).await;
}

async fn a_cancel_finds_the_old_process(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let mut old = Vec::new();
    let mut clients = Vec::new();
    for generation in 0..3 {
        for version in [say::V3_0, say::V3_2] {
            let mut wire = Wire::login_with(&proxy, version, &[("user", "app"), ("database", "test1")]).await;
            wire.send(&say::query("SELECT pg_sleep(1000)")).await;
            clients.push(wire);
        }
        runs(&proxy, &direct, clients.len()).await;
        if generation < 2 {
            old.push(proxy.replace().await);
        }
    }
    let Key { pid, secret } = clients[0].key();
    let wrong: Vec<u8> = secret.iter().map(|byte| byte ^ 1).collect();
    cancel(proxy.port, &Key { pid, secret: wrong }).await;
    tokio::time::sleep(MOMENT).await;
    runs(&proxy, &direct, clients.len()).await;
    for mut wire in clients {
        cancel(proxy.port, &wire.key()).await;
        assert_eq!(wire.ready().await, "T E(57014) Z(I)");
        assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    }
    for mut process in old {
        assert!(process.end().await.success());
    }
    // Nobody is left who could know the key.
    cancel(proxy.port, &Key { pid: 5, secret: vec![1, 2, 3, 4] }).await;
}

async fn a_successor_that_cannot_start_changes_nothing(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    for (lines, said) in [
        ("no_such_key = 1", "expected a known key"),
        ("listen_addr = '127.0.0.1, 192.0.2.1'", "cannot listen on 192.0.2.1"),
    ] {
        proxy.rewrite(setup(&pg).global(lines));
        let mut successor = proxy.successor();
        assert!(!successor.end().await.success());
        assert!(successor.log().contains(said), "{}", successor.log());
        assert_eq!(value(&client, "SELECT 1").await, "1");
        assert_eq!(value(&proxy.app().await, "SELECT 2").await, "2");
    }
    proxy.wait_for_log("the process that wanted to take over did not").await;
    proxy.rewrite(setup(&pg));
    let mut old = proxy.replace().await;
    drop(client);
    assert!(old.end().await.success());
}

/// What the config names beside the old sockets is opened, and what it does not name any more is closed.
async fn other_places_to_listen(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    proxy.rewrite(setup(&pg).global("listen_addr = '::1'"));
    let mut old = proxy.replace().await;
    assert!(old.end().await.success());
    let refused = || async { tokio::net::TcpStream::connect(("127.0.0.1", proxy.port)).await.is_err() };
    eventually("nobody listens there", refused).await;
    let said = psql(&format!("host=::1 port={} user=app dbname=test1", proxy.port), "", "SELECT 1").await;
    assert_eq!(said.out, "1", "{said:?}");
}

async fn nobody_to_take_over_from(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    proxy.signal(Signal::KILL);
    proxy.end().await;
    let _gone = proxy.replace().await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
    let mut without = Setup::new(&pg).taking_over().spawn();
    assert!(!without.end().await.success());
    assert!(without.log().contains("-R needs a unix_socket_dir"), "{}", without.log());
}

async fn an_old_process_can_be_told_to_end(pg: Servers) {
    for (signal, words) in [(Signal::INT, true), (Signal::QUIT, true), (Signal::TERM, false)] {
        let mut proxy = setup(&pg).start().await;
        let mut wire = Wire::login(&proxy).await;
        let mut old = proxy.replace().await;
        old.signal(signal);
        if words {
            assert_eq!(wire.last_words().await, GOODBYE);
        } else {
            assert_eq!(wire.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
            drop(wire);
        }
        assert!(old.end().await.success());
        assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
    }
}

/// One that was told to end already has closed its listeners, and still knows its clients' keys.
async fn in_place_of_one_that_ends(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let mut wire = Wire::login(&proxy).await;
    proxy.signal(Signal::TERM);
    proxy.wait_for_log("waiting for clients to leave").await;
    let mut old = proxy.replace().await;
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
    let direct = pg.direct("test1").await;
    wire.send(&say::query("SELECT pg_sleep(1000)")).await;
    runs(&proxy, &direct, 1).await;
    cancel(proxy.port, &wire.key()).await;
    assert_eq!(wire.ready().await, "T E(57014) Z(I)");
    drop(wire);
    assert!(old.end().await.success());
    names_it(&proxy);
    assert_eq!(value(&proxy.app().await, "SELECT 2").await, "2");
}

/// Two processes behind one port, one after the other: a rolling restart as with PgBouncer.
async fn a_port_that_is_shared(pg: Servers) {
    let base = std::env::temp_dir().join(format!("pgweir-peers-{}", std::process::id()));
    std::fs::create_dir(&base).expect("it is new");
    let dir = |number: u32| base.join(number.to_string()).display().to_string();
    let port = pgweir::demo::free_ports(24_500, 1).expect("a port is free")[0];
    let peers = (1..=3).map(|n| format!("[peers.{n}]\nhost = '{}'\nport = {port}\n", dir(n))).collect::<String>();
    let peer = |number: u32| {
        std::fs::create_dir(dir(number)).expect("a directory");
        let lines = format!(
            "so_reuseport = true\npeer_id = {number}\nunix_socket_dir = '{}'\nshutdown_timeout = 0\n\
             default_pool_size = 30",
            dir(number)
        );
        Setup::new(&pg).port(port).global(&lines).rest(&peers).start()
    };
    let mut first = peer(1).await;
    let second = peer(2).await;
    let direct = pg.direct("test1").await;

    // The kernel chooses who gets a client, and who its cancel request.
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut wire = Wire::login_with(&first, say::V3_0, &[("user", "app"), ("database", "test1")]).await;
        wire.send(&say::query("SELECT pg_sleep(1000)")).await;
        clients.push(wire);
    }
    let on_first = |clients: &[Wire]| clients.iter().filter(|wire| wire.key().pid.to_be_bytes()[1] == 1).count();
    eventually("all run", || async {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(1000)' AND state = 'active' \
                    AND application_name IN ('{1}', '{2}')";
        let busy = busy.replace("{1}", &first.tag).replace("{2}", &second.tag);
        value(&direct, &busy).await == "12"
    })
    .await;
    assert!((1..12).contains(&on_first(&clients)), "{}", on_first(&clients));
    for wire in &mut clients {
        cancel(port, &wire.key()).await;
        assert_eq!(wire.ready().await, "T E(57014) Z(I)");
    }
    drop(clients);

    let knocking = Knocking::begin(port);
    knocking.go_on().await;
    let third = peer(3).await;
    knocking.go_on().await;
    first.signal(Signal::TERM);
    assert!(first.end().await.success());
    knocking.go_on().await;
    knocking.end().await;
    drop((second, third));
    std::fs::remove_dir_all(base).expect("it goes");
}

/// As systemd starts a service for its socket unit: descriptors from 3 on, and the environment says how many.
async fn sockets_that_systemd_passes(pg: Servers) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let kept = listener.try_clone().expect("one more handle");
    let mut early = Wire::open(port).await;
    early.send(&say::startup(say::V3_0, &[("user", "app"), ("database", "test1")])).await;
    let script = "exec 3<&0; exec </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let mut proxy = Setup::new(&pg).by(script, OwnedFd::from(listener)).start().await;
    early.greet().await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("app").dbname("test1");
    assert_eq!(value(&connect(&config).await.expect("served"), "SELECT 1").await, "1");
    let own = tokio::net::TcpStream::connect(("127.0.0.1", proxy.port)).await;
    assert!(own.is_err(), "it listens where systemd does, and nowhere else");
    drop(early);
    proxy.signal(Signal::TERM);
    assert!(proxy.end().await.success());
    // Whoever comes in between waits in the queue.
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    drop(kept);
}

tests! {
    on both: [],
    on 15: [
        a_cancel_finds_the_old_process, a_port_that_is_shared, a_successor_that_cannot_start_changes_nothing,
        an_old_process_can_be_told_to_end, in_place_of_one_that_ends, nobody_to_take_over_from, none_of_those_who_knock_is_refused,
        other_places_to_listen, pgbench_across_restarts, sockets_that_systemd_passes, what_is_held_is_handed_on,
        who_is_here_stays_and_who_comes_is_served,
    ]
}

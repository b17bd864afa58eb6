//! SIGHUP takes a whole file or nothing of it; `check` says the same beforehand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::proxy::{Signal, backend, connect, value};
use crate::support::servers::bin15;
use crate::support::tool::{pgweir, run};
use crate::support::*;

async fn limits_change_under_clients(pg: Servers) {
    let mut proxy = Proxy::of_size(&pg, 1).await;
    let clients = proxy.apps(2).await;
    clients[0].batch_execute("BEGIN").await.expect("the server");
    proxy.reload(Setup::new(&pg).global("default_pool_size = 2\nidle_transaction_timeout = '1s'")).await;
    soon("a second server", clients[1].batch_execute("BEGIN")).await.expect("it is opened");
    eventually("the new limit holds for a transaction of after the reload", || async { clients[1].is_closed() }).await;
}

async fn a_changed_database_takes_its_clients_along(pg: Servers) {
    let setup = |dbname: &str, size: u32| {
        Setup::new(&pg).database("app", &format!("dbname = '{dbname}'\npool_size = {size}")).database("test1", "")
    };
    let mut proxy = setup("test1", 2).start().await;
    let (idle, busy) = (proxy.connect("app", "app").await, proxy.connect("app", "app").await);
    let bystander = proxy.app().await;
    let kept = backend(&bystander).await;
    busy.batch_execute("BEGIN").await.expect("a server");
    assert_eq!(value(&idle, "SELECT current_database()").await, "test1");
    proxy.reload(setup("test2", 1)).await;
    assert_eq!(value(&idle, "SELECT current_database()").await, "test2");
    assert_eq!(value(&busy, "SELECT current_database()").await, "test1", "not within a transaction");
    busy.batch_execute("COMMIT").await.expect("the end");
    assert_eq!(value(&busy, "SELECT current_database()").await, "test2");
    assert_eq!(backend(&bystander).await, kept, "what did not change keeps its servers");
    // One for each of the two databases: the old one's are closed.
    proxy.wait_for_servers(&pg.direct("test1").await, 2).await;
}

/// Among them those in the queue, and those who log in: nobody waits for a server that the new file does not name.
async fn a_changed_database_takes_those_who_wait_along(pg: Servers) {
    let setup = |dbname: &str| {
        let setup = Setup::new(&pg).global("default_pool_size = 1\nquery_wait_timeout = 0");
        setup.database("app", &format!("dbname = '{dbname}'")).database("test1", "")
    };
    let mut proxy = setup("test1").start().await;
    let (busy, queued) = (proxy.connect("app", "app").await, proxy.connect("app", "app").await);
    busy.batch_execute("BEGIN").await.expect("the server");
    let answer = tokio::spawn(async move { value(&queued, "SELECT current_database()").await });
    tokio::time::sleep(MOMENT).await;
    proxy.reload(setup("test2")).await;
    assert_eq!(soon("its turn in the new pool", answer).await.expect("an answer"), "test2");
    busy.batch_execute("COMMIT").await.expect("the end");
}

/// The only server that there may be is with a client whose program waits for this login: what the old pool knew is told.
async fn a_login_does_not_wait_for_who_waits_for_it(pg: Servers) {
    let setup = |global: &str, database: &str| {
        Setup::new(&pg).global(&format!("max_db_connections = 1\n{global}")).database("test1", database)
    };
    let mut proxy = setup("", "").start().await;
    let busy = proxy.app().await;
    busy.batch_execute("BEGIN").await.expect("the server");
    let held = backend(&busy).await;
    // What servers tell of themselves cannot differ; then it may, by what a session begins with.
    for (global, database) in [("server_tls_sslmode = 'disable'", ""), ("", "connect_query = 'SELECT 1'")] {
        proxy.reload(setup(global, database)).await;
        let late = proxy.app().await;
        assert_eq!(backend(&busy).await, held, "the transaction goes on");
        drop(late);
    }
    let waits = proxy.app().await;
    let (answer, end) = tokio::join!(value(&waits, "SELECT 1"), busy.batch_execute("COMMIT"));
    end.expect("the end");
    assert_eq!(answer, "1");
}

/// Another server, or other settings to begin with: then a login tells of these.
async fn a_login_tells_of_what_a_reload_brought(pg: Servers) {
    let setup = |lines: &str| Setup::new(&pg).database("test1", lines);
    let told = async |proxy: &Proxy, name: &str| {
        let wire = Wire::login(proxy).await;
        let told: Vec<String> = wire.greeting.iter().map(ToString::to_string).collect();
        let found = told.into_iter().find(|line| line.starts_with(&format!("S({name}=")));
        found.unwrap_or_else(|| panic!("{name} is not told"))
    };
    let mut proxy = setup("").start().await;
    assert_eq!(told(&proxy, "TimeZone").await, "S(TimeZone=UTC)");
    proxy.reload(setup("timezone = 'Asia/Tokyo'")).await;
    assert_eq!(told(&proxy, "TimeZone").await, "S(TimeZone=Asia/Tokyo)");
    let newer = Servers::pg18();
    assert!(told(&proxy, "server_version").await.starts_with("S(server_version=15"));
    proxy
        .reload(setup(&format!("port = {}\npassword = '{}'\nuser = 'trust_user'", newer.primary, newer.password)))
        .await;
    assert!(told(&proxy, "server_version").await.starts_with("S(server_version=18"));
}

async fn a_removed_database_sends_its_clients_off(pg: Servers) {
    let mut proxy = Setup::new(&pg).database("test1", "").database("test2", "").start().await;
    let client = proxy.connect("app", "test2").await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    proxy.reload(Setup::new(&pg).database("test1", "")).await;
    assert_eq!(refusal(client.batch_execute("SELECT 1").await), "FATAL 57P01 database removed");
    assert_eq!(refusal(proxy.try_connect("app", "test2").await), "FATAL 3D000 no such database: test2");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn users_and_their_passwords_change(pg: Servers) {
    let setup = |users: &str| {
        let setup = Setup::new(&pg).global("auth_type = 'scram-sha-256'").users(users);
        setup.database("test1", "user = 'trust_user'")
    };
    let mut proxy = setup("\"app\" \"first\"\n").start().await;
    let try_password = async |proxy: &Proxy, user: &str, password: &str| {
        let mut config = proxy.config(user, "test1");
        connect(config.password(password)).await.map(drop)
    };
    try_password(&proxy, "app", "first").await.expect("the first password");
    proxy.reload(setup("\"app\" \"second\"\n\"other\" \"third\"\n")).await;
    assert_eq!(sqlstate(try_password(&proxy, "app", "first").await), "28P01");
    try_password(&proxy, "app", "second").await.expect("the second password");
    try_password(&proxy, "other", "third").await.expect("a new user");
}

async fn a_bad_file_changes_nothing(pg: Servers) {
    let mut proxy = Proxy::of_size(&pg, 1).await;
    let client = proxy.app().await;
    let kept = backend(&client).await;
    let bad = "default_pool_size = 7\nmax_client_conn = 'many'\nno_such_key = 1\nquery_wait_timeuot = 3";
    proxy.rewrite(Setup::new(&pg).global(bad).database("other", ""));
    proxy.signal(Signal::HUP);
    proxy.wait_for_log("config not reloaded").await;
    for problem in ["pgweir.max_client_conn", "pgweir.no_such_key", "query_wait_timeout"] {
        proxy.wait_for_log(problem).await;
    }
    assert!(!proxy.log().contains("config reloaded"));
    assert_eq!(backend(&client).await, kept);
    assert_eq!(sqlstate(proxy.try_connect("app", "other").await), "3D000");
    client.batch_execute("BEGIN").await.expect("the server");
    let second = proxy.app().await;
    let waits = tokio::time::timeout(MOMENT, second.batch_execute("SELECT 1"));
    assert!(waits.await.is_err(), "the pool has the size that it had");
    // The next good one is taken.
    proxy.reload(Setup::new(&pg).global("default_pool_size = 2")).await;
    assert_eq!(soon("a second server", value(&proxy.app().await, "SELECT 1")).await, "1");
}

async fn what_needs_a_restart_is_named(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    proxy.reload(Setup::new(&pg).global("workers = 3\nlisten_backlog = 64")).await;
    let log = proxy.log();
    for key in ["workers", "listen_backlog"] {
        assert!(log.lines().any(|line| line.contains("next start") && line.contains(key)), "{key}\n{log}");
    }
}

async fn check_says_what_is_wrong(pg: Servers) {
    let mut proxy = Proxy::start(&pg).await;
    let file = proxy.config_file().display().to_string();
    let said = pgweir(&["check", &file]).await;
    assert!(said.success && said.out.ends_with(": ok"), "{said:?}");
    proxy.rewrite(Setup::new(&pg).global("pool_mode = 'transactional'\nauth_file = 'nowhere.txt'"));
    let said = pgweir(&["check", &file]).await;
    assert!(!said.success);
    assert!(said.err.lines().all(|line| line.starts_with(&*proxy.dir.display().to_string())), "{said:?}");
    assert!(said.err.contains("pgweir.pool_mode: expected "), "{said:?}");
    proxy.rewrite(Setup::new(&pg).global("auth_file = 'nowhere.txt'"));
    let said = pgweir(&["check", &file]).await;
    assert!(!said.success && said.err.contains("nowhere.txt"), "{said:?}");
    proxy.rewrite(Setup::new(&pg).users("\"app\" \"x\"\n\"other\n"));
    let said = pgweir(&["check", &file]).await;
    assert!(!said.success && said.err.contains("userlist.txt:2"), "{said:?}");
    let said = pgweir(&["run", &file]).await;
    assert!(!said.success && said.err.contains("userlist.txt:2"), "{said:?}");
}

/// New clients and lasting ones, over reloads of every kind. Each has a thread of its own: a login waits for a server where
/// a reload has made the pool anew, and must not stop those who have the servers.
async fn twenty_reloads_fail_no_transaction(pg: Servers) {
    let setup = |n: usize| {
        let global = format!("default_pool_size = {}\nserver_lifetime = '{}s'", 3 + n % 4, 60 + n);
        let recycled = if n.is_multiple_of(2) { "" } else { "connect_query = 'SELECT 1'" };
        Setup::new(&pg).global(&global).database("test1", recycled).database("other", &format!("pool_size = {}", 1 + n))
    };
    let mut proxy = setup(0).start().await;
    let script = proxy.dir.join("script.sql");
    std::fs::write(&script, "BEGIN;\nSELECT 1;\nSELECT pg_backend_pid();\nEND;\n").expect("it is written");
    let running = Arc::new(AtomicBool::new(true));
    let bench = |mode: &'static [&'static str]| {
        let (running, password, port) = (Arc::clone(&running), pg.password.clone(), proxy.port.to_string());
        let script = script.clone();
        tokio::spawn(async move {
            let mut rounds = 0;
            while running.load(Ordering::Relaxed) || rounds == 0 {
                let mut command = std::process::Command::new(bin15().program("pgbench"));
                command.args(["-n", "-h", "127.0.0.1", "-p", &port, "-U", "app", "-c", "6", "-j", "6", "-t", "50"]);
                command.arg("-f").arg(&script).args(mode).arg("test1").env("PGPASSWORD", &password);
                let said = run(command).await;
                assert!(said.success && said.out.contains("number of failed transactions: 0"), "{said:?}");
                rounds += 1;
            }
            rounds
        })
    };
    // One thread that has several servers while it connects must not wait for itself.
    let rounds = [bench(&["-M", "prepared"]), bench(&["-C"]), bench(&["-C", "-j", "1"])];
    for n in 1..=20 {
        proxy.reload(setup(n)).await;
    }
    running.store(false, Ordering::Relaxed);
    for round in rounds {
        assert!(soon("pgbench ends", round).await.expect("no transaction fails") > 0);
    }
}

tests! {
    on both: [],
    on 15: [
        twenty_reloads_fail_no_transaction,
        a_bad_file_changes_nothing, a_changed_database_takes_its_clients_along,
        a_changed_database_takes_those_who_wait_along, a_login_does_not_wait_for_who_waits_for_it,
        a_login_tells_of_what_a_reload_brought,
        a_removed_database_sends_its_clients_off, check_says_what_is_wrong, limits_change_under_clients,
        users_and_their_passwords_change, what_needs_a_restart_is_named,
    ]
}

//! The operator's port: what was done is counted there, health is told, and nothing else is given away.

use std::collections::BTreeMap;

use crate::support::http::{LISTEN, address, ask, exchange, get, metrics};
use crate::support::proxy::Signal;
use crate::support::reads::{self, Reads};
use crate::support::tool::pgweir;
use crate::support::wire::say;
use crate::support::*;

/// A proxy that answers HTTP on a port of its own.
fn setup(pg: &Servers) -> Setup {
    Setup::new(pg).global(LISTEN)
}

/// A sample of test1's pool at its one server.
fn at(pg: &Servers, metrics: &BTreeMap<String, f64>, name: &str) -> f64 {
    let labels = format!("database=\"test1\",user=\"app\",server=\"127.0.0.1:{}\"", pg.primary);
    metrics.get(&format!("{name}{{{labels}}}")).copied().unwrap_or_else(|| panic!("{name} of {labels}"))
}

fn of_pool(metrics: &BTreeMap<String, f64>, name: &str, more: &str) -> Option<f64> {
    metrics.get(&format!("{name}{{database=\"test1\",user=\"app\"{more}}}")).copied()
}

async fn what_was_done_is_counted(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let mut wire = Wire::login(&proxy).await;
    for _ in 0..3 {
        wire.send(&say::query("SELECT 1")).await;
        wire.ready().await;
    }
    for text in ["BEGIN", "SELECT 1/0", "ROLLBACK"] {
        wire.send(&say::query(text)).await;
        wire.ready().await;
    }
    let metrics = metrics(&proxy).await;
    assert_eq!(at(&pg, &metrics, "pgweir_query_seconds_count"), 6.0);
    assert_eq!(at(&pg, &metrics, "pgweir_transaction_seconds_count"), 4.0);
    assert_eq!(at(&pg, &metrics, "pgweir_pool_assignments_total"), 4.0);
    assert_eq!(at(&pg, &metrics, "pgweir_queue_wait_seconds_count"), 4.0);
    assert!(at(&pg, &metrics, "pgweir_connect_seconds_count") >= 1.0);
    let texts = 3 * "SELECT 1".len() + "BEGIN".len() + "SELECT 1/0".len() + "ROLLBACK".len();
    assert_eq!(at(&pg, &metrics, "pgweir_pool_received_bytes_total"), (texts + 6 * 6) as f64, "tag, length, NUL");
    assert!(at(&pg, &metrics, "pgweir_pool_sent_bytes_total") > 0.0);
    assert_eq!(of_pool(&metrics, "pgweir_pool_logins_total", ""), Some(1.0));
    assert_eq!(metrics.get("pgweir_errors_total{sqlstate=\"22012\",source=\"server\"}"), Some(&1.0));
    assert_eq!(metrics.get("pgweir_clients"), Some(&1.0));
    assert!(metrics["pgweir_resident_memory_bytes"] > 0.0 && metrics["pgweir_open_fds"] > 0.0);
}

async fn named_statements_are_counted(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    let statement = client.prepare("SELECT $1::int").await.expect("a statement");
    for n in 0..5 {
        client.query_one(&statement, &[&n]).await.expect("a row");
    }
    let metrics = metrics(&proxy).await;
    assert_eq!(of_pool(&metrics, "pgweir_pool_client_parses_total", ""), Some(1.0));
    assert_eq!(of_pool(&metrics, "pgweir_pool_server_parses_total", ""), Some(1.0));
    assert_eq!(of_pool(&metrics, "pgweir_pool_binds_total", ""), Some(5.0));
}

async fn a_wait_is_seen_with_its_reason(pg: Servers) {
    let proxy = setup(&pg).global("default_pool_size = 1").start().await;
    let (holder, second) = (proxy.app().await, proxy.app().await);
    holder.batch_execute("BEGIN").await.expect("the server");
    let waits = tokio::spawn(async move { second.batch_execute("SELECT 1").await });
    let waiting = || async {
        let metrics = metrics(&proxy).await;
        of_pool(&metrics, "pgweir_pool_waiting_clients", ",reason=\"pool_full\"") == Some(1.0)
            && of_pool(&metrics, "pgweir_pool_maxwait_seconds", "").is_some_and(|seconds| seconds > 0.0)
            && of_pool(&metrics, "pgweir_pool_clients", ",state=\"active\"") == Some(1.0)
    };
    eventually("one client waits, one is served", waiting).await;
    holder.batch_execute("COMMIT").await.expect("the end");
    soon("its turn", waits).await.expect("no panic").expect("an answer");
    let metrics = metrics(&proxy).await;
    assert_eq!(of_pool(&metrics, "pgweir_pool_waits_total", ",reason=\"pool_full\""), Some(1.0));
    assert!(of_pool(&metrics, "pgweir_pool_wait_seconds_total", ",reason=\"pool_full\"") > Some(0.0));
    assert_eq!(of_pool(&metrics, "pgweir_pool_waiting_clients", ",reason=\"pool_full\""), None);
}

async fn a_pin_is_counted_with_its_reason(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    client.batch_execute("LISTEN news").await.expect("it is pinned");
    let metrics = metrics(&proxy).await;
    assert_eq!(of_pool(&metrics, "pgweir_pool_pins_total", ",reason=\"listen\""), Some(1.0));
    assert_eq!(of_pool(&metrics, "pgweir_pool_pinned_clients", ""), Some(1.0));
}

async fn refused_logins_are_counted(pg: Servers) {
    let proxy = setup(&pg).start().await;
    assert_eq!(sqlstate(proxy.try_connect("app", "nowhere").await), "3D000");
    let metrics = metrics(&proxy).await;
    assert_eq!(metrics.get("pgweir_logins_failed_total{reason=\"no_database\"}"), Some(&1.0));
    assert_eq!(metrics.get("pgweir_errors_total{sqlstate=\"3D000\",source=\"proxy\"}"), Some(&1.0));
}

async fn a_reload_keeps_the_counters(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    client.batch_execute("SELECT 1").await.expect("an answer");
    let before = at(&pg, &metrics(&proxy).await, "pgweir_query_seconds_count");
    proxy.reload(setup(&pg).database("test1", "connect_query = 'SELECT 2'")).await;
    client.batch_execute("SELECT 1").await.expect("an answer");
    assert_eq!(at(&pg, &metrics(&proxy).await, "pgweir_query_seconds_count"), before + 1.0, "in another pool");
}

async fn health_and_readiness_are_two_things(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let _stays = proxy.app().await;
    assert_eq!(get(&proxy, "/healthz").await, "ok\n");
    assert_eq!(get(&proxy, "/readyz").await, "ready\n");
    proxy.signal(Signal::TERM);
    proxy.wait_for_log("shutting down").await;
    let refused = || async {
        let answer = ask(&proxy, "GET", "/readyz").await;
        (answer.status, answer.body.as_str()) == (503, "not ready: shutting down\n")
    };
    eventually("it is not ready any more", refused).await;
    assert_eq!(get(&proxy, "/healthz").await, "ok\n");
}

async fn a_taken_port_is_a_warning(pg: Servers) {
    let first = setup(&pg).start().await;
    let listen = format!("http_listen = \"{}\"", address(&first).await);
    let second = Setup::new(&pg).global(&listen).start().await;
    second.wait_for_log("no metrics and no status page").await;
    second.app().await.batch_execute("SELECT 1").await.expect("clients are served all the same");
    drop(first);
    assert_eq!(get(&second, "/healthz").await, "ok\n", "once it is free");
}

async fn nothing_can_be_changed_and_little_be_sent(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(&proxy, method, "/metrics").await;
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    }
    assert_eq!(ask(&proxy, "GET", "/../etc/passwd").await.status, 404);
    let head = ask(&proxy, "HEAD", "/metrics").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    assert!(!exchange(&proxy, long.as_bytes()).await.contains("200 OK"));
    assert!(!exchange(&proxy, b"\x16\x03\x01\x00\x05hello\r\n\r\n").await.contains("200 OK"));
    assert_eq!(get(&proxy, "/healthz").await, "ok\n");
}

/// The page stands by itself, and its values hold no secret and no client's address.
async fn the_page_loads_nothing_and_tells_no_secret(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    client.batch_execute("SELECT 'a text of a client'").await.expect("an answer");
    let page = ask(&proxy, "GET", "/").await;
    assert!(page.head.contains("content-type: text/html") && page.head.contains("default-src 'none'"), "{}", page.head);
    for outside in ["src=", "href=", "@import", "url("] {
        assert!(!page.body.contains(outside), "{outside}");
    }
    let addresses =
        page.body.match_indices("http").map(|(at, _)| page.body[at..].split('"').next().unwrap_or_default());
    assert!(addresses.filter(|text| text.contains("://")).eq(["http://www.w3.org/2000/svg"]));
    for path in ["/metrics", "/status.json"] {
        let text = get(&proxy, path).await;
        assert!(!text.contains(&pg.password) && !text.contains("a text of a client"), "{path}");
    }
}

/// A new process in place of a running one: the old one lets go of the port, whatever clients it still has.
async fn a_successor_has_the_port(pg: Servers) {
    let port = pgweir::demo::free_ports(24_500, 1).expect("a port is free")[0];
    let setup = Setup::new(&pg).global(&format!("http_listen = \"127.0.0.1:{port}\"\nunix_socket_dir = '{{dir}}'"));
    let mut proxy = setup.start().await;
    let stays = proxy.app().await;
    let started = |metrics: BTreeMap<String, f64>| metrics["pgweir_start_time_seconds"];
    let first = started(metrics(&proxy).await);
    let old = proxy.replace().await;
    assert!(started(metrics(&proxy).await) > first);
    stays.batch_execute("SELECT 1").await.expect("the old process serves it");
    drop(old);
}

async fn the_line_of_each_period_is_logged(pg: Servers) {
    let proxy = Setup::new(&pg).global("stats_period = '1s'").start().await;
    let client = proxy.app().await;
    let counted = || async {
        client.batch_execute("SELECT 1").await.expect("an answer");
        let log = proxy.log();
        let mut lines = log.lines().filter_map(|line| line.split_once("stats: ").map(|(_, line)| line));
        lines.any(|line| !line.starts_with("0 xacts/s"))
    };
    eventually("a period's transactions are logged", counted).await;
    let line = proxy.log().lines().find_map(|line| Some(line.split_once("stats: ")?.1.to_owned())).expect("a line");
    let words: Vec<&str> = line.split(|c: char| c.is_ascii_digit()).filter(|word| !word.is_empty()).collect();
    let expected = [
        " xacts/s, ",
        " queries/s, ",
        " client parses/s, ",
        " server parses/s, ",
        " binds/s, in ",
        " B/s, out ",
        " B/s, xact ",
        " us, query ",
        " us, wait ",
        " us",
    ];
    assert_eq!(words, expected);
}

async fn the_topology_is_told(pg: Servers) {
    let lines = reads::Lines { global: LISTEN, ..reads::Lines::default() };
    let reads = Reads::with(pg, "CREATE TABLE t (n int)", lines).await;
    let proxy = &reads.proxy;
    let (primary, standby) = (format!("127.0.0.1:{}", reads.pg.primary), format!("127.0.0.1:{}", reads.pg.standby));
    let mut client = reads.client().await;
    client.settle().await;
    assert_eq!(get(proxy, "/readyz").await, "ready\n");
    let metrics = metrics(proxy).await;
    let cluster = "test1";
    let of = |name: &str, server: &str, more: &str| {
        metrics.get(&format!("{name}{{cluster=\"{cluster}\",server=\"{server}\"{more}}}")).copied()
    };
    for (server, role) in [(&primary, "primary"), (&standby, "standby")] {
        assert_eq!(of("pgweir_server_role", server, &format!(",role=\"{role}\"")), Some(1.0));
        assert_eq!(of("pgweir_server_up", server, ""), Some(1.0));
        assert!(of("pgweir_server_timeline", server, "") >= Some(1.0));
    }
    assert!(of("pgweir_replication_lag_bytes", &standby, "").is_some());
    assert_eq!(of("pgweir_replication_lag_bytes", &primary, ""), None);
    assert_eq!(of("pgweir_server_serves_reads", &standby, ""), Some(1.0));
    let routes = metrics.iter().filter(|(name, _)| name.starts_with("pgweir_pool_routes_total"));
    assert!(routes.filter(|(name, _)| name.contains("reason=\"select\"")).map(|(_, count)| count).sum::<f64>() >= 1.0);
    let status: serde_json::Value = serde_json::from_str(&get(proxy, "/status.json").await).expect("JSON");
    let roles: Vec<_> =
        status["clusters"][0]["nodes"].as_array().expect("nodes").iter().map(|node| &node["role"]).collect();
    assert_eq!(roles, ["primary", "standby"]);
    assert_eq!(status["not_ready"], serde_json::Value::Null);
}

async fn top_shows_it_in_a_terminal(pg: Servers) {
    let proxy = setup(&pg).start().await;
    proxy.app().await.batch_execute("SELECT 1").await.expect("an answer");
    let shown = pgweir(&["top", "--once", &address(&proxy).await]).await;
    assert!(shown.success, "{shown:?}");
    for part in [": ready", "test1/app", "TX/S"] {
        assert!(shown.out.contains(part), "{part}\n{}", shown.out);
    }
    let other = format!("127.0.0.1:{}", proxy.port);
    let shown = pgweir(&["top", "--once", &other]).await;
    assert!(!shown.success && shown.err.contains(&other), "{shown:?}");
}

async fn shells_complete_the_command_line(_: Servers) {
    for shell in ["bash", "zsh", "fish"] {
        let script = pgweir(&["completions", shell]).await;
        assert!(script.success && script.out.contains("pgweir") && script.out.contains("demo"), "{shell}: {script:?}");
    }
}

tests! {
    on both: [
        what_was_done_is_counted,
        named_statements_are_counted,
        the_topology_is_told,
    ],
    on 15: [
        a_wait_is_seen_with_its_reason,
        a_pin_is_counted_with_its_reason,
        refused_logins_are_counted,
        a_reload_keeps_the_counters,
        health_and_readiness_are_two_things,
        a_taken_port_is_a_warning,
        nothing_can_be_changed_and_little_be_sent,
        the_page_loads_nothing_and_tells_no_secret,
        a_successor_has_the_port,
        the_line_of_each_period_is_logged,
        top_shows_it_in_a_terminal,
        shells_complete_the_command_line,
    ]
}

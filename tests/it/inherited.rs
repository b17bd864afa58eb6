//! Keys that configs of PgBouncer's bring along: what servers are asked before they are lent and after they come back,
//! what clients are told at a login and in the queue, and when a session lets go of its server.

use crate::support::proxy::{backend, value};
use crate::support::wire::say;
use crate::support::*;

/// A mark in the server's session that no client sets.
const MARK: &str = "SELECT current_setting('pgweir.mark', true)";

async fn a_server_that_has_rested_is_asked(pg: Servers) {
    let check = "server_check_query = \"SELECT set_config('pgweir.mark', 'asked', false)\"";
    let asked = async |delay: &str| {
        let setup = Setup::new(&pg).global("default_pool_size = 1").global(check);
        let proxy = setup.global(&format!("server_check_delay = {delay}")).start().await;
        let client = proxy.app().await;
        let pid = backend(&client).await;
        tokio::time::sleep(MOMENT).await;
        let mark = value(&client, MARK).await;
        assert_eq!(backend(&client).await, pid, "{delay}");
        mark
    };
    assert_eq!(asked("0").await, "asked");
    assert_eq!(asked("'50ms'").await, "asked");
    assert_eq!(asked("'1h'").await, "NULL");
}

async fn one_that_fails_the_check_is_replaced(pg: Servers) {
    let global = "default_pool_size = 2\nserver_check_delay = 0\nserver_check_query = 'SELECT 1/0'";
    let proxy = Setup::new(&pg).global(global).start().await;
    let direct = pg.direct("test1").await;
    let clients = proxy.apps(2).await;
    for client in &clients {
        client.batch_execute("BEGIN").await.expect("a server each");
    }
    let before: Vec<i32> = proxy.servers(&direct).await.iter().map(|row| row.pid).collect();
    for client in &clients {
        client.batch_execute("COMMIT").await.expect("the end");
    }
    let after = backend(&clients[0]).await;
    assert!(before.len() == 2 && !before.contains(&after), "{after} of {before:?}");
    // What is lent from hand to hand is not asked.
    let many = clients.iter().map(|client| async {
        client.batch_execute("BEGIN; SELECT 1; COMMIT").await.expect("a server");
    });
    for one in many {
        one.await;
    }
    let closed = || async { proxy.servers(&direct).await.iter().all(|row| !before.contains(&row.pid)) };
    eventually("neither of the two is left", closed).await;
}

async fn a_server_that_comes_back_is_reset(pg: Servers) {
    for (always, second) in [(false, "left"), (true, "")] {
        let setup = Setup::new(&pg).global(&format!("default_pool_size = 1\nserver_reset_query_always = {always}"));
        let mark = "connect_query = \"SELECT set_config('pgweir.mark', 'left', false)\"";
        let proxy = setup.database("test1", mark).start().await;
        let client = proxy.app().await;
        let pid = backend(&client).await;
        assert_eq!(value(&client, MARK).await, second, "{always}");
        // Prepared statements, and the client's own settings, are there all the same.
        client.batch_execute("SET TimeZone = 'Asia/Tokyo'").await.expect("a setting");
        let named = client.prepare("SELECT 7, current_setting('TimeZone')").await.expect("a statement");
        for _ in 0..3 {
            let row = client.query_one(&named, &[]).await.expect("it is there");
            assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (7, "Asia/Tokyo"), "{always}");
        }
        assert_eq!(backend(&client).await, pid, "{always}");
    }
}

async fn what_connect_query_sets_is_told_and_kept(pg: Servers) {
    let setup = Setup::new(&pg).global("default_pool_size = 1");
    let proxy = setup.database("test1", "connect_query = \"SET TimeZone = 'Asia/Tokyo'\"").start().await;
    let mut wire = Wire::login(&proxy).await;
    let told: Vec<String> = wire.greeting.iter().map(ToString::to_string).collect();
    assert!(told.contains(&"S(TimeZone=Asia/Tokyo)".to_owned()), "{told:?}");
    assert_eq!(wire.query("SHOW TimeZone").await, "T D(Asia/Tokyo) C(SHOW) Z(I)");
    let other = proxy.app().await;
    other.batch_execute("SET TimeZone = 'Europe/Vienna'").await.expect("its own");
    assert_eq!(wire.query("SHOW TimeZone").await, "T D(Asia/Tokyo) C(SHOW) Z(I)");
}

async fn a_long_wait_is_told_once(pg: Servers) {
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nquery_wait_notify = '100ms'").start().await;
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server");
    let mut waiter = Wire::login(&proxy).await;
    for _ in 0..2 {
        waiter.send(&say::query("SELECT 1")).await;
        let notice = waiter.frame().await.expect("a notice");
        assert_eq!((notice.tag, notice.field(b'S'), notice.field(b'C')), (b'N', "NOTICE".into(), "00000".into()));
        let text = "No server connection available in postgres backend, client being queued";
        assert_eq!(notice.field(b'M'), text);
        assert!(waiter.is_silent().await, "it is told once");
        holder.batch_execute("COMMIT").await.expect("the end");
        assert_eq!(waiter.ready().await, "T D(1) C(SELECT 1) Z(I)");
        holder.batch_execute("BEGIN").await.expect("the server");
    }
    drop(holder);
    let proxy = Setup::new(&pg).global("default_pool_size = 1\nquery_wait_notify = 0").start().await;
    let holder = proxy.app().await;
    holder.batch_execute("BEGIN").await.expect("the server");
    let mut waiter = Wire::login(&proxy).await;
    waiter.send(&say::query("SELECT 1")).await;
    assert!(waiter.is_silent().await);
}

async fn the_simple_protocol_is_closed(pg: Servers) {
    let mut proxy = Setup::new(&pg).global("admin_users = 'app'").start().await;
    let before = proxy.app().await;
    proxy.reload(Setup::new(&pg).global("admin_users = 'app'\ndisable_pqexec = true")).await;
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[say::run("SELECT 1"), say::sync()]).await, "1 2 D(1) C(SELECT 1) Z(I)");
    // At rest, and with a server at hand.
    wire.send(&say::query("SELECT 2")).await;
    assert_eq!(wire.last_words().await, "FATAL 0A000 PQexec disallowed");
    let mut wire = Wire::login(&proxy).await;
    assert_eq!(wire.ask(&[say::run("BEGIN"), say::sync()]).await, "1 2 C(BEGIN) Z(T)");
    wire.send(&say::query("SELECT 3")).await;
    assert_eq!(wire.last_words().await, "FATAL 0A000 PQexec disallowed");
    assert_eq!(value(&before, "SELECT 4").await, "4", "who was there keeps what it had");
    assert_eq!(
        value(&proxy.connect("app", "pgbouncer").await, "SHOW VERSION").await.split(' ').next(),
        Some("PgBouncer")
    );
}

async fn a_login_has_its_notice(pg: Servers) {
    let mut proxy = Setup::new(&pg).global("login_notify_message = 'maintenance at noon'").start().await;
    let said = |wire: &Wire| {
        let notices = wire.greeting.iter().filter(|frame| frame.tag == b'N');
        notices.map(|frame| frame.field(b'M')).collect::<Vec<_>>()
    };
    let wire = Wire::login(&proxy).await;
    assert_eq!(said(&wire), ["maintenance at noon"]);
    proxy.reload(Setup::new(&pg)).await;
    assert!(said(&Wire::login(&proxy).await).is_empty());
}

async fn a_session_lets_go_between_transactions(pg: Servers) {
    for fast in [true, false] {
        let global = format!("admin_users = 'app'\npool_mode = 'session'\nserver_fast_close = {fast}");
        let proxy = Setup::new(&pg).global(&global).start().await;
        let console = proxy.connect("app", "pgbouncer").await;
        let (mut idle, mut busy) = (Wire::login(&proxy).await, Wire::login(&proxy).await);
        assert_eq!(idle.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
        assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
        console.batch_execute("RECONNECT").await.expect("RECONNECT");
        if !fast {
            assert!(idle.is_silent().await, "it stays until it leaves");
            assert_eq!(idle.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(I)");
            continue;
        }
        assert_eq!(idle.last_words().await, "FATAL 57P01 database configuration changed");
        assert_eq!(busy.query("SELECT 2").await, "T D(2) C(SELECT 1) Z(T)", "a transaction goes on to its end");
        assert_eq!(busy.query("COMMIT").await, "C(COMMIT) Z(I)");
        assert_eq!(busy.last_words().await, "FATAL 57P01 database configuration changed");
        let client = proxy.app().await;
        assert_eq!(value(&client, "SELECT 3").await, "3");
        tokio::time::sleep(MOMENT).await;
        assert_eq!(value(&client, "SELECT 4").await, "4", "what was opened since stays");
    }
}

tests! {
    on both: [a_server_that_comes_back_is_reset, what_connect_query_sets_is_told_and_kept],
    on 15: [
        a_login_has_its_notice, a_long_wait_is_told_once, a_server_that_has_rested_is_asked,
        a_session_lets_go_between_transactions, one_that_fails_the_check_is_replaced, the_simple_protocol_is_closed,
    ]
}

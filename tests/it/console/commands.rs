//! What commands do to clients and servers.

use super::*;

/// A command that waits, in a task of its own.
fn spawn(client: Client, command: &str) -> tokio::task::JoinHandle<Result<(), String>> {
    let command = command.to_owned();
    tokio::spawn(async move {
        let done = client.batch_execute(&command).await;
        done.map_err(|error| error.as_db_error().map_or(error.to_string(), |said| said.message().to_owned()))
    })
}

async fn pause_waits_for_transactions_and_closes_every_server(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let (busy, idle) = (proxy.app().await, proxy.app().await);
    busy.batch_execute("BEGIN").await.expect("a server");
    assert_eq!(value(&idle, "SELECT 1").await, "1");
    proxy.wait_for_servers(&direct, 2).await;
    let paused = spawn(admin(&proxy).await, "PAUSE");
    proxy.wait_for_log("PAUSE command issued").await;
    // Idle ones go at once, and the transaction goes on.
    proxy.wait_for_servers(&direct, 1).await;
    let console = admin(&proxy).await;
    assert_eq!(Rows::of(&console, "SHOW STATE").await.get(&["paused"], "value"), "yes", "no console waits for another");
    assert_eq!(refusal(console.batch_execute("PAUSE").await), "ERROR 55000 already suspended/paused");
    assert_eq!(value(&busy, "SELECT 2").await, "2");
    assert!(!paused.is_finished());
    busy.batch_execute("COMMIT").await.expect("the end");
    soon("PAUSE is done", paused).await.expect("no panic").expect("it is paused");
    // Closed by then; the server's process still has to end.
    proxy.wait_for_servers(&direct, 0).await;
    let held = tokio::spawn(async move { value(&idle, "SELECT 3").await });
    tokio::time::sleep(MOMENT).await;
    assert!(!held.is_finished());
    console.batch_execute("RESUME").await.expect("RESUME");
    assert_eq!(soon("it is released", held).await.expect("no panic"), "3");
    assert_eq!(value(&busy, "SELECT 4").await, "4");
}

async fn pause_of_one_database_leaves_the_others(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let (one, two) = (proxy.app().await, proxy.connect("app", "test2").await);
    assert_eq!(value(&one, "SELECT 1").await, "1");
    let console = admin(&proxy).await;
    console.batch_execute("PAUSE test1").await.expect("nobody works there");
    assert_eq!(Rows::of(&console, "SHOW DATABASES").await.get(&["test1"], "paused"), "1");
    assert_eq!(Rows::of(&console, "SHOW DATABASES").await.get(&["test2"], "paused"), "0");
    // That of the other database is left.
    assert_eq!(value(&two, "SELECT 2").await, "2");
    proxy.wait_for_servers(&pg.direct("test1").await, 1).await;
    let held = tokio::spawn(async move { value(&one, "SELECT 3").await });
    tokio::time::sleep(MOMENT).await;
    assert!(!held.is_finished());
    assert_eq!(refusal(console.batch_execute("SUSPEND").await), "ERROR 55000 cannot suspend with paused databases");
    assert_eq!(refusal(console.batch_execute("RESUME").await), "ERROR 55000 pooler is not paused/suspended");
    console.batch_execute("RESUME test1").await.expect("RESUME");
    assert_eq!(soon("it is released", held).await.expect("no panic"), "3");
}

async fn a_cancelled_pause_is_a_resume(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let busy = proxy.app().await;
    busy.batch_execute("BEGIN").await.expect("a server");
    for command in ["PAUSE", "PAUSE test1"] {
        let mut console = Wire::login_with(&proxy, say::V3_0, &[("user", "app"), ("database", "pgbouncer")]).await;
        console.send(&say::query(command)).await;
        assert!(console.is_silent().await, "it waits");
        cancel(proxy.port, &console.key()).await;
        assert_eq!(console.ready().await, "E(57014) Z(I)");
        assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1", "{command}");
    }
}

async fn a_pause_outlives_its_console(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let busy = proxy.app().await;
    busy.batch_execute("BEGIN").await.expect("a server");
    let mut waiting = Wire::login_with(&proxy, say::V3_0, &[("user", "app"), ("database", "pgbouncer")]).await;
    waiting.send(&say::query("PAUSE")).await;
    proxy.wait_for_log("PAUSE command issued").await;
    drop(waiting);
    proxy.wait_for_log("console closed").await;
    let console = admin(&proxy).await;
    assert_eq!(Rows::of(&console, "SHOW STATE").await.get(&["paused"], "value"), "yes");
    busy.batch_execute("COMMIT").await.expect("the end");
    proxy.wait_for_servers(&pg.direct("test1").await, 0).await;
    console.batch_execute("RESUME").await.expect("RESUME");
}

async fn suspend_keeps_servers_and_ends_with_its_console(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    let before = backend(&client).await;
    let suspending = admin(&proxy).await;
    suspending.batch_execute("SUSPEND").await.expect("nobody works");
    let console = admin(&proxy).await;
    assert_eq!(Rows::of(&console, "SHOW STATE").await.get(&["suspended"], "value"), "yes");
    let held = tokio::spawn(async move { backend(&client).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!held.is_finished());
    drop(suspending);
    assert_eq!(soon("it is released", held).await.expect("no panic"), before);
}

/// Within transactions, and while queries run: what comes is there after RESUME.
async fn suspend_stops_where_everybody_stands(pg: Servers) {
    let proxy = setup(&pg).global("suspend_timeout = 0").start().await;
    let direct = pg.direct("test1").await;
    let (mut idle, mut busy, mut late) =
        (Wire::login(&proxy).await, Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(idle.query("BEGIN").await, "C(BEGIN) Z(T)");
    busy.send(&say::query("SELECT pg_sleep(2)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    let console = admin(&proxy).await;
    soon("nobody is waited for", console.batch_execute("SUSPEND")).await.expect("SUSPEND");
    for wire in [&mut idle, &mut late] {
        wire.send(&say::query("SELECT 1")).await;
    }
    for wire in [&mut idle, &mut busy, &mut late] {
        assert!(wire.is_silent().await);
    }
    assert_eq!(proxy.servers(&direct).await.len(), 2, "both are kept");
    assert!(proxy.servers(&direct).await.iter().all(|row| row.query != "SELECT 1"), "nothing goes to a server");
    console.batch_execute("RESUME").await.expect("RESUME");
    assert_eq!(idle.ready().await, "T D(1) C(SELECT 1) Z(T)");
    assert_eq!(busy.ready().await, "T D() C(SELECT 1) Z(I)");
    assert_eq!(late.ready().await, "T D(1) C(SELECT 1) Z(I)");
    assert_eq!(idle.query("COMMIT").await, "C(COMMIT) Z(I)");
}

async fn suspend_does_not_wait_for_ever(pg: Servers) {
    let proxy = setup(&pg).global("suspend_timeout = '300ms'").start().await;
    let mut deaf = Wire::login(&proxy).await;
    deaf.send(&say::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")).await;
    tokio::time::sleep(MOMENT).await;
    let console = admin(&proxy).await;
    soon("the straggler is ended", console.batch_execute("SUSPEND")).await.expect("SUSPEND");
    proxy.wait_for_log("closing because: suspend_timeout").await;
    console.batch_execute("RESUME").await.expect("RESUME");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn disable_refuses_new_clients_only(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    let console = admin(&proxy).await;
    console.batch_execute("DISABLE test1").await.expect("DISABLE");
    assert_eq!(refusal(proxy.try_connect("app", "test1").await), "FATAL 55000 database \"test1\" is disabled");
    assert_eq!(value(&client, "SELECT 1").await, "1");
    assert_eq!(Rows::of(&console, "SHOW DATABASES").await.get(&["test1"], "disabled"), "1");
    console.batch_execute("ENABLE test1").await.expect("ENABLE");
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");
}

async fn kill_ends_everybody_and_holds_the_database(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let (mut idle, mut open, mut busy) =
        (Wire::login(&proxy).await, Wire::login(&proxy).await, Wire::login(&proxy).await);
    assert_eq!(open.query("BEGIN").await, "C(BEGIN) Z(T)");
    busy.send(&say::query("SELECT pg_sleep(1000)")).await;
    let running = || async { proxy.servers(&direct).await.iter().any(|row| row.state == "active") };
    eventually("it runs", running).await;
    let bystander = proxy.connect("app", "test2").await;
    let console = admin(&proxy).await;
    console.batch_execute("KILL test1").await.expect("KILL");
    for wire in [&mut idle, &mut open, &mut busy] {
        assert_eq!(wire.last_words().await, "FATAL 57P01 database removed");
    }
    // The bystander's is left.
    assert_eq!(value(&bystander, "SELECT 1").await, "1");
    proxy.wait_for_servers(&direct, 1).await;
    let client = proxy.app().await;
    let held = tokio::spawn(async move { value(&client, "SELECT 2").await });
    tokio::time::sleep(MOMENT).await;
    assert!(!held.is_finished(), "as after PAUSE");
    console.batch_execute("RESUME test1").await.expect("RESUME");
    assert_eq!(soon("it is released", held).await.expect("no panic"), "2");
    console.batch_execute("KILL").await.expect("KILL");
    assert!(bystander.batch_execute("SELECT 1").await.is_err());
    assert_eq!(refusal(console.batch_execute("RESUME").await), "ERROR 55000 pooler is not paused/suspended");
    console.batch_execute("RESUME test1; RESUME test2").await.expect("each by its name");
}

async fn kill_client_ends_one(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let (mut one, other) = (Wire::login(&proxy).await, proxy.app().await);
    assert_eq!(one.query("SET application_name = 'condemned'").await, "C(SET) S(application_name=condemned) Z(I)");
    assert_eq!(one.query("BEGIN").await, "C(BEGIN) Z(T)");
    let console = admin(&proxy).await;
    let clients = Rows::of(&console, "SHOW CLIENTS").await;
    let at = clients.all("application_name").iter().position(|name| *name == "condemned").expect("it is shown");
    let id = clients.all("id")[at].to_owned();
    console.batch_execute(&format!("KILL_CLIENT {id}")).await.expect("KILL_CLIENT");
    assert_eq!(one.last_words().await, "FATAL 57P01 admin forced disconnect");
    assert_eq!(value(&other, "SELECT 1").await, "1");
    let again = format!("KILL_CLIENT {id}");
    let gone = || async { console.batch_execute(&again).await.is_err() };
    eventually("it is gone", gone).await;
    assert_eq!(refusal(console.batch_execute(&again).await), "ERROR 42704 client not found");
}

async fn reconnect_changes_every_server_at_its_return(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let (busy, idle) = (proxy.app().await, proxy.app().await);
    busy.batch_execute("BEGIN").await.expect("a server");
    let (old, spare) = (backend(&busy).await, backend(&idle).await);
    let console = admin(&proxy).await;
    console.batch_execute("RECONNECT test1").await.expect("RECONNECT answers at once");
    let waiting = spawn(admin(&proxy).await, "WAIT_CLOSE test1");
    proxy.wait_for_log("WAIT_CLOSE").await;
    assert_ne!(backend(&idle).await, spare);
    assert_eq!(backend(&busy).await, old, "not within a transaction");
    assert_eq!(Rows::of(&console, "SHOW SERVERS").await.all("close_needed").iter().filter(|x| **x == "1").count(), 1);
    tokio::time::sleep(MOMENT).await;
    assert!(!waiting.is_finished());
    busy.batch_execute("COMMIT").await.expect("the end");
    soon("WAIT_CLOSE is done", waiting).await.expect("no panic").expect("they are closed");
    assert_ne!(backend(&busy).await, old);
    console.batch_execute("RECONNECT; WAIT_CLOSE; WAIT_CLOSE test2").await.expect("nothing is lent");
}

/// What a reload replaced is waited for, too.
async fn wait_close_after_a_reload(pg: Servers) {
    let with = |dbname: &str| setup(&pg).database("app", &format!("dbname = '{dbname}'"));
    let mut proxy = with("test1").start().await;
    let busy = proxy.connect("app", "app").await;
    busy.batch_execute("BEGIN").await.expect("a server");
    proxy.rewrite(with("test2"));
    let console = admin(&proxy).await;
    console.batch_execute("RELOAD").await.expect("RELOAD");
    let waiting = spawn(admin(&proxy).await, "WAIT_CLOSE app");
    proxy.wait_for_log("WAIT_CLOSE").await;
    tokio::time::sleep(MOMENT).await;
    assert!(!waiting.is_finished());
    busy.batch_execute("COMMIT").await.expect("the end");
    soon("WAIT_CLOSE is done", waiting).await.expect("no panic").expect("they are closed");
    assert_eq!(value(&busy, "SELECT current_database()").await, "test2");
}

async fn reload_and_set(pg: Servers) {
    let mut proxy = setup(&pg).global("default_pool_size = 1").start().await;
    let console = admin(&proxy).await;
    let size = async |console: &Client| Rows::of(console, "SHOW CONFIG").await.get(&["default_pool_size"], "value");
    assert_eq!(size(&console).await, "1");
    let (busy, second) = (proxy.app().await, proxy.app().await);
    busy.batch_execute("BEGIN").await.expect("the server");
    let mut wire = Wire::login_with(&proxy, say::V3_0, &[("user", "app"), ("database", "pgbouncer")]).await;
    assert_eq!(wire.query("SET default_pool_size = 2").await, "C(SET default_pool_size=2) Z(I)");
    assert_eq!(soon("a second server", value(&second, "SELECT 1")).await, "1");
    assert_eq!(size(&console).await, "2");
    // What SET does is not what the file says, whether or not that is sound by now.
    proxy.rewrite(setup(&pg).global("nonsense = 1"));
    assert_eq!(
        refusal(console.batch_execute("RELOAD").await),
        "ERROR F0000 RELOAD failed, see logs for additional details"
    );
    console.batch_execute("SET query_wait_timeout = '5s'; SET default_pool_size TO 3").await.expect("SET");
    assert_eq!(size(&console).await, "3");
    let bad = refusal(console.batch_execute("SET default_pool_size = many").await);
    assert!(bad.starts_with("ERROR 22023 SET failed: pgweir.default_pool_size: expected an integer"), "{bad}");
    assert_eq!(size(&console).await, "3");
    proxy.rewrite(setup(&pg).global("default_pool_size = 4"));
    console.batch_execute("RELOAD").await.expect("RELOAD");
    let config = Rows::of(&console, "SHOW CONFIG").await;
    assert_eq!(config.get(&["default_pool_size"], "value"), "4");
    assert_eq!(config.get(&["query_wait_timeout"], "value"), "120");
    // A driver's settings, and a key of PgBouncer's without effect.
    assert_eq!(wire.query("SET extra_float_digits = 3").await, "N(00000) C(SET) Z(I)");
    assert_eq!(wire.query("SET pkt_buf = 8192").await, "N(00000) C(SET pkt_buf=8192) Z(I)");
}

async fn signals_and_commands_are_one(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let console = admin(&proxy).await;
    proxy.signal(Signal::USR1);
    proxy.wait_for_log("PAUSE").await;
    let paused = || async { Rows::of(&console, "SHOW STATE").await.get(&["paused"], "value") == "yes" };
    eventually("it is paused", paused).await;
    console.batch_execute("RESUME").await.expect("RESUME");
    console.batch_execute("PAUSE").await.expect("PAUSE");
    proxy.signal(Signal::USR2);
    eventually("it is resumed", || async { !paused().await }).await;
}

tests! {
    on both: [pause_waits_for_transactions_and_closes_every_server],
    on 15: [
        a_cancelled_pause_is_a_resume, a_pause_outlives_its_console, disable_refuses_new_clients_only,
        kill_client_ends_one, kill_ends_everybody_and_holds_the_database, pause_of_one_database_leaves_the_others,
        reconnect_changes_every_server_at_its_return, reload_and_set, signals_and_commands_are_one,
        suspend_does_not_wait_for_ever, suspend_keeps_servers_and_ends_with_its_console,
        suspend_stops_where_everybody_stands, wait_close_after_a_reload,
    ]
}

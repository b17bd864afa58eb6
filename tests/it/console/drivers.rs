//! Any driver can ask: the extended protocol, binary values, and what drivers send to set up a session.

use super::*;

async fn console(proxy: &Proxy) -> Wire {
    Wire::login_with(proxy, say::V3_0, &[("user", "app"), ("database", "pgbouncer")]).await
}

async fn the_welcome_is_pgbouncers(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let wire = console(&proxy).await;
    let greeting = line(&wire.greeting);
    let reported = [
        "S(server_version=1.25.2/bouncer)",
        "S(client_encoding=UTF8)",
        "S(server_encoding=UTF8)",
        "S(DateStyle=ISO)",
        "S(TimeZone=GMT)",
        "S(standard_conforming_strings=on)",
        "S(is_superuser=on)",
    ];
    assert!(reported.iter().all(|status| greeting.contains(status)), "{greeting}");
    assert!(greeting.starts_with("R ") && greeting.ends_with(" K Z(I)"), "{greeting}");
    // Parameters that a server would take, and one that none would.
    let parameters = [
        ("user", "app"),
        ("database", "pgbouncer"),
        ("extra_float_digits", "2"),
        ("search_path", "x"),
        ("no_such", "1"),
    ];
    let mut wire = Wire::login_with(&proxy, say::V3_2, &parameters).await;
    assert_eq!(wire.query("SHOW STATE").await, "T D(active,yes) D(paused,no) D(suspended,no) C(SHOW) Z(I)");
}

async fn the_simple_protocol(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let mut wire = console(&proxy).await;
    let table = [
        ("", "I Z(I)"),
        (" ; ", "I Z(I)"),
        ("show dns_hosts;", "T C(SHOW) Z(I)"),
        ("SHOW DNS_ZONES; -- twice\nSHOW dns_hosts", "T C(SHOW) T C(SHOW) Z(I)"),
        ("SHOW HELP", "N(00000) C(SHOW) Z(I)"),
        ("select dns_hosts", "T C(SHOW) Z(I)"),
        ("SELECT 1", "T D(1) C(SELECT 1) Z(I)"),
        ("show transaction isolation level", "T D(read committed) C(SHOW) Z(I)"),
        ("SET application_name = 'x'", "N(00000) C(SET) Z(I)"),
        ("BEGIN", "C(BEGIN) Z(T)"),
        ("x", "E(42601) Z(T)"),
        ("COMMIT", "C(COMMIT) Z(I)"),
        ("DISCARD ALL", "C(DISCARD ALL) Z(I)"),
        ("RECONNECT;PAUSE;RESUME", "C(RECONNECT) C(PAUSE) C(RESUME) Z(I)"),
    ];
    for (text, answer) in table {
        assert_eq!(wire.query(text).await, answer, "{text:?}");
    }
    wire.send(&say::terminate()).await;
    assert_eq!(wire.frame().await, None);
}

async fn the_extended_protocol(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let mut wire = console(&proxy).await;
    let state = "D(active,yes) D(paused,no) D(suspended,no)";
    let messages = [say::parse("s", "SHOW STATE;"), say::describe(b'S', "s"), say::sync()];
    assert_eq!(wire.ask(&messages).await, "1 t T Z(I)");
    let messages = [say::bind("p", "s", &[]), say::describe(b'P', "p"), say::execute("p", 0), say::sync()];
    assert_eq!(wire.ask(&messages).await, format!("2 T {state} C(SHOW) Z(I)"));
    let messages = [say::bind("p", "s", &[]), say::execute("p", 2), say::execute("p", 2), say::sync()];
    assert_eq!(wire.ask(&messages).await, "2 D(active,yes) D(paused,no) s D(suspended,no) C(SHOW) Z(I)");
    assert_eq!(wire.ask(&[say::execute("p", 0), say::sync()]).await, "E(34000) Z(I)", "a portal ends with its batch");
    // An error voids the rest of the batch.
    let messages = [say::parse("", "nonsense"), say::bind("", "", &[]), say::execute("", 0), say::sync()];
    assert_eq!(wire.ask(&messages).await, "E(42601) Z(I)");
    assert_eq!(wire.ask(&[say::bind("", "gone", &[]), say::sync()]).await, "E(26000) Z(I)");
    assert_eq!(wire.ask(&[say::bind("", "s", &["1"]), say::sync()]).await, "E(22023) Z(I)");
    assert_eq!(wire.ask(&[say::parse("s", "RELOAD"), say::sync()]).await, "E(42P05) Z(I)");
    // Empty, several, without rows, and twice in one batch.
    assert_eq!(wire.ask(&[say::run(""), say::sync()]).await, "1 2 I Z(I)");
    assert_eq!(wire.ask(&[say::run("SHOW STATE; RELOAD"), say::sync()]).await, "E(42601) Z(I)");
    let messages = [say::parse("", "RELOAD"), say::describe(b'S', ""), say::bind("", "", &[]), say::execute("", 0)];
    assert_eq!(wire.ask(&[messages.concat(), say::sync()]).await, "1 t n 2 C(RELOAD) Z(I)");
    assert_eq!(
        wire.ask(&[say::run("SHOW DNS_HOSTS"), say::run("SHOW DNS_ZONES"), say::sync()]).await,
        "1 2 C(SHOW) 1 2 C(SHOW) Z(I)"
    );
    // Flush, as asyncpg has it.
    wire.send(&[say::parse("f", "SHOW STATE"), say::describe(b'S', "f"), say::flush()].concat()).await;
    assert_eq!(wire.read(3).await, "1 t T");
    let messages = [say::bind("", "f", &[]), say::execute("", 0), say::close(b'S', "f"), say::sync()];
    assert_eq!(wire.ask(&messages).await, format!("2 {state} C(SHOW) 3 Z(I)"));
}

/// tokio-postgres prepares everything and asks for binary values.
async fn binary_values(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let client = proxy.app().await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    let console = admin(&proxy).await;
    let row = console.query_one("SHOW VERSION", &[]).await.expect("a row");
    assert!(row.get::<_, &str>("version").starts_with("PgBouncer 1.25.2"));
    let rows = console.query("SHOW POOLS", &[]).await.expect("rows");
    let pool = rows.iter().find(|row| row.get::<_, &str>("database") == "test1").expect("the pool");
    assert_eq!((pool.get::<_, i32>("cl_active"), pool.get::<_, i32>("sv_idle")), (1, 1));
    assert_eq!(pool.get::<_, Option<&str>>("load_balance_hosts"), None);
    let rows = console.query("SHOW DATABASES", &[]).await.expect("rows");
    let own = rows.iter().find(|row| row.get::<_, &str>("name") == "test2").expect("the database");
    assert_eq!((own.get::<_, i32>("port"), own.get::<_, i32>("pool_size")), (i32::from(pg.primary), 20));
    let stats = console.query("SHOW STATS", &[]).await.expect("rows");
    assert!(!stats.is_empty());
    assert_eq!(console.execute("RELOAD", &[]).await.expect("RELOAD"), 0);
    assert_eq!(sqlstate(console.execute("PAUSE nowhere", &[]).await), "3D000");
}

async fn what_breaks_the_protocol_ends_it(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for message in [say::message(b'F', b"x"), say::message(b'Q', b"no zero"), say::message(b'B', b"x")] {
        let mut wire = console(&proxy).await;
        wire.send(&message).await;
        let words = wire.last_words().await;
        assert!(words.starts_with("FATAL 08P01 protocol violation"), "{words}");
    }
    let mut wire = console(&proxy).await;
    wire.send_perhaps(&say::query(&"x".repeat(100_000))).await;
    assert!(wire.last_words().await.starts_with("FATAL 08P01"));
    let mut wire = console(&proxy).await;
    assert_eq!(wire.ask(&[say::message(b'Q', b"SHOW \xff\0")]).await, "E(42601) Z(I)");
}

tests! {
    on both: [],
    on 15: [
        binary_values, the_extended_protocol, the_simple_protocol, the_welcome_is_pgbouncers,
        what_breaks_the_protocol_ends_it,
    ]
}

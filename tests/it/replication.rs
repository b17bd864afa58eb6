//! Replication connections: each has a server of its own, with what its client said at login.

use std::process::Command;

use crate::support::proxy::{Signal, value};
use crate::support::reads::Reads;
use crate::support::servers::bin15;
use crate::support::tool::run;
use crate::support::wire::say;
use crate::support::*;

fn setup(pg: &Servers) -> Setup {
    let users = format!("\"replicator\" \"{0}\"\n\"app\" \"{0}\"\n\"postgres\" \"{0}\"\n", pg.password);
    Setup::new(pg)
        .users(&users)
        .global("admin_users = 'postgres'\ndefault_pool_size = 1\napplication_name_add_host = true\nquery_timeout = 1\nserver_idle_timeout = 1")
}

async fn walsender(proxy: &Proxy, user: &str, kind: &str) -> Wire {
    let parameters =
        [("user", user), ("database", "test1"), ("replication", kind), ("application_name", "a walsender")];
    Wire::login_with(proxy, say::V3_0, &parameters).await
}

/// One of PostgreSQL's programs, as the replicator at this database.
fn program(name: &str, proxy: &Proxy, database: &str) -> Command {
    let mut command = Command::new(bin15().program(name));
    command.args(["-d", &format!("host=127.0.0.1 port={} user=replicator dbname={database}", proxy.port)]);
    command
}

async fn done(command: Command) {
    let said = run(command).await;
    assert!(said.success, "{said:?}");
}

async fn it_is_the_clients_alone(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let mut logical = walsender(&proxy, "replicator", "database").await;
    assert!(logical.query("IDENTIFY_SYSTEM").await.ends_with("C(IDENTIFY_SYSTEM) Z(I)"));
    assert_eq!(logical.query("SHOW application_name").await, "T D(a walsender) C(SHOW) Z(I)");
    assert!(logical.query("SET work_mem = '7MB'").await.ends_with("C(SET) Z(I)"));
    let mut physical = walsender(&proxy, "replicator", "true").await;
    assert!(physical.query("IDENTIFY_SYSTEM").await.ends_with("C(IDENTIFY_SYSTEM) Z(I)"));
    let refused = physical.query("SELECT 1").await;
    assert!(refused.starts_with("E(0A000)") && refused.ends_with("Z(I)"), "it runs no SQL: {refused}");
    assert_eq!(logical.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
    // The pool is another one.
    assert_eq!(value(&proxy.app().await, "SELECT 1").await, "1");

    let console = proxy.connect("postgres", "pgbouncer").await;
    let kinds = |table: &'static str| {
        let console = &console;
        async move {
            let rows = console.simple_query(table).await.expect("a table");
            let of = |row: &tokio_postgres::SimpleQueryRow| row.get("replication").map(str::to_owned);
            let mut kinds: Vec<_> = rows
                .iter()
                .filter_map(|row| if let tokio_postgres::SimpleQueryMessage::Row(row) = row { of(row) } else { None })
                .filter(|kind| kind != "none")
                .collect();
            kinds.sort();
            kinds
        }
    };
    assert_eq!(kinds("SHOW CLIENTS").await, ["logical", "physical"]);
    assert_eq!(kinds("SHOW SERVERS").await, ["logical", "physical"]);

    drop((logical, physical));
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a walsender'";
    eventually("its servers go with it", || async { value(&direct, gone).await == "0" }).await;
    assert_eq!(kinds("SHOW SERVERS").await, [""; 0]);
}

async fn who_may_not_is_told(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let refused = |parameters: &'static [(&'static str, &'static str)]| {
        let port = proxy.port;
        async move {
            let mut wire = Wire::open(port).await;
            wire.send(&say::startup(say::V3_0, parameters)).await;
            wire.rest().await
        }
    };
    let own = refused(&[("user", "app"), ("database", "test1"), ("replication", "on")]).await;
    assert!(own.ends_with("E(42501)"), "the server's own words: {own}");
    let unknown = refused(&[("user", "app"), ("database", "test1"), ("replication", "perhaps")]).await;
    assert_eq!(unknown, "E(22023)");
    let nowhere = refused(&[("user", "replicator"), ("database", "nowhere"), ("replication", "on")]).await;
    assert!(nowhere.ends_with("E(3D000)"), "{nowhere}");
    let ordinary = [("user", "app"), ("database", "test1"), ("replication", "off")];
    let mut ordinary = Wire::login_with(&proxy, say::V3_0, &ordinary).await;
    assert_eq!(ordinary.query("SELECT 1").await, "T D(1) C(SELECT 1) Z(I)");
}

async fn hba_knows_it_by_its_word(pg: Servers) {
    let lines = "host replication replicator all trust\nhost test1 app all trust\n";
    let proxy =
        setup(&pg).global("auth_type = 'hba'\nauth_hba_file = 'hba.conf'").file("hba.conf", lines).start().await;
    let mut physical = walsender(&proxy, "replicator", "1").await;
    assert!(physical.query("IDENTIFY_SYSTEM").await.ends_with("Z(I)"));
    let mut wire = Wire::open(proxy.port).await;
    let logical = [("user", "replicator"), ("database", "test1"), ("replication", "database")];
    wire.send(&say::startup(say::V3_0, &logical)).await;
    assert_eq!(wire.rest().await, "E(28000)");
}

async fn a_base_backup(pg: Servers) {
    let proxy = setup(&pg).database("replication", "").start().await;
    let to = proxy.dir.join("copy");
    let mut command = program("pg_basebackup", &proxy, "replication");
    command.args(["--checkpoint", "fast", "--wal-method", "stream", "--no-sync", "-D"]).arg(&to);
    done(command).await;
    let mut check = Command::new(bin15().program("pg_verifybackup"));
    check.arg("--no-parse-wal").arg(&to);
    done(check).await;
}

async fn changes_are_streamed(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    let slot = format!("slot_{}", std::process::id());
    let file = proxy.dir.join("changes");
    let receive = |words: &[&str]| {
        let mut command = program("pg_recvlogical", &proxy, "test1");
        command.args(["--slot", &slot, "--no-loop"]).args(words);
        command
    };
    done(receive(&["--create-slot", "-P", "test_decoding"])).await;
    let table = format!("streamed_{}", std::process::id());
    direct
        .batch_execute(&format!("CREATE TABLE {table} (n int); INSERT INTO {table} VALUES (7)"))
        .await
        .expect("a row");
    let end = value(&direct, "SELECT pg_current_wal_lsn()").await;
    let path = file.display().to_string();
    done(receive(&["--start", "--endpos", &end, "-f", &path])).await;
    let changes = std::fs::read_to_string(&file).expect("what was received");
    assert!(changes.contains(&format!("table public.{table}: INSERT: n[integer]:7")), "{changes}");
    done(receive(&["--drop-slot"])).await;
    direct.batch_execute(&format!("DROP TABLE {table}")).await.expect("dropped");
}

/// A subscription in the same cluster, whose slot is made before, as PostgreSQL's manual has it.
async fn a_subscription(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let (from, to) = (pg.direct("test1").await, pg.direct("test2").await);
    let name = format!("sub_{}", std::process::id());
    let table = format!("CREATE TABLE {name} (n int PRIMARY KEY)");
    from.batch_execute(&table).await.expect("a table");
    to.batch_execute(&table).await.expect("a table");
    let publish = format!("CREATE PUBLICATION {name} FOR TABLE {name}; GRANT SELECT ON {name} TO replicator");
    from.batch_execute(&publish).await.expect("published");
    value(&from, &format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")).await;
    let subscribe = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION 'host=127.0.0.1 port={} user=replicator dbname=test1' PUBLICATION {name} \
         WITH (create_slot = false, copy_data = true)",
        proxy.port
    );
    from.batch_execute(&format!("INSERT INTO {name} VALUES (1)")).await.expect("a row before");
    to.batch_execute(&subscribe).await.expect("subscribed");
    let count = format!("SELECT count(*) FROM {name}");
    eventually("what was there is copied", || async { value(&to, &count).await == "1" }).await;
    from.batch_execute(&format!("INSERT INTO {name} SELECT generate_series(2, 500)")).await.expect("rows");
    eventually("changes are applied", || async { value(&to, &count).await == "500" }).await;
    let sender = format!("SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'");
    assert_eq!(value(&from, &sender).await, "1", "by the name that it gave itself");
    let drop = format!("ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE)");
    to.batch_execute(&drop).await.expect("disabled");
    to.batch_execute(&format!("DROP SUBSCRIPTION {name}")).await.expect("dropped");
    to.batch_execute(&format!("DROP TABLE {name}")).await.expect("dropped");
    let free = format!("SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{name}' AND NOT active");
    eventually("its stream is over", || async { value(&from, &free).await == "1" }).await;
    value(&from, &format!("SELECT pg_drop_replication_slot('{name}')")).await;
    from.batch_execute(&format!("DROP PUBLICATION {name}; DROP TABLE {name}")).await.expect("dropped");
}

/// A stream outlasts `query_timeout`, and no shutdown waits for it.
async fn a_stream_ends_with_the_proxy(pg: Servers) {
    let mut proxy = setup(&pg).start().await;
    let direct = pg.direct("test1").await;
    // Of a database where little is written: a message that is half through would be the last that the client sees.
    let mut wire = walsender(&proxy, "replicator", "database").await;
    let made = wire.query("CREATE_REPLICATION_SLOT passing TEMPORARY LOGICAL test_decoding").await;
    assert!(made.ends_with("C(CREATE_REPLICATION_SLOT) Z(I)"), "{made}");
    wire.send(&say::query("START_REPLICATION SLOT passing LOGICAL 0/0")).await;
    assert_eq!(wire.frame().await.expect("it streams").tag, b'W');
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let streams = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'a walsender'";
    assert_eq!(value(&direct, streams).await, "1", "after query_timeout");
    proxy.signal(Signal::INT);
    assert!(proxy.end().await.success());
    assert!(wire.rest().await.ends_with("E(57P01)"));
}

async fn it_goes_to_the_primary(pg: Servers) {
    let reads = Reads::of(pg, "SELECT 1").await;
    reads.primary.batch_execute("ALTER ROLE trust_user REPLICATION").await.expect("altered");
    let parameters = [("user", "trust_user"), ("database", "test1"), ("replication", "database")];
    let mut wire = Wire::login_with(&reads.proxy, say::V3_0, &parameters).await;
    assert_eq!(wire.query("SELECT pg_is_in_recovery()").await, "T D(f) C(SELECT 1) Z(I)");
    reads.primary.batch_execute("ALTER ROLE trust_user NOREPLICATION").await.expect("altered");
}

tests! {
    on both: [it_is_the_clients_alone, who_may_not_is_told],
    on 15: [
        a_base_backup, a_stream_ends_with_the_proxy, a_subscription, changes_are_streamed, hba_knows_it_by_its_word,
        it_goes_to_the_primary,
    ]
}

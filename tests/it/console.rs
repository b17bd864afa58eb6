//! The console: who may use it, how any driver can ask, and what each command does to clients and servers.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::proxy::{Signal, backend, connect, value};
use crate::support::tool::psql;
use crate::support::wire::{cancel, line, say};
use crate::support::*;

mod commands;
mod drivers;
mod shutdown;
mod tables;

/// Rights: app may do all, other may look.
fn setup(pg: &Servers) -> Setup {
    Setup::new(pg).global("admin_users = 'app'\nstats_users = 'other'")
}

/// An administrator at the console.
async fn admin(proxy: &Proxy) -> Client {
    proxy.connect("app", "pgbouncer").await
}

/// Names of columns and rows of a simple query; NULL as "NULL".
async fn table(client: &Client, sql: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let (mut columns, mut rows) = (Vec::new(), Vec::new());
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(described) => {
                columns = described.iter().map(|column| column.name().to_owned()).collect();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect());
            }
            _ => {}
        }
    }
    (columns, rows)
}

/// Rows by the names of their columns.
struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Rows {
    async fn of(client: &Client, sql: &str) -> Rows {
        let (columns, rows) = table(client, sql).await;
        Rows { columns, rows }
    }

    /// A column of the row whose first columns are these.
    fn get(&self, key: &[&str], column: &str) -> String {
        let at = self.columns.iter().position(|name| name == column).unwrap_or_else(|| panic!("no column {column}"));
        let row = self.rows.iter().find(|row| row.iter().zip(key).all(|(value, key)| value == key));
        row.unwrap_or_else(|| panic!("no row {key:?} in {:?}", self.rows))[at].clone()
    }

    /// All values of a column.
    fn all(&self, column: &str) -> Vec<&str> {
        let at = self.columns.iter().position(|name| name == column).expect("a column");
        self.rows.iter().map(|row| row[at].as_str()).collect()
    }
}

async fn who_may_use_it(pg: Servers) {
    let proxy = setup(&pg).start().await;
    for database in ["pgbouncer", "pgweir"] {
        let admin = proxy.connect("app", database).await;
        assert_eq!(value(&admin, "SHOW STATE").await, "active");
        let looks = proxy.connect("other", database).await;
        assert_eq!(value(&looks, "SHOW STATE").await, "active");
        let refused = proxy.try_connect("app_plain", database).await;
        assert_eq!(refusal(refused), "FATAL 42501 not allowed");
    }
    let looks = proxy.connect("other", "pgbouncer").await;
    let commands = [
        "RELOAD",
        "PAUSE",
        "PAUSE test1",
        "RESUME",
        "DISABLE test1",
        "ENABLE test1",
        "KILL",
        "KILL_CLIENT 1",
        "RECONNECT",
        "RECONNECT test1 FORGET",
        "SUSPEND",
        "WAIT_CLOSE",
        "SHUTDOWN",
        "SHUTDOWN WAIT_FOR_CLIENTS",
        "SET default_pool_size = 3",
        "SHOW FDS",
        "SHOW HBA",
    ];
    for command in commands {
        let said = refusal(looks.batch_execute(command).await);
        assert_eq!(said, "ERROR 42501 admin access needed", "{command}");
    }
    looks.batch_execute("SHOW POOLS; SHOW CLIENTS; SHOW CONFIG").await.expect("it may look");
}

async fn a_password_is_asked_as_of_any_client(pg: Servers) {
    let setup = setup(&pg).global("auth_type = 'scram-sha-256'").users("\"app\" \"word\"\n\"app_plain\" \"x\"\n");
    let proxy = setup.start().await;
    let mut config = proxy.config("app", "pgbouncer");
    let console = connect(config.password("word")).await.expect("the right one");
    assert_eq!(
        value(&console, "SHOW VERSION").await,
        concat!("PgBouncer 1.25.2 (pgweir ", env!("CARGO_PKG_VERSION"), ")")
    );
    assert_eq!(sqlstate(connect(config.password("wrong")).await), "28P01");
    let mut config = proxy.config("app_plain", "pgbouncer");
    assert_eq!(sqlstate(connect(config.password("y")).await), "28P01", "who may not is not told before he has proved");
    assert_eq!(refusal(connect(config.password("x")).await), "FATAL 42501 not allowed");
}

async fn our_own_user_comes_by_the_unix_socket(pg: Servers) {
    let dir = std::env::temp_dir().join(format!("pgweir-console-{}", std::process::id()));
    std::fs::create_dir(&dir).expect("it is new");
    let setup = Setup::new(&pg).global("auth_type = 'scram-sha-256'\nunix_socket_dir = '${IT_DIR}'");
    let proxy = setup.env("IT_DIR", &dir.display().to_string()).start().await;
    for user in ["pgbouncer", "pgweir"] {
        let url = format!("host={} port={} user={user} dbname={user}", dir.display(), proxy.port);
        let said = psql(&url, "", "SHOW STATE").await;
        assert_eq!((said.success, said.out.as_str()), (true, "active|yes\npaused|no\nsuspended|no"), "{said:?}");
        assert!(psql(&url, "", "PAUSE test1").await.success, "all of it");
        assert!(psql(&url, "", "RESUME test1").await.success);
    }
    let elsewhere = format!("host=127.0.0.1 port={} user=pgbouncer dbname=pgbouncer", proxy.port);
    let said = psql(&elsewhere, "x", "SHOW STATE").await;
    assert!(!said.success && said.err.contains("password authentication failed"), "{said:?}");
    let other = format!("host={} port={} user=app dbname=pgbouncer", dir.display(), proxy.port);
    assert!(!psql(&other, "x", "SHOW STATE").await.success, "by its own name only");
    drop(proxy);
    let _gone = std::fs::remove_dir_all(dir);
}

async fn max_client_conn_does_not_keep_it_out(pg: Servers) {
    let proxy = setup(&pg).global("max_client_conn = 2").start().await;
    let _clients = [proxy.app().await, proxy.app().await];
    assert_eq!(sqlstate(proxy.try_connect("app", "test1").await), "53300");
    assert_eq!(value(&admin(&proxy).await, "SHOW STATE").await, "active");
}

async fn what_it_says_to_what_it_does_not_know(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let console = admin(&proxy).await;
    let table = [
        ("INSERT INTO x", "ERROR 42601 invalid command 'INSERT INTO x', use SHOW HELP;"),
        ("SHOW nothing;", "ERROR 42601 invalid command 'SHOW nothing', use SHOW HELP;"),
        ("PAUSE \"x", "ERROR 42601 bad arguments"),
        ("PAUSE nowhere", "ERROR 3D000 no such database: nowhere"),
        ("RESUME nowhere", "ERROR 3D000 no such database: nowhere"),
        ("RESUME", "ERROR 55000 pooler is not paused/suspended"),
        ("RESUME test1", "ERROR 55000 database test1 is not paused"),
        ("PAUSE pgbouncer", "ERROR 55000 cannot pause admin db: pgbouncer"),
        ("KILL pgweir", "ERROR 55000 cannot kill admin db: pgweir"),
        ("DISABLE", "ERROR 42601 a database is required"),
        ("KILL_CLIENT x", "ERROR 22023 invalid client pointer supplied"),
        ("KILL_CLIENT 4000000000", "ERROR 42704 client not found"),
        ("SET nonsense = 1", "ERROR 22023 SET failed: nonsense: expected a known key"),
        ("SET listen_port = 7", "ERROR 22023 SET failed: listen_port: takes effect at the next start only"),
        ("RECONNECT test1 FORGET", "ERROR 55000 database test1 has no servers list to forget anything of"),
    ];
    for (command, said) in table {
        assert_eq!(refusal(console.batch_execute(command).await), said, "{command}");
    }
    // An error ends its text only.
    assert_eq!(
        refusal(console.batch_execute("SHOW STATE; x; PAUSE").await),
        "ERROR 42601 invalid command 'x', use SHOW HELP;"
    );
    assert_eq!(value(&console, "SHOW STATE").await, "active");
}

async fn error_codes_of_pgbouncer(pg: Servers) {
    let mut proxy = setup(&pg).global("error_codes = 'pgbouncer'").start().await;
    let console = admin(&proxy).await;
    assert_eq!(sqlstate(console.batch_execute("x").await), "08P01");
    assert_eq!(sqlstate(proxy.try_connect("app", "nowhere").await), "08P01");
    assert_eq!(sqlstate(proxy.app().await.batch_execute("SELECT 1/0").await), "22012", "a server's own code is kept");
    proxy.rewrite(Setup::new(&pg).global("nonsense = 1"));
    let said = refusal(console.batch_execute("RELOAD").await);
    assert_eq!(said, "ERROR F0000 RELOAD failed, see logs for additional details");
    proxy.reload(setup(&pg)).await;
    assert_eq!(sqlstate(console.batch_execute("x").await), "42601");
}

tests! {
    on both: [],
    on 15: [
        a_password_is_asked_as_of_any_client, error_codes_of_pgbouncer, max_client_conn_does_not_keep_it_out,
        our_own_user_comes_by_the_unix_socket, what_it_says_to_what_it_does_not_know, who_may_use_it,
    ]
}

//! Each table's columns, in order and with their types, and that what they show is so.

use super::*;

/// PgBouncer 1.25's tables: t is text, i int4, q int8, n numeric, b bytea.
const THEIRS: &[(&str, &str)] = &[
    ("CONFIG", "key:t value:t default:t changeable:t"),
    (
        "DATABASES",
        "name:t host:t port:i database:t force_user:t pool_size:i min_pool_size:i reserve_pool_size:i \
         server_lifetime:i pool_mode:t load_balance_hosts:t max_connections:i current_connections:i \
         max_client_connections:i current_client_connections:i paused:i disabled:i",
    ),
    (
        "POOLS",
        "database:t user:t cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i \
         sv_active_cancel:i sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i \
         pool_mode:t load_balance_hosts:t",
    ),
    ("CLIENTS", SOCKET),
    ("SERVERS", SOCKET),
    (
        "USERS",
        "name:t pool_size:t reserve_pool_size:t pool_mode:t max_user_connections:i current_connections:i \
         max_user_client_connections:i current_client_connections:i",
    ),
    ("VERSION", "version:t"),
    ("STATE", "key:t value:t"),
    ("LISTS", "list:t items:i"),
    ("MEM", "name:t size:i used:i free:i memtotal:i"),
    (
        "STATS",
        "database:t total_server_assignment_count:n total_xact_count:n total_query_count:n total_received:n \
         total_sent:n total_xact_time:n total_query_time:n total_wait_time:n total_client_parse_count:n \
         total_server_parse_count:n total_bind_count:n avg_server_assignment_count:n avg_xact_count:n \
         avg_query_count:n avg_recv:n avg_sent:n avg_xact_time:n avg_query_time:n avg_wait_time:n \
         avg_client_parse_count:n avg_server_parse_count:n avg_bind_count:n",
    ),
    ("STATS_TOTALS", COUNTERS),
    ("STATS_AVERAGES", COUNTERS),
    ("TOTALS", "name:t value:n"),
    ("DNS_HOSTS", "hostname:t ttl:q addrs:t"),
    ("DNS_ZONES", "zonename:t serial:q count:i"),
    ("PEERS", "peer_id:i host:t port:i pool_size:i"),
    ("PEER_POOLS", "peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i"),
    (
        "FDS",
        "fd:i task:t user:t database:t addr:t port:i cancel:q link:i client_encoding:t std_strings:t datestyle:t \
         timezone:t password:t scram_client_key:b scram_server_key:b",
    ),
];

const SOCKET: &str = "type:t user:t database:t replication:t state:t addr:t port:i local_addr:t local_port:i \
    connect_time:t request_time:t wait:i wait_us:i close_needed:i ptr:t link:t remote_pid:i tls:t application_name:t \
    prepared_statements:i id:i";

const BUFFERS: &str = "recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i";

const COUNTERS: &str = "database:t server_assignment_count:n xact_count:n query_count:n bytes_received:n bytes_sent:n \
    xact_time:n query_time:n wait_time:n client_parse_count:n server_parse_count:n bind_count:n";

async fn columns(console: &Client, table: &str) -> String {
    let statement = console.prepare(&format!("SHOW {table}")).await.unwrap_or_else(|e| panic!("{table}: {e:?}"));
    let of = |column: &tokio_postgres::Column| {
        let letter = match column.type_().name() {
            "text" => 't',
            "int4" => 'i',
            "int8" => 'q',
            "numeric" => 'n',
            "bytea" => 'b',
            other => panic!("{table}.{}: {other}", column.name()),
        };
        format!("{}:{letter}", column.name())
    };
    statement.columns().iter().map(of).collect::<Vec<_>>().join(" ")
}

async fn columns_and_types_are_pgbouncers(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let console = admin(&proxy).await;
    for (name, expected) in THEIRS {
        assert_eq!(&columns(&console, name).await, expected, "{name}");
        // The simple protocol describes the same, and every row is of it.
        let (names, rows) = table(&console, &format!("SHOW {name}")).await;
        let expected: Vec<&str> = expected.split(' ').filter_map(|column| column.split(':').next()).collect();
        assert_eq!(names, expected, "{name}");
        assert!(rows.iter().all(|row| row.len() == names.len()), "{name}");
    }
    for name in ["SOCKETS", "ACTIVE_SOCKETS"] {
        assert_eq!(columns(&console, name).await, format!("{SOCKET} {BUFFERS}"), "{name}");
    }
}

async fn pools_clients_and_servers_at_work(pg: Servers) {
    let proxy = setup(&pg).global("default_pool_size = 1").start().await;
    let console = admin(&proxy).await;
    let mut parameters = vec![("user", "app"), ("database", "test1"), ("application_name", "busy")];
    let mut busy = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    parameters[2].1 = "waiting";
    let mut waiting = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    parameters[2].1 = "idle";
    let _idle = Wire::login_with(&proxy, say::V3_0, &parameters).await;
    assert_eq!(busy.query("BEGIN").await, "C(BEGIN) Z(T)");
    waiting.send(&say::query("SELECT 1")).await;
    let is_waiting = || async { Rows::of(&console, "SHOW POOLS").await.get(&["test1", "app"], "cl_waiting") == "1" };
    eventually("it waits", is_waiting).await;
    let pools = Rows::of(&console, "SHOW POOLS").await;
    assert_eq!(pools.all("database").iter().filter(|name| **name == "test1").count(), 1, "one row for each pair");
    let of = |column: &str| pools.get(&["test1", "app"], column);
    assert_eq!([of("cl_active"), of("sv_active"), of("sv_idle")], ["2", "1", "0"]);
    assert_eq!(of("pool_mode"), "transaction");
    assert_eq!(pools.get(&["pgbouncer", "pgbouncer"], "pool_mode"), "statement");

    let clients = Rows::of(&console, "SHOW CLIENTS").await;
    let client = |name: &str, column: &str| {
        let at = clients.all("application_name").iter().position(|found| *found == name).expect("it is shown");
        clients.all(column)[at].to_owned()
    };
    assert_eq!(["busy", "waiting", "idle"].map(|name| client(name, "state")), ["active", "waiting", "idle"]);
    assert_eq!([client("busy", "type"), client("busy", "user"), client("busy", "database")], ["C", "app", "test1"]);
    assert_eq!([client("busy", "addr"), client("busy", "local_addr")], ["127.0.0.1", "127.0.0.1"]);
    assert_eq!(client("busy", "local_port"), proxy.port.to_string());
    let peer = busy.stream.local_addr().expect("a live socket").port();
    assert_eq!(client("busy", "port"), peer.to_string());
    assert!(client("busy", "connect_time").ends_with(" UTC"));
    let servers = Rows::of(&console, "SHOW SERVERS").await;
    assert_eq!(servers.rows.len(), 1);
    let server = |column: &str| servers.all(column)[0].to_owned();
    assert_eq!([server("type"), server("state"), server("addr")], ["S", "active", "127.0.0.1"]);
    assert_eq!(server("port"), pg.primary.to_string());
    assert_eq!(busy.query("SELECT pg_backend_pid()").await, format!("T D({}) C(SELECT 1) Z(T)", server("remote_pid")));
    assert_eq!([server("link"), client("busy", "link")], [client("busy", "ptr"), server("ptr")], "they are linked");
    assert_eq!(client("busy", "remote_pid"), server("remote_pid"));
    let sockets = Rows::of(&console, "SHOW ACTIVE_SOCKETS").await;
    assert!(sockets.all("state").iter().all(|state| state.starts_with("cl_") || state.starts_with("sv_")));

    assert_eq!(busy.query("COMMIT").await, "C(COMMIT) Z(I)");
    assert_eq!(waiting.ready().await, "T D(1) C(SELECT 1) Z(I)");
    let waits = Rows::of(&console, "SHOW WAITS").await;
    assert_eq!(waits.get(&["test1", "app", "pool_full"], "waiting"), "0");
    assert_ne!(waits.get(&["test1", "app", "pool_full"], "total_time"), "0");
}

async fn counters_count(pg: Servers) {
    let proxy = setup(&pg).start().await;
    let console = admin(&proxy).await;
    let client = proxy.app().await;
    for _ in 0..3 {
        client.batch_execute("BEGIN; SELECT 1").await.expect("a query");
        client.batch_execute("COMMIT").await.expect("a query");
    }
    // It lives to the end: the driver closes one that is dropped in a batch of its own, whenever it likes.
    let statement = client.prepare("SELECT 1").await.expect("a statement");
    client.query_one(&statement, &[]).await.expect("a prepared one");
    let counted = || async {
        let rows = Rows::of(&console, "SHOW STATS_TOTALS").await;
        ["xact_count", "query_count", "client_parse_count", "bind_count"].map(|column| rows.get(&["test1"], column))
    };
    let expected = ["5", "8", "1", "1"];
    eventually("the counters are right", || async { counted().await == expected }).await;
    let stats = Rows::of(&console, "SHOW STATS").await;
    assert_eq!(stats.get(&["test1"], "total_xact_count"), "5");
    let totals = Rows::of(&console, "SHOW TOTALS").await;
    assert_eq!(totals.get(&["total_xact_count"], "value"), "5");
    assert_eq!(totals.rows.len(), 22);
}

async fn databases_users_lists(pg: Servers) {
    let setup = setup(&pg).global("max_db_connections = 9\nserver_lifetime = 100");
    let setup = setup.database("one", "dbname = 'test1'\npool_size = 3\npool_mode = 'session'");
    let setup = setup.database("forced", "dbname = 'test2'\nuser = 'trust_user'").rest("[users.app]\npool_size = 7");
    let proxy = setup.start().await;
    let console = admin(&proxy).await;
    let client = proxy.connect("app", "forced").await;
    assert_eq!(value(&client, "SELECT 1").await, "1");
    let databases = Rows::of(&console, "SHOW DATABASES").await;
    assert_eq!(databases.all("name"), ["forced", "one", "pgbouncer"]);
    let one = |column: &str| databases.get(&["one"], column);
    let found = ["host", "database", "force_user", "pool_size", "server_lifetime", "pool_mode", "max_connections"];
    assert_eq!(found.map(one), ["127.0.0.1", "test1", "NULL", "3", "100", "session", "9"]);
    let forced = |column: &str| databases.get(&["forced"], column);
    let found = ["database", "force_user", "pool_mode", "current_connections", "current_client_connections"];
    assert_eq!(found.map(forced), ["test2", "trust_user", "NULL", "1", "1"]);
    assert_eq!(databases.get(&["pgbouncer"], "host"), "NULL");
    let users = Rows::of(&console, "SHOW USERS").await;
    assert_eq!(users.get(&["app"], "pool_size"), "        7");
    assert_eq!(users.get(&["trust_user"], "current_connections"), "1");
    assert_eq!(users.get(&["app"], "current_client_connections"), "2", "the console is one of them");
    let lists = Rows::of(&console, "SHOW LISTS").await;
    assert_eq!(lists.rows.len(), 14);
    assert_eq!(["databases", "used_clients", "used_servers"].map(|list| lists.get(&[list], "items")), ["3", "2", "1"]);
    let config = Rows::of(&console, "SHOW CONFIG").await;
    assert_eq!(config.get(&["max_client_conn"], "value"), "100");
    assert_eq!(config.get(&["listen_port"], "changeable"), "no");
    assert!(!config.rows.iter().flatten().any(|cell| cell.contains(&pg.password)));
}

async fn ours(pg: Servers) {
    let lines = format!("servers = ['127.0.0.1:{}', '127.0.0.1:{}']\ndbname = 'test1'", pg.primary, pg.standby);
    let setup = setup(&pg).global("probe_user = 'app'").database("app", &lines);
    let proxy = setup.start().await;
    let console = admin(&proxy).await;
    let client = proxy.connect("app", "app").await;
    client.batch_execute("CREATE TEMP TABLE here (x int)").await.expect("a temporary table");
    let primary = format!("127.0.0.1:{}", pg.primary);
    let standby = format!("127.0.0.1:{}", pg.standby);
    let known = || async {
        let rows = Rows::of(&console, "SHOW TOPOLOGY").await;
        [&primary, &standby].map(|server| rows.get(&["app", server], "role")) == ["primary", "standby"]
    };
    eventually("roles are known", known).await;
    let pins = Rows::of(&console, "SHOW PINS").await;
    assert_eq!(pins.get(&["app", "app", "temp_table"], "pinned"), "1");
    let pinned = Rows::of(&console, "SHOW PINNED").await;
    assert_eq!((pinned.rows.len(), pinned.all("reason")), (1, vec!["temp_table"]));
    let routes = Rows::of(&console, "SHOW ROUTES").await;
    assert!(routes.all("database").iter().all(|name| *name == "app") && !routes.rows.is_empty());
    drop(client);
    let gone = || async { Rows::of(&console, "SHOW PINNED").await.rows.is_empty() };
    eventually("it is gone", gone).await;
    console.batch_execute("RECONNECT app FORGET").await.expect("FORGET");
    eventually("roles are known again", known).await;
    let other = proxy.connect("app", "app").await;
    assert_eq!(value(&other, "SELECT 1").await, "1");
}

tests! {
    on both: [],
    on 15: [
        columns_and_types_are_pgbouncers, counters_count, databases_users_lists, ours,
        pools_clients_and_servers_at_work,
    ]
}

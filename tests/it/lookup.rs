//! auth_query: users whom only the server knows.

use postgres_protocol::password;
use tokio_postgres::Client;

use crate::support::proxy::{connect, value};
use crate::support::wire::say;
use crate::support::*;

const WRONG: &str = "FATAL 28P01 password authentication failed";
const SECRET: &str = "open sesame";

/// postgres asks, and nobody else is in the user list.
fn setup(pg: &Servers, auth_type: &str) -> Setup {
    let setup = Setup::new(pg).users(&format!("\"postgres\" \"{}\"\n", pg.password));
    setup.global(&format!("auth_type = '{auth_type}'\nauth_user = 'postgres'"))
}

/// A role of the test's own.
struct Role {
    name: String,
    direct: Client,
}

impl Role {
    async fn new(pg: &Servers, test: &str, options: &str) -> Role {
        let direct = pg.direct("test1").await;
        let name = format!("it_{test}_{}", std::process::id());
        let sql = format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} {options} PASSWORD '{SECRET}'");
        direct.batch_execute(&sql).await.expect("a role");
        Role { name, direct }
    }

    async fn alter(&self, what: &str) {
        self.direct.batch_execute(&format!("ALTER ROLE {} {what}", self.name)).await.expect("it is altered");
    }

    async fn drop(self) {
        self.direct.batch_execute(&format!("DROP ROLE {}", self.name)).await.expect("it goes");
    }
}

async fn log_in(proxy: &Proxy, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = proxy.config(user, "test1");
    soon("the login ends", connect(config.password(password))).await
}

/// Both legs by the verifier that the server told: nothing else is known of the user.
async fn a_verifier_from_the_server_passes_logins_through(pg: Servers) {
    let role = Role::new(&pg, "through", "LOGIN").await;
    for auth_type in ["scram-sha-256", "md5"] {
        let proxy = setup(&pg, auth_type).start().await;
        assert_eq!(refusal(log_in(&proxy, &role.name, "wrong").await), WRONG);
        let client = log_in(&proxy, &role.name, SECRET).await.expect("the right password");
        assert_eq!(value(&client, "SELECT session_user").await, role.name);
        assert_eq!(refusal(log_in(&proxy, "it_nobody", SECRET).await), WRONG);
        assert!(!proxy.log().contains(SECRET) && !proxy.log().contains("SCRAM-SHA-256$"));
    }
    role.drop().await;
}

async fn an_unknown_user_is_asked_as_known_ones_are(pg: Servers) {
    let role = Role::new(&pg, "asked", "LOGIN").await;
    for auth_type in ["plain", "md5", "scram-sha-256"] {
        let proxy = setup(&pg, auth_type).start().await;
        let mut questions = Vec::new();
        for user in ["it_nobody", &role.name, "it_nobody"] {
            let mut wire = Wire::open(proxy.port).await;
            wire.send(&say::startup(say::V3_0, &[("user", user), ("database", "test1")])).await;
            let question = wire.frame().await.expect("a question");
            questions.push((question.tag, question.body[..4].to_vec(), question.body.len()));
        }
        assert!(questions[0] == questions[1] && questions[1] == questions[2], "{auth_type}: {questions:?}");
    }
    role.drop().await;
}

async fn who_may_not_log_in_to_the_server_may_not_here(pg: Servers) {
    let expired = Role::new(&pg, "expired", "LOGIN VALID UNTIL '2001-01-01'").await;
    let barred = Role::new(&pg, "barred", "NOLOGIN").await;
    let proxy = setup(&pg, "scram-sha-256").start().await;
    for role in [expired, barred] {
        assert_eq!(refusal(log_in(&proxy, &role.name, SECRET).await), WRONG, "{}", role.name);
        role.drop().await;
    }
    // A longer name is cut short by the server, and is nobody's here.
    let cut = Role::new(&pg, &"x".repeat(60), "LOGIN").await;
    let whole =
        cut.direct.query_one("SELECT max(rolname)::text FROM pg_roles WHERE rolname LIKE 'it\\_xxx%'", &[]).await;
    let whole: String = whole.expect("it is there").get(0);
    assert_eq!(whole.len(), 63);
    assert!(log_in(&proxy, &whole, SECRET).await.is_ok());
    assert_eq!(refusal(log_in(&proxy, &format!("{whole}y"), SECRET).await), WRONG);
    cut.drop().await;
}

/// md5 on both legs, and a password that the query itself yields.
async fn every_kind_of_secret(pg: Servers) {
    let proxy = setup(&pg, "md5").start().await;
    let client = log_in(&proxy, "app_md5", &pg.password).await.expect("md5 on both sides");
    assert_eq!(value(&client, "SELECT session_user").await, "app_md5");
    assert_eq!(refusal(log_in(&proxy, "app_md5", "wrong").await), WRONG);
    let stored = password::md5(pg.password.as_bytes(), "app_md5");
    assert_eq!(refusal(log_in(&proxy, "app_md5", &stored).await), WRONG);

    let query = format!("auth_query = \"SELECT 'app_plain', '{}' WHERE $1 <> 'x'\"", pg.password);
    let proxy = setup(&pg, "scram-sha-256").global(&query).start().await;
    let client = log_in(&proxy, "app_plain", &pg.password).await.expect("a password from the server");
    assert_eq!(value(&client, "SELECT session_user").await, "app_plain");
    assert_eq!(refusal(log_in(&proxy, "app", &pg.password).await), "FATAL XX000 bouncer config error");
    proxy.wait_for_log("answered with another user").await;
}

async fn a_new_password_counts_after_one_failure(pg: Servers) {
    let role = Role::new(&pg, "changed", "LOGIN").await;
    let proxy = setup(&pg, "scram-sha-256").start().await;
    drop(log_in(&proxy, &role.name, SECRET).await.expect("the first password"));
    role.alter("PASSWORD 'another'").await;
    // What was told a moment ago is not doubted.
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    let _may_fail = log_in(&proxy, &role.name, "another").await;
    let client = log_in(&proxy, &role.name, "another").await.expect("the second password");
    assert_eq!(value(&client, "SELECT session_user").await, role.name);
    role.drop().await;
}

/// Neither what the client asks for nor what its database holds changes where the query looks.
async fn the_search_path_is_nobodys(pg: Servers) {
    let query = "SELECT $1::text, pg_catalog.current_setting('search_path')";
    let setup = setup(&pg, "plain").database("test1", "user = 'trust_user'");
    let proxy = setup.global(&format!("auth_query = \"{query}\"")).start().await;
    let mut config = proxy.config("anyone", "test1");
    config.options("-c search_path=evil").password("pg_catalog");
    let client = soon("the login ends", connect(&config)).await.expect("the path is the password");
    assert_eq!(value(&client, "SHOW search_path").await, "evil");
    assert_eq!(refusal(log_in(&proxy, "another", "evil").await), WRONG);
}

async fn each_database_asks_in_its_own_way(pg: Servers) {
    let role = Role::new(&pg, "own", "LOGIN").await;
    let password = &pg.password;
    let setup = Setup::new(&pg).users(&format!("\"postgres\" \"{password}\"\n\"app\" \"{password}\"\n"));
    let setup = setup.global("auth_type = 'scram-sha-256'").database("test1", "");
    let setup = setup.database("test2", "auth_user = 'postgres'\nauth_dbname = 'test1'");
    let setup = setup.database(
        "'*'",
        "auth_user = 'postgres'\nauth_query = 'SELECT usename, passwd FROM pg_shadow WHERE usename=$1'",
    );
    let proxy = setup.start().await;
    for (database, lets_in) in [("test1", false), ("test2", true), ("postgres", true)] {
        let mut config = proxy.config(&role.name, database);
        match soon("the login ends", connect(config.password(SECRET))).await {
            Ok(client) => {
                assert!(lets_in, "{database}");
                assert_eq!(value(&client, "SELECT current_database()").await, database);
            }
            Err(error) => assert!(!lets_in, "{database}: {error:?}"),
        }
    }
    assert_eq!(value(&proxy.app().await, "SELECT session_user").await, "app", "who is in the list needs no query");
    role.drop().await;
}

async fn what_is_wrong_with_it_is_for_the_log(pg: Servers) {
    for (lines, logged) in [
        ("auth_query = \"SELECT 1\"", "could not determine|bind message supplies"),
        ("auth_query = \"SELECT $1::text\"", "two columns"),
        ("auth_query = \"SELECT rolname, rolname FROM pg_roles WHERE $1 <> ''\"", "at most one row"),
        ("auth_query = \"SELECT secret FROM nowhere WHERE x = $1\"", "\"nowhere\" does not exist"),
        ("auth_user = 'app'", "permission denied"),
    ] {
        let mut proxy = setup(&pg, "scram-sha-256");
        if lines.starts_with("auth_user") {
            proxy =
                Setup::new(&pg).global("auth_type = 'scram-sha-256'").users(&format!("\"app\" \"{}\"\n", pg.password));
        }
        let proxy = proxy.global(lines).start().await;
        assert_eq!(refusal(log_in(&proxy, "it_nobody", "x").await), "FATAL XX000 bouncer config error", "{lines}");
        let told = || async { logged.split('|').any(|text| proxy.log().contains(text)) };
        eventually(&format!("the log says {logged:?}"), told).await;
    }
}

/// Its own connections, few of them, whatever comes at once; and a reload in between fails nobody.
async fn a_storm_of_logins(pg: Servers) {
    let role = Role::new(&pg, "storm", "LOGIN").await;
    let mut proxy = setup(&pg, "scram-sha-256").global("default_pool_size = 1\nmax_db_connections = 1").start().await;
    let holder = log_in(&proxy, &role.name, SECRET).await.expect("a login");
    holder.batch_execute("BEGIN; SELECT 1").await.expect("the only server");
    for round in 0..3 {
        let mut logins = Vec::new();
        for n in 0..20 {
            let name = if n % 2 == 0 { role.name.clone() } else { format!("it_nobody_{round}_{n}") };
            let mut config = proxy.config(&name, "test1");
            config.password(SECRET);
            logins.push(tokio::spawn(async move { (n, connect(&config).await) }));
        }
        proxy.reload(setup(&pg, "scram-sha-256").global("default_pool_size = 1\nmax_db_connections = 1")).await;
        for login in logins {
            match soon("a login ends", login).await.expect("no panic") {
                (n, Ok(_)) => assert_eq!(n % 2, 0),
                (n, Err(error)) => assert_eq!(
                    (n % 2, error.as_db_error().map(|said| said.message())),
                    (1, Some("password authentication failed")),
                    "{error:?}"
                ),
            }
        }
    }
    let asking =
        value(&role.direct, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgweir auth_query'").await;
    assert!(asking.parse::<u32>().expect("a number") >= 1);
    holder.batch_execute("COMMIT").await.expect("the end");
    drop(holder);
    drop(proxy);
    let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", role.name);
    eventually("its sessions end", || async { value(&role.direct, &gone).await == "0" }).await;
    role.drop().await;
}

/// The asker's pool is one of those that the console lists, as in PgBouncer.
async fn its_pool_is_shown(pg: Servers) {
    let role = Role::new(&pg, "shown", "LOGIN").await;
    let proxy = setup(&pg, "scram-sha-256").global("admin_users = 'postgres'").start().await;
    log_in(&proxy, &role.name, SECRET).await.expect("the right password");
    let console = proxy.connect("postgres", "pgbouncer").await;
    let pools = console.query("SHOW POOLS", &[]).await.expect("a table");
    let idle = |user: &str| {
        let row = pools.iter().find(|row| (row.get::<_, &str>(0), row.get::<_, &str>(1)) == ("test1", user));
        row.map(|row| row.get::<_, i32>("sv_idle"))
    };
    assert_eq!(idle("postgres"), Some(1), "{pools:?}");
    assert!(idle(&role.name).is_some());
    // A client of the asker's own is in the same row.
    let client = log_in(&proxy, "postgres", &pg.password).await.expect("its password");
    client.batch_execute("BEGIN").await.expect("a server");
    let pools = console.query("SHOW POOLS", &[]).await.expect("a table");
    let rows: Vec<_> = pools.iter().filter(|row| row.get::<_, &str>(1) == "postgres").collect();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].get::<_, i32>("sv_idle"), rows[0].get::<_, i32>("sv_active")), (1, 1));
    role.drop().await;
}

tests! {
    on both: [a_verifier_from_the_server_passes_logins_through, every_kind_of_secret, the_search_path_is_nobodys],
    on 15: [
        a_new_password_counts_after_one_failure, a_storm_of_logins, an_unknown_user_is_asked_as_known_ones_are,
        each_database_asks_in_its_own_way, its_pool_is_shown, what_is_wrong_with_it_is_for_the_log,
        who_may_not_log_in_to_the_server_may_not_here,
    ]
}

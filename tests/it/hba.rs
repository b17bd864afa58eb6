//! Who may log in from where: `auth_type = hba`, over TCP, TLS and unix sockets.

use crate::support::certs::Certs;
use crate::support::proxy::{Signal, connect, value};
use crate::support::tool::psql;
use crate::support::*;

const NO_METHOD: &str = "FATAL 28000 no authentication method is found";
const REJECTED: &str = "FATAL 28000 login rejected";

fn setup(pg: &Servers, lines: &str) -> Setup {
    let setup = Setup::new(pg).global("auth_type = 'hba'\nauth_hba_file = 'hba.conf'\nauth_ident_file = 'ident.conf'");
    // Tests run as any account.
    setup.file("hba.conf", lines).file("ident.conf", &format!("mine {} app\n", account()))
}

fn account() -> String {
    let said = std::process::Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

async fn by_socket(proxy: &Proxy, user: &str, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    connect(config.host_path(&proxy.dir).port(proxy.port).user(user).dbname(database)).await
}

async fn the_first_line_that_fits(pg: Servers) {
    let lines = "hostssl all all all trust\nhost test1 app 127.0.0.1/32 scram-sha-256\n\
                 host test1 other 127.0.0.0/8 reject\nhost all app 10.0.0.0/8 trust\n\
                 host test2 @them 127.0.0.1 255.255.255.255 trust\nhost test2 nobody all trust\n";
    let mut proxy = setup(&pg, lines).file("them", "other, trust_user\n").start().await;
    assert_eq!(value(&proxy.app().await, "SELECT session_user").await, "app");
    let mut config = proxy.config("app", "test1");
    let wrong = refusal(connect(config.password("wrong")).await);
    assert_eq!(wrong, "FATAL 28P01 password authentication failed");
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(proxy.port).user("other").dbname("test2");
    assert_eq!(value(&connect(&config).await.expect("trusted"), "SELECT session_user").await, "other");
    assert_eq!(refusal(proxy.try_connect("other", "test1").await), REJECTED);
    assert_eq!(refusal(proxy.try_connect("app", "test2").await), NO_METHOD);
    assert_eq!(refusal(proxy.try_connect("nobody", "test1").await), NO_METHOD);
    let unknown = refusal(proxy.try_connect("nobody", "test2").await);
    assert_eq!(unknown, "FATAL 28000 \"trust\" authentication failed");
    proxy.wait_for_log("line 3 of auth_hba_file").await;

    // A reload reads it anew, and a flawed file changes nothing.
    proxy.reload(setup(&pg, "host test1 other all trust\n")).await;
    assert_eq!(value(&proxy.connect("other", "test1").await, "SELECT 1").await, "1");
    assert_eq!(refusal(proxy.try_connect("app", "test1").await), NO_METHOD);
    proxy.rewrite(setup(
        &pg,
        "host all all all trust\nlocal all all\nhost all all example.org md5\nhost x y all ldap\n",
    ));
    proxy.signal(Signal::HUP);
    for line in ["hba.conf:2: line: a method", "hba.conf:3: line: an address", "hba.conf:4: line: a method"] {
        proxy.wait_for_log(line).await;
    }
    assert!(proxy.log().contains("ldap is not supported"));
    assert_eq!(value(&proxy.connect("other", "test1").await, "SELECT 1").await, "1");
    assert_eq!(refusal(proxy.try_connect("app", "test1").await), NO_METHOD);
}

async fn the_console_shows_the_lines(pg: Servers) {
    let lines = "# who may\nhost  all  all 127.0.0.1/32   trust # here\n\nhostssl test1 other all reject\n";
    let proxy = setup(&pg, lines).global("admin_users = 'app'").start().await;
    let console = proxy.connect("app", "pgbouncer").await;
    let rows = console.query("SHOW HBA", &[]).await.expect("a table");
    let file = proxy.dir.join("hba.conf").display().to_string();
    let shown: Vec<(String, i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let line = |number: i32, text: &str| (file.clone(), number, text.to_owned());
    assert_eq!(
        shown,
        [line(2, "host  all  all 127.0.0.1/32   trust # here"), line(4, "hostssl test1 other all reject")]
    );
}

async fn accounts_at_the_unix_socket(pg: Servers) {
    let lines =
        "local test1 app peer map=mine\nlocal test1 all peer\nlocal test2 other trust\nhost test2 app all trust\n";
    let proxy = setup(&pg, lines).global("unix_socket_dir = '{dir}'").start().await;
    assert_eq!(value(&by_socket(&proxy, "app", "test1").await.expect("mapped"), "SELECT session_user").await, "app");
    let refused = refusal(by_socket(&proxy, "other", "test1").await);
    assert_eq!(refused, "FATAL 28000 unix socket login rejected");
    proxy.wait_for_log(&format!("it is {}", account())).await;
    assert_eq!(value(&by_socket(&proxy, "other", "test2").await.expect("trusted"), "SELECT 1").await, "1");
    assert_eq!(refusal(by_socket(&proxy, "app", "test2").await), NO_METHOD, "a host line is for TCP");
    assert_eq!(refusal(proxy.try_connect("other", "test2").await), NO_METHOD, "a local line is not");
}

async fn certificates_by_a_map(pg: Servers) {
    let certs = Certs::new();
    let (server, client) = (certs.server(), certs.client("someone"));
    let lines = "hostssl test1 app all cert map=staff\nhostssl test1 other all cert\nhostssl test2 app all trust\n";
    let setup = |mode: &str| {
        let setup = Setup::new(&pg).file("hba.conf", lines).file("ident.conf", "staff someone app\n");
        setup.global(&format!(
            "auth_type = 'hba'\nauth_hba_file = 'hba.conf'\nauth_ident_file = 'ident.conf'\n\
             client_tls_sslmode = '{mode}'\nclient_tls_ca_file = '{}'\n{}",
            certs.ca().display(),
            server.lines("client")
        ))
    };
    let proxy = setup("verify-full").start().await;
    let shown = format!("sslmode=require sslcert={} sslkey={}", client.cert.display(), client.key.display());
    for (user, database, outcome) in [
        ("app", "test1", Ok("app")),
        ("other", "test1", Err("certificate authentication failed")),
        ("app", "test2", Ok("app")),
        ("other", "test2", Err("no authentication method is found")),
    ] {
        let conninfo = format!("host=127.0.0.1 port={} user={user} dbname={database} {shown}", proxy.port);
        let said = psql(&conninfo, "", "SELECT session_user").await;
        match outcome {
            Ok(name) => assert_eq!(said.out, name, "{user} at {database}: {said:?}"),
            Err(text) => assert!(said.err.contains(text), "{user} at {database}: {said:?}"),
        }
    }
    let mut without = setup("require").spawn();
    assert!(!without.end().await.success());
    let log = without.log();
    assert!(log.contains("hba.conf:1: cert: client_tls_sslmode verify-ca or verify-full"), "{log}");
}

async fn a_map_that_is_not_there_is_a_problem_of_its_line(pg: Servers) {
    let lines = "local all all peer\nlocal all all peer map=nobodys\n";
    let mut proxy = setup(&pg, lines).global("unix_socket_dir = '{dir}'").spawn();
    assert!(!proxy.end().await.success());
    let log = proxy.log();
    assert!(log.contains("hba.conf:2: map: a map of auth_ident_file; it has none named \"nobodys\""), "{log}");
}

tests! {
    on both: [],
    on 15: [
        a_map_that_is_not_there_is_a_problem_of_its_line, accounts_at_the_unix_socket, certificates_by_a_map,
        the_console_shows_the_lines, the_first_line_that_fits,
    ]
}

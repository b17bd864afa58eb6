//! The suites that are scripts. `suite.py` lists the variables that they go by.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::ground::{self, CERTIFICATE, Ground, SERVERS, wrote};
use crate::support::Servers;
use crate::support::servers::variable;

async fn psycopg(pg: Servers) {
    proxied(pg, "psycopg", "psycopg_suite.py").await;
}

async fn psycopg_without_pgweir(pg: Servers) {
    direct(pg, "psycopg_direct", "psycopg_suite.py").await;
}

async fn asyncpg(pg: Servers) {
    proxied(pg, "asyncpg", "asyncpg_suite.py").await;
}

async fn asyncpg_without_pgweir(pg: Servers) {
    direct(pg, "asyncpg_direct", "asyncpg_suite.py").await;
}

async fn node_pg(pg: Servers) {
    proxied(pg, "node_pg", "node_pg_suite.js").await;
}

async fn node_pg_without_pgweir(pg: Servers) {
    direct(pg, "node_pg_direct", "node_pg_suite.js").await;
}

async fn sqlalchemy(pg: Servers) {
    proxied(pg, "sqlalchemy", "sqlalchemy_suite.py").await;
}

async fn sqlalchemy_without_pgweir(pg: Servers) {
    direct(pg, "sqlalchemy_direct", "sqlalchemy_suite.py").await;
}

async fn typeorm(pg: Servers) {
    proxied(pg, "typeorm", "typeorm_suite.js").await;
}

async fn typeorm_without_pgweir(pg: Servers) {
    direct(pg, "typeorm_direct", "typeorm_suite.js").await;
}

async fn console(pg: Servers) {
    let database = ground::database(&pg, "console").await;
    let proxy = ground::setup(&pg, &database, "admin_users = \"app\"").start().await;
    for script in ["console_suite.py", "console_suite.js"] {
        let mut command = interpreter(script);
        command.env("SUITE_URL", ground::url(&pg, "app", "127.0.0.1", proxy.port, &database));
        command.env("SUITE_ADMIN_URL", ground::url(&pg, "postgres", "127.0.0.1", pg.primary, &database));
        command.env("SUITE_CONSOLE_URL", ground::url(&pg, "app", "127.0.0.1", proxy.port, "pgbouncer"));
        run(command, script).await;
    }
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

tests! {
    on both: [psycopg, asyncpg, node_pg, sqlalchemy, typeorm],
    on 15: [
        console, psycopg_without_pgweir, asyncpg_without_pgweir, node_pg_without_pgweir, sqlalchemy_without_pgweir,
        typeorm_without_pgweir,
    ]
}

async fn proxied(pg: Servers, name: &str, script: &str) {
    let ground = Ground::open(pg, name).await;
    let Ground { pg, database, proxy } = &ground;
    let tls = ground::with_tls(pg, database, proxy).await;
    let mut command = interpreter(script);
    command.env("SUITE_URL", ground.url()).env("SUITE_SERVERS", SERVERS.to_string());
    command.env("SUITE_ADMIN_URL", ground::url(pg, "postgres", "127.0.0.1", pg.primary, database));
    command.env("SUITE_TLS_URL", ground::url(pg, "app", "localhost", tls.port, database));
    command.env("SUITE_CA", proxy.dir.join(CERTIFICATE));
    run(command, script).await;
    for proxy in [proxy, &tls] {
        let log = proxy.log();
        let bad = ["panicked", "unexpected message"].into_iter().find(|bad| log.contains(bad));
        assert!(bad.is_none(), "{bad:?} in the log\n{log}");
    }
}

async fn direct(pg: Servers, name: &str, script: &str) {
    let database = ground::database(&pg, name).await;
    let mut command = interpreter(script);
    command.env("SUITE_URL", ground::url(&pg, "app", "127.0.0.1", pg.primary, &database));
    command.env("SUITE_ADMIN_URL", ground::url(&pg, "postgres", "127.0.0.1", pg.primary, &database));
    run(command, script).await;
}

/// With the libraries that the Makefile installed.
fn interpreter(script: &str) -> Command {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(script);
    let mut command = match script.ends_with(".py") {
        true => Command::new(variable("PGWEIR_TEST_PYTHON")),
        false => Command::new("node"),
    };
    if !script.ends_with(".py") {
        command.env("NODE_PATH", variable("PGWEIR_TEST_NODE_PATH"));
    }
    command.arg(path).env("PYTHONDONTWRITEBYTECODE", "1").env("NODE_NO_WARNINGS", "1").stdin(Stdio::null());
    command
}

async fn run(mut command: Command, script: &str) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic");
    let output = output.unwrap_or_else(|error| panic!("{script}: {error}"));
    assert!(output.status.success(), "{script}: {}\n{}", output.status, wrote(&output));
    // How much of the reading left the primary.
    wrote(&output).lines().filter(|line| line.starts_with("offloaded")).for_each(|line| println!("{line}"));
}

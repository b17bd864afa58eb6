//! A database of a test's own, and pgweir before it.

use std::process::{Command, Output};

use crate::support::tool::openssl;
use crate::support::{Proxy, Servers, Setup};

/// Servers that pgweir may have: fewer than clients.
pub const SERVERS: usize = 3;

pub struct Ground {
    pub pg: Servers,
    pub database: String,
    pub proxy: Proxy,
}

impl Ground {
    /// The database is left behind: the runner's clusters are thrown away.
    pub async fn open(pg: Servers, name: &str) -> Ground {
        let database = database(&pg, name).await;
        let proxy = setup(&pg, &database, "").start().await;
        Ground { pg, database, proxy }
    }

    /// Through pgweir.
    pub fn url(&self) -> String {
        url(&self.pg, "app", "127.0.0.1", self.proxy.port, &self.database)
    }

    /// A program of PostgreSQL's that connects by libpq's variables.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.proxy.port.to_string()).env("PGUSER", "app");
        command.env("PGPASSWORD", &self.pg.password).env("PGDATABASE", &self.database);
        command.env("PGCONNECT_TIMEOUT", "20").env("PGCLIENTENCODING", "UTF8");
        command
    }
}

/// A new database that `app` owns.
pub async fn database(pg: &Servers, name: &str) -> String {
    let database = format!("drivers_{name}_{}", std::process::id());
    let direct = pg.direct("postgres").await;
    direct.batch_execute(&format!("CREATE DATABASE {database} OWNER app")).await.expect("the database is new");
    database
}

/// pgweir before both servers, with passwords and few of everything.
pub fn setup(pg: &Servers, database: &str, more: &str) -> Setup {
    let Servers { primary, standby, password, .. } = pg;
    let global = format!(
        "auth_type = \"scram-sha-256\"\n\
         default_pool_size = {SERVERS}\n\
         max_client_conn = 1000\n\
         max_prepared_statements = 20\n\
         query_wait_timeout = \"30s\"\n\
         probe_user = \"pgweir_probe\"\n\
         probe_password = \"{password}\"\n\
         {more}"
    );
    let lines = format!("servers = [\"127.0.0.1:{primary}\", \"127.0.0.1:{standby}\"]\napplication_name = \"\"");
    Setup::new(pg).global(&global).database(database, &lines)
}

/// One more pgweir, with TLS, by a certificate for `localhost` that is made beside `at`'s config.
pub async fn with_tls(pg: &Servers, database: &str, at: &Proxy) -> Proxy {
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
    let make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3"];
    let of = ["-keyout", "key.pem", "-out", CERTIFICATE, "-subj", "/CN=localhost", "-addext", names];
    openssl(&at.dir, &[&make[..], &of].concat());
    let [key, certificate] = ["key.pem", CERTIFICATE].map(|name| at.dir.join(name).display().to_string());
    let more = format!(
        "client_tls_sslmode = \"allow\"\nclient_tls_key_file = \"{key}\"\nclient_tls_cert_file = \"{certificate}\"\n"
    );
    setup(pg, database, &more).start().await
}

pub fn url(pg: &Servers, user: &str, host: &str, port: u16, database: &str) -> String {
    format!("postgres://{user}:{}@{host}:{port}/{database}", pg.password)
}

/// What it wrote to both, for a failure's text.
pub fn wrote(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub const CERTIFICATE: &str = "cert.pem";

//! [pure] What the operator asked for: checked, typed, immutable. No check happens later.
//!
//! `toml.rs` knows the file as written; `keys.rs` is the one table of keys; this file holds the result.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// One checked configuration; shared as `Arc<Config>` and replaced whole by a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[pgweir]`.
    pub global: Global,
    /// `[databases.NAME]`; the name `*` is the fallback for names not listed.
    pub databases: BTreeMap<String, Database>,
    /// `[users.NAME]`.
    pub users: BTreeMap<String, UserOverrides>,
}

/// The `[pgweir]` table. Names and meanings are PgBouncer's unless the key's row in `keys.rs` says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Global {
    pub listen_addr: Vec<String>,
    pub listen_port: u16,
    /// None: no unix socket.
    pub unix_socket_dir: Option<String>,
    pub unix_socket_mode: u32,
    pub unix_socket_group: Option<String>,
    pub listen_backlog: u32,
    pub so_reuseport: bool,
    pub workers: usize,

    pub auth_type: AuthType,
    pub auth_file: Option<PathBuf>,
    /// Map of certificate names for `auth_type = "cert"`: lines `map-name system-name database-user`, as pg_ident.conf.
    pub auth_ident_file: Option<PathBuf>,
    pub client_tls: Tls,
    pub server_tls: Tls,

    pub pool_mode: PoolMode,
    pub max_client_conn: usize,
    /// 0: unlimited.
    pub default_pool_size: usize,
    pub min_pool_size: usize,
    pub reserve_pool_size: usize,
    pub reserve_pool_timeout: Duration,
    pub max_db_connections: usize,
    pub max_user_connections: usize,
    pub max_db_client_connections: usize,
    pub max_user_client_connections: usize,
    pub server_round_robin: bool,
    pub max_prepared_statements: usize,

    pub server_reset_query: String,
    pub server_lifetime: Duration,
    pub server_idle_timeout: Option<Duration>,
    pub server_connect_timeout: Duration,
    /// The longest pause between attempts after a failed dial (TOML: 1 s; the pause starts at 20 ms and doubles).
    pub server_login_retry: Duration,
    pub client_login_timeout: Option<Duration>,
    pub query_timeout: Option<Duration>,
    pub query_wait_timeout: Option<Duration>,
    pub cancel_wait_timeout: Option<Duration>,
    pub client_idle_timeout: Option<Duration>,
    pub idle_transaction_timeout: Option<Duration>,
    pub transaction_timeout: Option<Duration>,
    pub shutdown_timeout: Option<Duration>,

    pub tcp_keepalive: bool,
    pub tcp_keepcnt: u32,
    pub tcp_keepidle: Duration,
    pub tcp_keepintvl: Duration,
    pub tcp_user_timeout: Duration,
    /// Largest message that a client may send, in bytes (header included).
    pub max_packet_size: usize,

    pub ignore_startup_parameters: Vec<String>,
    pub probe: Option<Probe>,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub probe_failures: u32,

    pub log_connections: bool,
    pub log_disconnections: bool,
    pub log_pooler_errors: bool,
    pub log_format: LogFormat,
    pub logfile: Option<PathBuf>,
    pub verbose: u32,
    pub pidfile: Option<PathBuf>,
}

/// Who asks a server for its role; the role needs LOGIN only.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    pub user: String,
    pub password: Option<Redacted>,
    pub dbname: Option<String>,
}

/// `[databases.NAME]`; `None` means: the global value.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// The name on the server; None: the name that the client asked for.
    pub dbname: Option<String>,
    pub target: Target,
    /// Forced server user.
    pub user: Option<String>,
    pub password: Option<Redacted>,
    pub probe: Option<Probe>,
    pub pool_mode: Option<PoolMode>,
    pub pool_size: Option<usize>,
    pub min_pool_size: Option<usize>,
    pub reserve_pool_size: Option<usize>,
    pub max_db_connections: Option<usize>,
    pub max_db_client_connections: Option<usize>,
    pub server_lifetime: Option<Duration>,
    pub query_wait_timeout: Option<Duration>,
    /// Sent on each new server connection: client_encoding, datestyle, timezone, application_name.
    pub server_parameters: Vec<(String, String)>,
    pub connect_query: Option<String>,
}

/// Where a database lives.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// `host` (one, or a comma list with `load_balance_hosts`): PgBouncer's meaning, no role is asked for.
    Hosts { servers: Vec<Address>, load_balance: bool },
    /// `servers`: roles are found out; work goes to the one that is not in recovery.
    Servers(Vec<Address>),
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    /// The directory of the socket and the port in its name, `DIR/.s.PGSQL.PORT`.
    Unix {
        dir: PathBuf,
        port: u16,
    },
}

/// `[users.NAME]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserOverrides {
    pub pool_mode: Option<PoolMode>,
    pub pool_size: Option<usize>,
    pub reserve_pool_size: Option<usize>,
    pub max_user_connections: Option<usize>,
    pub max_user_client_connections: Option<usize>,
    pub query_timeout: Option<Duration>,
    pub query_wait_timeout: Option<Duration>,
    pub idle_transaction_timeout: Option<Duration>,
    pub transaction_timeout: Option<Duration>,
    pub client_idle_timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    Session,
    Transaction,
    Statement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    Any,
    Cert,
    Md5,
    Plain,
    ScramSha256,
    Trust,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Text,
}

/// `client_tls_*` or `server_tls_*`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    pub sslmode: SslMode,
    pub key_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub tls12: bool,
    pub tls13: bool,
}

/// libpq's sslmode, in the manual's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// A secret that no formatter prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(pub String);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// One thing that is wrong with a file, as `file:line: key: what was expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    /// 1-based; 0 where no line can be named (a file that cannot be read).
    pub line: usize,
    pub key: String,
    pub expected: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file.display(), self.line, self.key, self.expected)
    }
}

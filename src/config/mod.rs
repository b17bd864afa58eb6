//! [pure] What the operator asked for: checked, typed, immutable. No check happens later.
//!
//! `toml.rs` and `ini.rs` know the file as written; `keys.rs` is the one table of keys; `read.rs` brings the two together;
//! `build.rs` and `check.rs` make the checked types; `effective.rs` says which value holds. This file has the result.

mod address;
mod build;
mod check;
mod describe;
mod diff;
mod draft;
mod effective;
mod global;
mod import;
mod ini;
pub mod keys;
pub(crate) mod literal;
mod network;
mod nowhere;
mod read;
mod shown;
mod source;
mod toml;
mod value;
mod words;

#[cfg(test)]
mod ini_files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use diff::{Change, diff};
use draft::{Draft, Files};
pub use import::import;
use keys::Grammar;
pub use nowhere::Nowhere;
pub use shown::Shown;
pub use source::{Put, Source};
pub use words::{
    AuthType, ErrorCodes, FailoverError, ListenFailover, LogFormat, Pinning, PoolMode, PrimaryReads, ReadConsistency,
    ReadWriteSplit, SslMode, SyslogFacility,
};

/// What a file may ask of the world around it. This room knows no environment and no disk.
pub trait Outside {
    /// A variable of the environment, for `${NAME}`.
    fn env(&self, name: &str) -> Option<String>;
    /// A file that holds a secret, for `password_file`; the error says why it cannot be read.
    fn read(&self, path: &Path) -> Result<String, String>;
}

/// A sound configuration, and what in its file is doubtful.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    pub config: Config,
    pub warnings: Vec<Problem>,
    /// What it was made from.
    pub source: Source,
}

/// Reads a TOML file or an ini, whichever it is by its grammar: `text` is what `file` holds. Fails with everything that is
/// wrong, in the order of lines.
pub fn parse(file: &Path, text: &str, outside: &dyn Outside) -> Result<Parsed, Vec<Problem>> {
    let draft = match ini::is_ini(text) {
        true => ini::parse(file, text, outside),
        false => {
            let (entries, mistakes) = toml::parse(text);
            Draft { grammar: Grammar::Toml, entries, mistakes, doubts: Vec::new(), files: Files::one(file) }
        }
    };
    Source::draft(draft, outside)
}

/// One checked configuration; shared as `Arc<Config>` and replaced whole by a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[pgweir]`.
    pub global: Global,
    /// `[databases.NAME]`; the name `*` is the fallback for names not listed.
    pub databases: BTreeMap<String, Database>,
    /// `[users.NAME]`.
    pub users: BTreeMap<String, UserOverrides>,
    /// `[peers.NUMBER]`.
    pub peers: BTreeMap<u32, Peer>,
    /// The same, key by key.
    rows: diff::Rows,
    /// The values of `[pgweir]`, for SHOW CONFIG.
    pub shown: Vec<Shown>,
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
    /// This process among the peers; 0: it has no number.
    pub peer_id: u32,
    /// Whose PROXY protocol header is believed, and required.
    pub proxy_protocol_from: Vec<Network>,
    /// Only at these addresses of ours; none: at all.
    pub proxy_protocol_on: Vec<Network>,
    pub workers: usize,

    pub auth_type: AuthType,
    pub auth_file: Option<PathBuf>,
    /// Map of certificate names for `auth_type = "cert"`: lines `map-name system-name database-user`, as pg_ident.conf.
    pub auth_ident_file: Option<PathBuf>,
    pub auth_hba_file: Option<PathBuf>,
    /// Who runs `auth_query`.
    pub auth_user: Option<String>,
    pub auth_query: String,
    pub auth_dbname: Option<String>,
    /// Of the console; `*` is everybody.
    pub admin_users: Vec<String>,
    pub stats_users: Vec<String>,
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
    /// 0: never.
    pub share_unnamed_after: u32,

    pub server_reset_query: String,
    pub server_reset_query_always: bool,
    /// None: there is no check; an empty one is an empty query.
    pub server_check_query: Option<String>,
    pub server_check_delay: Duration,
    pub server_fast_close: bool,
    pub server_lifetime: Duration,
    pub server_idle_timeout: Option<Duration>,
    pub pool_idle_timeout: Option<Duration>,
    pub autodb_idle_timeout: Option<Duration>,
    pub server_connect_timeout: Duration,
    /// The longest pause between attempts after a failed dial (TOML: 1 s; the pause starts at 20 ms and doubles).
    pub server_login_retry: Duration,
    pub client_login_timeout: Option<Duration>,
    pub query_timeout: Option<Duration>,
    pub query_wait_timeout: Option<Duration>,
    pub query_wait_notify: Option<Duration>,
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
    pub application_name_add_host: bool,
    pub disable_pqexec: bool,
    pub login_notify_message: Option<String>,
    pub dns_max_ttl: Duration,
    pub dns_nxdomain_ttl: Duration,
    pub probe: Option<Probe>,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub probe_failures: u32,
    pub topology_state_file: Option<PathBuf>,

    pub reads: Reads,
    pub failover_error: FailoverError,
    /// How long new work waits for a primary: `query_wait_timeout` where it is not written. None: for ever.
    pub failover_hold: Option<Duration>,
    /// 0: no limit.
    pub max_held_clients: usize,
    /// 0: no limit.
    pub max_held_bytes: usize,
    pub listen_failover: ListenFailover,
    pub pinning: Pinning,
    pub pin_warn_after: Option<Duration>,
    /// Where this proxy stands.
    pub zone: Option<String>,

    pub log_connections: bool,
    pub log_disconnections: bool,
    pub log_pooler_errors: bool,
    pub log_stats: bool,
    pub stats_period: Duration,
    pub error_codes: ErrorCodes,
    /// `host:port` of the HTTP listener.
    pub http_listen: Option<String>,
    pub suspend_timeout: Option<Duration>,
    pub log_format: LogFormat,
    pub logfile: Option<PathBuf>,
    pub syslog: bool,
    pub syslog_ident: Option<String>,
    pub syslog_facility: SyslogFacility,
    pub verbose: u32,
    /// Whom the process becomes at its start.
    pub user: Option<String>,
    pub pidfile: Option<PathBuf>,
}

/// What may run on a standby, and how new it must be; `effective.rs` says which table's value holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reads {
    pub split: ReadWriteSplit,
    pub consistency: ReadConsistency,
    pub wait: Duration,
    /// Set wherever `consistency` is bounded.
    pub max_staleness: Option<Duration>,
    pub max_lag: MaxLag,
    pub deferred_begin: bool,
    pub primary: PrimaryReads,
}

/// The same in `[databases.NAME]`; `None` means: the global value.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReadOverrides {
    pub split: Option<ReadWriteSplit>,
    pub consistency: Option<ReadConsistency>,
    pub wait: Option<Duration>,
    pub max_staleness: Option<Duration>,
    pub max_lag: Option<MaxLag>,
    pub deferred_begin: Option<bool>,
    pub primary: Option<PrimaryReads>,
}

/// How far behind a standby may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLag {
    /// Between now and the time as of which it is complete.
    Time(Duration),
    /// Of WAL, between the primary's last known position and its own.
    Bytes(u64),
}

/// Who asks a server for its role; the role needs LOGIN only.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    pub auth_user: Option<String>,
    pub auth_query: Option<String>,
    pub auth_dbname: Option<String>,
    pub probe: Option<Probe>,
    pub reads: ReadOverrides,
    pub failover_error: Option<FailoverError>,
    pub listen_failover: Option<ListenFailover>,
    pub pinning: Option<Pinning>,
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
    /// `servers`: roles are found out; what writes goes to the one that is not in recovery.
    Servers(Vec<Listed>),
}

/// One of `servers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub address: Address,
    /// Its share of the reads, in proportion to the others'; 0: none.
    pub weight: u32,
    pub zone: Option<String>,
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
    pub read_write_split: Option<ReadWriteSplit>,
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

/// `[peers.NUMBER]`: another process behind the same port, which knows its own clients' cancel keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub address: Address,
    /// Cancel requests under way to it at a time; None: `default_pool_size`.
    pub pool_size: Option<usize>,
}

/// An IP network; a single address is one with the longest prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub(crate) address: std::net::IpAddr,
    pub(crate) prefix: u8,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `PORT`, `SECRET` and `/etc/p/secret`.
    struct Something;

    impl Outside for Something {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                "PORT" => Some("7000".into()),
                "SECRET" => Some("hush".into()),
                _ => None,
            }
        }

        fn read(&self, path: &Path) -> Result<String, String> {
            match path.to_str() {
                Some("/etc/p/secret") => Ok("from a file\n".into()),
                Some("/etc/p/empty") => Ok("\n".into()),
                _ => Err("no such file".into()),
            }
        }
    }

    fn read(text: &str) -> Result<Parsed, Vec<Problem>> {
        parse(Path::new("/etc/p/p.toml"), text, &Something)
    }

    fn sound(text: &str) -> Config {
        read(text).unwrap_or_else(|problems| panic!("{problems:?} in {text}")).config
    }

    /// Each line of `expected` is a problem as printed, without the file.
    fn refused(text: &str, expected: &[&str]) {
        let problems = read(text).err().unwrap_or_default();
        let printed: Vec<_> =
            problems.iter().map(|problem| problem.to_string().replace("/etc/p/p.toml:", "")).collect();
        assert_eq!(printed, expected, "{text}");
        assert!(printed.iter().all(|line| !line.contains("hush")), "{printed:?}");
    }

    /// A file of `[pgweir]` with these lines, from line 3, and one database.
    fn global(lines: &str) -> String {
        format!("[pgweir]\nauth_file = 'users'\n{lines}\n[databases.app]\nservers = ['h:1']\n")
    }

    /// A file of `[databases.app]` with these lines, from line 4.
    fn database(lines: &str) -> String {
        format!("[pgweir]\nauth_file = 'users'\n[databases.app]\n{lines}\n")
    }

    #[test]
    fn defaults_are_pgbouncers_but_for_the_named_ones() {
        let config = sound(&global(""));
        let ours = &config.global;
        assert_eq!((ours.listen_port, ours.unix_socket_mode, ours.listen_backlog), (6432, 0o777, 128));
        assert_eq!(ours.unix_socket_dir.as_deref(), Some("/tmp"));
        assert_eq!((ours.auth_type, ours.pool_mode), (AuthType::Md5, PoolMode::Transaction));
        assert_eq!((ours.max_client_conn, ours.default_pool_size, ours.max_prepared_statements), (100, 20, 200));
        assert_eq!((ours.client_tls.sslmode, ours.server_tls.sslmode), (SslMode::Disable, SslMode::Prefer));
        assert!(ours.client_tls.tls12 && ours.client_tls.tls13);
        assert_eq!(ours.server_reset_query, "DISCARD ALL");
        let seconds = Duration::from_secs;
        assert_eq!((ours.server_lifetime, ours.server_idle_timeout), (seconds(3600), Some(seconds(600))));
        assert_eq!((ours.server_connect_timeout, ours.server_login_retry), (seconds(15), seconds(1)));
        assert_eq!((ours.query_wait_timeout, ours.query_timeout), (Some(seconds(120)), None));
        assert_eq!((ours.tcp_user_timeout, ours.shutdown_timeout), (seconds(30), Some(seconds(8))));
        assert_eq!((ours.max_packet_size, ours.workers), (i32::MAX as usize, 0));
        assert_eq!((ours.probe_interval.as_millis(), ours.probe_timeout.as_millis()), (200, 250));
        assert_eq!((ours.log_connections, ours.tcp_keepalive, ours.so_reuseport), (true, true, false));
        assert_eq!(ours.auth_file.as_deref(), Some(Path::new("/etc/p/users")));
    }

    #[test]
    fn names_that_nobody_knows_are_refused_with_the_nearest() {
        refused(
            &global("defualt_pool_size = 5\ncolour = 'hush'\npool_size = 5"),
            &[
                "3: pgweir.defualt_pool_size: expected a known key; did you mean `default_pool_size`?",
                "4: pgweir.colour: expected a known key",
                "5: pgweir.pool_size: expected a known key; it belongs to [databases.NAME]",
            ],
        );
        refused(
            &database("servers = ['h:1']\npasword = 'hush'\n[users.u]\npool_modes = 'hush'"),
            &[
                "5: databases.app.pasword: expected a known key; did you mean `password`?",
                "7: users.u.pool_modes: expected a known key; did you mean `pool_mode`?",
            ],
        );
        refused(
            "listen_port = 1\n[pgbouncer]\n[peers.1]\n[database.x]\nservers = ['h:1']\n[other]\n",
            &[
                "1: listen_port: expected it under [pgweir]",
                "1: databases: expected at least one [databases.NAME]",
                "1: pgweir.auth_file: expected a file of users: auth_type is md5",
                "2: pgbouncer: expected a known table; did you mean `pgweir`?",
                "3: peers.1.host: expected the peer's host",
                "4: database: expected a known table; did you mean `databases`?",
                "6: other: expected [pgweir], [databases.NAME], [users.NAME] or [peers.NUMBER]",
            ],
        );
    }

    #[test]
    fn what_is_not_toml_and_what_stands_twice_has_its_line() {
        let twice = "expected each key and table once; found it again";
        refused(&global("verbose = 1\nverbose = 'x'"), &[&format!("4: verbose: {twice}")]);
        refused(&database("servers = ['h:1']\n[databases.app]"), &[&format!("5: app: {twice}")]);
        refused(
            &database("min_pool_size = 1\nreserve_pool = 1\nreserve_pool_size = 2"),
            &["6: databases.app.reserve_pool_size: expected `reserve_pool_size` once, under one of its names"],
        );
        let problems = read("[pgweir]\nprobe_password = 'hush\nlisten_port = 0\n").expect_err("not TOML");
        assert_eq!((problems[0].line, problems[0].key.as_str()), (2, "probe_password"));
        assert!(problems.iter().all(|problem| problem.expected.starts_with("expected TOML: ")), "{problems:?}");
        refused("databases = 5\n[pgweir]\nauth_file = 'x'\n", &["1: databases: expected a table, [databases]"]);
    }

    #[test]
    fn each_kind_says_what_it_expects_and_what_it_found() {
        refused(
            &global(
                "listen_port = 70000\ntcp_keepalive = 'perhaps'\nquery_timeout = '5 weeks'\ntcp_user_timeout = -1\n\
                 max_packet_size = '1TB'\nunix_socket_mode = 777\npool_mode = 'sesion'\nlisten_addr = [1]\n\
                 server_connect_timeout = 0\nlogfile = 5\nprobe_password = 5\nprobe_failures = 0\n\
                 verbose = 99999999999999999999\nignore_startup_parameters = [\n'a',\n2024-01-01,\n]",
            ),
            &[
                "3: pgweir.listen_port: expected an integer from 1 to 65535; found 70000",
                "4: pgweir.tcp_keepalive: expected true or false (or 1 or 0); found \"perhaps\"",
                "5: pgweir.query_timeout: expected a duration, as \"30s\", \"250ms\", \"5m\", \"1h\" or \"2d\"; \
                 a bare number is in seconds; found \"5 weeks\"",
                "6: pgweir.tcp_user_timeout: expected a duration, as \"30s\", \"250ms\", \"5m\", \"1h\" or \"2d\"; \
                 a bare number is in milliseconds; found -1",
                "7: pgweir.max_packet_size: expected a size from 1024 to 2147483647 bytes, as \"16kB\" or \"64MB\"; \
                 a bare number is in bytes; found \"1TB\"",
                "8: pgweir.unix_socket_mode: expected a file mode in octal, as \"0777\" or 0o777; found 777",
                "9: pgweir.pool_mode: expected one of session, transaction, statement; found \"sesion\"",
                "10: pgweir.listen_addr: expected a string; found 1",
                "11: pgweir.server_connect_timeout: expected a duration above 0; found 0",
                "12: pgweir.logfile: expected a string; found 5",
                "13: pgweir.probe_password: expected a string",
                "14: pgweir.probe_failures: expected an integer from 1 to 1000; found 0",
                "15: pgweir.verbose: expected an integer from 0 to 9; found an integer beyond 64 bits",
                "18: pgweir.ignore_startup_parameters: expected a string; found a date",
            ],
        );
    }

    #[test]
    fn servers_and_hosts_are_addresses() {
        let address = |text: &str| match sound(&database(text)).databases.remove("app").expect("named").target {
            Target::Servers(servers) => {
                servers.iter().map(|listed| listed.address.to_string()).collect::<Vec<_>>().join(" ")
            }
            Target::Hosts { servers, load_balance } => {
                let servers: Vec<_> = servers.iter().map(Address::to_string).collect();
                format!("{} {load_balance}", servers.join(" "))
            }
        };
        assert_eq!(address("servers = ['a:1', '[::1]:2', { host = '/run', port = 3 }]"), "a:1 [::1]:2 /run:3");
        assert_eq!(address("servers = 'a:1, b'"), "a:1 b:5432");
        assert_eq!(address("host = 'a,10.0.0.1, ::1'\nport = 9"), "a:9 10.0.0.1:9 [::1]:9 true");
        assert_eq!(address("host = '/run/postgresql'\nload_balance_hosts = 'disable'"), "/run/postgresql:5432 false");
        assert_eq!(address("port = 7"), "/tmp:7 true");
        let app = "databases.app";
        let host = "expected a host name, an IP address or the /directory of a socket";
        let without = "expected `servers` without it: servers name hosts and ports themselves";
        let table = [
            (
                "servers = ['h:1']\nhost = 'x'\nport = 1",
                vec![format!("5: {app}.host: {without}"), format!("6: {app}.port: {without}")],
            ),
            (
                "servers = [\n'h:1',\n'h:0']",
                vec![format!("6: {app}.servers: expected a port from 1 to 65535; found \"h:0\"")],
            ),
            ("servers = []", vec![format!("4: {app}.servers: expected at least one server; found a list")]),
            (
                "servers = ['h:1', 'h:1']",
                vec![format!("4: {app}.servers: expected each server once; h:1 is named twice; found \"h:1\"")],
            ),
            (
                "servers = ['postgres://u:hush@h/x']",
                vec![format!("4: {app}.servers: expected host:port, not a URL; found a string")],
            ),
            (
                "servers = [{ host = 'h', wait = 2 }]",
                vec![format!(
                    "4: {app}.servers: expected a server with `host` and `zone` (strings), `port` and `weight` \
                     (integers), no more; found a table"
                )],
            ),
            (
                "servers = [{ host = 'h', weight = 1001 }]",
                vec![format!("4: {app}.servers: expected a weight from 0 to 1000; found a table")],
            ),
            (
                "servers = ['::1:5432']",
                vec![format!(
                    "4: {app}.servers: expected an IPv6 address in brackets, as \"[::1]:5432\"; found \"::1:5432\""
                )],
            ),
            (
                "host = 'h:5432'",
                vec![format!("4: {app}.host: expected a host without a port; the port belongs to `port`")],
            ),
            ("host = 'a b'", vec![format!("4: {app}.host: {host}")]),
        ];
        for (text, expected) in table {
            refused(&database(text), &expected.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    #[test]
    fn servers_have_weights_and_zones() {
        let text = "servers = ['a', { host = 'b', port = 2, weight = 0, zone = 'z' }, { host = 'c', weight = '7' }]";
        let Target::Servers(servers) = sound(&database(text)).databases["app"].target.clone() else {
            panic!("servers")
        };
        let found: Vec<_> = servers.iter().map(|one| (one.weight, one.zone.as_deref())).collect();
        assert_eq!(found, [(1, None), (0, Some("z")), (7, None)]);
    }

    #[test]
    fn bounded_reads_have_a_bound() {
        let expected = "expected a max_staleness above 0 beside read_consistency bounded";
        let app = "databases.app";
        refused(
            &database("servers = ['h:1', 'h:2']\nread_consistency = 'bounded'"),
            &[&format!("5: {app}.read_consistency: {expected}")],
        );
        refused(
            &database("servers = ['h:1', 'h:2']\nread_consistency = 'bounded'\nmax_staleness = 0"),
            &[&format!("6: {app}.max_staleness: {expected}")],
        );
        refused(&global("read_consistency = 'bounded'"), &[&format!("4: {app}.read_consistency: {expected}")]);
        sound(&global("read_consistency = 'bounded'\nmax_staleness = '1s'"));
        sound(&(global("read_consistency = 'bounded'") + "max_staleness = '1s'\n"));
    }

    #[test]
    fn a_lag_is_longer_than_the_time_between_looks() {
        let expected = "max_replica_lag: expected more than probe_interval";
        refused(&global("max_replica_lag = '200ms'"), &[&format!("3: pgweir.{expected}, 200ms")]);
        refused(
            &database("servers = ['h:1', 'h:2']\nmax_replica_lag = '100ms'"),
            &[&format!("5: databases.app.{expected}, 200ms")],
        );
        refused(&global("probe_interval = '20s'"), &[&format!("1: pgweir.{expected}, 20s")]);
        sound(&global("max_replica_lag = '201ms'"));
        sound(&global("probe_interval = '20s'\nmax_replica_lag = '1MB'"));
    }

    #[test]
    fn keys_must_agree() {
        let table = [
            (
                "client_tls_sslmode = 'require'",
                vec![
                    "1: pgweir.client_tls_key_file: expected a file: client_tls_sslmode is require",
                    "1: pgweir.client_tls_cert_file: expected a file: client_tls_sslmode is require",
                ],
            ),
            (
                "client_tls_sslmode = 'verify-ca'\nclient_tls_key_file = 'k'\nclient_tls_cert_file = 'c'",
                vec!["1: pgweir.client_tls_ca_file: expected a file: client_tls_sslmode is verify-ca"],
            ),
            (
                "server_tls_sslmode = 'verify-full'",
                vec!["1: pgweir.server_tls_ca_file: expected a file: server_tls_sslmode is verify-full"],
            ),
            (
                "server_tls_key_file = 'k'",
                vec!["1: pgweir.server_tls_cert_file: expected a file beside server_tls_key_file"],
            ),
            (
                "client_tls_protocols = 'tlsv1.1'",
                vec!["3: pgweir.client_tls_protocols: expected TLS 1.2 or 1.3 among the protocols; found neither"],
            ),
            (
                "server_tls_protocols = 'ssl3'",
                vec!["3: pgweir.server_tls_protocols: expected secure, tlsv1.2 or tlsv1.3; found \"ssl3\""],
            ),
            (
                "auth_type = 'cert'",
                vec![
                    "3: pgweir.auth_type: expected client_tls_sslmode = \"verify-full\" (and a CA) beside \
                     auth_type cert; found \"disable\"",
                ],
            ),
            ("auth_type = 'any'", vec!["4: databases.app.user: expected a user: auth_type is any"]),
            (
                "listen_addr = ''\nunix_socket_dir = ''",
                vec![
                    "3: pgweir.listen_addr: expected an address here or a directory in unix_socket_dir; found neither",
                ],
            ),
            (
                "listen_addr = '*, h:1'",
                vec![
                    "3: pgweir.listen_addr: expected \"*\", IP addresses or host names, without a port; found \"h:1\"",
                ],
            ),
            (
                "listen_addr = '[::1]'",
                vec![
                    "3: pgweir.listen_addr: expected \"*\", IP addresses or host names, without a port; \
                     found \"[::1]\"",
                ],
            ),
            (
                "unix_socket_dir = 'tmp'",
                vec!["3: pgweir.unix_socket_dir: expected an absolute directory, \"@name\" or \"\"; found \"tmp\""],
            ),
            ("min_pool_size = 21", vec!["3: pgweir.min_pool_size: expected at most default_pool_size, 20; found 21"]),
            ("probe_password = 'hush'", vec!["3: pgweir.probe_password: expected `probe_user` beside it"]),
        ];
        for (text, expected) in table {
            refused(&global(text), &expected);
        }
        for auth_type in ["md5", "plain", "scram-sha-256"] {
            let text = global(&format!("auth_type = '{auth_type}'")).replace("auth_file = 'users'", "");
            refused(&text, &[&format!("1: pgweir.auth_file: expected a file of users: auth_type is {auth_type}")]);
        }
        sound(&global("auth_type = 'trust'").replace("auth_file = 'users'", ""));
        sound(&global("auth_user = 'u'").replace("auth_file = 'users'", ""));
        sound(&global("auth_user = 'u'\nauth_dbname = 'app'"));
        let gone = "expected one of the databases; there is no \"gone\"";
        refused(&global("auth_user = 'u'\nauth_dbname = 'gone'"), &[&format!("4: pgweir.auth_dbname: {gone}")]);
        refused(
            &database("servers = ['h:1']\nauth_dbname = 'gone'"),
            &[&format!("5: databases.app.auth_dbname: {gone}")],
        );
        refused(
            &global("auth_type = 'pam'"),
            &["3: pgweir.auth_type: expected one of any, cert, hba, md5, plain, scram-sha-256, trust; found \"pam\"; \
               LDAP, PAM and GSSAPI are not spoken"],
        );
        refused(&global("auth_type = 'hba'"), &["1: pgweir.auth_hba_file: expected a file: auth_type is hba"]);
        sound(&global("auth_type = 'plain'\npool_mode = 'statement'\nmin_pool_size = 50\ndefault_pool_size = 0"));
    }

    #[test]
    fn databases_and_users_have_fitting_names_and_sizes() {
        let text = "[pgweir]\nauth_type = 'trust'\nunix_socket_dir = ''\nlisten_addr = 'localhost'\n";
        let long = "x".repeat(64);
        refused(
            &format!(
                "{text}[databases]\npgbouncer = {{ host = 'h' }}\npgweir = {{ host = 'h' }}\n\
                 a = 'host=h password=hush'\nb = {{}}\n{long} = {{ host = 'h' }}\n\
                 c = {{ host = 'h', min_pool_size = 6, pool_size = 5 }}\n[users.'']\n"
            ),
            &[
                "6: databases.pgbouncer: expected another name: it is the console's",
                "7: databases.pgweir: expected another name: it is the console's",
                "8: databases.a: expected a table, [databases.a], with a key on each line",
                "9: databases.b.servers: expected `servers` or `host`; found neither, and no unix_socket_dir",
                &format!("10: databases.{long}: expected a name of 1 to 63 bytes"),
                "11: databases.c.min_pool_size: expected min_pool_size, 6, to be at most pool_size, 5",
                "12: users.: expected a name of 1 to 127 bytes",
            ],
        );
    }

    #[test]
    fn the_environment_and_files_give_values_and_never_show_them() {
        let config = sound(&global("listen_port = '${PORT}'\nserver_reset_query = 'a$${b} ${PORT}'"));
        assert_eq!(config.global.listen_port, 7000);
        assert_eq!(config.global.server_reset_query, "a${b} 7000");
        let config = sound(&database("servers = ['h:${PORT}']\nuser = 'u'\npassword_file = 'secret'"));
        assert_eq!(config.databases["app"].password, Some(Redacted("from a file".into())));
        assert!(!format!("{config:?}").contains("from a file"));
        refused(
            &global(
                "listen_port = '${SECRET}'\npool_mode = '${NONE}'\nlogfile = '${x'\nprobe_user = 'u'\n\
                 probe_password = '${NO_SUCH}'",
            ),
            &[
                "3: pgweir.listen_port: expected an integer from 1 to 65535; found what the environment gave",
                "4: pgweir.pool_mode: expected the environment variable NONE; it is not set",
                "5: pgweir.logfile: expected ${NAME}, the name of a variable in braces ($${ is a plain ${)",
                "7: pgweir.probe_password: expected the environment variable NO_SUCH; it is not set",
            ],
        );
        refused(
            &database(
                "servers = ['h:1']\nuser = 'u'\npassword = 'x${hush}'\nprobe_password_file = 'nowhere'\n\
                 [databases.b]\nhost = 'h'\nuser = 'u'\npassword = 'hush'\npassword_file = 'secret'\n\
                 [databases.c]\nhost = 'h'\nuser = 'u'\npassword_file = 'empty'",
            ),
            &[
                "6: databases.app.password: expected a variable of the environment in ${NAME}; it is not set \
                 ($${ is a plain ${)",
                "7: databases.app.probe_password_file: expected a readable file; /etc/p/nowhere: no such file",
                "12: databases.b.password_file: expected one of `password` and `password_file`; found both",
                "16: databases.c.password_file: expected one line with the secret in /etc/p/empty",
            ],
        );
    }

    #[test]
    fn a_probe_is_the_databases_own_else_the_global_one_else_its_user() {
        let probe = |text: &str| {
            let config = sound(text);
            let probe = config.probe(&config.databases["app"])?;
            let password = probe.password.as_ref().map_or("", |password| password.0.as_str());
            Some(format!("{} {password} {}", probe.user, probe.dbname.as_deref().unwrap_or("")))
        };
        let wide = "probe_user = 'w'\nprobe_password = 'pw'";
        let table = [
            ("", "", None),
            (wide, "", Some("w pw ")),
            (wide, "user = 'f'\npassword = 'pf'", Some("w pw ")),
            ("", "user = 'f'\npassword = 'pf'", Some("f pf ")),
            (wide, "probe_user = 'o'", Some("o  ")),
            (wide, "probe_dbname = 'd'", Some("w pw d")),
            (wide, "probe_password = 'po'", Some("w po ")),
            ("", "probe_user = 'o'\nprobe_password = 'po'", Some("o po ")),
        ];
        for (top, own, expected) in table {
            assert_eq!(probe(&(global(top) + own)).as_deref(), expected, "{top} / {own}");
        }
        refused(
            &(global("") + "probe_dbname = 'd'"),
            &["6: databases.app.probe_dbname: expected `probe_user` beside it"],
        );
    }

    #[test]
    fn what_is_doubtful_is_a_warning() {
        let text = global("client_tls_ciphers = 'HIGH'\nserver_tls_ciphers = 'default'\nclient_tls_protocols = 'all'")
            + "[databases.b]\nhost = 'h'\npassword = 'hush'\nprobe_user = 'u'\nread_write_split = 'auto'\n";
        let warnings = read(&text).expect("sound").warnings;
        let at: Vec<_> = warnings.iter().map(|warning| (warning.line, warning.key.as_str())).collect();
        assert_eq!(
            at,
            [
                (3, "pgweir.client_tls_ciphers"),
                (5, "pgweir.client_tls_protocols"),
                (7, "databases.app.servers"),
                (8, "databases.b"),
                (11, "databases.b.probe_user"),
                (12, "databases.b.read_write_split"),
            ]
        );
    }

    mod files {
        use super::super::keys::{Fallback, Key, Table};
        use super::*;

        const FULL: &str = include_str!("../../config/pgweir.toml");
        const MINIMAL: &str = include_str!("../../config/minimal.toml");
        const MANUAL: &str = include_str!("../../docs/configuration.md");
        const PACKAGED: &str = include_str!("../../ops/package/packaged.toml");
        const USERS: &str = include_str!("../../userlist.txt");

        struct Shell;

        impl Outside for Shell {
            fn env(&self, _: &str) -> Option<String> {
                Some("x".into())
            }

            fn read(&self, _: &Path) -> Result<String, String> {
                Ok("x".into())
            }
        }

        #[test]
        fn the_minimal_file_is_sound_and_without_warnings() {
            let parsed = parse(Path::new("config/minimal.toml"), MINIMAL, &Shell).expect("sound");
            assert_eq!(parsed.warnings, []);
            assert_eq!(parsed.config.global.auth_file.as_deref(), Some(Path::new("config/../userlist.txt")));
            assert!(
                matches!(&parsed.config.databases["suggar_daddy"].target, Target::Servers(list) if list.len() == 2)
            );
        }

        #[test]
        fn the_user_list_is_an_example_that_lets_nobody_in() {
            assert!(USERS.lines().all(|line| line.starts_with(';')), "{USERS}");
            assert!(USERS.contains("\n; \"app\" \"SCRAM-SHA-256$"));
        }

        /// One `key = value`, commented out or not.
        struct Line<'a> {
            table: Table,
            name: &'a str,
            value: &'a str,
            is_comment: bool,
        }

        fn written(text: &str) -> Vec<Line<'_>> {
            let mut table = Table::Global;
            let mut found = Vec::new();
            for line in text.lines() {
                match line {
                    _ if line.starts_with("[databases.") => table = Table::Database,
                    _ if line.starts_with("[users.") => table = Table::User,
                    _ if line.starts_with("[peers.") => table = Table::Peer,
                    _ => {}
                }
                let bare = line.strip_prefix("# ").unwrap_or(line);
                let Some((name, value)) = bare.split_once(" = ") else { continue };
                if !name.contains(' ') {
                    found.push(Line { table, name, value, is_comment: bare != line });
                }
            }
            found
        }

        fn default(key: &Key) -> Option<&'static str> {
            match key.default {
                Fallback::Is(text) => Some(text),
                Fallback::Global(name) => default(Table::Global.key(name).expect("a global key")),
                Fallback::Unset => None,
            }
        }

        #[test]
        fn the_full_file_names_every_key_with_its_default_and_its_line_and_no_other() {
            let lines = written(FULL);
            for line in &lines {
                assert!(line.table.key(line.name).is_some_and(|key| key.name == line.name), "{} is no key", line.name);
            }
            for table in [Table::Global, Table::Database, Table::User, Table::Peer] {
                for key in table.keys() {
                    let mut own = lines.iter().filter(|line| line.table == table && line.name == key.name);
                    let line = own.next().unwrap_or_else(|| panic!("{} is missing", key.name));
                    assert!(own.next().is_none(), "{} stands twice", key.name);
                    if line.is_comment {
                        assert_eq!(Some(line.value), default(key), "{}", key.name);
                    }
                    let lines = format!("# {}\n# ({})\n", key.doc, key.facts());
                    assert!(FULL.contains(&lines), "expected of {}:\n{lines}", key.name);
                }
            }
            let active: Vec<_> = lines.iter().filter(|line| !line.is_comment).map(|line| line.name).collect();
            assert_eq!(active, ["listen_addr", "auth_file", "servers", "host"]);
        }

        #[test]
        fn the_manual_has_a_line_for_every_key_and_for_no_other() {
            let mut expected = 0;
            for table in [Table::Global, Table::Database, Table::User, Table::Peer] {
                for key in table.keys() {
                    let line = format!("| `{}` | {} | {} |\n", key.name, key.doc, key.facts());
                    assert!(MANUAL.contains(&line), "docs/configuration.md has not:\n{line}");
                }
                expected += table.keys().len();
            }
            for passed in keys::PASSED {
                let default = if passed.default.is_empty() { String::new() } else { format!("`{}` ", passed.default) };
                let line = format!("| `{}` | {default}| {} |\n", passed.name, passed.why);
                assert!(MANUAL.contains(&line), "docs/configuration.md has not:\n{line}");
            }
            let lines = MANUAL.lines().filter(|line| line.starts_with("| `") && !line.contains("`[")).count();
            assert_eq!(lines, expected + keys::PASSED.len());
        }

        #[test]
        fn the_packaged_file_is_sound() {
            let parsed = parse(Path::new("/etc/pgweir/pgweir.toml"), PACKAGED, &Shell).expect("sound");
            let doubts: Vec<_> = parsed.warnings.iter().map(|warning| warning.key.as_str()).collect();
            assert_eq!(doubts, ["databases"]);
        }

        #[test]
        fn a_file_cut_anywhere_is_refused_or_read_and_never_worse() {
            for (at, _) in FULL.char_indices().step_by(101) {
                let _ = parse(Path::new("p.toml"), &FULL[..at], &Shell);
                let _ = parse(Path::new("p.toml"), &FULL[at..].replace("# ", ""), &Shell);
            }
        }

        #[test]
        fn the_full_file_says_the_same_with_every_key_uncommented() {
            let names: Vec<_> = written(FULL).iter().map(|line| line.name).collect();
            let bare = |line: &'static str| {
                let inner = line.strip_prefix("# ")?;
                let (name, _) = inner.split_once(" = ")?;
                names.contains(&name).then_some(inner)
            };
            let uncommented: Vec<_> = FULL.lines().map(|line| bare(line).unwrap_or(line)).collect();
            let [plain, full] = [FULL.to_owned(), uncommented.join("\n")].map(|text| {
                let parsed = parse(Path::new("config/pgweir.toml"), &text, &Shell);
                parsed.unwrap_or_else(|problems| panic!("{problems:?}")).config
            });
            assert_eq!(plain.global, full.global);
            let names = |config: &Config| config.databases.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&plain), names(&full));
        }
    }
}

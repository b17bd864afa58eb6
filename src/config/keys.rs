//! [pure] The one table of keys: name, kind, default, what SIGHUP does with it, and its line of documentation.
//!
//! Readers of files, `config/pgweir.toml` and the console take names and defaults from here and from nowhere else.

use super::words::{
    AuthType, ErrorCodes, FailoverError, ListenFailover, LoadBalance, LogFormat, Pinning, PoolMode, PrimaryReads,
    ReadConsistency, ReadWriteSplit, SslMode, SyslogFacility,
};
use Fallback::{Global, Is, Unset};
use Kind::{Boolean, Choice, Lag, List, Mode, Networks, Path, Secret, Servers, Size, Text};
use Reload::{Restart, Taken};

/// The four tables of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `[pgweir]`, an ini's `[pgbouncer]`.
    Global,
    /// `[databases.NAME]`.
    Database,
    /// `[users.NAME]`.
    User,
    /// `[peers.NUMBER]`.
    Peer,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// PgBouncer's.
    Ini,
    Toml,
}

/// One key of one table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    /// The default in an ini, where PgBouncer's differs; as TOML.
    pub ini: Option<&'static str>,
    pub reload: Reload,
    pub doc: &'static str,
}

/// A key of PgBouncer's that has no meaning here.
#[derive(Debug)]
pub struct Passed {
    pub name: &'static str,
    /// PgBouncer's default, as it prints it; a file that writes it loses nothing.
    pub default: &'static str,
    /// Why it has no effect.
    pub why: &'static str,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Boolean,
    Choice(&'static [&'static str]),
    Duration {
        bare: Bare,
        zero: Zero,
    },
    Integer {
        min: u64,
        max: u64,
    },
    /// A duration, or an amount of WAL as a size; both need their unit.
    Lag,
    /// Strings, or one string with commas.
    List,
    /// A file mode, in octal.
    Mode,
    /// IP networks, as "10.0.0.0/8", or addresses; a list, or one string with commas.
    Networks,
    /// Relative to the directory of the file; "" is none.
    Path,
    /// Text that is never shown; "" is none.
    Secret,
    Servers,
    Size {
        min: u64,
        max: u64,
    },
    Text,
}

/// The unit of a duration without one: PgBouncer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    Milliseconds,
    Seconds,
}

/// What a duration of 0 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero {
    /// No limit, or the system's own; in a database's or user's table: the value of the wider table.
    Off,
    /// No duration at all.
    Plain,
    Refused,
}

/// What holds when the file does not name the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// This TOML value.
    Is(&'static str),
    /// The value of this key of `[pgweir]`.
    Global(&'static str),
    /// Nothing that could be written.
    Unset,
}

/// What SIGHUP does with a changed value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// Taken, and nothing that is open is closed.
    Taken,
    /// Taken; these server connections are closed as they come back.
    Recycles(&'static str),
    /// Kept as it was until a restart.
    Restart,
}

impl Bare {
    pub fn seconds(self) -> f64 {
        match self {
            Bare::Milliseconds => 1e-3,
            Bare::Seconds => 1.0,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Bare::Milliseconds => "milliseconds",
            Bare::Seconds => "seconds",
        }
    }
}

impl Grammar {
    /// The head of the table of keys that hold for the process.
    pub(crate) fn global(self) -> &'static str {
        match self {
            Grammar::Ini => "[pgbouncer]",
            Grammar::Toml => "[pgweir]",
        }
    }
}

impl Key {
    /// The default as TOML; None where it has none of its own.
    pub fn default_in(&self, grammar: Grammar) -> Option<&'static str> {
        match (self.default, grammar) {
            (Fallback::Is(_), Grammar::Ini) if self.ini.is_some() => self.ini,
            (Fallback::Is(text), _) => Some(text),
            (Fallback::Global(_) | Fallback::Unset, _) => None,
        }
    }
}

impl Table {
    /// The keys of this table, in the order of the documentation.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Table::Global => GLOBAL,
            Table::Database => DATABASE,
            Table::User => USER,
            Table::Peer => PEER,
        }
    }

    /// The key of that name, or of the alias that PgBouncer gives it.
    pub fn key(self, name: &str) -> Option<&'static Key> {
        let name = if self == Table::Database && name == "reserve_pool" { "reserve_pool_size" } else { name };
        self.keys().iter().find(|key| key.name == name)
    }

    /// What the operator may have meant.
    pub(crate) fn nearest(self, name: &str) -> Option<&'static str> {
        nearest(name, self.keys().iter().map(|key| key.name))
    }
}

/// The key of PgBouncer's `[pgbouncer]` that is accepted without effect.
pub fn passed(name: &str) -> Option<&'static Passed> {
    PASSED.iter().find(|passed| passed.name == name)
}

/// Whether any table has a key of that name.
pub(crate) fn is_name(name: &str) -> bool {
    [Table::Global, Table::Database, Table::User, Table::Peer].iter().any(|table| table.key(name).is_some())
}

/// The candidate at the smallest edit distance, if that is small for a name of this length.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.len() / 3).clamp(1, 4);
    let measured = candidates.map(|candidate| (distance(name, candidate), candidate));
    measured.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Levenshtein's distance in bytes, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

const fn key(name: &'static str, kind: Kind, default: Fallback, reload: Reload, doc: &'static str) -> Key {
    Key { name, kind, default, ini: None, reload, doc }
}

/// The same with PgBouncer's default in an ini.
const fn ini(key: Key, default: &'static str) -> Key {
    Key { ini: Some(default), ..key }
}

const fn passed_over(name: &'static str, default: &'static str, why: &'static str) -> Passed {
    Passed { name, default, why }
}

const fn count(max: u64) -> Kind {
    Kind::Integer { min: 0, max }
}

const fn seconds(zero: Zero) -> Kind {
    Kind::Duration { bare: Bare::Seconds, zero }
}

/// PgBouncer's, with every name bound to pg_catalog: no search_path changes what it asks.
const AUTH_QUERY: &str = "\"SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL \
    ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin\"";

/// Counts of connections and the like.
const COUNT: Kind = count(i32::MAX as u64);
const PORT: Kind = Kind::Integer { min: 1, max: u16::MAX as u64 };
const TIMEOUT: Kind = seconds(Zero::Off);
const DELAY: Kind = seconds(Zero::Plain);
const NONE: Fallback = Fallback::Is("\"\"");
const EVERY: Reload = Reload::Recycles("every server connection");
const OWN: Reload = Reload::Recycles("the database's server connections");
const SECRETS: Reload = Reload::Recycles("the server connections of users whose secret changed");
const LISTED: Reload = Reload::Recycles("the server connections of databases with `servers`");

#[rustfmt::skip]
const GLOBAL: &[Key] = &[
    key("listen_addr", List, Is("[]"), Restart, "Addresses and names to listen on; \"*\": all. Empty: no TCP."),
    key("listen_port", PORT, Is("6432"), Restart, "The port, of TCP and in the unix socket's name."),
    key("unix_socket_dir", Text, Is("\"/tmp\""), Restart,
        "Where the unix socket lies; \"@name\": abstract. Empty: none."),
    key("unix_socket_mode", Mode, Is("\"0777\""), Restart, "The socket's mode, in octal."),
    key("unix_socket_group", Text, NONE, Restart, "The socket's group. Empty: the process's."),
    key("listen_backlog", Kind::Integer { min: 1, max: 65_535 }, Is("128"), Restart,
        "Connections that the kernel may queue."),
    key("so_reuseport", Boolean, Is("false"), Restart, "Let several processes listen on one port."),
    key("peer_id", count(16_383), Is("0"), Restart, "This process among [peers]. 0: it has none."),
    key("proxy_protocol_from", Networks, Is("[]"), Taken,
        "Networks whose PROXY protocol header is believed, and required. Empty: none."),
    key("proxy_protocol_on", Networks, Is("[]"), Taken,
        "Addresses of ours where it is: of those that listen_addr stands for. Empty: all."),
    key("workers", count(1024), Is("0"), Restart, "Runtime threads. 0: as many as there are cores."),

    key("auth_type", Choice(AuthType::WORDS), Is("\"md5\""), Taken,
        "How clients log in; md5 becomes SCRAM where the stored secret is one."),
    key("auth_file", Path, NONE, SECRETS, "Users and their secrets: lines of \"user\" \"secret\"."),
    key("auth_ident_file", Path, NONE, Taken, "Maps certificate names to users, as pg_ident.conf; auth_type cert uses the map named cert."),
    key("auth_hba_file", Path, NONE, Taken, "Who may log in from where, as pg_hba.conf, for auth_type hba."),
    key("auth_user", Text, NONE, Taken, "Who asks servers for the secrets of users that auth_file does not have. Empty: nobody."),
    key("auth_query", Text, Is(AUTH_QUERY), Taken, "What it asks; $1 is the client's user."),
    key("auth_dbname", Text, NONE, Taken, "The database, as clients name it, where it asks. Empty: the client's own."),
    key("admin_users", List, Is("[]"), Taken, "Who may log in to the console and give commands. \"*\": everybody who can log in."),
    key("stats_users", List, Is("[]"), Taken, "Who may log in to the console and see what SHOW prints, without commands."),
    key("client_tls_sslmode", Choice(SslMode::WORDS), Is("\"disable\""), Taken,
        "TLS with clients; allow and prefer: if the client asks; verify-*: certificate required."),
    key("client_tls_key_file", Path, NONE, Taken, "Our private key, PEM."),
    key("client_tls_cert_file", Path, NONE, Taken, "Our certificate chain, PEM."),
    key("client_tls_ca_file", Path, NONE, Taken, "Who signs clients' certificates, PEM."),
    key("client_tls_protocols", List, Is("\"secure\""), Taken, "secure (1.2 and 1.3), or a list of tlsv1.2, tlsv1.3."),
    key("server_tls_sslmode", Choice(SslMode::WORDS), Is("\"prefer\""), EVERY, "TLS with servers, as libpq's sslmode."),
    key("server_tls_key_file", Path, NONE, EVERY, "The key that we show to servers, PEM."),
    key("server_tls_cert_file", Path, NONE, EVERY, "The certificate that we show to servers, PEM."),
    key("server_tls_ca_file", Path, NONE, EVERY, "Who signs servers' certificates, PEM."),
    key("server_tls_protocols", List, Is("\"secure\""), EVERY, "As client_tls_protocols."),

    ini(key("pool_mode", Choice(PoolMode::WORDS), Is("\"transaction\""), Taken, "When a server goes back to its pool."), "\"session\""),
    key("max_client_conn", COUNT, Is("100"), Taken, "Clients at a time, those at the login included."),
    key("default_pool_size", COUNT, Is("20"), Taken, "Servers for each pair of database and user. 0: no limit."),
    key("min_pool_size", COUNT, Is("0"), Taken, "Servers to keep open for each pair, once it has a client."),
    key("reserve_pool_size", COUNT, Is("0"), Taken,
        "Servers beyond the pool's size for clients that waited reserve_pool_timeout."),
    key("reserve_pool_timeout", TIMEOUT, Is("\"5s\""), Taken,
        "How long a client waits before the reserve opens. 0: no reserve."),
    key("max_db_connections", COUNT, Is("0"), Taken, "Servers per database. 0: no limit."),
    key("max_user_connections", COUNT, Is("0"), Taken, "Servers per user. 0: no limit."),
    key("max_db_client_connections", COUNT, Is("0"), Taken, "Clients per database. 0: no limit."),
    key("max_user_client_connections", COUNT, Is("0"), Taken, "Clients per user. 0: no limit."),
    key("server_round_robin", Boolean, Is("false"), Taken,
        "Lend the server that has rested longest, not the last one used."),
    key("max_prepared_statements", COUNT, Is("200"), Taken,
        "Prepared statements kept per server connection. 0: none are followed."),
    key("share_unnamed_after", COUNT, Is("5"), Taken,
        "Uses before an unnamed statement that repeats is prepared once for all. 0: never."),

    key("server_reset_query", Text, Is("\"DISCARD ALL\""), Taken,
        "Sent when a session-mode client leaves its server. Empty: none."),
    key("server_reset_query_always", Boolean, Is("false"), Taken,
        "Send it in transaction and statement mode too, whenever a server comes back."),
    key("server_check_query", Text, Is("\"<empty>\""), Taken,
        "Sent to a server that has rested for server_check_delay, before it is lent; `<empty>` is a query without a statement. Empty: none."),
    key("server_check_delay", DELAY, Is("\"30s\""), Taken,
        "How long a server may rest and be lent without server_check_query. 0: not at all."),
    key("server_fast_close", Boolean, Is("false"), Taken,
        "Close session-mode servers that are to be closed once no transaction is open, and their clients with them."),
    key("server_lifetime", seconds(Zero::Plain), Is("\"1h\""), Taken,
        "Age at which an idle server is closed. 0: each is used once."),
    key("server_idle_timeout", TIMEOUT, Is("\"10m\""), Taken, "A server idle for longer is closed. 0: never."),
    key("pool_idle_timeout", TIMEOUT, Is("0"), Taken,
        "A pool that has had neither clients nor servers for so long is forgotten. 0: never."),
    key("autodb_idle_timeout", TIMEOUT, Is("\"1h\""), Taken,
        "The same for a database that only `*` covers."),
    key("server_connect_timeout", seconds(Zero::Refused), Is("\"15s\""), Taken,
        "Connect, TLS and login of a server, together."),
    ini(key("server_login_retry", seconds(Zero::Refused), Is("\"1s\""), Taken,
        "The longest pause after a failed dial; it starts at 20 ms and doubles."), "\"15s\""),
    key("client_login_timeout", TIMEOUT, Is("\"60s\""), Taken, "A client's whole login. 0: no limit."),
    key("query_timeout", TIMEOUT, Is("0"), Taken, "A query that runs for longer loses its server. 0: no limit."),
    key("query_wait_timeout", TIMEOUT, Is("\"120s\""), Taken, "How long a client waits for a server. 0: for ever."),
    key("query_wait_notify", TIMEOUT, Is("\"5s\""), Taken,
        "A client that has waited for a server for so long is told by a notice. 0: it is not."),
    key("cancel_wait_timeout", TIMEOUT, Is("\"10s\""), Taken,
        "How long a cancel request waits for a connection. 0: for ever."),
    key("client_idle_timeout", TIMEOUT, Is("0"), Taken, "A client idle for longer is dropped. 0: never."),
    key("idle_transaction_timeout", TIMEOUT, Is("0"), Taken,
        "A client idle in a transaction for longer is dropped. 0: never."),
    key("transaction_timeout", TIMEOUT, Is("0"), Taken, "A client in a transaction for longer is dropped. 0: never."),
    ini(key("shutdown_timeout", TIMEOUT, Is("\"8s\""), Taken, "How long SIGTERM waits for clients to leave. 0: for ever."), "0"),

    key("tcp_keepalive", Boolean, Is("true"), Taken, "TCP keepalive, on both sides."),
    key("tcp_keepcnt", count(127), Is("0"), Taken,
        "Probes without an answer before a connection is dead. 0: the system's."),
    key("tcp_keepidle", TIMEOUT, Is("0"), Taken, "Silence before the first probe. 0: the system's."),
    key("tcp_keepintvl", TIMEOUT, Is("0"), Taken, "Time between probes. 0: the system's."),
    ini(key("tcp_user_timeout", Kind::Duration { bare: Bare::Milliseconds, zero: Zero::Off }, Is("\"30s\""), Taken,
        "Unacknowledged data this old breaks a connection. 0: the system's."), "0"),
    key("max_packet_size", Size { min: 1024, max: i32::MAX as u64 }, Is("2147483647"), Taken,
        "The largest message that a client may send."),

    key("ignore_startup_parameters", List, Is("[]"), Taken,
        "Startup parameters that clients send and that are passed over."),
    key("application_name_add_host", Boolean, Is("false"), Taken, "Add the client's address to its application_name at login."),
    key("disable_pqexec", Boolean, Is("false"), Taken,
        "Refuse the simple query protocol. New clients only; the console keeps it."),
    key("login_notify_message", Text, NONE, Taken,
        "A notice that each client gets at its login. Empty: none."),
    key("dns_max_ttl", DELAY, Is("\"15s\""), Taken, "How long the addresses of a server's name are kept."),
    key("dns_nxdomain_ttl", DELAY, Is("\"15s\""), Taken, "How long it is kept that a name has no address."),
    key("probe_user", Text, NONE, LISTED,
        "Who asks servers for their role; LOGIN is enough. Empty: the database's user."),
    key("probe_password", Secret, NONE, LISTED, "That user's password. Empty: the one in auth_file."),
    key("probe_password_file", Path, NONE, LISTED, "A file that holds nothing but the probe's password."),
    key("probe_dbname", Text, NONE, LISTED, "Where the probe logs in. Empty: the database's own."),
    key("probe_interval", seconds(Zero::Refused), Is("\"200ms\""), LISTED, "Time between two questions to a server."),
    key("probe_timeout", seconds(Zero::Refused), Is("\"250ms\""), LISTED, "How long an answer may take."),
    key("probe_failures", Kind::Integer { min: 1, max: 1000 }, Is("3"), LISTED,
        "Failures in a row after which a server counts as down."),
    key("topology_state_file", Path, NONE, Restart,
        "Remembers each cluster's identifier and highest timeline, so that a restart does not follow an old primary. Empty: nowhere."),

    key("read_write_split", Choice(ReadWriteSplit::WORDS), Is("\"auto\""), Taken,
        "What may run on a standby, where `servers` names several: auto: declared and proven reads; declared: READ ONLY transactions."),
    key("read_consistency", Choice(ReadConsistency::WORDS), Is("\"pool\""), Taken,
        "Whose writes a read must see: pool: all of its database's; strict: everybody's; session: its client's; bounded: max_staleness."),
    key("read_wait", DELAY, Is("\"3ms\""), Taken,
        "How long a read may wait for a standby to catch up before it goes to the primary."),
    key("max_staleness", TIMEOUT, Is("0"), Taken, "How old an answer may be where read_consistency is bounded. 0: not set."),
    key("max_replica_lag", Lag, Is("\"10s\""), Taken,
        "A standby further behind serves no reads: a time, or an amount of WAL as \"64MB\"."),
    key("zone", Text, NONE, LISTED, "Where this proxy stands: reads go to fit standbys of its own zone first."),
    key("deferred_begin", Boolean, Is("true"), Taken,
        "A lone BEGIN is answered at once and sent with the first statement, which decides where the transaction runs."),
    key("primary_reads", Choice(PrimaryReads::WORDS), Is("\"fallback\""), Taken,
        "fallback: the primary serves reads when no standby may; share: it takes part."),
    key("failover_error", Choice(FailoverError::WORDS), Is("\"40001\""), Taken,
        "What an open transaction gets when its server is lost: 40001, and the client stays, or 57P01, and it is ended."),
    key("failover_hold", TIMEOUT, Global("query_wait_timeout"), Taken, "How long new work waits where there is no primary."),
    key("max_held_clients", COUNT, Is("0"), Taken, "Clients that wait for a primary at a time. 0: no limit."),
    key("max_held_bytes", Size { min: 0, max: u32::MAX as u64 }, Is("0"), Taken,
        "What they have sent by then, together. 0: no limit."),
    key("listen_failover", Choice(ListenFailover::WORDS), Is("\"57P01\""), Taken,
        "What a client that listens gets when its server is lost: 57P01, its end, or relisten: a server that listens again, and a notice."),
    key("pinning", Choice(Pinning::WORDS), Is("\"allow\""), Taken,
        "A statement whose effect would keep its server for this client: allow: it does; warn: and a warning says so; forbid: 0A000."),
    key("pin_warn_after", TIMEOUT, Is("\"60s\""), Taken, "A server that stays with its client for longer is logged once. 0: none is."),

    key("log_connections", Boolean, Is("true"), Taken, "Log logins."),
    key("log_disconnections", Boolean, Is("true"), Taken, "Log why clients and servers left."),
    key("log_pooler_errors", Boolean, Is("true"), Taken, "Log the errors that we send to clients."),
    key("log_stats", Boolean, Is("true"), Taken, "Log the sums of each stats_period."),
    key("stats_period", seconds(Zero::Refused), Is("\"60s\""), Taken, "The period of averages, and of log_stats."),
    key("error_codes", Choice(ErrorCodes::WORDS), Is("\"real\""), Taken,
        "SQLSTATEs of our own errors: real: PostgreSQL's; pgbouncer: 08P01 throughout."),
    ini(key("http_listen", Text, Is("\"127.0.0.1:9632\""), Restart,
        "host:port of /metrics, /healthz, /readyz and the status page. Empty: none."), "\"\""),
    key("suspend_timeout", TIMEOUT, Is("\"10s\""), Taken, "How long SUSPEND waits for what is under way. 0: for ever."),
    key("log_format", Choice(LogFormat::WORDS), Is("\"text\""), Restart, "How a log line looks."),
    key("logfile", Path, NONE, Taken, "Log to this file, opened again at SIGHUP. Empty: standard error."),
    key("syslog", Boolean, Is("false"), Taken,
        "Log to the system's log (/dev/log) as well."),
    ini(key("syslog_ident", Text, Is("\"pgweir\""), Taken,
        "The program's name there."), "\"pgbouncer\""),
    key("syslog_facility", Choice(SyslogFacility::WORDS), Is("\"daemon\""), Taken,
        "The facility there."),
    key("verbose", count(9), Is("0"), Taken, "More log: 1 or 2."),
    key("user", Text, NONE, Restart, "Become this user at the start. Empty: the process keeps its own."),
    key("pidfile", Path, NONE, Restart, "Where the process id is written. Empty: nowhere."),
];

#[rustfmt::skip]
const DATABASE: &[Key] = &[
    key("dbname", Text, NONE, OWN, "The database's name on the server. Empty: the name that the client asked for."),
    key("servers", Servers, Unset, OWN,
        "A primary and its standbys, roles found out: \"host:port\", \"[::1]:port\", \"/dir:port\" or { host, port, weight, zone }; weight 0: no reads."),
    key("host", List, NONE, OWN,
        "One host or several: names, addresses, a socket's /directory; no role is asked for. Empty: unix_socket_dir."),
    key("port", PORT, Is("5432"), OWN, "The port of every `host`."),
    key("load_balance_hosts", Choice(LoadBalance::WORDS), Is("\"round-robin\""), OWN,
        "Whether connections are spread over `host`'s list, or go to the first that answers."),
    key("user", Text, NONE, OWN, "Log in to the server as this user, whoever the client is."),
    key("password", Secret, NONE, OWN, "That user's password. Empty: the one in auth_file."),
    key("password_file", Path, NONE, OWN, "A file that holds nothing but the password."),
    key("auth_user", Text, Global("auth_user"), Taken, "Who asks for the secrets of users that auth_file does not have."),
    key("auth_query", Text, Global("auth_query"), Taken, "What it asks."),
    key("auth_dbname", Text, Global("auth_dbname"), Taken, "Where it asks."),
    key("probe_user", Text, Global("probe_user"), OWN, "Who asks these servers for their role."),
    key("probe_password", Secret, Global("probe_password"), OWN, "That user's password."),
    key("probe_password_file", Path, Global("probe_password_file"), OWN,
        "A file that holds nothing but the probe's password."),
    key("probe_dbname", Text, Global("probe_dbname"), OWN, "Where the probe logs in."),
    key("read_write_split", Choice(ReadWriteSplit::WORDS), Global("read_write_split"), Taken,
        "What may run on a standby of this database."),
    key("read_consistency", Choice(ReadConsistency::WORDS), Global("read_consistency"), Taken,
        "Whose writes a read of this database must see."),
    key("read_wait", DELAY, Global("read_wait"), Taken, "How long its reads may wait for a standby."),
    key("max_staleness", TIMEOUT, Global("max_staleness"), Taken,
        "How old its answers may be where read_consistency is bounded. 0: the global value."),
    key("max_replica_lag", Lag, Global("max_replica_lag"), Taken, "A standby further behind serves none of its reads."),
    key("deferred_begin", Boolean, Global("deferred_begin"), Taken, "Whether a lone BEGIN waits for its first statement."),
    key("primary_reads", Choice(PrimaryReads::WORDS), Global("primary_reads"), Taken,
        "Whether the primary takes part in this database's reads."),
    key("failover_error", Choice(FailoverError::WORDS), Global("failover_error"), Taken,
        "What its open transactions get when their server is lost."),
    key("listen_failover", Choice(ListenFailover::WORDS), Global("listen_failover"), Taken,
        "What its clients that listen get when their server is lost."),
    key("pinning", Choice(Pinning::WORDS), Global("pinning"), Taken,
        "Whether its statements may keep a server for their client."),
    key("pool_mode", Choice(PoolMode::WORDS), Global("pool_mode"), Taken, "When a server goes back to its pool."),
    key("pool_size", COUNT, Global("default_pool_size"), Taken, "Servers for each user of this database. 0: no limit."),
    key("min_pool_size", COUNT, Global("min_pool_size"), Taken, "Servers to keep open."),
    key("reserve_pool_size", COUNT, Global("reserve_pool_size"), Taken,
        "Servers beyond pool_size for clients that waited reserve_pool_timeout."),
    key("max_db_connections", COUNT, Global("max_db_connections"), Taken,
        "Servers of this database, all users together. 0: the global value."),
    key("max_db_client_connections", COUNT, Global("max_db_client_connections"), Taken,
        "Clients of this database. 0: the global value."),
    key("server_lifetime", seconds(Zero::Plain), Global("server_lifetime"), Taken,
        "Age at which an idle server is closed. 0: each is used once."),
    key("query_wait_timeout", TIMEOUT, Global("query_wait_timeout"), Taken,
        "How long a client waits for a server. 0: the global value."),
    key("client_encoding", Text, NONE, OWN, "Set at the login of each new server connection. Empty: not set."),
    key("datestyle", Text, NONE, OWN, "As client_encoding."),
    key("timezone", Text, NONE, OWN, "As client_encoding."),
    key("application_name", Text, NONE, OWN, "As client_encoding."),
    key("connect_query", Text, NONE, OWN, "Run once on each new server connection; an error closes it. Empty: none."),
];

#[rustfmt::skip]
const USER: &[Key] = &[
    key("pool_mode", Choice(PoolMode::WORDS), Global("pool_mode"), Taken,
        "When a server goes back to its pool; goes before the database's."),
    key("read_write_split", Choice(ReadWriteSplit::WORDS), Global("read_write_split"), Taken,
        "What of this user's work may run on a standby; goes before the database's."),
    key("pool_size", COUNT, Global("default_pool_size"), Taken,
        "Servers for each database of this user; goes before the database's."),
    key("reserve_pool_size", COUNT, Global("reserve_pool_size"), Taken,
        "Servers beyond pool_size; goes before the database's."),
    key("max_user_connections", COUNT, Global("max_user_connections"), Taken, "Servers of this user. 0: no limit."),
    key("max_user_client_connections", COUNT, Global("max_user_client_connections"), Taken,
        "Clients of this user. 0: no limit."),
    key("query_timeout", TIMEOUT, Global("query_timeout"), Taken,
        "A query that runs for longer loses its server. 0: the global value."),
    key("query_wait_timeout", TIMEOUT, Global("query_wait_timeout"), Taken,
        "How long a client waits for a server. 0: the database's or the global value."),
    key("idle_transaction_timeout", TIMEOUT, Global("idle_transaction_timeout"), Taken,
        "A client idle in a transaction for longer is dropped. 0: the global value."),
    key("transaction_timeout", TIMEOUT, Global("transaction_timeout"), Taken,
        "A client in a transaction for longer is dropped. 0: the global value."),
    key("client_idle_timeout", TIMEOUT, Global("client_idle_timeout"), Taken,
        "A client idle for longer is dropped. 0: the global value."),
];

#[rustfmt::skip]
const PEER: &[Key] = &[
    key("host", Text, Unset, Taken, "Where the peer listens: a name, an address, or its unix_socket_dir."),
    key("port", PORT, Is("6432"), Taken, "The peer's listen_port."),
    key("pool_size", COUNT, Global("default_pool_size"), Taken, "Cancel requests under way to it at a time."),
];

const CIPHERS: &str = "ciphers and curves are rustls's choice";
const BUFFERS: &str = "buffers have sizes of their own";

/// In the order of their names.
#[rustfmt::skip]
pub const PASSED: &[Passed] = &[
    passed_over("auth_ldap_options", "", "LDAP is not spoken"),
    passed_over("client_tls13_ciphers", "", CIPHERS),
    passed_over("client_tls_ciphers", "default", CIPHERS),
    passed_over("client_tls_dheparams", "auto", CIPHERS),
    passed_over("client_tls_ecdhcurve", "auto", CIPHERS),
    passed_over("conffile", "", "the file is the one that the command line names"),
    passed_over("dns_zone_check_period", "0", "names are looked up again by dns_max_ttl alone"),
    passed_over("job_name", "pgbouncer", "there is no such name"),
    passed_over("pkt_buf", "4096", BUFFERS),
    passed_over("resolv_conf", "", "names are looked up as the system does"),
    passed_over("sbuf_loopcnt", "5", BUFFERS),
    passed_over("scram_iterations", "4096", "verifiers of plain passwords always have 4096 rounds"),
    passed_over("server_tls13_ciphers", "", CIPHERS),
    passed_over("server_tls_ciphers", "default", CIPHERS),
    passed_over("service_name", "pgbouncer", "it is for Windows"),
    passed_over("tcp_defer_accept", "1", "connections are taken at once"),
    passed_over("tcp_socket_buffer", "0", "sockets have the system's buffers"),
    passed_over("track_extra_parameters", "IntervalStyle", "every parameter that servers report is followed"),
];

#[cfg(test)]
mod tests {
    use super::super::toml::literal;
    use super::super::value;
    use super::*;

    const TABLES: [Table; 4] = [Table::Global, Table::Database, Table::User, Table::Peer];

    #[test]
    fn every_default_is_of_its_keys_kind() {
        for key in TABLES.iter().flat_map(|table| table.keys()) {
            match key.default {
                Fallback::Is(text) => {
                    let written = literal(text).expect("TOML");
                    assert!(value::read(key.kind, &written).is_ok(), "{}", key.name);
                    let ini = key.ini.map(|text| literal(text).expect("TOML"));
                    assert!(ini.is_none_or(|written| value::read(key.kind, &written).is_ok()), "{}", key.name);
                }
                Fallback::Global(name) => {
                    let global = Table::Global.key(name).expect("a global key");
                    assert_eq!(global.kind, key.kind, "{}", key.name);
                }
                Fallback::Unset => assert!(["servers", "host"].contains(&key.name)),
            }
        }
    }

    #[test]
    fn names_are_unique_and_not_both_known_and_passed_over() {
        for table in TABLES {
            for (at, key) in table.keys().iter().enumerate() {
                assert!(table.keys()[at + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
            }
        }
        assert!(PASSED.is_sorted_by(|a, b| a.name < b.name));
        assert!(PASSED.iter().all(|passed| Table::Global.key(passed.name).is_none()));
    }

    #[test]
    fn pgbouncers_hundred_parameters_are_all_known() {
        let split = ["read_write_split", "read_consistency", "read_wait", "max_staleness", "max_replica_lag"];
        let rest = [
            "workers",
            "log_format",
            "shutdown_timeout",
            "zone",
            "deferred_begin",
            "primary_reads",
            "failover_error",
            "topology_state_file",
            "proxy_protocol_from",
            "proxy_protocol_on",
            "failover_hold",
            "max_held_clients",
            "max_held_bytes",
            "error_codes",
            "http_listen",
            "listen_failover",
            "pinning",
            "pin_warn_after",
            "share_unnamed_after",
        ];
        let ours = [&split[..], &rest[..]].concat();
        let theirs = GLOBAL.iter().filter(|key| !key.name.starts_with("probe_") && !ours.contains(&key.name)).count();
        // service_name exists on Windows only.
        assert_eq!(theirs + PASSED.len() - 1, 100);
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(Table::Global.nearest("defualt_pool_size"), Some("default_pool_size"));
        assert_eq!(Table::Global.nearest("pool_mod"), Some("pool_mode"));
        assert_eq!(Table::Database.nearest("server"), Some("servers"));
        assert_eq!(Table::Global.nearest("colour"), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}

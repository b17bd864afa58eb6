//! [pure] The one table of keys: name, kind, default, what SIGHUP does with it, and its line of documentation.
//!
//! Readers of files, `config/pgweir.toml` and the console take names and defaults from here and from nowhere else.

use super::words::{
    AuthType, FailoverError, LoadBalance, LogFormat, PoolMode, PrimaryReads, ReadConsistency, ReadWriteSplit, SslMode,
};
use Fallback::{Global, Is, Unset};
use Kind::{Boolean, Choice, Lag, List, Mode, Path, Secret, Servers, Size, Text};
use Reload::{Restart, Taken};

/// The three tables of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `[pgweir]`.
    Global,
    /// `[databases.NAME]`.
    Database,
    /// `[users.NAME]`.
    User,
}

/// One key of one table.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub default: Fallback,
    pub reload: Reload,
    pub doc: &'static str,
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

impl Table {
    /// The keys of this table, in the order of the documentation.
    pub fn keys(self) -> &'static [Key] {
        match self {
            Table::Global => GLOBAL,
            Table::Database => DATABASE,
            Table::User => USER,
        }
    }

    /// The key of that name, or of the alias that PgBouncer gives it.
    pub fn key(self, name: &str) -> Option<&'static Key> {
        let name = if self == Table::Database && name == "reserve_pool" { "reserve_pool_size" } else { name };
        self.keys().iter().find(|key| key.name == name)
    }

    /// PgBouncer has this key, and a file that carries it expects something that we do not do yet.
    pub(crate) fn is_later(self, name: &str) -> bool {
        match self {
            Table::Global => LATER_GLOBAL.contains(&name),
            Table::Database => LATER_DATABASE.contains(&name),
            Table::User => false,
        }
    }

    /// What the operator may have meant.
    pub(crate) fn nearest(self, name: &str) -> Option<&'static str> {
        nearest(name, self.keys().iter().map(|key| key.name))
    }
}

/// PgBouncer's TLS keys in OpenSSL's terms: accepted, and named in a warning unless they ask for the default.
pub(crate) fn is_openssl(name: &str) -> bool {
    OPENSSL.contains(&name)
}

/// Whether any table has a key of that name.
pub(crate) fn is_name(name: &str) -> bool {
    [Table::Global, Table::Database, Table::User].iter().any(|table| table.key(name).is_some())
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
    Key { name, kind, default, reload, doc }
}

const fn count(max: u64) -> Kind {
    Kind::Integer { min: 0, max }
}

const fn seconds(zero: Zero) -> Kind {
    Kind::Duration { bare: Bare::Seconds, zero }
}

/// Counts of connections and the like.
const COUNT: Kind = count(i32::MAX as u64);
const PORT: Kind = Kind::Integer { min: 1, max: u16::MAX as u64 };
const TIMEOUT: Kind = seconds(Zero::Off);
const DELAY: Kind = seconds(Zero::Plain);
const NONE: Fallback = Fallback::Is("\"\"");
const EVERY: Reload = Reload::Recycles("every server connection");
const OWN: Reload = Reload::Recycles("the database's server connections");
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
    key("workers", count(1024), Is("0"), Restart, "Runtime threads. 0: as many as there are cores."),

    key("auth_type", Choice(AuthType::WORDS), Is("\"md5\""), Taken,
        "How clients log in; md5 becomes SCRAM where the stored secret is one."),
    key("auth_file", Path, NONE, Taken, "Users and their secrets: lines of \"user\" \"secret\"."),
    key("auth_ident_file", Path, NONE, Taken, "Maps certificate names to users, as pg_ident.conf; auth_type cert uses the map named cert."),
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

    key("pool_mode", Choice(PoolMode::WORDS), Is("\"transaction\""), Taken, "When a server goes back to its pool."),
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

    key("server_reset_query", Text, Is("\"DISCARD ALL\""), Taken,
        "Sent when a session-mode client leaves its server. Empty: none."),
    key("server_lifetime", seconds(Zero::Plain), Is("\"1h\""), Taken,
        "Age at which an idle server is closed. 0: each is used once."),
    key("server_idle_timeout", TIMEOUT, Is("\"10m\""), Taken, "A server idle for longer is closed. 0: never."),
    key("server_connect_timeout", seconds(Zero::Refused), Is("\"15s\""), Taken,
        "Connect, TLS and login of a server, together."),
    key("server_login_retry", seconds(Zero::Refused), Is("\"1s\""), Taken,
        "The longest pause after a failed dial; it starts at 20 ms and doubles."),
    key("client_login_timeout", TIMEOUT, Is("\"60s\""), Taken, "A client's whole login. 0: no limit."),
    key("query_timeout", TIMEOUT, Is("0"), Taken, "A query that runs for longer loses its server. 0: no limit."),
    key("query_wait_timeout", TIMEOUT, Is("\"120s\""), Taken, "How long a client waits for a server. 0: for ever."),
    key("cancel_wait_timeout", TIMEOUT, Is("\"10s\""), Taken,
        "How long a cancel request waits for a connection. 0: for ever."),
    key("client_idle_timeout", TIMEOUT, Is("0"), Taken, "A client idle for longer is dropped. 0: never."),
    key("idle_transaction_timeout", TIMEOUT, Is("0"), Taken,
        "A client idle in a transaction for longer is dropped. 0: never."),
    key("transaction_timeout", TIMEOUT, Is("0"), Taken, "A client in a transaction for longer is dropped. 0: never."),
    key("shutdown_timeout", TIMEOUT, Is("\"8s\""), Taken, "How long SIGTERM waits for clients to leave. 0: for ever."),

    key("tcp_keepalive", Boolean, Is("true"), Taken, "TCP keepalive, on both sides."),
    key("tcp_keepcnt", count(127), Is("0"), Taken,
        "Probes without an answer before a connection is dead. 0: the system's."),
    key("tcp_keepidle", TIMEOUT, Is("0"), Taken, "Silence before the first probe. 0: the system's."),
    key("tcp_keepintvl", TIMEOUT, Is("0"), Taken, "Time between probes. 0: the system's."),
    key("tcp_user_timeout", Kind::Duration { bare: Bare::Milliseconds, zero: Zero::Off }, Is("\"30s\""), Taken,
        "Unacknowledged data this old breaks a connection. 0: the system's."),
    key("max_packet_size", Size { min: 1024, max: i32::MAX as u64 }, Is("2147483647"), Taken,
        "The largest message that a client may send."),

    key("ignore_startup_parameters", List, Is("[]"), Taken,
        "Startup parameters that clients send and that are passed over."),
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

    key("log_connections", Boolean, Is("true"), Taken, "Log logins."),
    key("log_disconnections", Boolean, Is("true"), Taken, "Log why clients and servers left."),
    key("log_pooler_errors", Boolean, Is("true"), Taken, "Log the errors that we send to clients."),
    key("log_format", Choice(LogFormat::WORDS), Is("\"text\""), Restart, "How a log line looks."),
    key("logfile", Path, NONE, Taken, "Log to this file, opened again at SIGHUP. Empty: standard error."),
    key("verbose", count(9), Is("0"), Taken, "More log: 1 or 2."),
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
    key("password", Secret, NONE, Taken, "That user's password. Empty: the one in auth_file."),
    key("password_file", Path, NONE, Taken, "A file that holds nothing but the password."),
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
    key("client_encoding", Text, NONE, Taken, "Set at the login of each new server connection. Empty: not set."),
    key("datestyle", Text, NONE, Taken, "As client_encoding."),
    key("timezone", Text, NONE, Taken, "As client_encoding."),
    key("application_name", Text, NONE, Taken, "As client_encoding."),
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
const LATER_GLOBAL: &[&str] = &[
    "admin_users", "application_name_add_host", "auth_dbname", "auth_hba_file", "auth_ldap_options", "auth_query",
    "auth_user", "autodb_idle_timeout", "conffile", "disable_pqexec", "dns_max_ttl", "dns_nxdomain_ttl",
    "dns_zone_check_period", "job_name", "log_stats", "login_notify_message", "peer_id", "pkt_buf",
    "pool_idle_timeout", "query_wait_notify", "resolv_conf", "sbuf_loopcnt", "scram_iterations",
    "server_check_delay", "server_check_query", "server_fast_close", "server_reset_query_always", "service_name",
    "stats_period", "stats_users", "suspend_timeout", "syslog", "syslog_facility", "syslog_ident",
    "tcp_defer_accept", "tcp_socket_buffer", "track_extra_parameters", "user",
];

const LATER_DATABASE: &[&str] = &["auth_dbname", "auth_query", "auth_user"];

#[rustfmt::skip]
const OPENSSL: &[&str] = &[
    "client_tls13_ciphers", "client_tls_ciphers", "client_tls_dheparams", "client_tls_ecdhcurve",
    "server_tls13_ciphers", "server_tls_ciphers",
];

#[cfg(test)]
mod tests {
    use super::super::toml::literal;
    use super::super::value;
    use super::*;

    const TABLES: [Table; 3] = [Table::Global, Table::Database, Table::User];

    #[test]
    fn every_default_is_of_its_keys_kind() {
        for key in TABLES.iter().flat_map(|table| table.keys()) {
            match key.default {
                Fallback::Is(text) => {
                    let written = literal(text).expect("TOML");
                    assert!(value::read(key.kind, &written).is_ok(), "{}", key.name);
                }
                Fallback::Global(name) => {
                    let global = Table::Global.key(name).expect("a global key");
                    assert_eq!(global.kind, key.kind, "{}", key.name);
                }
                Fallback::Unset => assert_eq!(key.name, "servers"),
            }
        }
    }

    #[test]
    fn names_are_unique_and_not_both_known_and_later() {
        for table in TABLES {
            for (at, key) in table.keys().iter().enumerate() {
                assert!(table.keys()[at + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
                assert!(!table.is_later(key.name) && !is_openssl(key.name), "{}", key.name);
            }
        }
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
        ];
        let ours = [&split[..], &rest[..]].concat();
        let theirs = GLOBAL.iter().filter(|key| !key.name.starts_with("probe_") && !ours.contains(&key.name)).count();
        // service_name exists on Windows only.
        assert_eq!(theirs + LATER_GLOBAL.len() - 1 + OPENSSL.len(), 100);
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

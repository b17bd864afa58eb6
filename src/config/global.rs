//! [pure] The row of `[pgweir]` into its checked type.

use super::build::{consistency, failover_error, listen_failover, pinning, pool_mode, primary_reads, split, word};
use super::read::{Reader, Row};
use super::words::{
    AuthType, ErrorCodes, FailoverError, ListenFailover, LogFormat, Pinning, PoolMode, PrimaryReads, ReadConsistency,
    ReadWriteSplit, SslMode, SyslogFacility,
};
use super::{Global, MaxLag, Probe, Reads, Tls};

/// Every key of `[pgweir]` has a default of its kind (a test says so), so that the fallbacks below are never seen.
pub(crate) fn global(reader: &mut Reader<'_>, row: &Row) -> Global {
    let number = |name: &str| row.integer(name).unwrap_or(0_usize);
    let small = |name: &str| row.integer(name).unwrap_or(0_u32);
    let duration = |name: &str| row.duration(name).unwrap_or_default();
    Global {
        listen_addr: row.list("listen_addr"),
        listen_port: row.integer("listen_port").unwrap_or(0),
        unix_socket_dir: row.text("unix_socket_dir"),
        unix_socket_mode: small("unix_socket_mode"),
        unix_socket_group: row.text("unix_socket_group"),
        listen_backlog: small("listen_backlog"),
        so_reuseport: row.boolean("so_reuseport"),
        peer_id: small("peer_id"),
        proxy_protocol_from: row.networks("proxy_protocol_from"),
        proxy_protocol_on: row.networks("proxy_protocol_on"),
        workers: number("workers"),
        auth_type: word(row, "auth_type", AuthType::from_word).unwrap_or(AuthType::Md5),
        auth_file: row.path("auth_file"),
        auth_ident_file: row.path("auth_ident_file"),
        auth_hba_file: row.path("auth_hba_file"),
        auth_user: row.text("auth_user"),
        auth_query: row.text("auth_query").unwrap_or_default(),
        auth_dbname: row.text("auth_dbname"),
        admin_users: row.list("admin_users"),
        stats_users: row.list("stats_users"),
        client_tls: tls(reader, row, "client"),
        server_tls: tls(reader, row, "server"),
        pool_mode: pool_mode(row).unwrap_or(PoolMode::Transaction),
        max_client_conn: number("max_client_conn"),
        default_pool_size: number("default_pool_size"),
        min_pool_size: number("min_pool_size"),
        reserve_pool_size: number("reserve_pool_size"),
        reserve_pool_timeout: duration("reserve_pool_timeout"),
        max_db_connections: number("max_db_connections"),
        max_user_connections: number("max_user_connections"),
        max_db_client_connections: number("max_db_client_connections"),
        max_user_client_connections: number("max_user_client_connections"),
        server_round_robin: row.boolean("server_round_robin"),
        max_prepared_statements: number("max_prepared_statements"),
        share_unnamed_after: small("share_unnamed_after"),
        server_reset_query: row.text("server_reset_query").unwrap_or_default(),
        server_reset_query_always: row.boolean("server_reset_query_always"),
        server_check_query: check_query(row),
        server_check_delay: duration("server_check_delay"),
        server_fast_close: row.boolean("server_fast_close"),
        server_lifetime: duration("server_lifetime"),
        server_idle_timeout: row.timeout("server_idle_timeout"),
        pool_idle_timeout: row.timeout("pool_idle_timeout"),
        autodb_idle_timeout: row.timeout("autodb_idle_timeout"),
        server_connect_timeout: duration("server_connect_timeout"),
        server_login_retry: duration("server_login_retry"),
        client_login_timeout: row.timeout("client_login_timeout"),
        query_timeout: row.timeout("query_timeout"),
        query_wait_timeout: row.timeout("query_wait_timeout"),
        query_wait_notify: row.timeout("query_wait_notify"),
        cancel_wait_timeout: row.timeout("cancel_wait_timeout"),
        client_idle_timeout: row.timeout("client_idle_timeout"),
        idle_transaction_timeout: row.timeout("idle_transaction_timeout"),
        transaction_timeout: row.timeout("transaction_timeout"),
        shutdown_timeout: row.timeout("shutdown_timeout"),
        tcp_keepalive: row.boolean("tcp_keepalive"),
        tcp_keepcnt: small("tcp_keepcnt"),
        tcp_keepidle: duration("tcp_keepidle"),
        tcp_keepintvl: duration("tcp_keepintvl"),
        tcp_user_timeout: duration("tcp_user_timeout"),
        max_packet_size: number("max_packet_size"),
        ignore_startup_parameters: row.list("ignore_startup_parameters"),
        application_name_add_host: row.boolean("application_name_add_host"),
        disable_pqexec: row.boolean("disable_pqexec"),
        login_notify_message: row.text("login_notify_message"),
        dns_max_ttl: duration("dns_max_ttl"),
        dns_nxdomain_ttl: duration("dns_nxdomain_ttl"),
        probe: probe(reader, row),
        probe_interval: duration("probe_interval"),
        probe_timeout: duration("probe_timeout"),
        probe_failures: small("probe_failures"),
        topology_state_file: row.path("topology_state_file"),
        reads: Reads {
            split: split(row).unwrap_or(ReadWriteSplit::Off),
            consistency: consistency(row).unwrap_or(ReadConsistency::Pool),
            wait: duration("read_wait"),
            max_staleness: row.timeout("max_staleness"),
            max_lag: row.lag("max_replica_lag").unwrap_or(MaxLag::Bytes(0)),
            deferred_begin: row.boolean("deferred_begin"),
            primary: primary_reads(row).unwrap_or(PrimaryReads::Fallback),
        },
        failover_error: failover_error(row).unwrap_or(FailoverError::RolledBack),
        failover_hold: match row.is_given("failover_hold") {
            true => row.timeout("failover_hold"),
            false => row.timeout("query_wait_timeout"),
        },
        max_held_clients: number("max_held_clients"),
        max_held_bytes: number("max_held_bytes"),
        listen_failover: listen_failover(row).unwrap_or(ListenFailover::Disconnect),
        pinning: pinning(row).unwrap_or(Pinning::Allow),
        pin_warn_after: row.timeout("pin_warn_after"),
        zone: row.text("zone"),
        log_connections: row.boolean("log_connections"),
        log_disconnections: row.boolean("log_disconnections"),
        log_pooler_errors: row.boolean("log_pooler_errors"),
        log_stats: row.boolean("log_stats"),
        stats_period: duration("stats_period"),
        error_codes: word(row, "error_codes", ErrorCodes::from_word).unwrap_or(ErrorCodes::Real),
        http_listen: row.text("http_listen"),
        suspend_timeout: row.timeout("suspend_timeout"),
        log_format: word(row, "log_format", LogFormat::from_word).unwrap_or(LogFormat::Text),
        logfile: row.path("logfile"),
        syslog: row.boolean("syslog"),
        syslog_ident: row.text("syslog_ident"),
        syslog_facility: word(row, "syslog_facility", SyslogFacility::from_word).unwrap_or(SyslogFacility::Daemon),
        verbose: small("verbose"),
        user: row.text("user"),
        pidfile: row.path("pidfile"),
    }
}

/// PgBouncer's word for an empty query.
fn check_query(row: &Row) -> Option<String> {
    let query = row.text("server_check_query")?;
    Some(if query == "<empty>" { String::new() } else { query })
}

fn tls(reader: &mut Reader<'_>, row: &Row, side: &str) -> Tls {
    let key = |name: &str| format!("{side}_tls_{name}");
    let mut tls = Tls {
        sslmode: word(row, &key("sslmode"), SslMode::from_word).unwrap_or(SslMode::Disable),
        key_file: row.path(&key("key_file")),
        cert_file: row.path(&key("cert_file")),
        ca_file: row.path(&key("ca_file")),
        tls12: false,
        tls13: false,
    };
    let protocols = key("protocols");
    for word in row.list(&protocols) {
        let (tls12, tls13, old) = match word.to_ascii_lowercase().as_str() {
            "secure" => (true, true, false),
            "all" | "legacy" => (true, true, true),
            "tlsv1.2" => (true, false, false),
            "tlsv1.3" => (false, true, false),
            "tlsv1.0" | "tlsv1.1" => (false, false, true),
            _ => {
                reader.blame(row, &protocols, format!("expected secure, tlsv1.2 or tlsv1.3; found {word:?}"));
                return tls;
            }
        };
        (tls.tls12, tls.tls13) = (tls.tls12 || tls12, tls.tls13 || tls13);
        if old {
            let text = format!("{word}: TLS 1.0 and 1.1 are never spoken");
            reader.warn(row.line_of(&protocols), &row.at(&protocols), text);
        }
    }
    if !(tls.tls12 || tls.tls13) && row.is_sound(&[&protocols]) {
        reader.blame(row, &protocols, "expected TLS 1.2 or 1.3 among the protocols; found neither");
    }
    tls
}

fn probe(reader: &mut Reader<'_>, row: &Row) -> Option<Probe> {
    let password = reader.secret(row, "probe_password", "probe_password_file");
    let dbname = row.text("probe_dbname");
    if let Some(user) = row.text("probe_user") {
        return Some(Probe { user, password, dbname });
    }
    let rest = ["probe_password", "probe_password_file", "probe_dbname"];
    let alone = rest.into_iter().find(|name| row.text(name).is_some());
    if let Some(name) = alone.filter(|_| row.is_sound(&["probe_user"])) {
        reader.blame(row, name, "expected `probe_user` beside it");
    }
    None
}

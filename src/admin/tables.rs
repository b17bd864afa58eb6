//! [pure] The tables of SHOW: their names, and their columns with names, order and types.
//!
//! PgBouncer's have its columns exactly, in the shape of 1.25: exporters read them by name, and some by their count.
//! What is ours beyond them has tables of its own.

use super::rows::{Column, Type};

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident $name:literal [$($column:ident: $of:ident),* $(,)?];)*) => {
        /// What SHOW may name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Show { $($(#[$doc])* $table,)* }

        impl Show {
            /// In the order of the documentation.
            pub const ALL: &'static [Show] = &[$(Show::$table,)*];

            /// As it is asked for, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(Show::$table => $name,)* }
            }

            pub const fn columns(self) -> &'static [Column] {
                match self {
                    $(Show::$table => &[$(Column { name: stringify!($column), of: tables!(@$of) },)*],)*
                }
            }
        }
    };
    (@bytes) => { Type::Bytes };
    (@int4) => { Type::Int4 };
    (@int8) => { Type::Int8 };
    (@numeric) => { Type::Numeric };
    (@text) => { Type::Text };
}

tables! {
    Help "help" [];
    Config "config" [key: text, value: text, default: text, changeable: text];
    Databases "databases" [
        name: text, host: text, port: int4, database: text, force_user: text, pool_size: int4, min_pool_size: int4,
        reserve_pool_size: int4, server_lifetime: int4, pool_mode: text, load_balance_hosts: text,
        max_connections: int4, current_connections: int4, max_client_connections: int4,
        current_client_connections: int4, paused: int4, disabled: int4,
    ];
    /// One row for each pair of database and user, summed over its servers.
    Pools "pools" [
        database: text, user: text, cl_active: int4, cl_waiting: int4, cl_active_cancel_req: int4,
        cl_waiting_cancel_req: int4, sv_active: int4, sv_active_cancel: int4, sv_being_canceled: int4, sv_idle: int4,
        sv_used: int4, sv_tested: int4, sv_login: int4, maxwait: int4, maxwait_us: int4, pool_mode: text,
        load_balance_hosts: text,
    ];
    Clients "clients" [
        type: text, user: text, database: text, replication: text, state: text, addr: text, port: int4,
        local_addr: text, local_port: int4, connect_time: text, request_time: text, wait: int4, wait_us: int4,
        close_needed: int4, ptr: text, link: text, remote_pid: int4, tls: text, application_name: text,
        prepared_statements: int4, id: int4,
    ];
    Servers "servers" [
        type: text, user: text, database: text, replication: text, state: text, addr: text, port: int4,
        local_addr: text, local_port: int4, connect_time: text, request_time: text, wait: int4, wait_us: int4,
        close_needed: int4, ptr: text, link: text, remote_pid: int4, tls: text, application_name: text,
        prepared_statements: int4, id: int4,
    ];
    Sockets "sockets" [
        type: text, user: text, database: text, replication: text, state: text, addr: text, port: int4,
        local_addr: text, local_port: int4, connect_time: text, request_time: text, wait: int4, wait_us: int4,
        close_needed: int4, ptr: text, link: text, remote_pid: int4, tls: text, application_name: text,
        prepared_statements: int4, id: int4, recv_pos: int4, pkt_pos: int4, pkt_remain: int4, send_pos: int4,
        send_remain: int4, pkt_avail: int4, send_avail: int4,
    ];
    ActiveSockets "active_sockets" [
        type: text, user: text, database: text, replication: text, state: text, addr: text, port: int4,
        local_addr: text, local_port: int4, connect_time: text, request_time: text, wait: int4, wait_us: int4,
        close_needed: int4, ptr: text, link: text, remote_pid: int4, tls: text, application_name: text,
        prepared_statements: int4, id: int4, recv_pos: int4, pkt_pos: int4, pkt_remain: int4, send_pos: int4,
        send_remain: int4, pkt_avail: int4, send_avail: int4,
    ];
    Users "users" [
        name: text, pool_size: text, reserve_pool_size: text, pool_mode: text, max_user_connections: int4,
        current_connections: int4, max_user_client_connections: int4, current_client_connections: int4,
    ];
    Version "version" [version: text];
    State "state" [key: text, value: text];
    Lists "lists" [list: text, items: int4];
    Mem "mem" [name: text, size: int4, used: int4, free: int4, memtotal: int4];
    Stats "stats" [
        database: text, total_server_assignment_count: numeric, total_xact_count: numeric, total_query_count: numeric,
        total_received: numeric, total_sent: numeric, total_xact_time: numeric, total_query_time: numeric,
        total_wait_time: numeric, total_client_parse_count: numeric, total_server_parse_count: numeric,
        total_bind_count: numeric, avg_server_assignment_count: numeric, avg_xact_count: numeric,
        avg_query_count: numeric, avg_recv: numeric, avg_sent: numeric, avg_xact_time: numeric,
        avg_query_time: numeric, avg_wait_time: numeric, avg_client_parse_count: numeric,
        avg_server_parse_count: numeric, avg_bind_count: numeric,
    ];
    StatsTotals "stats_totals" [
        database: text, server_assignment_count: numeric, xact_count: numeric, query_count: numeric,
        bytes_received: numeric, bytes_sent: numeric, xact_time: numeric, query_time: numeric, wait_time: numeric,
        client_parse_count: numeric, server_parse_count: numeric, bind_count: numeric,
    ];
    StatsAverages "stats_averages" [
        database: text, server_assignment_count: numeric, xact_count: numeric, query_count: numeric,
        bytes_received: numeric, bytes_sent: numeric, xact_time: numeric, query_time: numeric, wait_time: numeric,
        client_parse_count: numeric, server_parse_count: numeric, bind_count: numeric,
    ];
    Totals "totals" [name: text, value: numeric];
    DnsHosts "dns_hosts" [hostname: text, ttl: int8, addrs: text];
    DnsZones "dns_zones" [zonename: text, serial: int8, count: int4];
    Peers "peers" [peer_id: int4, host: text, port: int4, pool_size: int4];
    PeerPools "peer_pools" [
        peer_id: int4, cl_active_cancel_req: int4, cl_waiting_cancel_req: int4, sv_active_cancel: int4, sv_login: int4,
    ];
    /// For administrators only, as in PgBouncer.
    Fds "fds" [
        fd: int4, task: text, user: text, database: text, addr: text, port: int4, cancel: int8, link: int4,
        client_encoding: text, std_strings: text, datestyle: text, timezone: text, password: text,
        scram_client_key: bytes, scram_server_key: bytes,
    ];
    /// Ours: what each server of a `servers` list is, by the last look at it.
    Topology "topology" [
        database: text, server: text, role: text, reason: text, serves_reads: int4, timeline: int8,
        system_identifier: text, major: int4, lag_bytes: int8, near: int4, failovers: int8,
    ];
    /// Ours: the rules of auth_hba_file that hold. For administrators only.
    Hba "hba" [file: text, line: int4, rule: text];
    /// Ours: where batches went, and why.
    Routes "routes" [database: text, user: text, reason: text, count: int8];
    /// Ours: why servers stay with their clients, now and since the start.
    Pins "pins" [database: text, user: text, reason: text, pinned: int4, total: int8];
    /// Ours: the clients whose server stays with them.
    Pinned "pinned" [
        id: int4, user: text, database: text, reason: text, since: text, state: text, addr: text, port: int4,
        remote_pid: int4, application_name: text, seconds: int8, long: int4,
    ];
    /// Ours: unnamed statements under shared names: uses, texts that became slower by it, uses that were refused by it.
    Shared "shared" [database: text, user: text, uses: int8, slower: int8, refused: int8];
    /// Ours: what clients wait for, now and since the start.
    Waits "waits" [
        database: text, user: text, reason: text, waiting: int4, total_count: int8, total_time: int8,
    ];
}

impl Show {
    /// The one of that name, in any case.
    pub fn named(name: &str) -> Option<Show> {
        Show::ALL.iter().copied().find(|show| show.name().eq_ignore_ascii_case(name))
    }

    /// Whether a user of stats_users may see it.
    pub fn is_for_stats(self) -> bool {
        !matches!(self, Show::Fds | Show::Hba)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_in_the_manual_with_its_columns() {
        const MANUAL: &str = include_str!("../../docs/console.md");
        let row = |name: &str| MANUAL.lines().find(|line| line.starts_with(&format!("| {name} |")));
        // These are described as those of another table.
        let like = [Show::Servers, Show::Sockets, Show::ActiveSockets, Show::StatsAverages];
        for show in Show::ALL.iter().filter(|show| **show != Show::Help) {
            let name = show.name().to_uppercase();
            let row = row(&name).unwrap_or_else(|| panic!("SHOW {name}"));
            for column in show.columns().iter().filter(|_| !like.contains(show)) {
                assert!(row.contains(&format!("`{}`", column.name)), "{name}.{}", column.name);
            }
        }
    }
}

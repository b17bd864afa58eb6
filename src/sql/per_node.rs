//! [pure] Which of PostgreSQL's own functions and views answer for the instance or the session that runs them.
//!
//! Volatility does not say it: `pg_backend_pid` and `pg_current_xact_id` are STABLE, `pg_walfile_name` is IMMUTABLE
//! and fails on a standby. A new major's functions are caught by their families' names.

/// Whether a function that is not volatile must run on the primary all the same. `builtin`: made by initdb.
pub(super) fn function(name: &[u8], builtin: bool) -> bool {
    const WORDS: [&[u8]; 5] = [b"connectby", b"current_setting", b"mxid_age", b"version", b"xpath_table"];
    let family = match (name, builtin) {
        (_, _) if WORDS.contains(&name) => true,
        ([b'p', b'g', b'_', stem @ ..], _) => backend(stem),
        (_, true) => {
            [&b"cursor_to"[..], b"inet_client", b"inet_server", b"txid_"].iter().any(|head| name.starts_with(head))
        }
        // They run SQL that is inside a string, or read the connection.
        (_, false) => [&b"crosstab"[..], b"dblink", b"ssl_"].iter().any(|head| name.starts_with(head)),
    };
    family || builtin && (contains(name, b"_to_xml") || contains(name, b"_snapshot"))
}

/// After `pg_`.
fn backend(stem: &[u8]) -> bool {
    const HEADS: [&[u8]; 39] = [
        b"available_",
        b"backend_",
        b"blocking_",
        b"conf_",
        b"config",
        b"control_",
        b"current_",
        b"cursor",
        b"export_",
        b"file",
        b"get_backend",
        b"get_multixact",
        b"get_process",
        b"get_replication",
        b"get_shmem",
        b"get_wait",
        b"get_wal",
        b"hba_",
        b"ident_",
        b"is_in_backup",
        b"is_in_recovery",
        b"is_wal",
        b"isolation",
        b"jit",
        b"last_",
        b"listening",
        b"lock",
        b"logdir",
        b"ls_",
        b"notification",
        b"postmaster_",
        b"prepared_",
        b"read_",
        b"replication_",
        b"safe_snapshot",
        b"show_",
        b"stat",
        b"tablespace_location",
        b"timezone_",
    ];
    const MORE: [&[u8]; 4] = [b"trigger_depth", b"walfile_", b"xact_", b"wal_replay"];
    HEADS.iter().chain(&MORE).any(|head| stem.starts_with(head))
        || stem.ends_with(b"_size")
        || contains(stem, b"snapshot")
        || contains(stem, b"recovery")
}

/// Whether a volatile function of PostgreSQL's own does no more than a standby may do as well.
pub(super) fn harmless(name: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] =
        [b"clock_timestamp", b"gen_random_uuid", b"random", b"random_normal", b"timeofday", b"uuidv4", b"uuidv7"];
    WORDS.contains(&name) || name.starts_with(b"pg_sleep")
}

/// Whether a relation shows what one instance counts. What stands on a function of [`function`]'s is found by that.
pub(super) fn relation(name: &[u8]) -> bool {
    name.starts_with(b"pg_stat")
}

fn contains(name: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(name, part).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_answer_for_their_instance() {
        for name in [
            "current_setting",
            "cursor_to_xml",
            "database_to_xml_and_xmlschema",
            "inet_client_port",
            "inet_server_addr",
            "pg_backend_pid",
            "pg_conf_load_time",
            "pg_control_system",
            "pg_current_snapshot",
            "pg_current_xact_id_if_assigned",
            "pg_database_size",
            "pg_get_replication_slots",
            "pg_get_wal_replay_pause_state",
            "pg_is_in_recovery",
            "pg_is_wal_replay_paused",
            "pg_last_wal_receive_lsn",
            "pg_last_xact_replay_timestamp",
            "pg_postmaster_start_time",
            "pg_replication_origin_oid",
            "pg_show_all_settings",
            "pg_snapshot_xip",
            "pg_stat_get_numscans",
            "pg_visible_in_snapshot",
            "pg_walfile_name_offset",
            "pg_xact_status",
            "query_to_xml",
            "txid_current",
            "version",
        ] {
            assert!(function(name.as_bytes(), true), "{name}");
        }
        for name in [
            "abs",
            "age",
            "count",
            "date_trunc",
            "format",
            "inet_merge",
            "inet_same_family",
            "lower",
            "now",
            "obj_description",
            "pg_get_viewdef",
            "pg_size_pretty",
            "pg_table_is_visible",
            "pg_typeof",
            "pg_wal_lsn_diff",
            "to_char",
            "xmlconcat",
            "has_table_privilege",
            "pg_my_temp_schema",
            "pg_get_expr",
            "pg_get_keywords",
            "pg_get_userbyid",
        ] {
            assert!(!function(name.as_bytes(), true), "{name}");
        }
        assert!(function(b"crosstab2", false) && function(b"pg_stat_statements", false));
        assert!(!function(b"take_snapshot", false) && !function(b"cursor_to", false));
    }
}

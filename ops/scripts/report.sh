# shellcheck shell=bash
# Checks of a primary and its standby, a line each: what check-replication.sh and verify-ha.sh share. Read after lib.sh;
# they set `primary`, `standby`, `slot` and `max_lag`.

failed=0
slot=${slot:-replica_slot_1} max_lag=${max_lag:-16777216}

ok() {
    printf 'OK    %-12s %s\n' "$1" "$2"
}

bad() {
    printf 'FAIL  %-12s %s\n' "$1" "$2"
    failed=$((failed + 1))
}

skip() {
    printf -- '-     %-12s %s\n' "$1" "$2"
}

conclude() {
    if [ "$failed" = 0 ]; then
        echo "all is well"
    else
        echo "$failed of the checks failed"
        exit 1
    fi
}

# `ask HOST:PORT TEXT`: one value of database postgres, or the first line of what went wrong and failure.
ask() {
    local said
    if said=$(sql "$1" postgres "$2" 2>&1); then
        echo "$said"
    else
        echo "${said%%$'\n'*}"
        return 1
    fi
}

# Sets primary and standby from SERVERS, by what the two say of themselves.
find_roles() {
    local at
    for at in ${SERVERS:-127.0.0.1:5432 127.0.0.1:5433}; do
        case $(ask "$at" 'SELECT pg_is_in_recovery()' || true) in
            f) primary=${primary:+$primary }$at ;;
            t) standby=${standby:+$standby }$at ;;
            *) bad server "$at does not answer" ;;
        esac
    done
    [[ $primary != *' '* ]] || bad primary "there are two: $primary"
    primary=${primary%% *} standby=${standby%% *}
}

# `check_role HOST:PORT f|t NAME`
check_role() {
    local said
    if [ -z "$1" ]; then
        bad "$3" "there is none"
    elif ! said=$(ask "$1" 'SELECT pg_is_in_recovery()'); then
        bad "$3" "$1: $said"
    elif [ "$said" != "$2" ]; then
        bad "$3" "$1 is $([ "$said" = t ] && echo "in recovery" || echo "not in recovery")"
    else
        ok "$3" "$1"
    fi
}

check_roles() {
    check_role "$primary" f primary
    check_role "$standby" t standby
}

check_streaming() {
    local said
    [ -n "$standby" ] || { bad streaming "there is no standby" && return; }
    said=$(ask "$standby" "SELECT status || ' from ' || sender_host || ':' || sender_port FROM pg_stat_wal_receiver") || true
    if [[ $said == streaming* ]]; then
        ok streaming "the standby is $said"
    else
        bad streaming "the standby receives nothing${said:+: $said}"
    fi
}

check_slot() {
    local said
    [ -n "$primary" ] || { bad slot "there is no primary" && return; }
    said=$(ask "$primary" "SELECT CASE WHEN active THEN 'active' ELSE 'inactive' END || ', WAL ' || coalesce(wal_status, 'none')
        FROM pg_replication_slots WHERE slot_name = '$slot'") || true
    case $said in
        'active, WAL reserved' | 'active, WAL extended') ok slot "$slot is $said" ;;
        '') bad slot "$primary has no slot $slot" ;;
        *) bad slot "$slot: $said" ;;
    esac
}

check_lag() {
    local said
    [ -n "$primary" ] || { bad lag "there is no primary" && return; }
    said=$(ask "$primary" "SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::bigint FROM pg_stat_replication
        WHERE state = 'streaming'") || true
    if ! [[ $said =~ ^[0-9]+$ ]]; then
        bad lag "no standby streams${said:+: $said}"
    elif [ "$said" -gt "$max_lag" ]; then
        bad lag "$said bytes behind, more than $max_lag"
    else
        ok lag "$said bytes behind"
    fi
}

#!/usr/bin/env bash
# Makes a stopped server, or an empty directory, a standby of the present primary. Run on the standby's machine, by the
# account that runs the server; start the server afterwards.
#
#   rebuild-replica.sh --data DIRECTORY --source HOST:PORT [--slot NAME] [--method auto|rewind|basebackup] [--discard]
#
#   --data DIRECTORY    the data directory. With basebackup, what it holds is moved to DIRECTORY.before-TIME
#   --source HOST:PORT  the primary
#   --slot NAME         its physical slot for this standby, made where it is not there (default: replica_slot_1)
#   --method METHOD     rewind: pg_rewind, which copies what differs; basebackup: a new copy of all; auto (the default):
#                       rewind, and basebackup where it cannot
#   --discard           remove what is replaced instead of keeping it beside the directory
#
# What the old server had committed beyond the promotion is lost with it: that is the point. With basebackup and without
# --discard it stays on disk, to be looked at.
#
# Who logs in: replicator, with PGPASSFILE or REPLICATION_PASSWORD_FILE. TLS_CA_FILE: the source must show a certificate that it signed.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

data='' source='' slot=replica_slot_1 method=auto discard=no
while [ $# != 0 ]; do
    case $1 in
        --data) data=$(value "$@") && shift 2 ;;
        --source) source=$(value "$@") && shift 2 ;;
        --slot) slot=$(value "$@") && shift 2 ;;
        --method) method=$(value "$@") && shift 2 ;;
        --discard) discard=yes && shift ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
[ -n "$data" ] || die "--data is missing"
[ -n "$source" ] || die "--source is missing"
[[ $method =~ ^(auto|rewind|basebackup)$ ]] || die "--method is auto, rewind or basebackup, not $method"
[[ $slot =~ ^[a-z0-9_]+$ ]] || die "--slot: $slot is no name of a slot (a-z, 0-9, _)"
[ "$(id -u)" != 0 ] || die "run it as the account that runs PostgreSQL, not as root"
data=${data%/}

export PGUSER=replicator
unset POSTGRES_PASSWORD_FILE
if [ -n "${REPLICATION_PASSWORD_FILE:-}" ] && [ -z "${PGPASSFILE:-}" ]; then
    PGPASSWORD=$(<"$REPLICATION_PASSWORD_FILE")
    export PGPASSWORD
fi
use_libpq

# A postmaster that lives holds its pid file; one that was killed leaves it, with a pid that is dead or another's.
running() {
    local pid
    pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || return 1
    [ "$(readlink "/proc/$pid/cwd" 2>/dev/null)" = "$(readlink -f "$data")" ]
}
! running || die "a server runs in $data: stop it first"

said=$(sql "$source" postgres 'SELECT pg_is_in_recovery()' 2>&1) || die "$source does not answer: $said"
[ "$said" = f ] || die "$source is a standby itself: name the primary"
[ -z "$(ls -A "$data" 2>/dev/null)" ] || [ -f "$data/PG_VERSION" ] || die "$data holds something else than a server's data"

# The slot first: from here on the primary keeps what the new standby will need.
sql "$source" postgres "SELECT pg_create_physical_replication_slot('$slot', true)
    WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '$slot')" >/dev/null
said=$(sql "$source" postgres "SELECT slot_type || CASE WHEN active THEN ' active' ELSE '' END
    FROM pg_replication_slots WHERE slot_name = '$slot'")
[ "$said" = physical ] || die "slot $slot of $source is $said: another standby uses it"

identifier() {
    LC_ALL=C pg pg_controldata "$1" | sed -n 's/^Database system identifier: *//p'
}

# pg_rewind compares control files, and a promotion stands in the source's only after its next checkpoint: until then the two look
# alike, and a server that has diverged would pass for one that has not.
wait_for_checkpoint() {
    local tries=60 said=''
    sql "$source" postgres CHECKPOINT >/dev/null 2>&1 || say "replicator may not CHECKPOINT on $source: waiting for one"
    until [ "$said" = t ]; do
        said=$(sql "$source" postgres "SELECT lpad(to_hex(timeline_id), 8, '0') = lower(left(pg_walfile_name(pg_current_wal_lsn()), 8))
            FROM pg_control_checkpoint()" 2>&1) || true
        [ "$said" != t ] || return 0
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { say "$source has made no checkpoint since its promotion: $said" && return 1; }
        sleep 1
    done
}

rewind() {
    [ -f "$data/PG_VERSION" ] || { say "$data is empty: nothing to rewind" && return 1; }
    local own theirs
    own=$(identifier "$data")
    theirs=$(sql "$source" postgres 'SELECT system_identifier FROM pg_control_system()')
    [ "$own" = "$theirs" ] || { say "$data is of another cluster ($own, not $theirs)" && return 1; }
    wait_for_checkpoint || return 1
    say "pg_rewind of $data from $source"
    # The settings name files of this machine; --restore-target-wal fetches what was archived and removed meanwhile.
    local archive=()
    ! grep -q '^restore_command' "$data/postgresql.conf" 2>/dev/null || archive=(--restore-target-wal)
    # A server that crashed recovers first: pg_rewind starts it in single-user mode for that.
    pg pg_rewind --target-pgdata "$data" "${archive[@]}" --write-recovery-conf \
        --source-server "host=$(host_of "$source") port=$(port_of "$source") user=$PGUSER dbname=postgres" || return 1
    # What --write-recovery-conf leaves out.
    echo "primary_slot_name = '$slot'" >>"$data/postgresql.auto.conf"
}

base_backup() {
    say "base backup of $source into $data"
    rm -rf "$data.new"
    pg pg_basebackup --pgdata "$data.new" --host "$(host_of "$source")" --port "$(port_of "$source")" --no-password \
        --wal-method stream --slot "$slot" --checkpoint fast --write-recovery-conf
    pg pg_verifybackup --quiet --no-parse-wal "$data.new"
    if [ -f "$data/PG_VERSION" ]; then
        if [ "$discard" = yes ]; then
            rm -rf "$data"
        else
            local old
            old=$data.before-$(stamp)
            mv "$data" "$old"
            say "what it held is in $old"
        fi
    fi
    # An empty directory, as a mount leaves it, cannot always be replaced.
    rmdir "$data" 2>/dev/null || true
    mv -T "$data.new" "$data"
}

# Of a server that is to be rewound, conf.d and postgresql.conf are its own; pg_rewind brings the source's.
keep=$(mktemp -d)
trap 'rm -rf "$keep"' EXIT
if [ -d "$data/conf.d" ]; then cp -a "$data/conf.d" "$keep/"; fi

case $method in
    rewind) rewind || die "pg_rewind was not possible" ;;
    basebackup) base_backup ;;
    auto) rewind || { say "pg_rewind was not possible" && base_backup; } ;;
esac
if [ -d "$keep/conf.d" ]; then rm -rf "$data/conf.d" && cp -a "$keep/conf.d" "$data/"; fi
touch "$data/standby.signal"
rm -f "$data/recovery.signal"
say "$data is a standby of $source by slot $slot: start it"

#!/usr/bin/env bash
# Brings a server back as it was at a moment: unpacks the base backup before it and replays archived WAL up to it, in a new
# data directory and on a port of its own. The servers that run are not touched; what the restored one says, dump and restore.
#
#   pitr-restore.sh --target-time TIME --data DIRECTORY [--port PORT] [--base FILE] [--dir DIRECTORY] [--no-start]
#
#   --target-time TIME   as "2026-01-31 14:05:00+00": everything that was committed before it, and nothing after. Without a
#                        zone the time is in UTC
#   --data DIRECTORY     the new data directory: not there yet, or empty
#   --port PORT          where the restored server listens, on 127.0.0.1 (default: 5499)
#   --base FILE          the base backup (default: the newest before TIME in --dir, fetched by UPLOAD_HOOK if it is not there)
#   --dir DIRECTORY      where base backups are (default: BACKUP_DIR)
#   --no-start           only prepare the directory
#
# Environment: WAL_ARCHIVE, UPLOAD_HOOK and PG_BINDIR, as for the servers. Run it as the account that runs PostgreSQL.
# The restored server archives nothing, and its pg_hba.conf lets in only local superusers by password.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/scripts/lib.sh
source "$here/lib.sh"

target='' data='' port=5499 base='' dir=${BACKUP_DIR:-} start=yes
while [ $# != 0 ]; do
    case $1 in
        --target-time) target=$(value "$@") && shift 2 ;;
        --data) data=$(value "$@") && shift 2 ;;
        --port) port=$(value "$@") && shift 2 ;;
        --base) base=$(value "$@") && shift 2 ;;
        --dir) dir=$(value "$@") && shift 2 ;;
        --no-start) start=no && shift ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
[ -n "$target" ] || die "--target-time is missing"
[ -n "$data" ] || die "--data is missing"
whole_number --port "$port"
[ -n "${WAL_ARCHIVE:-}" ] || die "WAL_ARCHIVE is not set"
[ "$(id -u)" != 0 ] || die "run it as the account that runs PostgreSQL, not as root"
[ -z "$(ls -A "$data" 2>/dev/null)" ] || die "$data is not empty: this never restores over anything"
need tar gzip sha256sum date
# Whole seconds decide which base backup; PostgreSQL gets the time as precise as it was given.
[[ $target =~ (Z|[+-][0-9]{2}(:?[0-9]{2})?)$ ]] || target="$target+00"
at=$(date -u -d "$target" +%s 2>/dev/null) || die "--target-time: $target is no time"
[ "$at" -le "$(date +%s)" ] || die "--target-time: $target has not come yet"

# The newest whose name says that it was begun before; whether it was finished before, PostgreSQL judges.
newest_before() {
    local name found=''
    while read -r name; do
        if [ "$(time_in "$name" || echo 9999999999)" -le "$at" ]; then found=$name; fi
    done < <({
        [ -z "$dir" ] || (cd "$dir" && compgen -G 'base-*.tar.gz') || true
        [ -z "${UPLOAD_HOOK:-}" ] || "$UPLOAD_HOOK" list base/ | sed 's|^base/||' | grep '\.tar\.gz$' || true
    } | sort -u)
    echo "$found"
}

fetched=''
trap '[ -z "$fetched" ] || rm -rf "$fetched"' EXIT
if [ -z "$base" ]; then
    name=$(newest_before)
    [ -n "$name" ] || die "there is no base backup from before $target"
    base=${dir:+$dir/}$name
    if ! [ -f "$base" ]; then
        fetched=$(mktemp -d)
        base=$fetched/$name
        hook get "base/$name" "$base"
        hook get "base/$name.sha256" "$base.sha256"
    fi
fi
[ -r "$base" ] || die "cannot read $base"
if [ -f "$base.sha256" ]; then
    (cd "$(dirname "$base")" && sha256sum --status --check "${base##*/}.sha256") || die "$base is not what base-backup.sh wrote: its checksum differs"
fi

say "unpacking $base into $data"
install -d -m 0700 "$data"
tar --extract --gzip --file "$base" --directory "$data"
pg pg_verifybackup --quiet --no-parse-wal "$data" || die "what $base holds differs from its manifest"
rm -f "$data/standby.signal" "$data/postmaster.opts"

quoted() {
    echo "'${1//\'/\'\'}'"
}

# Settings of the copied server name files of another machine and its archive: none of them is taken but what recovery needs as
# large as it was there, from the control file.
control() {
    LC_ALL=C pg pg_controldata "$data" | sed -n "s/^$1 setting: *//p"
}

: >"$data/postgresql.auto.conf"
cat >"$data/pg_hba.conf" <<HBA
local  all  all                scram-sha-256
host   all  all  127.0.0.1/32  scram-sha-256
HBA
cat >"$data/postgresql.conf" <<CONF
# Written by pitr-restore.sh, from $base
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = $(quoted "$data")
max_connections = $(control max_connections)
max_worker_processes = $(control max_worker_processes)
max_wal_senders = $(control max_wal_senders)
max_prepared_transactions = $(control max_prepared_xacts)
max_locks_per_transaction = $(control max_locks_per_xact)
archive_mode = off
restore_command = $(quoted "$here/restore-wal.sh \"%f\" \"%p\"")
recovery_target_time = $(quoted "$target")
recovery_target_inclusive = off
recovery_target_timeline = 'latest'
recovery_target_action = 'promote'
log_timezone = UTC
timezone = UTC
CONF
touch "$data/recovery.signal"
if [ "$start" = no ]; then
    say "$data is ready: start it with WAL_ARCHIVE set"
    exit
fi

# A target that the archive does not reach ends recovery with an error: better than a server of another moment.
log=$data/pitr.log
pg pg_ctl start --pgdata "$data" --log "$log" --wait --timeout 86400 --silent ||
    die "recovery did not reach $target: $(grep -m 1 -E 'FATAL|PANIC' "$log" || tail -n 3 "$log")"
until LC_ALL=C pg pg_controldata "$data" | grep -q 'cluster state: *in production'; do
    pg pg_ctl status --pgdata "$data" >/dev/null || die "recovery did not reach $target: $(grep -E 'FATAL|PANIC' "$log" | tail -n 1)"
    sleep 0.2
done
grep -q 'recovery stopping before commit\|recovery stopping before abort' "$log" ||
    say "nothing was committed in the archive after $target: this is its end"
say "as of $target, on 127.0.0.1:$port; log in $log; stop it with: pg_ctl stop -D $data"

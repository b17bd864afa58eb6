#!/usr/bin/env bash
# Looks at the whole stack as an operator would, from outside: a line for each check, and exit code 1 if one failed. It
# writes one row (into ops.verify, of the applications' database, by way of the proxy) and removes it.
#
#   verify-ha.sh [--primary HOST:PORT] [--standby HOST:PORT] [--proxy HOST:PORT] [--database NAME] [--slot NAME]
#                [--max-lag BYTES] [--metrics URL] [--max-backup-age HOURS] [--backup-dir DIRECTORY] [--no-tls]
#
#   --primary, --standby     default: whichever is which of 127.0.0.1:5432 and 127.0.0.1:5433 (SERVERS="A B" names others)
#   --proxy HOST:PORT        pgweir (default: 127.0.0.1:6432)
#   --database NAME          the applications' database (default: suggar_daddy)
#   --slot NAME              the standby's slot (default: replica_slot_1)
#   --max-lag BYTES          how far replay may be behind (default: 16777216)
#   --metrics URL            pgweir's metrics (default: http://127.0.0.1:9632/metrics; "" leaves the check out)
#   --max-backup-age HOURS   how old the last dump and the last base backup may be (default: 26; 0 leaves the checks out)
#   --backup-dir DIRECTORY   look for their files there as well
#   --no-tls                 servers and proxy without TLS are well
#
# Who logs in: PGUSER (default postgres), which has to be able to write, to servers and proxy alike.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/scripts/lib.sh
source "$here/lib.sh"
# shellcheck source=ops/scripts/report.sh
source "$here/report.sh"

primary='' standby='' proxy=127.0.0.1:6432 database=suggar_daddy slot=replica_slot_1 max_lag=16777216
metrics=http://127.0.0.1:9632/metrics max_age=26 backup_dir='' tls=yes
while [ $# != 0 ]; do
    case $1 in
        --primary) primary=$(value "$@") && shift 2 ;;
        --standby) standby=$(value "$@") && shift 2 ;;
        --proxy) proxy=$(value "$@") && shift 2 ;;
        --database) database=$(value "$@") && shift 2 ;;
        --slot) slot=$(value "$@") && shift 2 ;;
        --max-lag) max_lag=$(value "$@") && shift 2 ;;
        --metrics) metrics=$(value "$@") && shift 2 ;;
        --max-backup-age) max_age=$(value "$@") && shift 2 ;;
        --backup-dir) backup_dir=$(value "$@") && shift 2 ;;
        --no-tls) tls=no && shift ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
whole_number --max-lag "$max_lag"
whole_number --max-backup-age "$max_age"
use_libpq

# A row that the proxy was given and the standby shows.
check_write() {
    local token said
    token=$(stamp)-$$-$RANDOM
    said=$(sql "$proxy" "$database" "CREATE SCHEMA IF NOT EXISTS ops; CREATE TABLE IF NOT EXISTS ops.verify (token text PRIMARY KEY);
        INSERT INTO ops.verify VALUES ('$token')" 2>&1 >/dev/null) || { bad write "by the proxy: ${said%%$'\n'*}" && return; }
    ok write "the proxy took one"
    seen_on_standby "$token"
    sql "$proxy" "$database" "DELETE FROM ops.verify WHERE token = '$token'" >/dev/null 2>&1 || bad write "the row cannot be removed"
}

seen_on_standby() {
    local said='' tries
    [ -n "$standby" ] || { bad replicated "there is no standby" && return; }
    for tries in {1..50}; do
        said=$(sql "$standby" "$database" "SELECT count(*) FROM ops.verify WHERE token = '$1'" 2>&1) || true
        [ "$said" != 1 ] || break
        sleep 0.1
    done
    if [ "$said" = 1 ]; then
        ok replicated "the standby shows it"
    else
        bad replicated "the standby does not show it after $((tries / 10)) s: ${said%%$'\n'*}"
    fi
}

# Where pgweir runs a statement, by its own words.
placed() {
    local said
    said=$(sql "$proxy" "$database" "$1" -c 'SET pgweir.explain = on' 2>&1 >/dev/null) || true
    grep -oE 'pgweir: .*' <<<"$said" | tail -n 1 | sed 's/^pgweir: //' | grep . || echo "${said%%$'\n'*}"
}

check_routing() {
    local tries where=''
    # Where check_write made its table, pgweir reads the catalog anew, and the primary serves meanwhile.
    for tries in {1..30}; do
        where=$(placed 'SELECT count(*) FROM ops.verify')
        [[ $where != 'standby '* ]] || break
        sleep 0.1
    done
    if [[ $where == 'standby '* ]]; then ok reads "$where"; else bad reads "not on the standby (asked $tries times): $where"; fi
    where=$(placed "DELETE FROM ops.verify WHERE token = 'nobody'")
    if [[ $where == 'primary '* ]]; then ok writes "$where"; else bad writes "not on the primary: $where"; fi
}

# `check_tls NAME HOST:PORT`: as a client that insists, and as one that refuses.
check_tls() {
    local said
    [ -n "$2" ] || return 0
    said=$(PGSSLMODE=${PGSSLMODE:-require} sql "$2" "$database" 'SELECT 1' 2>&1) || {
        bad tls "$1 $2: ${said%%$'\n'*}" && return
    }
    if PGSSLMODE=disable sql "$2" "$database" 'SELECT 1' >/dev/null 2>&1; then
        bad tls "$1 $2 lets clients in without TLS"
    else
        ok tls "$1 $2"
    fi
}

check_metrics() {
    local text up
    [ -n "$metrics" ] || return 0
    need curl
    text=$(curl --silent --show-error --fail --max-time 5 "$metrics" 2>&1) || { bad metrics "${text%%$'\n'*}" && return; }
    up=$(grep -cE '^pgweir_server_up\{.*\} 1(\.0)?$' <<<"$text" || true)
    if [ "$up" -ge 2 ]; then ok metrics "$up servers up"; else bad metrics "$up servers up, not 2"; fi
}

# `check_backup KIND GLOB`: by the log of backups, which is on the primary, and by the files.
check_backup() {
    local age file
    age=$(ask "$primary" "SELECT extract(epoch FROM now() - max(finished))::bigint FROM ops.backup WHERE kind = '$1'" || true)
    if ! [[ $age =~ ^[0-9]+$ ]]; then
        bad backup "no $1 was ever finished${age:+: $age}"
    elif [ "$age" -gt $((max_age * 3600)) ]; then
        bad backup "the last $1 is $((age / 3600)) hours old"
    elif [ -n "$backup_dir" ] && ! file=$(cd "$backup_dir" && compgen -G "$2" | sort | tail -n 1); then
        bad backup "no file of a $1 in $backup_dir"
    elif [ -n "$backup_dir" ] && ! (cd "$backup_dir" && sha256sum --status --check "$file.sha256"); then
        bad backup "$backup_dir/$file is not what was written"
    else
        ok backup "$1, $((age / 60)) minutes old"
    fi
}

# One that fails now and has succeeded before it failed last, or never.
check_archive() {
    local said
    said=$(ask "$primary" "SELECT CASE WHEN current_setting('archive_mode') = 'off' OR current_setting('archive_command') = 'true'
        THEN 'off' WHEN last_failed_time > coalesce(last_archived_time, '-infinity') THEN 'failing at ' || last_failed_wal
        ELSE 'last ' || coalesce(last_archived_wal, 'none yet') END FROM pg_stat_archiver") || true
    case $said in
        off) skip archive "no WAL is archived" ;;
        last*) ok archive "$said" ;;
        *) bad archive "$said" ;;
    esac
}

[ -n "$primary$standby" ] || find_roles
check_roles
check_streaming
check_slot
check_lag
check_write
check_routing
if [ "$tls" = yes ]; then
    check_tls primary "$primary"
    check_tls standby "$standby"
    check_tls proxy "$proxy"
fi
check_metrics
if [ -n "$primary" ]; then
    check_archive
    if [ "$max_age" != 0 ]; then
        check_backup dump '*.dump'
        check_backup base 'base-*.tar.gz'
    fi
fi
conclude

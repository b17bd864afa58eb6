#!/usr/bin/env bash
# Backs up once a day, for ever: what the backup container runs. On a machine with systemd or cron, let those start backup.sh
# and base-backup.sh instead.
#
#   backup-daily.sh [--at HH:MM] [--days N] [--now]
#   backup-daily.sh --check HOURS
#
#   --at HH:MM      when, in UTC (default: 02:00)
#   --days N        how long backups are kept (default: 7)
#   --now           one backup at once too, before the first night
#   --check HOURS   only looks: fails where the newest dump of BACKUP_DIR is older
#
# SERVERS="A B" names the pair: the standby is dumped and copied where there is one, and the primary told of it. POSTGRES_DB
# names the database (default: suggar_daddy). The rest of the environment is that of backup.sh and base-backup.sh.
# A backup that fails is tried again after ten minutes, up to five times.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/scripts/lib.sh
source "$here/lib.sh"
# shellcheck source=ops/scripts/report.sh
source "$here/report.sh"

at=02:00 days=7 now=no check='' primary='' standby=''
while [ $# != 0 ]; do
    case $1 in
        --at) at=$(value "$@") && shift 2 ;;
        --days) days=$(value "$@") && shift 2 ;;
        --now) now=yes && shift ;;
        --check) check=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
[[ $at =~ ^([01][0-9]|2[0-3]):[0-5][0-9]$ ]] || die "--at: $at is no time of day, as 02:00"
whole_number --days "$days"
[ -d "${BACKUP_DIR:-}" ] || die "BACKUP_DIR: ${BACKUP_DIR:-} is no directory"
database=${POSTGRES_DB:-suggar_daddy}

if [ -n "$check" ]; then
    whole_number --check "$check"
    newest=$(cd "$BACKUP_DIR" && compgen -G "$database-[0-9]*T[0-9]*Z.dump" | sort | tail -n 1) || die "no dump of $database"
    age=$(($(date +%s) - $(time_in "$newest")))
    [ "$age" -le $((check * 3600)) ] || die "$newest is $((age / 3600)) hours old"
    exit
fi
use_libpq

both() {
    primary='' standby=''
    find_roles
    [ -n "$primary" ] || { say "there is no primary" && return 1; }
    "$here/backup.sh" --server "${standby:-$primary}" --log-to "$primary" --database "$database" --days "$days" || return 1
    "$here/base-backup.sh" --server "${standby:-$primary}" --log-to "$primary" --days "$days"
}

back_up() {
    local tries
    for tries in 1 2 3 4 5; do
        if both; then return 0; fi
        say "try $tries failed"
        pause 600
    done
    say "no backup: gave up for this time"
}

# A signal ends the container at once, not at the end of a sleep.
pause() {
    sleep "$1" &
    wait $!
}
trap 'kill $(jobs -p) 2>/dev/null; exit 0' TERM INT

[ "$now" = no ] || back_up
while :; do
    next=$(date -u -d "$(date -u +%F) $at UTC" +%s)
    [ "$next" -gt "$(date +%s)" ] || next=$((next + 86400))
    say "the next backup is at $(date -u -d "@$next" '+%F %H:%M') UTC"
    pause $((next - $(date +%s)))
    back_up
done

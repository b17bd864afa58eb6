#!/usr/bin/env bash
# Copies a whole server, verifies the copy and packs it: what WAL from the archive is replayed on, by pitr-restore.sh. Then
# removes old ones, and the archived WAL that none of those kept needs.
#
#   base-backup.sh [--server HOST:PORT] [--dir DIRECTORY] [--days N] [--log-to HOST:PORT]
#
#   --server HOST:PORT   a primary or a standby (default: 127.0.0.1:5432)
#   --dir DIRECTORY      where they are kept (default: BACKUP_DIR). It takes the size of the server once, beside the result
#   --days N             older ones are removed, the newest never (default: 7): how far back pitr-restore.sh can go
#   --log-to HOST:PORT   where ops.backup is written: the primary (default: the server)
#
# Each is base-TIME.tar.gz, beside it its .sha256 and a .wal with the name of the first WAL file that it needs. TIME is when it was
# begun. WAL_ARCHIVE is the directory that is thinned out; UPLOAD_HOOK (see upload-dir.sh) is handed the files as base/FILE, and told
# to delete what is removed.
# Who logs in: replicator, with PGPASSFILE or REPLICATION_PASSWORD_FILE; for the log of backups PGUSER (default postgres).
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

server=127.0.0.1:5432 dir=${BACKUP_DIR:-} days=7 log_to=''
while [ $# != 0 ]; do
    case $1 in
        --server) server=$(value "$@") && shift 2 ;;
        --dir) dir=$(value "$@") && shift 2 ;;
        --days) days=$(value "$@") && shift 2 ;;
        --log-to) log_to=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
[ -n "$dir" ] || die "--dir or BACKUP_DIR names the directory"
[ -d "$dir" ] || die "$dir is no directory"
whole_number --days "$days"
need tar gzip sha256sum sync
use_libpq
umask 077
only_one "$dir/.base-backup.lock"
name=base-$(stamp)
work=$dir/.$name.new
rm -rf "$dir"/.base-*.new "$dir"/.base-*.new.tar.gz
trap 'rm -rf "$work" "$work.tar.gz"' EXIT

as_replicator() {
    if [ -n "${REPLICATION_PASSWORD_FILE:-}" ] && [ -z "${PGPASSFILE:-}" ]; then
        PGPASSWORD=$(<"$REPLICATION_PASSWORD_FILE") pg "$@"
    else
        pg "$@"
    fi
}

as_replicator pg_basebackup --pgdata "$work" --host "$(host_of "$server")" --port "$(port_of "$server")" --username replicator \
    --no-password --wal-method stream --checkpoint fast --manifest-checksums SHA256 --label "$name" ||
    die "pg_basebackup of $server failed; nothing was kept"
pg pg_verifybackup --quiet "$work" || die "the copy differs from its manifest"
first_wal=$(sed -nE 's/^START WAL LOCATION: .*\(file ([0-9A-F]{24})\)$/\1/p' "$work/backup_label")
[ -n "$first_wal" ] || die "the copy's backup_label does not tell its first WAL file"

tar --create --gzip --file "$work.tar.gz" --directory "$work" .
gzip --test "$work.tar.gz"
file=$name.tar.gz
echo "$first_wal" >"$dir/$name.wal"
printf '%s  %s\n' "$(sha256sum <"$work.tar.gz" | cut -d ' ' -f 1)" "$file" >"$dir/$file.sha256"
sync "$work.tar.gz" "$dir/$name.wal" "$dir/$file.sha256"
mv "$work.tar.gz" "$dir/$file"
sync "$dir"
for part in "$name.wal" "$file.sha256" "$file"; do
    hook put "$dir/$part" "base/$part"
done
bytes=$(stat -c %s "$dir/$file")
sql "${log_to:-$server}" postgres "INSERT INTO ops.backup (kind, file, bytes) VALUES ('base', '$file', $bytes)" >/dev/null ||
    say "the backup is good, but ops.backup of ${log_to:-$server} does not tell of it: its age will raise an alert"
say "$dir/$file: $bytes bytes, needs WAL from $first_wal"

while read -r old; do
    for part in "$old" "$old.sha256" "${old%.tar.gz}.wal"; do
        rm -f "$dir/$part"
        hook delete "base/$part"
    done
    say "removed $old, older than $days days"
done < <(expired "$dir" 'base-*.tar.gz' "$days")

# WAL before the oldest base backup that is kept serves nobody. pg_archivecleanup judges names without their timeline and
# keeps histories, as it should.
if [ -n "${WAL_ARCHIVE:-}" ]; then
    oldest=$(cd "$dir" && cat base-*.wal | cut -c 9-24 | sort | head -n 1)
    needed=$(cat "$dir"/base-*.wal | grep "$oldest\$" | head -n 1)
    while read -r old; do
        hook delete "wal/${old##*/}"
        rm -f "$old"
    done < <(pg pg_archivecleanup -n "$WAL_ARCHIVE" "$needed")
    # The small files that mark a backup's begin are passed over by it.
    while read -r old; do
        [[ ${old:8:16} < ${needed:8:16} ]] || continue
        hook delete "wal/$old"
        rm -f "$WAL_ARCHIVE/$old"
    done < <(find "$WAL_ARCHIVE" -maxdepth 1 -name '*.backup' -printf '%f\n')
fi

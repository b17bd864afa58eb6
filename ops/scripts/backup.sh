#!/usr/bin/env bash
# Dumps a database, compressed, makes sure that the dump can be read, and removes old ones.
#
#   backup.sh [--server HOST:PORT] [--database NAME]… [--dir DIRECTORY] [--days N] [--log-to HOST:PORT]
#
#   --server HOST:PORT   what to dump (default: 127.0.0.1:5432). A standby spares the primary; there a dump longer than
#                        max_standby_streaming_delay may be cancelled by replay
#   --database NAME      may stand several times (default: suggar_daddy)
#   --dir DIRECTORY      where they are kept (default: BACKUP_DIR)
#   --days N             older ones are removed, the newest of each database never (default: 7)
#   --log-to HOST:PORT   where ops.backup is written: the primary, or pgweir (default: the server)
#
# Each dump is NAME-TIME.dump (pg_restore reads it), beside it its .sha256; roles and tablespaces are in
# globals-TIME.sql.gz, verifiers of passwords included: all files are readable by their owner alone.
# UPLOAD_HOOK (see upload-dir.sh) is handed each as dump/FILE, and told to delete what is removed.
# Who logs in: PGUSER (default postgres), a superuser for the sake of globals.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

server=127.0.0.1:5432 databases=() dir=${BACKUP_DIR:-} days=7 log_to=''
while [ $# != 0 ]; do
    case $1 in
        --server) server=$(value "$@") && shift 2 ;;
        --database) databases+=("$(value "$@")") && shift 2 ;;
        --dir) dir=$(value "$@") && shift 2 ;;
        --days) days=$(value "$@") && shift 2 ;;
        --log-to) log_to=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
[ ${#databases[@]} != 0 ] || databases=(suggar_daddy)
[ -n "$dir" ] || die "--dir or BACKUP_DIR names the directory"
[ -d "$dir" ] || die "$dir is no directory"
whole_number --days "$days"
need sha256sum gzip sync
use_libpq
umask 077
host=$(host_of "$server") port=$(port_of "$server")
only_one "$dir/.backup.lock"
rm -f "$dir"/.*.new

# `keep FILE`: under its name only when it is whole and on disk.
keep() {
    local file=$1
    printf '%s  %s\n' "$(sha256sum <"$dir/.$file.new" | cut -d ' ' -f 1)" "$file" >"$dir/$file.sha256"
    sync "$dir/.$file.new" "$dir/$file.sha256"
    mv "$dir/.$file.new" "$dir/$file"
    sync "$dir"
    hook put "$dir/$file" "dump/$file"
    hook put "$dir/$file.sha256" "dump/$file.sha256"
}

record() {
    local file=$1
    sql "${log_to:-$server}" postgres "INSERT INTO ops.backup (kind, file, bytes) VALUES ('dump', '${file//\'/\'\'}', $2)" >/dev/null ||
        say "the backup is good, but ops.backup of ${log_to:-$server} does not tell of it: its age will raise an alert"
}

dump() {
    local database=$1 file new tables
    [[ $database != *[/\\]* && $database != .* ]] || die "the name $database cannot be a file's"
    file=$database-$(stamp).dump
    new=$dir/.$file.new
    pg pg_dump --host "$host" --port "$port" --no-password --dbname "dbname=${database//[\'\\ ]/\\&}" --format custom \
        --compress 6 --file "$new" || die "pg_dump of $database from $server failed; nothing was kept"
    # The list shows that the table of contents is whole, the restore into nothing that every block can be unpacked.
    tables=$(pg pg_restore --list "$new" | grep -c ' TABLE DATA ' || true)
    pg pg_restore --file /dev/null "$new" || die "the dump of $database cannot be read back"
    keep "$file"
    record "$file" "$(stat -c %s "$dir/$file")"
    say "$dir/$file: $(stat -c %s "$dir/$file") bytes, $tables tables"
}

globals() {
    local file
    file=globals-$(stamp).sql.gz
    pg pg_dumpall --host "$host" --port "$port" --no-password --globals-only | gzip >"$dir/.$file.new"
    zgrep -q '^CREATE ROLE' "$dir/.$file.new" || die "the dump of roles is empty"
    keep "$file"
}

remove_old() {
    local file
    while read -r file; do
        rm -f "$dir/$file" "$dir/$file.sha256"
        hook delete "dump/$file"
        hook delete "dump/$file.sha256"
        say "removed $file, older than $days days"
    done < <(expired "$dir" "$1" "$days")
}

globals
for database in "${databases[@]}"; do
    dump "$database"
    remove_old "${database//[*?[]/\\&}-[0-9]*T[0-9]*Z.dump"
done
remove_old 'globals-*.sql.gz'

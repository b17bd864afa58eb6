#!/usr/bin/env bash
# Restores a dump of backup.sh into a database of its own, and only when asked in plain words in place of another.
#
#   restore.sh FILE [--server HOST:PORT] [--database NAME] [--replace NAME] [--jobs N]
#
#   FILE                 DATABASE-TIME.dump; its .sha256, if there is one, must agree
#   --server HOST:PORT   the primary itself, not the proxy (default: 127.0.0.1:5432)
#   --database NAME      a new database, or one that holds nothing (default: DATABASE_restored_TIME)
#   --replace NAME       in place of the database NAME: restored beside it first; then NAME's connections are ended, it is
#                        renamed NAME_before_TIME, and the new one gets its name. Nothing is dropped
#   --jobs N             that many at a time (default: 2)
#
# Roles are not in a dump: where they are missing, `zcat globals-TIME.sql.gz | psql` makes them first.
# Who logs in: PGUSER (default postgres), a superuser.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

file='' server=127.0.0.1:5432 database='' replace='' jobs=2
while [ $# != 0 ]; do
    case $1 in
        --server) server=$(value "$@") && shift 2 ;;
        --database) database=$(value "$@") && shift 2 ;;
        --replace) replace=$(value "$@") && shift 2 ;;
        --jobs) jobs=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        -*) wrong "$1" ;;
        *) [ -z "$file" ] || die "one FILE at a time"
            file=$1 && shift ;;
    esac
done
[ -n "$file" ] || die "name a dump (--help)"
[ -r "$file" ] || die "cannot read $file"
[ -z "$database" ] || [ -z "$replace" ] || die "--database and --replace exclude each other"
whole_number --jobs "$jobs"
use_libpq
now=$(stamp)
host=$(host_of "$server") port=$(port_of "$server")

name=${file##*/}
if [ -f "$file.sha256" ]; then
    (cd "$(dirname "$file")" && sha256sum --status --check "$name.sha256") || die "$file is not what backup.sh wrote: its checksum differs"
else
    say "$file.sha256 is not there: the checksum is not compared"
fi
pg pg_restore --list "$file" >/dev/null || die "$file is no dump that pg_restore can read"
[ "$(sql "$server" postgres 'SELECT pg_is_in_recovery()')" = f ] || die "$server is a standby: name the primary"

literal() {
    echo "'${1//\'/\'\'}'"
}

exists() {
    [ "$(sql "$server" postgres "SELECT count(*) FROM pg_database WHERE datname = $(literal "$1")")" = 1 ]
}

# Tables, views, sequences, functions and types outside the system's schemas.
objects_in() {
    sql "$server" "$1" "SELECT count(*) FROM (SELECT relnamespace FROM pg_class UNION ALL SELECT pronamespace FROM pg_proc
        UNION ALL SELECT typnamespace FROM pg_type) AS o (namespace) JOIN pg_namespace n ON n.oid = o.namespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname NOT LIKE 'pg\_temp%'"
}

source_name=${name%-*T*Z.dump}
if [ -n "$replace" ]; then
    exists "$replace" || die "there is no database $replace to replace: use --database $replace"
    target=${replace}_restoring_$now
else
    target=${database:-${source_name}_restored_$now}
fi
if exists "$target"; then
    [ "$(objects_in "$target")" = 0 ] ||
        die "$target is not empty. Choose another name, or say --replace $target to put the dump in its place"
    made=no
else
    sql "$server" postgres "CREATE DATABASE \"${target//\"/\"\"}\" TEMPLATE template0" >/dev/null
    made=yes
fi

if ! pg pg_restore --host "$host" --port "$port" --no-password --dbname "dbname=${target//[\'\\ ]/\\&}" --exit-on-error --jobs "$jobs" "$file"; then
    [ "$made" = no ] || sql "$server" postgres "DROP DATABASE \"${target//\"/\"\"}\"" >/dev/null
    die "the restore failed; $([ "$made" = yes ] && echo "nothing is left of it" || echo "$target holds a part of it")"
fi
sql "$server" "$target" 'ANALYZE' >/dev/null

# Both renames or none; nobody may come in between.
swap() {
    local from="\"${replace//\"/\"\"}\"" old="\"${replace//\"/\"\"}_before_$now\"" new="\"${target//\"/\"\"}\""
    sql "$server" postgres "ALTER DATABASE $from ALLOW_CONNECTIONS false" >/dev/null
    sql "$server" postgres "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $(literal "$replace")" >/dev/null
    if ! sql "$server" postgres "BEGIN; ALTER DATABASE $from RENAME TO $old; ALTER DATABASE $new RENAME TO $from; COMMIT" >/dev/null; then
        sql "$server" postgres "ALTER DATABASE $from ALLOW_CONNECTIONS true" >/dev/null
        die "$replace could not be renamed; it is as it was, and the restored one is $target"
    fi
    sql "$server" postgres "ALTER DATABASE $old ALLOW_CONNECTIONS true" >/dev/null
    say "$replace is restored; what it was is ${replace}_before_$now"
}

if [ -n "$replace" ]; then swap; else say "restored into $target"; fi

#!/usr/bin/env bash
# Starts the server that begins as the primary: makes its data directory, roles and database the first time; afterwards
# starts whatever it has become, unless it would be a second primary.
#   ops/postgres/master/entrypoint.sh [serve]
#   ops/postgres/master/entrypoint.sh rebuild [--method rewind|basebackup]     make it the other server's standby, and end
# ../lib.sh has the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OPS=$(cd "$here/../.." && pwd)
NODE_NAME=${NODE_NAME:-postgres-master}
# shellcheck source=ops/postgres/lib.sh
source "$here/../lib.sh"

# A data directory is moved into place only when all of it is there: what a crash leaves is made anew.
make_primary() {
    local new=$PGDATA.new
    need MONITOR_PASSWORD_FILE PROBE_PASSWORD_FILE
    rm -rf "$new"
    say "making $PGDATA"
    # A data directory inherits no locale from whoever starts us first.
    pg initdb --pgdata "$new" --username "$SUPERUSER" --pwfile "$POSTGRES_PASSWORD_FILE" --data-checksums \
        --encoding UTF8 --locale C.UTF-8 --auth scram-sha-256 >/dev/null
    local final=$PGDATA
    PGDATA=$new write_settings "$here"
    # Nobody but us reaches it until it is complete.
    PGDATA=$new pg pg_ctl start --wait --silent --log "$new/init.log" -o "-c listen_addresses='' -c archive_mode=off" ||
        die "it does not start: $(tail -n 5 "$new/init.log")"
    "$OPS/scripts/init-master.sh" --host "$SOCKET_DIR" --port "$PGPORT" --database "$POSTGRES_DB" --slot "$SLOT"
    PGDATA=$new pg pg_ctl stop --wait --silent --mode fast
    rm "$new/init.log"
    mv "$new" "$final"
}

prepare "$@"
case ${1:-serve} in
    serve) ;;
    rebuild) shift && rebuild "$@" && exit ;;
    *) die "$1 is neither serve nor rebuild" ;;
esac
[ -f "$PGDATA/standby.signal" ] || yield_to_peer
[ -f "$PGDATA/PG_VERSION" ] || make_primary
serve "$here"

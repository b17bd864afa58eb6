#!/usr/bin/env bash
# Starts the server that begins as the standby: copies the primary the first time; afterwards starts whatever it has
# become, unless it would be a second primary.
#   ops/postgres/replica/entrypoint.sh [serve]
#   ops/postgres/replica/entrypoint.sh rebuild [--method rewind|basebackup]    make it the other server's standby, and end
# ../lib.sh has the environment.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OPS=$(cd "$here/../.." && pwd)
NODE_NAME=${NODE_NAME:-postgres-replica}
# shellcheck source=ops/postgres/lib.sh
source "$here/../lib.sh"

wait_for_primary() {
    local tries=${PEER_TRIES:-60} said
    until said=$(ask_peer 'SELECT pg_is_in_recovery()' 2>&1) && [ "$said" = f ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$PEER_HOST:$PEER_PORT is no primary that can be copied: $said"
        sleep 1
    done
}

prepare "$@"
case ${1:-serve} in
    serve) ;;
    rebuild) shift && rebuild "$@" && exit ;;
    *) die "$1 is neither serve nor rebuild" ;;
esac
if ! [ -f "$PGDATA/PG_VERSION" ]; then
    need PEER_HOST PEER_PORT
    wait_for_primary
    rebuild --method basebackup
fi
[ -f "$PGDATA/standby.signal" ] || yield_to_peer
serve "$here"

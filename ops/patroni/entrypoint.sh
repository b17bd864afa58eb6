#!/usr/bin/env bash
# Starts one server under Patroni: fills patroni.yml in and becomes Patroni. ../postgres/lib.sh has the environment, but for:
#
#   NODE_NAME   this server's name, by which the others reach it
#   ETCD        HOST:PORT of etcd, or several with commas
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OPS=$(cd "$here/.." && pwd)
export PGPORT=${PGPORT:-5432}
# shellcheck source=ops/postgres/lib.sh
source "$OPS/postgres/lib.sh"

need NODE_NAME ETCD PGDATA MONITOR_PASSWORD_FILE PROBE_PASSWORD_FILE TLS_CA_FILE
TLS_CERT_FILE=${TLS_CERT_FILE:-/certs/$NODE_NAME.crt} TLS_KEY_FILE=${TLS_KEY_FILE:-/certs/$NODE_NAME.key}
export NODE_NAME ETCD TLS_CERT_FILE TLS_KEY_FILE
prepare "$@"

# A value between single quotes, as YAML has them.
yaml() {
    printf "'%s'" "${1//\'/\'\'}"
}

# Each line that names variables becomes a quoted value. What a value holds is not looked at again.
fill_in() {
    local line text out
    while IFS= read -r line; do
        if [[ $line =~ ^(\ *[a-z_0-9-]+:\ )(.*\$\{.*)$ ]]; then
            printf '%s' "${BASH_REMATCH[1]}"
            text=${BASH_REMATCH[2]} out=
            while [[ $text =~ ^([^$]*)\$\{([A-Z_]+)\}(.*)$ ]]; do
                out+=${BASH_REMATCH[1]}${!BASH_REMATCH[2]} text=${BASH_REMATCH[3]}
            done
            yaml "$out$text"
            echo
        else
            printf '%s\n' "$line"
        fi
    done <"$here/patroni.yml"
}

PG_BINDIR=${PG_BINDIR:-$(dirname "$(command -v postgres)")}
export POSTGRES_PASSWORD REPLICATION_PASSWORD
POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE") REPLICATION_PASSWORD=$(<"$REPLICATION_PASSWORD_FILE")
conf=$HOME/patroni.yml
(umask 077 && fill_in >"$conf")
# They stand in the file; the server's children need not inherit them.
unset POSTGRES_PASSWORD REPLICATION_PASSWORD
exec patroni "$conf"

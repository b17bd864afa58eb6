#!/usr/bin/env bash
# Patroni's post_init: runs once, on the first primary, with a connection string of the superuser as its argument.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# Patroni makes slots by itself, one for each standby; the script's own would keep WAL for nobody.
PGPASSFILE=$HOME/patroni.init.pgpass
(umask 077 && printf '*:*:*:postgres:%s\n' "$(sed 's/[\\:]/\\&/g' "$POSTGRES_PASSWORD_FILE")" >"$PGPASSFILE")
export PGPASSFILE PGSSLMODE=prefer
unset TLS_CA_FILE
exec "$here/../scripts/init-master.sh" --host "${SOCKET_DIR:-/var/run/postgresql}" --port "${PGPORT:-5432}" \
    --database "${POSTGRES_DB:-suggar_daddy}" --slot ""

#!/usr/bin/env bash
# What the drill with Patroni needs beyond PostgreSQL: Patroni and etcd. Their Debian packages start services: neither is
# started, now or at the next boot. One that was installed before is left as it is.
#   ops/setup/patroni.sh
set -euo pipefail
here=$(dirname "$0")
PATH=$PATH:/usr/sbin:/sbin

missing=()
command -v patroni >/dev/null || missing+=(patroni)
command -v etcd >/dev/null || missing+=(etcd-server)
[ ${#missing[@]} != 0 ] || exit 0

exec "$here/quiet.sh" "patroni etcd" "${missing[@]}"

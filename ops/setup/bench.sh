#!/usr/bin/env bash
# What the comparison needs beyond PostgreSQL: HAProxy, PgBouncer (unless PGBOUNCER_BIN names one), OpenSSL and strace.
# Their Debian packages start services, PgBouncer's on port 6432: neither is started, now or at the next boot. One that
# was installed before is left as it is.
#   ops/setup/bench.sh
set -euo pipefail
here=$(dirname "$0")
PATH=$PATH:/usr/sbin:/sbin

missing=()
command -v haproxy >/dev/null || missing+=(haproxy)
[ -n "${PGBOUNCER_BIN-}" ] || command -v pgbouncer >/dev/null || missing+=(pgbouncer)
command -v openssl >/dev/null || missing+=(openssl)
command -v strace >/dev/null || missing+=(strace)
[ ${#missing[@]} != 0 ] || exit 0

# Only of what is installed now.
services=
for package in "${missing[@]}"; do
    case $package in haproxy | pgbouncer) services+=" $package" ;; esac
done
exec "$here/quiet.sh" "$services" "${missing[@]}"

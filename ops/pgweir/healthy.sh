#!/usr/bin/env bash
# Whether pgweir answers clients, asked in PostgreSQL's protocol (a GSSENCRequest, to which it says N): a container's health check, which needs no
# program but bash. That there is no primary is no fault of this process, so it is not asked.
#
#   healthy.sh [HOST:PORT]     (default: 127.0.0.1:6432)
set -euo pipefail

at=${1:-127.0.0.1:6432}
exec 3<>"/dev/tcp/${at%:*}/${at##*:}"
printf '\x00\x00\x00\x08\x04\xd2\x16\x30' >&3
IFS= read -r -N 1 -t 2 answer <&3
[ "$answer" = N ] || { echo "pgweir answers with something else" >&2; exit 1; }

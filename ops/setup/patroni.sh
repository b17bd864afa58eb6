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
for service in patroni etcd; do
    if command -v systemctl >/dev/null; then
        systemctl disable --quiet \$service || true
    elif command -v update-rc.d >/dev/null; then
        update-rc.d \$service disable || true
    fi
done"

#!/usr/bin/env bash
# Installs Debian packages whose services are not to be started, now or at the next boot.
#   ops/setup/quiet.sh "SERVICE…" PACKAGE…
set -euo pipefail
here=$(dirname "$0")
services=$1
shift

if ! command -v apt-get >/dev/null; then
    echo "Not a Debian machine: please install what these packages hold: $*" >&2
    exit 1
fi

echo "Installing from Debian: $*"
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
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $*
for service in $services; do
    if command -v systemctl >/dev/null; then
        systemctl disable --quiet \$service || true
    elif command -v update-rc.d >/dev/null; then
        update-rc.d \$service disable || true
    fi
done"

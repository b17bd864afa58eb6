#!/usr/bin/env bash
# Installs Debian packages.
#   ops/setup/apt.sh PACKAGE…
set -euo pipefail
here=$(dirname "$0")

if ! command -v apt-get >/dev/null; then
    echo "Not a Debian machine: please install what these packages hold: $*" >&2
    exit 1
fi

# An unreachable third repository is no reason to stop: the install tells whether Debian's own lists were found.
exec "$here/root.sh" "apt-get update || true
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $*"

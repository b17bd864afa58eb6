#!/usr/bin/env bash
# Installs PostgreSQL from Debian where no full set of server programs is found. No cluster is made by it: the demo
# makes its own, and Debian's `main` would take port 5432.
#   ops/setup/postgresql.sh [--contrib]     --contrib: pgbench and the extensions too
set -euo pipefail
here=$(dirname "$0")

needed=(postgres initdb pg_ctl pg_basebackup psql)
[ "${1-}" = --contrib ] && needed+=(pgbench)

full_set() {
    local name
    for name in "${needed[@]}"; do
        [ -x "$1/$name" ] || return 1
    done
}

# The same places as `demo::Binaries::find`.
found() {
    local dir
    local -a path
    IFS=: read -ra path <<<"$PATH"
    for dir in /usr/lib/postgresql/*/bin "${path[@]}" "$(pg_config --bindir 2>/dev/null || true)"; do
        if full_set "$dir"; then
            return 0
        fi
    done
    return 1
}

found && exit 0

packages=(postgresql)
[ "${1-}" = --contrib ] && packages+=(postgresql-contrib)
echo "Installing PostgreSQL from Debian: ${packages[*]}"

if compgen -G '/etc/postgresql/*/*/postgresql.conf' >/dev/null; then
    "$here/apt.sh" "${packages[@]}"
else
    conf=/etc/postgresql-common/createcluster.d/pgweir.conf
    "$here/root.sh" "mkdir -p ${conf%/*}
echo 'create_main_cluster = false' > $conf
apt-get update || true
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ${packages[*]} || failed=yes
rm $conf
test -z \"\${failed-}\""
fi

found || { echo "PostgreSQL was installed, but no directory holds all of: ${needed[*]}" >&2; exit 1; }

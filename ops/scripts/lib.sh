# shellcheck shell=bash
# What the scripts share: words to the operator, options, and how they reach servers.
#
# libpq's own variables say who logs in and how (PGUSER, PGPASSFILE, PGSSLMODE, …). Where they do not:
#   POSTGRES_PASSWORD_FILE  the password of PGUSER (default postgres)
#   TLS_CA_FILE             servers must show a certificate that it signed, for the name that they are asked by
#   PG_BINDIR               PostgreSQL's programs; empty: PATH

ME=${0##*/}

say() {
    echo "$ME: $*" >&2
}

die() {
    say "$*"
    exit 1
}

# The comment at the head of the script is its help.
usage() {
    sed -nE '2,/^[^#]/ { s/^# ?//p }' "$0"
}

# `wrong WORD`: an option that nobody knows.
wrong() {
    echo "$ME: $1 is not an option (--help lists them)" >&2
    exit 2
}

# `value OPTION VALUE…`: fails where an option stands last, without its value.
value() {
    [ $# -ge 2 ] || { echo "$ME: $1 takes a value" >&2; exit 2; }
    printf '%s' "$2"
}

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || die "$program is needed and not in PATH"
    done
}

pg() {
    local program=$1
    shift
    "${PG_BINDIR:+$PG_BINDIR/}$program" "$@"
}

host_of() {
    local host=${1%:*}
    host=${host#\[}
    echo "${host%\]}"
}

port_of() {
    local port=${1##*:}
    [[ $1 == *:* && $port =~ ^[0-9]+$ ]] || die "$1 is no HOST:PORT"
    echo "$port"
}

# Exports what libpq needs, once.
use_libpq() {
    export PGUSER=${PGUSER:-postgres} PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-5} PGAPPNAME=${PGAPPNAME:-$ME}
    if [ -z "${PGPASSWORD:-}${PGPASSFILE:-}" ] && [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        [ -r "$POSTGRES_PASSWORD_FILE" ] || die "POSTGRES_PASSWORD_FILE: cannot read $POSTGRES_PASSWORD_FILE"
        PGPASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
        export PGPASSWORD
    fi
    if [ -n "${TLS_CA_FILE:-}" ]; then
        export PGSSLMODE=${PGSSLMODE:-verify-full} PGSSLROOTCERT=${PGSSLROOTCERT:-$TLS_CA_FILE}
    fi
}

# `sql HOST:PORT DATABASE TEXT [psql's options]`: rows unaligned, without headers; fails at the first error.
sql() {
    local at=$1 database=$2 text=$3
    shift 3
    pg psql --no-psqlrc --no-password -qAtX --set ON_ERROR_STOP=1 --host "$(host_of "$at")" --port "$(port_of "$at")" \
        --dbname "$database" "$@" -c "$text"
}

# Seconds since 1970 of a name's time, as in shop-20260131T020000Z.dump.
time_in() {
    local t
    t=$(sed -nE 's/.*-([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z.*/\1-\2-\3 \4:\5:\6 UTC/p' <<<"$1")
    [ -n "$t" ] && date -u -d "$t" +%s
}

stamp() {
    date -u +%Y%m%dT%H%M%SZ
}

# `hook VERB ARGUMENT…`: hands a file on, where an UPLOAD_HOOK is set. See upload-dir.sh for what one must do.
hook() {
    [ -n "${UPLOAD_HOOK:-}" ] || return 0
    "$UPLOAD_HOOK" "$@" || die "the upload hook failed: $UPLOAD_HOOK $*"
}

# Waits for the lock of a kind of work: a backup that takes longer than its interval is not overtaken by the next.
only_one() {
    need flock
    exec 9>"$1"
    flock --nonblock 9 || die "another $ME holds $1"
}

# `expired DIRECTORY GLOB DAYS`: the files older than that by the time in their names, but never the newest one.
expired() {
    local dir=$1 glob=$2 days=$3 now file at newest
    now=$(date +%s)
    newest=$(cd "$dir" && compgen -G "$glob" | sort | tail -n 1) || return 0
    while read -r file; do
        at=$(time_in "$file") || continue
        [ "$file" = "$newest" ] || [ $((now - at)) -le $((days * 86400)) ] || echo "$file"
    done < <(cd "$dir" && compgen -G "$glob" | sort)
}

whole_number() {
    [[ $2 =~ ^[0-9]+$ ]] || { echo "$ME: $1 takes a whole number, not $2" >&2; exit 2; }
}

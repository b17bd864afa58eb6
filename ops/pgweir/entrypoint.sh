#!/usr/bin/env bash
# Writes pgweir's user list from secrets that are files, then becomes pgweir.
#
#   entrypoint.sh run CONFIG
#
#   USERS              who may log in: "NAME=FILE NAME=FILE…", each FILE with the password (default: postgres with
#                      POSTGRES_PASSWORD_FILE). Better: mount a user list of SCRAM verifiers and set USERLIST to it
#   USERLIST           a ready user list: nothing is written
#   PGWEIR_USERLIST    where it is written (default: /run/pgweir/userlist.txt); the config names it
set -euo pipefail

die() {
    echo "entrypoint.sh: $*" >&2
    exit 1
}

to=${PGWEIR_USERLIST:-/run/pgweir/userlist.txt}
if [ -n "${USERLIST:-}" ]; then
    [ -r "$USERLIST" ] || die "USERLIST: cannot read $USERLIST"
    cp "$USERLIST" "$to"
else
    users=${USERS:-}
    [ -n "$users" ] || users=postgres=${POSTGRES_PASSWORD_FILE:?a file with the password of postgres}
    umask 077
    : >"$to"
    for entry in $users; do
        name=${entry%%=*} file=${entry#*=}
        [ -r "$file" ] || die "the password of $name: cannot read $file"
        password=$(<"$file")
        [ -n "$password" ] || die "the password of $name: $file is empty"
        printf '"%s" "%s"\n' "${name//\"/\"\"}" "${password//\"/\"\"}" >>"$to"
    done
fi
exec pgweir "$@"

#!/usr/bin/env bash
# PostgreSQL's restore_command: fetches one WAL file from the archive.
#
#   restore_command = '…/restore-wal.sh "%f" "%p"'
#
# Environment (the postmaster's):
#   WAL_ARCHIVE   the directory
#   UPLOAD_HOOK   asked for what the directory has not: HOOK get wal/NAME FILE
#
# Fails where the file is nowhere, which tells PostgreSQL that the archive ends there.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in --help) usage && exit ;; esac
[ $# = 2 ] || die "takes the name of a WAL file and where to put it (--help)"
name=$1 path=$2
[ -n "${WAL_ARCHIVE:-}" ] || die "WAL_ARCHIVE is not set"
if [ -f "$WAL_ARCHIVE/$name" ]; then
    exec cp "$WAL_ARCHIVE/$name" "$path"
fi
# PostgreSQL asks for files that never were (the next segment, the next timeline's history): no word about it.
[ -n "${UPLOAD_HOOK:-}" ] && exec "$UPLOAD_HOOK" get "wal/$name" "$path" 2>/dev/null
exit 1

#!/usr/bin/env bash
# PostgreSQL's archive_command: copies one WAL file into the archive, whole and on disk, or fails.
#
#   archive_command = '…/archive-wal.sh "%p" "%f"'
#
# Environment (the postmaster's):
#   WAL_ARCHIVE   the directory; on another disk than the data, better on another machine. It must know hard links
#   UPLOAD_HOOK   a program that is handed each file too: HOOK put FILE wal/NAME (upload-dir.sh shows one). PostgreSQL
#                 keeps the file and tries again until it has succeeded, so it is called again for a file that it has
#
# A file that is there with other contents is never replaced: two servers that archive into one directory, or an old
# archive before a restored server, show here.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in --help) usage && exit ;; esac
[ $# = 2 ] || die "takes the path of a WAL file and its name (--help)"
path=$1 name=$2
[ -n "${WAL_ARCHIVE:-}" ] || die "WAL_ARCHIVE is not set"
[ -d "$WAL_ARCHIVE" ] || die "WAL_ARCHIVE: $WAL_ARCHIVE is no directory"
[[ $name =~ ^[0-9A-F]{8}([0-9A-F]{16}(\.partial|\.[0-9A-F]{8}\.backup)?|\.history)$ ]] || die "$name is no WAL file's name"
[ -f "$path" ] || die "$path is not there"

to=$WAL_ARCHIVE/$name
if ! [ -e "$to" ]; then
    new=$WAL_ARCHIVE/.$name.$$
    trap 'rm -f "$new"' EXIT
    cp "$path" "$new"
    sync "$new"
    # ln, unlike mv, never replaces; whoever comes second is judged below.
    ln "$new" "$to" 2>/dev/null || [ -e "$to" ] || die "cannot make $to"
    rm -f "$new"
    sync "$WAL_ARCHIVE"
fi
cmp -s "$path" "$to" || die "$to is there already, with other contents: does another server archive into $WAL_ARCHIVE?"
hook put "$to" "wal/$name"

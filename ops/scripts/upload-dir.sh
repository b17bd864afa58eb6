#!/usr/bin/env bash
# An upload hook that keeps files in another directory, as a mounted share. Also the example of what a hook must do.
#
#   UPLOAD_DIR=DIRECTORY upload-dir.sh put FILE NAME     keep FILE as NAME, whole or not at all; the same again is well
#   UPLOAD_DIR=DIRECTORY upload-dir.sh get NAME FILE     fetch it; fails where there is none
#   UPLOAD_DIR=DIRECTORY upload-dir.sh delete NAME       forget it; well where there is none
#   UPLOAD_DIR=DIRECTORY upload-dir.sh list PREFIX       the names that begin with PREFIX, a line each
#
# Names are wal/FILE, dump/FILE and base/FILE. Exit code 0 means that it is done, on disk; anything else: try again.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in --help) usage && exit ;; esac
[ -n "${UPLOAD_DIR:-}" ] || die "UPLOAD_DIR is not set"
[ -d "$UPLOAD_DIR" ] || die "UPLOAD_DIR: $UPLOAD_DIR is no directory"
[[ ${2:-}${3:-} != *..* ]] || die "a name must not hold .."

case ${1:-}:$# in
    put:3)
        to=$UPLOAD_DIR/$3
        mkdir -p "$(dirname "$to")"
        cp "$2" "$to.$$.new"
        sync "$to.$$.new"
        mv "$to.$$.new" "$to"
        ;;
    get:3) [ -f "$UPLOAD_DIR/$2" ] && cp "$UPLOAD_DIR/$2" "$3" ;;
    delete:2) rm -f "$UPLOAD_DIR/$2" ;;
    list:2) (cd "$UPLOAD_DIR" && find . -type f ! -name '*.new' -printf '%P\n') | grep "^$2" | sort || true ;;
    *) die "put FILE NAME, get NAME FILE, delete NAME or list PREFIX (--help)" ;;
esac

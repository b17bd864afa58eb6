#!/usr/bin/env bash
# Runs one shell text as root: at once, or by sudo; where neither may, prints it for somebody who may.
#   ops/setup/root.sh 'apt-get install …'
set -euo pipefail

text=$1

if [ "$(id -u)" = 0 ]; then
    exec sh -euc "$text"
fi

if command -v sudo >/dev/null; then
    # Without a terminal nobody can type a password.
    ask=()
    [ -t 0 ] || ask=(-n)
    if sudo "${ask[@]}" true; then
        exec sudo "${ask[@]}" sh -euc "$text"
    fi
fi

{
    echo "This needs root, once. Please run, then try again:"
    echo
    echo "$text"
} >&2
exit 1

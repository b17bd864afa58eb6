# Ends what a room started when its owner died without a word (SIGKILL).
# Standard input is a pipe that only the owner holds: it ends with him.
trap '' HUP INT TERM
room=$1

ours() {
    case $(readlink "/proc/$1/cwd") in "$room" | "$room"/*) return 0 ;; esac
    return 1
}

signal_all() {
    left=no
    for mark in "$room"/pids/*; do
        pid=${mark##*/}
        if ours "$pid"; then
            kill "-$1" "$pid"
            left=yes
        fi
    done
}

read -r _
[ -d "$room/pids" ] || exit 0
# A postmaster stops at once at QUIT and then heeds no TERM; others know TERM.
signal_all QUIT
signal_all TERM
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ "$left" = no ] && break
    sleep 0.3
    signal_all 0
done
signal_all KILL
rm -rf "$room"

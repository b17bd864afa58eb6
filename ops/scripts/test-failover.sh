#!/usr/bin/env bash
# A failover drill on the running stack: stops the primary, promotes the standby, watches pgweir follow while a client writes,
# counts what was acknowledged, makes the old primary a standby of the new one, and checks the whole again. The two servers have
# changed places afterwards; a second drill changes them back.
#
#   test-failover.sh --yes [--proxy HOST:PORT] [--database NAME] [--stop COMMAND] [--rebuild COMMAND] [--limit SECONDS]
#                    [-- OPTION…]
#
#   --yes               this interrupts writes for a moment: nothing is done without it
#   --proxy HOST:PORT   pgweir (default: 127.0.0.1:6432)
#   --database NAME     where the client writes (default: suggar_daddy; a table ops.drill, removed afterwards)
#   --stop COMMAND      stops the primary, told by PRIMARY (HOST:PORT) and SERVICE (default: docker compose stop "$SERVICE")
#   --rebuild COMMAND   makes it a standby and starts it (default: docker compose run --rm "$SERVICE" rebuild, then up)
#   --limit SECONDS     how long each step may take (default: 60)
#   -- OPTION…          for verify-ha.sh, which is run before and after
#
# SERVERS="A B" names the pair (default: 127.0.0.1:5432 127.0.0.1:5433). SERVICE is postgres-master for the first and
# postgres-replica for the second. Who logs in: PGUSER (default postgres), which must be allowed pg_promote().
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/scripts/lib.sh
source "$here/lib.sh"
# shellcheck source=ops/scripts/report.sh
source "$here/report.sh"

yes=no proxy=127.0.0.1:6432 database=suggar_daddy limit=60 verify=() primary='' standby=''
# shellcheck disable=SC2016 # expanded by the shell that runs it
stop='docker compose stop "$SERVICE"' rebuild='docker compose run --rm "$SERVICE" rebuild && docker compose up --detach "$SERVICE"'
while [ $# != 0 ]; do
    case $1 in
        --yes) yes=yes && shift ;;
        --proxy) proxy=$(value "$@") && shift 2 ;;
        --database) database=$(value "$@") && shift 2 ;;
        --stop) stop=$(value "$@") && shift 2 ;;
        --rebuild) rebuild=$(value "$@") && shift 2 ;;
        --limit) limit=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        --) shift && verify=("$@") && break ;;
        *) wrong "$1" ;;
    esac
done
whole_number --limit "$limit"
[ "$yes" = yes ] || die "this stops the primary of $proxy: say --yes"
use_libpq
export SERVERS=${SERVERS:-127.0.0.1:5432 127.0.0.1:5433}
work=$(mktemp -d)
writer=''

clean_up() {
    [ -z "$writer" ] || kill "$writer" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

step() {
    printf '== %s\n' "$*"
}

verify() {
    "$here/verify-ha.sh" --proxy "$proxy" --database "$database" "${verify[@]}"
}

# `within COMMAND…`: tries until it succeeds, for the limit.
within() {
    local end=$((SECONDS + limit))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# The operator's command, without what was set for this script's own psql.
operate() {
    env -u PGUSER -u PGPASSWORD -u PGAPPNAME -u PGSSLMODE -u PGSSLROOTCERT -u PGCONNECT_TIMEOUT bash -c "$1" </dev/null
}

# One statement each, numbered; a number is in `acknowledged` only once the proxy has said that it is committed. A write
# whose outcome is not known (08007) is tried again under the next number.
write_on() {
    local n=0
    while :; do
        n=$((n + 1))
        if PGCONNECT_TIMEOUT=$limit sql "$proxy" "$database" "INSERT INTO ops.drill (n) VALUES ($n)" >/dev/null 2>>"$work/refused"; then
            echo "$n $(date +%s%3N)" >>"$work/acknowledged"
        fi
        sleep 0.02
    done
}

writes_since() {
    [ "$(wc -l <"$work/acknowledged")" -gt "$1" ]
}

longest_pause() {
    awk 'NR > 1 && $2 - last > most { most = $2 - last } { last = $2 } END { print most + 0 }' "$work/acknowledged"
}

streams() {
    [ "$(ask "$standby" "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'" || true)" -ge 1 ] 2>/dev/null
}

step "before"
verify || die "the stack is not well: no drill now"
find_roles
if [ "$primary" = "${SERVERS%% *}" ]; then SERVICE=postgres-master; else SERVICE=postgres-replica; fi
PRIMARY=$primary
export PRIMARY SERVICE

sql "$proxy" "$database" 'CREATE SCHEMA IF NOT EXISTS ops; DROP TABLE IF EXISTS ops.drill; CREATE TABLE ops.drill (n bigint PRIMARY KEY)' >/dev/null 2>&1
: >"$work/acknowledged"
write_on &
writer=$!
within writes_since 10 || die "nothing can be written by way of $proxy: $(tail -n 1 "$work/refused")"

step "stopping the primary, $primary"
operate "$stop" || die "the primary could not be stopped"
step "promoting $standby"
[ "$(ask "$standby" "SELECT pg_promote(true, $limit)")" = t ] || die "$standby was not promoted within $limit s"
count=$(wc -l <"$work/acknowledged")
within writes_since $((count + 10)) || die "the proxy does not follow: no write within $limit s"
step "the proxy follows: the longest pause between two writes was $(longest_pause) ms"

step "making $primary a standby of $standby"
operate "$rebuild" || die "the old primary could not be rebuilt"
within streams || die "$primary does not stream from $standby after $limit s"
# A standby's new timeline shows to pgweir's monitor, which may not see more, with a restartpoint: it would come by itself.
sql "$standby" postgres CHECKPOINT >/dev/null
sql "$primary" postgres CHECKPOINT >/dev/null
kill "$writer"
wait "$writer" 2>/dev/null || true
writer=''

step "what was acknowledged"
cut -d ' ' -f 1 "$work/acknowledged" | sort >"$work/told"
sql "$standby" "$database" 'SELECT n FROM ops.drill' | sort >"$work/there"
lost=$(comm -23 "$work/told" "$work/there" | wc -l)
echo "$(wc -l <"$work/told") writes acknowledged, $lost of them lost, $(grep -c . "$work/refused" || true) lines of refusals"
sql "$proxy" "$database" 'DROP TABLE ops.drill' >/dev/null 2>&1

step "after"
verify || die "the stack is not well after the drill"
[ "$lost" = 0 ] || die "$lost acknowledged writes are lost"
step "$standby is primary, $primary its standby"

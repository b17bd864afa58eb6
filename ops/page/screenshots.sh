#!/usr/bin/env bash
# The status page in headless Chromium, in light and dark, before the servers of a demo under some load: a page that does
# not come to show its pools fails. Chromium is installed first where it is missing.
#   ops/page/screenshots.sh PGWEIR DIRECTORY     light.png and dark.png are there afterwards
set -euo pipefail
here=$(dirname "$0")
pgweir=$1
out=$2

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)
if [ -z "$browser" ]; then
    "$here/../setup/apt.sh" chromium fonts-dejavu-core
    browser=$(command -v chromium)
fi

work=$(mktemp -d)
mkdir -p "$out"
"$pgweir" demo --port-base "${PORT_BASE:-5432}" >"$work/demo" 2>&1 &
demo=$!
load=
finish() {
    [ -z "$load" ] || kill "$load" 2>/dev/null || true
    kill -INT "$demo" 2>/dev/null || true
    wait "$demo" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

for _ in $(seq 120); do
    ! grep -q 'Status page' "$work/demo" || break
    kill -0 "$demo" || { cat "$work/demo" >&2; exit 1; }
    sleep 0.5
done
url=$(sed -n 's/.*DATABASE_URL=//p' "$work/demo")
page=$(sed -n 's/.*Status page: //p' "$work/demo")

(
    while :; do
        psql -qAt "$url" -c 'SELECT count(*) FROM weir' -c 'BEGIN' -c 'SELECT pg_sleep(0.05)' -c 'COMMIT' -c 'LISTEN news' \
            >/dev/null 2>&1
    done
) &
load=$!
# Some samples for its lines.
sleep 12

show() {
    timeout 60 "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$work/profile-$1" \
        "--blink-settings=preferredColorScheme=$2" --window-size=1280,1400 --virtual-time-budget=6000 "${@:3}" "$page" \
        2>>"$work/browser"
}
show light 1 "--screenshot=$out/light.png" >/dev/null
show dark 0 "--screenshot=$out/dark.png" >/dev/null
show words 1 --dump-dom >"$work/words"
for part in '>ready<' 'suggar_daddy' '>primary' '>standby' '>listen<'; do
    grep -q -- "$part" "$work/words" || { echo "The page does not show $part" >&2; cat "$work/browser" >&2; exit 1; }
done
cmp -s "$out/light.png" "$out/dark.png" && { echo "Light and dark are the same" >&2; exit 1; }
echo "$out/light.png and $out/dark.png"

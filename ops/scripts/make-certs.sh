#!/usr/bin/env bash
# Makes a certificate authority and a certificate for each server: for a trial, or for a network without a CA of its own.
#
#   make-certs.sh DIRECTORY [--days N] [--renew] [NAME[=ALTERNATIVE,…]…]
#
#   DIRECTORY      gets ca.crt, ca.key, and NAME.crt and NAME.key of each name
#   --days N       how long the certificates hold (default: 825; the CA: ten years)
#   --renew        new certificates from the CA that is there; without it nothing is replaced
#   NAME           a host's name; it is in its certificate, with the alternatives (names or addresses) behind the =.
#                  Default: postgres-master postgres-replica pgweir, each also for localhost and 127.0.0.1
#
# Keys are of P-256 and readable by their owner alone. Keep ca.key elsewhere: whoever has it can be any of the servers.
# After --renew: SIGHUP for pgweir, `SELECT pg_reload_conf()` or a restart for the servers.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

dir='' days=825 renew=no names=()
while [ $# != 0 ]; do
    case $1 in
        --days) days=$(value "$@") && shift 2 ;;
        --renew) renew=yes && shift ;;
        --help) usage && exit ;;
        -*) wrong "$1" ;;
        *) if [ -z "$dir" ]; then dir=$1; else names+=("$1"); fi && shift ;;
    esac
done
[ -n "$dir" ] || die "name a directory (--help)"
whole_number --days "$days"
need openssl
if [ ${#names[@]} = 0 ]; then
    for name in postgres-master postgres-replica pgweir; do
        names+=("$name=localhost,127.0.0.1")
    done
fi
umask 077
mkdir -p "$dir"
cd "$dir"

quiet() {
    local said
    said=$("$@" 2>&1) || die "$*: $said"
}

if ! [ -f ca.crt ]; then
    quiet openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 3650 -keyout ca.key -out ca.crt \
        -subj "/CN=pgweir stack CA" -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign
    say "a new CA in $dir/ca.crt"
fi
[ -f ca.key ] || die "$dir/ca.key is not there: it signs the certificates"

alternatives() {
    local name
    for name in $1; do
        if [[ $name =~ ^[0-9.]+$ || $name == *:* ]]; then printf 'IP:%s,' "$name"; else printf 'DNS:%s,' "$name"; fi
    done
}

for entry in "${names[@]}"; do
    name=${entry%%=*}
    [[ $name =~ ^[A-Za-z0-9._-]+$ ]] || die "$name is no host's name"
    if [ -f "$name.crt" ] && [ "$renew" = no ]; then
        say "$name.crt is there already (--renew replaces it)"
        continue
    fi
    others=
    [[ $entry != *=* ]] || others=${entry#*=}
    list=$(alternatives "$name ${others//,/ }")
    quiet openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -keyout "$name.key.new" -out "$name.csr" \
        -subj "/CN=$name"
    quiet openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -sha256 -days "$days" -out "$name.crt.new" \
        -extfile <(printf 'subjectAltName=%s\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' "${list%,}")
    rm "$name.csr"
    mv "$name.key.new" "$name.key"
    mv "$name.crt.new" "$name.crt"
    chmod 644 "$name.crt"
    say "$name.crt for ${list%,}"
done
chmod 644 ca.crt

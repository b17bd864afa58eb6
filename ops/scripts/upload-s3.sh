#!/usr/bin/env bash
# An upload hook for storage that speaks S3, by curl alone. upload-dir.sh says what the verbs mean.
#
#   upload-s3.sh put FILE NAME | get NAME FILE | delete NAME | list PREFIX
#
#   S3_ENDPOINT           as https://s3.eu-central-1.amazonaws.com
#   S3_BUCKET             addressed by path
#   S3_REGION             (default: us-east-1)
#   S3_PREFIX             put before each name, as "prod/" (default: none)
#   S3_ACCESS_KEY_FILE    a file that holds ACCESS_KEY:SECRET_KEY and nothing else
#
# One request for each file: S3 takes no more than 5 GB in one. Switch versioning or object lock on at the other end: whoever
# has the key can delete.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in --help) usage && exit ;; esac
for name in S3_ENDPOINT S3_BUCKET S3_ACCESS_KEY_FILE; do
    [ -n "${!name:-}" ] || die "$name is not set"
done
[ -r "$S3_ACCESS_KEY_FILE" ] || die "S3_ACCESS_KEY_FILE: cannot read $S3_ACCESS_KEY_FILE"
need curl
bucket=${S3_ENDPOINT%/}/$S3_BUCKET prefix=${S3_PREFIX:-}

# The key goes by a pipe, never as an argument.
s3() {
    curl --silent --show-error --fail --retry 3 --connect-timeout 10 --aws-sigv4 "aws:amz:${S3_REGION:-us-east-1}:s3" \
        --config <(printf 'user = "%s"\n' "$(<"$S3_ACCESS_KEY_FILE")") "$@"
}

list() {
    local token='' page
    while :; do
        page=$(s3 --get --data-urlencode "list-type=2" --data-urlencode "prefix=$prefix$1" \
            ${token:+--data-urlencode "continuation-token=$token"} "$bucket")
        grep -oE '<Key>[^<]*' <<<"$page" | sed "s|^<Key>$prefix||" || true
        token=$(sed -nE 's|.*<NextContinuationToken>([^<]*)<.*|\1|p' <<<"$page")
        [ -n "$token" ] || break
    done
}

case ${1:-}:$# in
    put:3) s3 --output /dev/null --upload-file "$2" "$bucket/$prefix$3" ;;
    get:3)
        s3 --output "$3.$$.new" "$bucket/$prefix$2" || { rm -f "$3.$$.new" && exit 1; }
        mv "$3.$$.new" "$3"
        ;;
    delete:2) s3 --output /dev/null --request DELETE "$bucket/$prefix$2" ;;
    list:2) list "$2" ;;
    *) die "put FILE NAME, get NAME FILE, delete NAME or list PREFIX (--help)" ;;
esac

#!/usr/bin/env bash
# Looks at the replication of a pair and says whether it is well: a line for each check, and exit code 1 if one failed.
#
#   check-replication.sh [--primary HOST:PORT] [--standby HOST:PORT] [--slot NAME] [--max-lag BYTES]
#
#   --primary, --standby   default: whichever is which of 127.0.0.1:5432 and 127.0.0.1:5433 (SERVERS="A B" names others)
#   --slot NAME            the standby's slot (default: replica_slot_1)
#   --max-lag BYTES        how far replay may be behind (default: 16777216, one WAL segment)
#
# Who logs in: PGUSER (default postgres); a member of pg_read_all_stats suffices.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=ops/scripts/lib.sh
source "$here/lib.sh"
# shellcheck source=ops/scripts/report.sh
source "$here/report.sh"

primary='' standby='' slot=replica_slot_1 max_lag=16777216
while [ $# != 0 ]; do
    case $1 in
        --primary) primary=$(value "$@") && shift 2 ;;
        --standby) standby=$(value "$@") && shift 2 ;;
        --slot) slot=$(value "$@") && shift 2 ;;
        --max-lag) max_lag=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
whole_number --max-lag "$max_lag"
use_libpq
[ -n "$primary$standby" ] || find_roles
check_roles
check_streaming
check_slot
check_lag
conclude

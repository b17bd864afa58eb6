#!/usr/bin/env bash
# Makes a running primary ready for the stack: roles, the standby's slot, the applications' database, the log of backups.
# May be run again: what is there is brought up to date, passwords included.
#
#   init-master.sh [--host HOST] [--port PORT] [--database NAME] [--slot NAME]
#
#   --host HOST       a name, an address or a socket's directory (default: PGHOST, or 127.0.0.1)
#   --port PORT       (default: PGPORT, or 5432)
#   --database NAME   the applications' database (default: suggar_daddy)
#   --slot NAME       the standby's physical slot (default: replica_slot_1; empty: none, where something else makes slots)
#
# The roles, and the files that their passwords are read from:
#   replicator     REPLICATION_PASSWORD_FILE  streams WAL, copies the server, and reads files for pg_rewind
#   monitor        MONITOR_PASSWORD_FILE      pg_read_all_stats, for the exporters
#   pgweir_probe   PROBE_PASSWORD_FILE        LOGIN and nothing else: pgweir asks for the server's role
# Who logs in: PGUSER (default postgres), which must be a superuser.
set -euo pipefail
# shellcheck source=ops/scripts/lib.sh
source "$(dirname "$0")/lib.sh"

host=${PGHOST:-127.0.0.1} port=${PGPORT:-5432} database=suggar_daddy slot=replica_slot_1
while [ $# != 0 ]; do
    case $1 in
        --host) host=$(value "$@") && shift 2 ;;
        --port) port=$(value "$@") && shift 2 ;;
        --database) database=$(value "$@") && shift 2 ;;
        --slot) slot=$(value "$@") && shift 2 ;;
        --help) usage && exit ;;
        *) wrong "$1" ;;
    esac
done
for name in REPLICATION_PASSWORD_FILE MONITOR_PASSWORD_FILE PROBE_PASSWORD_FILE; do
    [ -n "${!name:-}" ] || die "$name is not set"
    [ -r "${!name}" ] || die "$name: cannot read ${!name}"
    [ -s "${!name}" ] || die "$name: ${!name} is empty"
done
use_libpq
[ "$(sql "$host:$port" postgres 'SELECT pg_is_in_recovery()')" = f ] || die "$host:$port is a standby: ask the primary"

# Passwords come by the environment, never as arguments, which every user of the machine can see, and the statements that
# hold them are kept out of the server's log.
replication=$(<"$REPLICATION_PASSWORD_FILE") monitor=$(<"$MONITOR_PASSWORD_FILE") probe=$(<"$PROBE_PASSWORD_FILE") \
    pg psql --no-psqlrc --no-password --quiet --set ON_ERROR_STOP=1 --host "$host" --port "$port" --dbname postgres \
    --set slot="$slot" --set database="$database" >/dev/null <<'SQL'
\getenv replication replication
\getenv monitor monitor
\getenv probe probe
SET client_min_messages = warning;
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
SET password_encryption = 'scram-sha-256';

SELECT format('CREATE ROLE %I', name) FROM unnest(ARRAY['replicator', 'monitor', 'pgweir_probe']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE replicator LOGIN REPLICATION PASSWORD :'replication';
ALTER ROLE monitor LOGIN CONNECTION LIMIT 10 PASSWORD :'monitor';
ALTER ROLE pgweir_probe LOGIN PASSWORD :'probe';

-- What the manual's page of pg_rewind asks for. replicator can copy the whole server anyway.
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO replicator;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO replicator;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO replicator;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO replicator;
-- Before it, and after a promotion.
GRANT pg_checkpoint TO replicator;
GRANT pg_read_all_stats TO monitor;

-- When which backup was finished: the exporters read it, on either server.
CREATE SCHEMA IF NOT EXISTS ops;
CREATE TABLE IF NOT EXISTS ops.backup (
    kind text NOT NULL CHECK (kind IN ('dump', 'base')),
    finished timestamptz NOT NULL DEFAULT now(),
    file text NOT NULL,
    bytes bigint NOT NULL
);
GRANT USAGE ON SCHEMA ops TO monitor;
GRANT SELECT ON ops.backup TO monitor;

SELECT pg_create_physical_replication_slot(:'slot', true)
WHERE :'slot' <> '' AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = :'slot');

SELECT format('CREATE DATABASE %I', :'database')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SQL
say "$host:$port is ready: roles replicator, monitor and pgweir_probe, ${slot:+slot $slot, }database $database"

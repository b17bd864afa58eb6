# shellcheck shell=bash
# What the two entrypoints share. They run the same in a container and on a plain machine: all that differs comes from the
# environment.
#
#   PGDATA                       the data directory; made by us if it is not there
#   PGPORT                       the port to listen on
#   PG_BINDIR                    PostgreSQL's programs; empty: PATH
#   LISTEN_ADDRESSES             default *
#   SOCKET_DIR                   default /var/run/postgresql
#   RUN_AS                       where we are root: who runs the server (default postgres)
#   PEER_HOST, PEER_PORT         the other server of the pair
#   POSTGRES_PASSWORD_FILE       the superuser's password
#   REPLICATION_PASSWORD_FILE    of the role replicator
#   MONITOR_PASSWORD_FILE        of the role monitor (master: made by init-master.sh)
#   PROBE_PASSWORD_FILE          of the role pgweir_probe (master)
#   TLS_CERT_FILE, TLS_KEY_FILE  this server's certificate and key, PEM
#   TLS_CA_FILE                  who signed the other server's
#   POSTGRES_DB                  the applications' database (master: made; default suggar_daddy)
#   SLOT                         the physical slot of the standby (default replica_slot_1)
#   WAL_ARCHIVE                  the directory of archived WAL; empty: none is archived
#   UPLOAD_HOOK                  see ops/scripts/archive-wal.sh
#   CONF_DIR                     a directory of your own settings, *.conf, which are read last
#   NODE_NAME                    this server's application_name as a standby
#   REJOIN                       auto: become the peer's standby where it was promoted meanwhile

SOCKET_DIR=${SOCKET_DIR:-/var/run/postgresql}
SLOT=${SLOT:-replica_slot_1}
POSTGRES_DB=${POSTGRES_DB:-suggar_daddy}
RUN_AS=${RUN_AS:-postgres}
SUPERUSER=postgres

say() {
    echo "${0##*/postgres/}: $*" >&2
}

die() {
    say "$*"
    exit 1
}

need() {
    local name
    for name in "$@"; do
        [ -n "${!name:-}" ] || die "$name is not set"
        case $name in
            *_FILE) [ -r "${!name}" ] || die "$name: cannot read ${!name}" ;;
        esac
    done
}

pg() {
    local program=$1
    shift
    "${PG_BINDIR:+$PG_BINDIR/}$program" "$@"
}

# Where we are root: gives the server's account copies of the secrets that only root may read (a key that others may read
# PostgreSQL refuses), then begins again as that account.
step_down() {
    [ "$(id -u)" = 0 ] || return 0
    local own=/run/pgweir-stack/$NODE_NAME name
    install -d -m 0755 /run/pgweir-stack
    install -d -o "$RUN_AS" -m 0700 "$own"
    for name in POSTGRES_PASSWORD_FILE REPLICATION_PASSWORD_FILE MONITOR_PASSWORD_FILE PROBE_PASSWORD_FILE \
        TLS_CERT_FILE TLS_KEY_FILE TLS_CA_FILE; do
        [ -n "${!name:-}" ] || continue
        install -o "$RUN_AS" -m 0600 "${!name}" "$own/$name"
        export "$name=$own/$name"
    done
    install -d -o "$RUN_AS" "$(dirname "$PGDATA")" "$SOCKET_DIR" ${WAL_ARCHIVE:+"$WAL_ARCHIVE"}
    exec setpriv --reuid "$RUN_AS" --regid "$RUN_AS" --init-groups -- "$0" "$@"
}

# A password file for libpq: `passfile HOST PORT USER PASSWORD_FILE`… makes one line each. Colons and backslashes are escaped
# as it wants them.
passfile() {
    local to=$1 password
    shift
    (umask 077 && : >"$to.new")
    while [ $# -ge 4 ]; do
        password=$(<"$4")
        password=${password//\\/\\\\}
        echo "$1:$2:*:$3:${password//:/\\:}" >>"$to.new"
        shift 4
    done
    mv "$to.new" "$to"
}

# A value as postgresql.conf writes it.
quoted() {
    echo "'${1//\'/\'\'}'"
}

# A value inside a connection string.
conninfo_value() {
    local text=${1//\\/\\\\}
    echo "'${text//\'/\\\'}'"
}

# postgresql.conf of the data directory, written anew at each start: a base backup and pg_rewind bring that of the other
# server along.
write_settings() {
    local role_dir=$1 archive restore
    if [ -n "${WAL_ARCHIVE:-}" ]; then
        archive="$OPS/scripts/archive-wal.sh \"%p\" \"%f\""
        restore="$OPS/scripts/restore-wal.sh \"%f\" \"%p\""
    else
        # Kept on, or a change would take a restart; `true` archives nothing and says that it has.
        archive=true restore=
    fi
    mkdir -p "$PGDATA/conf.d"
    {
        echo "# Written by $role_dir/entrypoint.sh at each start. Your own settings: conf.d/*.conf beside this file."
        echo "include $(quoted "$role_dir/postgresql.conf")"
        echo "hba_file = $(quoted "$role_dir/pg_hba.conf")"
        echo "port = $PGPORT"
        echo "listen_addresses = $(quoted "${LISTEN_ADDRESSES:-*}")"
        echo "unix_socket_directories = $(quoted "$SOCKET_DIR")"
        echo "ssl_cert_file = $(quoted "$TLS_CERT_FILE")"
        echo "ssl_key_file = $(quoted "$TLS_KEY_FILE")"
        echo "archive_command = $(quoted "$archive")"
        [ -z "$restore" ] || echo "restore_command = $(quoted "$restore")"
        if [ -n "${PEER_HOST:-}" ]; then
            echo "primary_conninfo = $(quoted "$(peer_conninfo) application_name=$(conninfo_value "$NODE_NAME")")"
            echo "primary_slot_name = $(quoted "$SLOT")"
        fi
        echo "include_dir 'conf.d'"
        [ -z "${CONF_DIR:-}" ] || echo "include_dir $(quoted "$CONF_DIR")"
    } >"$PGDATA/postgresql.conf.new"
    mv "$PGDATA/postgresql.conf.new" "$PGDATA/postgresql.conf"
    # Else a rewound or copied server would hold on to what the other one's rebuild wrote there.
    if [ -f "$PGDATA/postgresql.auto.conf" ]; then
        sed -i -E '/^(primary_conninfo|primary_slot_name|restore_command)[ =]/d' "$PGDATA/postgresql.auto.conf"
    fi
}

# How this server logs in to the other one as replicator.
peer_conninfo() {
    local tls="sslmode=prefer"
    [ -z "${TLS_CA_FILE:-}" ] || tls="sslmode=verify-full sslrootcert=$(conninfo_value "$TLS_CA_FILE")"
    echo "host=$(conninfo_value "$PEER_HOST") port=${PEER_PORT:-5432} user=replicator" \
        "passfile=$(conninfo_value "$PASSFILE") $tls connect_timeout=5"
}

# One value from the other server, as replicator.
ask_peer() {
    pg psql --no-psqlrc --no-password -qAtX "$(peer_conninfo) dbname=postgres" -c "$1"
}

# Keeps this server from being a second primary. A promotion that it has slept through shows as a peer that accepts writes: to
# start would split the brain. A peer that does not answer at all proves nothing, and somebody must serve; one that answers but
# does not tell stops us. REJOIN=auto makes it the peer's standby, which discards what this server has beyond the promotion.
yield_to_peer() {
    local said tries=30
    [ -n "${PEER_HOST:-}" ] || return 0
    until said=$(ask_peer 'SELECT pg_is_in_recovery()' 2>&1); do
        # 2: no answer. 1: it starts or stops, and will tell soon.
        pg pg_isready --quiet --timeout 3 --host "$PEER_HOST" --port "${PEER_PORT:-5432}" || [ $? != 2 ] || return 0
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die "$PEER_HOST:$PEER_PORT is up but does not tell whether it is primary: ${said##*FATAL: }"
        sleep 1
    done
    [ "$said" = f ] || return 0
    if [ "${REJOIN:-}" = auto ]; then
        say "$PEER_HOST:$PEER_PORT is primary: becoming its standby"
        rebuild --method auto
        return 0
    fi
    die "$PEER_HOST:$PEER_PORT is primary. Make this server its standby: entrypoint.sh rebuild, or REJOIN=auto"
}

# Arguments: further options of the script.
rebuild() {
    need PEER_HOST PEER_PORT
    "$OPS/scripts/rebuild-replica.sh" --data "$PGDATA" --source "$PEER_HOST:$PEER_PORT" --slot "$SLOT" "$@"
}

# What both do before they decide anything.
prepare() {
    need PGDATA PGPORT NODE_NAME POSTGRES_PASSWORD_FILE REPLICATION_PASSWORD_FILE TLS_CERT_FILE TLS_KEY_FILE
    step_down "$@"
    mkdir -p "$(dirname "$PGDATA")" "$SOCKET_DIR"
    # What a caller has set for its own psql would log in as somebody else.
    unset PGUSER PGPASSWORD PGHOST PGHOSTADDR PGDATABASE PGSERVICE PGSSLMODE PGSSLROOTCERT PGOPTIONS PGAPPNAME
    # libpq looks for certificates in HOME; that of whoever started us may be closed to this account.
    HOME=$(dirname "$PGDATA")
    export HOME
    PASSFILE=$(dirname "$PGDATA")/$NODE_NAME.pgpass
    passfile "$PASSFILE" "*" "*" replicator "$REPLICATION_PASSWORD_FILE" "*" "*" "$SUPERUSER" "$POSTGRES_PASSWORD_FILE"
    export PGPASSFILE=$PASSFILE
}

serve() {
    local role_dir=$1
    write_settings "$role_dir"
    # The postmaster's environment is that of archive-wal.sh.
    exec "${PG_BINDIR:+$PG_BINDIR/}postgres" -D "$PGDATA"
}

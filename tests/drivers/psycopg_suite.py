"""psycopg 3 against SUITE_URL: sync, async and pool. `suite.py` says which variables there are."""

import asyncio
import concurrent.futures
import datetime as dt
import decimal
import hashlib
import ipaddress
import os
import socket
import threading
import time
import uuid
from contextlib import closing, contextmanager

import psycopg
import psycopg_pool
from psycopg import errors, sql
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import Json, Jsonb
from psycopg.types.range import Range

import suite
from suite import PROXIED, SERVERS, URL, raises, test


def connect(**kwargs):
    kwargs.setdefault("autocommit", True)
    return psycopg.connect(kwargs.pop("url", URL), **kwargs)


def value(connection, query, params=None, **kwargs):
    return connection.execute(query, params, **kwargs).fetchone()[0]


@contextmanager
def servers_one_by_one():
    """Yields an iterator: at each step exactly one other server is free, and in the end each was it once."""
    holders = [connect() for _ in range(SERVERS)]
    try:
        pids = []
        for holder in holders:
            holder.execute("BEGIN")
            pids.append(value(holder, "SELECT pg_backend_pid()"))
        assert len(set(pids)) == SERVERS, pids

        def steps():
            for holder, pid in zip(holders, pids):
                holder.execute("COMMIT")
                yield pid
                holder.execute("BEGIN")
                holder.execute("SELECT 1")

        yield steps()
    finally:
        for holder in holders:
            holder.close()


def same_everywhere(connection, check, own_server=True):
    """Runs `check` on every server of the pool; `own_server` asks which one it was."""
    with servers_one_by_one() as steps:
        for pid in steps:
            check()
            if PROXIED and own_server:
                assert value(connection, "SELECT pg_backend_pid()", prepare=False) == pid
            check()


def cut(connection):
    """The network goes away under libpq."""
    with closing(socket.socket(fileno=os.dup(connection.pgconn.socket))) as copy:
        copy.shutdown(socket.SHUT_RDWR)


# --- Connections ---


@test
def a_connection_knows_where_it_is():
    with connect() as c:
        info = c.info
        assert info.encoding == "utf-8"
        assert info.transaction_status == TransactionStatus.IDLE
        assert info.server_version == int(value(c, "SHOW server_version_num"))
        assert info.user == value(c, "SELECT current_user") == "app"
        assert info.dbname == value(c, "SELECT current_database()")
        for name in ("server_version", "TimeZone", "DateStyle", "client_encoding", "standard_conforming_strings"):
            assert info.parameter_status(name) == value(c, f"SHOW {name}"), name
        assert info.parameter_status("in_hot_standby") == "off"
        assert info.parameter_status("session_authorization") == "app"
        assert info.parameter_status("is_superuser") == "off"


@test
def sessions_for_writers_only():
    """libpq asks in_hot_standby and default_transaction_read_only, or SHOW."""
    with connect(target_session_attrs="read-write") as c:
        assert value(c, "SELECT 1") == 1
    with connect(target_session_attrs="primary") as c:
        assert value(c, "SELECT 1") == 1


@test
def tls_is_verified():
    if not suite.CA:
        return
    for extra in ({}, {"sslnegotiation": "direct"}, {"channel_binding": "require"}):
        with connect(url=suite.TLS_URL, sslmode="verify-full", sslrootcert=suite.CA, **extra) as c:
            assert c.pgconn.ssl_in_use, extra
            assert value(c, "SELECT repeat('x', 3000000)") == "x" * 3_000_000
    with connect(url=suite.TLS_URL, sslmode="disable") as c:
        assert not c.pgconn.ssl_in_use
    with raises(psycopg.OperationalError, "certificate verify failed"):
        connect(url=suite.TLS_URL, sslmode="verify-full", sslrootcert="system")


@test
def without_tls_a_demand_for_it_is_refused():
    with raises(psycopg.OperationalError, "server does not support SSL"):
        connect(sslmode="require")
    with connect(sslmode="prefer") as c:
        assert not c.pgconn.ssl_in_use


@test
def newer_protocols_are_negotiated():
    for version in ("3.0", "3.2"):
        try:
            c = connect(max_protocol_version=version)
        except psycopg.ProgrammingError:
            return  # a libpq before 18
        with c:
            assert value(c, "SELECT 1") == 1
            assert c.pgconn.backend_pid > 0


@test
def logins_are_refused():
    with raises(psycopg.OperationalError, "password authentication failed"):
        connect(password="wrong")
    with raises(psycopg.OperationalError, "no_such_database"):
        connect(dbname="no_such_database")
    with raises(psycopg.OperationalError, "password authentication failed"):
        connect(user="nobody")


@test
def many_connections_at_once():
    def work(number):
        with connect(application_name=f"worker {number}") as c:
            for turn in range(10):
                assert value(c, "SELECT %s::int + 1", (number * 100 + turn,)) == number * 100 + turn + 1
                with c.transaction():
                    assert value(c, "SHOW application_name") == f"worker {number}"
            return number

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        assert sorted(pool.map(work, range(60))) == list(range(60))


@test
def hosts_are_tried_in_order():
    with connect(host="127.0.0.1,127.0.0.1", port=f"1,{suite.PORT}") as c:
        assert value(c, "SELECT 1") == 1


# --- Transactions ---


@test
def commit_and_rollback():
    with connect(autocommit=False) as c:
        c.execute("CREATE TABLE tx (n int PRIMARY KEY)")
        assert c.info.transaction_status == TransactionStatus.INTRANS
        c.commit()
        assert c.info.transaction_status == TransactionStatus.IDLE
        c.execute("INSERT INTO tx VALUES (1)")
        with connect() as other:
            assert other.execute("SELECT n FROM tx").fetchall() == []
        c.rollback()
        c.execute("INSERT INTO tx VALUES (2)")
        c.commit()
        with raises(errors.UniqueViolation):
            c.execute("INSERT INTO tx VALUES (2)")
        assert c.info.transaction_status == TransactionStatus.INERROR
        with raises(errors.InFailedSqlTransaction):
            c.execute("SELECT 1")
        c.rollback()
        assert c.execute("SELECT n FROM tx").fetchall() == [(2,)]
        c.commit()
        c.execute("DROP TABLE tx")


@test
def savepoints_nest():
    with connect() as c:
        c.execute("CREATE TABLE sp (n int)")
        with c.transaction():
            c.execute("INSERT INTO sp VALUES (1)")
            with raises(errors.DivisionByZero):
                with c.transaction():
                    c.execute("INSERT INTO sp VALUES (2)")
                    c.execute("SELECT 1/0")
            with c.transaction() as inner:
                c.execute("INSERT INTO sp VALUES (3)")
                with c.transaction():
                    c.execute("INSERT INTO sp VALUES (4)")
                    raise psycopg.Rollback(inner)
            with c.transaction():
                c.execute("INSERT INTO sp VALUES (5)")
        assert c.execute("SELECT n FROM sp ORDER BY n").fetchall() == [(1,), (5,)]
        c.execute("DROP TABLE sp")


@test
def a_transaction_keeps_its_server():
    with connect() as c:
        with c.transaction():
            pid = value(c, "SELECT pg_backend_pid()")
            with connect() as other:
                for _ in range(5):
                    assert value(other, "SELECT pg_backend_pid()") != pid
                    assert value(c, "SELECT pg_backend_pid()") == pid


@test
def isolation_and_access():
    with connect(autocommit=False) as c:
        c.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        c.read_only = True
        c.deferrable = True
        assert value(c, "SHOW transaction_isolation") == "serializable"
        assert value(c, "SHOW transaction_read_only") == "on"
        assert value(c, "SHOW transaction_deferrable") == "on"
        with raises(errors.ReadOnlySqlTransaction):
            c.execute("CREATE TABLE never (n int)")
        c.rollback()
        c.isolation_level = c.read_only = c.deferrable = None
        assert value(c, "SHOW transaction_isolation") == "read committed"
        c.rollback()


@test
def serialization_failures_reach_the_client():
    with connect() as setup:
        setup.execute("CREATE TABLE ser (k text, n int); INSERT INTO ser VALUES ('a', 1), ('b', 1)")
        with connect(autocommit=False) as a, connect(autocommit=False) as b:
            a.isolation_level = b.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            assert value(a, "SELECT sum(n) FROM ser") == value(b, "SELECT sum(n) FROM ser") == 2
            a.execute("UPDATE ser SET n = 0 WHERE k = 'a'")
            b.execute("UPDATE ser SET n = 0 WHERE k = 'b'")
            a.commit()
            with raises(errors.SerializationFailure):
                b.commit()
        setup.execute("DROP TABLE ser")


@test
def chained_commits_keep_the_server():
    with connect() as c:
        c.execute("BEGIN ISOLATION LEVEL SERIALIZABLE")
        pid = value(c, "SELECT pg_backend_pid()")
        c.execute("COMMIT AND CHAIN")
        assert c.info.transaction_status == TransactionStatus.INTRANS
        assert (value(c, "SHOW transaction_isolation"), value(c, "SELECT pg_backend_pid()")) == ("serializable", pid)
        c.execute("ROLLBACK")


@test
def two_phase_commit():
    with connect() as c:
        c.execute("CREATE TABLE tpc (n int)")
    for number in range(3):
        with connect(autocommit=False) as c:
            c.tpc_begin(c.xid(42, f"{c.info.dbname}-{number}", "branch"))
            c.execute("INSERT INTO tpc VALUES (%s)", (number,))
            c.tpc_prepare()
            assert c.info.transaction_status == TransactionStatus.IDLE
            # Leaving the block would roll back, which is none of this connection's business any more.
            c.close()
    with connect(autocommit=False) as c:
        mine = [xid for xid in c.tpc_recover() if xid.database == c.info.dbname]
        c.rollback()
        assert len(mine) == 3
        c.tpc_rollback(mine[0])
        c.tpc_commit(mine[1])
        c.tpc_commit(mine[2])
        assert value(c, "SELECT count(*) FROM tpc") == 2
        c.execute("DROP TABLE tpc")


# --- Prepared statements ---


@test
def statements_follow_their_connection():
    with connect() as c:
        ask = lambda: c.execute("SELECT %s::int8 * 2, %s::text", (21, "é"), prepare=True).fetchone()
        same_everywhere(c, lambda: suite.equal(ask(), (42, "é")))


@test
def one_name_means_each_connections_own_statement():
    """Every psycopg connection calls its first statement `_pg3_0`."""
    connections = [connect() for _ in range(SERVERS + 3)]
    try:
        for turn in range(4):
            for number, c in enumerate(connections):
                row = c.execute(f"SELECT {number} AS own, %s::int AS turn", (turn,), prepare=True)
                assert row.fetchone() == (number, turn)
        for turn in range(4):
            with concurrent.futures.ThreadPoolExecutor(len(connections)) as pool:
                ask = lambda number, c: value(c, f"SELECT {number} AS own, %s::int AS turn", (turn,))
                results = pool.map(ask, range(len(connections)), connections)
                assert list(results) == list(range(len(connections)))
    finally:
        for c in connections:
            c.close()


@test
def the_driver_prepares_by_itself():
    with connect() as c:
        c.prepare_threshold = 2
        same_everywhere(c, lambda: suite.equal(value(c, "SELECT %s || 'x'", ("a",)), "ax"))


@test
def the_driver_closes_its_oldest_statement():
    with connect() as c:
        c.prepared_max = 3
        c.prepare_threshold = 0
        for turn in range(3):
            for number in range(10):
                assert value(c, f"SELECT {number} + %s::int", (turn,)) == number + turn


@test
def more_statements_than_a_server_keeps():
    with connect() as a, connect() as b:
        a.prepared_max = b.prepared_max = 100
        for _ in range(3):
            for number in range(60):
                for c in (a, b):
                    assert value(c, f"SELECT {number} + %s::int", (1,), prepare=True) == number + 1


@test
def deallocate_forgets_all():
    for command in ("DEALLOCATE ALL", "DISCARD ALL"):
        with connect() as c:
            for _ in range(3):
                assert value(c, "SELECT %s::int", (7,), prepare=True) == 7
                same_everywhere(c, lambda: suite.equal(value(c, "SELECT %s::int", (7,), prepare=True), 7))
                assert c.execute(command).statusmessage == command


@test
def explicit_statements_by_libpq():
    with connect() as c:
        pg = c.pgconn
        pg.prepare(b"mine", b"SELECT $1::int + $2::int")
        described = pg.describe_prepared(b"mine")
        assert (described.nparams, described.nfields, described.param_type(0)) == (2, 1, 23)

        def check():
            result = pg.exec_prepared(b"mine", [b"40", b"2"])
            assert result.get_value(0, 0) == b"42", result.error_message
            assert pg.describe_prepared(b"mine").nparams == 2

        same_everywhere(c, check)
        twice = pg.prepare(b"mine", b"SELECT 1")
        assert twice.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42P05"
        assert b'prepared statement "mine" already exists' in twice.error_message
        unknown = pg.exec_prepared(b"other", [])
        assert unknown.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"
        assert b'prepared statement "other" does not exist' in unknown.error_message
        assert pg.exec_(b"DEALLOCATE mine").command_status == b"DEALLOCATE"
        gone = pg.exec_prepared(b"mine", [b"1", b"2"])
        assert gone.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"
        broken = pg.prepare(b"mine", b"SELEKT 1")
        assert broken.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42601"
        pg.prepare(b"mine", b"SELECT 'again'")
        assert pg.exec_prepared(b"mine", []).get_value(0, 0) == b"again"


@test
def sqls_own_prepare():
    with connect() as c:
        c.execute("PREPARE own (int) AS SELECT $1 * 3")
        for _ in range(3):
            with connect() as other:
                value(other, "SELECT 1")
                with raises(errors.InvalidSqlStatementName):
                    other.execute("EXECUTE own (5)")
            assert value(c, "EXECUTE own (5)") == 15
        # One namespace with the driver's, on any server.
        same_everywhere(c, lambda: suite.equal(value(c, "EXECUTE own (%s)" % 7), 21))
        pg = c.pgconn
        assert pg.exec_prepared(b"own", [b"4"]).get_value(0, 0) == b"12"
        pg.prepare(b"driver", b"SELECT $1::int * 5")
        same_everywhere(c, lambda: suite.equal(value(c, "EXECUTE driver (2)"), 10))
        with raises(errors.DuplicatePreparedStatement):
            c.execute("PREPARE driver AS SELECT 1")
        c.execute("DEALLOCATE driver")
        with raises(errors.InvalidSqlStatementName):
            c.execute("EXECUTE driver (2)")
        c.execute("DEALLOCATE own")
        with raises(errors.InvalidSqlStatementName):
            c.execute("EXECUTE own (5)")


@test
def a_result_type_that_changes():
    """PostgreSQL refuses the old plan (0A000); behind the proxy, where nothing was answered yet, it is planned anew."""
    with connect() as c, connect() as ddl:
        ddl.execute("CREATE TABLE ddl (a int); INSERT INTO ddl VALUES (1)")
        read = lambda: c.execute("SELECT * FROM ddl", prepare=True).fetchall()
        same_everywhere(c, lambda: suite.equal(read(), [(1,)]))
        ddl.execute("ALTER TABLE ddl ADD b text DEFAULT 'new'")
        if not PROXIED:
            with raises(errors.FeatureNotSupported, "cached plan must not change result type"):
                read()
            c.execute("DEALLOCATE ALL")
        same_everywhere(c, lambda: suite.equal(read(), [(1, "new")]))
        ddl.execute("ALTER TABLE ddl ALTER a TYPE text")
        if PROXIED:
            same_everywhere(c, lambda: suite.equal(read(), [("1", "new")]))
        with c.transaction():
            assert c.execute("SELECT a FROM ddl", prepare=True).fetchall() == [("1",)]
        ddl.execute("ALTER TABLE ddl ALTER a TYPE int USING a::int")
        with raises(errors.FeatureNotSupported):
            with c.transaction():
                c.execute("SELECT 1")
                c.execute("SELECT a FROM ddl", prepare=True)
        ddl.execute("DROP TABLE ddl")
        with raises(errors.UndefinedTable):
            read()


@test
def ddl_and_its_use_in_one_session():
    with connect() as c:
        for number in range(5):
            c.execute("CREATE TABLE again AS SELECT %d AS n" % number)
            assert value(c, "SELECT n FROM again", prepare=True) == number
            c.execute("DROP TABLE again")


# --- COPY ---


@test
def copy_there_and_back():
    rows = [(n, None if n % 7 == 0 else f"täxt\t{n}\\", dt.date(2000, 1, 1) + dt.timedelta(n)) for n in range(20_000)]
    with connect() as c:
        c.execute("CREATE TABLE cp (n int, t text, d date)")
        with c.cursor() as cur:
            with cur.copy("COPY cp FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            assert cur.rowcount == len(rows)
            with cur.copy("COPY (SELECT * FROM cp ORDER BY n) TO STDOUT") as copy:
                copy.set_types(["int4", "text", "date"])
                assert list(copy.rows()) == rows
            cur.execute("TRUNCATE cp")
            with cur.copy("COPY cp FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "text", "date"])
                for row in rows:
                    copy.write_row(row)
            with cur.copy("COPY (SELECT * FROM cp ORDER BY n) TO STDOUT (FORMAT binary)") as copy:
                copy.set_types(["int4", "text", "date"])
                assert list(copy.rows()) == rows
        c.execute("DROP TABLE cp")


@test
def copy_that_fails():
    with connect() as c:
        c.execute("CREATE TABLE cpf (n int PRIMARY KEY)")
        for size in (3, 50_000):
            with raises(errors.InvalidTextRepresentation) as caught:
                with c.cursor().copy("COPY cpf FROM STDIN") as copy:
                    copy.write("1\n2\nthree\n")
                    for n in range(size):
                        copy.write(f"{n + 10}\n" * 4)
            assert "line 3" in caught.value.diag.context
            assert value(c, "SELECT count(*) FROM cpf") == 0
        with raises(ZeroDivisionError):
            with c.cursor().copy("COPY cpf FROM STDIN") as copy:
                copy.write("1\n")
                1 / 0
        assert value(c, "SELECT count(*) FROM cpf") == 0
        with raises(errors.UniqueViolation):
            with c.cursor().copy("COPY cpf FROM STDIN") as copy:
                copy.write("1\n1\n")
        with raises(errors.UndefinedTable):
            with c.cursor().copy("COPY nowhere FROM STDIN") as copy:
                copy.write("1\n")
        with raises(errors.DivisionByZero):
            with c.cursor().copy("COPY (SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n) TO STDOUT") as copy:
                for _ in copy:
                    pass
        with c.transaction():
            with c.cursor().copy("COPY cpf FROM STDIN") as copy:
                copy.write("5\n")
            assert value(c, "SELECT n FROM cpf") == 5
        c.execute("DROP TABLE cpf")


@test
def copy_out_left_in_the_middle():
    with connect() as c:
        with raises(KeyError):
            with c.cursor().copy("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT") as copy:
                next(iter(copy))
                raise KeyError
        assert value(c, "SELECT 1") == 1


@test
def copies_at_once():
    def work(number):
        with connect() as c:
            with c.cursor().copy("COPY cps FROM STDIN") as copy:
                for n in range(5_000):
                    copy.write_row((number, n))
            with c.cursor().copy("COPY (SELECT n FROM cps WHERE k = %s) TO STDOUT", (number,)) as copy:
                copy.set_types(["int4"])
                return sum(n for (n,) in copy.rows())

    with connect() as c:
        c.execute("CREATE TABLE cps (k int, n int)")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(work, range(8))) == [5_000 * 4_999 // 2] * 8
        c.execute("DROP TABLE cps")


# --- Cancel ---


def cancel_soon(cancel):
    timer = threading.Timer(0.3, cancel)
    timer.start()
    return timer


@test
def a_cancel_ends_the_query():
    with connect() as c:
        for cancel in (c.cancel, lambda: c.cancel_safe(timeout=5)):
            for _ in range(2):
                timer = cancel_soon(cancel)
                began = time.monotonic()
                with raises(errors.QueryCanceled, "canceling statement due to user request"):
                    c.execute("SELECT pg_sleep(20)")
                assert time.monotonic() - began < 10
                timer.join()
                assert value(c, "SELECT 1") == 1
        with raises(errors.QueryCanceled):
            with c.transaction():
                cancel_soon(c.cancel)
                c.execute("SELECT pg_sleep(20)")
        assert value(c, "SELECT 1") == 1


@test
def a_cancel_hits_nobody_else():
    with connect() as idle, connect() as busy:
        value(idle, "SELECT 1")
        query = threading.Thread(target=lambda: busy.execute("SELECT pg_sleep(1)"))
        failed = []
        threading.excepthook, before = lambda args: failed.append(args.exc_value), threading.excepthook
        query.start()
        for _ in range(20):
            idle.cancel_safe(timeout=5)
        query.join()
        threading.excepthook = before
        assert not failed, failed
        for _ in range(20):
            idle.cancel()
            assert value(busy, "SELECT 1") == 1


@test
def a_cancel_while_waiting_for_a_server():
    if not PROXIED:
        return
    holders = [connect() for _ in range(SERVERS)]
    with connect() as c:
        for holder in holders:
            holder.execute("BEGIN")
            holder.execute("SELECT 1")
        timer = cancel_soon(lambda: c.cancel_safe(timeout=5))
        # A question that only the primary may answer: a plain read finds a server at the standby.
        with raises(errors.QueryCanceled):
            c.execute("SELECT pg_is_in_recovery()")
        timer.join()
        for holder in holders:
            holder.close()
        assert value(c, "SELECT 2") == 2


# --- Values ---


@test
def large_values_both_ways():
    text, data = "pg_wéir " * 1_250_000, os.urandom(10_000_000)
    with connect() as c:
        c.execute("CREATE TABLE large (t text, b bytea)")
        for binary in (False, True):
            c.execute("TRUNCATE large")
            mark = "%b" if binary else "%t"
            c.execute(f"INSERT INTO large VALUES ({mark}, {mark})", (text, data))
            cur = c.cursor(binary=binary)
            assert cur.execute("SELECT t, b FROM large").fetchone() == (text, data)
            assert value(c, "SELECT md5(b) FROM large") == hashlib.md5(data).hexdigest()
            assert cur.execute("SELECT t, b FROM large", prepare=True).fetchone() == (text, data)
        c.execute("DROP TABLE large")


@test
def large_texts_of_statements():
    with psycopg.ClientCursor(connect()) as cur, cur.connection:
        for size in (60_000, 65_500, 65_530, 65_536, 70_000, 5_000_000):
            assert cur.execute("SELECT length(%s)", ("x" * size,)).fetchone() == (size,)
    with connect() as c:
        for size in (60_000, 65_530, 70_000, 300_000):
            text = "SELECT %s::int /* " + "x" * size + " */"
            for _ in range(3):
                assert value(c, text, (size,), prepare=True) == size
                assert value(c, text, (size,), prepare=False) == size


@test
def values_of_awkward_sizes():
    """Around the edges of buffers."""
    with connect() as c:
        for power in range(9, 18):
            for size in range(2**power - 16, 2**power + 4):
                if size % 3 == 0:
                    assert value(c, "SELECT %s::text", ("y" * size,)) == "y" * size


@test
def many_columns_and_rows():
    with connect() as c:
        row = c.execute("SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1600))).fetchone()
        assert row == tuple(range(1600))
        params = list(range(1600))
        row = c.execute("SELECT " + ", ".join(["%s::int"] * 1600), params, prepare=True).fetchone()
        assert row == tuple(params)
        rows = c.execute("SELECT n, repeat('z', n %% 50) FROM generate_series(1, %s) n", (200_000,)).fetchall()
        assert len(rows) == 200_000 and rows[-1] == (200_000, "") and rows[48] == (49, "z" * 49)


@test
def values_of_many_types():
    stamp = dt.datetime(2024, 2, 29, 23, 59, 59, 999999)
    berlin = dt.timezone(dt.timedelta(hours=2))
    pairs = [
        ("int2", -32768), ("int4", 2**31 - 1), ("int8", -(2**63)), ("float8", 1e-300), ("float8", float("inf")),
        ("numeric", decimal.Decimal("12345678901234567890.000000000012345")), ("numeric", decimal.Decimal("NaN")),
        ("bool", True), ("text", "naïve ☃ 𝔘"), ("text", ""), ("bytea", bytes(range(256))), ("uuid", uuid.uuid4()),
        ("date", dt.date(1, 1, 1)), ("time", dt.time(1, 2, 3, 4)), ("timestamp", stamp),
        ("timestamptz", stamp.replace(tzinfo=berlin)), ("interval", dt.timedelta(days=-3, seconds=5, microseconds=7)),
        ("inet", ipaddress.ip_address("::1")), ("cidr", ipaddress.ip_network("10.0.0.0/8")),
        ("int4[]", [1, None, 3]), ("int4[]", [[1, 2], [3, 4]]), ("text[]", ['a"b', "c,d", "{}", "", None, "NULL"]),
        ("timestamptz[]", [stamp.replace(tzinfo=berlin)]), ("int4range", Range(1, 10)),
    ]  # fmt: skip
    with connect() as c:
        for binary in (False, True):
            cur = c.cursor(binary=binary)
            for kind, sent in pairs:
                cur.execute(f"SELECT %s::{kind}, NULL::{kind}, pg_typeof(%s::{kind})::text", (sent, sent))
                got, null, name = cur.fetchone()
                assert (got == sent or str(got) == str(sent)) and type(got) is type(sent), (kind, got, sent)
                assert null is None and name
        for wrap in (Json, Jsonb):
            document = {"a": [1, 2.5, None, {"b": "ü"}], "c": "x" * 10_000}
            assert value(c, "SELECT %s", (wrap(document),)) == document


@test
def time_zones_of_the_session():
    instant = dt.datetime(2024, 7, 1, 12, tzinfo=dt.timezone.utc)
    with connect() as a, connect() as b:
        a.execute("SET TimeZone TO 'Asia/Tokyo'")
        b.execute("SET TIME ZONE 'America/New_York'")
        for _ in range(3):
            for c, hour, zone in ((a, 21, "Asia/Tokyo"), (b, 8, "America/New_York")):
                got = value(c, "SELECT %s::timestamptz", (instant,))
                assert (got, got.hour, c.info.parameter_status("TimeZone")) == (instant, hour, zone)
                assert str(c.info.timezone) == zone
                text = value(c, "SELECT '2024-07-01 12:00+00'::timestamptz::text")
                assert text.startswith(f"2024-07-01 {hour:02}:00")


@test
def client_encodings():
    with connect(client_encoding="latin1") as latin, connect() as utf:
        for _ in range(3):
            assert value(latin, "SELECT 'é'::text || %s::text", ("ü",)) == "éü"
            assert value(utf, "SELECT 'é'::text || %s::text", ("☃",)) == "é☃"
            with raises(errors.UntranslatableCharacter):
                latin.execute("SELECT chr(9731)")
        utf.execute("SET client_encoding TO 'SQL_ASCII'")
        assert utf.info.parameter_status("client_encoding") == "SQL_ASCII"
        assert value(latin, "SELECT 'é'") == "é"


# --- Errors and notices ---


@test
def errors_say_what_and_where():
    with connect() as c:
        with raises(errors.UndefinedColumn) as caught:
            c.execute("SELECT   nothing_there")
        diag = caught.value.diag
        assert (diag.sqlstate, diag.statement_position, diag.severity) == ("42703", "10", "ERROR")
        assert diag.message_primary == 'column "nothing_there" does not exist'
        for prepare in (True, False):
            with raises(errors.SyntaxError) as caught:
                c.execute("SELECT %s FRM x", (1,), prepare=prepare)
            assert caught.value.diag.statement_position == "15"
        c.execute("CREATE TABLE err (n int CONSTRAINT positive CHECK (n > 0))")
        with raises(errors.CheckViolation) as caught:
            c.execute("INSERT INTO err VALUES (%s)", (-1,))
        diag = caught.value.diag
        assert (diag.schema_name, diag.table_name, diag.constraint_name) == ("public", "err", "positive")
        assert "Failing row contains (-1)" in diag.message_detail
        c.execute("DROP TABLE err")
        with raises(errors.RaiseException) as caught:
            c.execute("DO $$ BEGIN RAISE 'own' USING HINT = 'h', DETAIL = 'd'; END $$")
        diag = caught.value.diag
        assert (diag.message_primary, diag.message_hint, diag.message_detail) == ("own", "h", "d")
        assert "PL/pgSQL function inline_code_block line 1 at RAISE" in diag.context


@test
def errors_in_the_middle_of_rows():
    with connect() as c:
        for prepare in (True, False):
            with raises(errors.DivisionByZero):
                c.execute("SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n", prepare=prepare)
            assert value(c, "SELECT 1") == 1


@test
def notices_come_in_order():
    with connect() as c:
        c.execute(
            "CREATE FUNCTION noisy(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN"
            " FOR i IN 1..n LOOP RAISE NOTICE 'line %', i; END LOOP;"
            " RAISE WARNING USING MESSAGE = 'end', ERRCODE = '01234'; RETURN n; END $$"
        )
        heard = []
        c.add_notice_handler(lambda diag: heard.append((diag.severity, diag.sqlstate, diag.message_primary)))
        for _ in range(3):
            heard.clear()
            assert value(c, "SELECT noisy(%s)", (50,)) == 50
            expected = [("NOTICE", "00000", f"line {i}") for i in range(1, 51)] + [("WARNING", "01234", "end")]
            assert heard == expected, heard
        c.execute("DROP FUNCTION noisy")
        heard.clear()
        c.execute("DROP TABLE IF EXISTS nothing_there")
        assert heard == [("NOTICE", "00000", 'table "nothing_there" does not exist, skipping')]
        heard.clear()
        c.execute("COMMIT")
        assert heard == [("WARNING", "25P01", "there is no transaction in progress")]


# --- Pipelines ---


@test
def pipelines():
    with connect() as c:
        c.execute("CREATE TABLE pipe (n int PRIMARY KEY)")
        with c.pipeline():
            cursors = [c.execute("INSERT INTO pipe VALUES (%s) RETURNING n", (n,)) for n in range(500)]
        assert [cur.fetchone()[0] for cur in cursors] == list(range(500))
        with c.pipeline() as p:
            a = c.execute("SELECT count(*) FROM pipe", prepare=True)
            p.sync()
            assert a.fetchone() == (500,)
            b = c.execute("SELECT count(*) FROM pipe", prepare=True)
        assert b.fetchone() == (500,)
        c.execute("DROP TABLE pipe")


@test
def a_pipeline_with_an_error():
    with connect() as c:
        c.execute("CREATE TABLE pipe2 (n int PRIMARY KEY)")
        with raises(errors.UniqueViolation):
            with c.pipeline():
                c.execute("INSERT INTO pipe2 VALUES (1)")
                c.execute("INSERT INTO pipe2 VALUES (1)")
                c.execute("INSERT INTO pipe2 VALUES (2)")
        assert c.execute("SELECT n FROM pipe2").fetchall() == []
        # Whether the error is raised by the second statement or by the sync is a matter of time.
        with raises((errors.UniqueViolation, errors.PipelineAborted)):
            with c.pipeline() as p:
                c.execute("INSERT INTO pipe2 VALUES (1)")
                p.sync()
                c.execute("INSERT INTO pipe2 VALUES (1)")
                c.execute("INSERT INTO pipe2 VALUES (3)")
                p.sync()
        c.execute("INSERT INTO pipe2 VALUES (4)")
        assert c.execute("SELECT n FROM pipe2 ORDER BY n").fetchall() == [(1,), (4,)]
        pg = c.pgconn
        pg.enter_pipeline_mode()
        for number in (5, 1, 6):
            pg.send_query_params(b"INSERT INTO pipe2 VALUES ($1)", [b"%d" % number])
            if number != 1:
                pg.pipeline_sync()
        pg.flush()
        statuses = []
        while statuses.count("PIPELINE_SYNC") < 2:
            result = pg.get_result()
            statuses.append(ExecStatus(result.status).name if result else None)
        assert statuses == [
            "COMMAND_OK", None, "PIPELINE_SYNC", "FATAL_ERROR", None, "PIPELINE_ABORTED", None, "PIPELINE_SYNC"
        ], statuses  # fmt: skip
        pg.exit_pipeline_mode()
        assert c.execute("SELECT n FROM pipe2 ORDER BY n").fetchall() == [(1,), (4,), (5,)]
        with raises(errors.SyntaxError):
            with c.pipeline():
                c.execute("SELEKT 1", prepare=True)
                c.execute("SELECT 1", prepare=True)
        for _ in range(3):
            assert value(c, "SELECT 1", prepare=True) == 1
        c.execute("DROP TABLE pipe2")


@test
def pipelined_transactions_at_once():
    def work(number):
        with connect() as c:
            for turn in range(10):
                with c.pipeline(), c.transaction():
                    one = c.execute("SELECT %s::int", (number,), prepare=True)
                    pids = [c.execute("SELECT pg_backend_pid()", prepare=turn % 2 == 0) for _ in range(5)]
                assert one.fetchone() == (number,)
                assert len({cur.fetchone() for cur in pids}) == 1

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(work, range(10)))


@test
def many_at_once():
    with connect() as c:
        c.execute("CREATE TABLE many (n int, t text)")
        with c.cursor() as cur:
            cur.executemany("INSERT INTO many VALUES (%s, %s)", [(n, str(n)) for n in range(2_000)])
            assert cur.rowcount == 2_000
            cur.executemany("UPDATE many SET t = t || '!' WHERE n = %s RETURNING t", [(1,), (2,)], returning=True)
            assert [r.fetchone()[0] for r in cur.results()] == ["1!", "2!"]
        with raises(errors.InvalidTextRepresentation):
            with c.cursor() as cur:
                cur.executemany("INSERT INTO many VALUES (%s::text::int)", [("1",), ("x",), ("3",)])
        # executemany is one pipeline, and so one transaction.
        assert value(c, "SELECT count(*) FROM many") == 2_000
        c.execute("DROP TABLE many")


# --- Cursors ---


@test
def server_side_cursors():
    with connect(autocommit=False) as c:
        with c.cursor("walk") as cur:
            cur.itersize = 100
            cur.execute("SELECT n FROM generate_series(1, 1000) n")
            assert cur.fetchone() == (1,)
            assert cur.fetchmany(3) == [(2,), (3,), (4,)]
            with connect() as other:
                value(other, "SELECT 1")
            assert sum(n for (n,) in cur) == sum(range(5, 1001))
        with c.cursor("scroll", scrollable=True) as cur:
            cur.execute("SELECT n FROM generate_series(1, 100) n")
            cur.scroll(50, mode="absolute")
            assert cur.fetchone() == (51,)
            cur.scroll(-10)
            assert cur.fetchone() == (42,)
        c.commit()
        with c.cursor("held", withhold=True) as cur:
            cur.execute("SELECT n FROM generate_series(1, 100) n")
            assert cur.fetchone() == (1,)
            c.commit()
            with connect() as other:
                value(other, "SELECT 1")
            assert cur.fetchmany(2) == [(2,), (3,)]
        c.commit()
        with raises(errors.InvalidCursorName):
            c.execute("FETCH ALL FROM walk")


@test
def rows_are_streamed():
    with connect() as c:
        assert sum(n for (n,) in c.cursor().stream("SELECT generate_series(1, 20000)")) == 20_000 * 20_001 // 2
        if psycopg.pq.version() >= 170000:
            rows = c.cursor().stream("SELECT generate_series(1, 20000)", size=1000)
            assert sum(n for (n,) in rows) == 20_000 * 20_001 // 2
        for (n,) in c.cursor().stream("SELECT generate_series(1, 1000000)"):
            if n == 10:
                break
        assert value(c, "SELECT 1") == 1


@test
def simple_queries_of_several_statements():
    with connect() as c:
        cur = psycopg.ClientCursor(c)
        cur.execute("SELECT %s; SELECT 2; SELECT 'three'", (1,))
        got = []
        while True:
            got.append(cur.fetchone()[0])
            if not cur.nextset():
                break
        assert got == [1, 2, "three"]
        with raises(errors.DivisionByZero):
            c.execute("CREATE TABLE implicit (n int); SELECT 1/0")
        with raises(errors.UndefinedTable):
            c.execute("SELECT * FROM implicit")
        c.execute("SELECT 1; BEGIN; CREATE TABLE implicit (n int)")
        assert c.info.transaction_status == TransactionStatus.INTRANS
        c.execute("ROLLBACK")
        assert c.execute("").statusmessage in ("", None)
        assert c.execute(" ; -- nothing").statusmessage in ("", None)


@test
def other_cursors():
    with connect() as c:
        raw = psycopg.RawCursor(c)
        assert raw.execute("SELECT $1::int, $2::text, $1::int", [1, "b"]).fetchone() == (1, "b", 1)
        assert c.cursor(row_factory=dict_row).execute("SELECT 1 AS a, NULL AS b").fetchone() == {"a": 1, "b": None}
        assert c.cursor(row_factory=scalar_row).execute(sql.SQL("SELECT {}").format("x")).fetchone() == "x"


# --- LISTEN ---


@test
def notifications():
    with connect() as listener, connect() as sender:
        listener.execute("LISTEN weir")
        pid = value(listener, "SELECT pg_backend_pid()")
        for number in range(5):
            sender.execute("SELECT pg_notify('weir', %s)", (str(number),))
        got = [n.payload for n in listener.notifies(timeout=5, stop_after=5)]
        assert got == ["0", "1", "2", "3", "4"]
        with sender.transaction():
            sender.execute("NOTIFY weir, 'late'")
            assert list(listener.notifies(timeout=0.3)) == []
        (late,) = listener.notifies(timeout=5, stop_after=1)
        assert (late.channel, late.payload) == ("weir", "late")
        assert value(listener, "SELECT pg_backend_pid()") == pid
        listener.execute("NOTIFY weir, 'own'")
        (own,) = listener.notifies(timeout=5, stop_after=1)
        assert (own.payload, own.pid) == ("own", pid)
    with connect() as fresh:
        assert fresh.execute("SELECT pg_listening_channels()").fetchall() == []


# --- Sessions ---


@test
def startup_settings():
    with connect() as setup:
        setup.execute("CREATE SCHEMA aside; CREATE TABLE aside.t AS SELECT 'aside' AS place")
        setup.execute("CREATE TABLE t AS SELECT 'public' AS place")
        options = r"-c search_path=aside,public -c statement_timeout=7s --work_mem=5MB -c app.tenant=a\ b"
        with connect(options=options, application_name="aside") as c, connect() as plain:

            def check():
                assert value(c, "SELECT place FROM t", prepare=True) == "aside"
                assert value(plain, "SELECT place FROM t", prepare=True) == "public"
                names = ("search_path", "statement_timeout", "work_mem", "app.tenant")
                # PostgreSQL 18 tidies a list, 15 leaves it as it was written.
                shown = [value(c, f"SHOW {name}").replace(", ", ",") for name in names]
                assert shown == ["aside,public", "7s", "5MB", "a b"], shown
                assert value(c, "SHOW application_name") == "aside"
                assert value(plain, "SHOW statement_timeout") == "0"
                assert value(plain, "SHOW application_name") == ""

            same_everywhere(c, check)
            for command in ("DISCARD ALL", "RESET ALL"):
                # '' is what servers have of themselves: they report no change, and the client must hear of one.
                for changed in ("changed", ""):
                    c.execute(f"SET application_name TO '{changed}'")
                    assert c.info.parameter_status("application_name") == changed
                    c.execute(command)
                    assert c.info.parameter_status("application_name") == "aside", (command, changed)
                    same_everywhere(c, check)
        setup.execute("DROP SCHEMA aside CASCADE; DROP TABLE t")
    with raises(psycopg.Error):
        with connect(options="-c no_such_setting=1") as c:
            c.execute("SELECT 1")


SEEN = ("application_name", "TimeZone", "DateStyle", "IntervalStyle", "client_encoding", "search_path",
        "statement_timeout", "work_mem", "extra_float_digits", "default_transaction_isolation", "role")  # fmt: skip


def seen(c):
    return {name: value(c, f"SHOW {name}") for name in SEEN}


@test
def nobody_sees_anothers_settings():
    with connect() as first:
        clean = seen(first)
        for command in (
            "SET application_name TO 'loud'",
            "SET TimeZone TO 'Asia/Tokyo'",
            "SET DateStyle TO 'German'",
            "SET IntervalStyle TO iso_8601",
            "SET search_path TO pg_catalog",
            "SET statement_timeout TO '11s'",
            "SET SESSION work_mem TO '7MB'",
            "SELECT set_config('extra_float_digits', '0', false)",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET ROLE app",
            "SELECT set_config('app.secret', 'mine', false)",
            "BEGIN; SET TimeZone TO 'Asia/Tokyo'; COMMIT",
            "BEGIN; SET LOCAL TimeZone TO 'Asia/Tokyo'; COMMIT",
            "BEGIN; SET TimeZone TO 'Asia/Tokyo'; ROLLBACK",
            "CREATE TEMP TABLE mine (n int)",
            "SELECT pg_advisory_lock(4711)",
            "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
            "PREPARE mine AS SELECT 1",
        ):
            with connect() as loud:
                loud.execute(command)
                value(loud, "SELECT 1")
                for _ in range(2):
                    assert seen(first) == clean, command
                with connect() as other:
                    assert seen(other) == clean, command
                    with raises(psycopg.Error):
                        other.execute("SELECT * FROM mine")
                    with raises(psycopg.Error):
                        other.execute("FETCH ALL FROM mine")
                    with raises(psycopg.Error):
                        other.execute("EXECUTE mine")
                    # The name may be known there, as after a SET LOCAL in PostgreSQL itself; its value never is.
                    assert value(other, "SELECT coalesce(current_setting('app.secret', true), '')") == ""
                    if "4711" in command:
                        assert value(other, "SELECT pg_try_advisory_lock(4711)") is False
            # It is gone: its lock too.
            with connect() as other:
                suite.until(lambda: value(other, "SELECT pg_try_advisory_xact_lock(4711)"))
                assert seen(other) == clean, command


@test
def settings_follow_their_session():
    with connect() as a, connect() as b:
        wishes = ((a, "a", "Asia/Tokyo", "German, DMY"), (b, "b", "Europe/Paris", "SQL, MDY"))
        for c, name, zone, style in wishes:
            c.execute(f"SET application_name TO '{name}'")
            c.execute(f"SET TimeZone TO '{zone}'; SET DateStyle TO '{style}'")

        def check():
            for c, name, zone, style in wishes:
                followed = ("application_name", "TimeZone", "DateStyle")
                assert [value(c, f"SHOW {setting}") for setting in followed] == [name, zone, style]
                assert [c.info.parameter_status(setting) for setting in followed] == [name, zone, style]

        same_everywhere(a, check)
        b.execute("BEGIN")
        b.execute("SET TimeZone TO 'UTC'")
        # It is told of at the next ReadyForQuery.
        assert (value(b, "SHOW TimeZone"), b.info.parameter_status("TimeZone")) == ("UTC", "UTC")
        b.execute("ROLLBACK")
        same_everywhere(b, check)
        # The server at hand has what the other one wants, so that it is aligned first.
        a.execute("RESET ALL")
        a.execute("SET application_name TO 'a'; SET TimeZone TO 'Asia/Tokyo'; SET DateStyle TO 'German, DMY'")
        same_everywhere(a, check)
        for c in (a, b):
            c.execute("RESET ALL")
            with servers_one_by_one() as steps:
                for _ in steps:
                    assert value(c, "SHOW application_name") == ""
                    assert c.info.parameter_status("DateStyle") == value(c, "SHOW DateStyle") == "ISO, MDY"


@test
def settings_that_nobody_reports():
    with connect() as c:
        c.execute("SELECT set_config('extra_float_digits', '0', false)")
        c.execute("SET statement_timeout TO '9s'")
        for _ in range(3):
            with connect() as other:
                assert value(other, "SHOW statement_timeout") == "0"
            assert (value(c, "SHOW extra_float_digits"), value(c, "SHOW statement_timeout")) == ("0", "9s")
        c.execute("RESET statement_timeout")
        assert value(c, "SHOW statement_timeout") == "0"


@test
def temporary_tables_stay():
    with connect() as c:
        c.execute("CREATE TEMP TABLE mine AS SELECT 1 AS n")
        for _ in range(3):
            with connect() as other:
                value(other, "SELECT 1")
            assert value(c, "SELECT n FROM mine", prepare=True) == 1


@test
def sequences_remember():
    with connect() as c, connect() as other:
        c.execute("CREATE SEQUENCE seq")
        assert value(c, "SELECT nextval('seq')") == 1
        assert value(other, "SELECT nextval('seq')") == 2
        with c.transaction():
            assert value(c, "SELECT nextval('seq')") == 3
            assert value(c, "SELECT currval('seq')") == 3
            assert value(c, "SELECT lastval()") == 3
        c.execute("DROP SEQUENCE seq")


# --- Ends ---


@test
def a_client_that_goes_away_in_a_transaction():
    with connect() as c:
        c.execute("CREATE TABLE gone (n int)")
        for how in ("socket", "close"):
            other = connect()
            other.execute("BEGIN")
            other.execute("LOCK TABLE gone")
            other.execute("INSERT INTO gone VALUES (1)")
            if how == "close":
                other.close()
            else:
                cut(other)
            c.execute("SET statement_timeout TO '10s'")
            assert value(c, "SELECT count(*) FROM gone") == 0
        c.execute("DROP TABLE gone")


@test
def a_client_that_goes_away_in_a_query():
    if not PROXIED:
        return
    with connect() as c:
        for number in range(SERVERS + 2):
            other = connect()
            other.pgconn.send_query(f"SELECT pg_sleep(60), {number}".encode())
            other.pgconn.flush()
            time.sleep(0.2)
            cut(other)
            assert value(c, "SELECT 1") == 1
        count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = 'active'"
        suite.until(lambda: value(c, count) == 0)


@test
def a_server_that_is_terminated():
    with connect() as c, connect() as other:
        # Behind the proxy a client outlives its server, and is told that nobody knows what became of its statement.
        with raises(errors.TransactionResolutionUnknown if PROXIED else errors.AdminShutdown):
            c.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert value(c, "SELECT 2") == 2 if PROXIED else c.broken
        assert value(other, "SELECT 1") == 1
    with connect() as c, connect(url=suite.ADMIN_URL) as admin:
        with raises(errors.SerializationFailure if PROXIED else psycopg.OperationalError):
            with c.transaction():
                pid = value(c, "SELECT pg_backend_pid()")
                assert value(admin, "SELECT pg_terminate_backend(%s)", (pid,))
                for _ in range(100):
                    value(c, "SELECT 1")
                    time.sleep(0.02)
        assert value(c, "SELECT 3") == 3 if PROXIED else c.closed
    with connect() as c, connect(url=suite.ADMIN_URL) as admin:
        # An idle server's end is nobody's business behind the proxy.
        pid = value(c, "SELECT pg_backend_pid()")
        assert value(admin, "SELECT pg_terminate_backend(%s, 5000)", (pid,))
        if PROXIED:
            time.sleep(0.1)
            assert value(c, "SELECT 1") == 1


# --- psycopg_pool ---


@test
def the_drivers_pool():
    resets = []

    def reset(c):
        resets.append(value(c, "SELECT 1"))

    with connect() as c:
        c.execute("CREATE TABLE pooled (n int)")
    with psycopg_pool.ConnectionPool(
        URL,
        min_size=6,
        max_size=6,
        kwargs={"autocommit": True},
        reset=reset,
        check=psycopg_pool.ConnectionPool.check_connection,
    ) as pool:
        pool.wait(timeout=20)

        def work(number):
            with pool.connection() as c:
                if number % 5 == 0:
                    try:
                        with c.transaction():
                            c.execute("INSERT INTO pooled VALUES (%s)", (number,))
                            c.execute("SELECT 1/0")
                    except errors.DivisionByZero:
                        pass
                else:
                    c.execute("INSERT INTO pooled VALUES (%s)", (number,), prepare=number % 2 == 0)
                assert c.info.transaction_status == TransactionStatus.IDLE

        with concurrent.futures.ThreadPoolExecutor(12) as threads:
            list(threads.map(work, range(200)))
        with pool.connection() as c:
            assert value(c, "SELECT count(*), sum(n) FROM pooled") == 160
        # Left open: the pool rolls back.
        c = pool.getconn()
        c.execute("BEGIN")
        c.execute("INSERT INTO pooled VALUES (-1)")
        pool.putconn(c)
        with pool.connection() as c:
            assert value(c, "SELECT min(n) FROM pooled") == 1
        pool.check()
    assert len(resets) >= 200
    with psycopg_pool.NullConnectionPool(URL, max_size=4) as pool:
        for _ in range(5):
            with pool.connection() as c:
                assert value(c, "SELECT 1") == 1
    with connect() as c:
        c.execute("DROP TABLE pooled")


@test
def the_drivers_pool_with_discard_all():
    def reset(c):
        c.execute("DISCARD ALL")

    with psycopg_pool.ConnectionPool(URL, min_size=5, max_size=5, kwargs={"autocommit": True}, reset=reset) as pool:
        pool.wait(timeout=20)

        def work(number):
            with pool.connection() as c:
                assert value(c, "SHOW application_name") == ""
                c.execute(f"SET application_name TO 'n{number}'")
                assert value(c, "SELECT %s::int", (number,), prepare=True) == number
                assert value(c, "SHOW application_name") == f"n{number}"

        with concurrent.futures.ThreadPoolExecutor(10) as threads:
            list(threads.map(work, range(100)))


# --- async ---


@test
async def async_at_once():
    async def work(number):
        async with await psycopg.AsyncConnection.connect(URL, autocommit=True) as c:
            for turn in range(10):
                cur = await c.execute("SELECT %s::int, %s::text", (number, f"{turn}"), prepare=turn > 3)
                assert await cur.fetchone() == (number, f"{turn}")
                async with c.transaction():
                    pids = {(await (await c.execute("SELECT pg_backend_pid()")).fetchone())[0] for _ in range(3)}
                    assert len(pids) == 1
                async with c.pipeline():
                    cursors = [await c.execute("SELECT %s::int + %s::int", (turn, n)) for n in range(10)]
                assert [(await cur.fetchone())[0] for cur in cursors] == [turn + n for n in range(10)]

    await asyncio.gather(*(work(number) for number in range(25)))


@test
async def async_tasks_are_cancelled():
    async with await psycopg.AsyncConnection.connect(URL, autocommit=True) as c:
        for _ in range(3):
            with raises(asyncio.TimeoutError):
                await asyncio.wait_for(c.execute("SELECT pg_sleep(30)"), 0.3)
            assert await (await c.execute("SELECT 1")).fetchone() == (1,)


@test
async def async_copy_cursor_and_notify():
    connect = lambda: psycopg.AsyncConnection.connect(URL, autocommit=True)
    async with await connect() as c, await connect() as sender:
        await c.execute("CREATE TABLE acp (n int)")
        async with c.cursor().copy("COPY acp FROM STDIN") as copy:
            for n in range(10_000):
                await copy.write_row((n,))
        async with c.transaction(), c.cursor("walk") as cur:
            cur.itersize = 1000
            await cur.execute("SELECT n FROM acp ORDER BY n")
            assert [n async for (n,) in cur] == list(range(10_000))
        await c.execute("DROP TABLE acp")
        await c.execute("LISTEN aweir")
        for number in range(3):
            await sender.execute(f"NOTIFY aweir, '{number}'")
        assert [n.payload async for n in c.notifies(timeout=5, stop_after=3)] == ["0", "1", "2"]


@test
async def async_pool():
    async with psycopg_pool.AsyncConnectionPool(URL, min_size=8, max_size=8, open=False) as pool:
        await pool.wait(timeout=20)

        async def work(number):
            async with pool.connection() as c:
                cur = await c.execute("SELECT %s::int", (number,), prepare=number % 2 == 0)
                assert await cur.fetchone() == (number,)

        await asyncio.gather(*(work(number) for number in range(200)))


if __name__ == "__main__":
    print(f"psycopg {psycopg.__version__}, libpq {psycopg.pq.version()}, {psycopg.pq.__impl__}")
    suite.main()

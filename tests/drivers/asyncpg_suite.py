"""asyncpg against SUITE_URL: its own protocol code, binary formats, a cache of prepared statements and a pool."""

import asyncio
import datetime as dt
import decimal
import hashlib
import io
import ipaddress
import json
import os
import ssl
import time
import uuid
from contextlib import asynccontextmanager

import asyncpg

import suite
from suite import PROXIED, SERVERS, URL, raises, test


@asynccontextmanager
async def connect(**kwargs):
    c = await asyncpg.connect(kwargs.pop("url", URL), ssl=kwargs.pop("ssl", False), **kwargs)
    try:
        yield c
    finally:
        if not c.is_closed():
            await c.close(timeout=10)


async def everywhere(check):
    """Runs `check` while exactly one server is free, for each server in turn."""
    holders = [await asyncpg.connect(URL, ssl=False) for _ in range(SERVERS)]
    try:
        for holder in holders:
            await holder.execute("BEGIN; SELECT 1")
        for holder in holders:
            await holder.execute("COMMIT")
            await check()
            await check()
            await holder.execute("BEGIN; SELECT 1")
    finally:
        for holder in holders:
            await holder.close(timeout=10)


# --- Connections ---


@test
async def a_connection_knows_where_it_is():
    async with connect() as c:
        settings = c.get_settings()
        # asyncpg's startup packet says 'utf-8', with the quotes; PostgreSQL answers with its own name of it.
        assert settings.client_encoding == "UTF8"
        assert settings.TimeZone == await c.fetchval("SHOW TimeZone")
        assert settings.application_name == ""
        assert c.get_server_version().major == int(await c.fetchval("SHOW server_version_num")) // 10_000
        assert await c.fetchval("SELECT current_user") == "app"
        assert c.get_server_pid() > 0


@test
async def tls_is_verified():
    if not suite.CA:
        return
    context = ssl.create_default_context(cafile=suite.CA)
    async with connect(url=suite.TLS_URL, ssl=context) as c:
        assert c._transport.get_extra_info("ssl_object").version().startswith("TLS")
        assert await c.fetchval("SELECT repeat('x', 3000000)") == "x" * 3_000_000
        with raises(asyncio.TimeoutError):
            await c.fetchval("SELECT pg_sleep(30)", timeout=0.3)
        assert await c.fetchval("SELECT 1") == 1
    # PostgreSQL asks for ALPN where TLS comes without an SSLRequest, and so do we.
    context.set_alpn_protocols(["postgresql"])
    async with connect(url=suite.TLS_URL, ssl=context, direct_tls=True) as c:
        assert await c.fetchval("SELECT 1") == 1
    with raises(ssl.SSLCertVerificationError):
        async with connect(url=suite.TLS_URL, ssl=ssl.create_default_context()):
            pass


@test
async def logins_are_refused():
    with raises(asyncpg.InvalidPasswordError):
        async with connect(password="wrong"):
            pass
    with raises(asyncpg.InvalidPasswordError):
        async with connect(user="nobody"):
            pass
    with raises((asyncpg.InvalidCatalogNameError, asyncpg.PostgresError), "no_such_database"):
        async with connect(database="no_such_database"):
            pass
    with raises(ConnectionError):
        async with connect(ssl="require"):
            pass


@test
async def only_the_primary_is_asked_for():
    for attrs in ("primary", "read-write"):
        async with connect(target_session_attrs=attrs) as c:
            assert await c.fetchval("SELECT 1") == 1


@test
async def many_connections_at_once():
    pids = set()

    async def work(number):
        async with connect(server_settings={"application_name": f"worker {number}"}) as c:
            for turn in range(10):
                assert await c.fetchval("SELECT $1::int + 1", number * 100 + turn) == number * 100 + turn + 1
                async with c.transaction():
                    assert await c.fetchval("SHOW application_name") == f"worker {number}"
                    pids.add(await c.fetchval("SELECT pg_backend_pid()"))

    await asyncio.gather(*(work(number) for number in range(40)))
    assert not PROXIED or 1 < len(pids) <= SERVERS, pids


# --- Transactions ---


@test
async def transactions():
    async with connect() as c, connect() as other:
        await c.execute("CREATE TABLE tx (n int PRIMARY KEY)")
        async with c.transaction():
            await c.execute("INSERT INTO tx VALUES (1)")
            assert await other.fetch("SELECT n FROM tx") == []
            with raises(asyncpg.UniqueViolationError):
                async with c.transaction():
                    await c.execute("INSERT INTO tx VALUES (2)")
                    await c.execute("INSERT INTO tx VALUES (1)")
            async with c.transaction():
                await c.execute("INSERT INTO tx VALUES (3)")
        with raises(asyncpg.DivisionByZeroError):
            async with c.transaction():
                await c.execute("INSERT INTO tx VALUES (4)")
                await c.fetchval("SELECT 1 / $1::int", 0)
        assert not c.is_in_transaction()
        assert [r["n"] for r in await c.fetch("SELECT n FROM tx ORDER BY n")] == [1, 3]
        tr = c.transaction(isolation="serializable", readonly=True, deferrable=True)
        await tr.start()
        assert await c.fetchval("SHOW transaction_isolation") == "serializable"
        with raises(asyncpg.ReadOnlySQLTransactionError):
            await c.execute("INSERT INTO tx VALUES (5)")
        with raises(asyncpg.InFailedSQLTransactionError):
            await c.execute("SELECT 1")
        await tr.rollback()
        await c.execute("DROP TABLE tx")


@test
async def a_transaction_keeps_its_server():
    async with connect() as c, connect() as other:
        async with c.transaction():
            pid = await c.fetchval("SELECT pg_backend_pid()")
            for _ in range(5):
                assert await other.fetchval("SELECT pg_backend_pid()") != pid
                assert await c.fetchval("SELECT pg_backend_pid()") == pid


# --- Prepared statements ---


@test
async def cached_statements_follow_their_connection():
    async with connect() as c:

        async def check():
            assert await c.fetchrow("SELECT $1::int8 * 2, $2::text", 21, "é") == (42, "é")

        await everywhere(check)


@test
async def explicit_statements():
    async with connect() as c:
        statement = await c.prepare("SELECT $1::int AS a, $2::text AS b")
        assert [p.name for p in statement.get_parameters()] == ["int4", "text"]
        assert [a.name for a in statement.get_attributes()] == ["a", "b"]

        async def check():
            assert await statement.fetchrow(1, "x") == (1, "x")

        await check()
        await everywhere(check)
        named = await c.prepare("SELECT 'named'", name="mine")
        assert await named.fetchval() == "named"
        with raises(asyncpg.DuplicatePreparedStatementError, '"mine" already exists'):
            await c.prepare("SELECT 2", name="mine")
        assert await named.fetchval() == "named"
        with raises(asyncpg.PostgresSyntaxError):
            await c.prepare("SELEKT")
        del named, statement


@test
async def one_name_means_each_connections_own_statement():
    connections = [await asyncpg.connect(URL, ssl=False) for _ in range(SERVERS + 3)]
    statements = []
    for number, c in enumerate(connections):
        # asyncpg ends Parse and Describe with a Flush: the server is this client's until its next Sync.
        statements.append(await c.prepare(f"SELECT {number} + $1::int", name="same"))
        assert await statements[-1].fetchval(1) == number + 1
    for turn in range(5):
        got = await asyncio.gather(*(s.fetchval(turn) for s in statements))
        assert got == [number + turn for number in range(len(connections))]
    for c in connections:
        await c.close()


@test
async def the_cache_evicts():
    """asyncpg sends Close for what falls out of its cache."""
    async with connect(statement_cache_size=5) as c, connect(statement_cache_size=0) as none:
        for turn in range(3):
            for number in range(30):
                for one in (c, none):
                    assert await one.fetchval(f"SELECT {number} + $1::int", turn) == number + turn


@test
async def more_statements_than_a_server_keeps():
    async with connect() as a, connect() as b:
        for _ in range(3):
            for number in range(60):
                assert await a.fetchval(f"SELECT {number} + $1::int", 1) == number + 1
                assert await b.fetchval(f"SELECT {number} + $1::int", 2) == number + 2


@test
async def deallocate_all_is_no_secret():
    async with connect() as c:
        statement = await c.prepare("SELECT 1")
        assert await statement.fetchval() == 1
        await c.execute("DEALLOCATE ALL")
        with raises(asyncpg.InvalidSQLStatementNameError):
            await statement.fetchval()
        await c.reload_schema_state()
        assert await c.fetchval("SELECT 2") == 2


@test
async def a_result_type_that_changes():
    """asyncpg decodes by the description that it got at Parse: the plan must not change behind its back."""
    async with connect() as c, connect() as ddl:
        await ddl.execute("CREATE TABLE ddl (a int); INSERT INTO ddl VALUES (1)")

        async def check():
            assert [tuple(r) for r in await c.fetch("SELECT * FROM ddl")] == rows

        rows = [(1,)]
        await everywhere(check)
        await ddl.execute("ALTER TABLE ddl ADD b text DEFAULT 'new'")
        rows = [(1, "new")]
        await everywhere(check)
        await ddl.execute("ALTER TABLE ddl ALTER a TYPE text USING 'n' || a")
        rows = [("n1", "new")]
        await everywhere(check)
        await ddl.execute("ALTER TABLE ddl DROP a")
        rows = [("new",)]
        await everywhere(check)
        async with c.transaction():
            await c.execute("ALTER TABLE ddl ADD z int DEFAULT 5")
            assert tuple(await c.fetchrow("SELECT b, z FROM ddl")) == ("new", 5)
        await ddl.execute("DROP TABLE ddl")


@test
async def types_of_ones_own():
    async with connect() as c, connect() as other:
        await c.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b mood)")
        assert await c.fetchval("SELECT $1::mood", "ok") == "ok"
        assert await c.fetchval("SELECT $1::pair", (1, "sad")) == (1, "sad")
        assert await c.fetchval("SELECT $1::pair[]", [(1, "sad"), None]) == [(1, "sad"), None]
        await c.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        assert await c.fetchval("SELECT $1::jsonb", {"a": [1, None]}) == {"a": [1, None]}
        await other.execute("DROP TYPE pair; DROP TYPE mood")


# --- Values ---


@test
async def values_of_many_types():
    stamp = dt.datetime(2024, 2, 29, 23, 59, 59, 999999)
    zoned = stamp.replace(tzinfo=dt.timezone(dt.timedelta(hours=-7)))
    pairs = [
        ("int2", -32768), ("int4", 2**31 - 1), ("int8", -(2**63)), ("float8", 1e-300), ("float4", 0.5),
        ("numeric", decimal.Decimal("12345678901234567890.000000000012345")), ("bool", True), ("text", "☃ 𝔘"),
        ("bytea", bytes(range(256))), ("uuid", uuid.uuid4()), ("date", dt.date(1, 1, 1)), ("time", dt.time(1, 2, 3, 4)),
        ("timestamp", stamp), ("timestamptz", zoned), ("interval", dt.timedelta(days=-3, seconds=5)),
        ("inet", ipaddress.ip_interface("10.1.2.3/24")), ("int4[]", [1, None, 3]), ("text[]", ['a"b', "c,d", "", None]),
        ("int4[]", [[1, 2], [3, 4]]), ("timestamptz[]", [zoned]), ("int4range", asyncpg.Range(1, 10)),
        ("json", '{"a": 1}'), ("point", asyncpg.Point(1.5, 2)), ("bit(3)", asyncpg.BitString("101")),
    ]  # fmt: skip
    async with connect() as c:
        for kind, sent in pairs:
            for _ in range(2):
                got, null = await c.fetchrow(f"SELECT $1::{kind}, NULL::{kind}", sent)
                assert got == sent and null is None, (kind, got, sent)


@test
async def large_values_both_ways():
    text, data = "pg_wéir " * 1_250_000, os.urandom(10_000_000)
    async with connect() as c:
        await c.execute("CREATE TABLE large (t text, b bytea)")
        await c.execute("INSERT INTO large VALUES ($1, $2)", text, data)
        assert await c.fetchrow("SELECT t, b FROM large") == (text, data)
        assert await c.fetchval("SELECT md5(b) FROM large") == hashlib.md5(data).hexdigest()
        assert await c.fetchval("SELECT length('" + "x" * 3_000_000 + "')") == 3_000_000
        await c.execute("DROP TABLE large")


@test
async def many_columns_and_rows():
    async with connect() as c:
        assert tuple(await c.fetchrow("SELECT " + ", ".join(map(str, range(1600))))) == tuple(range(1600))
        params = list(range(1600))
        text = "SELECT " + ", ".join(f"${n + 1}::int" for n in params)
        assert list(await c.fetchrow(text, *params)) == params
        rows = await c.fetch("SELECT n, repeat('z', n % 50) AS z FROM generate_series(1, 100000) n")
        assert len(rows) == 100_000 and tuple(rows[48]) == (49, "z" * 49)


# --- Errors and notices ---


@test
async def errors_say_what_and_where():
    async with connect() as c:
        with raises(asyncpg.UndefinedColumnError) as caught:
            await c.fetch("SELECT   nothing_there WHERE $1::int = 1", 1)
        assert (caught.value.sqlstate, caught.value.position) == ("42703", "10")
        await c.execute("CREATE TABLE err (n int CONSTRAINT positive CHECK (n > 0))")
        with raises(asyncpg.CheckViolationError) as caught:
            await c.execute("INSERT INTO err VALUES ($1)", -1)
        assert (caught.value.table_name, caught.value.constraint_name) == ("err", "positive")
        await c.execute("DROP TABLE err")
        with raises(asyncpg.DivisionByZeroError):
            await c.fetch("SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n")
        assert await c.fetchval("SELECT 1") == 1


@test
async def notices():
    async with connect() as c:
        heard = []
        c.add_log_listener(lambda _, message: heard.append((message.severity, message.message)))
        await c.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
        await c.execute("DROP TABLE IF EXISTS nothing_there")
        await asyncio.sleep(0)
        expected = [("NOTICE", "one"), ("WARNING", "two"), ("NOTICE", 'table "nothing_there" does not exist, skipping')]
        assert heard == expected, heard


# --- Pipelines, cursors, COPY ---


@test
async def executemany():
    async with connect() as c:
        await c.execute("CREATE TABLE many (n int PRIMARY KEY, t text)")
        await c.executemany("INSERT INTO many VALUES ($1, $2)", [(n, str(n) * 20) for n in range(20_000)])
        assert await c.fetchval("SELECT count(*) FROM many") == 20_000
        # One implicit transaction.
        with raises(asyncpg.UniqueViolationError):
            await c.executemany("INSERT INTO many VALUES ($1, '')", [(n,) for n in range(19_999, 40_000)][::-1])
        assert await c.fetchval("SELECT count(*) FROM many") == 20_000
        if hasattr(c, "fetchmany"):
            rows = await c.fetchmany("UPDATE many SET t = t WHERE n = $1 RETURNING n", [(n,) for n in range(1000)])
            assert [r["n"] for r in rows] == list(range(1000))
        await c.execute("DROP TABLE many")


@test
async def cursors():
    async with connect() as c, connect() as other:
        async with c.transaction():
            got = []
            async for record in c.cursor("SELECT n FROM generate_series(1, $1::int) n", 1000, prefetch=37):
                got.append(record["n"])
                if len(got) % 200 == 0:
                    await other.fetchval("SELECT 1")
            assert got == list(range(1, 1001))
            walk = await c.cursor("SELECT n FROM generate_series(1, 100) n")
            assert (await walk.fetchrow())["n"] == 1
            assert await walk.forward(10) == 10
            assert [r["n"] for r in await walk.fetch(3)] == [12, 13, 14]
        with raises(asyncpg.NoActiveSQLTransactionError):
            async for _ in c.cursor("SELECT 1"):
                pass
        # A row limit outside a transaction leaves the portal suspended; the Sync ends it.
        statement = await c.prepare("SELECT n FROM generate_series(1, 1000) n")
        for _ in range(3):
            assert await statement.fetchval() == 1
            assert (await c.fetchrow("SELECT n FROM generate_series(5, 1000) n"))["n"] == 5


@test
async def copies():
    rows = [(n, None if n % 7 == 0 else f"täxt\t{n}\\", dt.date(2000, 1, 1) + dt.timedelta(n)) for n in range(20_000)]
    async with connect() as c:
        await c.execute("CREATE TABLE cp (n int, t text, d date)")
        assert await c.copy_records_to_table("cp", records=rows) == "COPY 20000"
        assert [tuple(r) for r in await c.fetch("SELECT * FROM cp ORDER BY n")] == rows
        out = io.BytesIO()
        half = "SELECT * FROM cp WHERE n < $1 ORDER BY n"
        assert await c.copy_from_query(half, 10_000, output=out, format="csv") == "COPY 10000"
        out.seek(0)
        assert await c.copy_to_table("cp", source=out, format="csv") == "COPY 10000"
        assert await c.fetchval("SELECT count(*) FROM cp") == 30_000
        out = io.BytesIO()
        await c.copy_from_table("cp", output=out, format="binary")
        out.seek(0)
        assert await c.copy_to_table("cp", source=out, format="binary") == "COPY 30000"
        with raises(asyncpg.BadCopyFileFormatError):
            await c.copy_to_table("cp", source=io.BytesIO(b"1\n" * 100_000))
        with raises(ZeroDivisionError):

            def broken():
                yield (1, "a", None)
                1 / 0

            await c.copy_records_to_table("cp", records=broken())
        assert await c.fetchval("SELECT count(*) FROM cp") == 60_000
        with raises(asyncpg.UndefinedTableError):
            await c.copy_to_table("nowhere", source=io.BytesIO(b"1\n"))
        await c.execute("DROP TABLE cp")


@test
async def copies_at_once():
    async def work(number):
        async with connect() as c:
            await c.copy_records_to_table("cps", records=[(number, n) for n in range(5_000)])
            out = io.BytesIO()
            await c.copy_from_query("SELECT n FROM cps WHERE k = $1", number, output=out)
            return sum(map(int, out.getvalue().split()))

    async with connect() as c:
        await c.execute("CREATE TABLE cps (k int, n int)")
        assert await asyncio.gather(*map(work, range(8))) == [5_000 * 4_999 // 2] * 8
        await c.execute("DROP TABLE cps")


# --- Cancel ---


@test
async def timeouts_cancel():
    async with connect() as c, connect() as other:
        for _ in range(5):
            began = time.monotonic()
            with raises(asyncio.TimeoutError):
                await c.fetchval("SELECT pg_sleep(30)", timeout=0.2)
            assert time.monotonic() - began < 10
            assert await other.fetchval("SELECT 1") == 1
            assert await c.fetchval("SELECT 1") == 1
        with raises(asyncio.TimeoutError):
            async with c.transaction():
                await c.execute("SELECT pg_sleep(30)", timeout=0.2)
        assert await c.fetchval("SELECT 1") == 1


@test
async def cancelled_tasks_hit_nobody_else():
    async with connect() as c, connect() as busy:

        async def others():
            for turn in range(60):
                assert await busy.fetchval("SELECT $1::int FROM pg_sleep(0.01)", turn) == turn

        async def mine():
            for _ in range(15):
                task = asyncio.ensure_future(c.fetchval("SELECT pg_sleep(0.02)"))
                await asyncio.sleep(0.018)
                task.cancel()
                try:
                    await task
                except asyncio.CancelledError:
                    pass

        await asyncio.gather(others(), mine())
        assert await c.fetchval("SELECT 1") == 1


# --- LISTEN, sessions ---


@test
async def notifications():
    async with connect() as c, connect() as sender:
        heard = asyncio.Queue()
        await c.add_listener("weir", lambda _, pid, channel, payload: heard.put_nowait((channel, payload)))
        for number in range(5):
            await sender.execute("SELECT pg_notify('weir', $1)", str(number))
        got = [await asyncio.wait_for(heard.get(), 5) for _ in range(5)]
        assert got == [("weir", str(n)) for n in range(5)]
        async with connect() as fresh:
            assert await fresh.fetch("SELECT pg_listening_channels()") == []


@test
async def startup_settings():
    async with connect() as setup:
        await setup.execute("CREATE SCHEMA aside; CREATE TABLE aside.t AS SELECT 'aside' AS place")
        await setup.execute("CREATE TABLE t AS SELECT 'public' AS place")
        wishes = {"search_path": "aside", "application_name": "mine", "statement_timeout": "7s", "jit": "off"}
        wishes["TimeZone"] = "Asia/Tokyo"
        async with connect(server_settings=wishes) as c, connect() as plain:

            async def check():
                assert await c.fetchval("SELECT place FROM t") == "aside"
                assert await plain.fetchval("SELECT place FROM t") == "public"
                assert {name: await c.fetchval(f"SHOW {name}") for name in wishes} == wishes
                assert c.get_settings().TimeZone == "Asia/Tokyo"
                assert await plain.fetchval("SHOW statement_timeout") == "0"

            await everywhere(check)
            await c.execute("SET application_name TO 'changed'; SET TimeZone TO 'UTC'")
            assert c.get_settings().TimeZone == "UTC"
            # Pool and driver: back to what the startup packet asked for, not to what servers have.
            await c.reset()
            await everywhere(check)
            assert c.get_settings().application_name == "mine"
        await setup.execute("DROP SCHEMA aside CASCADE; DROP TABLE t")


@test
async def settings_follow_their_session():
    async with connect() as a, connect() as b:
        await a.execute("SET TimeZone TO 'Asia/Tokyo'")
        await b.execute("SET DateStyle TO 'German'")

        async def check():
            shown = await a.fetchrow("SELECT current_setting('TimeZone'), current_setting('DateStyle')")
            assert shown == ("Asia/Tokyo", "ISO, MDY")
            assert (await b.fetchval("SHOW DateStyle")).startswith("German")
            assert await b.fetchval("SHOW TimeZone") != "Asia/Tokyo"

        await everywhere(check)


# --- Pool ---


@test
async def the_drivers_pool():
    """More connections than servers; each release sends the driver's reset, which must not keep a server."""
    async with asyncpg.create_pool(URL, ssl=False, min_size=8, max_size=8) as pool:

        async def work(number):
            async with pool.acquire() as c:
                assert await c.fetchval("SHOW TimeZone") != "Asia/Tokyo"
                if number % 3 == 0:
                    await c.execute("SET TimeZone TO 'Asia/Tokyo'")
                assert await c.fetchval("SELECT $1::int", number) == number
                async with c.transaction():
                    pid = await c.fetchval("SELECT pg_backend_pid()")
                    assert await c.fetchval("SELECT pg_backend_pid()") == pid

        await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(200))), 30)

        async def nothing():
            assert await pool.fetchval("SELECT 1") == 1

        await everywhere(nothing)
        with raises(asyncpg.DivisionByZeroError):
            await pool.execute("SELECT 1/0")
        # A transaction left open is rolled back by the driver's release.
        c = await pool.acquire()
        await c.execute("BEGIN")
        await pool.release(c)
        await everywhere(nothing)
        await pool.expire_connections()
        assert await pool.fetchval("SELECT 2") == 2


@test
async def the_pools_settings():
    async def init(c):
        await c.execute("SET application_name TO 'init'")

    async def setup(c):
        await c.execute("SET TimeZone TO 'Europe/Paris'")

    async with asyncpg.create_pool(URL, ssl=False, min_size=2, max_size=5, init=init, setup=setup) as pool:

        async def work(number):
            async with pool.acquire() as c:
                assert await c.fetchval("SHOW TimeZone") == "Europe/Paris"
                assert await c.fetchval("SELECT $1::text", str(number)) == str(number)

        await asyncio.wait_for(asyncio.gather(*(work(number) for number in range(100))), 30)


# --- Ends ---


@test
async def connections_drop():
    async with connect() as c:
        await c.execute("CREATE TABLE gone (n int); SET statement_timeout TO '10s'")
        for _ in range(SERVERS + 2):
            other = await asyncpg.connect(URL, ssl=False)
            await other.execute("BEGIN; LOCK TABLE gone")
            other.terminate()
            assert await c.fetchval("SELECT count(*) FROM gone") == 0
        await c.execute("DROP TABLE gone")
    async with connect() as c:
        ended = (asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)
        with raises(asyncpg.TransactionResolutionUnknownError if PROXIED else ended):
            await c.fetchval("SELECT pg_terminate_backend(pg_backend_pid())")
        if PROXIED:
            assert await c.fetchval("SELECT 2") == 2
    async with connect() as c, connect(url=suite.ADMIN_URL) as admin:
        pid = await c.fetchval("SELECT pg_backend_pid()")
        await admin.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
        if PROXIED:
            await asyncio.sleep(0.1)
            assert await c.fetchval("SELECT 1") == 1


if __name__ == "__main__":
    print(f"asyncpg {asyncpg.__version__}")
    suite.main()

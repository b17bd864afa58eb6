"""The console through Python's drivers, and PgBouncer's exporter for Prometheus over it, unchanged."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import urllib.request
from decimal import Decimal

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras

from suite import equal, main, raises, test, until

CONSOLE = os.environ["SUITE_CONSOLE_URL"]
URL = os.environ["SUITE_URL"]


def by_name(rows, key, value):
    return next(row for row in rows if row[key] == value)


def one_client():
    """A client that stays, so that there is something to see."""
    client = psycopg.connect(URL, autocommit=True, application_name="seen")
    client.execute("SELECT 1")
    return client


@test
def psycopg_asks_in_text_and_binary():
    with one_client() as client, psycopg.connect(CONSOLE, autocommit=True) as console:
        database = client.info.dbname
        for binary in [False, True]:
            with console.cursor(row_factory=psycopg.rows.dict_row, binary=binary) as cursor:
                pool = by_name(cursor.execute("SHOW POOLS").fetchall(), "database", database)
                equal((pool["cl_active"], pool["pool_mode"]), (1, "transaction"))
                stats = by_name(cursor.execute("SHOW STATS;").fetchall(), "database", database)
                assert isinstance(stats["total_query_count"], Decimal)
                clients = cursor.execute("SHOW CLIENTS").fetchall()
                equal(by_name(clients, "application_name", "seen")["user"], "app")
        for _ in range(7):
            # From its sixth use on it is a prepared statement.
            equal(console.execute("SHOW STATE").fetchall()[0], ("active", "yes"))
        with raises(psycopg.errors.SyntaxError, "invalid command"):
            console.execute("SELECT now()")
        equal(console.execute("RELOAD").statusmessage, "RELOAD")


@test
def psycopg_in_a_transaction():
    with psycopg.connect(CONSOLE) as console:
        equal(console.execute("SHOW STATE").fetchone(), ("active", "yes"))
        equal(console.info.transaction_status.name, "INTRANS")
        console.rollback()
        equal(console.info.transaction_status.name, "IDLE")
        notices = []
        console.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_detail)))
        console.execute("SHOW HELP")
        [(text, detail)] = notices
        equal(text, "Console usage")
        assert "KILL_CLIENT" in detail


@test
def psycopg2_asks():
    console = psycopg2.connect(CONSOLE)
    console.set_session(autocommit=True)
    with console.cursor(cursor_factory=psycopg2.extras.DictCursor) as cursor:
        cursor.execute("SHOW DATABASES")
        own = by_name(cursor.fetchall(), "name", "pgbouncer")
        equal((own["host"], own["pool_mode"]), (None, "statement"))
        cursor.execute("SHOW LISTS")
        equal(cursor.fetchone()["list"], "databases")
    console.close()


@test
async def asyncpg_asks():
    console = await asyncpg.connect(CONSOLE)
    rows = await console.fetch("SHOW DATABASES")
    equal(by_name(rows, "name", "pgbouncer")["pool_size"], 2)
    stats = await console.fetch("SHOW STATS_TOTALS")
    assert isinstance(stats[0]["xact_count"], Decimal)
    prepared = await console.prepare("SHOW VERSION")
    assert (await prepared.fetchval()).startswith("PgBouncer 1.25.2")
    equal(await console.execute("RECONNECT; RELOAD"), "RELOAD")
    with raises(asyncpg.InvalidCatalogNameError, "no such database: nowhere"):
        await console.execute("PAUSE nowhere")
    await console.close()


@test
async def asyncpgs_pool_asks():
    async with asyncpg.create_pool(CONSOLE, min_size=1, max_size=2) as pool:
        for _ in range(3):
            equal(await pool.fetchval("SHOW STATE"), "active")


@test
async def many_consoles_at_once():
    async def ask():
        console = await asyncpg.connect(CONSOLE)
        for _ in range(5):
            await console.fetch("SHOW POOLS")
            await console.fetch("SHOW CLIENTS")
        await console.close()

    await asyncio.gather(*[ask() for _ in range(20)])


def free_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line.startswith("pgbouncer_"))


@test
def the_exporter_works_unchanged():
    port = free_port()
    with one_client() as client, tempfile.NamedTemporaryFile("w", suffix=".yml") as config:
        database = client.info.dbname
        config.write(f"exporter_host: 127.0.0.1\nexporter_port: {port}\npgbouncers:\n  - dsn: {CONSOLE}\n")
        config.flush()
        program = os.path.join(os.path.dirname(sys.executable), "pgbouncer-exporter")
        exporter = subprocess.Popen([program, "--config", config.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:

            def is_up():
                assert exporter.poll() is None, exporter.stdout.read()
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            until(is_up, 30)
            client.execute("SELECT 1")
            metrics = scrape(port)
        finally:
            exporter.kill()
            exporter.wait()
        equal(metrics["pgbouncer_up"], "1.0")
        of = f'{{database="{database}"'
        assert float(metrics[f"pgbouncer_stats_queries_total{of}}}"]) >= 2, metrics
        equal(metrics[f'pgbouncer_pools_client_active_connections{of},user="app"}}'], "1.0")
        equal(metrics["pgbouncer_config_max_client_conn"], "1000.0")
        size = f'pgbouncer_databases_database_pool_size{{backend_database="{database}",database="{database}"}}'
        equal(metrics[size], "3.0")


main()

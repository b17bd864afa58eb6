"""What the Python suites share. The variables that `main.rs` sets:

SUITE_URL        what is tested: pgweir, or PostgreSQL itself
SUITE_SERVERS    how many servers pgweir may have for it; not set where the URL is PostgreSQL's own
SUITE_ADMIN_URL  the same database as superuser, straight to its server
SUITE_TLS_URL    the same through TLS, where SUITE_CA is the file that verifies it
SUITE_ONLY       part of a test's name, for work by hand
"""

import asyncio
import faulthandler
import inspect
import os
import sys
import time
import traceback
from contextlib import contextmanager
from urllib.parse import urlsplit

URL = os.environ["SUITE_URL"]
ADMIN_URL = os.environ["SUITE_ADMIN_URL"]
TLS_URL = os.environ.get("SUITE_TLS_URL")
CA = os.environ.get("SUITE_CA")
PROXIED = "SUITE_SERVERS" in os.environ
SERVERS = int(os.environ.get("SUITE_SERVERS", 3))
PORT = urlsplit(URL).port

LIMIT = 60
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Caught:
    value = None


@contextmanager
def raises(kinds, text=""):
    caught = Caught()
    try:
        yield caught
    except kinds as error:
        caught.value = error
        assert text in str(error), f"{text!r} is not in {error!r}"
        return
    raise AssertionError(f"{kinds} was not raised")


def equal(got, expected):
    assert got == expected, f"{got!r} is not {expected!r}"


def until(condition, limit=10):
    """Waits for what comes true in its own time."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


def main():
    only = os.environ.get("SUITE_ONLY", "")
    failed = []
    for function in TESTS:
        if only not in function.__name__:
            continue
        began = time.monotonic()
        # A hang shows where.
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        try:
            asyncio.run(function()) if inspect.iscoroutinefunction(function) else function()
            print(f"ok   {function.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
        except Exception:
            failed.append(function.__name__)
            print(f"FAIL {function.__name__} ({time.monotonic() - began:.2f} s)\n{traceback.format_exc()}", flush=True)
        faulthandler.cancel_dump_traceback_later()
    print(f"{len(TESTS) - len(failed)} passed, {len(failed)} failed: {' '.join(failed)}")
    sys.exit(bool(failed))

"""What the measurements share: a temporary database, two kinds of site, times and tables."""

import gc
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

import django
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, connection, reset_queries
from django.db.models.signals import post_save
from django.test import Client
from django.test.utils import (
    CaptureQueriesContext,
    override_settings,
    setup_test_environment,
    teardown_test_environment,
)

PASSWORD = "correct horse battery staple"
OUR_MIDDLEWARE = "authmodes.middleware.LoginSessionMiddleware"

Call = Callable[[], Any]
Clock = Callable[[], float]
Around = Mapping[str, Callable[[], AbstractContextManager[Any]]]


def setup() -> None:
    """Load Django with the settings of the benchmarks."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()


@contextmanager
def scratch_database() -> Iterator[None]:
    """Make a database with all tables; drop it at the end."""
    with environment(), database():
        yield


@contextmanager
def environment() -> Iterator[None]:
    """Have requests made by Django's test client, on a connection that stays open."""
    setup_test_environment(debug=False)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    try:
        yield
    finally:
        teardown_test_environment()


@contextmanager
def database(suffix: str = "") -> Iterator[str]:
    """Make a database and use it; give its name, and drop it at the end."""
    before = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = f"{before}{suffix}"
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    name = connection.settings_dict["NAME"]
    try:
        yield name
    finally:
        connection.settings_dict["NAME"] = name
        connection.creation.destroy_test_db(before, verbosity=0)


def our_client() -> Client:
    """A client of a site with authmodes."""
    return _client(settings.MIDDLEWARE)


def stock_client() -> Client:
    """A client of the same site without our middleware."""
    return _client([name for name in settings.MIDDLEWARE if name != OUR_MIDDLEWARE])


def _client(middleware: list[str]) -> Client:
    client = Client()
    with override_settings(MIDDLEWARE=middleware):
        client.handler.load_middleware()
    return client


@contextmanager
def without_our_receivers() -> Iterator[None]:
    """Let simplejwt blacklist tokens without our receiver."""
    from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

    from authmodes import receivers

    uid = "authmodes_blacklisted"
    assert post_save.disconnect(sender=BlacklistedToken, dispatch_uid=uid)
    try:
        yield
    finally:
        post_save.connect(
            receivers.end_blacklisted_login, sender=BlacklistedToken, dispatch_uid=uid
        )


def timed(call: Call, clock: Clock = time.perf_counter) -> float:
    """Seconds that a call takes."""
    reset_queries()
    began = clock()
    call()
    return clock() - began


@contextmanager
def settings_set(**values: Any) -> Iterator[None]:
    """Change settings, at no cost for what is timed within.

    `override_settings()` costs more than a request. Each setting is read once here, because
    Django finds it faster the second time, and a site does not change its settings.
    """
    before = {name: getattr(settings, name) for name in values if hasattr(settings, name)}
    for name, value in values.items():
        setattr(settings, name, value)
        getattr(settings, name)
    try:
        yield
    finally:
        for name in values:
            delattr(settings, name)
        for name, value in before.items():
            setattr(settings, name, value)
            getattr(settings, name)


def interleaved(
    calls: Mapping[str, Call],
    rounds: int,
    around: Around | None = None,
    clock: Clock = time.perf_counter,
) -> dict[str, float]:
    """The median time of each call in seconds; they take turns, so that load affects all alike.

    What is entered `around` a call is not timed. The clock `time.thread_time` runs only while
    this thread does: it leaves out the database's work, and other processes disturb it least.
    """
    around = around or {}
    order = list(calls)
    times: dict[str, list[float]] = {name: [] for name in calls}
    dice = random.Random(1)
    warm_up = min(20, rounds)
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + rounds):
            # No call always follows the same other call, which may leave caches warm or cold.
            dice.shuffle(order)
            for name in order:
                with around.get(name, nullcontext)():
                    taken = timed(calls[name], clock)
                if number >= warm_up:
                    times[name].append(taken)
    finally:
        gc.enable()
    return {name: statistics.median(taken) for name, taken in times.items()}


def statements(call: Call) -> list[str]:
    """The SQL of one call, with the BEGIN and COMMIT around it."""
    with CaptureQueriesContext(connection) as captured:
        call()
    return [entry["sql"] for entry in captured]


def is_bracket(sql: str) -> bool:
    """Whether a statement only opens or closes a transaction or a savepoint."""
    return sql.startswith(("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE"))


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a table as Markdown."""
    texts = [head, *(tuple(str(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in texts]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    print("\n" + "\n".join(lines))


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def print_environment() -> None:
    """Print date, machine and versions, without which the figures mean nothing."""
    import allauth
    import rest_framework
    import rest_framework_simplejwt

    connection.ensure_connection()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{platform.python_implementation()} {sys.version.split()[0]}, "
        f"Django {django.__version__}, DRF {rest_framework.VERSION}, "
        f"simplejwt {rest_framework_simplejwt.__version__}, allauth {allauth.__version__}, "
        f"{connection.display_name} {'.'.join(map(str, connection.get_database_version()))}"
    )

"""Makes writes that a view's rollback does not undo, and retries transactions on a conflict."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from allauth.core import context
from django.contrib.sessions.backends.base import UpdateError
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet
from django.http import HttpRequest

from .. import logs
from ..models import write_database
from ..state import request_state

ATTEMPTS = 5
LOG_INTERVAL = 60.0
# Serialisation failure, deadlock, lock wait: PostgreSQL's states, MySQL's numbers.
CONFLICTS = {"40001", "40P01", 1213, 1205}
# Writes of bookkeeping that were skipped since that was last logged, in this process.
skipped, logged_at = 0, -LOG_INTERVAL
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def write_or_defer(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write now; inside a view under ATOMIC_REQUESTS, after the view.

    There, an error response would roll the write back, and its locks would block other requests
    of the login and could deadlock with them.
    """
    if in_view_transaction():
        defer(request, write)
    else:
        write()


def defer(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write after the view; our middleware is outside the view's transaction."""
    request_state(request).deferred_writes.append(write)


def in_view_transaction() -> bool:
    """Whether this runs in a view's ATOMIC_REQUESTS transaction.

    Our views opt out; a project's may not.
    """
    connection = _connection()
    return connection.in_atomic_block and bool(connection.settings_dict["ATOMIC_REQUESTS"])


def outside_view_transactions(view: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Keep a view outside the transactions that ATOMIC_REQUESTS opens on any database."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def write_if_possible(rows: QuerySet[Any], **changes: Any) -> int:
    """Update bookkeeping columns; return 0 if that fails, because nothing depends on it.

    Rows that another transaction has locked are skipped, so that no request waits for them.
    """
    connection, written = _connection(), 0
    with as_bookkeeping(), transaction.atomic(using=connection.alias):
        if connection.features.has_select_for_update_skip_locked:
            unlocked = rows.select_for_update(skip_locked=True).values_list("pk", flat=True)
            rows = rows.filter(pk__in=list(unlocked))
        written = rows.update(**changes)
    return written  # noqa: RET504 - 0 if the block was left early


@contextmanager
def as_bookkeeping() -> Iterator[None]:
    """Skip a write that fails, and count it in the log: it must not fail the request.

    Every exception is caught, because each session store has errors of its own. `UpdateError`
    is raised: a login or its session no longer exists.
    """
    global skipped, logged_at
    try:
        yield
    except UpdateError:
        raise
    except Exception as error:
        skipped += 1
        if time.monotonic() - logged_at >= LOG_INTERVAL:
            # Without a trace, which may quote a session key.
            fields = {"count": skipped, "error": type(error).__name__}
            logs.log(logging.WARNING, "writes_skipped", **fields)
            skipped, logged_at = 0, time.monotonic()


def run_deferred(request: HttpRequest) -> None:
    """Run the writes that were deferred until the request's transaction is over."""
    state = request_state(request)
    writes, state.deferred_writes = state.deferred_writes, []
    # allauth's own middleware, which sets the current request, is inside ours.
    with context.request_context(request):
        for write in writes:
            write()


def retry_on_conflict(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Call a function again if its transaction lost a conflict.

    Not inside a caller's transaction, which is lost as a whole; the caller has to repeat it.
    """

    @wraps(function)
    def again(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        for _attempt in range(ATTEMPTS - 1):
            try:
                return function(*args, **kwargs)
            except OperationalError as error:
                if _connection().in_atomic_block or not _is_conflict(error):
                    raise
        return function(*args, **kwargs)

    return again


@contextmanager
def closing_old_connections() -> Iterator[None]:
    """Close old connections before and after, as Django does around a request.

    For threads that serve no request. Django's `close_old_connections` would also close a
    connection that is in a transaction, such as that of a test.
    """
    try:
        _close_old_connections()
        yield
    finally:
        _close_old_connections()


def _close_old_connections() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()


def _connection() -> BaseDatabaseWrapper:
    return connections[write_database()]


def _is_conflict(error: OperationalError) -> bool:
    cause = error.__cause__
    # psycopg, psycopg2, MySQL's clients.
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or error.args[:1]
    return (code[0] if isinstance(code, tuple) and code else code) in CONFLICTS

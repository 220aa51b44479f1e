"""Writes that survive a view's rollback, and statements that are retried on a conflict."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.http import HttpRequest

from ..models import write_database
from ..state import request_state

ATTEMPTS = 5
# Serialisation failure, deadlock, lock wait: PostgreSQL's states, MySQL's numbers.
CONFLICTS = {"40001", "40P01", 1213, 1205}
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def write_or_defer(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write now; inside a view of ATOMIC_REQUESTS, with the answer.

    There a 401 would undo it, and until then its locks would hold up the other requests of
    the same login, and meet the locks of other transactions in the wrong order.
    """
    if in_view_transaction():
        defer(request, write)
    else:
        write()


def defer(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write with the answer; our middleware stands outside the view's transaction."""
    request_state(request).deferred_writes.append(write)


def in_view_transaction() -> bool:
    """Whether we are inside a view of ATOMIC_REQUESTS; ours are not, the project's may be."""
    return _connection().in_atomic_block and has_atomic_requests()


def has_atomic_requests() -> bool:
    """Whether what a view has written may be taken back by the time of the answer."""
    return bool(_connection().settings_dict["ATOMIC_REQUESTS"])


def outside_view_transactions(view: Callable[..., Any]) -> Callable[..., Any]:
    """Keep a view outside the transactions that ATOMIC_REQUESTS opens on any database."""
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def run_deferred(request: HttpRequest) -> None:
    """Run the writes that were deferred until the request's transaction is over."""
    state = request_state(request)
    writes, state.deferred_writes = state.deferred_writes, []
    for write in writes:
        write()


def retry_on_conflict(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Repeat a function that has lost against another transaction.

    Only where it has a transaction of its own: inside the caller's, all that came before
    is lost as well, and repeating is the caller's business.
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


def _connection() -> BaseDatabaseWrapper:
    return connections[write_database()]


def _is_conflict(error: OperationalError) -> bool:
    cause = error.__cause__
    # psycopg, psycopg2, MySQL's clients.
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or error.args[:1]
    return (code[0] if isinstance(code, tuple) and code else code) in CONFLICTS

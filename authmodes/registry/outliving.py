"""Has a write outlive the view's transaction, which ATOMIC_REQUESTS rolls back with each error."""

from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest

from .. import state


def outlive(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write now; inside a view of ATOMIC_REQUESTS, with the answer.

    There a 401 would undo it, and until then its locks would hold up the other requests of
    the same login, and meet the locks of other transactions in the wrong order.
    """
    if in_view_transaction():
        repeat(request, write)
    else:
        write()


def repeat(request: HttpRequest, write: Callable[[], object]) -> None:
    """Write with the answer; our middleware stands outside the view's transaction."""
    state.of_request(request).outliving.append(write)


def in_view_transaction() -> bool:
    """Whether we are inside a view of ATOMIC_REQUESTS; ours are not, the project's may be."""
    return connection.in_atomic_block and may_be_undone()


def may_be_undone() -> bool:
    """Whether what a view has written may be taken back by the time of the answer."""
    return bool(connection.settings_dict["ATOMIC_REQUESTS"])


def finish(request: HttpRequest) -> None:
    """Do what was put off until the request's transaction is over."""
    known = state.of_request(request)
    writes, known.outliving = known.outliving, []
    for write in writes:
        write()

"""The database of the login sessions: which one it is, and whether it can be had."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.apps import apps
from django.db import DatabaseError, InterfaceError, OperationalError, router

from ..exceptions import ServiceUnavailable

logger = logging.getLogger("authmodes")
# PostgreSQL's state for a write on a primary that only reads.
READ_ONLY = "25006"


def write_database() -> str:
    """Return the alias of the database that a router names for writing login sessions.

    Every transaction, lock and `on_commit` of ours is on it: a check sees to it that users,
    refresh tokens and our tables sit there together.
    """
    return router.db_for_write(apps.get_model("authmodes", "LoginSession"))


def is_unavailable(error: Exception) -> bool:
    """Whether a database is away, locked or only reads, so that the call may be made again."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DatabaseError) and _state_of(error) == READ_ONLY


def _state_of(error: Exception) -> str | None:
    cause = error.__cause__
    # psycopg and psycopg2.
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def to_unavailable(error: Exception) -> Exception:
    """Return the 503 for an error of a database that cannot be had, and any other error itself."""
    if not is_unavailable(error):
        return error
    logger.error("The database is not available: %s", error)
    return ServiceUnavailable()


@contextmanager
def unavailable_as_503() -> Iterator[None]:
    """Raise `ServiceUnavailable` for a database that cannot be had, also as a decorator."""
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise to_unavailable(error) from error

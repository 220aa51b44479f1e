"""The database of the login sessions: its alias, and errors that mean it is unavailable."""

import logging
from contextlib import ContextDecorator

from django.apps import apps
from django.db import DatabaseError, InterfaceError, OperationalError, router

from .. import logs
from ..exceptions import ServiceUnavailable

# PostgreSQL's SQLSTATE for a write to a read-only server.
READ_ONLY = "25006"


def write_database() -> str:
    """Return the alias of the database that a router names for writing login sessions.

    Every transaction, lock and `on_commit` of ours uses it. A system check requires that users,
    refresh tokens and our tables are in the same database.
    """
    return router.db_for_write(apps.get_model("authmodes", "LoginSession"))


def is_unavailable(error: Exception) -> bool:
    """Whether an error means that a database is unreachable, locked or read-only for now."""
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return isinstance(error, DatabaseError) and _state_of(error) == READ_ONLY


def _state_of(error: Exception) -> str | None:
    cause = error.__cause__
    # psycopg and psycopg2.
    return getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)


def to_unavailable(error: Exception) -> Exception:
    """Return `ServiceUnavailable` for an unavailable database, and any other error unchanged."""
    if not is_unavailable(error):
        return error
    logs.log(logging.ERROR, "database_unavailable", error=error)
    return ServiceUnavailable()


class unavailable_as_503(ContextDecorator):
    """Raise `ServiceUnavailable` for an unavailable database. It is also a decorator."""

    # Not a generator: a request enters it several times.
    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, DatabaseError | InterfaceError):
            unavailable = to_unavailable(error)
            if unavailable is not error:
                raise unavailable from error

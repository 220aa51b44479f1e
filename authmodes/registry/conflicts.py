"""Tries again where the database chose one of two transactions as its victim."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.db import OperationalError, connection

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

ATTEMPTS = 5
# Serialisation failure, deadlock, lock wait: PostgreSQL's states, MySQL's numbers.
CONFLICTS = {"40001", "40P01", 1213, 1205}


def retried(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
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
                if connection.in_atomic_block or not _is_conflict(error):
                    raise
        return function(*args, **kwargs)

    return again


def _is_conflict(error: OperationalError) -> bool:
    cause = error.__cause__
    # psycopg, psycopg2, MySQL's clients.
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or error.args[:1]
    return (code[0] if isinstance(code, tuple) and code else code) in CONFLICTS

"""The database that login sessions are in, and a router that keeps them out of `default`."""

from typing import Any

from django.conf import settings
from django.db import connections
from django.utils.connection import ConnectionProxy


class LoginsRouter:
    """As in a project whose users and sessions live in a database of their own."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "logins"

    db_for_write = db_for_read

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "logins"


# As `django.db.connection`, which always is that of `default`.
connection: Any = ConnectionProxy(connections, "logins" if settings.DATABASE_ROUTERS else "default")

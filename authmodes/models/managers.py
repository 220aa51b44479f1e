"""The manager of our tables: it reads from the database that a router names for writing."""

from typing import TypeVar

from django.db import models, router

Row = TypeVar("Row", bound=models.Model)


class PrimaryManager(models.Manager[Row]):
    """Never reads from a replica, which may be behind.

    With a router such as the one in Django's documentation, a revoked login would otherwise
    be accepted until the replica has caught up, and a transaction would miss its own writes.
    """

    def get_queryset(self) -> models.QuerySet[Row]:
        queryset = super().get_queryset()
        return queryset if self._db else queryset.using(router.db_for_write(self.model))

"""Reads rows from where they are written, whatever a router says of reading."""

from typing import TypeVar

from django.db import models, router

Row = TypeVar("Row", bound=models.Model)


class PrimaryManager(models.Manager[Row]):
    """For rows by which a login is judged: a replica tells what was true a moment ago.

    Behind a router such as that of Django's documentation, a login that was revoked would
    pass until the replica has caught up, and a transaction not see its own writes.
    """

    def get_queryset(self) -> models.QuerySet[Row]:
        queryset = super().get_queryset()
        return queryset if self._db else queryset.using(router.db_for_write(self.model))

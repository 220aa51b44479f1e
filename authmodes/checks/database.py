"""What only a look into the database tells; run by `migrate` and `check --database`."""

from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Warning
from django.db import connections

from .base import Apps

TABLE = "socialaccount_socialaccount"
# Those of other endings take "A" for "a", or "á".
EXACT = ("_bin", "_as_cs")


def check_subject_collation(
    app_configs: Apps, databases: Iterable[str] | None = None, **kwargs: Any
) -> Iterable[CheckMessage]:
    """W010: two accounts of a provider that differ in case only cannot both sign in."""
    if not apps.is_installed("allauth.socialaccount"):
        return
    for alias in databases or ():
        if connections[alias].vendor != "mysql":
            continue
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT collation_name FROM information_schema.columns WHERE "
                "table_schema = DATABASE() AND table_name = %s AND column_name = 'uid'",
                [TABLE],
            )
            found = cursor.fetchone()
        if found and not str(found[0]).endswith(EXACT):
            yield Warning(
                f"{TABLE}.uid has the collation {found[0]}, to which several accounts of a "
                "provider are one; only the first of them can sign in.",
                hint=f"ALTER TABLE {TABLE} MODIFY uid varchar(191) CHARACTER SET utf8mb4 "
                "COLLATE utf8mb4_bin NOT NULL, with the length that the column has.",
                id="authmodes.W010",
            )

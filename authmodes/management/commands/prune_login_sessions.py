"""`manage.py prune_login_sessions`: the command line of `registry.prune`."""

from typing import Any

from django.core.management.base import BaseCommand

from ... import registry


class Command(BaseCommand):
    help = (
        "End login sessions that have expired and delete those that ended longer ago than "
        "AUTHMODES_RETENTION. Works in batches, in constant memory; it can be interrupted and "
        "run again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = registry.prune()
        self.stdout.write(f"Deleted {deleted} login sessions.")

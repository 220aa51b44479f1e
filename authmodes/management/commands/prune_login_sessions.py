"""`manage.py prune_login_sessions`: the command line of `registry.prune`."""

from argparse import ArgumentParser
from typing import Any

from ... import registry
from ...registry import pruning
from ..base import ProgressCommand


class Command(ProgressCommand):
    help = (
        "End login sessions that have expired, delete those that ended longer ago than "
        "AUTHMODES_RETENTION, and delete events older than AUTHMODES_EVENT_RETENTION. Works in "
        "batches, in constant memory; it can be interrupted and run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count the rows")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["dry_run"]:
            ends, deletes = pruning.count_prunable()
            self.stdout.write(f"Would end {ends} and delete {deletes} login sessions.")
            return
        total = sum(pruning.count_prunable()) if self.stdout.isatty() else 0
        ended = deleted = 0
        for ends, deletes in registry.prune_in_batches():
            ended, deleted = ended + ends, deleted + deletes
            self.show(ended + deleted, total)
        self.finish(f"Ended {ended} and deleted {deleted} login sessions.")

"""`manage.py adopt_sessions`: a row for every Django session from before authmodes."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends import db
from django.core.management.base import CommandError
from django.utils import timezone

from ...registry import adoption
from ...sessions import StoredKey
from ...sessions import store as session_store
from ..base import ProgressCommand

BATCH = 1000


class Command(ProgressCommand):
    help = (
        "Create a login session for every signed-in Django session that has none. Without this "
        "command, each gets one at its next request. Works in batches, in constant memory; it "
        "can be interrupted and run again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        store = session_store.engine()
        if not issubclass(store, db.SessionStore):
            raise CommandError(
                f"{settings.SESSION_ENGINE} cannot list its sessions; each is adopted at its next "
                "request."
            )
        sessions = store.get_model_class().objects.filter(expire_date__gt=timezone.now())
        decoder = store()
        total, done, adopted = sessions.count(), 0, 0
        for batch in _batches(sessions):
            adopted += adoption.adopt_many(
                {StoredKey(row.session_key): decoder.decode(row.session_data) for row in batch}
            )
            done += len(batch)
            self.show(done, total)
        self.finish(f"Adopted {adopted} of {done} Django sessions.")


def _batches(sessions: Any) -> Iterator[list[Any]]:
    last = ""
    while batch := list(sessions.filter(session_key__gt=last).order_by("session_key")[:BATCH]):
        yield batch
        last = batch[-1].session_key

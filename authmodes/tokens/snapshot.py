"""Which login sessions ended recently, polled by a background thread of each process.

With `AUTHMODES_ACCESS_TOKEN_CHECK = "snapshot"`, access tokens are validated without a query.
They are short-lived, so only logins that ended within their lifetime matter.
"""

import logging
import os
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils import timezone

from ..conf import conf, simple_jwt
from ..models import LoginSession, write_database
from . import keys

logger = logging.getLogger("authmodes")
# How far a poll looks back beyond the previous one: the clock of the process that ends a login
# may be wrong, and the row is visible only after the commit.
OVERLAP = timedelta(seconds=60)


class Snapshot:
    """The `sid` of each login session that ended recently."""

    def __init__(self) -> None:
        self._reset()

    def has_ended(self, sid: UUID) -> bool:
        """Whether a login session is known to have ended.

        The first call of a process loads the snapshot and raises any database error. Later
        the snapshot stays as it is while the database is unavailable.
        """
        if self._thread is None or not self._thread.is_alive():
            self._start()
        return sid in self._ended

    def stop(self) -> None:
        """Stop the background thread and empty the snapshot."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._reset()

    def _reset(self) -> None:
        self._ended: Mapping[UUID, datetime] = {}
        self._since: datetime | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if self._since is None:
                self._poll()
            thread = threading.Thread(target=self._run, name="authmodes-snapshot", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        away = False
        try:
            while not self._stopping.wait(self._interval()):
                away = not self._try_poll(away)
        finally:
            connections[write_database()].close()

    def _interval(self) -> float:
        try:
            return conf.SNAPSHOT_INTERVAL.total_seconds()
        except ImproperlyConfigured:
            # A check reports it; this thread must not die.
            return 1.0

    def _try_poll(self, was_away: bool) -> bool:
        """Poll once and return whether it worked; log when that changes."""
        try:
            self._poll()
        except Exception as error:
            if not was_away:
                logger.error("cannot read which login sessions ended: %s", error)
            connections[write_database()].close()
            return False
        if was_away:
            logger.warning("reading which login sessions ended again")
        return True

    def _poll(self) -> None:
        now = timezone.now()
        # Every access token of a login that ended before this has expired.
        horizon = now - simple_jwt().ACCESS_TOKEN_LIFETIME - keys.backend().get_leeway() - OVERLAP
        since = self._since or horizon
        fresh = LoginSession.objects.filter(ended_at__gte=since).values_list("sid", "ended_at")
        known = {**self._ended, **{sid: at for sid, at in fresh.iterator() if at is not None}}
        # Replaced as a whole, so that no request sees an incomplete snapshot.
        self._ended = {sid: at for sid, at in known.items() if at >= horizon}
        self._since = now - OVERLAP


snapshot = Snapshot()
# A forked worker inherits the copy but not the thread.
os.register_at_fork(after_in_child=snapshot._reset)

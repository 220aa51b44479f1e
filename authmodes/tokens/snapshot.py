"""Which login sessions ended recently, polled by a background thread of each process.

With `AUTHMODES_ACCESS_TOKEN_CHECK = "snapshot"`, access tokens are validated without a query.
They are short-lived, so only logins that ended within their lifetime matter, and of those not
the ones that merely expired, as their access tokens did.
"""

import logging
import os
import threading
import time
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils import timezone

from .. import logs
from ..conf import RequestSettings, conf, simple_jwt
from ..models import EndReason, LoginSession
from . import keys

# How wrong the clock of the process that ends a login may be.
CLOCK_SKEW = timedelta(seconds=60)
# How many rows are read at once. Not by a server-side cursor, which a transaction pooler such as
# PgBouncer does not keep from one statement to the next.
BATCH = 1000
# How often a poll that goes on failing is logged.
LOG_INTERVAL = timedelta(minutes=1)


class Snapshot:
    """The `sid` of each login session that ended recently."""

    def __init__(self) -> None:
        self._reset()

    @property
    def age(self) -> timedelta | None:
        """Time since the last successful poll; None before the first."""
        return None if self._polled_at is None else timezone.now() - self._polled_at

    def has_ended(self, sid: UUID) -> bool | None:
        """Whether a login session is known to have ended; None if the snapshot is too old to tell.

        The first call of a process loads the snapshot. While the database is unavailable, the
        snapshot stays as it is, for `AUTHMODES_SNAPSHOT_MAX_AGE`.
        """
        if self._thread is None or not self._thread.is_alive():
            self._start()
        if sid in self._ended:
            return True
        age, max_age = self.age, RequestSettings.read().snapshot_max_age
        # Negative after the clock was set back.
        return False if age is not None and abs(age) <= max_age else None

    def stop(self) -> None:
        """Stop the background thread and empty the snapshot."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self._reset()

    def _reset(self) -> None:
        self._known: dict[Any, tuple[UUID, Any]] = {}
        self._ended: frozenset[UUID] = frozenset()
        self._polled_at: datetime | None = None
        self._failed_at: float | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            if self._polled_at is None:
                self._try_poll()
            thread = threading.Thread(target=self._run, name="authmodes-snapshot", daemon=True)
            thread.start()
            self._thread = thread

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._interval()):
                if not self._try_poll():
                    connections.close_all()
        finally:
            connections.close_all()

    def _interval(self) -> float:
        try:
            return conf.SNAPSHOT_INTERVAL.total_seconds()
        except ImproperlyConfigured:
            # A check reports it; this thread must not die.
            return 1.0

    def _try_poll(self) -> bool:
        """Poll once and return whether it worked; log when that changes, and while it fails."""
        try:
            self._poll()
        except Exception as error:
            now = time.monotonic()
            if self._failed_at is None or now - self._failed_at >= LOG_INTERVAL.total_seconds():
                logs.log(logging.ERROR, "snapshot_failed", error=error)
                self._failed_at = now
            return False
        if self._failed_at is not None:
            logs.log(logging.WARNING, "snapshot_recovered")
            self._failed_at = None
        return True

    def _poll(self) -> None:
        now = timezone.now()
        # Every access token of a login that ended before this has expired. Each poll looks back as
        # far, because a row is visible only after its commit, which may be that late.
        lifetime = simple_jwt().ACCESS_TOKEN_LIFETIME + keys.backend().get_leeway()
        horizon = now - lifetime - CLOCK_SKEW
        recent = LoginSession.objects.filter(
            ended_at__gte=horizon, refresh_token__isnull=False
        ).exclude(end_reason=EndReason.EXPIRED)
        # Kept although the row may be deleted.
        known = {pk: row for pk, row in self._known.items() if row[1] >= horizon}
        fresh = [pk for pk in list(recent.values_list("pk", flat=True)) if pk not in known]
        for start in range(0, len(fresh), BATCH):
            rows = recent.filter(pk__in=fresh[start : start + BATCH])
            for pk, sid, ended_at in list(rows.values_list("pk", "sid", "ended_at")):
                known[pk] = (sid, ended_at)
        if known.keys() != self._known.keys():
            # Replaced as a whole, so that no request sees an incomplete snapshot.
            self._ended = frozenset(sid for sid, _ended_at in known.values())
        self._known, self._polled_at = known, now


snapshot = Snapshot()
# A forked worker inherits the copy but not the thread.
os.register_at_fork(after_in_child=snapshot._reset)


def snapshot_age() -> timedelta | None:
    """Return how old this process's snapshot is; None before the first request that needs it.

    A monitor compares it with `AUTHMODES_SNAPSHOT_MAX_AGE`.
    """
    return snapshot.age

"""Keeps rows up with their Django sessions: seen again, another key, left behind."""

import enum
from datetime import datetime

from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from .. import memory, policy, stores
from ..conf import conf
from ..models import EndReason, LoginSession, LoginSessionQuerySet
from .conflicts import ATTEMPTS
from .ending import revoke, revoke_all
from .judging import is_acceptable


class Touch(enum.Enum):
    """What came of noting that a login session was seen."""

    WRITTEN = enum.auto()
    FRESH = enum.auto()
    ENDED = enum.auto()


def touch_cookie(session: SessionBase, sid: str, ip_address: str | None) -> Touch:
    """Touch, and have the Django session remember it.

    It is saved at once, because what was loaded a moment ago overwrites least; and under
    the lock of the row, because a save after a rotation would bring the old key back.
    """
    assert session.session_key is not None
    modified = session.modified
    try:
        with transaction.atomic():
            outcome = touch(sid, ip_address)
            if outcome is Touch.WRITTEN and is_current(sid, session.session_key).exists():
                memory.change(session, seen_at=timezone.now())
                session.save()
    except UpdateError:
        return Touch.ENDED
    # The cookie is not sent for it: only renewal extends its age.
    session.modified = modified
    return outcome


def touch(sid: str, ip_address: str | None) -> Touch:
    """Note that a login session was seen.

    A crowd of requests that arrive at once writes once: the others find a fresh row.
    """
    now = timezone.now()
    alive = LoginSession.objects.active().filter(sid=sid)
    stale = Q(last_seen_at__lte=now - memory.touch_after())
    if alive.filter(stale).update(last_seen_at=now, last_ip_address=ip_address):
        return Touch.WRITTEN
    return Touch.FRESH if alive.exists() else Touch.ENDED


def is_idle(sid: str, now: datetime) -> bool:
    """Whether the row says so too, or there is none any more."""
    seen = LoginSession.objects.filter(sid=sid).values_list("last_seen_at", flat=True)
    return all(policy.is_idle(moment, conf.IDLE_TIMEOUT, now) for moment in seen)


def follow(sid: str, session_key: str, auth_hash: str) -> bool:
    """Keep up with a Django session that changed its key; False if the login has ended."""
    return bool(
        LoginSession.objects.active()
        .filter(sid=sid)
        .update(session_key=stores.stored_key(session_key), auth_hash=auth_hash)
    )


def rotate_key(session: SessionBase, sid: str) -> SessionBase | None:
    """Give a login's Django session a new key; return the session to go on with, saved.

    None if the login has ended, or its key was rotated too long ago. Of several at once one
    wins; for the grace, the old key leads the others to the winner's session, which is
    returned to them with the data that they hold.
    """
    old_key, modified = session.session_key, session.modified
    assert old_key is not None
    memory.change(session, keyed_at=timezone.now())
    successor, nonce = stores.copy_to_successor(session)
    assert successor.session_key is not None
    try:
        # The row is locked from here to the commit, so whoever loses finds the old key retired.
        with transaction.atomic():
            if is_current(sid, old_key).update(
                session_key=stores.stored_key(successor.session_key)
            ):
                stores.retire(old_key, nonce)
                return successor
    except UpdateError:
        # Deleted from the store meanwhile, by a revocation or by `clearsessions`.
        pass
    successor.delete()
    session.modified = modified
    return keep(session, sid)


def keep(session: SessionBase, sid: str) -> SessionBase | None:
    """Save what a request did under the key in force; return the session to go on with.

    None if the login has ended, or if the key was rotated too long ago.
    """
    live: SessionBase | None = session
    for _attempt in range(ATTEMPTS):
        if live is None or live.session_key is None:
            return None
        try:
            # While the row is locked nobody rotates, so no retired key is saved to.
            with transaction.atomic():
                if is_current(sid, live.session_key).update(session_key=F("session_key")):
                    if live.modified:
                        live.save()
                    return live
        except UpdateError:
            return None
        live = _carry_over(session)
    return None


def _carry_over(session: SessionBase) -> SessionBase | None:
    """The successor of a session whose key was rotated meanwhile, with what a request did."""
    live = stores.successor_of(stores.engine()(session.session_key))
    if live is None or memory.DATA_KEY not in live:
        return None
    if session.modified:
        remembered = live[memory.DATA_KEY]
        live.clear()
        live.update({**dict(session.items()), memory.DATA_KEY: remembered})
    return live


def is_current(sid: str, session_key: str) -> LoginSessionQuerySet:
    """The login session, if it still is active under this key."""
    stored = stores.stored_key(session_key)
    return LoginSession.objects.active().filter(sid=sid, session_key=stored)


def abandon(session_key: str) -> None:
    """End the login of a Django session that was flushed or whose user was replaced."""
    for login_session in _of_session(session_key):
        # Django flushes a session whose password hash is stale, without saying why.
        if is_acceptable(login_session):
            revoke(login_session, EndReason.LOGOUT)


def expire(session_key: str) -> None:
    """End the login of a cookie that led nowhere, if its time is over.

    Only then: a parallel request may just be changing the key.
    """
    stored = stores.stored_key(session_key)
    revoke_all(LoginSession.objects.expired().filter(session_key=stored), EndReason.EXPIRED)


def recheck(session_key: str | None) -> None:
    """End the login of a Django session that Django refuses, if there is a reason of ours."""
    if session_key is not None:
        for login_session in _of_session(session_key):
            is_acceptable(login_session)


def _of_session(session_key: str) -> LoginSessionQuerySet:
    stored = stores.stored_key(session_key)
    return LoginSession.objects.for_credential().filter(session_key=stored, ended_at=None)

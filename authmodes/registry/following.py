"""Keeps rows up with their Django sessions: seen again, another key, left behind."""

from django.db.models import Q
from django.utils import timezone

from .. import stores
from ..models import EndReason, LoginSession, LoginSessionQuerySet
from .ending import revoke
from .judging import is_acceptable


def touch(login_session_sid: str, ip_address: str | None) -> bool:
    """Note that a login session was seen; False if it has ended.

    A crowd of requests that arrive at once writes once: the others find a fresh row.
    """
    now = timezone.now()
    alive = LoginSession.objects.active().filter(sid=login_session_sid)
    stale = Q(last_seen_at__lte=now - stores.touch_after())
    if alive.filter(stale).update(last_seen_at=now, last_ip_address=ip_address):
        return True
    return alive.exists()


def follow(login_session_sid: str, session_key: str, auth_hash: str) -> bool:
    """Keep up with a Django session that changed its key; False if the login has ended."""
    return bool(
        LoginSession.objects.active()
        .filter(sid=login_session_sid)
        .update(session_key=session_key, auth_hash=auth_hash)
    )


def abandon(session_key: str) -> None:
    """End the login of a Django session that was flushed or whose user was replaced."""
    for login_session in _of_session(session_key):
        # Django flushes a session whose password hash is stale, without saying why.
        if is_acceptable(login_session):
            revoke(login_session, EndReason.LOGOUT)


def recheck(session_key: str | None) -> None:
    """End the login of a Django session that Django refuses, if there is a reason of ours."""
    for login_session in _of_session(session_key):
        is_acceptable(login_session)


def _of_session(session_key: str | None) -> LoginSessionQuerySet:
    return LoginSession.objects.for_credential().filter(session_key=session_key, ended_at=None)

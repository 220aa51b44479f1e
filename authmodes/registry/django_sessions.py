"""Keeps rows up with their Django sessions: seen again, another key, left behind."""

import enum
import functools
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import DatabaseError, transaction
from django.db.models import F, Q
from django.utils import timezone

from .. import policy
from ..conf import conf
from ..models import EndReason, LoginSession, LoginSessionQuerySet
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from .ending import revoke, revoke_all
from .validation import auth_hashes, validate_or_end

Prepare = Callable[[SessionBase], None]


class Touch(enum.Enum):
    """What came of noting that a login session was seen."""

    WRITTEN = enum.auto()
    FRESH = enum.auto()
    ENDED = enum.auto()


def touch_with_session(session: SessionBase, sid: str, ip_address: str | None) -> Touch:
    """Touch, and have the Django session remember it; raise `UpdateError` if that is gone.

    Under the lock of the row, because a save after a rotation would bring the old key back.
    """
    assert session.session_key is not None
    modified = session.modified
    with transaction.atomic():
        outcome = touch(sid, ip_address)
        if outcome is Touch.WRITTEN and with_key(sid, session.session_key).exists():
            _prepare(session, partial(session_state.update, seen_at=time.time()))
            _write(session)
    # The cookie is not sent for it: only renewal extends its age.
    session.modified = modified
    return outcome


def touch(sid: str, ip_address: str | None) -> Touch:
    """Note that a login session was seen.

    A crowd of requests that arrive at once writes once: the others find a fresh row.
    """
    now = timezone.now()
    alive = LoginSession.objects.active().filter(sid=sid)
    stale = Q(last_seen_at__lte=now - policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT))
    if alive.filter(stale).update(last_seen_at=now, last_ip_address=ip_address):
        return Touch.WRITTEN
    return Touch.FRESH if alive.exists() else Touch.ENDED


def is_idle(sid: str) -> bool:
    """Whether the row was not seen for longer than the idle timeout, or is there no more."""
    now = timezone.now()
    seen = LoginSession.objects.filter(sid=sid).values_list("last_seen_at", flat=True)
    return all(policy.is_idle(moment, conf.IDLE_TIMEOUT, now) for moment in seen)


def last_seen(sid: str) -> datetime | None:
    """When a login session was last seen, as far as the row knows; None if it has ended."""
    alive = LoginSession.objects.active().filter(sid=sid)
    return next(iter(alive.values_list("last_seen_at", flat=True)), None)


def is_active(sid: str) -> bool:
    return last_seen(sid) is not None


def follow_key(sid: str, old_key: str | None, session_key: str, auth_hash: str) -> bool:
    """Keep up with a Django session that changed its key.

    False if the login has ended, or another request has changed the key first: of several
    one wins, as each would leave a session behind that no revocation finds. Django changes
    it in every request that is under way when the SECRET_KEY changes. Without an `old_key`
    the last one wins.
    """
    key = session_store.stored_key(session_key)
    mine = LoginSession.objects.active().filter(sid=sid)
    known = mine
    if old_key is not None:
        known = mine.filter(session_key__in=[key, session_store.stored_key(old_key)])
    if known.update(session_key=key, auth_hash=auth_hash):
        return True
    with transaction.atomic():
        _lock(sid)
        row = mine.select_related("user").first()
        # But nobody is to lose a login because a poll was faster than their new password.
        if (
            row is None
            or auth_hash in (row.auth_hash, "")
            or auth_hash not in auth_hashes(row.user)
        ):
            return False
        session_store.delete_now([row.session_key] if row.session_key else [])
        return bool(mine.update(session_key=key, auth_hash=auth_hash))


def rotate_session(session: SessionBase, sid: str, prepare: Prepare) -> None:
    """Save a login's Django session under a new key; otherwise as `keep`.

    Of several at once one wins; for the grace, the old key leads the others to the winner's
    session.
    """
    old_key = session.session_key
    assert old_key is not None
    new_key, nonce = session_rotation.derive_successor(old_key)
    try:
        # The row is locked from here to the commit, so whoever loses finds the old key retired.
        with transaction.atomic():
            won = with_key(sid, old_key).update(session_key=session_store.stored_key(new_key))
            if won:
                _prepare(session, prepare)
                session_state.update(session, keyed_at=time.time())
                session_store.delete_now(session_rotation.add_retired_key(session, old_key))
                session_rotation.copy_to(session, new_key)
                session_rotation.retire(old_key, nonce)
    except UpdateError:
        session_store.delete_now([session_store.stored_key(new_key)])
        raise
    except DatabaseError:
        # The database has taken it back, a store elsewhere has not.
        with suppress(UpdateError):
            _write(session)
        raise
    if won:
        session_rotation.switch_key(session, new_key)
    else:
        save_session(session, sid, prepare)


def save_session(session: SessionBase, sid: str, prepare: Prepare) -> None:
    """Save what a request did under the key in force, which is then the session's.

    `prepare` gets the session as it is by then. Raises `UpdateError` if the login has
    ended, or the key was changed too long ago or otherwise than by rotation.
    """
    # While the row is locked nobody rotates, so no retired key is saved to. By its sid, because
    # in a crowd the key may change each time before it could be locked by that.
    with transaction.atomic():
        if not _lock(sid):
            raise UpdateError
        if not _has_row(session, sid) and not (
            session_rotation.reload_latest(session) and _has_row(session, sid)
        ):
            raise UpdateError
        _prepare(session, prepare)
        _write(session)


def _lock(sid: str) -> bool:
    """Lock the row of an active login session until the transaction ends, on SQLite too."""
    mine = LoginSession.objects.active().filter(sid=sid)
    return bool(mine.update(session_key=F("session_key")))


def _has_row(session: SessionBase, sid: str) -> bool:
    assert session.session_key is not None
    return with_key(sid, session.session_key).exists()


def _prepare(session: SessionBase, prepare: Prepare) -> None:
    if not session.modified and session_rotation.reload_latest(session):
        raise UpdateError
    prepare(session)


class LoginSessionStore(session_rotation.RotationMixin):
    """A request's session, each save of which ends up under the key in force.

    Views save it as well, and so does Django once more after us with
    SESSION_SAVE_EVERY_REQUEST; both would bring a key back that was rotated meanwhile.
    """

    def save(self, must_create: bool = False) -> None:
        if session_store.is_saved(self) and not must_create:
            return
        if must_create or not session_rotation.may_be_rotated_in_parallel(self):
            super().save(must_create)
        elif (remembered := session_state.load(self)) is None:
            super().save()
        else:
            save_session(self, remembered.sid, lambda session: None)

    async def asave(self, must_create: bool = False) -> None:
        await sync_to_async(self.save)(must_create)

    def save_as_it_is(self) -> None:
        super().save()


def attach_store(session: SessionBase) -> None:
    """Have a request's session follow the key of its login.

    By its class and not by another object: an engine may have been given more than a key.
    """
    if not isinstance(session, LoginSessionStore):
        # Not `type()`, which of a lazy object is not the engine's.
        session.__class__ = _store_class(session.__class__)
    session_rotation.follow_if_loaded(session)


@functools.lru_cache(maxsize=16)
def _store_class(engine: type[SessionBase]) -> type[SessionBase]:
    # Under the engine's own name, which Django makes part of the salt that data are signed with.
    names = {"__module__": engine.__module__, "__qualname__": engine.__qualname__}
    return type(engine.__name__, (LoginSessionStore, engine), names)


def _write(session: SessionBase) -> None:
    if isinstance(session, LoginSessionStore):
        session.save_as_it_is()
    else:
        session.save()


def with_key(sid: str, session_key: str) -> LoginSessionQuerySet:
    """The login session, if it still is active under this key."""
    stored = session_store.stored_key(session_key)
    return LoginSession.objects.active().filter(sid=sid, session_key=stored)


def find_sid_by_key(session: SessionBase, session_key: str) -> str | None:
    """The login, ended or not, that a Django session does not remember, by the key it came with.

    None as well if it is another user's by now.
    """
    user_id = session.get(SESSION_KEY)
    if user_id is None or session_rotation.as_loaded(session).get(SESSION_KEY) != user_id:
        return None
    found = LoginSession.objects.filter(session_key=session_store.stored_key(session_key))
    row = found.select_related("user").first()
    return str(row.sid) if row is not None and belongs_to(row, user_id) else None


def belongs_to(row: LoginSession, user_id: str) -> bool:
    """Whether a login is of the user whom a Django session names."""
    return row.user._meta.pk.value_to_string(row.user) == user_id


def end_abandoned(session_key: str, sid: str | None, auth_hash: str) -> None:
    """End the login of a Django session that was flushed or whose user was replaced.

    By its `sid` too, as a parallel request may have changed the key; unless it changed the
    password, upon which Django flushes whatever was loaded before.
    """
    found = list(_of_session(session_key))
    if sid is not None and not found:
        same = LoginSession.objects.for_credential().filter(sid=sid, ended_at=None)
        found = list(same.filter(auth_hash=auth_hash))
    for login_session in found:
        # Django flushes a session whose password hash is stale, without saying why.
        if validate_or_end(login_session):
            revoke(login_session, EndReason.LOGOUT)


def end_if_expired(session_key: str) -> None:
    """End the login of a cookie that led nowhere, if its time is over.

    Only then: a parallel request may just be changing the key.
    """
    stored = session_store.stored_key(session_key)
    revoke_all(LoginSession.objects.expired().filter(session_key=stored), EndReason.EXPIRED)


def revalidate(session_key: str | None) -> None:
    """End the login of a Django session that Django refuses, if there is a reason of ours."""
    if session_key is not None:
        for login_session in _of_session(session_key):
            validate_or_end(login_session)


def _of_session(session_key: str) -> LoginSessionQuerySet:
    stored = session_store.stored_key(session_key)
    return LoginSession.objects.for_credential().filter(session_key=stored, ended_at=None)

"""Saves a login's Django session under its current key, and ends logins without a session.

It keeps the row's key and `last_seen_at` up to date.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, SupportsIndex, cast

from asgiref.sync import sync_to_async
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.db import DatabaseError, router, transaction
from django.db.models import F, Q
from django.http import HttpRequest
from django.utils import timezone

from .. import policy
from ..conf import conf
from ..models import EndReason, LoginSession, LoginSessionQuerySet, write_database
from ..sessions import BrowserKey, StoredKey
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..sessions.db import CompiledLookupMixin, has_djangos_lookup
from ..state import ATTRIBUTE, request_state
from .ending import revoke, revoke_all
from .transactions import as_bookkeeping, retry_on_conflict, write_if_possible
from .validation import is_actor_accepted, matches_password, validate_or_end

Prepare = Callable[[SessionBase], None]
# The receivers of Django's `user_logged_in` that do not look for the session in its store.
RECEIVERS = {"update_last_login", "authmodes"}


class LoginSessionStore(session_rotation.RotationMixin):
    """The session of a request; every save goes to its current key.

    Views save it as well, and so does Django once more after us with
    SESSION_SAVE_EVERY_REQUEST; both would restore a key that was rotated since.
    """

    def save(self, must_create: bool = False) -> None:
        known = session_state.of(self)
        if must_create:
            if known.is_insert_deferred:
                return
        elif _is_written(self) or (known.is_saved and not self.modified):
            return
        is_plain = must_create or not session_rotation.may_be_rotated_in_parallel(self)
        stored = None if is_plain else session_state.load(self)
        if stored is None:
            super().save(must_create)
        else:
            save_session(self, stored.sid)

    async def asave(self, must_create: bool = False) -> None:
        await sync_to_async(self.save)(must_create)

    def save_as_it_is(self) -> None:
        super().save()

    def __copy__(self) -> "LoginSessionStore":
        engine, _, state = self.__reduce_ex__(2)
        copied = engine()
        vars(copied).update(state)
        copied.__class__ = self.__class__
        return copied

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # A class made at run time cannot be found by its name, so the engine's is restored; and
        # what this request knows of the session means nothing elsewhere.
        state = {name: value for name, value in vars(self).items() if name != ATTRIBUTE}
        return self.__class__.__bases__[-1], (), state


def attach_store(session: SessionBase) -> None:
    """Change the class of a request's session so that it follows key rotation.

    A new object would not do: an engine may have been given more than a key.
    """
    if not isinstance(session, LoginSessionStore):
        # Not `type()`, which of a lazy object is not the engine's.
        session.__class__ = _store_class(session.__class__)
    # Notes the key that the request sent, before a view changes it.
    session_state.of(session)
    session_rotation.follow_rotation_if_loaded(session)


@functools.lru_cache(maxsize=16)
def _store_class(engine: type[SessionBase]) -> type[SessionBase]:
    # Under the engine's own name, which Django makes part of the salt that data are signed with.
    names = {"__module__": engine.__module__, "__qualname__": engine.__qualname__}
    lookup = (CompiledLookupMixin,) if has_djangos_lookup(engine) else ()
    return type(engine.__name__, (LoginSessionStore, *lookup, engine), names)


@contextmanager
def defer_insert(session: SessionBase) -> Iterator[None]:
    """Let a `login()` write a new session once: with its row, by `insert_deferred`.

    Django writes it twice, first without its user and then after the view, which takes 5 % of a
    login to a cookie. It does so where a receiver of the signal may look for the session in its
    store, and where the row is not written in the same transaction.
    """
    known, store = session_state.of(session), cast(Any, session)
    known.is_insert_deferred = (
        isinstance(session, LoginSessionStore)
        and session.session_key is None
        and not session_store.is_outside_database()
        and router.db_for_write(store.model) == write_database()
        and {key[0] for key, *_ in user_logged_in.receivers} <= RECEIVERS
    )
    try:
        yield
    finally:
        known.is_insert_deferred = False


def insert_deferred(session: SessionBase) -> None:
    """Write a session that Django's `login()` has not written."""
    known = session_state.of(session)
    if known.is_insert_deferred:
        known.is_insert_deferred = False
        session.save(must_create=True)
        known.written = _content(session)


def _is_written(session: SessionBase) -> bool:
    """Whether the session is as `insert_deferred` has written it, in this request."""
    written = session_state.of(session).written
    return written is not None and written == _content(session)


def _content(session: Any) -> tuple[BrowserKey | None, Any]:
    # As text, because a view may also change what is in a list or a dict.
    return session_state.key_of(session), session.serializer().dumps(dict(session.items()))


# -- seen again ----------------------------------------------------------------------------


def last_seen(sid: str) -> datetime | None:
    """Return when a login session was last seen, by its row; None if it does not count any more."""
    active = LoginSession.objects.active().filter(sid=sid)
    row = next(iter(active.only("last_seen_at", "acting_user")), None)
    return row.last_seen_at if row is not None and is_actor_accepted(row) else None


def is_active(sid: str) -> bool:
    return last_seen(sid) is not None


def is_idle(sid: str) -> bool:
    """Whether the row was not seen for longer than the idle timeout, or does not exist."""
    now = timezone.now()
    seen = LoginSession.objects.filter(sid=sid).values_list("last_seen_at", flat=True)
    return all(policy.is_idle(moment, conf.IDLE_TIMEOUT, now) for moment in seen)


def touch(sid: str, ip_address: str | F | None) -> bool:
    """Note that a login session was seen; return whether that was written.

    Of many parallel requests one writes: the others find a fresh row.
    """
    now = timezone.now()
    stale = Q(last_seen_at__lte=now - policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT))
    rows = LoginSession.objects.active().filter(stale, sid=sid)
    return bool(write_if_possible(rows, last_seen_at=now, last_ip_address=ip_address))


def touch_with_session(session: SessionBase, sid: str, ip_address: str | None) -> None:
    """Touch the row and its Django session; an error of the database or store is skipped.

    Raises `UpdateError` if the login has ended, or its session is gone.
    """
    modified = session.modified
    # Under the lock of the row, because a save after a rotation would restore the old key.
    with as_bookkeeping(), transaction.atomic(using=write_database()):
        if touch(sid, ip_address):
            if has_row(session, sid):
                _reload_unmodified(session)
                session_state.update(session, seen_at=time.time())
                _write(session)
        elif not is_active(sid):
            raise UpdateError
    # The cookie is not sent again: only renewal extends its age.
    session.modified = modified


# -- saved under the current key -----------------------------------------------------------


@retry_on_conflict
def save_session(session: SessionBase, sid: str, prepare: Prepare | None = None) -> None:
    """Save the session under the login's current key.

    `prepare` is called with the session just before the save. Raises `UpdateError` if the login
    has ended, the grace of the session's key is over, or the key was changed by other means
    than rotation.
    """
    # While the row is locked no request rotates, so nothing is saved under a retired key. It is
    # locked by its sid, because parallel requests may have changed the key.
    with transaction.atomic(using=write_database()):
        if not _lock(sid):
            raise UpdateError
        if not session.modified or not has_row(session, sid):
            session_rotation.reload_latest(session)
            if not has_row(session, sid):
                raise UpdateError
        if prepare is not None:
            prepare(session)
        _write(session)


def rotate_session(session: SessionBase, sid: str, prepare: Prepare | None = None) -> None:
    """Save a login's Django session under a new key; otherwise as `save_session`.

    Of several parallel calls one wins; during the grace the old key leads the others to its
    session.
    """
    if not _try_to_rotate(session, sid, prepare):
        save_session(session, sid, prepare)


@retry_on_conflict
def _try_to_rotate(session: SessionBase, sid: str, prepare: Prepare | None) -> bool:
    """Make one attempt; return False if a parallel request has changed the key first."""
    old_key = session_store.ensure_key(session)
    new_key, nonce = session_rotation.derive_successor(old_key)
    new_stored_key = session_store.stored_key(new_key)
    won = 0
    try:
        # The row is locked from here to the commit, so the others find the old key retired.
        with transaction.atomic(using=write_database()):
            won = _row_of(session, sid).update(session_key=new_stored_key)
            if won:
                _reload_unmodified(session)
                if prepare is not None:
                    prepare(session)
                session_state.update(session, keyed_at=time.time())
                session_rotation.copy_to(session, new_key)
                session_rotation.retire(old_key, nonce)
    except UpdateError:
        session_store.delete_now([new_stored_key])
        raise
    except DatabaseError:
        if won:
            # The database has rolled the change back; a store outside it has not.
            with suppress(DatabaseError, UpdateError):
                _take_back(session, sid, new_stored_key)
        raise
    if won:
        session_rotation.switch_key(session, new_key)
    return bool(won)


def _take_back(session: SessionBase, sid: str, new_stored_key: StoredKey) -> None:
    """Save a session under its old key again, unless that has been retired or ended since."""
    with transaction.atomic(using=write_database()):
        if _lock(sid) and has_row(session, sid):
            _write(session)
            session_store.delete_now([new_stored_key])


def _lock(sid: str) -> bool:
    """Lock the row of an active login session until the transaction ends, on SQLite too."""
    mine = LoginSession.objects.active().filter(sid=sid)
    return bool(mine.update(session_key=F("session_key")))


def _row_of(session: SessionBase, sid: str) -> LoginSessionQuerySet:
    """The login session, if it still is active under the Django session's key."""
    key = session_state.key_of(session)
    assert key is not None
    stored = session_store.stored_key(key)
    return LoginSession.objects.active().filter(sid=sid, session_key=stored)


def has_row(session: SessionBase, sid: str) -> bool:
    """Whether the login session is active under the Django session's key."""
    return _row_of(session, sid).exists()


def _reload_unmodified(session: SessionBase) -> None:
    # A parallel request may have saved it since it was loaded.
    if not session.modified:
        session_rotation.reload_latest(session)


def _write(session: SessionBase) -> None:
    if isinstance(session, LoginSessionStore):
        session.save_as_it_is()
    else:
        session.save()


# -- under a key that Django or a view has changed -----------------------------------------


@retry_on_conflict
def follow_key(session: SessionBase, sid: str, old_key: BrowserKey | None = None) -> bool:
    """Update the row of a Django session whose key or password hash has changed.

    Return False if the login has ended or another request has changed the key first. Only one
    may win: each further key would be a session that no revocation finds. After a change of
    SECRET_KEY, every running request changes it. Without `old_key` the last one wins.
    """
    key = session_store.stored_key(session_store.ensure_key(session))
    auth_hash = session.get(HASH_SESSION_KEY, "")
    session_state.register_key(session)
    mine = LoginSession.objects.active().filter(sid=sid)
    known, old = mine, None
    if old_key is not None:
        old = session_store.stored_key(old_key)
        known = mine.filter(session_key__in=[key, old])
    if known.update(session_key=key, auth_hash=auth_hash):
        if old not in (None, key):
            # A parallel save may put it back into a cache, where no revocation would find it.
            session_store.set_tombstones([old])
        return True
    with transaction.atomic(using=write_database()):
        _lock(sid)
        row = mine.select_related("user").first()
        # Users must not lose the login because a parallel poll was faster than the request that
        # changed their password.
        if (
            row is None
            or auth_hash in (row.auth_hash, "")
            or not matches_password(auth_hash, row.user)
        ):
            return False
        if row.session_key:
            session_store.set_tombstones([StoredKey(row.session_key)])
            session_store.delete_now([StoredKey(row.session_key)])
        return bool(mine.update(session_key=key, auth_hash=auth_hash))


def logins_of(session: SessionBase) -> LoginSessionQuerySet:
    """Return the login of a Django session; without a `sid`, one that `adopt_sessions` made."""
    stored, key = session_state.load(session), session_state.key_of(session)
    if stored is not None:
        return LoginSession.objects.filter(sid=stored.sid)
    if key is None:
        return LoginSession.objects.none()
    return LoginSession.objects.filter(session_key=session_store.stored_key(key))


def follow_password(sid: str, auth_hash: str) -> None:
    """Update the row after a changed password, unless that change was rolled back."""
    row = LoginSession.objects.for_credential().filter(sid=sid).first()
    if row is not None and matches_password(auth_hash, row.user):
        LoginSession.objects.active().filter(pk=row.pk).update(auth_hash=auth_hash)


def find_sid(session: SessionBase) -> str | None:
    """Return the `sid` of the login, ended or not, whose row has a Django session's loaded key.

    For a session that does not store it; None if the session is a different user's by now.
    """
    known, user_id = session_state.of(session), session.get(SESSION_KEY)
    loaded_data = known.loaded_data if known.loaded_data is not None else session
    if user_id is None or known.loaded_key is None or loaded_data.get(SESSION_KEY) != user_id:
        return None
    stored = session_store.stored_key(known.loaded_key)
    row = LoginSession.objects.filter(session_key=stored).select_related("user").first()
    return str(row.sid) if row is not None and belongs_to(row, user_id) else None


def belongs_to(row: LoginSession, user_id: str) -> bool:
    """Whether the login is the one of the user that a Django session names."""
    return row.user._meta.pk.value_to_string(row.user) == user_id


# -- without a session ---------------------------------------------------------------------


def end_abandoned(session: SessionBase) -> None:
    """End the login of a Django session that was flushed or whose user was replaced.

    The login is found by its `sid` too, because a parallel request may have changed the key.
    If that request changed the password, the login goes on, although Django flushes the
    sessions that were loaded before.
    """
    known = session_state.of(session)
    if known.loaded_key is None:
        return
    found = list(_open_with_key(known.loaded_key))
    data = known.loaded_data or {}
    sid, auth_hash = session_state.sid_in(data), data.get(HASH_SESSION_KEY, "")
    if sid is not None and not found:
        same = LoginSession.objects.for_credential().filter(sid=sid, ended_at=None)
        found = list(same.filter(auth_hash=auth_hash))
    for login_session in found:
        # Django flushes a session whose password hash is stale, without saying why.
        if validate_or_end(login_session):
            revoke(login_session, EndReason.LOGOUT)


def end_if_expired(session_key: BrowserKey) -> None:
    """End the login of a cookie without a session, if the login has expired.

    Only then, because a parallel request may be changing the key.
    """
    stored = session_store.stored_key(session_key)
    revoke_all(LoginSession.objects.expired().filter(session_key=stored), EndReason.EXPIRED)


def end_if_refused(session: SessionBase) -> None:
    """End the login of a Django session that Django rejects, if its login no longer counts."""
    key = session_state.key_of(session)
    for login_session in _open_with_key(key) if key is not None else ():
        validate_or_end(login_session)


def end_spared(request: HttpRequest, sid: str) -> None:
    """End the login that has changed its user's password, unless Django was told to keep it."""
    row = LoginSession.objects.for_credential().filter(sid=sid, ended_at=None).first()
    if row is None or matches_password(row.auth_hash, row.user):
        return
    stored = session_state.load(request.session)
    # For a token too, `update_session_auth_hash` writes the hash into the request's session.
    is_own = request_state(request).sid == sid and not has_new_login(request)
    is_own = is_own or (stored is not None and stored.sid == sid)
    if not is_own or not _has_current_hash(request.session, row):
        revoke(row, EndReason.PASSWORD_CHANGED)


def has_new_login(request: HttpRequest) -> bool:
    """Whether the request's session, and the hash in it, belongs to a `login()` of this request."""
    started = request_state(request).login_session
    return started is not None and session_state.sid_in(request.session) == str(started.sid)


def _has_current_hash(session: SessionBase, row: LoginSession) -> bool:
    """Whether `update_session_auth_hash` was called; the row is updated after the view."""
    return matches_password(session.get(HASH_SESSION_KEY, ""), row.user)


def _open_with_key(session_key: BrowserKey) -> LoginSessionQuerySet:
    stored = session_store.stored_key(session_key)
    return LoginSession.objects.for_credential().filter(session_key=stored, ended_at=None)

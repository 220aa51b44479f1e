"""After the view: updates the row if the session key has changed.

It also saves, renews and rotates the session.
"""

import time
from contextlib import nullcontext

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .. import policy, registry, request_client
from ..models import EndReason
from ..registry import django_sessions, transactions
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..signin import kept_login
from ..state import request_settings, request_state


def has_work(request: HttpRequest) -> bool:
    """Whether `finish` has anything to do; after most requests that only read it has not."""
    session, known = request.session, session_state.of(request.session)
    return bool(
        request_state(request).deferred_writes
        or request_state(request).login_session is not None
        or known.remains is not None
        or known.deferred_updates
        or session.modified
        or (settings.SESSION_SAVE_EVERY_REQUEST and not session.is_empty())
        or (session.accessed and session.session_key != session_store.key_in_cookie(request))
        or (session.accessed and _needs_new_key(request))
    )


def finish(request: HttpRequest, response: HttpResponseBase) -> None:
    """Update row, store and cookie. A session that Django will save is only prepared."""
    _forget_undone_login(request)
    transactions.run_deferred(request)
    if response.status_code >= 500:
        _end_lost_login(request)
    if (remains := session_state.of(request.session).remains) is not None:
        session_store.reduce_to(request.session, remains)
    # With a server error Django saves nothing.
    if request.session.modified and response.status_code < 500:
        kept_login.restore(request.session)
    _follow_password(request)
    if _has_key_changed(request.session):
        _follow_key(request)
    elif session_state.of(request.session).loaded_key is None:
        _end_if_expired(request)
    elif request.session.accessed:
        _save(request, response)
    if _will_django_save(request.session):
        _cap_expiry(request.session)


def _forget_undone_login(request: HttpRequest) -> None:
    """Forget a login whose row a rollback has removed.

    A store outside the database has kept its session, and no revocation would find it.
    """
    state = request_state(request)
    if state.login_session is None or state.is_login_committed:
        return
    sid = str(state.login_session.sid)
    # In a test, nothing may ever be committed.
    if django_sessions.is_active(sid):
        return
    state.login_session = None
    if session_state.sid_in(request.session) == sid:
        request.session.flush()


def _end_lost_login(request: HttpRequest) -> None:
    """End a login that this request made.

    Its response is a server error, so the client never receives the credential.
    """
    login_session = request_state(request).login_session
    if login_session is not None:
        registry.revoke(login_session, EndReason.LOGOUT)


def _follow_password(request: HttpRequest) -> None:
    """Keep a token login whose view has called `update_session_auth_hash()`, as a cookie login.

    Django has then put the hash into a Django session, which this login does not have.
    """
    session, sid = request.session, request_state(request).sid
    if sid is None or not session.modified or django_sessions.has_new_login(request):
        return
    auth_hash = session.get(HASH_SESSION_KEY)
    loaded_hash = (session_state.of(session).loaded_data or {}).get(HASH_SESSION_KEY)
    if not auth_hash or auth_hash == loaded_hash:
        return
    django_sessions.follow_password(sid, auth_hash)
    if loaded_hash is not None and session_state.sid_in(session) != sid:
        # The cookie that came with the token is of a different login, possibly another user's.
        session[HASH_SESSION_KEY] = loaded_hash
    elif SESSION_KEY not in session:
        del session[HASH_SESSION_KEY]
        if not session.keys():
            session.flush()


def _has_key_changed(session: SessionBase) -> bool:
    # Reading `session_key` does not load the session.
    return session.accessed and session.session_key != session_state.of(session).loaded_key


def _follow_key(request: HttpRequest) -> None:
    """Update the row after `cycle_key()`, `flush()` or a changed password."""
    session, old_key = request.session, session_state.of(request.session).loaded_key
    stored = session_state.load(session)
    # Without data, `adopt_sessions` may have made a row, and no view has asked for the user since.
    sid = stored.sid if stored is not None else django_sessions.find_sid(session)
    if sid is None or session_state.is_key_registered(session):
        django_sessions.end_abandoned(session)
        return
    key = session_state.key_of(session)
    if key and session_store.find_missing([session_store.stored_key(key)]):
        # ATOMIC_REQUESTS rolled the change back, so the browser keeps the old key.
        return
    session_state.update(session, keyed_at=time.time())
    if django_sessions.follow_key(session, sid, old_key):
        return
    if django_sessions.is_active(sid):
        session.delete()
        session_store.suppress_cookie(request)
    else:
        session.flush()


def _end_if_expired(request: HttpRequest) -> None:
    """End the login of a cookie whose Django session the store has dropped."""
    key = session_store.key_in_cookie(request)
    if key is not None:
        django_sessions.end_if_expired(key)


def _save(request: HttpRequest, response: HttpResponseBase) -> None:
    """Save the session, and rotate its key if it is old enough.

    This runs after the view: the response leaves at once, so the browser has the new key
    before the old one's grace ends. An unmodified session is reloaded just before it is
    saved, so no write of a parallel request is lost.
    """
    session, known = request.session, session_state.of(request.session)
    stored = session_state.load(session)
    if stored is None or session.session_key is None:
        return
    used_retired_key, changes = known.used_retired_key, known.deferred_updates
    address = request_client.ip_address(request)
    modified, will_save = session.modified, _will_django_save(session)
    may_be_overtaken = used_retired_key or request_settings(request).rotate_after is not None
    # With a server error Django neither saves nor sends a cookie, so a new key would be lost.
    # If keys are not rotated, Django may save the session.
    if response.status_code >= 500 or (will_save and not may_be_overtaken):
        if "seen_at" in changes:
            django_sessions.touch(stored.sid, address)
            is_outside = session_store.is_outside_database()
            if is_outside and not django_sessions.has_row(session, stored.sid):
                # A parallel request has changed the key. The next request reads the row again.
                changes = {**changes, "seen_at": stored.seen_at}
        session_state.update(session, **changes)
        return
    # A request that used a retired key does not rotate: the current key is only seconds old.
    is_due = not used_retired_key and _needs_new_key(request)
    # It gets the cookie again: the response with the new key may have been lost, for example if
    # the user clicked on before the page had loaded.
    sends_cookie = used_retired_key or will_save or is_due or "renewed_at" in changes
    # A renewal or rotation that fails is skipped; a save of what the view has written is not.
    try:
        if sends_cookie:
            if "seen_at" in changes:
                django_sessions.touch(stored.sid, address)
            save = django_sessions.rotate_session if is_due else django_sessions.save_session
            with nullcontext() if will_save else transactions.as_bookkeeping():
                save(session, stored.sid, _prepare)
                _send_cookie(response, session)
        elif changes:
            django_sessions.touch_with_session(session, stored.sid, address)
    except UpdateError:
        _yield_to_parallel(request, stored.sid, modified=modified)
    else:
        session.modified, known.is_saved = False, True


def _needs_new_key(request: HttpRequest) -> bool:
    """Whether the key is old enough to be rotated."""
    rotate_after = request_settings(request).rotate_after
    stored = session_state.load(request.session) if rotate_after is not None else None
    return stored is not None and policy.needs_new_key(stored.keyed_at, rotate_after, time.time())


def _prepare(session: SessionBase) -> None:
    session_state.update(session, **session_state.of(session).deferred_updates)
    _cap_expiry(session)


def _yield_to_parallel(request: HttpRequest, sid: str, *, modified: bool) -> None:
    """Save nothing under a key that no longer exists: its login has ended, or it was changed."""
    if not django_sessions.is_active(sid):
        request.session.flush()
    elif not modified:
        session_store.suppress_cookie(request)


def _send_cookie(response: HttpResponseBase, session: SessionBase) -> None:
    """Set the cookie as Django's `SessionMiddleware` does, for a session that it will not save."""
    until_close = session.get_expire_at_browser_close()
    response.set_cookie(
        settings.SESSION_COOKIE_NAME,
        session.session_key or "",
        max_age=None if until_close else session.get_expiry_age(),
        domain=settings.SESSION_COOKIE_DOMAIN,
        path=settings.SESSION_COOKIE_PATH,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=settings.SESSION_COOKIE_HTTPONLY,
        samesite=settings.SESSION_COOKIE_SAMESITE,
    )


def _will_django_save(session: SessionBase) -> bool:
    """Whether Django's `SessionMiddleware` will save the session and send its cookie."""
    saves_always = settings.SESSION_SAVE_EVERY_REQUEST and not session_state.of(session).is_saved
    return session.modified or saves_always


def _cap_expiry(session: SessionBase) -> None:
    """Store that the cookie is about to be renewed, and cap its age.

    Neither the cookie nor the stored session lasts longer than the login session.
    """
    stored, now = session_state.load(session), time.time()
    if stored is None:
        return
    # A view that writes without reading the user must not renew an expired cookie.
    if session_state.is_cookie_expired(session, stored, now):
        session.set_expiry(session_state.cookie_expires_at(session, stored))
        return
    # A login of this request has just stored it.
    if session_state.of(session).written is None:
        session_state.update(session, renewed_at=now)
    end = session_state.to_datetime(stored.expires_at)
    if not session.get_expire_at_browser_close() and session.get_expiry_date() > end:
        session.set_expiry(end)

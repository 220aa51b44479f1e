"""What becomes of a Django session when its view is done: followed, rotated, capped, sent."""

import time
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from .. import policy, registry, request_client
from ..models import EndReason
from ..registry import django_sessions, transactions
from ..sessions import rotation as session_rotation
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..state import request_settings, request_state


def has_work(request: HttpRequest) -> bool:
    session = request.session
    return bool(
        session.modified
        or (session.accessed and session.session_key != session_store.key_in_cookie(request))
        or (session_rotation.is_loaded(session) and _needs_new_key(request))
        or (settings.SESSION_SAVE_EVERY_REQUEST and not session.is_empty())
        or session_store.is_discarded(request)
        or session_state.deferred_updates(session)
        or request_state(request).deferred_writes
    )


def finish(request: HttpRequest, response: HttpResponseBase) -> None:
    transactions.run_deferred(request)
    if response.status_code >= 500:
        _end_lost_login(request)
    _forget_undone_login(request)
    if session_store.is_discarded(request):
        request.session.flush()
    if _key_changed(request):
        _follow_key(request)
    elif _leads_nowhere(request):
        django_sessions.end_if_expired(session_store.key_in_cookie(request) or "")
    elif request.session.accessed:
        _save_and_rotate(request, response)
    session = request.session
    if not session_store.is_saved(session) and (
        session.modified or settings.SESSION_SAVE_EVERY_REQUEST
    ):
        _prepare_cookie(session)


def _end_lost_login(request: HttpRequest) -> None:
    """End a login that was made by a request that failed: its credential reaches nobody."""
    login_session = request_state(request).login_session
    if login_session is not None:
        registry.revoke(login_session, EndReason.LOGOUT)


def _forget_undone_login(request: HttpRequest) -> None:
    """Drop the Django session of a login whose row ATOMIC_REQUESTS has taken back.

    A store outside the database has kept it, and no revocation would find it.
    """
    login_session = request_state(request).login_session
    if login_session is None or not transactions.has_atomic_requests():
        return
    remembered = session_state.load(request.session)
    sid = str(login_session.sid)
    if remembered is not None and remembered.sid == sid and not django_sessions.is_active(sid):
        request.session.flush()


def _key_changed(request: HttpRequest) -> bool:
    # Reading `session_key` does not load the session.
    session = request.session
    return session.accessed and session.session_key != session_rotation.loaded_key(
        session, session_store.key_in_cookie(request)
    )


def _leads_nowhere(request: HttpRequest) -> bool:
    """Whether there is no session any more under the key of the cookie."""
    cookie = session_store.key_in_cookie(request)
    return bool(cookie) and session_rotation.loaded_key(request.session, cookie) is None


def _follow_key(request: HttpRequest) -> None:
    """Bring the row into line with `cycle_key()`, `flush()` and a changed password."""
    session, old_key = (
        request.session,
        session_rotation.loaded_key(request.session, session_store.key_in_cookie(request)),
    )
    remembered = session_state.load(session)
    sid = remembered.sid if remembered is not None else None
    if sid is None and old_key:
        # `adopt_sessions` made its row, and nobody has asked for the user since.
        sid = django_sessions.find_sid_by_key(session, old_key)
    if sid is None or session_state.is_key_registered(session):
        if old_key:
            django_sessions.end_abandoned(old_key, *session_rotation.loaded_login(session))
        return
    if session.session_key and session_store.find_missing(
        [session_store.stored_key(session.session_key)]
    ):
        # ATOMIC_REQUESTS has taken the change back, and the browser keeps the old key.
        return
    auth_hash = session.get(HASH_SESSION_KEY, "")
    session_state.update(session, keyed_at=time.time())
    if django_sessions.follow_key(sid, old_key, session_store.ensure_key(session), auth_hash):
        return
    if django_sessions.is_active(sid):
        session.delete()
        session_store.suppress_cookie(request)
    else:
        session.flush()


def _needs_new_key(request: HttpRequest) -> bool:
    """Whether the key has served long enough."""
    rotate_after = request_settings(request).rotate_after
    if rotate_after is None:
        return False
    remembered = session_state.load(request.session)
    return remembered is not None and policy.needs_new_key(
        remembered.keyed_at, rotate_after, time.time()
    )


def _save_and_rotate(request: HttpRequest, response: HttpResponseBase) -> None:
    """Write what is due, save what was done under the key in force, rotate it if it is old.

    With the answer and not before the view: it leaves at once, so that the browser has the
    new key long before the grace of the old one is over; and what is written here was loaded
    a moment ago, so that it takes back nothing that parallel requests have written.
    """
    session = request.session
    remembered = session_state.load(session)
    if remembered is None or session.session_key is None:
        return
    late, modified = session_rotation.used_retired_key(session), session.modified
    is_saved = modified or settings.SESSION_SAVE_EVERY_REQUEST
    may_be_overtaken = late or request_settings(request).rotate_after is not None
    changes, address = session_state.deferred_updates(session), request_client.ip_address(request)
    # With a server error Django neither saves nor sends a cookie, and a new key would be lost;
    # and what nobody rotates is left to Django.
    if response.status_code >= 500 or (is_saved and not may_be_overtaken):
        if "seen_at" in changes:
            django_sessions.touch(remembered.sid, address)
        session_state.update(session, **changes)
        return
    # Whoever came by an old key does not rotate the new one: parallel requests would chase
    # each other's keys.
    due = not late and _needs_new_key(request)
    # To the late as well: the answer that carried the key may have been lost, as when the
    # user clicks on before a page has loaded.
    sends = late or is_saved or due or "renewed_at" in changes
    if not sends and not changes:
        return
    try:
        if not sends:
            django_sessions.touch_with_session(session, remembered.sid, address)
        else:
            if "seen_at" in changes:
                django_sessions.touch(remembered.sid, address)
            save = django_sessions.rotate_session if due else django_sessions.save_session
            save(session, remembered.sid, partial(_prepare, changes=changes))
    except UpdateError:
        _yield_to_parallel(request, remembered.sid, modified=modified)
        return
    session_store.mark_saved(session)
    if sends:
        _send_cookie(response, session)


def _yield_to_parallel(request: HttpRequest, sid: str, *, modified: bool) -> None:
    """Save nothing under a key that is gone, be it with the login or changed meanwhile."""
    if not django_sessions.is_active(sid):
        request.session.flush()
    elif not modified:
        session_store.suppress_cookie(request)


def _prepare(session: SessionBase, *, changes: dict[str, Any]) -> None:
    session_state.update(session, **changes)
    _prepare_cookie(session)


def _prepare_cookie(session: SessionBase) -> None:
    """Note the fresh age of a cookie that is about to be sent, and cap it.

    Neither the cookie nor what the store keeps lasts longer than the login session.
    """
    remembered = session_state.load(session)
    if remembered is None:
        return
    # Whoever writes without asking for the user does not bring back a cookie that is over.
    # By the age it had when it came; another one from now on neither ends nor saves it.
    now, loaded_data = time.time(), session_rotation.as_loaded(session)
    if session_state.is_cookie_expired(loaded_data, remembered, now):
        session.set_expiry(session_state.cookie_expires_at(loaded_data, remembered))
        return
    session_state.update(session, renewed_at=now)
    end = session_state.to_datetime(remembered.expires_at)
    if not session.get_expire_at_browser_close() and session.get_expiry_date() > end:
        session.set_expiry(end)


def _send_cookie(response: HttpResponseBase, session: SessionBase) -> None:
    """As Django's `SessionMiddleware` does, for a session that is not to be saved again."""
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

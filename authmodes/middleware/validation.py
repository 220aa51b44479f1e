"""Validates the cookie of a request.

Which user does it name, and does its login session still count?
"""

import time
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import Resolver404, ResolverMatch, resolve
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject

from .. import policy, registry, request_client
from ..conf import simple_jwt
from ..models import EndReason, LoginSession, find_by_backend, unavailable_as_503
from ..registry import adoption, django_sessions, transactions, validation
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..sessions.state import SessionData
from ..state import request_settings, request_state
from ..tokens import cookies as token_cookies


def validate_on_access(request: HttpRequest) -> None:
    """Make the session follow key rotation, and validate the user on first access."""
    _ignore_planted_cookies(request)
    if "\x00" in (request.session.session_key or ""):
        # Not a key of ours, and PostgreSQL would answer the query for it with an error.
        request.session = session_store.engine()()
    django_sessions.attach_store(request.session)
    django_user, django_auser = request.user, request.auser

    def user() -> Any:
        # Resolved again, not unwrapped: allauth.headless replaces the session of a request and
        # deletes the user that Django cached.
        is_lazy = isinstance(django_user, SimpleLazyObject)
        with unavailable_as_503():
            return _validate_once(request, _user_of_session(request) if is_lazy else django_user)

    async def auser() -> Any:
        with unavailable_as_503():
            return await sync_to_async(_validate_once)(request, await django_auser())

    request.user = SimpleLazyObject(user)  # type: ignore[assignment]
    request.auser = auser


def _user_of_session(request: HttpRequest) -> Any:
    """Return the user of the session as Django does, but find an ordinary one by a compiled query.

    Django builds that query anew for each request, which takes a third of the instructions of
    stock Django's authentication. It decides about all that is not accepted here.
    """
    if not hasattr(request, "_cached_user") and (user := _accepted_user(request.session)):
        request._cached_user = user  # type: ignore[attr-defined]
    return get_user(request)


def _accepted_user(session: Any) -> Any:
    path, key, auth_hash = map(session.get, (BACKEND_SESSION_KEY, SESSION_KEY, HASH_SESSION_KEY))
    if not key or not auth_hash or path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user = find_by_backend(load_backend(path), get_user_model()._meta.pk.to_python(key))
    if not hasattr(user, "get_session_auth_hash"):
        return None
    return user if constant_time_compare(auth_hash, user.get_session_auth_hash()) else None


def _ignore_planted_cookies(request: HttpRequest) -> None:
    """Have Django read `__Host-` cookies by their exact names, as the token cookies are read."""
    if not request.COOKIES:
        return
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        if not name.startswith("__Host-") or name not in request.COOKIES:
            continue
        value = token_cookies.read_exact(request, name)
        if value == request.COOKIES[name]:
            continue
        request.COOKIES.pop(name)
        if value is not None:
            request.COOKIES[name] = value
        if name == settings.SESSION_COOKIE_NAME:
            request.session = session_store.engine()(value)


def _validate_once(request: HttpRequest, user: Any) -> Any:
    """Validate each resolved user only once per request.

    A rejection flushes the session that the user was resolved from.
    """
    state = request_state(request)
    resolved, validated = state.validated_user
    if resolved is not user:
        validated = _validate(request, user)
        if not validated.is_authenticated:
            validated = _user_to_sign_out(request) or validated
        state.validated_user = (user, validated)
    return validated


def _user_to_sign_out(request: HttpRequest) -> Any:
    """Return the user of the token cookies on allauth's logout page, to end their login there."""
    if not token_cookies.are_enabled() or not token_cookies.are_sent(request):
        return None
    match = _resolve(request)
    if match is None or match.url_name != "account_logout":
        return None
    return next((each.user for each in validation.logins_of_token_cookies(request)), None)


def _validate(request: HttpRequest, user: Any) -> Any:
    """Return the user if the cookie's login session still counts, otherwise `AnonymousUser`."""
    session = request.session
    if SESSION_KEY not in session:
        return user
    if not user.is_authenticated:
        # Django refuses a locked or deleted user, and leaves the session as it is.
        django_sessions.end_if_refused(session)
        return user
    if not _are_cookies_accepted(request):
        return AnonymousUser()
    stored = session_state.load(session)
    if stored is None and adoption.adopt(request, user):
        stored = session_state.load(session)
    if stored is not None and _validate_or_end(request, user, stored):
        return user
    session.flush()
    # Django caches what it found twice, for sync and for async code; this replaces both.
    anonymous = AnonymousUser()
    request._cached_user = request._acached_user = anonymous  # type: ignore[attr-defined]
    return anonymous


def _are_cookies_accepted(request: HttpRequest) -> bool:
    """Whether cookie logins are on. If they are off, they still open the admin."""
    # The session token of an app is not a cookie; the strategy has checked its login's mode.
    if request_settings(request).allows_cookies or request_client.is_app_client(request):
        return True
    match = _resolve(request)
    return match is not None and "admin" in match.app_names


def _resolve(request: HttpRequest) -> ResolverMatch | None:
    try:
        return request.resolver_match or resolve(
            request.path_info, getattr(request, "urlconf", None)
        )
    except Resolver404:
        return None


def _validate_or_end(request: HttpRequest, user: Any, stored: SessionData) -> bool:
    """Return whether the login session still counts.

    End it if the data in the Django session says that it has expired or was bound elsewhere.
    """
    session, rules, now = request.session, request_settings(request), time.time()
    is_stale = policy.needs_touch(stored.seen_at, rules.touch_after, now)
    reason = _reason_to_reject(request, stored, now, is_stale=is_stale)
    if not simple_jwt().USER_AUTHENTICATION_RULE(user):
        reason = EndReason.USER_DISABLED
    if reason is not None:
        ending = LoginSession.objects.filter(sid=stored.sid)
        transactions.write_or_defer(request, partial(registry.revoke_all, ending, reason))
        return False
    if session_store.has_tombstone(session):
        is_stale = True
    if is_stale and not _validate_row(request, stored.sid, now):
        return False
    # Renew the cookie if it is old enough.
    if policy.needs_renewal(stored.renewed_at, rules.renew_after, now):
        if session_store.is_app_session(session):
            # Headless saves an app's session within its view, before our code after the view.
            session_state.update(session, renewed_at=now)
        else:
            session_state.of(session).deferred_updates["renewed_at"] = now
    return True


def _reason_to_reject(
    request: HttpRequest, stored: SessionData, now: float, *, is_stale: bool
) -> EndReason | None:
    """Return why the login no longer counts, by the data in its Django session."""
    if session_state.is_expired(stored, now):
        return EndReason.EXPIRED
    # A login is stale long before it is idle, so most requests skip this query.
    if is_stale and _is_idle(request, stored, now):
        return EndReason.EXPIRED
    if session_state.is_cookie_expired(request.session, stored, now):
        return EndReason.EXPIRED
    if request_client.violates_binding(request, stored.ip_address, stored.agent):
        return EndReason.REVOKED
    return None


def _is_idle(request: HttpRequest, stored: SessionData, now: float) -> bool:
    # A parallel request may have saved older data over newer ones, so read the row too.
    timeout = request_settings(request).idle_timeout
    return policy.is_idle(stored.seen_at, timeout, now) and django_sessions.is_idle(stored.sid)


def _validate_row(request: HttpRequest, sid: str, now: float) -> bool:
    """Validate the row once per touch interval, in case the store has kept an ended session."""
    seen_at = django_sessions.last_seen(sid)
    if seen_at is None:
        return False
    if policy.needs_touch(
        seen_at, request_settings(request).touch_after, session_state.to_datetime(now)
    ):
        # Written after the view: here it would lock the row for as long as the view takes.
        session_state.of(request.session).deferred_updates["seen_at"] = now
    return True

"""Judges the cookie of a request: whose it is, and whether its login session still counts."""

import time
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.urls import Resolver404, resolve
from django.utils.functional import SimpleLazyObject

from .. import policy, registry, request_client
from ..models import EndReason, LoginSession
from ..registry import adoption, django_sessions, transactions
from ..sessions import state as session_state
from ..sessions import store as session_store
from ..sessions.state import SessionData
from ..state import request_settings, request_state


def attach(request: HttpRequest) -> None:
    """Put our judgement between Django's user and whoever asks for it."""
    if "\x00" in (request.session.session_key or ""):
        # No key of ours, and PostgreSQL would answer the question for it with an error.
        request.session = session_store.engine()()
    django_sessions.attach_store(request.session)
    django_user, django_auser = request.user, request.auser

    def user() -> Any:
        # Asked anew, not unwrapped: allauth.headless exchanges the session of a request and
        # has Django forget the user it cached.
        is_lazy = isinstance(django_user, SimpleLazyObject)
        return _validate_once(request, get_user(request) if is_lazy else django_user)

    async def auser() -> Any:
        return await sync_to_async(_validate_once)(request, await django_auser())

    request.user = SimpleLazyObject(user)  # type: ignore[assignment]
    request.auser = auser


def _validate_once(request: HttpRequest, user: Any) -> Any:
    """Judge each user that Django finds once: a refusal flushes what it was found by."""
    judged, verdict = request_state(request).validated_user
    if judged is not user:
        verdict = _validate(request, user)
        request_state(request).validated_user = (user, verdict)
    return verdict


def _validate(request: HttpRequest, user: Any) -> Any:
    """Return the user if the cookie's login session still counts, else nobody."""
    if SESSION_KEY not in request.session:
        return user
    if not user.is_authenticated:
        # Django refuses a locked or deleted user, and leaves the session as it is.
        django_sessions.revalidate(request.session.session_key)
        return user
    if not _are_cookies_accepted(request):
        return AnonymousUser()
    remembered = session_state.load(request.session)
    # A session from before authmodes was installed, or from a version that noted less.
    if remembered is None and adoption.adopt(request, user):
        remembered = session_state.load(request.session)
    if remembered is not None and _is_valid(request, remembered):
        return user
    request.session.flush()
    # Django caches what it found twice, for sync and for async code; neither may outlive this.
    nobody = AnonymousUser()
    request._cached_user = request._acached_user = nobody  # type: ignore[attr-defined]
    return nobody


def _are_cookies_accepted(request: HttpRequest) -> bool:
    """Whether cookie logins are on; where they are off they still open the admin."""
    # The session token of an app is no cookie; the strategy has judged its login's mode.
    if request_settings(request).allows_cookies or request_client.is_app_client(request):
        return True
    try:
        match = request.resolver_match or resolve(request.path_info)
    except Resolver404:
        return False
    return "admin" in match.app_names


def _is_valid(request: HttpRequest, remembered: SessionData) -> bool:
    """Whether the login session still counts; ends it if the session tells against it."""
    session, rules, now = request.session, request_settings(request), time.time()
    is_stale = policy.needs_touch(remembered.seen_at, rules.touch_after, now)
    reason = _reason_to_end(request, remembered, now, is_stale=is_stale)
    if reason is not None:
        ending = LoginSession.objects.filter(sid=remembered.sid)
        transactions.write_or_defer(request, partial(registry.revoke_all, ending, reason))
        return False
    if session_store.has_tombstone(session, remembered.sid):
        return False
    if is_stale and not _is_active(request, remembered.sid, now):
        return False
    # Have the cookie sent again, with a fresh age, when it has reached the age for that.
    if policy.needs_renewal(remembered.renewed_at, rules.renew_after, now):
        # Headless saves an app's session within its view, before we come to it.
        note = (
            session_state.update
            if session_store.is_app_session(session)
            else session_state.defer_update
        )
        note(session, renewed_at=now)
    return True


def _is_active(request: HttpRequest, sid: str, now: float) -> bool:
    """Look at the row once per touch interval, in case the store kept what it should not."""
    seen_at = django_sessions.last_seen(sid)
    if seen_at is not None and policy.needs_touch(
        seen_at, request_settings(request).touch_after, session_state.to_datetime(now)
    ):
        # Written with the answer: here it would lock the row for as long as the view takes.
        session_state.defer_update(request.session, seen_at=now)
    return seen_at is not None


def _reason_to_end(
    request: HttpRequest, remembered: SessionData, now: float, *, is_stale: bool
) -> EndReason | None:
    """What the session itself tells against its login."""
    if session_state.is_expired(remembered, now):
        return EndReason.EXPIRED
    # Long before anybody is idle, what is remembered of them has gone stale.
    if is_stale and _is_idle(request, remembered, now):
        return EndReason.EXPIRED
    if session_state.is_cookie_expired(request.session, remembered, now):
        return EndReason.EXPIRED
    if request_client.violates_binding(request, remembered.ip_address, remembered.agent):
        return EndReason.REVOKED
    return None


def _is_idle(request: HttpRequest, remembered: SessionData, now: float) -> bool:
    # A parallel request may have saved an older memory over a younger one: ask the row too.
    timeout = request_settings(request).idle_timeout
    return policy.is_idle(remembered.seen_at, timeout, now) and django_sessions.is_idle(
        remembered.sid
    )

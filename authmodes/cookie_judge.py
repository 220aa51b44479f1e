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

from . import binding, client, memory, policy, registry, state, stores
from .memory import Memory
from .models import EndReason, LoginSession
from .state import settings_of


def guard(request: HttpRequest) -> None:
    """Put our judgement between Django's user and whoever asks for it."""
    if "\x00" in (request.session.session_key or ""):
        # No key of ours, and PostgreSQL would answer the question for it with an error.
        request.session = stores.engine()()
    registry.attend(request.session)
    django_user, django_auser = request.user, request.auser

    def user() -> Any:
        # Asked anew, not unwrapped: allauth.headless exchanges the session of a request and
        # has Django forget the user it cached.
        is_lazy = isinstance(django_user, SimpleLazyObject)
        return _judge_once(request, get_user(request) if is_lazy else django_user)

    async def auser() -> Any:
        return await sync_to_async(_judge_once)(request, await django_auser())

    request.user = SimpleLazyObject(user)  # type: ignore[assignment]
    request.auser = auser


def _judge_once(request: HttpRequest, user: Any) -> Any:
    """Judge each user that Django finds once: a refusal flushes what it was found by."""
    judged, verdict = state.of_request(request).judged
    if judged is not user:
        verdict = _judge(request, user)
        state.of_request(request).judged = (user, verdict)
    return verdict


def _judge(request: HttpRequest, user: Any) -> Any:
    """Return the user if the cookie's login session still counts, else nobody."""
    if SESSION_KEY not in request.session:
        return user
    if not user.is_authenticated:
        # Django refuses a locked or deleted user, and leaves the session as it is.
        registry.recheck(request.session.session_key)
        return user
    if not _cookies_count(request):
        return AnonymousUser()
    remembered = memory.recall(request.session)
    # A session from before authmodes was installed, or from a version that noted less.
    if remembered is None and registry.adopt(request, user):
        remembered = memory.recall(request.session)
    if remembered is not None and _passes(request, remembered):
        return user
    request.session.flush()
    # Django caches what it found twice, for sync and for async code; neither may outlive this.
    nobody = AnonymousUser()
    request._cached_user = request._acached_user = nobody  # type: ignore[attr-defined]
    return nobody


def _cookies_count(request: HttpRequest) -> bool:
    """Whether cookie logins are on; where they are off they still open the admin."""
    # The session token of an app is no cookie; the strategy has judged its login's mode.
    if settings_of(request).allows_cookies or client.is_app(request):
        return True
    try:
        match = request.resolver_match or resolve(request.path_info)
    except Resolver404:
        return False
    return "admin" in match.app_names


def _passes(request: HttpRequest, remembered: Memory) -> bool:
    """Whether the login session still counts; ends it if the session tells against it."""
    session, rules, now = request.session, settings_of(request), time.time()
    is_stale = policy.needs_touch(remembered.seen_at, rules.touch_after, now)
    reason = _reason_to_end(request, remembered, now, is_stale=is_stale)
    if reason is not None:
        ending = LoginSession.objects.filter(sid=remembered.sid)
        registry.outlive(request, partial(registry.revoke_all, ending, reason))
        return False
    if stores.has_tombstone(session, remembered.sid):
        return False
    if is_stale and not _is_alive(request, remembered.sid, now):
        return False
    # Have the cookie sent again, with a fresh age, when it has reached the age for that.
    if policy.needs_renewal(remembered.renewed_at, rules.renew_after, now):
        # Headless saves an app's session within its view, before we come to it.
        note = memory.change if stores.is_of_app(session) else memory.postpone
        note(session, renewed_at=now)
    return True


def _is_alive(request: HttpRequest, sid: str, now: float) -> bool:
    """Look at the row once per touch interval, in case the store kept what it should not."""
    seen_at = registry.last_seen(sid)
    if seen_at is not None and policy.needs_touch(
        seen_at, settings_of(request).touch_after, memory.moment_of(now)
    ):
        # Written with the answer: here it would lock the row for as long as the view takes.
        memory.postpone(request.session, seen_at=now)
    return seen_at is not None


def _reason_to_end(
    request: HttpRequest, remembered: Memory, now: float, *, is_stale: bool
) -> EndReason | None:
    """What the session itself tells against its login."""
    if memory.is_over(remembered, now):
        return EndReason.EXPIRED
    # Long before anybody is idle, what is remembered of them has gone stale.
    if is_stale and _is_idle(request, remembered, now):
        return EndReason.EXPIRED
    if memory.cookie_is_over(request.session, remembered, now):
        return EndReason.EXPIRED
    if binding.is_elsewhere(request, remembered.ip_address, remembered.agent):
        return EndReason.REVOKED
    return None


def _is_idle(request: HttpRequest, remembered: Memory, now: float) -> bool:
    # A parallel request may have saved an older memory over a younger one: ask the row too.
    timeout = settings_of(request).idle_timeout
    return policy.is_idle(remembered.seen_at, timeout, now) and registry.is_idle(remembered.sid)

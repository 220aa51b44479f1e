"""Cookie requests: refuse logins that no longer count, note that they were seen, follow keys.

Nothing happens before somebody asks for the user, so a request that does not care who sent
it stays as cheap as it was; what is asked then lies in the Django session that Django has
just loaded for it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from . import client, policy, registry, stores
from .conf import Mode, conf
from .models import EndReason, LoginSession
from .stores import Memory


class LoginSessionMiddleware:
    """Place it after `AuthenticationMiddleware`."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        _guard(request)
        if self.is_async:
            return self._respond_async(request)
        response = self.get_response(request)
        if _has_work(request):
            _finish(request)
        return response

    async def _respond_async(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        if _has_work(request):
            await sync_to_async(_finish)(request)
        return response


def _guard(request: HttpRequest) -> None:
    """Put our judgement between Django's user and whoever asks for it."""
    if "\x00" in (_cookie_key(request) or ""):
        # No key of ours, and PostgreSQL would answer the question for it with an error.
        request.session = stores.engine()()
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
    judged, verdict = getattr(request, "_authmodes_judged", (None, None))
    if judged is not user:
        verdict = _judge(request, user)
        request._authmodes_judged = (user, verdict)  # type: ignore[attr-defined]
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
    memory = stores.recall(request.session)
    if memory is None:
        # A session from before authmodes was installed.
        registry.adopt(request, user)
        return user
    if _has_lapsed(memory, timezone.now()):
        registry.revoke_all(LoginSession.objects.filter(sid=memory.sid), EndReason.EXPIRED)
    elif _still_counts(request, memory):
        return user
    request.session.flush()
    # Django caches what it found twice, for sync and for async code; neither may outlive this.
    nobody = AnonymousUser()
    request._cached_user = request._acached_user = nobody  # type: ignore[attr-defined]
    return nobody


def _cookies_count(request: HttpRequest) -> bool:
    """Whether cookie logins are on; where they are off they still open the admin."""
    if conf.MODE.allows(Mode.SESSION):
        return True
    try:
        match = request.resolver_match or resolve(request.path_info)
    except Resolver404:
        return False
    return "admin" in match.app_names


def _has_lapsed(memory: Memory, now: datetime) -> bool:
    return policy.is_over(memory.expires_at, now) or policy.is_idle(
        memory.seen_at, conf.IDLE_TIMEOUT, now
    )


def _still_counts(request: HttpRequest, memory: Memory) -> bool:
    """Look at the row once per touch interval, in case the store kept what it should not."""
    if not policy.needs_touch(memory.seen_at, stores.touch_after(), timezone.now()):
        return True
    if not registry.touch(memory.sid, client.ip_address(request)):
        return False
    stores.mark_seen(request.session)
    return True


def _has_work(request: HttpRequest) -> bool:
    flagged = stores.is_discarded(request) or hasattr(request, "_authmodes_reused")
    return flagged or _key_changed(request)


def _finish(request: HttpRequest) -> None:
    registry.finish_reuse(request)
    if stores.is_discarded(request):
        request.session.flush()
    if _key_changed(request):
        _follow_key(request)


def _key_changed(request: HttpRequest) -> bool:
    # Reading `session_key` does not load the session.
    session = request.session
    return session.accessed and session.session_key != _cookie_key(request)


def _cookie_key(request: HttpRequest) -> str | None:
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME)


def _follow_key(request: HttpRequest) -> None:
    """Bring the row into line with `cycle_key()`, `flush()` and a changed password."""
    session, old_key = request.session, _cookie_key(request)
    memory = stores.recall(session)
    if memory is not None and stores.registered_key(session, old_key) != session.session_key:
        auth_hash = session.get(HASH_SESSION_KEY, "")
        if not registry.follow(memory.sid, stores.ensure_key(session), auth_hash):
            session.flush()
    elif old_key:
        registry.abandon(old_key)

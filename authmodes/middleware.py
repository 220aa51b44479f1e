"""Cookie requests: refuse logins that no longer count, renew and rotate the others.

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
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from . import binding, client, memory, policy, registry, stores
from .conf import Mode, conf
from .errors import LimitReached
from .memory import Memory
from .models import EndReason, LoginSession
from .registry import Touch


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
            _finish(request, response)
        return response

    async def _respond_async(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        if _has_work(request):
            await sync_to_async(_finish)(request, response)
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer a `login()` that the limit refuses; a signal's receiver has no other way."""
        if not isinstance(exception, LimitReached):
            return None
        stores.discard(request)
        context = {"code": exception.default_code, "detail": exception.detail}
        return render(request, "authmodes/login_refused.html", context, status=403)


# -- before the view: who is it? -----------------------------------------------------------


def _guard(request: HttpRequest) -> None:
    """Put our judgement between Django's user and whoever asks for it."""
    if "\x00" in (_cookie_key(request) or ""):
        # No key of ours, and PostgreSQL would answer the question for it with an error.
        request.session = stores.engine()()
    django_user, django_auser = request.user, request.auser

    def user() -> Any:
        _leave_retired_session(request)
        # Asked anew, not unwrapped: allauth.headless exchanges the session of a request and
        # has Django forget the user it cached.
        is_lazy = isinstance(django_user, SimpleLazyObject)
        return _judge_once(request, get_user(request) if is_lazy else django_user)

    async def auser() -> Any:
        await sync_to_async(_leave_retired_session)(request)
        return await sync_to_async(_judge_once)(request, await django_auser())

    request.user = SimpleLazyObject(user)  # type: ignore[assignment]
    request.auser = auser


def _leave_retired_session(request: HttpRequest) -> None:
    """Go on with the successor of a session whose key was rotated a moment ago."""
    if stores.is_retired(request.session):
        request.session = stores.successor_of(request.session) or stores.engine()()
        # Whoever came with an old key neither rotates the new one nor is sent it: answers
        # may arrive in any order, and the browser must keep the newest.
        request._authmodes_late = True  # type: ignore[attr-defined]


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
    remembered = memory.recall(request.session)
    if remembered is None:
        # A session from before authmodes was installed.
        registry.adopt(request, user)
        return user
    reason = _reason_to_end(request, remembered, timezone.now())
    if reason is not None:
        registry.revoke_all(LoginSession.objects.filter(sid=remembered.sid), reason)
    elif _still_counts(request, remembered):
        _renew(request, remembered)
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


def _reason_to_end(request: HttpRequest, remembered: Memory, now: datetime) -> EndReason | None:
    """What the session itself tells against its login."""
    if policy.is_over(remembered.expires_at, now):
        return EndReason.EXPIRED
    if policy.is_idle(remembered.seen_at, conf.IDLE_TIMEOUT, now):
        return EndReason.EXPIRED
    if binding.is_elsewhere(request, remembered.ip_address, remembered.agent):
        return EndReason.REVOKED
    return None


def _still_counts(request: HttpRequest, remembered: Memory) -> bool:
    """Look at the row once per touch interval, in case the store kept what it should not."""
    if not policy.needs_touch(remembered.seen_at, memory.touch_after(), timezone.now()):
        return True
    outcome = registry.touch(remembered.sid, client.ip_address(request))
    if outcome is not Touch.WRITTEN:
        return outcome is Touch.FRESH
    session = request.session
    modified = session.modified
    memory.change(session, seen_at=timezone.now())
    try:
        # Now, and not with the answer: what was loaded a moment ago overwrites least. And
        # without a cookie, whose age only renewal extends.
        session.save()
    except UpdateError:
        return False
    session.modified = modified
    return True


def _renew(request: HttpRequest, remembered: Memory) -> None:
    """Have the cookie sent again, with a fresh age, when it has reached the age for that."""
    now = timezone.now()
    if policy.needs_renewal(remembered.renewed_at, conf.RENEW_AFTER, now):
        memory.change(request.session, renewed_at=now)


# -- after the view: what became of the session? -------------------------------------------


def _has_work(request: HttpRequest) -> bool:
    session = request.session
    return (
        session.modified
        or (session.accessed and session.session_key != _cookie_key(request))
        or (session.accessed and conf.ROTATE_SESSION_AFTER is not None)
        or (session.accessed and settings.SESSION_SAVE_EVERY_REQUEST)
        or stores.is_discarded(request)
        or hasattr(request, "_authmodes_reused")
    )


def _finish(request: HttpRequest, response: HttpResponseBase) -> None:
    registry.finish_reuse(request)
    if stores.is_discarded(request):
        request.session.flush()
    session = request.session
    if hasattr(request, "_authmodes_late") and not memory.is_registered(session):
        _save_late(request)
        return
    if _key_changed(request):
        _follow_key(request)
    # With a server error Django sends no cookie, and the new key would be lost.
    elif conf.ROTATE_SESSION_AFTER is not None and response.status_code < 500:
        _rotate_key(request)
    _cap_age(request)


def _key_changed(request: HttpRequest) -> bool:
    # Reading `session_key` does not load the session.
    session = request.session
    return session.accessed and session.session_key != _cookie_key(request)


def _cookie_key(request: HttpRequest) -> str | None:
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME)


def _follow_key(request: HttpRequest) -> None:
    """Bring the row into line with `cycle_key()`, `flush()` and a changed password."""
    session, old_key = request.session, _cookie_key(request)
    remembered = memory.recall(session)
    if remembered is None or memory.is_registered(session):
        if old_key:
            registry.abandon(old_key)
        return
    auth_hash = session.get(HASH_SESSION_KEY, "")
    memory.change(session, keyed_at=timezone.now())
    if not registry.follow(remembered.sid, stores.ensure_key(session), auth_hash):
        session.flush()


def _rotate_key(request: HttpRequest) -> None:
    """Give the session a new key if its own has served long enough.

    With the answer and not before the view: it leaves at once, so that the browser has the
    new key long before the grace of the old one is over.
    """
    session = request.session
    remembered = memory.recall(session)
    if remembered is None or SESSION_KEY not in session or session.session_key is None:
        return
    if policy.needs_new_key(remembered.keyed_at, conf.ROTATE_SESSION_AFTER, timezone.now()):
        live = registry.rotate_key(session, remembered.sid)
    elif not session.modified or registry.is_current(remembered.sid, session.session_key).exists():
        return
    else:
        # Saving it under its old key would bring that back to life.
        live = registry.carry_over(session)
    if live is None:
        session.flush()
    else:
        request.session = live


def _save_late(request: HttpRequest) -> None:
    """Save what a late request did, under the key that is in force, and send no cookie."""
    session = request.session
    if not session.modified or session.session_key is None:
        return
    live = registry.carry_over(session)
    if live is not None:
        live.save()
    session.modified = False


def _cap_age(request: HttpRequest) -> None:
    """Let the cookie, and what the store keeps, end no later than the login session."""
    session = request.session
    remembered = memory.recall(session)
    if remembered is None or session.get_expire_at_browser_close():
        return
    if session.get_expiry_date() > remembered.expires_at:
        session.set_expiry(remembered.expires_at)

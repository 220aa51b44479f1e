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
from django.contrib.sessions.backends.base import SessionBase
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
    stores.lead_on(request.session)
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
    remembered = memory.recall(request.session)
    if remembered is None:
        # A session from before authmodes was installed.
        if registry.adopt(request, user):
            return user
    elif _passes(request, remembered):
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


def _passes(request: HttpRequest, remembered: Memory) -> bool:
    """Whether the login session still counts; ends it if the session tells against it."""
    reason = _reason_to_end(request, remembered, timezone.now())
    if reason is not None:
        registry.revoke_all(LoginSession.objects.filter(sid=remembered.sid), reason)
        return False
    return not stores.has_tombstone(remembered.sid) and _still_counts(request, remembered)


def _reason_to_end(request: HttpRequest, remembered: Memory, now: datetime) -> EndReason | None:
    """What the session itself tells against its login."""
    if policy.is_over(remembered.expires_at, now):
        return EndReason.EXPIRED
    if policy.is_idle(remembered.seen_at, conf.IDLE_TIMEOUT, now):
        return EndReason.EXPIRED
    # The touch saves the session, and the store then keeps it longer than its cookie lives.
    if policy.is_over(request.session.get_expiry_date(modification=remembered.renewed_at), now):
        return EndReason.EXPIRED
    if binding.is_elsewhere(request, remembered.ip_address, remembered.agent):
        return EndReason.REVOKED
    return None


def _still_counts(request: HttpRequest, remembered: Memory) -> bool:
    """Look at the row once per touch interval, in case the store kept what it should not."""
    if not policy.needs_touch(remembered.seen_at, memory.touch_after(), timezone.now()):
        return True
    touched = registry.touch_cookie(request.session, remembered.sid, client.ip_address(request))
    return touched is not Touch.ENDED


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
        or (settings.SESSION_SAVE_EVERY_REQUEST and not session.is_empty())
        or stores.is_discarded(request)
        or hasattr(request, "_authmodes_reused")
    )


def _finish(request: HttpRequest, response: HttpResponseBase) -> None:
    registry.finish_reuse(request)
    if stores.is_discarded(request):
        request.session.flush()
    if _key_changed(request):
        _follow_key(request)
    elif _led_nowhere(request):
        registry.expire(_cookie_key(request) or "")
    # With a server error Django neither saves nor sends a cookie, and a new key would be lost.
    elif response.status_code < 500 and _may_have_another_key(request.session):
        _go_on(request, response)
    if request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
        _prepare_cookie(request.session)


def _key_changed(request: HttpRequest) -> bool:
    # Reading `session_key` does not load the session.
    session = request.session
    return session.accessed and session.session_key != stores.came_by(session, _cookie_key(request))


def _led_nowhere(request: HttpRequest) -> bool:
    """Whether there is no session any more under the key of the cookie."""
    cookie = _cookie_key(request)
    return bool(cookie) and stores.came_by(request.session, cookie) is None


def _cookie_key(request: HttpRequest) -> str | None:
    return request.COOKIES.get(settings.SESSION_COOKIE_NAME)


def _follow_key(request: HttpRequest) -> None:
    """Bring the row into line with `cycle_key()`, `flush()` and a changed password."""
    session, old_key = request.session, stores.came_by(request.session, _cookie_key(request))
    remembered = memory.recall(session)
    if remembered is None or memory.is_registered(session):
        if old_key:
            registry.abandon(old_key)
        return
    auth_hash = session.get(HASH_SESSION_KEY, "")
    memory.change(session, keyed_at=timezone.now())
    if not registry.follow(remembered.sid, stores.ensure_key(session), auth_hash):
        session.flush()


def _may_have_another_key(session: SessionBase) -> bool:
    """Whether the session is rotated here, or was by a parallel request."""
    rotates = conf.ROTATE_SESSION_AFTER is not None
    return session.accessed and (rotates or stores.is_late(session)) and SESSION_KEY in session


def _go_on(request: HttpRequest, response: HttpResponseBase) -> None:
    """Rotate the key if it has served long enough, and save what was done under the one in force.

    With the answer and not before the view: it leaves at once, so that the browser has the
    new key long before the grace of the old one is over.
    """
    session = request.session
    remembered = memory.recall(session)
    if remembered is None or session.session_key is None:
        return
    # Whoever came by an old key does not rotate the new one: parallel requests would chase
    # each other's keys.
    late, modified = stores.is_late(session), session.modified
    due = policy.needs_new_key(remembered.keyed_at, conf.ROTATE_SESSION_AFTER, timezone.now())
    if not (late or due or modified):
        return
    _prepare_cookie(session)
    session.modified = modified
    save = registry.rotate_key if due and not late else registry.keep
    live = save(session, remembered.sid)
    if live is None:
        session.flush()
        return
    # Saved already, under the row's lock; Django's own save comes too late for that.
    live.modified = False
    request.session = live
    # To the late as well: the answer that carried the key may have been lost, as when the
    # user clicks on before a page has loaded.
    _send_cookie(response, live)


def _prepare_cookie(session: SessionBase) -> None:
    """Note the fresh age of a cookie that is about to be sent, and cap it.

    Neither the cookie nor what the store keeps lasts longer than the login session.
    """
    remembered = memory.recall(session)
    if remembered is None:
        return
    memory.change(session, renewed_at=timezone.now())
    if (
        not session.get_expire_at_browser_close()
        and session.get_expiry_date() > remembered.expires_at
    ):
        session.set_expiry(remembered.expires_at)


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

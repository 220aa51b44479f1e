"""What becomes of a Django session when its view is done: followed, rotated, capped, sent."""

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from . import memory, policy, registry, stores
from .conf import conf


def has_work(request: HttpRequest) -> bool:
    session = request.session
    return (
        session.modified
        or (session.accessed and session.session_key != stores.cookie_key(request))
        or (stores.is_loaded(session) and _needs_new_key(session))
        or (settings.SESSION_SAVE_EVERY_REQUEST and not session.is_empty())
        or stores.is_discarded(request)
        or hasattr(request, "_authmodes_reused")
    )


def finish(request: HttpRequest, response: HttpResponseBase) -> None:
    registry.finish_reuse(request)
    if stores.is_discarded(request):
        request.session.flush()
    if _key_changed(request):
        _follow_key(request)
    elif _led_nowhere(request):
        registry.expire(stores.cookie_key(request) or "")
    # With a server error Django neither saves nor sends a cookie, and a new key would be lost.
    elif response.status_code < 500 and _may_have_another_key(request.session):
        _go_on(request, response)
    if request.session.modified or settings.SESSION_SAVE_EVERY_REQUEST:
        _prepare_cookie(request.session)


def _key_changed(request: HttpRequest) -> bool:
    # Reading `session_key` does not load the session.
    session = request.session
    return session.accessed and session.session_key != stores.came_by(
        session, stores.cookie_key(request)
    )


def _led_nowhere(request: HttpRequest) -> bool:
    """Whether there is no session any more under the key of the cookie."""
    cookie = stores.cookie_key(request)
    return bool(cookie) and stores.came_by(request.session, cookie) is None


def _follow_key(request: HttpRequest) -> None:
    """Bring the row into line with `cycle_key()`, `flush()` and a changed password."""
    session, old_key = request.session, stores.came_by(request.session, stores.cookie_key(request))
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


def _needs_new_key(session: SessionBase) -> bool:
    """Whether the key has served long enough."""
    rotate_after = conf.ROTATE_SESSION_AFTER
    if rotate_after is None:
        return False
    remembered = memory.recall(session)
    return remembered is not None and policy.needs_new_key(
        remembered.keyed_at, rotate_after, timezone.now()
    )


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
    due = _needs_new_key(session)
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

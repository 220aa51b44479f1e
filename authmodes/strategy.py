"""allauth.headless' token strategy: what an app is given for a login, and what it may present.

A login is one row, whichever of its flows made it: the session token leads to its Django
session, and the tokens are those of the REST door.
"""

import base64
import time
import uuid
from typing import Any

from allauth.core import context
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import client, memory, policy, registry, state, stores, tokens
from .conf import conf
from .memory import Memory
from .models import EndReason, LoginMode, LoginSession
from .registry import Refusal, Touch


class AuthModesTokenStrategy(AbstractTokenStrategy):  # type: ignore[misc]
    """`HEADLESS_TOKEN_STRATEGY = "authmodes.strategy.AuthModesTokenStrategy"`."""

    def create_session_token(self, request: HttpRequest) -> str:
        """Name the request's session to an app, and have the row keep up with its key."""
        session = request.session
        stores.reserve_for_app(session)
        key = stores.ensure_key(session)
        presented = self.get_session_token(request) or ""
        if not _follow_key(session):
            # The login has ended meanwhile: the app goes on with a token that leads nowhere.
            session.flush()
            return presented
        return presented if _read(presented) == key else _write(key)

    def lookup_session(self, session_token: str) -> SessionBase | None:
        """The Django session of a session token; None once its login no longer counts."""
        session = _find_session(session_token)
        if session is None:
            return None
        remembered = memory.recall(session)
        if remembered is None and SESSION_KEY in session:
            # Another version of us wrote it; unjudged it must not pass.
            if not registry.recollect(session):
                return None
            remembered = memory.recall(session)
        if remembered is not None:
            if not _counts(session, remembered):
                return None
            _note_login(remembered.sid)
        memory.note_key(session)
        return session

    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any] | None:
        """Both tokens of the login that this request has made; None for one without tokens."""
        login_session = _started_in(request)
        if login_session is None or login_session.mode != LoginMode.JWT:
            return None
        pair = tokens.mint(login_session)
        lifetime = pair.access_expires_at - timezone.now()
        return {
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": int(lifetime.total_seconds()),
        }

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        """The rotation of `token/refresh/`: one family, whichever of the two is called."""
        outcome = registry.rotate(refresh_token, context.request)
        return None if isinstance(outcome, Refusal) else (outcome.access, outcome.refresh)


# -- session tokens ------------------------------------------------------------------------


def _write(session_key: str) -> str:
    return _cipher().encrypt(session_key.encode()).decode()


def _read(session_token: str) -> str | None:
    try:
        return _cipher().decrypt(session_token.encode()).decode()
    except InvalidToken:
        return None


def _cipher() -> MultiFernet:
    """Encrypts session keys: a session token is no cookie, and a stored key no session token.

    `SECRET_KEY_FALLBACKS` still decrypt.
    """
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_cipher_key(secret)) for secret in secrets])


def _cipher_key(secret: str | bytes) -> bytes:
    salt = "authmodes.strategy.session_token"
    mac = salted_hmac(salt, "", secret=secret, algorithm="sha256")
    return base64.urlsafe_b64encode(mac.digest())


# -- sessions ------------------------------------------------------------------------------


def _follow_key(session: SessionBase) -> bool:
    """Bring the row into line with `cycle_key()` and a changed password.

    False if the login has ended. The middleware does so for cookies, and never sees the
    session that headless works with.
    """
    remembered = memory.recall(session)
    if remembered is None or memory.is_registered(session):
        return True
    key, auth_hash = stores.ensure_key(session), session.get(HASH_SESSION_KEY, "")
    memory.note_key(session)
    return registry.follow(remembered.sid, None, key, auth_hash)


def _find_session(session_token: str) -> SessionBase | None:
    key = _read(session_token)
    if key is None:
        return None
    session = stores.engine()(key)
    live = stores.successor_of(session)
    if live is None or not stores.is_of_app(live):
        # The store may just have kept it no longer than the login was to last.
        registry.expire(key)
        return None
    if live is not session:
        # Headless then tells the new token again, in case the answer with it was lost.
        live.modified = True
    return live


def _counts(session: SessionBase, remembered: Memory) -> bool:
    """Whether the login of an app's session still counts; ends it if not.

    Judged by the row, because a class of allauth's may ask in a view that our middleware
    has no part in, and because an app comes by here seldom enough.
    """
    row = LoginSession.objects.for_credential().by_sid(uuid.UUID(remembered.sid))
    if row is None or row.session_key != stores.stored_key(stores.ensure_key(session)):
        return False
    request = context.request
    if not conf.MODE.allows(row.mode) or not registry.is_acceptable(row, request):
        return False
    now = time.time()
    if memory.cookie_is_over(session, remembered, now):
        registry.revoke(row, EndReason.EXPIRED)
        return False
    if not policy.needs_touch(
        remembered.seen_at, policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT), now
    ):
        return True
    seen_from = client.ip_address(request) if request is not None else row.last_ip_address
    try:
        return registry.touch_cookie(session, remembered.sid, seen_from) is not Touch.ENDED
    except UpdateError:
        return False


def _note_login(sid: str) -> None:
    """Say whose request this is, also to what runs when headless is done with the session.

    Under ATOMIC_REQUESTS, allauth announces a new second factor after that, which ends all
    logins but this one.
    """
    if context.request is not None:
        state.of_request(context.request).sid = sid


def _started_in(request: HttpRequest) -> LoginSession | None:
    started = state.of_request(request).login
    return started if started is not None and started.user == request.user else None

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

from . import policy, registry, request_client
from .conf import Mode, conf
from .models import EndReason, LoginSession
from .registry import adoption, django_sessions, rotation, validation
from .registry.django_sessions import Touch
from .registry.rotation import Refusal
from .sessions import rotation as session_rotation
from .sessions import state as session_state
from .sessions import store as session_store
from .sessions.state import SessionData
from .state import request_state
from .tokens.jwt import mint


class AuthModesTokenStrategy(AbstractTokenStrategy):  # type: ignore[misc]
    """`HEADLESS_TOKEN_STRATEGY = "authmodes.strategy.AuthModesTokenStrategy"`."""

    def create_session_token(self, request: HttpRequest) -> str:
        """Name the request's session to an app, and have the row keep up with its key."""
        session = request.session
        session_store.reserve_for_app(session)
        key = session_store.ensure_key(session)
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
        remembered = session_state.load(session)
        if remembered is None and SESSION_KEY in session:
            # Another version of us wrote it; unjudged it must not pass.
            if not adoption.load_existing(session):
                return None
            remembered = session_state.load(session)
        if remembered is not None:
            if not _counts(session, remembered):
                return None
            _note_login(remembered.sid)
        session_state.register_key(session)
        return session

    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any] | None:
        """Both tokens of the login that this request has made; None for one without tokens."""
        login_session = _started_in(request)
        if login_session is None or login_session.mode != Mode.JWT:
            return None
        pair = mint(login_session)
        lifetime = pair.access_expires_at - timezone.now()
        return {
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": int(lifetime.total_seconds()),
        }

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        """The rotation of `token/refresh/`: one family, whichever of the two is called."""
        outcome = rotation.rotate(refresh_token, context.request)
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
    remembered = session_state.load(session)
    if remembered is None or session_state.is_key_registered(session):
        return True
    key, auth_hash = session_store.ensure_key(session), session.get(HASH_SESSION_KEY, "")
    session_state.register_key(session)
    return django_sessions.follow_key(remembered.sid, None, key, auth_hash)


def _find_session(session_token: str) -> SessionBase | None:
    key = _read(session_token)
    if key is None:
        return None
    session = session_store.engine()(key)
    live = session_rotation.find_successor(session)
    if live is None or not session_store.is_app_session(live):
        # The store may just have kept it no longer than the login was to last.
        django_sessions.end_if_expired(key)
        return None
    if live is not session:
        # Headless then tells the new token again, in case the answer with it was lost.
        live.modified = True
    return live


def _counts(session: SessionBase, remembered: SessionData) -> bool:
    """Whether the login of an app's session still counts; ends it if not.

    Judged by the row, because a class of allauth's may ask in a view that our middleware
    has no part in, and because an app comes by here seldom enough.
    """
    row = LoginSession.objects.for_credential().by_sid(uuid.UUID(remembered.sid))
    if row is None or row.session_key != session_store.stored_key(
        session_store.ensure_key(session)
    ):
        return False
    request = context.request
    if not conf.MODE.allows(row.mode) or not validation.validate_or_end(row, request):
        return False
    now = time.time()
    if session_state.is_cookie_expired(session, remembered, now):
        registry.revoke(row, EndReason.EXPIRED)
        return False
    if not policy.needs_touch(
        remembered.seen_at, policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT), now
    ):
        return True
    seen_from = request_client.ip_address(request) if request is not None else row.last_ip_address
    try:
        return (
            django_sessions.touch_with_session(session, remembered.sid, seen_from)
            is not Touch.ENDED
        )
    except UpdateError:
        return False


def _note_login(sid: str) -> None:
    """Say whose request this is, also to what runs when headless is done with the session.

    Under ATOMIC_REQUESTS, allauth announces a new second factor after that, which ends all
    logins but this one.
    """
    if context.request is not None:
        request_state(context.request).sid = sid


def _started_in(request: HttpRequest) -> LoginSession | None:
    started = request_state(request).login_session
    return started if started is not None and started.user == request.user else None

"""allauth.headless' token strategy: the tokens that an app gets for a login and may present.

Every flow of headless makes one row. The session token identifies its Django session, and the
access and refresh tokens are those of the REST API.
"""

import base64
import time
import uuid
from typing import Any

from allauth.core import context
from allauth.headless.tokens.strategies.base import AbstractTokenStrategy
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

from . import policy, registry, request_client
from .conf import Mode, conf
from .models import EndReason, LoginSession, unavailable_as_503
from .registry import django_sessions, rotation, validation
from .registry.rotation import Refusal
from .sessions import BrowserKey
from .sessions import rotation as session_rotation
from .sessions import state as session_state
from .sessions import store as session_store
from .sessions.state import SessionData
from .state import hide_variables, request_state
from .tokens.jwt import mint

__all__ = ["AuthModesTokenStrategy"]


class AuthModesTokenStrategy(AbstractTokenStrategy):  # type: ignore[misc]
    """`HEADLESS_TOKEN_STRATEGY = "authmodes.strategy.AuthModesTokenStrategy"`."""

    @classmethod
    def openapi_spec(cls) -> dict[str, Any]:
        """Describe both tokens for headless' own OpenAPI document (allauth 65.22 and later).

        Its endpoints accept the session token only.
        """
        description = "The app's session token, `meta.session_token` of an answer."
        session_token = {"type": "apiKey", "in": "header", "name": "X-Session-Token"}
        schemes = {"SessionToken": {**session_token, "description": description}}
        if conf.MODE.allows(Mode.JWT):
            # The name that drf-spectacular gives it in the document of the REST API.
            schemes["authmodesBearer"] = {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "JWT",
                "description": "`meta.access_token` of an answer. It is for the REST API.",
            }
        return {"securitySchemes": schemes, "security": [{"SessionToken": []}, {}]}

    def get_session_token(self, request: HttpRequest) -> str | None:
        """Return the session token of a request. The response depends on that header."""
        request_state(request).vary.add("X-Session-Token")
        hide_variables(request)
        session_token: str | None = super().get_session_token(request)
        return session_token

    @sensitive_variables()
    def create_session_token(self, request: HttpRequest) -> str:
        """Give the request's session to an app, and bring the row's session key up to date."""
        session = request.session
        session_store.reserve_for_app(session)
        key = session_store.ensure_key(session)
        presented = self.get_session_token(request) or ""
        stored = session_state.load(session)
        if (
            stored is not None
            and not session_state.is_key_registered(session)
            and not django_sessions.follow_key(session, stored.sid)
        ):
            # The login has ended: the app keeps a token that is no longer valid.
            session.flush()
            return presented
        return presented if _decrypt(presented) == key else _encrypt(key)

    @sensitive_variables()
    @unavailable_as_503()
    def lookup_session(self, session_token: str) -> SessionBase | None:
        """Return the Django session of a token; None if there is none or its login has ended."""
        session = _find_session(session_token)
        if session is None:
            return None
        data = session_state.load(session)
        if data is None and SESSION_KEY in session:
            # Signed in by other code than authmodes, so there is no row to validate.
            return None
        if data is not None:
            if not _validate_or_end(session, data):
                return None
            if context.request is not None:
                # Also for what runs when headless has finished with the session: under
                # ATOMIC_REQUESTS, allauth then sends the signal of a new second factor, which
                # ends all logins but this one.
                request_state(context.request).sid = data.sid
        session_state.register_key(session)
        return session

    @sensitive_variables()
    def create_access_token_payload(self, request: HttpRequest) -> dict[str, Any] | None:
        """Both tokens of the login that this request has made, None if it is not for tokens."""
        login_session = request_state(request).login_session
        if login_session is None or login_session.user != request.user:
            return None
        if login_session.mode != Mode.JWT:
            return None
        pair = mint(login_session)
        lifetime = pair.access_expires_at - timezone.now()
        return {
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": int(lifetime.total_seconds()),
        }

    def refresh_token(self, refresh_token: str) -> tuple[str, str] | None:
        """Rotate as `token/refresh/` does: both endpoints serve the same token family."""
        outcome = rotation.rotate(refresh_token, context.request)
        return None if isinstance(outcome, Refusal) else (outcome.access, outcome.refresh)


# -- session tokens ------------------------------------------------------------------------


def _encrypt(session_key: BrowserKey) -> str:
    return _cipher().encrypt(session_key.encode()).decode()


def _decrypt(session_token: str) -> BrowserKey | None:
    try:
        return BrowserKey(_cipher().decrypt(session_token.encode()).decode())
    except InvalidToken:
        return None


def _cipher() -> MultiFernet:
    """Encrypts session keys, so that neither a cookie nor a stored key is a session token.

    `SECRET_KEY_FALLBACKS` still decrypt.
    """
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_cipher_key(secret)) for secret in secrets])


def _cipher_key(secret: str | bytes) -> bytes:
    salt = "authmodes.strategy.session_token"
    mac = salted_hmac(salt, "", secret=secret, algorithm="sha256")
    return base64.urlsafe_b64encode(mac.digest())


# -- sessions ------------------------------------------------------------------------------


def _find_session(session_token: str) -> SessionBase | None:
    key = _decrypt(session_token)
    if key is None:
        return None
    session = session_store.engine()(key)
    current = session_rotation.find_successor(session)
    if current is None or not session_store.is_app_session(current):
        # The store may have kept the session exactly as long as the login was to last.
        django_sessions.end_if_expired(key)
        return None
    if current is not session:
        # Headless then sends the new token again, in case the response with it was lost.
        current.modified = True
    return current


def _validate_or_end(session: SessionBase, data: SessionData) -> bool:
    """Validate the login of an app's session and note that it was seen, or end it if it expired.

    The row is read each time: an authentication class of allauth's may call this in a view
    that our middleware does not serve, and apps present session tokens seldom.
    """
    row = LoginSession.objects.for_credential().by_sid(uuid.UUID(data.sid))
    key = session_store.stored_key(session_store.ensure_key(session))
    if row is None or row.session_key != key:
        return False
    request = context.request
    if not conf.MODE.allows(row.mode) or not validation.validate_or_end(row, request):
        return False
    now = time.time()
    if session_state.is_cookie_expired(session, data, now):
        registry.revoke(row, EndReason.EXPIRED)
        return False
    touch_after = policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT)
    if not policy.needs_touch(data.seen_at, touch_after, now):
        return True
    seen_from = row.last_ip_address if request is None else request_client.ip_address(request)
    try:
        django_sessions.touch_with_session(session, data.sid, seen_from)
    except UpdateError:
        return False
    return True

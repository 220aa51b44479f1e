"""DRF authentication for every mode: which credential a request is authenticated by."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from rest_framework import HTTP_HEADER_ENCODING
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import AuthenticationFailed

from . import policy, request_client
from .conf import AccessTokenCheck, Mode, conf, simple_jwt
from .exceptions import REALM, CsrfFailed
from .machines import tokens as machine_tokens
from .machines.tokens import MachineToken
from .models import LoginSession, unavailable_as_503
from .registry import django_sessions, transactions, validation
from .sessions import state as session_state
from .state import request_settings, request_state
from .tokens import cookies as token_cookies
from .tokens import snapshot
from .tokens.jwt import AccessToken, RingToken, read_any
from .tokens.user import TokenUser, refuse_token

__all__ = ["AuthModesAuthentication", "LoginAuth"]

# `request.auth.mode` of a machine client, which has no login session of either mode.
CLIENT = "client"


@dataclass
class LoginAuth:
    """`request.auth`, of the same shape in every mode.

    `sid` and `mode` ("session" or "jwt") are those of the login session. `claims` are those
    of the access token; for a cookie, the few that every token has. A machine client has mode
    "client", a `client_id`, an empty `sid` and no login session.
    """

    sid: str
    mode: str
    claims: Mapping[str, Any]
    client_id: str = ""

    @property
    def scopes(self) -> frozenset[str]:
        """The `scope` claim, as `authmodes.permissions.HasScope` reads it."""
        scope = self.claims.get("scope")
        return frozenset(scope.split()) if isinstance(scope, str) else frozenset()

    @cached_property
    def login_session(self) -> Any:
        """The `LoginSession`, loaded on first use; None for a machine client.

        Raises `AuthenticationFailed` if it has ended.
        """
        if not self.sid:
            return None
        found = LoginSession.objects.select_related("user").filter(sid=self.sid).first()
        if found is None or found.ended_at is not None:
            # The request was authenticated without the row, or it ended since.
            raise AuthenticationFailed(*_ended())
        return found


class AuthModesAuthentication(BaseAuthentication):
    """Authenticate by the `Bearer` header, else the token cookie, else the Django session.

    A header is validated alone: an invalid one is answered with 401 and never falls back to
    a cookie. Both cookies enforce CSRF on unsafe methods.
    """

    @unavailable_as_503()
    # Django's error reports show the variables of every function called from here.
    @sensitive_variables()
    def authenticate(self, request: Request) -> tuple[Any, LoginAuth] | None:
        vary = request_state(request._request).vary
        vary.add(simple_jwt().AUTH_HEADER_NAME.removeprefix("HTTP_").replace("_", "-").title())
        header = self.bearer_token(request)
        if header is not None:
            # A machine client's token is accepted in the header only.
            return _authenticate_token(request, header, AccessToken, MachineToken)
        vary.add("Cookie")
        in_cookies = request_settings(request._request).tokens_in_cookies
        cookie = token_cookies.access_token(request._request) if in_cookies else None
        if cookie is None:
            return _authenticate_session(request)
        try:
            authenticated = _authenticate_token(request, cookie, AccessToken)
        except AuthenticationFailed:
            # A browser keeps stale cookies, which must not hide a valid Django session.
            by_session = _authenticate_session(request)
            if by_session is None:
                raise
            return by_session
        enforce_csrf(request)
        return authenticated

    def bearer_token(self, request: Request) -> str | None:
        """Return the token of a Bearer header; "" if it is malformed, None without one."""
        jwt_settings = simple_jwt()
        header = request._request.META.get(jwt_settings.AUTH_HEADER_NAME)
        if not header:
            return None
        if isinstance(header, bytes):
            header = header.decode(HTTP_HEADER_ENCODING)
        # By spaces alone (RFC 9110, 11.4): Python's own split takes other characters for them.
        scheme, _space, credentials = header.strip(" ").partition(" ")
        accepted = jwt_settings.AUTH_HEADER_TYPES
        types = [accepted] if isinstance(accepted, str) else accepted
        if scheme.lower() not in {name.lower() for name in types}:
            return None
        return credentials.strip(" ")

    def authenticate_header(self, request: Request) -> str:
        state = request_state(request._request)
        # `error` only if a token was sent (RFC 6750, 3.1).
        return f'{REALM}, error="invalid_token"' if state.has_bad_token else REALM


def _authenticate_token(
    request: Request, raw_token: str, *kinds: type[RingToken]
) -> tuple[Any, LoginAuth]:
    django_request = request._request
    if not request_settings(django_request).allows_tokens:
        raise refuse_token(django_request, _("Tokens are switched off."), "mode_disabled")
    token = read_any(raw_token, *kinds)
    if isinstance(token, MachineToken):
        # Without a user: `IsAuthenticated`, and every view for users, refuses it.
        return AnonymousUser(), _validate_machine_token(django_request, token)
    if not isinstance(token, AccessToken):
        raise refuse_token(
            django_request, _("The access token is invalid or expired."), "token_not_valid"
        )
    auth = LoginAuth(str(token.sid), str(Mode.JWT), token.payload)
    if conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.DATABASE:
        user = _validate_by_row(django_request, token, auth)
    else:
        user = _validate_without_query(request, token, auth)
    request_state(django_request).sid = auth.sid
    return user, auth


def _validate_by_row(request: HttpRequest, token: AccessToken, auth: LoginAuth) -> Any:
    """Validate a token by its login session; one query loads that and the user."""
    login_session = validation.find_login_session(token)
    if login_session is None:
        raise refuse_token(request, _("The access token is invalid."), "token_not_valid")
    if not validation.validate_or_end(login_session, request):
        raise refuse_token(request, *_ended())
    if policy.needs_touch(
        login_session.last_seen_at, request_settings(request).touch_after, timezone.now()
    ):
        # After the view: here it would lock the row for as long as the view takes.
        transactions.defer(
            request, partial(django_sessions.touch, auth.sid, request_client.ip_address(request))
        )
    auth.login_session = login_session
    return login_session.user


def _validate_without_query(request: Request, token: AccessToken, auth: LoginAuth) -> Any:
    """Validate a token by this process's snapshot, or by signature and expiry alone."""
    by_snapshot = conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.SNAPSHOT
    has_ended = snapshot.snapshot.has_ended(token.sid) if by_snapshot else False
    if has_ended:
        raise refuse_token(request._request, *_ended())
    if has_ended is None:
        # The snapshot is too old to be believed.
        return _validate_by_row(request._request, token, auth)
    user = TokenUser(request._request, token)
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is not None and renderer.media_type == "text/html":
        # DRF's own pages show the user's name after the view, where a 401 would be a 500.
        user.load()
    return user


def _validate_machine_token(request: HttpRequest, token: MachineToken) -> LoginAuth:
    """Validate a machine client's token by the row of its secret; a snapshot has only logins."""
    by_signature = conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.NONE
    scopes = token.scopes if by_signature else machine_tokens.validate(token)
    if scopes is None:
        raise refuse_token(request, _("The access token was revoked."), "token_not_valid")
    claims = {**token.payload, "scope": " ".join(scopes)}
    return LoginAuth("", CLIENT, claims, token.client_id)


def _ended() -> tuple[str, str]:
    return _("The login session has ended."), "login_session_ended"


def _authenticate_session(request: Request) -> tuple[Any, LoginAuth] | None:
    if not request_settings(request._request).allows_cookies:
        return None
    # The middleware validates the login session when the user is loaded. `AnonymousUser` is
    # not active.
    # A request of DRF's `APIRequestFactory` has no user.
    user = getattr(request._request, "user", None)
    if user is None or not user.is_active:
        return None
    data = session_state.load(request._request.session)
    if data is None:
        return None
    enforce_csrf(request)
    jwt_settings = simple_jwt()
    claims = {
        jwt_settings.USER_ID_CLAIM: str(getattr(user, jwt_settings.USER_ID_FIELD)),
        "sid": data.sid,
        "auth_time": data.auth_time,
    }
    return user, LoginAuth(data.sid, str(Mode.SESSION), claims)


def enforce_csrf(request: Request) -> None:
    """Refuse a cross-site call, where a cookie authenticates it or its answer sets one."""
    # Django's check accepts safe methods too, but reads the cookie first.
    if request._request.method not in SAFE_METHODS:
        try:
            SessionAuthentication().enforce_csrf(request)
        except PermissionDenied as error:
            raise CsrfFailed(error.detail) from None

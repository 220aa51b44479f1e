"""DRF authentication for every mode: which credential counts, and nothing about logging in."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework import HTTP_HEADER_ENCODING
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import AuthenticationFailed, TokenError

from . import policy, request_client
from .conf import AccessTokenCheck, Mode, conf, simple_jwt
from .exceptions import REALM
from .machines import tokens as machine_tokens
from .machines.tokens import MachineToken
from .models import LoginSession
from .registry import django_sessions, transactions, validation
from .sessions import state as session_state
from .state import request_settings, request_state
from .tokens import cookies as token_cookies
from .tokens import snapshot
from .tokens.jwt import AccessToken, read_token
from .tokens.user import TokenUser

# `request.auth.mode` of a machine client, which has no login session of either mode.
CLIENT = "client"


@dataclass
class LoginAuth:
    """`request.auth`, of the same shape in every mode.

    `sid` and `mode` ("session" or "jwt") name the login session; `claims` are those of the
    access token, and for a cookie the same few that every token has. `client_id` is empty
    for a user.
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
    def login_session(self) -> LoginSession:
        """The row, loaded when it is first asked for. Raises `AuthenticationFailed`."""
        found = LoginSession.objects.select_related("user").filter(sid=self.sid).first()
        if found is None or found.ended_at is not None:
            # Gone with its user, or ended, and this request was judged without it.
            raise _ended()
        return found


class MachineAuth(LoginAuth):
    """`request.auth` of a machine client: mode "client", no `sid` and no login session."""

    login_session = None  # type: ignore[assignment]


class AuthModesAuthentication(BaseAuthentication):
    """A `Bearer` header, else the token cookie, else the Django session.

    A header is judged alone: a bad one is 401 and never falls back to a cookie. Both
    cookies are subject to CSRF on unsafe methods.
    """

    def authenticate(self, request: Request) -> tuple[Any, LoginAuth] | None:
        header = _bearer_token(request)
        if header is not None:
            return self._by_header(request, header)
        in_cookies = request_settings(request._request).tokens_in_cookies
        cookie = token_cookies.access_token(request._request) if in_cookies else None
        if cookie is None:
            return self._by_session(request)
        try:
            found = self._by_token(request, cookie)
        except AuthenticationFailed:
            # A browser keeps stale cookies; one must not shut out a good Django session.
            by_session = self._by_session(request)
            if by_session is None:
                raise
            return by_session
        enforce_csrf(request)
        return found

    def bearer_token(self, request: Request) -> str | None:
        """The token of the header, be it good or bad; None without one."""
        return _bearer_token(request)

    def authenticate_header(self, request: Request) -> str:
        max_age = request_state(request._request).max_age
        if max_age is not None:
            return f'{REALM}, error="insufficient_user_authentication", max_age="{max_age}"'
        # `error` only when a token was sent (RFC 6750, 3.1).
        failed = request_state(request._request).has_bad_token
        return f'{REALM}, error="invalid_token"' if failed else REALM

    def _by_header(self, request: Request, raw_token: str) -> tuple[Any, LoginAuth]:
        try:
            return self._by_token(request, raw_token)
        except AuthenticationFailed:
            # A machine client's token counts in the header alone: no cookie of ours holds one.
            token = (
                machine_tokens.read(raw_token)
                if request_settings(request._request).allows_tokens
                else None
            )
            if token is None:
                raise
        auth = _check_machine(token)
        request_state(request._request).has_bad_token = False
        # Nobody's: `IsAuthenticated` refuses it, and with it every view meant for users.
        return AnonymousUser(), auth

    def _by_token(self, request: Request, raw_token: str) -> tuple[Any, LoginAuth]:
        request_state(request._request).has_bad_token = True
        if not request_settings(request._request).allows_tokens:
            raise AuthenticationFailed(_("Tokens are switched off."), "mode_disabled")
        try:
            token = read_token(AccessToken, raw_token)
        except TokenError as error:
            raise AuthenticationFailed(
                _("The access token is invalid or expired."), "token_not_valid"
            ) from error
        auth = LoginAuth(str(token.sid), str(Mode.JWT), token.payload)
        if conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.DATABASE:
            user = _check_by_row(request._request, token, auth)
        else:
            user = _check_without_query(request, token)
        request_state(request._request).has_bad_token = False
        request_state(request._request).sid = auth.sid
        return user, auth

    def _by_session(self, request: Request) -> tuple[Any, LoginAuth] | None:
        if not request_settings(request._request).allows_cookies:
            return None
        user = request._request.user
        # Loaded through the middleware, which has judged the login session. `AnonymousUser` is
        # not active either.
        if not user.is_active:
            return None
        remembered = session_state.load(request._request.session)
        if remembered is None:
            return None
        enforce_csrf(request)
        jwt_settings = simple_jwt()
        claims = {
            jwt_settings.USER_ID_CLAIM: str(getattr(user, jwt_settings.USER_ID_FIELD)),
            "sid": remembered.sid,
            "auth_time": remembered.auth_time,
        }
        return user, LoginAuth(remembered.sid, str(Mode.SESSION), claims)


def _check_by_row(request: HttpRequest, token: AccessToken, auth: LoginAuth) -> Any:
    """Judge a token by its login session as it is now; one query loads that and the user."""
    login_session = LoginSession.objects.for_credential().by_sid(token.sid)
    if login_session is None or not token.is_of(login_session):
        raise AuthenticationFailed(_("The access token is invalid."), "token_not_valid")
    if not validation.validate_or_end(login_session, request):
        raise _ended()
    if policy.needs_touch(
        login_session.last_seen_at, request_settings(request).touch_after, timezone.now()
    ):
        transactions.write_or_defer(
            request, partial(django_sessions.touch, auth.sid, request_client.ip_address(request))
        )
    auth.login_session = login_session
    return login_session.user


def _check_without_query(request: Request, token: AccessToken) -> TokenUser:
    """Judge a token by this process's snapshot, or by its signature and expiry alone."""
    by_snapshot = conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.SNAPSHOT
    if by_snapshot and snapshot.snapshot.has_ended(token.sid):
        raise _ended()
    user = TokenUser(request._request, token)
    renderer = getattr(request, "accepted_renderer", None)
    if renderer is not None and renderer.media_type == "text/html":
        # DRF's own pages show the user's name after the view, where a 401 would be a 500.
        user.load()
    return user


def _check_machine(token: MachineToken) -> MachineAuth:
    """Judge a machine client's token by its secret's row; a snapshot knows only logins."""
    by_signature = conf.ACCESS_TOKEN_CHECK is AccessTokenCheck.NONE
    scopes = token.scopes if by_signature else machine_tokens.validate(token)
    if scopes is None:
        raise AuthenticationFailed(_("The access token was revoked."), "token_not_valid")
    claims = {**token.payload, "scope": " ".join(scopes)}
    return MachineAuth("", CLIENT, claims, token.client_id)


def _ended() -> AuthenticationFailed:
    return AuthenticationFailed(_("The login session has ended."), "login_session_ended")


def _bearer_token(request: Request) -> str | None:
    """The token of a Bearer header; "" for one that is malformed, None for any other scheme."""
    jwt_settings = simple_jwt()
    header = request._request.META.get(jwt_settings.AUTH_HEADER_NAME)
    if not header:
        return None
    if isinstance(header, bytes):
        header = header.decode(HTTP_HEADER_ENCODING)
    scheme, credentials = [*header.split(maxsplit=1), "", ""][:2]
    known = jwt_settings.AUTH_HEADER_TYPES
    types = [known] if isinstance(known, str) else known
    if scheme.lower() not in {name.lower() for name in types}:
        return None
    return credentials.strip()


def enforce_csrf(request: Request) -> None:
    """Refuse a cross-site call. For calls that rely on a cookie and answers that set one."""
    # Django's check lets safe methods pass too, once it has read the cookie that its
    # middleware has read before.
    if request._request.method not in SAFE_METHODS:
        SessionAuthentication().enforce_csrf(request)

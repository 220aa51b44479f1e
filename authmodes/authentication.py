"""Authentication for every mode: which credential a request is authenticated by.

`AuthModesAuthentication` is for Django REST framework. `authenticate`, `authenticate_token` and
their async forms do the same for other code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from rest_framework import HTTP_HEADER_ENCODING
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework_simplejwt.exceptions import InvalidToken

from . import policy, request_client
from .conf import AccessTokenCheck, Mode, simple_jwt
from .exceptions import CsrfFailed, LoginSessionEnded, TokensDisabled
from .machines import tokens as machine_tokens
from .machines.tokens import MachineToken
from .models import LoginSession, unavailable_as_503
from .registry import django_sessions, transactions, validation
from .sessions import state as session_state
from .state import request_settings, request_state, to_django
from .tokens import cookies as token_cookies
from .tokens import snapshot
from .tokens.jwt import (
    ISSUED_BY_SIMPLEJWT,
    AccessToken,
    RingToken,
    is_issued_by_simplejwt,
    read_any,
)
from .tokens.user import TokenUser, refuse_token

__all__ = [
    "AuthModesAuthentication",
    "LoginAuth",
    "aauthenticate",
    "aauthenticate_token",
    "authenticate",
    "authenticate_token",
]

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
    def login_session(self) -> LoginSession | None:
        """The `LoginSession`, loaded on first use; None for a machine client.

        Raises `AuthenticationFailed` if it has ended.
        """
        if not self.sid:
            return None
        found = LoginSession.objects.select_related("user").filter(sid=self.sid).first()
        if found is None or found.ended_at is not None:
            # The request was authenticated without the row, or it ended since.
            raise LoginSessionEnded
        return found


Authenticated = tuple[Any, LoginAuth]


# -- for everything ------------------------------------------------------------------------


def authenticate(request: HttpRequest | Request) -> Authenticated | None:
    """Authenticate a Django request; return its user and `LoginAuth`.

    It reads the `Bearer` header, then the token cookie, then the Django session. Returns
    None without a credential, or if the login of the session cookie has ended. A machine
    client has an `AnonymousUser`. `Vary` of the response lists the headers that were read.

    Raises `AuthenticationFailed` for a token that is refused; a header never falls back to a
    cookie. Raises `PermissionDenied` if a cookie comes without a CSRF token on an unsafe method,
    and `ServiceUnavailable` while the database is unavailable. If a view raises them,
    `LoginSessionMiddleware` answers with 401, 403 and 503.
    """
    # A DRF view may pass its own.
    django_request = to_django(request)
    return _authenticate(django_request, request, lambda: getattr(django_request, "user", None))


async def aauthenticate(request: HttpRequest) -> Authenticated | None:
    """Authenticate as `authenticate` does, in an async view."""
    auser = getattr(request, "auser", None)
    if auser is None:
        return await sync_to_async(authenticate)(request)
    # Django remembers the users of `request.user` and `request.auser()` apart.
    return await sync_to_async(_authenticate)(request, request, async_to_sync(auser))


@sensitive_variables()
@unavailable_as_503()
def authenticate_token(raw_token: str, request: HttpRequest | None = None) -> Authenticated:
    """Authenticate by the text of an access token; return its user and `LoginAuth`.

    `request` is the one that the token came with, if there is one. A login that is bound to
    its client (`AUTHMODES_BIND_IP`, `AUTHMODES_BIND_USER_AGENT`) is refused without it.

    Raises `AuthenticationFailed` for everything but a valid access token, and
    `ServiceUnavailable` while the database is unavailable.
    """
    # A machine client's token is accepted here and in the header, never in a cookie.
    django_request = request and to_django(request)
    return _authenticate_token(django_request, raw_token, AccessToken, MachineToken)


@sensitive_variables()
async def aauthenticate_token(raw_token: str, request: HttpRequest | None = None) -> Authenticated:
    """Authenticate as `authenticate_token` does, in async code."""
    if request is None:
        return await sync_to_async(_authenticate_token_outside_request)(raw_token)
    return await sync_to_async(authenticate_token)(raw_token, request)


def _authenticate_token_outside_request(raw_token: str) -> Authenticated:
    with transactions.closing_old_connections():
        return authenticate_token(raw_token)


# Django's error reports show the variables of every function called from here.
@sensitive_variables()
@unavailable_as_503()
def _authenticate(
    request: HttpRequest, csrf_request: HttpRequest | Request, find_user: Callable[[], Any]
) -> Authenticated | None:
    """Authenticate a request. CSRF is checked with DRF's own, which parses the body itself."""
    vary = request_state(request).vary
    vary.add(simple_jwt().AUTH_HEADER_NAME.removeprefix("HTTP_").replace("_", "-").title())
    header = bearer_token(request)
    if header is not None:
        return _authenticate_token(request, header, AccessToken, MachineToken)
    vary.add("Cookie")
    in_cookies = request_settings(request).tokens_in_cookies
    cookie = token_cookies.access_token(request) if in_cookies else None
    if cookie is None:
        return _authenticate_session(request, csrf_request, find_user)
    try:
        authenticated = _authenticate_token(request, cookie, AccessToken)
    except AuthenticationFailed:
        # A browser keeps stale cookies, which must not hide a valid Django session.
        by_session = _authenticate_session(request, csrf_request, find_user)
        if by_session is None:
            raise
        return by_session
    enforce_csrf(csrf_request)
    return authenticated


def bearer_token(request: HttpRequest) -> str | None:
    """Return the token of a Bearer header; "" if it is malformed, None without one."""
    jwt_settings = simple_jwt()
    header = request.META.get(jwt_settings.AUTH_HEADER_NAME)
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


# -- by a token ----------------------------------------------------------------------------


def _authenticate_token(
    request: HttpRequest | None, raw_token: str, *kinds: type[RingToken]
) -> Authenticated:
    if not request_settings(request).allows_tokens:
        raise refuse_token(request, TokensDisabled())
    token = read_any(raw_token, *kinds)
    if isinstance(token, MachineToken):
        # Without a user: `IsAuthenticated`, and every view for users, refuses it.
        return AnonymousUser(), _validate_machine_token(request, token)
    if not isinstance(token, AccessToken):
        is_simplejwts = is_issued_by_simplejwt(raw_token)
        reason = (
            ISSUED_BY_SIMPLEJWT if is_simplejwts else _("The access token is invalid or expired.")
        )
        raise refuse_token(request, InvalidToken(reason))
    auth = LoginAuth(str(token.sid), str(Mode.JWT), token.payload)
    if request_settings(request).access_token_check is AccessTokenCheck.DATABASE:
        user = _validate_by_row(request, token, auth)
    else:
        user = _validate_without_query(request, token, auth)
    if request is not None:
        request_state(request).sid = auth.sid
    return user, auth


def _validate_by_row(request: HttpRequest | None, token: AccessToken, auth: LoginAuth) -> Any:
    """Validate a token by its login session; one query loads that and the user."""
    login_session = validation.find_for_request(token)
    if login_session is None:
        raise refuse_token(request, InvalidToken(_("The access token is invalid.")))
    if request is None and request_client.is_bound(login_session.ip_address):
        # Refused, not ended: the token may be in the right hands.
        raise InvalidToken(_("The login is bound to its client, which is unknown here."))
    if not validation.validate_or_end(login_session, request):
        raise refuse_token(request, LoginSessionEnded())
    touch_after = request_settings(request).touch_after
    if policy.needs_touch(login_session.last_seen_at, touch_after, timezone.now()):
        if request is None:
            # The address stays as it is.
            django_sessions.touch(auth.sid, F("last_ip_address"))
        else:
            # After the view: here it would lock the row for as long as the view takes.
            address = request_client.ip_address(request)
            transactions.defer(request, partial(django_sessions.touch, auth.sid, address))
    return login_session.user


def _validate_without_query(
    request: HttpRequest | None, token: AccessToken, auth: LoginAuth
) -> Any:
    """Validate a token by this process's snapshot, or by signature and expiry alone."""
    check = request_settings(request).access_token_check
    by_snapshot = check is AccessTokenCheck.SNAPSHOT
    has_ended = snapshot.snapshot.has_ended(token.sid) if by_snapshot else False
    if has_ended:
        raise refuse_token(request, LoginSessionEnded())
    if has_ended is None:
        # The snapshot is too old to be believed.
        return _validate_by_row(request, token, auth)
    return TokenUser(request, token)


def _validate_machine_token(request: HttpRequest | None, token: MachineToken) -> LoginAuth:
    """Validate a machine client's token by the row of its secret; a snapshot has only logins."""
    by_signature = request_settings(request).access_token_check is AccessTokenCheck.NONE
    scopes = token.scopes if by_signature else machine_tokens.validate(token)
    if scopes is None:
        raise refuse_token(request, InvalidToken(_("The access token was revoked.")))
    claims = {**token.payload, "scope": " ".join(scopes)}
    return LoginAuth("", CLIENT, claims, token.client_id)


# -- by a Django session -------------------------------------------------------------------


def _authenticate_session(
    request: HttpRequest, csrf_request: HttpRequest | Request, find_user: Callable[[], Any]
) -> Authenticated | None:
    if not request_settings(request).allows_cookies:
        return None
    # The middleware validates the login session when the user is loaded. `AnonymousUser` is
    # not active. A request of a test's `RequestFactory` may have neither user nor session.
    user, session = find_user(), getattr(request, "session", None)
    if user is None or session is None or not user.is_active:
        return None
    data = session_state.load(session)
    if data is None:
        return None
    enforce_csrf(csrf_request)
    jwt_settings = simple_jwt()
    claims = {
        jwt_settings.USER_ID_CLAIM: str(getattr(user, jwt_settings.USER_ID_FIELD)),
        "sid": data.sid,
        "auth_time": data.auth_time,
    }
    return user, LoginAuth(data.sid, str(Mode.SESSION), claims)


def enforce_csrf(request: HttpRequest | Request) -> None:
    """Refuse a cross-site call, where a cookie authenticates it or its answer sets one."""
    # Django's check accepts safe methods too, but reads the cookie first.
    if request.method not in SAFE_METHODS:
        check: Any = SessionAuthentication()
        try:
            check.enforce_csrf(request)
        except PermissionDenied as error:
            raise CsrfFailed(error.detail) from None


# -- for Django REST framework -------------------------------------------------------------


class AuthModesAuthentication(BaseAuthentication):
    """Authenticate by the `Bearer` header, the token cookie or the Django session, in this order.

    A header is validated alone: an invalid one is answered with 401 and never falls back to
    a cookie. Both cookies enforce CSRF on unsafe methods.
    """

    def authenticate(self, request: Request) -> Authenticated | None:
        authenticated = authenticate(request)
        renderer = getattr(request, "accepted_renderer", None)
        if authenticated and renderer is not None and renderer.media_type == "text/html":
            user = authenticated[0]
            # DRF's own pages show the user's name after the view, where a 401 would be a 500.
            if isinstance(user, TokenUser):
                user.load()
        return authenticated

    def authenticate_header(self, request: Request) -> str:
        return request_state(request).bearer_challenge

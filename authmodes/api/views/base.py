"""What every view of the REST door shares: error shape, caching headers, cookies."""

from collections.abc import Mapping
from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from rest_framework import exceptions
from rest_framework.exceptions import ParseError
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView, exception_handler

from ... import registry
from ...authentication import AuthModesAuthentication, LoginAuth
from ...conf import Mode
from ...exceptions import REALM, StagePending, TokenTooLarge
from ...models import EndReason, LoginSession
from ...tokens import cookies as token_cookies
from ...tokens.jwt import AccessToken, LoginToken, RefreshToken, TokenPair, mint
from ..serializers import cookie_answer, token_answer
from ..throttling import CredentialThrottle

# Others, such as "idna", are codecs to Python and make it raise at what a stranger sends.
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}


class BoundedJSONParser(JSONParser):
    """DRF's parser, which answers brackets nested by the thousand with a trace."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError(_("The body is nested too deeply.")) from None


class AuthModesViewMixin:
    """For any DRF view of ours, simplejwt's extended ones included."""

    # What our serializers ask of the view before they hand it tokens for a cookie.
    sets_token_cookies = True
    parser_classes: Any = (BoundedJSONParser, FormParser, MultiPartParser)
    # Of `throttles`; "" is no limit of ours.
    credential_scope = ""
    # The field of the body that has the token which the call is about.
    token_field = ""
    # Those of a login whose genuine tokens are counted by that login.
    token_kinds: tuple[type[LoginToken], ...] = (RefreshToken, AccessToken)

    # A revocation must survive the error it is answered with, so under ATOMIC_REQUESTS
    # these views stay outside; the registry has transactions of its own.
    @method_decorator(transaction.non_atomic_requests)
    # What Django mails administrators of a 500 has a form's fields in it, and with
    # `include_html` the variables of every function called from here.
    @sensitive_variables()
    @method_decorator(sensitive_post_parameters())
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        charset = (request._request.content_params or {}).get("charset", "utf-8")
        if charset.lower() not in CHARSETS:
            raise ParseError(_("The charset of the body is not supported."), "unsupported_charset")
        super().initial(request, *args, **kwargs)  # type: ignore[misc]

    def get_throttles(self) -> list[BaseThrottle]:
        # The project's own ones go on counting.
        its_own = super().get_throttles()  # type: ignore[misc]
        scope = self.get_credential_scope()
        return [CredentialThrottle(scope), *its_own] if scope else its_own

    def get_credential_scope(self) -> str:
        return self.credential_scope

    def presented_token(self, request: Request) -> Any:
        """The token that the call is about, as it came, for the throttle to see whose it is."""
        if not self.token_field or not isinstance(request.data, Mapping):
            return None
        return request.data.get(self.token_field)

    def ends_a_login(self, request: Request) -> bool:
        """Whether the call would end a login that goes on, so that no count may refuse it."""
        return False

    def get_exception_handler(self) -> Any:
        return handle_exception

    def get_authenticate_header(self, request: Request) -> str:
        header = super().get_authenticate_header(request)  # type: ignore[misc]
        # Views without authentication classes still answer 401, not DRF's 403.
        return header if header and header.startswith("Bearer realm") else REALM

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[misc]
        response["Cache-Control"] = "no-store"
        patch_vary_headers(response, ["Cookie", "Authorization"])
        return response


class PublicView(AuthModesViewMixin, APIView):
    """No login needed, and no stale credential in the way of getting one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    def perform_authentication(self, request: Request) -> None:
        # Without authentication classes DRF declares the Django request's user to be
        # nobody, and allauth's flow and a logout need to know who it is.
        user = request._request.user
        super().perform_authentication(request)
        request._request.user = user


class LoginSessionView(AuthModesViewMixin, APIView):
    """Needs a login of any mode; the project's own default classes do not apply."""

    authentication_classes = (AuthModesAuthentication,)
    permission_classes: tuple[type[BasePermission], ...] = (IsAuthenticated,)


def login_auth(request: Request) -> LoginAuth:
    """`request.auth` of a `LoginSessionView`, by its type."""
    return cast(LoginAuth, request.auth)


def sets_cookie(mode: str) -> bool:
    """Whether a login of this mode answers with a cookie."""
    return mode == Mode.SESSION or token_cookies.are_enabled()


def respond_to_sign_in(request: Request, started: LoginSession) -> Response:
    """Answer a sign-in with what its login session is carried by."""
    if started.mode == Mode.JWT:
        return respond_to_login(request, mint(started))
    return Response(cookie_answer(started, request._request.session))


def respond_to_login(request: Request, pair: TokenPair) -> Response:
    """Answer a login with its tokens."""
    try:
        return respond_with_tokens(pair)
    except TokenTooLarge:
        # Nobody will ever hold its tokens.
        registry.revoke(pair.login_session, EndReason.REVOKED)
        raise


def respond_with_tokens(pair: TokenPair) -> Response:
    """Answer with a pair: in the body, or in cookies and then nowhere in the body."""
    answer = token_answer(pair)
    if not token_cookies.are_enabled():
        return Response(answer)
    token_cookies.check_size(pair)
    del answer["access"], answer["refresh"]
    response = Response(answer)
    token_cookies.set_cookies(response, pair)
    return response


def handle_exception(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler, with a code on every answer."""
    response = exception_handler(exception, context)
    if response is not None:
        response.data = _body(exception, response.data)
    return response


def _body(exception: Exception, data: Any) -> dict[str, Any]:
    if isinstance(exception, exceptions.ValidationError):
        fields = data if isinstance(data, Mapping) else {"non_field_errors": data}
        return {"detail": str(_("Invalid input.")), "code": "invalid", "errors": fields}
    if isinstance(exception, StagePending):
        return {**data, "continue": exception.go_on}
    if isinstance(data, Mapping) and "code" in data:
        return dict(data)
    if isinstance(exception, Http404):
        return {**data, "code": "not_found"}
    if isinstance(exception, PermissionDenied):
        return {**data, "code": "permission_denied"}
    return {**data, "code": _code(exception)}


def _code(exception: Exception) -> str:
    codes = exception.get_codes() if isinstance(exception, exceptions.APIException) else None
    return codes if isinstance(codes, str) else "error"

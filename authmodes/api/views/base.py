"""What every view of the REST API shares: description, error shape, caching headers, cookies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import django
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.http import Http404, HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views.decorators.clickjacking import xframe_options_deny
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from rest_framework import exceptions
from rest_framework.exceptions import ParseError
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import AllowAny, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView, exception_handler

from ... import exceptions as errors
from ... import registry
from ...authentication import AuthModesAuthentication, LoginAuth, enforce_csrf
from ...conf import Mode, conf
from ...models import EndReason, LoginSession, to_unavailable
from ...registry import refusals, transactions, validation
from ...state import to_django
from ...tokens import cookies as token_cookies
from ...tokens.jwt import AccessToken, LoginToken, RefreshToken, TokenPair, mint
from .. import answers, serializers
from ..throttling import CredentialThrottle

if TYPE_CHECKING:
    # What the mixin is mixed into.
    View = APIView
else:
    View = object

Described = TypeVar("Described", bound=Any)
Fields = TypeVar("Fields", bound=Serializer[Any])

# Others, such as "idna", are codecs to Python and make it raise at what a stranger sends.
CHARSETS = {"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "windows-1252"}
FORM = FormParser.media_type
# An answer that is a page.
HTML = "text/html"
# What a login that is about to start is refused for, whichever way the user came.
START_ERRORS = (
    *(errors.CsrfFailed, exceptions.PermissionDenied),
    *(errors.LimitReached, errors.LoginOutdated),
    *(errors.UpstreamLogout, errors.TokenTooLarge),
)
# What a sign-in is refused for before the user is known, or while a stage is to be done.
USER_ERRORS = (
    errors.UserInactive,
    errors.StagePending,
    errors.InvalidMfaCode,
    errors.LimitsUnavailable,
)
PASSWORD_ERRORS = (errors.NoActiveAccount, *USER_ERRORS)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What one verb of a view takes, answers and raises: its part of the OpenAPI document.

    `answers` has a serializer for each status, None for no body, several where one of them
    answers. `errors` are what the method itself raises; what all views of its kind raise is
    added, as is what a JSON body is refused for. A `body` of another type is given by that
    type. `has_optional_login`: a credential changes the answer although none is asked for.
    """

    answers: Mapping[int, Any]
    errors: Iterable[type[exceptions.APIException]] = ()
    body: Any = None
    is_body_optional: bool = False
    query: Any = None
    has_optional_login: bool = False


def describe(**described: Any) -> Callable[[Described], Described]:
    """Attach an `Operation` to a method of a view, or to a view with an inherited method."""

    def attach(described_by: Described) -> Described:
        described_by.operation = Operation(**described)
        return described_by

    return attach


def never_framed(view: Callable[..., Any]) -> Callable[..., Any]:
    """Forbid other sites to frame a page, which could have its buttons clicked unseen."""
    view = xframe_options_deny(view)
    if django.VERSION < (6,):
        return view
    from django.views.decorators.csp import csp_override

    # It replaces the project's policy, which is sent by Django's middleware, if at all.
    return csp_override({**settings.SECURE_CSP, "frame-ancestors": ["'none'"]})(view)


class BoundedJSONParser(JSONParser):
    """DRF's parser, which answers brackets nested by the thousand with a trace."""

    def parse(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().parse(*args, **kwargs)
        except RecursionError:
            raise ParseError(_("The body is nested too deeply.")) from None


OUR_URL_KWARGS = {"provider", "sid"}


class AuthModesViewMixin(View):
    """For any DRF view of ours, simplejwt's extended ones included."""

    # These endpoints have one version, whatever scheme the project gives its own.
    versioning_class: Any = None
    # What our serializers ask of the view before they hand it tokens for a cookie.
    sets_token_cookies = True
    parser_classes: Any = (BoundedJSONParser, FormParser, MultiPartParser)
    # Whether a call that is refused was an attempt to sign in.
    signs_in = False
    # A scope of `throttling`; "": authmodes does not throttle the view.
    credential_scope = ""
    # The field of the body that has the token which the call is about.
    token_field = ""
    # Those of a login whose genuine tokens are counted by that login.
    token_kinds: tuple[type[LoginToken], ...] = (RefreshToken, AccessToken)

    # A revocation must survive the error it is answered with, so under ATOMIC_REQUESTS
    # these views stay outside; the registry has transactions of its own.
    # Not by `method_decorator`, which would decorate anew for each request.
    @transactions.outside_view_transactions
    # What Django mails administrators of a 500 has a form's fields in it, and with
    # `include_html` the variables of every function called from here.
    @sensitive_variables()
    @method_decorator(sensitive_post_parameters())
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        # The URL of the project's `include()` may capture more, such as a version.
        kwargs = {name: kwargs[name] for name in OUR_URL_KWARGS & kwargs.keys()}
        return super().dispatch(request, **kwargs)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        charset = (to_django(request).content_params or {}).get("charset", "utf-8")
        if charset.lower() not in CHARSETS:
            raise errors.UnsupportedCharset
        super().initial(request, *args, **kwargs)

    def get_throttles(self) -> list[BaseThrottle]:
        # The project's own ones go on counting.
        its_own = super().get_throttles()
        scope = self.get_credential_scope()
        return [CredentialThrottle(scope), *its_own] if scope else its_own

    def get_credential_scope(self) -> str:
        return self.credential_scope

    def presented_token(self, request: Request) -> Any:
        """Return the token that the call is about, as it came: the throttle sees whose it is."""
        if not self.token_field or not isinstance(request.data, Mapping):
            return None
        return request.data.get(self.token_field)

    def identify_presented(self, request: Request) -> tuple[LoginToken, LoginSession] | None:
        """Return that token and its login session, verified and loaded once for the request."""
        if not hasattr(self, "_identified"):
            self._identified = validation.identify(self.presented_token(request), *self.token_kinds)
        return self._identified

    def ends_a_login(self, request: Request) -> bool:
        """Whether the call would end an active login, so that no count may refuse it."""
        return False

    def get_exception_handler(self) -> Any:
        return handle_exception

    def get_authenticate_header(self, request: Request) -> str:
        header = super().get_authenticate_header(request)
        # Views without authentication classes still answer 401, not DRF's 403.
        return header if header and header.startswith("Bearer realm") else errors.REALM

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        patch_vary_headers(response, ["Cookie", "Authorization"])
        return response


class AuthModesView(AuthModesViewMixin, APIView):
    """Leaves the Django request its user where no authentication class applies."""

    def perform_authentication(self, request: Request) -> None:
        # DRF makes it anonymous then, and allauth's flow and a logout need to know who it is.
        user = to_django(request).user
        super().perform_authentication(request)
        if not request.authenticators:
            to_django(request).user = user


class PublicView(AuthModesView):
    """No login needed, and no stale credential in the way of getting one."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class LoginSessionView(AuthModesView):
    """Needs a login of any mode; the project's own default classes do not apply."""

    authentication_classes = (AuthModesAuthentication,)
    permission_classes: tuple[type[BasePermission], ...] = (IsAuthenticated,)


def login_auth(request: Request) -> LoginAuth:
    """`request.auth` of a `LoginSessionView`, by its type."""
    return cast(LoginAuth, request.auth)


def own_login(request: Request) -> LoginSession:
    """Return the login session that calls a `LoginSessionView`; machine clients have none."""
    return cast(LoginSession, login_auth(request).login_session)


def sets_cookie(mode: str) -> bool:
    """Whether a login of this mode answers with a cookie."""
    return mode == Mode.SESSION or token_cookies.are_enabled()


def validated(serializer_class: type[Fields], data: Any) -> Fields:
    """Return a serializer of these data. Raises `ValidationError`."""
    serializer = serializer_class(data=data)
    serializer.is_valid(raise_exception=True)
    return serializer


def read_sign_in(request: Request, serializer_class: type[Fields]) -> tuple[Fields, str]:
    """Validate the body of a sign-in; return it and the mode that the login shall have."""
    serializer = validated(serializer_class, request.data)
    mode = serializers.wanted_mode(
        serializer.validated_data.get("mode") or request.query_params.get("mode")
    )
    if sets_cookie(mode):
        # Without it, another site could sign a browser in as another user.
        enforce_csrf(request)
    return serializer, mode


def respond_to_sign_in(request: Request, started: LoginSession) -> Response:
    """Answer a sign-in with the credential of its login session."""
    if started.mode == Mode.JWT:
        pair = mint(started)
        return respond_to_login(pair, answers.answer_to(pair))
    # The cookie is what gives access, and a login can be renewed until its absolute end.
    cookie_end = min(to_django(request).session.get_expiry_date(), started.expires_at)
    login = answers.CookieLogin(started, cookie_end, started.expires_at)
    return Response(answers.answer_to(login))


def respond_to_login(
    pair: TokenPair, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Answer a login with its tokens."""
    try:
        return respond_with_tokens(pair, answer, headers)
    except errors.TokenTooLarge:
        # No client will ever hold its tokens.
        registry.revoke(pair.login_session, EndReason.REVOKED)
        raise


def respond_with_tokens(
    pair: TokenPair, answer: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with what a serializer made of a pair, which may travel in cookies."""
    response = Response(answer, headers=headers)
    if token_cookies.are_enabled():
        token_cookies.check_size(pair)
        token_cookies.set_cookies(response, pair)
    return response


def handle_exception(exception: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler, with a code on every answer."""
    # DRF's handler rolls back where ATOMIC_REQUESTS is set. These views are outside of the
    # request's transaction, so any transaction left is one around the request: a test's.
    around = [each for each in connections.all(initialized_only=True) if each.in_atomic_block]
    needed = [each.needs_rollback for each in around]
    exception = to_unavailable(exception)
    if getattr(context["view"], "signs_in", False) and errors.is_refusal(exception):
        _note_refusal(exception, context)
    response = exception_handler(exception, context)
    for connection, needs_rollback in zip(around, needed, strict=True):
        connection.needs_rollback = needs_rollback
    if response is not None:
        response.data = _body(exception, response.data)
    if isinstance(exception, errors.StagePending) and response is not None:
        response.data["continue"] = _add_authorize(exception.continuation, context["request"])
    return response


def _note_refusal(exception: Exception, context: dict[str, Any]) -> None:
    # The mode is read first, so that the URL's provider may not exist.
    is_known = not isinstance(exception, errors.ModeDisabled)
    provider = context["kwargs"].get("provider", "") if is_known else ""
    refusals.note(to_django(context["request"]), _code(exception), provider=provider)


def _add_authorize(continuation: dict[str, Any], request: Request) -> dict[str, Any]:
    """Name `authorize/` if neither this call nor a page of ours can continue the login."""
    is_stuck = not (continuation["page"] or continuation["fields"])
    if is_stuck and conf.REDIRECT_URIS and conf.MODE.allows(Mode.JWT):
        return {**continuation, "authorize": reverse_here(request, "authorize")}
    return continuation


def reverse_here(request: HttpRequest | Request, name: str, **kwargs: str) -> str:
    """Return the URL of an endpoint of ours below the `include()` of this request."""
    match: Any = request.resolver_match
    outer = {key: value for key, value in match.kwargs.items() if key not in OUR_URL_KWARGS}
    return reverse(
        ":".join([*match.namespaces, name]),
        urlconf=getattr(request, "urlconf", None),
        kwargs={**outer, **kwargs},
    )


def _body(exception: Exception, data: Any) -> dict[str, Any]:
    if isinstance(exception, exceptions.ValidationError):
        fields = data if isinstance(data, Mapping) else {"non_field_errors": data}
        return {"detail": str(_("Invalid input.")), "code": "invalid", "errors": fields}
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

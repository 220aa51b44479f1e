"""Signing in and out, and who is signed in."""

from typing import Any

from allauth.account.adapter import get_adapter
from django.middleware.csrf import get_token
from django.urls import reverse
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from .. import registry, sign_in, tokens, transport
from ..authentication import AuthModesAuthentication, LoginAuth
from ..conf import Mode, conf
from ..models import EndReason, LoginMode, LoginSession
from ..serializers import (
    LoginSerializer,
    UserSerializer,
    cookie_answer,
    end_family,
    wanted_mode,
)
from .base import (
    LoginSessionView,
    PublicView,
    enforce_csrf,
    login_auth,
    respond_to_login,
    sets_cookie,
)
from .social import providers


class IndexView(PublicView):
    """What a client needs to know to sign somebody in here."""

    def get(self, request: Request) -> Response:
        names = ("csrf", "login", "logout", "user", "social", "session_list")
        tokens_names = ("token_obtain_pair", "token_refresh", "token_exchange")
        shown = names + (tokens_names if conf.MODE.allows(Mode.JWT) else ())
        return Response(
            {
                "mode": conf.MODE,
                "default_mode": conf.DEFAULT_MODE,
                "modes": [mode for mode in (Mode.SESSION, Mode.JWT) if conf.MODE.allows(mode)],
                "token_transport": conf.TOKEN_TRANSPORT,
                "providers": providers(request),
                "links": {name: reverse(f"authmodes:{name}") for name in shown},
            }
        )


class CsrfView(PublicView):
    """Hand out the CSRF token and its cookie, for clients that render no form of ours."""

    def get(self, request: Request) -> Response:
        return Response({"csrf_token": get_token(request._request)})


class LoginView(PublicView):
    """Sign in with a password, in either mode, through allauth's flow."""

    credential_scope = "authmodes_login"

    def post(self, request: Request) -> Response:
        serializer = LoginSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        fields: dict[str, Any] = serializer.validated_data
        mode = wanted_mode(fields.get("mode") or request.query_params.get("mode"))
        if sets_cookie(mode):
            # Else another site could sign a browser in as somebody else.
            enforce_csrf(request)
        login = fields.get("username") or fields["email"]
        started = sign_in.with_password(request._request, login, fields["password"], mode)
        if mode == LoginMode.JWT:
            return respond_to_login(request, tokens.mint(started))
        return Response(cookie_answer(started, request._request.session))


class LogoutView(PublicView):
    """End the login session of this call, whatever its mode, and take its cookies back.

    Which one that is, the call's credential says: the `Authorization` header; a `refresh`
    token in the body, for a client whose access token has expired; or the cookies, and then
    the browser is signed out of every login they belong to. A call with none of them has
    nothing to end and is answered alike.
    """

    credential_scope = "authmodes_logout"
    token_field = "refresh"

    def post(self, request: Request) -> Response:
        body = request.data if isinstance(request.data, dict) else {}
        authenticator = AuthModesAuthentication()
        response, ended = Response(status=204), True
        if authenticator.is_bearer(request):
            try:
                _end_login(authenticator.authenticate(request))
            except AuthenticationFailed as error:
                response = self.handle_exception(error)
        elif end_family(body.get("refresh")):
            # Whoever holds the token; the cookies that came along may be somebody else's.
            return response
        else:
            ended = _end_logins_of_cookies(request)
        # Not for a call without any credential: another site could make it.
        if ended or transport.are_sent(request._request):
            transport.clear_cookies(response)
        return response


def _end_login(found: tuple[Any, LoginAuth] | None) -> None:
    if found is not None:
        registry.revoke_all(LoginSession.objects.filter(sid=found[1].sid), EndReason.LOGOUT)


def _end_logins_of_cookies(request: Request) -> bool:
    """Sign the browser out of all it sent; whether that was anything."""
    django_request = request._request
    by_session = conf.MODE.allows(Mode.SESSION) and django_request.user.is_authenticated
    by_tokens = transport.logins_of_cookies(django_request)
    if by_session or by_tokens:
        # What is dead already asks for no CSRF token.
        enforce_csrf(request)
    for login_session in by_tokens:
        registry.revoke(login_session, EndReason.LOGOUT)
    if by_session:
        get_adapter(django_request).logout(django_request)
    return bool(by_session or by_tokens)


class UserView(LoginSessionView):
    """Who is signed in, and by which login session."""

    def get(self, request: Request) -> Response:
        auth = login_auth(request)
        return Response(
            {
                "mode": auth.mode,
                "sid": auth.sid,
                "user": UserSerializer(request.user).data,
            }
        )

"""Signing in and out, and who is signed in."""

from typing import Any

from allauth.account.adapter import get_adapter
from django.middleware.csrf import get_token
from django.urls import reverse
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response

from .. import registry, sign_in, tokens, transport
from ..authentication import AuthModesAuthentication
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
    respond_with_tokens,
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
            return respond_with_tokens(tokens.mint(started))
        return Response(cookie_answer(started, request._request.session))


class LogoutView(PublicView):
    """End the login session of this call, whatever its mode, and clear the cookies.

    Which one that is, the call's credential says: the `Authorization` header, a `refresh`
    token in the body (for a client whose access token has expired), the token cookies,
    the Django session. A call with none of them has nothing to end and is answered alike.
    """

    def post(self, request: Request) -> Response:
        try:
            self._end(request)
        except AuthenticationFailed as error:
            response = self.handle_exception(error)
        else:
            response = Response(status=204)
        transport.clear_cookies(response)
        return response

    def _end(self, request: Request) -> None:
        body = request.data if isinstance(request.data, dict) else {}
        if end_family(body.get("refresh")):
            return
        authenticator = AuthModesAuthentication()
        try:
            found = authenticator.authenticate(request)
        except AuthenticationFailed:
            if authenticator.is_bearer(request):
                raise
            found = None
        if transport.in_use() and (cookie := transport.refresh_token(request._request)):
            enforce_csrf(request)
            end_family(cookie)
        if found is None:
            return
        _user, auth = found
        registry.revoke_all(LoginSession.objects.filter(sid=auth.sid), EndReason.LOGOUT)
        if auth.mode == LoginMode.SESSION:
            get_adapter(request._request).logout(request._request)


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

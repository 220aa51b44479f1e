"""Signing in and out, and who is signed in."""

from typing import Any

from allauth.account.adapter import get_adapter
from django.middleware.csrf import get_token
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from ... import registry
from ...authentication import AuthModesAuthentication, LoginAuth, enforce_csrf
from ...conf import Mode, conf
from ...exceptions import BadRequest
from ...models import EndReason, LoginSession
from ...registry import validation
from ...sessions import state as session_state
from ...signin import authorization_code
from ...signin import password as password_signin
from ...tokens import cookies as token_cookies
from ...tokens.jwt import AccessToken, RefreshToken
from ...upstream import logout as upstream_logout
from ..serializers import LoginSerializer, UserSerializer, end_token_family, wanted_mode
from .base import LoginSessionView, PublicView, login_auth, respond_to_sign_in, sets_cookie
from .social import STATE_MAX_LENGTH, providers


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
        mfa_code = fields.get("mfa_code", "")
        started = password_signin.sign_in(
            request._request, login, fields["password"], mode, mfa_code
        )
        return respond_to_sign_in(request, started)


class LogoutView(PublicView):
    """End the login session of this call, whatever its mode, and take its cookies back.

    Which one that is, the call's credential says: the `Authorization` header; a `refresh`
    token in the body, for a client whose access token has expired; or the cookies, and then
    the browser is signed out of every login they belong to. A call with none of them has
    nothing to end and is answered alike. With `upstream` in the body the answer says where
    the browser can sign out at the provider that the login came from.
    """

    credential_scope = "authmodes_logout"
    token_field = "refresh"

    def presented_token(self, request: Request) -> Any:
        """None beside a header, which is judged alone: then the body's token is not looked at."""
        if AuthModesAuthentication().bearer_token(request) is not None:
            return None
        return super().presented_token(request)

    def ends_a_login(self, request: Request) -> bool:
        in_header = AuthModesAuthentication().bearer_token(request)
        if in_header is not None:
            return conf.MODE.allows(Mode.JWT) and validation.is_token_active(in_header, AccessToken)
        if validation.is_token_active(self.presented_token(request), RefreshToken):
            return True
        django_request = request._request
        by_session = conf.MODE.allows(Mode.SESSION) and django_request.user.is_authenticated
        return by_session or bool(validation.logins_of_token_cookies(django_request))

    def post(self, request: Request) -> Response:
        body = request.data if isinstance(request.data, dict) else {}
        authenticator = AuthModesAuthentication()
        if authenticator.bearer_token(request) is not None:
            try:
                response = self._farewell(request, _end_login(authenticator.authenticate(request)))
            except AuthenticationFailed as error:
                response = self.handle_exception(error)
            token_cookies.clear_cookies(response)
            return response
        # Before it ends: what was dead already tells nobody about the provider's session.
        live = _live_sids_of(body.get("refresh"))
        if end_token_family(body.get("refresh")):
            # Whoever holds the token; the cookies that came along may be somebody else's.
            return self._farewell(request, live)
        ended = _end_logins_of_cookies(request)
        response = self._farewell(request, ended)
        # Not for a call without any credential: another site could make it.
        if ended or token_cookies.are_sent(request._request):
            token_cookies.clear_cookies(response)
        return response

    def _farewell(self, request: Request, ended: list[str]) -> Response:
        """Answer a logout, which is done by now: nothing here depends on the provider."""
        body = request.data if isinstance(request.data, dict) else {}
        if body.get("upstream") not in (True, "true", "1"):
            return Response(status=204)
        redirect_uri = body.get("post_logout_redirect_uri") or ""
        state = body.get("state") or ""
        try:
            _check_way_back(redirect_uri, state)
        except BadRequest as error:
            return self.handle_exception(error)
        logins = LoginSession.objects.filter(sid__in=ended).exclude(provider="")
        urls = (
            upstream_logout.logout_url(request._request, one, redirect_uri, state) for one in logins
        )
        return Response({"upstream_logout_url": next(filter(None, urls), None)})


def _check_way_back(redirect_uri: Any, state: Any) -> None:
    if redirect_uri and not authorization_code.is_allowed_redirect_uri(redirect_uri):
        raise BadRequest(
            _("This post_logout_redirect_uri is not allowed."), "invalid_post_logout_redirect_uri"
        )
    if not isinstance(state, str) or len(state) > STATE_MAX_LENGTH:
        raise BadRequest(_("The state is too long."), "invalid_state")


def _end_login(found: tuple[Any, LoginAuth] | None) -> list[str]:
    if found is None:
        return []
    if not found[1].sid:
        raise PermissionDenied(_("A machine client has no login session to end."))
    registry.revoke_all(LoginSession.objects.filter(sid=found[1].sid), EndReason.LOGOUT)
    return [found[1].sid]


def _live_sids_of(raw_refresh: Any) -> list[str]:
    identified = validation.identify(raw_refresh) if raw_refresh else None
    if identified is None or identified[1].ended_at is not None:
        return []
    return [str(identified[1].sid)]


def _end_logins_of_cookies(request: Request) -> list[str]:
    """Sign the browser out of all it sent; the `sid` of each."""
    django_request = request._request
    by_session = conf.MODE.allows(Mode.SESSION) and django_request.user.is_authenticated
    by_tokens = validation.logins_of_token_cookies(django_request)
    if by_session or by_tokens:
        # What is dead already asks for no CSRF token.
        enforce_csrf(request)
    ended = [str(login_session.sid) for login_session in by_tokens]
    for login_session in by_tokens:
        registry.revoke(login_session, EndReason.LOGOUT)
    if by_session:
        remembered = session_state.load(django_request.session)
        ended += [remembered.sid] if remembered else []
        get_adapter(django_request).logout(django_request)
    return ended


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

"""Signing in and out, and who is signed in."""

from collections.abc import Mapping
from typing import Any

from allauth.account.adapter import get_adapter
from django.middleware.csrf import get_token
from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.exceptions import InvalidToken

from ... import exceptions as errors
from ... import registry
from ...authentication import AuthModesAuthentication, LoginAuth, bearer_token, enforce_csrf
from ...conf import Mode, conf
from ...models import EndReason, LoginSession
from ...registry import rotation, validation
from ...sessions import state as session_state
from ...signin import authorization_code
from ...signin import password as password_signin
from ...signin.authorization_request import STATE_MAX_LENGTH
from ...state import to_django
from ...tokens import cookies as token_cookies
from ...tokens.jwt import AccessToken, RefreshToken
from ...upstream import logout as upstream_logout
from .. import answers, inputs
from . import base
from .social import providers


class IndexView(base.PublicView):
    """What a client needs to know to sign a user in."""

    @base.describe(answers={200: answers.IndexSerializer})
    def get(self, request: Request) -> Response:
        names = ["csrf", "login", "logout", "user", "social", "session_list"]
        if conf.MODE.allows(Mode.JWT):
            names += ["authorize", "token_obtain_pair", "token_refresh"]
        return Response(
            {
                "mode": conf.MODE,
                "default_mode": conf.DEFAULT_MODE,
                "modes": [mode for mode in (Mode.SESSION, Mode.JWT) if conf.MODE.allows(mode)],
                "token_transport": conf.TOKEN_TRANSPORT,
                "providers": providers(request),
                "links": {name: base.reverse_here(request, name) for name in names},
            }
        )


class CsrfView(base.PublicView):
    """The CSRF token, and its cookie, for clients that render no form of ours."""

    @base.describe(answers={200: answers.CsrfSerializer})
    def get(self, request: Request) -> Response:
        return Response({"csrf_token": get_token(to_django(request))})


class LoginView(base.PublicView):
    """Sign in with a password, in either mode."""

    signs_in = True
    credential_scope = "authmodes_login"

    @base.describe(
        body=inputs.LoginSerializer,
        query=inputs.ModeQuerySerializer,
        answers={200: (answers.CookieAnswerSerializer, answers.TokenAnswerSerializer)},
        errors=(
            *(errors.InvalidMode, errors.ModeDisabled, errors.PasswordLoginDisabled),
            *(*base.PASSWORD_ERRORS, *base.START_ERRORS),
        ),
    )
    def post(self, request: Request) -> Response:
        serializer, mode = base.read_sign_in(request, inputs.LoginSerializer)
        fields = serializer.validated_data
        started = password_signin.sign_in(
            to_django(request),
            fields.get("username") or fields["email"],
            fields["password"],
            mode,
            fields.get("mfa_code", ""),
            {**inputs.login_form_fields(serializer), **_remember(fields)},
        )
        return base.respond_to_sign_in(request, started)


def _remember(fields: Mapping[str, Any]) -> dict[str, bool]:
    return {} if fields.get("remember") is None else {"remember": fields["remember"]}


class LogoutView(base.PublicView):
    """End the login session of this call, whatever its mode, and clear its cookies.

    The call's credential names it: the `Authorization` header; a `refresh` token in the body,
    for a client whose access token has expired; or the cookies, and then the browser is signed
    out of every login they belong to. A call with none of them has nothing to end and is
    answered alike. With `upstream` in the body the answer says where the browser can sign out
    at the provider that the login came from.
    """

    credential_scope = "authmodes_logout"
    token_field = "refresh"
    token_kinds = (RefreshToken,)

    def presented_token(self, request: Request) -> Any:
        """None beside a header, which counts alone: then the body's token is not looked at."""
        if bearer_token(to_django(request)) is not None:
            return None
        return super().presented_token(request)

    def ends_a_login(self, request: Request) -> bool:
        in_header = bearer_token(to_django(request))
        if in_header is not None:
            return conf.MODE.allows(Mode.JWT) and validation.is_token_active(in_header, AccessToken)
        if _active_sids(self.identify_presented(request)):
            return True
        return bool(
            _is_signed_in(request) or validation.logins_of_token_cookies(to_django(request))
        )

    @base.describe(
        body=inputs.LogoutSerializer,
        is_body_optional=True,
        answers={200: answers.UpstreamLogoutURLSerializer, 204: None},
        errors=(
            *(errors.InvalidPostLogoutRedirectURI, errors.InvalidState),
            *(errors.CsrfFailed, PermissionDenied),
            *(InvalidToken, errors.LoginSessionEnded, errors.TokensDisabled),
        ),
        has_optional_login=True,
    )
    def post(self, request: Request) -> Response:
        if bearer_token(to_django(request)) is not None:
            try:
                found = AuthModesAuthentication().authenticate(request)
                response = self._respond(request, _end_login(found))
            except AuthenticationFailed as error:
                response = self.handle_exception(error)
            # Those of a different login may have come along.
            if not validation.logins_of_token_cookies(to_django(request)):
                token_cookies.clear_cookies(response)
            return response
        # The cookies that come along with a token in the body may be another user's.
        identified = self.identify_presented(request)
        if identified is not None:
            # Before it ends: a token of an ended login must not tell about the provider's session.
            ended = _active_sids(identified)
            registry.revoke(identified[1], EndReason.LOGOUT)
            return self._respond(request, ended)
        if rotation.blacklist_legacy(self.presented_token(request)):
            return self._respond(request, [])
        ended = _end_logins_of_cookies(request)
        response = self._respond(request, ended)
        # Not for a call without any credential: another site could make it.
        if ended or token_cookies.are_sent(to_django(request)):
            token_cookies.clear_cookies(response)
        return response

    def _respond(self, request: Request, ended: list[str]) -> Response:
        """Answer a logout that is done: nothing here depends on the provider."""
        body = request.data if isinstance(request.data, dict) else {}
        if body.get("upstream") not in (True, "true", "1"):
            return Response(status=204)
        redirect_uri = body.get("post_logout_redirect_uri") or ""
        state = body.get("state") or ""
        # Not raised: the cookies are to be cleared all the same.
        if redirect_uri and not authorization_code.is_allowed_redirect_uri(redirect_uri):
            return self.handle_exception(errors.InvalidPostLogoutRedirectURI())
        if not isinstance(state, str) or len(state) > STATE_MAX_LENGTH:
            return self.handle_exception(errors.InvalidState())
        logins = LoginSession.objects.filter(sid__in=ended).exclude(provider="")
        urls = (
            upstream_logout.logout_url(to_django(request), one, redirect_uri, state)
            for one in logins
        )
        return Response({"upstream_logout_url": next(filter(None, urls), None)})


def _active_sids(identified: tuple[Any, LoginSession] | None) -> list[str]:
    if identified is None or identified[1].ended_at is not None:
        return []
    return [str(identified[1].sid)]


def _is_signed_in(request: Request) -> bool:
    """Whether the browser holds a Django session that opens the API."""
    return conf.MODE.allows(Mode.SESSION) and to_django(request).user.is_authenticated


def _end_login(found: tuple[Any, LoginAuth] | None) -> list[str]:
    if found is None:
        return []
    if not found[1].sid:
        raise PermissionDenied(_("A machine client has no login session to end."))
    registry.revoke_all(LoginSession.objects.filter(sid=found[1].sid), EndReason.LOGOUT)
    return [found[1].sid]


def _end_logins_of_cookies(request: Request) -> list[str]:
    """Sign the browser out of all it sent; the `sid` of each."""
    django_request = to_django(request)
    by_session = _is_signed_in(request)
    by_tokens = validation.logins_of_token_cookies(django_request)
    if by_session or by_tokens:
        # Credentials of logins that have ended need no CSRF token.
        enforce_csrf(request)
    ended = [str(login_session.sid) for login_session in by_tokens]
    for login_session in by_tokens:
        registry.revoke(login_session, EndReason.LOGOUT)
    if by_session:
        stored = session_state.load(django_request.session)
        ended += [stored.sid] if stored else []
        get_adapter(django_request).logout(django_request)
    return ended


class UserView(base.LoginSessionView):
    """Who is signed in, and by which login session."""

    @base.describe(answers={200: answers.WhoAmISerializer})
    def get(self, request: Request) -> Response:
        auth = base.login_auth(request)
        answer = {"mode": auth.mode, "sid": auth.sid, "user": request.user}
        return Response(answers.WhoAmISerializer(answer).data)

"""simplejwt's token endpoints on login sessions, and OAuth's beside them."""

from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework_simplejwt import views as simplejwt
from rest_framework_simplejwt.exceptions import InvalidToken

from ... import exceptions as errors
from ... import registry
from ...authentication import enforce_csrf
from ...conf import Mode, conf
from ...machines import tokens as machine_tokens
from ...models import EndReason
from ...registry import rotation, validation
from ...state import to_django
from ...tokens import cookies as token_cookies
from ...tokens import keys
from ...tokens.jwt import RefreshToken
from .. import answers, inputs, serializers
from . import base, grants

# Seconds; a new key is to be deployed this long before it signs.
JWKS_MAX_AGE = 600


class TokenObtainPairView(base.AuthModesViewMixin, simplejwt.TokenObtainPairView):
    """Sign in with a password, as simplejwt does; or answer a token request of OAuth's.

    The user passes through allauth's stages. With a `grant_type` this is the token endpoint of
    RFC 6749: `authorization_code`, `refresh_token` or `client_credentials`.
    """

    serializer_class = serializers.TokenObtainPairSerializer
    signs_in = True
    # The one of `login/`, so that alternating between them gains no attempts.
    credential_scope = "authmodes_login"
    token_kinds = (RefreshToken,)

    def get_credential_scope(self) -> str:
        if grants.requested_grant(self.request) is not None:
            return grants.throttle_scope(self.request)
        return self.credential_scope

    def presented_token(self, request: Request) -> Any:
        return grants.refresh_token(request)

    def ends_a_login(self, request: Request) -> bool:
        return rotation.is_reused(self.presented_token(request)) or grants.reuses_code(request)

    @base.describe(
        body={
            "application/json": serializers.TokenObtainPairSerializer,
            base.FORM: inputs.GrantSerializer,
        },
        answers={200: (answers.TokenAnswerSerializer, answers.GrantAnswerSerializer)},
        errors=(
            *(errors.ModeDisabled, *base.PASSWORD_ERRORS, *base.START_ERRORS),
            *(errors.OAuthError, errors.InvalidClient),
        ),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if grants.requested_grant(request) is not None:
            return grants.respond(request)
        if token_cookies.are_enabled():
            enforce_csrf(request)
        serializer: Any = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return base.respond_to_login(serializer.pair, serializer.validated_data)


class TokenRefreshView(base.AuthModesViewMixin, simplejwt.TokenRefreshView):
    """Exchange a refresh token for a new pair; with the cookie transport it is in its cookie."""

    serializer_class = serializers.TokenRefreshSerializer
    credential_scope = "authmodes_refresh"
    token_field = "refresh"
    # Others end nothing here, and must not use up the count of their login.
    token_kinds = (RefreshToken,)

    def presented_token(self, request: Request) -> Any:
        if token_cookies.are_enabled():
            return token_cookies.refresh_token(to_django(request))
        return super().presented_token(request)

    def ends_a_login(self, request: Request) -> bool:
        return rotation.is_reused(self.presented_token(request))

    @base.describe(
        body=serializers.TokenRefreshSerializer,
        answers={200: answers.TokenAnswerSerializer},
        errors=(*serializers.REFRESH_ERRORS, *base.START_ERRORS),
    )
    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        data = request.data
        if token_cookies.are_enabled():
            enforce_csrf(request)
            # Without its cookie, the answer is that of an invalid token.
            data = {"refresh": token_cookies.refresh_token(to_django(request)) or "-"}
        serializer: Any = self.get_serializer(data=data)
        try:
            serializer.is_valid(raise_exception=True)
        except AuthenticationFailed as error:
            response = self.handle_exception(error)
            # What a switch of the mode refuses today may be accepted again tomorrow.
            if token_cookies.are_enabled() and conf.MODE.allows(Mode.JWT):
                token_cookies.clear_cookies(response)
            return response
        return base.respond_with_tokens(serializer.pair, serializer.validated_data)


@base.describe(
    body=serializers.TokenVerifySerializer,
    answers={200: answers.EmptySerializer},
    errors=(InvalidToken,),
)
class TokenVerifyView(base.AuthModesViewMixin, simplejwt.TokenVerifyView):
    """Whether a token of any kind would be accepted now."""

    serializer_class = serializers.TokenVerifySerializer
    credential_scope = "authmodes_token"
    token_field = "token"


@base.describe(
    body=serializers.TokenBlacklistSerializer,
    answers={200: answers.EmptySerializer},
    errors=(InvalidToken,),
)
class TokenBlacklistView(base.AuthModesViewMixin, simplejwt.TokenBlacklistView):
    """End the login session of a refresh token."""

    serializer_class = serializers.TokenBlacklistSerializer
    credential_scope = "authmodes_token"
    token_field = "refresh"

    def ends_a_login(self, request: Request) -> bool:
        return validation.is_token_active(self.presented_token(request), RefreshToken)


class TokenRevokeView(base.PublicView):
    """End the login session of a token (RFC 7009).

    Holding the token is the only permission needed. A token that is unknown, or whose login
    has ended, gets the same response (2.2).
    """

    credential_scope = "authmodes_token"
    token_field = "token"

    def ends_a_login(self, request: Request) -> bool:
        if identified := self.identify_presented(request):
            return identified[1].ended_at is None
        machine_token = machine_tokens.read(self.presented_token(request))
        return machine_token is not None and machine_tokens.validate(machine_token) is not None

    @base.describe(body={base.FORM: inputs.TokenHintSerializer}, answers={200: None})
    def post(self, request: Request) -> Response:
        raw_token = base.validated(inputs.TokenHintSerializer, request.data).validated_data["token"]
        identified = self.identify_presented(request)
        if identified is None:
            rotation.blacklist_legacy(raw_token)
            if machine_token := machine_tokens.read(raw_token):
                machine_tokens.revoke_token(machine_token)
        else:
            registry.revoke(identified[1], EndReason.LOGOUT)
        return Response()


class MayIntrospect(BasePermission):
    """Introspection tells about the logins of other users, as the admin's list does."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user) and request.user.has_perm("authmodes.view_loginsession")


class TokenIntrospectView(base.LoginSessionView):
    """RFC 7662: what a token says and whether it counts, for callers with the permission."""

    permission_classes = (IsAuthenticated, MayIntrospect)
    credential_scope = "authmodes_introspect"

    @base.describe(
        body={base.FORM: inputs.TokenHintSerializer},
        answers={200: answers.IntrospectionSerializer},
        errors=(PermissionDenied,),
    )
    def post(self, request: Request) -> Response:
        raw_token = base.validated(inputs.TokenHintSerializer, request.data).validated_data["token"]
        said = serializers.introspect(raw_token)
        # Nothing else, not even why (2.2).
        return Response({"active": False} if said is None else {**said, "active": True})


@method_decorator(cache_control(public=True, max_age=JWKS_MAX_AGE), name="dispatch")
class CacheableView(APIView):
    """A public document that every caller gets alike, and that caches may keep."""

    authentication_classes = ()
    permission_classes = ()
    throttle_classes = ()
    renderer_classes = (JSONRenderer,)

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # A client may accept `application/jwk-set+json` only, or no more than `text/html`.
        return super().perform_content_negotiation(request, force=True)

    def get_exception_handler(self) -> Any:
        return base.handle_exception


class JwksView(CacheableView):
    """The public keys that access tokens can be verified with (RFC 7517)."""

    @base.describe(answers={200: answers.JwksSerializer})
    def get(self, request: Request) -> Response:
        return Response(keys.jwks())

"""simplejwt's token endpoints, on login sessions, and the exchange of a one-time code."""

from typing import Any, cast

from django.http import HttpRequest, JsonResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext_lazy as _
from django.views import View
from django.views.decorators.cache import cache_control
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt import views as simplejwt

from .. import handoff, keys, registry, tokens, transport
from ..conf import Mode, conf, simple_jwt
from ..models import EndReason, LoginMode
from ..serializers import (
    TokenBlacklistSerializer,
    TokenExchangeSerializer,
    TokenHintSerializer,
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
    TokenVerifySerializer,
    wanted_mode,
)
from .base import (
    DoorMixin,
    LoginSessionView,
    PublicView,
    enforce_csrf,
    respond_to_login,
    respond_with_tokens,
)

# Seconds; a new key is to be deployed this long before it signs.
JWKS_MAX_AGE = 600


class TokenObtainPairView(DoorMixin, simplejwt.TokenObtainPairView):
    """simplejwt's password login; the user passes through allauth's stages."""

    serializer_class = TokenObtainPairSerializer

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if transport.in_use():
            enforce_csrf(request)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return respond_to_login(request, cast(TokenObtainPairSerializer, serializer).pair)


class TokenRefreshView(DoorMixin, simplejwt.TokenRefreshView):
    """Swap a refresh token for a new pair; with the cookie transport it comes in its cookie."""

    serializer_class = TokenRefreshSerializer

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        data = request.data
        if transport.in_use():
            enforce_csrf(request)
            data = {"refresh": transport.refresh_token(request._request) or ""}
        serializer = self.get_serializer(data=data)
        try:
            serializer.is_valid(raise_exception=True)
        except AuthenticationFailed as error:
            response = self.handle_exception(error)
            # What a switch of the mode refuses today may be accepted again tomorrow.
            if transport.in_use() and conf.MODE.allows(Mode.JWT):
                transport.clear_cookies(response)
            return response
        return respond_with_tokens(cast(TokenRefreshSerializer, serializer).pair)


class TokenVerifyView(DoorMixin, simplejwt.TokenVerifyView):
    """Whether a token would be accepted now."""

    serializer_class = TokenVerifySerializer


class TokenBlacklistView(DoorMixin, simplejwt.TokenBlacklistView):
    """End the login session of a refresh token."""

    serializer_class = TokenBlacklistSerializer


class TokenExchangeView(PublicView):
    """Turn the one-time code of a browser login into tokens."""

    def post(self, request: Request) -> Response:
        wanted_mode(LoginMode.JWT)
        if transport.in_use():
            enforce_csrf(request)
        serializer = TokenExchangeSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        redeemed = handoff.redeem(**serializer.validated_data)
        if redeemed is None:
            raise AuthenticationFailed(
                _("The code is unknown, used or expired, or the verifier is wrong."),
                "invalid_grant",
            )
        user, origin = redeemed
        started = transport.start(request._request, user, origin)
        return respond_to_login(request, tokens.mint(started))


class TokenRevokeView(PublicView):
    """RFC 7009: end the login session of a token; to hold it is to be allowed to.

    A token that is unknown or dead already is answered alike (2.2).
    """

    def post(self, request: Request) -> Response:
        serializer = TokenHintSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        raw_token = serializer.validated_data["token"]
        identified = registry.identify(raw_token)
        if identified is None:
            registry.spend_legacy(raw_token)
        else:
            registry.revoke(identified[1], EndReason.LOGOUT)
        return Response()


class MayIntrospect(BasePermission):
    """Introspection tells about other people's logins, as the admin's list does."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user) and request.user.has_perm("authmodes.view_loginsession")


class TokenIntrospectView(LoginSessionView):
    """RFC 7662: what a token says and whether it counts, for callers with the permission."""

    permission_classes = (IsAuthenticated, MayIntrospect)

    def post(self, request: Request) -> Response:
        serializer = TokenHintSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        identified = registry.identify(serializer.validated_data["token"])
        if identified is None or not registry.is_live(*identified):
            # Nothing else, not even why (2.2).
            return Response({"active": False})
        token, login_session = identified
        return Response(
            {
                **token.payload,
                "active": True,
                "sub": token[simple_jwt().USER_ID_CLAIM],
                "username": login_session.user.get_username(),
                "token_type": "Bearer",
                "token_use": token.token_type,
            }
        )


@method_decorator(cache_control(public=True, max_age=JWKS_MAX_AGE), name="dispatch")
class JwksView(View):
    """The public keys that access tokens can be verified with (RFC 7517)."""

    def get(self, request: HttpRequest) -> JsonResponse:
        return JsonResponse(keys.jwks())

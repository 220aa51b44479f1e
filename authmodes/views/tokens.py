"""simplejwt's token endpoints, on login sessions, and the exchange of a one-time code."""

from typing import Any, cast

from django.utils.translation import gettext_lazy as _
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt import views as simplejwt

from .. import handoff, registry, tokens, transport
from ..models import LoginMode
from ..serializers import (
    TokenBlacklistSerializer,
    TokenExchangeSerializer,
    TokenObtainPairSerializer,
    TokenRefreshSerializer,
    TokenVerifySerializer,
    wanted_mode,
)
from .base import DoorMixin, PublicView, enforce_csrf, respond_with_tokens


class TokenObtainPairView(DoorMixin, simplejwt.TokenObtainPairView):
    """simplejwt's password login; the user passes through allauth's stages."""

    serializer_class = TokenObtainPairSerializer

    def post(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        if transport.in_use():
            enforce_csrf(request)
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return respond_with_tokens(cast(TokenObtainPairSerializer, serializer).pair)


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
            if transport.in_use():
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
        mode = wanted_mode(LoginMode.JWT)
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
        started = registry.start(request._request, user, mode, origin=origin)
        return respond_with_tokens(tokens.mint(started))

"""simplejwt's serializers, extended; its settings may name them."""

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.serializers import CharField
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import InvalidToken

from .. import exceptions as errors
from .. import registry
from ..conf import Mode, conf, simple_jwt
from ..machines import tokens as machine_tokens
from ..models import EndReason
from ..registry import rotation, validation
from ..signin import authorization_request
from ..signin import password as password_signin
from ..state import to_django
from ..tokens import cookies as token_cookies
from ..tokens.jwt import (
    ISSUED_BY_SIMPLEJWT,
    LoginToken,
    RefreshToken,
    TokenPair,
    is_issued_by_simplejwt,
    mint,
)
from .answers import answer_to
from .fields import LOGIN_MAX_LENGTH, OPTIONAL, PASSWORD_MAX_LENGTH, TokenField
from .inputs import login_form_fields

# What a refresh is refused for; their codes are those of `rotation.Refusal`.
REFRESH_ERRORS = (
    *(InvalidToken, errors.TokenExpired, errors.TokenReused),
    *(errors.LoginSessionEnded, errors.TokensDisabled),
)


def refresh_error(refusal: rotation.Refusal) -> APIException:
    """Return what a refused refresh is answered with."""
    return next(error() for error in REFRESH_ERRORS if error.default_code == refusal.code)


def wanted_mode(named: Any) -> str:
    """Turn what a client named into a mode. Raises `InvalidMode` or `ModeDisabled`."""
    mode = authorization_request.parse_mode(named)
    if mode is None:
        raise errors.InvalidMode
    if not conf.MODE.allows(mode):
        raise errors.ModeDisabled
    return mode


class TokenObtainPairSerializer(simplejwt.TokenObtainPairSerializer):
    """simplejwt's contract, run through allauth's login flow."""

    mfa_code = CharField(**OPTIONAL, max_length=64)
    pair: TokenPair

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[self.username_field] = CharField(max_length=LOGIN_MAX_LENGTH)
        self.fields["password"] = simplejwt.PasswordField(
            max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False
        )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        request = to_django(self.context["request"])
        login_session = password_signin.sign_in(
            request,
            attrs[self.username_field],
            attrs["password"],
            wanted_mode(Mode.JWT),
            attrs.get("mfa_code", ""),
            login_form_fields(self),
        )
        self.user = login_session.user
        self.pair = mint(login_session)
        return answer_to(self.pair)


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Rotates, always: our refresh tokens are single use."""

    refresh = TokenField()
    # simplejwt declares the answer's `access` here as well.
    access: Any = None
    pair: TokenPair

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        request = self.context.get("request")
        outcome = rotation.rotate(attrs["refresh"], request and to_django(request))
        if isinstance(outcome, rotation.Refusal):
            is_invalid = outcome is rotation.Refusal.TOKEN_NOT_VALID
            is_accepted = conf.ACCEPT_LEGACY_REFRESH
            if is_invalid and not is_accepted and is_issued_by_simplejwt(attrs["refresh"]):
                raise InvalidToken(ISSUED_BY_SIMPLEJWT)
            raise refresh_error(outcome)
        self.pair = outcome
        return answer_to(self.pair)


class TokenVerifySerializer(simplejwt.TokenVerifySerializer):
    """Tells whether a token of any kind would be accepted now."""

    token = TokenField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[Any, Any]:
        if introspect(attrs["token"]) is None:
            raise InvalidToken
        return {}


def introspect(raw_token: str) -> dict[str, Any] | None:
    """Return what a token of any kind says (RFC 7662, 2.2); None if it does not count now."""
    said: dict[str, Any]
    token: LoginToken | machine_tokens.MachineToken | None
    if identified := validation.identify(raw_token):
        token, login_session = identified
        if not validation.validate_token_or_end(token, login_session):
            return None
        username = login_session.user.get_username()
        said = {"sub": token[simple_jwt().USER_ID_CLAIM], "username": username}
    else:
        token = machine_tokens.read(raw_token) if conf.MODE.allows(Mode.JWT) else None
        scopes = machine_tokens.validate(token) if token else None
        if token is None or scopes is None:
            return None
        said = {"scope": " ".join(scopes)}
    use = "refresh" if isinstance(token, RefreshToken) else token.token_type
    return {**token.payload, **said, "token_type": "Bearer", "token_use": use}


class TokenBlacklistSerializer(simplejwt.TokenBlacklistSerializer):
    """Ends the login session of a refresh token, whichever of its family it is."""

    refresh = TokenField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[Any, Any]:
        identified = validation.identify(attrs["refresh"], RefreshToken)
        if identified is not None:
            registry.revoke(identified[1], EndReason.LOGOUT)
        elif not rotation.blacklist_legacy(attrs["refresh"]):
            raise InvalidToken
        return {}


def _check_transport(context: Mapping[str, Any]) -> None:
    """Refuse simplejwt's own views where tokens travel in cookies: they know only bodies."""
    if token_cookies.are_enabled() and not getattr(
        context.get("view"), "sets_token_cookies", False
    ):
        raise errors.CookieTransport

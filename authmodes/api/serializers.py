"""What the REST API takes and gives; simplejwt's serializers extended where it has one."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from allauth.account.utils import user_display
from allauth.socialaccount.providers.base import AuthProcess
from django.contrib.sessions.backends.base import SessionBase
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import InvalidToken

from .. import registry
from ..conf import Mode, conf
from ..exceptions import BadRequest, ModeDisabled
from ..machines import tokens as machine_tokens
from ..models import EndReason, LoginSession
from ..registry import rotation, validation
from ..signin import authorization_code, authorization_request
from ..signin import password as password_signin
from ..signin.provider_tokens import Credential
from ..signin.stages import Answers
from ..tokens import cookies as token_cookies
from ..tokens.jwt import RefreshToken, TokenPair, mint

PASSWORD_MAX_LENGTH = 4096
LOGIN_MAX_LENGTH = 320
MFA_CODE_MAX_LENGTH = 64
# Those of large directories carry a group list.
TOKEN_MAX_LENGTH = 16_384
CODE_MAX_LENGTH = 2048
NONCE_MAX_LENGTH = 1024
SIGNUP_FIELD_MAX_LENGTH = 1024


def wanted_mode(named: Any) -> str:
    """Turn what a client said into a mode. Raises `ModeDisabled` or `BadRequest`."""
    mode = authorization_request.parse_mode(named)
    if mode is None:
        raise BadRequest(_("The mode must be 'session' or 'jwt'."), "invalid_mode")
    if not conf.MODE.allows(mode):
        raise ModeDisabled
    return mode


class TokenField(serializers.CharField):
    """A token, letter by letter: one text is one token."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        # DRF makes text of a number, and no token is one.
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class UserSerializer(serializers.Serializer[Any]):
    """The signed-in user, as little as a client needs to greet one."""

    id = serializers.CharField(source="pk")
    username = serializers.CharField(source="get_username")
    email = serializers.SerializerMethodField()
    display = serializers.SerializerMethodField()

    def get_email(self, user: Any) -> str:
        return getattr(user, user.get_email_field_name(), "") or ""

    def get_display(self, user: Any) -> str:
        return str(user_display(user))


class LoginSessionSerializer(serializers.ModelSerializer[LoginSession]):
    """A login session as its user may see it: nothing in it is a credential."""

    client = serializers.CharField(source="client_label")
    is_current = serializers.SerializerMethodField()

    class Meta:
        model = LoginSession
        fields = (
            "sid",
            "mode",
            "is_current",
            "client",
            "method",
            "provider",
            "ip_address",
            "last_ip_address",
            "created_at",
            "last_seen_at",
            "expires_at",
        )
        read_only_fields = fields

    def get_is_current(self, login_session: LoginSession) -> bool:
        return str(login_session.sid) == self.context["request"].auth.sid


def cookie_answer(login_session: LoginSession, session: SessionBase) -> dict[str, Any]:
    """The body of a login that ended in a cookie: a token answer without the tokens.

    The cookie is what gives access, and a login can be renewed until its absolute end.
    """
    cookie_end = min(session.get_expiry_date(), login_session.expires_at)
    return _answer(login_session, cookie_end, login_session.expires_at)


def token_answer(pair: TokenPair) -> dict[str, Any]:
    """The body of a login that ended in tokens."""
    answer = _answer(pair.login_session, pair.access_expires_at, pair.refresh_expires_at)
    return {**answer, "access": pair.access, "refresh": pair.refresh}


def _answer(
    login_session: LoginSession, access_expires_at: datetime, refresh_expires_at: datetime
) -> dict[str, Any]:
    moment = serializers.DateTimeField().to_representation
    return {
        "mode": login_session.mode,
        "sid": str(login_session.sid),
        "access_expires_at": moment(access_expires_at),
        "refresh_expires_at": moment(refresh_expires_at),
        "user": UserSerializer(login_session.user).data,
    }


class LoginSerializer(serializers.Serializer[Any]):
    """`login/`: a name or an e-mail address, a password, and perhaps a mode."""

    username = serializers.CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    email = serializers.CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    password = serializers.CharField(
        max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    mode = serializers.CharField(required=False, allow_blank=True)
    mfa_code = serializers.CharField(
        required=False, allow_blank=True, max_length=MFA_CODE_MAX_LENGTH
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("username") and not attrs.get("email"):
            raise serializers.ValidationError({"username": _("Give a username or an email.")})
        return attrs


class TokenObtainPairSerializer(simplejwt.TokenObtainPairSerializer):
    """simplejwt's contract, run through allauth's login flow."""

    mfa_code = serializers.CharField(
        required=False, allow_blank=True, write_only=True, max_length=MFA_CODE_MAX_LENGTH
    )
    pair: TokenPair

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[self.username_field] = serializers.CharField(
            max_length=LOGIN_MAX_LENGTH, write_only=True
        )
        self.fields["password"] = simplejwt.PasswordField(
            max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False
        )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        mode = wanted_mode(str(Mode.JWT))
        login_session = password_signin.sign_in(
            _django_request(self.context["request"]),
            attrs[self.username_field],
            attrs["password"],
            mode,
            attrs.get("mfa_code", ""),
        )
        self.user = login_session.user
        self.pair = mint(login_session)
        return token_answer(self.pair)


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Rotates, always: our refresh tokens are single use."""

    refresh = TokenField()
    pair: TokenPair

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        outcome = rotation.rotate(attrs["refresh"], _django_request(self.context.get("request")))
        if isinstance(outcome, rotation.Refusal):
            raise refusal(outcome)
        self.pair = outcome
        return token_answer(outcome)


class TokenVerifySerializer(simplejwt.TokenVerifySerializer):
    """Tells whether a token of any kind would be accepted now."""

    token = TokenField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[Any, Any]:
        identified = validation.identify(attrs["token"])
        if identified is None:
            _check_machine_token(attrs["token"])
        elif not validation.validate_token_or_end(*identified):
            raise InvalidToken
        return {}


class TokenBlacklistSerializer(simplejwt.TokenBlacklistSerializer):
    """Ends the login session of a refresh token, whichever of its family it is."""

    refresh = TokenField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[Any, Any]:
        if not end_token_family(attrs["refresh"]):
            raise InvalidToken
        return {}


class TokenHintSerializer(serializers.Serializer[Any]):
    """`token/revoke/` and `token/introspect/`; a wrong hint does no harm, so it is not read."""

    token = TokenField()
    token_type_hint = TokenField(required=False, allow_blank=True)


class TokenExchangeSerializer(serializers.Serializer[Any]):
    """`token/exchange/`: the one-time code and the verifier of its challenge."""

    code = serializers.CharField(max_length=128)
    code_verifier = serializers.RegexField(authorization_code.CODE_VERIFIER, trim_whitespace=False)
    next = serializers.CharField(required=False, max_length=2000)


def _check_machine_token(raw_token: str) -> None:
    """Raise `InvalidToken` unless it is a machine client's and counts."""
    token = machine_tokens.read(raw_token) if conf.MODE.allows(Mode.JWT) else None
    if token is None or machine_tokens.validate(token) is None:
        raise InvalidToken


def end_token_family(raw_token: Any) -> bool:
    """End the login session of a refresh token; False if it is none of ours."""
    identified = validation.identify(raw_token)
    if identified is None:
        return rotation.blacklist_legacy(raw_token)
    if not isinstance(identified[0], RefreshToken):
        return False
    registry.revoke(identified[1], EndReason.LOGOUT)
    return True


def refusal(refused: rotation.Refusal) -> AuthenticationFailed:
    """The 401 of a refresh token that was not accepted."""
    details = {
        "token_reused": _("The refresh token was used before; its login session has ended."),
        "token_expired": _("The refresh token has expired."),
        "login_session_ended": _("The login session has ended."),
        "mode_disabled": _("Tokens are switched off."),
    }
    detail = details.get(refused.code, _("The refresh token is invalid."))
    return AuthenticationFailed({"detail": detail, "code": refused.code})


def _check_transport(context: Mapping[str, Any]) -> None:
    """Refuse simplejwt's own views where tokens travel in cookies: they know only bodies."""
    if token_cookies.are_enabled() and not getattr(
        context.get("view"), "sets_token_cookies", False
    ):
        detail = _("Tokens travel in cookies here; use the endpoints of authmodes.")
        raise BadRequest({"detail": detail, "code": "cookie_transport"})


def _django_request(request: Request | Any) -> Any:
    return getattr(request, "_request", request)


class SocialTokenSerializer(serializers.Serializer[Any]):
    """One credential, the mode, and whether it is for a login or to be connected."""

    id_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    access_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    code = TokenField(required=False, max_length=CODE_MAX_LENGTH)
    code_verifier = serializers.RegexField(
        authorization_code.CODE_VERIFIER, required=False, trim_whitespace=False
    )
    redirect_uri = serializers.CharField(required=False, max_length=2000)
    nonce = TokenField(required=False, allow_blank=True, max_length=NONCE_MAX_LENGTH)
    client_id = serializers.CharField(required=False, max_length=255)
    mode = serializers.CharField(required=False, allow_blank=True)
    process = serializers.ChoiceField(
        choices=[AuthProcess.LOGIN, AuthProcess.CONNECT],
        default=AuthProcess.LOGIN,
        # DRF's own text repeats what was sent.
        error_messages={"invalid_choice": _("The process must be 'login' or 'connect'.")},
    )
    mfa_code = serializers.CharField(
        required=False, allow_blank=True, max_length=MFA_CODE_MAX_LENGTH
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "code" in attrs and ("id_token" in attrs or "access_token" in attrs):
            raise serializers.ValidationError({"code": _("Send a token or a code, not both.")})
        if not {"id_token", "access_token", "code"} & set(attrs):
            raise serializers.ValidationError(
                {"id_token": _("Send an id_token, an access_token or a code.")}
            )
        if "code" in attrs:
            # Without a verifier anybody's code would do (RFC 9700, 4.5: login CSRF).
            missing = [name for name in ("code_verifier", "redirect_uri") if name not in attrs]
            if missing:
                raise serializers.ValidationError(
                    {name: _("This field is required with a code.") for name in missing}
                )
        return attrs

    def credential(self) -> Credential:
        """What the client got from the provider."""
        fields = self.validated_data
        names = Credential.__dataclass_fields__
        return Credential(**{name: fields[name] for name in names if name in fields})

    def answers(self) -> Answers:
        """What it sent for the stages: every further field may be one of the sign-up form's."""
        signup = {
            str(name): _plain(name, value)
            for name, value in self.initial_data.items()
            if name not in self.fields
        }
        return Answers(self.validated_data.get("mfa_code", ""), signup)


def _plain(name: Any, value: Any) -> Any:
    """A value that a form can take; nothing nested, endless or that no database holds."""
    if isinstance(value, bool):
        return value
    field = serializers.CharField(allow_blank=True, max_length=SIGNUP_FIELD_MAX_LENGTH)
    try:
        return field.run_validation(value)
    except serializers.ValidationError as error:
        # JSON can carry half of a surrogate pair, which no answer can.
        shown = str(name)[:100].encode(errors="replace").decode()
        raise serializers.ValidationError({shown: error.detail}) from None

"""What the REST API takes and answers; simplejwt's serializers extended where it has one.

The OpenAPI document is made from them, so a docstring here is a description there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.account.utils import user_display
from allauth.socialaccount.providers.base import AuthProcess
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import InvalidToken

from .. import registry
from ..conf import Mode, Transport, conf
from ..exceptions import (
    CookieTransport,
    InvalidMode,
    LoginSessionEnded,
    ModeDisabled,
    TokenExpired,
    TokenReused,
    TokensDisabled,
)
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
# By the code of a `rotation.Refusal`.
REFRESH_ERRORS = {
    error.default_code: error
    for error in (InvalidToken, TokenExpired, TokenReused, LoginSessionEnded, TokensDisabled)
}


def wanted_mode(named: Any) -> str:
    """Turn what a client named into a mode. Raises `InvalidMode` or `ModeDisabled`."""
    mode = authorization_request.parse_mode(named)
    if mode is None:
        raise InvalidMode
    if not conf.MODE.allows(mode):
        raise ModeDisabled
    return mode


class ModeField(serializers.ChoiceField):
    """The mode of a login; what is no mode has an error code of its own."""

    def __init__(self, *choices: Mode, **kwargs: Any) -> None:
        super().__init__([str(mode) for mode in choices or (Mode.SESSION, Mode.JWT)], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if data not in ("", *self.choices):
            raise InvalidMode
        return data


class TokenField(serializers.CharField):
    """A token, character by character."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        # DRF makes text of a number, which is never a token.
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ParameterField(TokenField):
    """A parameter of RFC 6749: sent once at most; an empty one counts as left out (3.2)."""

    def __init__(self, choices: Sequence[str] = (), **kwargs: Any) -> None:
        # For the document; what else is sent has an error of RFC 6749's.
        self.choices = choices
        super().__init__(required=False, allow_blank=True, **kwargs)

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        getlist = getattr(dictionary, "getlist", None)
        values = getlist(self.field_name) if getlist else []
        # Several are refused as any other value that is not a text.
        value = values if len(values) > 1 else super().get_value(dictionary)
        return "" if value is None else value

    def run_validators(self, value: Any) -> None:
        """Accept every text: a wrong one has an error of RFC 6749's, such as `invalid_client`."""


class IdleExpiryField(serializers.DateTimeField):
    """When a login ends if it is not used before; null without an idle timeout."""

    def __init__(self) -> None:
        super().__init__(allow_null=True, read_only=True)

    def get_attribute(self, instance: Any) -> datetime | None:
        login_session, timeout = instance.login_session, conf.IDLE_TIMEOUT
        if timeout is None:
            return None
        return min(login_session.last_seen_at + timeout, login_session.expires_at)


# Answers


class ErrorSerializer(serializers.Serializer[Any]):
    """Any error."""

    detail = serializers.CharField()
    code = serializers.CharField()


class InvalidSerializer(ErrorSerializer):
    """`errors` are by field, where the code is `invalid`."""

    def get_fields(self) -> dict[str, Any]:
        # A serializer has an attribute of this name.
        return {**super().get_fields(), "errors": serializers.DictField(required=False)}


class WayOnSerializer(serializers.Serializer[Any]):
    """Where a browser finishes the login, and what the same call may be made with again."""

    page = serializers.CharField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        # A serializer has an attribute of this name.
        names = serializers.ListField(child=serializers.CharField())
        return {**super().get_fields(), "fields": names}


class StagePendingSerializer(ErrorSerializer):
    """A stage of the login is still to be done."""

    stage = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "continue": WayOnSerializer()}


class OAuthErrorSerializer(ErrorSerializer):
    """RFC 6749, 5.2, beside what all errors have."""

    error = serializers.CharField()


class UpstreamErrorSerializer(ErrorSerializer):
    """`error` of OpenID Connect Back-Channel Logout, `err` of RFC 8935."""

    error = serializers.CharField(required=False)
    error_description = serializers.CharField(required=False)
    err = serializers.CharField(required=False)
    description = serializers.CharField(required=False)


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


class WhoAmISerializer(serializers.Serializer[Any]):
    """Who is signed in, and by which login session."""

    mode = ModeField()
    sid = serializers.UUIDField()
    user = UserSerializer()


@dataclass(frozen=True)
class CookieLogin:
    """A login that ended in a Django session, whose cookie expires at `access_expires_at`."""

    login_session: LoginSession
    access_expires_at: datetime
    refresh_expires_at: datetime


class CookieAnswerSerializer(serializers.Serializer[Any]):
    """The cookie gives access."""

    mode = ModeField(Mode.SESSION, source="login_session.mode")
    sid = serializers.UUIDField(source="login_session.sid")
    access_expires_at = serializers.DateTimeField()
    refresh_expires_at = serializers.DateTimeField()
    idle_expires_at = IdleExpiryField()
    user = UserSerializer(source="login_session.user")


class TokenAnswerSerializer(CookieAnswerSerializer):
    """A `TokenPair`; `HttpOnly` cookies hold the tokens where they travel in cookies."""

    mode = ModeField(Mode.JWT, source="login_session.mode")
    access = serializers.CharField()
    refresh = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        if token_cookies.are_enabled():
            del fields["access"], fields["refresh"]
        return fields


class ClientTokenSerializer(serializers.Serializer[Any]):
    """RFC 6749, 5.1."""

    access_token = serializers.CharField()
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField()
    scope = serializers.CharField()


class ProviderSerializer(serializers.Serializer[Any]):
    """A provider, and how a client may use it."""

    id = serializers.CharField()
    name = serializers.CharField()
    redirect = serializers.BooleanField(help_text="Whether a browser can be sent there.")
    token = serializers.ListField(
        child=serializers.ChoiceField(["id_token", "access_token", "code"]),
        help_text="What `url` takes that a client got from there.",
    )
    url = serializers.CharField()
    start_url = serializers.CharField()


class IndexSerializer(serializers.Serializer[Any]):
    """What a client needs to know to sign a user in."""

    mode = serializers.ChoiceField([str(mode) for mode in Mode])
    default_mode = ModeField()
    modes = serializers.ListField(child=ModeField())
    token_transport = serializers.ChoiceField([str(transport) for transport in Transport])
    providers = ProviderSerializer(many=True)
    links = serializers.DictField(child=serializers.CharField())


class CsrfSerializer(serializers.Serializer[Any]):
    csrf_token = serializers.CharField()


class UpstreamLogoutURLSerializer(serializers.Serializer[Any]):
    upstream_logout_url = serializers.CharField(allow_null=True)


class ConnectedSerializer(serializers.Serializer[Any]):
    """The account that is connected now."""

    provider = serializers.CharField()
    uid = serializers.CharField()


class EndedSerializer(serializers.Serializer[Any]):
    """How many login sessions have ended."""

    ended = serializers.IntegerField()


class EmptySerializer(serializers.Serializer[Any]):
    """An object without members."""

    schema: dict[str, Any] = {"additionalProperties": True}


class IntrospectionSerializer(serializers.Serializer[Any]):
    """RFC 7662; a token that does not count is `active: false` and nothing else."""

    active = serializers.BooleanField()
    sub = serializers.CharField(required=False)
    username = serializers.CharField(required=False)
    sid = serializers.UUIDField(required=False)
    exp = serializers.IntegerField(required=False)
    token_type = serializers.CharField(required=False)
    token_use = serializers.CharField(required=False)


class JwksSerializer(serializers.Serializer[Any]):
    """RFC 7517; public parts only."""

    keys = serializers.ListField(child=serializers.DictField())


class LoginSessionSerializer(serializers.ModelSerializer[LoginSession]):
    """A login session as its user may see it: nothing in it is a credential."""

    mode = ModeField(read_only=True)
    client = serializers.CharField(source="client_label", read_only=True)
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


# Requests. `schema` is what a `validate` asks beyond the fields, as JSON schema.


class ModeQuerySerializer(serializers.Serializer[Any]):
    mode = ModeField(required=False, help_text="What the login becomes.")


class SocialStartQuerySerializer(ModeQuerySerializer):
    """The query of `social/<provider>/start/`."""

    next = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="Where the browser goes afterwards; listed, where it carries a code.",
    )
    code_challenge = serializers.CharField(
        required=False, allow_blank=True, help_text="S256 of the client's verifier (RFC 7636)."
    )
    code_challenge_method = serializers.ChoiceField(["S256"], required=False)
    state = serializers.CharField(
        required=False, allow_blank=True, help_text="Comes back as it is, beside the code."
    )


class UidQuerySerializer(serializers.Serializer[Any]):
    uid = serializers.CharField(
        required=False, allow_blank=True, help_text="Which account, where there are several."
    )


class EndOthersQuerySerializer(serializers.Serializer[Any]):
    # A client that sends "true" must not believe that this login has ended as well.
    all = serializers.ChoiceField(["0", "1"], default="0", help_text="`1`: this one as well.")


class MfaCodeSerializer(serializers.Serializer[Any]):
    """The base of what signs a user in."""

    mfa_code = serializers.CharField(
        required=False, allow_blank=True, max_length=MFA_CODE_MAX_LENGTH
    )


class LoginSerializer(MfaCodeSerializer):
    """`login/`: a name or an e-mail address, a password, and perhaps a mode."""

    username = serializers.CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    email = serializers.CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    password = serializers.CharField(
        max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    mode = ModeField(required=False, allow_blank=True)
    remember = serializers.BooleanField(
        required=False, allow_null=True, help_text="`false`: the cookie ends with the browser."
    )
    schema: dict[str, Any] = {"anyOf": [{"required": ["username"]}, {"required": ["email"]}]}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("username") and not attrs.get("email"):
            raise serializers.ValidationError({"username": _("Give a username or an email.")})
        return attrs


class LogoutSerializer(serializers.Serializer[Any]):
    """`logout/`, which is never refused for a member that it does not understand."""

    refresh = serializers.JSONField(required=False, help_text="Names a login by its token.")
    upstream = serializers.JSONField(
        required=False, help_text="`true`: say where to sign out at the provider."
    )
    post_logout_redirect_uri = serializers.JSONField(
        required=False, help_text="Where the browser comes back to from there."
    )
    state = serializers.JSONField(required=False)
    # A body that is no object is passed over.
    schema: dict[str, Any] = {"type": None}


class TokenObtainPairSerializer(MfaCodeSerializer, simplejwt.TokenObtainPairSerializer):
    """simplejwt's contract, run through allauth's login flow."""

    pair: TokenPair

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[self.username_field] = serializers.CharField(max_length=LOGIN_MAX_LENGTH)
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
            further_fields(self),
        )
        self.user = login_session.user
        self.pair = mint(login_session)
        return TokenAnswerSerializer(self.pair).data


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Rotates, always: our refresh tokens are single use."""

    refresh = TokenField()
    pair: TokenPair

    def get_fields(self) -> dict[str, Any]:
        # simplejwt declares the answer's `access` here as well.
        return {"refresh": super().get_fields()["refresh"]}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        outcome = rotation.rotate(attrs["refresh"], _django_request(self.context.get("request")))
        if isinstance(outcome, rotation.Refusal):
            raise REFRESH_ERRORS[outcome.code]
        self.pair = outcome
        return TokenAnswerSerializer(self.pair).data


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
        identified = validation.identify(attrs["refresh"], RefreshToken)
        if identified is not None:
            registry.revoke(identified[1], EndReason.LOGOUT)
        elif not rotation.blacklist_legacy(attrs["refresh"]):
            raise InvalidToken
        return {}


def _check_machine_token(raw_token: str) -> None:
    """Raise `InvalidToken` unless it is a machine client's and counts."""
    token = machine_tokens.read(raw_token) if conf.MODE.allows(Mode.JWT) else None
    if token is None or machine_tokens.validate(token) is None:
        raise InvalidToken


def _check_transport(context: Mapping[str, Any]) -> None:
    """Refuse simplejwt's own views where tokens travel in cookies: they know only bodies."""
    if token_cookies.are_enabled() and not getattr(
        context.get("view"), "sets_token_cookies", False
    ):
        raise CookieTransport


def _django_request(request: Request | Any) -> Any:
    return getattr(request, "_request", request)


class ClientCredentialsSerializer(serializers.Serializer[Any]):
    """RFC 6749, 4.4; the client is named here unless HTTP Basic names it."""

    grant_type = ParameterField(["client_credentials"])
    client_id = ParameterField()
    client_secret = ParameterField()
    scope = ParameterField(help_text="All that the client has, unless named.")
    schema: dict[str, Any] = {"required": ["grant_type"]}


class TokenHintSerializer(serializers.Serializer[Any]):
    """`token/revoke/` and `token/introspect/`; a wrong hint does no harm, so it is not read."""

    token = TokenField()
    token_type_hint = TokenField(required=False, allow_blank=True)


class TokenExchangeSerializer(serializers.Serializer[Any]):
    """`token/exchange/`: the one-time code and the verifier of its challenge."""

    code = serializers.CharField(max_length=128)
    code_verifier = serializers.RegexField(authorization_code.CODE_VERIFIER, trim_whitespace=False)
    next = serializers.CharField(required=False, max_length=2000)


class LogoutTokenSerializer(serializers.Serializer[Any]):
    """OpenID Connect Back-Channel Logout 1.0, 2.5."""

    logout_token = serializers.CharField()


class SocialTokenSerializer(MfaCodeSerializer):
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
    mode = ModeField(required=False, allow_blank=True)
    process = serializers.ChoiceField(
        choices=[AuthProcess.LOGIN, AuthProcess.CONNECT],
        default=AuthProcess.LOGIN,
        # DRF's own text repeats what was sent.
        error_messages={"invalid_choice": _("The process must be 'login' or 'connect'.")},
    )
    schema: dict[str, Any] = {
        "oneOf": [
            {
                "required": ["code", "code_verifier", "redirect_uri"],
                "not": {"anyOf": [{"required": ["id_token"]}, {"required": ["access_token"]}]},
            },
            {
                "anyOf": [{"required": ["id_token"]}, {"required": ["access_token"]}],
                "not": {"required": ["code"]},
            },
        ]
    }

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "code" in attrs and ("id_token" in attrs or "access_token" in attrs):
            raise serializers.ValidationError({"code": _("Send a token or a code, not both.")})
        if not {"id_token", "access_token", "code"} & set(attrs):
            raise serializers.ValidationError(
                {"id_token": _("Send an id_token, an access_token or a code.")}
            )
        if "code" in attrs:
            # Without a verifier, a planted code would do (RFC 9700, 4.5: login CSRF).
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
        return Answers(self.validated_data.get("mfa_code", ""), further_fields(self))


def further_fields(serializer: Any) -> dict[str, Any]:
    """The fields that only a form of the project's knows."""
    return {
        str(name): _plain(name, value)
        for name, value in serializer.initial_data.items()
        if name not in serializer.fields
    }


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

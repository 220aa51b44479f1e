"""What the REST API takes and answers; simplejwt's serializers extended where it has one.

The OpenAPI document is made from them, so a docstring here is a description there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from allauth.account.utils import user_display
from allauth.socialaccount.providers.base import AuthProcess
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.serializers import (
    CharField,
    ChoiceField,
    IntegerField,
    JSONField,
    Serializer,
    ValidationError,
)
from rest_framework_simplejwt import serializers as simplejwt
from rest_framework_simplejwt.exceptions import InvalidToken

from .. import exceptions as errors
from .. import registry
from ..conf import Mode, Transport, conf
from ..machines import tokens as machine_tokens
from ..models import NAME_MAX_LENGTH, ClientFamily, EndReason, LoginSession
from ..registry import rotation, starting, validation
from ..signin import authorization_code, authorization_request
from ..signin import password as password_signin
from ..signin.provider_tokens import Credential
from ..signin.stages import Answers
from ..tokens import cookies as token_cookies
from ..tokens.jwt import AccessToken, RefreshToken, TokenPair, mint

PASSWORD_MAX_LENGTH = 4096
PAGE_SIZE, PAGE_SIZE_LIMIT = 50, 200
LOGIN_MAX_LENGTH = 320
# Those of large directories carry a group list.
TOKEN_MAX_LENGTH = 16_384
OPTIONAL: dict[str, Any] = {"required": False, "allow_blank": True}
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


class ModeField(ChoiceField):
    """The mode of a login. An unknown mode has its own error code."""

    def __init__(self, *choices: Mode, **kwargs: Any) -> None:
        super().__init__([str(mode) for mode in choices or (Mode.SESSION, Mode.JWT)], **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        if data not in ("", *self.choices):
            raise errors.InvalidMode
        return data


class TokenField(CharField):
    """A token. Its whitespace is not trimmed."""

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
        super().__init__(**OPTIONAL, **kwargs)

    def get_value(self, dictionary: Mapping[Any, Any]) -> Any:
        getlist = getattr(dictionary, "getlist", None)
        values = getlist(self.field_name) if getlist else []
        # Several are refused as any other value that is not a text.
        value = values if len(values) > 1 else super().get_value(dictionary)
        return "" if value is None else value

    def run_validators(self, value: Any) -> None:
        """Accept every text: a wrong one has an error of RFC 6749's, such as `invalid_client`."""


def declare(
    name: str, doc: str = "", base: type[Serializer[Any]] = Serializer, /, **attributes: Any
) -> type[Serializer[Any]]:
    """Make a serializer class that only describes a body.

    Unlike in the body of a class, a field may have the name of a keyword or of an attribute
    that serializers have.
    """
    attributes |= {"__module__": __name__, "__doc__": doc or None}
    made: Any = serializers.SerializerMetaclass(f"{name}Serializer", (base,), attributes)
    return made


# Answers

ErrorSerializer = declare("Error", "Any error.", detail=CharField(), code=CharField())
InvalidSerializer = declare(
    "Invalid",
    "`errors` are by field, where the code is `invalid`.",
    ErrorSerializer,
    errors=serializers.DictField(required=False),
)
ContinuationSerializer = declare(
    "Continuation",
    "Where a browser continues the login, and the fields that the same call may be repeated with.",
    page=CharField(allow_null=True),
    authorize=CharField(
        required=False, help_text="Without a page and fields: the endpoint to sign in through."
    ),
    fields=serializers.ListField(child=CharField()),
)
StagePendingSerializer = declare(
    "StagePending",
    "A stage of the login is still to be done.",
    ErrorSerializer,
    stage=CharField(),
    **{"continue": ContinuationSerializer()},
)
OAuthErrorSerializer = declare(
    "OAuthError",
    "RFC 6749, 5.2, beside what all errors have.",
    ErrorSerializer,
    error=CharField(),
    error_description=CharField(),
)
UpstreamErrorSerializer = declare(
    "UpstreamError",
    "`error` of OpenID Connect Back-Channel Logout, `err` of RFC 8935.",
    ErrorSerializer,
    **{
        name: CharField(required=False)
        for name in ("error", "error_description", "err", "description")
    },
)


class UserSerializer(Serializer[Any]):
    """The signed-in user, as little as a client needs to greet one."""

    id = CharField(source="pk")
    username = CharField(source="get_username")
    email = serializers.SerializerMethodField()
    display = serializers.SerializerMethodField()

    def get_email(self, user: Any) -> str:
        return getattr(user, user.get_email_field_name(), "") or ""

    def get_display(self, user: Any) -> str:
        return str(user_display(user))


class WhoAmISerializer(Serializer[Any]):
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


class CookieAnswerSerializer(Serializer[Any]):
    """The cookie gives access."""

    mode = ModeField(Mode.SESSION, source="login_session.mode")
    sid = serializers.UUIDField(source="login_session.sid")
    access_expires_at = serializers.DateTimeField()
    refresh_expires_at = serializers.DateTimeField()
    idle_expires_at = serializers.SerializerMethodField()
    user = UserSerializer(source="login_session.user")

    def get_idle_expires_at(self, login: CookieLogin | TokenPair) -> datetime | None:
        if conf.IDLE_TIMEOUT is None:
            return None
        login_session = login.login_session
        return min(login_session.last_seen_at + conf.IDLE_TIMEOUT, login_session.expires_at)


class TokenAnswerSerializer(CookieAnswerSerializer):
    """A `TokenPair`; `HttpOnly` cookies hold the tokens where they travel in cookies."""

    mode = ModeField(Mode.JWT, source="login_session.mode")
    access = CharField()
    refresh = CharField()

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        if token_cookies.are_enabled():
            del fields["access"], fields["refresh"]
        return fields


class GrantAnswer:
    """A `TokenPair` in the words of RFC 6749, 5.1."""

    token_type = "Bearer"

    def __init__(self, pair: TokenPair) -> None:
        self.access_token, self.refresh_token = pair.access, pair.refresh
        self.expires_in = round((pair.access_expires_at - timezone.now()).total_seconds())
        scope = AccessToken(cast(Any, pair.access), verify=False).get("scope")
        self.scope = scope if isinstance(scope, str) else ""
        self.sid = pair.login_session.sid


class GrantAnswerSerializer(Serializer[Any]):
    """RFC 6749, 5.1, and the `sid` of a user's login; cookies hold tokens that travel in them."""

    access_token = CharField(required=False)
    token_type = CharField()
    expires_in = IntegerField()
    refresh_token = CharField(required=False)
    scope = CharField(required=False)
    sid = serializers.UUIDField(required=False)

    def to_representation(self, instance: GrantAnswer) -> dict[str, Any]:
        answer = super().to_representation(instance)
        hidden = ("access_token", "refresh_token") if token_cookies.are_enabled() else ()
        return {name: answer[name] for name in answer if name not in hidden and answer[name]}


ProviderSerializer = declare(
    "Provider",
    "A provider, and how a client may use it.",
    id=CharField(),
    name=CharField(),
    redirect=serializers.BooleanField(help_text="Whether a browser can be sent there."),
    token=serializers.ListField(
        child=ChoiceField(["id_token", "access_token", "code"]),
        help_text="What `url` takes that a client got from there.",
    ),
    url=CharField(),
    start_url=CharField(),
)
IndexSerializer = declare(
    "Index",
    "What a client needs to know to sign a user in.",
    mode=ChoiceField([str(mode) for mode in Mode]),
    default_mode=ModeField(),
    modes=serializers.ListField(child=ModeField()),
    token_transport=ChoiceField([str(transport) for transport in Transport]),
    providers=ProviderSerializer(many=True),
    links=serializers.DictField(child=CharField()),
)
CsrfSerializer = declare("Csrf", csrf_token=CharField())
UpstreamLogoutURLSerializer = declare(
    "UpstreamLogoutURL", upstream_logout_url=CharField(allow_null=True)
)
ConnectedSerializer = declare(
    "Connected", "The account that is connected now.", provider=CharField(), uid=CharField()
)
EndedSerializer = declare("Ended", "How many login sessions have ended.", ended=IntegerField())
EmptySerializer = declare(
    "Empty", "An object without members.", schema={"additionalProperties": True}
)
IntrospectionSerializer = declare(
    "Introspection",
    "RFC 7662; a token that does not count is `active: false` and nothing else.",
    active=serializers.BooleanField(),
    sub=CharField(required=False),
    username=CharField(required=False),
    sid=serializers.UUIDField(required=False),
    exp=IntegerField(required=False),
    token_type=CharField(required=False),
    token_use=CharField(required=False),
)
MetadataSerializer = declare(
    "Metadata",
    "RFC 8414, 2.",
    issuer=CharField(),
    authorization_endpoint=CharField(),
    token_endpoint=CharField(),
    revocation_endpoint=CharField(),
    introspection_endpoint=CharField(),
    jwks_uri=CharField(required=False, help_text="Where tokens are signed with a key pair."),
    response_types_supported=serializers.ListField(child=CharField()),
    grant_types_supported=serializers.ListField(child=CharField()),
    schema={"additionalProperties": True},
)
JwksSerializer = declare(
    "Jwks",
    "RFC 7517; public parts only.",
    keys=serializers.ListField(child=serializers.DictField()),
)


class LoginSessionSerializer(serializers.ModelSerializer[LoginSession]):
    """A login session as its user may see it: nothing in it is a credential."""

    mode = ModeField(read_only=True)
    name = CharField(
        max_length=NAME_MAX_LENGTH, allow_blank=True, help_text="What the user calls it."
    )
    client = CharField(source="client_label", read_only=True)
    is_current = serializers.SerializerMethodField()
    is_impersonated = serializers.BooleanField(read_only=True)

    class Meta:
        model = LoginSession
        fields = (
            "sid",
            "mode",
            "is_current",
            "name",
            "is_impersonated",
            "client",
            "method",
            "provider",
            "client_id",
            "ip_address",
            "last_ip_address",
            "created_at",
            "last_seen_at",
            "expires_at",
        )
        read_only_fields = tuple(field for field in fields if field != "name")

    def get_is_current(self, login_session: LoginSession) -> bool:
        return str(login_session.sid) == self.context["request"].auth.sid

    def update(self, instance: LoginSession, validated_data: dict[str, Any]) -> LoginSession:
        starting.rename(instance, validated_data["name"])
        return instance


class StaffLoginSessionSerializer(serializers.ModelSerializer[LoginSession]):
    """A login session as an administrator may see it: nothing in it is a credential.

    The addresses are null for staff who may not see them. `user`, `acting_user` and `ended_by`
    are primary keys.
    """

    mode = ModeField(read_only=True)
    username = CharField(source="user.get_username", read_only=True)
    client = CharField(source="client_label", read_only=True)
    is_active = serializers.BooleanField(read_only=True)

    class Meta:
        model = LoginSession
        fields = (
            *("sid", "user", "username", "mode", "is_active", "name", "client", "client_family"),
            *("method", "provider", "client_id", "amr", "acting_user"),
            *("ip_address", "last_ip_address", "created_at", "last_seen_at", "expires_at"),
            *("ended_at", "end_reason", "ended_by"),
        )
        read_only_fields = fields

    def to_representation(self, instance: LoginSession) -> dict[str, Any]:
        answer = super().to_representation(instance)
        if not self.context["shows_address"]:
            answer |= {"ip_address": None, "last_ip_address": None}
        return answer


def _page_of(name: str, row: type[Serializer[Any]]) -> type[Serializer[Any]]:
    return declare(
        name,
        "A page of login sessions, the newest sign-in first.",
        next=serializers.URLField(allow_null=True, help_text="The URL of the next page."),
        previous=serializers.URLField(allow_null=True),
        results=row(many=True),
    )


LoginSessionPageSerializer = _page_of("LoginSessionPage", LoginSessionSerializer)
StaffLoginSessionPageSerializer = _page_of("StaffLoginSessionPage", StaffLoginSessionSerializer)
PageQuerySerializer = declare(
    "PageQuery",
    cursor=CharField(required=False, help_text="From `next` or `previous` of a page."),
    page_size=IntegerField(required=False, min_value=1, max_value=PAGE_SIZE_LIMIT),
)
StaffRevokeQuerySerializer = declare(
    "StaffRevokeQuery",
    user=CharField(required=False, help_text="The primary key of a user."),
    provider=CharField(required=False),
    before=serializers.DateTimeField(required=False, help_text="Signed in before."),
    all=ChoiceField(["0", "1"], required=False, help_text="1: all of the site; alone."),
)
StaffQuerySerializer = declare(
    "StaffQuery",
    "",
    PageQuerySerializer,
    status=ChoiceField(["active", "idle", "expired", "ended"], required=False),
    end_reason=ChoiceField(EndReason.choices, required=False),
    mode=ModeField(required=False),
    user=CharField(required=False, help_text="The primary key of a user."),
    provider=CharField(required=False),
    client_family=ChoiceField([each for each in ClientFamily if each], required=False),
    before=serializers.DateTimeField(required=False, help_text="Signed in before."),
    after=serializers.DateTimeField(required=False, help_text="Signed in at this time or later."),
)
StaffRevokedSerializer = declare(
    "StaffRevoked",
    ended=IntegerField(),
    has_more=serializers.BooleanField(help_text="Whether the same call would end more."),
)

# Requests. `schema` is what a `validate` asks beyond the fields, as JSON schema.


ModeQuerySerializer = declare(
    "ModeQuery", mode=ModeField(required=False, help_text="What the login becomes.")
)
SocialStartQuerySerializer = declare(
    "SocialStartQuery",
    "The query of `social/<provider>/start/`.",
    ModeQuerySerializer,
    client_id=CharField(**OPTIONAL, help_text="Which client, where several list `next`."),
    next=CharField(
        **OPTIONAL, help_text="Where the browser goes afterwards; listed, where it carries a code."
    ),
    code_challenge=CharField(**OPTIONAL, help_text="S256 of the client's verifier (RFC 7636)."),
    code_challenge_method=ChoiceField(["S256"], required=False),
    state=CharField(**OPTIONAL, help_text="Comes back as it is, beside the code."),
)
AuthorizeQuerySerializer = declare(
    "AuthorizeQuery",
    "The query of `authorize/` (RFC 6749, 4.1.1; RFC 7636, 4.3).",
    response_type=ChoiceField(["code"]),
    client_id=CharField(help_text="Of `AUTHMODES_REDIRECT_URIS`; `app` where that is a list."),
    redirect_uri=CharField(),
    state=CharField(required=False),
    code_challenge=CharField(),
    code_challenge_method=ChoiceField(["S256"]),
    provider=CharField(
        required=False, help_text="Sign in there, and not on the page with all ways."
    ),
    prompt=CharField(
        required=False,
        help_text="Of OpenID Connect: `none`, or any of `login`, `consent`, `select_account`.",
    ),
    max_age=CharField(required=False, help_text="Seconds since the user last authenticated."),
)
UidQuerySerializer = declare(
    "UidQuery", uid=CharField(**OPTIONAL, help_text="Which account, where there are several.")
)
EndOthersQuerySerializer = declare(
    "EndOthersQuery",
    # A client that sends "true" must not believe that this login has ended as well.
    all=ChoiceField(["0", "1"], default="0", help_text="`1`: this one as well."),
)


class LoginSerializer(Serializer[Any]):
    """`login/`: a name or an e-mail address, a password, and perhaps a mode."""

    mfa_code = CharField(**OPTIONAL, max_length=64)
    username = CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    email = CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    password = CharField(
        max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    mode = ModeField(**OPTIONAL)
    remember = serializers.BooleanField(
        required=False, allow_null=True, help_text="`false`: the cookie ends with the browser."
    )
    schema: dict[str, Any] = {"anyOf": [{"required": ["username"]}, {"required": ["email"]}]}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs.get("username") and not attrs.get("email"):
            raise ValidationError({"username": _("Give a username or an email.")})
        return attrs


LogoutSerializer = declare(
    "Logout",
    "`logout/`, which is never refused for a member that it does not understand.",
    refresh=JSONField(required=False, help_text="Names a login by its token."),
    upstream=JSONField(required=False, help_text="`true`: say where to sign out at the provider."),
    post_logout_redirect_uri=JSONField(
        required=False, help_text="Where the provider sends the browser afterwards."
    ),
    state=JSONField(required=False),
    # A body that is not an object is ignored.
    schema={"type": None},
)


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
        request = _django_request(self.context["request"])
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
        return TokenAnswerSerializer(self.pair).data


class TokenRefreshSerializer(simplejwt.TokenRefreshSerializer):
    """Rotates, always: our refresh tokens are single use."""

    refresh = TokenField()
    # simplejwt declares the answer's `access` here as well.
    access: Any = None
    pair: TokenPair

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        _check_transport(self.context)
        outcome = rotation.rotate(attrs["refresh"], _django_request(self.context.get("request")))
        if isinstance(outcome, rotation.Refusal):
            raise refresh_error(outcome)
        self.pair = outcome
        return TokenAnswerSerializer(self.pair).data


class TokenVerifySerializer(simplejwt.TokenVerifySerializer):
    """Tells whether a token of any kind would be accepted now."""

    token = TokenField(write_only=True)

    def validate(self, attrs: dict[str, Any]) -> dict[Any, Any]:
        raw_token = attrs["token"]
        if identified := validation.identify(raw_token):
            is_valid = validation.validate_token_or_end(*identified)
        else:
            machine_token = machine_tokens.read(raw_token) if conf.MODE.allows(Mode.JWT) else None
            is_valid = bool(machine_token and machine_tokens.validate(machine_token) is not None)
        if not is_valid:
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


def _check_transport(context: Mapping[str, Any]) -> None:
    """Refuse simplejwt's own views where tokens travel in cookies: they know only bodies."""
    if token_cookies.are_enabled() and not getattr(
        context.get("view"), "sets_token_cookies", False
    ):
        raise errors.CookieTransport


def _django_request(request: Request | Any) -> Any:
    return getattr(request, "_request", request)


class GrantSerializer(Serializer[Any]):
    """RFC 6749, 4.1.3, 4.4 and 6; the client is named here unless HTTP Basic names it."""

    grant_type = ParameterField(["authorization_code", "refresh_token", "client_credentials"])
    code = ParameterField()
    code_verifier = ParameterField()
    redirect_uri = ParameterField()
    refresh_token = ParameterField()
    client_id = ParameterField()
    client_secret = ParameterField()
    scope = ParameterField(
        help_text="Of a machine client; without it, all scopes of the client. Of a user's token, "
        "the answer names the scope."
    )
    schema: dict[str, Any] = {"required": ["grant_type"]}


class TokenHintSerializer(Serializer[Any]):
    """`token/revoke/` and `token/introspect/`; a wrong hint does no harm, so it is not read."""

    token = TokenField()
    token_type_hint = TokenField(**OPTIONAL)


LogoutTokenSerializer = declare(
    "LogoutToken", "OpenID Connect Back-Channel Logout 1.0, 2.5.", logout_token=CharField()
)


class SocialTokenSerializer(Serializer[Any]):
    """One credential, the mode, and whether it is for a login or to be connected."""

    mfa_code = CharField(**OPTIONAL, max_length=64)
    id_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    access_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    code = TokenField(required=False, max_length=2048)
    code_verifier = serializers.RegexField(
        authorization_code.CODE_VERIFIER, required=False, trim_whitespace=False
    )
    redirect_uri = CharField(required=False, max_length=2000)
    nonce = TokenField(**OPTIONAL, max_length=1024)
    client_id = CharField(required=False, max_length=255)
    mode = ModeField(**OPTIONAL)
    process = ChoiceField(
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
            raise ValidationError({"code": _("Send a token or a code, not both.")})
        if not {"id_token", "access_token", "code"} & set(attrs):
            raise ValidationError({"id_token": _("Send an id_token, an access_token or a code.")})
        if "code" in attrs:
            # Without a verifier, a planted code would do (RFC 9700, 4.5: login CSRF).
            missing = [name for name in ("code_verifier", "redirect_uri") if name not in attrs]
            if missing:
                raise ValidationError(
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
    """The fields that the serializer does not know: those of a form of the project's."""
    return {
        str(name): _plain(name, value)
        for name, value in serializer.initial_data.items()
        if name not in serializer.fields
    }


def login_form_fields(serializer: Any) -> dict[str, Any]:
    """The fields of the project's own login form; others are ignored, as everywhere in DRF."""
    data = serializer.initial_data
    return {
        name: _plain(name, data[name])
        for name in password_signin.form_fields()
        if name not in serializer.fields and data.get(name) is not None
    }


def _plain(name: Any, value: Any) -> Any:
    """A value that a form can take; nothing nested, endless or that no database holds."""
    if isinstance(value, bool):
        return value
    field = CharField(allow_blank=True, max_length=1024)
    try:
        return field.run_validation(value)
    except ValidationError as error:
        # JSON can carry half of a surrogate pair, which no answer can.
        shown = str(name)[:100].encode(errors="replace").decode()
        raise ValidationError({shown: error.detail}) from None

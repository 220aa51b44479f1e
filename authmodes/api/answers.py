"""The bodies that the REST API answers with, as its OpenAPI document describes them."""

import functools
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from allauth.account.utils import user_display
from rest_framework import serializers
from rest_framework.serializers import CharField, ChoiceField, IntegerField, Serializer

from ..conf import Mode, Transport, conf
from ..models import NAME_MAX_LENGTH, LoginSession
from ..registry import starting
from ..tokens import cookies as token_cookies
from ..tokens.jwt import TokenPair
from .fields import ModeField, declare

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
    # Not `source`, for which DRF looks up the signature of the method: 1.5 % of a refresh.
    username = serializers.SerializerMethodField()
    email = serializers.SerializerMethodField()
    display = serializers.SerializerMethodField()

    def get_username(self, user: Any) -> str:
        return str(user.get_username())

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


def answer_to(login: CookieLogin | TokenPair) -> dict[str, Any]:
    """Return the answer to a login or a refresh."""
    kind = TokenAnswerSerializer if isinstance(login, TokenPair) else CookieAnswerSerializer
    answer: dict[str, Any] = _serializer(kind, token_cookies.are_enabled()).to_representation(login)
    return answer


@functools.cache
def _serializer(kind: type[CookieAnswerSerializer], hides_tokens: bool) -> CookieAnswerSerializer:
    """Return a serializer that is used for every answer.

    DRF copies all fields for each serializer, which takes an eighth of the time of a refresh.
    """
    return kind()


GrantAnswerSerializer = declare(
    "GrantAnswer",
    "RFC 6749, 5.1, and the `sid` of a user's login; cookies hold tokens that travel in them.",
    access_token=CharField(required=False),
    token_type=CharField(),
    expires_in=IntegerField(),
    refresh_token=CharField(required=False),
    scope=CharField(required=False),
    sid=serializers.UUIDField(required=False),
)
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
StaffRevokedSerializer = declare(
    "StaffRevoked",
    ended=IntegerField(),
    has_more=serializers.BooleanField(help_text="Whether the same call would end more."),
)

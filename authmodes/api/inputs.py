"""The bodies and queries that the REST API takes, as its OpenAPI document describes them."""

from typing import Any

from allauth.socialaccount.providers.base import AuthProcess
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers
from rest_framework.serializers import (
    CharField,
    ChoiceField,
    IntegerField,
    JSONField,
    Serializer,
    ValidationError,
)

from ..models import ClientFamily, EndReason
from ..signin import authorization_code
from ..signin import password as password_signin
from ..signin.provider_tokens import Credential
from ..signin.stages import Answers
from .fields import (
    LOGIN_MAX_LENGTH,
    OPTIONAL,
    PAGE_SIZE_LIMIT,
    PASSWORD_MAX_LENGTH,
    TOKEN_MAX_LENGTH,
    InputSerializer,
    ModeField,
    ParameterField,
    TokenField,
    declare,
)

# `schema` is what a `validate` asks beyond the fields, as JSON schema.


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


class LoginSerializer(InputSerializer):
    """`login/`: a name or an e-mail address, a password, and perhaps a mode."""

    mfa_code = CharField(**OPTIONAL, max_length=64)
    username = CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    email = CharField(required=False, max_length=LOGIN_MAX_LENGTH)
    password = CharField(
        max_length=PASSWORD_MAX_LENGTH, trim_whitespace=False, style={"input_type": "password"}
    )
    mode = ModeField(**OPTIONAL)
    remember = serializers.BooleanField(
        required=False,
        allow_null=True,
        help_text="`false`: the cookies end with the browser.",
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
        """Return what the client got from the provider."""
        fields = self.validated_data
        names = Credential.__dataclass_fields__
        return Credential(**{name: fields[name] for name in names if name in fields})

    def answers(self) -> Answers:
        """Return what it sent for the stages; a further field may be one of the sign-up form's."""
        return Answers(self.validated_data.get("mfa_code", ""), further_fields(self))


def further_fields(serializer: Any) -> dict[str, Any]:
    """Return the fields that the serializer does not know: those of a form of the project's."""
    return {
        str(name): _plain(name, value)
        for name, value in serializer.initial_data.items()
        if name not in serializer.fields
    }


def login_form_fields(serializer: Any) -> dict[str, Any]:
    """Return the fields of the project's own login form; others are ignored, as always in DRF."""
    data = serializer.initial_data
    return {
        name: _plain(name, data[name])
        for name in password_signin.form_fields()
        if name not in serializer.fields and data.get(name) is not None
    }


def _plain(name: Any, value: Any) -> Any:
    """Return a value that a form can take; nothing nested, endless or that no database holds."""
    if isinstance(value, bool):
        return value
    field = CharField(allow_blank=True, max_length=1024)
    try:
        return field.run_validation(value)
    except ValidationError as error:
        # JSON can carry half of a surrogate pair, which no answer can.
        shown = str(name)[:100].encode(errors="replace").decode()
        raise ValidationError({shown: error.detail}) from None


# Queries of pages and of the staff API

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

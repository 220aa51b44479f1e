"""What `social/<provider>/` takes: a credential of a provider, and answers to pending stages."""

from typing import Any

from allauth.socialaccount.providers.base import AuthProcess
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from . import handoff
from .provider_tokens import Credential
from .serializers import MFA_CODE_MAX_LENGTH, TokenField
from .stages import Answers

# Those of large directories carry a group list.
TOKEN_MAX_LENGTH = 16_384
CODE_MAX_LENGTH = 2048
NONCE_MAX_LENGTH = 1024
SIGNUP_FIELD_MAX_LENGTH = 1024


class SocialTokenSerializer(serializers.Serializer[Any]):
    """One credential, the mode, and whether it is for a login or to be connected."""

    id_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    access_token = TokenField(required=False, max_length=TOKEN_MAX_LENGTH)
    code = TokenField(required=False, max_length=CODE_MAX_LENGTH)
    code_verifier = serializers.RegexField(
        handoff.CODE_VERIFIER, required=False, trim_whitespace=False
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

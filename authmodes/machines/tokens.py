"""The access token of a machine client: minting, reading and validating it."""

from typing import Any

from django.db.models import Exists
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.utils import datetime_from_epoch

from ..conf import simple_jwt
from ..models import ExpiringMark, MachineClientSecret
from ..tokens import keys
from ..tokens.jwt import RingToken, read_any, simple_jwt_setting, to_epoch

REVOKED_TOKEN = "machine token"


class MachineToken(RingToken):
    """An access token without a user.

    Its `token_type` is its own, so that neither it nor a user's token is accepted as the
    other, although `sub` may be the claim that names a user elsewhere.
    """

    token_type = "client_access"
    typ = keys.ACCESS
    lifetime = simple_jwt_setting("ACCESS_TOKEN_LIFETIME")

    def verify(self) -> None:
        super().verify()
        self.secret_id = self.verify_uuid("secret_id")
        client_id = self.payload.get("client_id")
        if not isinstance(client_id, str) or not client_id or self.payload.get("sub") != client_id:
            raise TokenError("Token has no client")
        if not isinstance(self.payload.get("scope"), str):
            raise TokenError("Token has no scope")

    @property
    def client_id(self) -> str:
        return self.payload["client_id"]

    @property
    def scopes(self) -> list[str]:
        return self.payload["scope"].split()

    @property
    def jti(self) -> str:
        return self.payload[simple_jwt().JTI_CLAIM]


def mint(secret: MachineClientSecret, scopes: list[str]) -> MachineToken:
    """Make a token that expires no later than its secret and its client."""
    client = secret.client
    now = timezone.now()
    ends = (now + simple_jwt().ACCESS_TOKEN_LIFETIME, client.expires_at, secret.expires_at)
    token = MachineToken()
    token.payload.update(
        iat=to_epoch(now),
        exp=to_epoch(min(end for end in ends if end is not None)),
        # RFC 9068, 2.2: without a user, the client is the subject.
        sub=client.client_id,
        client_id=client.client_id,
        scope=" ".join(scopes),
        secret_id=str(secret.secret_id),
    )
    return token


def read(raw_token: Any) -> MachineToken | None:
    """Verify signature, kind and expiry; return None for any other token."""
    return read_any(raw_token, MachineToken)


def validate(token: MachineToken) -> list[str] | None:
    """Return the scopes that the token has now; None if it is not valid. One query.

    A scope that was removed from the client is removed from its tokens.
    """
    secret = (
        MachineClientSecret.objects.select_related("client")
        .annotate(is_token_revoked=Exists(ExpiringMark.objects.named(REVOKED_TOKEN, token.jti)))
        .filter(secret_id=token.secret_id)
        .first()
    )
    if secret is None or secret.client.client_id != token.client_id:
        return None
    if secret.is_token_revoked or not secret.is_active or not secret.client.is_active:
        return None
    held = set(secret.client.scopes.split())
    return [scope for scope in token.scopes if scope in held]


def revoke_token(token: MachineToken) -> None:
    """Revoke one token (RFC 7009); the client may request another."""
    expires_at = datetime_from_epoch(token["exp"]) + keys.backend().get_leeway()
    ExpiringMark.objects.set_once(REVOKED_TOKEN, token.jti, until=expires_at)

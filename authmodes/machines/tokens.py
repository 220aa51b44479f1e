"""The access token of a machine client: what it says, and whether it still counts."""

import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models import Exists
from django.utils import timezone
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.utils import datetime_from_epoch

from ..conf import simple_jwt
from ..models import ExpiringMark, MachineClient, MachineClientSecret
from ..tokens import keys
from ..tokens.jwt import RingToken, read_token, to_epoch

SPENT = "machine token"


class MachineToken(RingToken):
    """An access token for nobody: of a kind of its own, so no user's is taken for it.

    Nor the other way round, although `sub` may be the claim that names a user elsewhere.
    """

    token_type = "client_access"
    typ = "at+jwt"

    @property
    def lifetime(self) -> timedelta:  # type: ignore[override]
        return simple_jwt().ACCESS_TOKEN_LIFETIME

    def verify(self) -> None:
        super().verify()
        try:
            self.secret_id = uuid.UUID(self.payload["secret_id"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TokenError("Token has no secret") from error
        named = self.payload.get("client_id")
        if not isinstance(named, str) or not named or self.payload.get("sub") != named:
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


@dataclass(frozen=True)
class MintedToken:
    """A token as text; `expires_in` are seconds."""

    access: str = field(repr=False)
    expires_in: int
    scope: str


def mint(secret: MachineClientSecret, scopes: list[str]) -> MintedToken:
    """Make a token that ends with its lifetime, its secret or its client: the first of them."""
    client = secret.client
    now = timezone.now()
    ends = (now + simple_jwt().ACCESS_TOKEN_LIFETIME, client.expires_at, secret.expires_at)
    issued, expires = (
        to_epoch(now),
        to_epoch(min(end for end in ends if end is not None)),
    )
    token = MachineToken()
    token.payload.update(
        iat=issued,
        exp=expires,
        # RFC 9068, 2.2: without a user, the client is the subject.
        sub=client.client_id,
        client_id=client.client_id,
        scope=" ".join(scopes),
        secret_id=str(secret.secret_id),
    )
    return MintedToken(str(token), expires - issued, token["scope"])


def read(raw_token: Any) -> MachineToken | None:
    """Verify signature, kind and expiry; None if it is no such token."""
    try:
        return read_token(MachineToken, raw_token)
    except TokenError:
        return None


def validate(token: MachineToken) -> list[str] | None:
    """What the token may do now, None if it counts no more; one query.

    A scope that was taken from the client is taken from its tokens.
    """
    secret = (
        MachineClientSecret.objects.select_related("client")
        .annotate(is_spent=Exists(ExpiringMark.objects.named(SPENT, token.jti)))
        .filter(secret_id=token.secret_id)
        .first()
    )
    if secret is None or secret.client.client_id != token.client_id:
        return None
    if secret.is_spent or not secret.is_active or not secret.client.is_active:
        return None
    return _still_held(token.scopes, secret.client)


def revoke_token(token: MachineToken) -> None:
    """End one token (RFC 7009); the client may ask for another."""
    expires_at = datetime_from_epoch(token["exp"]) + keys.backend().get_leeway()
    ExpiringMark.objects.set_once(SPENT, token.jti, until=expires_at)


def _still_held(scopes: list[str], client: MachineClient) -> list[str]:
    held = set(client.scopes.split())
    return [scope for scope in scopes if scope in held]

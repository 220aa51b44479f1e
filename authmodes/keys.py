"""The key ring: signs and verifies tokens; what the claims mean is not its concern."""

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken

from .conf import simple_jwt

# Far above any token of ours, far below what would be worth parsing for an attacker.
MAX_LENGTH = 16_384
COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True)
class Key:
    """One key with the only algorithm it may be used with (RFC 8725, 3.1)."""

    algorithm: str
    signing: Any
    verifying: Any
    kid: str | None = None


class RingBackend(TokenBackend):
    """simplejwt's backend over several keys: the first signs, every one verifies."""

    def __init__(self, ring: tuple[Key, ...], **options: Any) -> None:
        first = ring[0]
        super().__init__(first.algorithm, first.signing, first.verifying, **options)
        self.ring = ring

    def encode(self, payload: dict[str, Any], typ: str = "JWT") -> str:
        claims = dict(payload)
        if self.audience is not None:
            claims["aud"] = self.audience
        if self.issuer is not None:
            claims["iss"] = self.issuer
        first = self.ring[0]
        headers = {"typ": typ} if first.kid is None else {"typ": typ, "kid": first.kid}
        return jwt.encode(
            claims, first.signing, first.algorithm, headers=headers, json_encoder=self.json_encoder
        )

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """Verify a token and return its claims.

        Raises `TokenBackendError` for whatever is wrong with it, and nothing else.
        """
        try:
            return self._decode(token, verify)
        except jwt.ExpiredSignatureError as error:
            raise TokenBackendExpiredToken("Token is expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenBackendError("Token is invalid") from error

    def _decode(self, token: Any, verify: bool) -> dict[str, Any]:
        text = token.decode("ascii") if isinstance(token, bytes) else str(token)
        _check_form(text)
        header = jwt.get_unverified_header(text)
        if "crit" in header:
            # We know no extension, so we must refuse those that insist (RFC 7515, 4.1.11).
            raise jwt.InvalidTokenError("crit")
        candidates = self._candidates(header)
        if not candidates:
            raise jwt.InvalidKeyError("No key for this token")
        for key in candidates[:-1]:
            try:
                return self._verify(text, key, verify)
            except jwt.InvalidSignatureError:
                continue
        return self._verify(text, candidates[-1], verify)

    def _candidates(self, header: dict[str, Any]) -> list[Key]:
        # Only the ring decides what a header may name: never `jku`, `x5u` or `jwk`.
        kid = header.get("kid")
        return [
            key
            for key in self.ring
            if key.algorithm == header.get("alg") and (kid is None or kid == key.kid)
        ]

    def _verify(self, text: str, key: Key, verify: bool) -> dict[str, Any]:
        return jwt.decode(
            text,
            key.verifying,
            algorithms=[key.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=self.get_leeway(),
            # `iat` in the future only says that two of our servers disagree about the time.
            options={
                "verify_signature": verify,
                "verify_aud": verify and self.audience is not None,
                "verify_iat": False,
            },
        )


def backend() -> RingBackend:
    """The backend for the settings as they are now."""
    jwt_settings = simple_jwt()
    return _backend(
        _ring_settings(),
        _hashable(jwt_settings.AUDIENCE),
        _hashable(jwt_settings.ISSUER),
        jwt_settings.LEEWAY,
        jwt_settings.JSON_ENCODER,
    )


def _ring_settings() -> tuple[tuple[str, Any, Any], ...]:
    """(algorithm, signing key, verifying key) of each key, the one that signs first."""
    jwt_settings = simple_jwt()
    own = getattr(settings, "SIMPLE_JWT", None) or {}
    algorithm = jwt_settings.ALGORITHM
    if "SIGNING_KEY" not in own:
        # simplejwt falls back to SECRET_KEY but read it at import; we also honour its
        # fallbacks, so that rotating it logs nobody out.
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return tuple((algorithm, secret, secret) for secret in secrets)
    signing = jwt_settings.SIGNING_KEY
    verifying = signing if algorithm.startswith("HS") else jwt_settings.VERIFYING_KEY
    return ((algorithm, signing, verifying),)


@lru_cache(maxsize=8)
def _backend(
    ring: tuple[tuple[str, Any, Any], ...], audience: Any, issuer: Any, leeway: Any, encoder: Any
) -> RingBackend:
    # Preparing a key parses PEM; the cache is keyed by every setting that it depends on.
    return RingBackend(
        tuple(_prepare(*entry) for entry in ring),
        audience=list(audience) if isinstance(audience, tuple) else audience,
        issuer=list(issuer) if isinstance(issuer, tuple) else issuer,
        leeway=leeway,
        json_encoder=encoder,
    )


def _prepare(algorithm: str, signing: Any, verifying: Any) -> Key:
    prepare = jwt.get_algorithm_by_name(algorithm).prepare_key
    return Key(algorithm, prepare(signing), prepare(verifying))


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | set) else value


def _check_form(text: str) -> None:
    """Accept one spelling of a token: compact, canonical base64url, of sane length.

    PyJWT skips characters outside the alphabet, so one signature would cover many texts
    (RFC 7515, 7.1; RFC 4648, 3.5).
    """
    if len(text) > MAX_LENGTH or not COMPACT_JWS.match(text):
        raise jwt.DecodeError("Not a compact JWS")
    for part in text.split("."):
        padded = part + "=" * (-len(part) % 4)
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)).rstrip(b"=") != part.encode():
            raise jwt.DecodeError("Not canonical base64url")

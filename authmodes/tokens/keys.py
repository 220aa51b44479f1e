"""The key ring: it signs and verifies tokens, and does not interpret their claims."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from rest_framework_simplejwt.backends import ALLOWED_ALGORITHMS, TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken

from ..conf import conf, simple_jwt

# The key type of each algorithm with a public key. Foreign tokens are accepted with these alone:
# with an HMAC, everybody who knows the public key could sign (RFC 8725, 2.1).
ASYMMETRIC_ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
# No token of ours is as long, and nothing longer is parsed.
MAX_LENGTH = 16_384
# What a JWT is called that has no type of its own (RFC 7519, 5.1).
UNTYPED = "JWT"
COMPACT_JWS = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True)
class Key:
    """One key with the only algorithm that it may be used with (RFC 8725, 3.1).

    `names` are the `kid` values that it is accepted under: a key pair without a `kid` is
    named by its thumbprint, and keeps that name when it is given one. An HMAC secret has no
    public part and therefore no `jwk`.
    """

    algorithm: str
    signing: Any = field(repr=False)
    verifying: Any = field(repr=False)
    kid: str | None
    names: frozenset[str]
    jwk: dict[str, Any] | None


@dataclass(frozen=True)
class KeySettings:
    """One key as in the settings: not parsed, hashable, and hidden in a traceback."""

    kid: str | None
    algorithm: str
    signing: Any = field(repr=False)
    verifying: Any = field(repr=False)


class RingBackend(TokenBackend):
    """simplejwt's backend with several keys: the first one signs, all of them verify.

    `typ` is the header of the tokens that it signs, and required of those that it verifies.
    """

    def __init__(self, ring: tuple[Key, ...], typ: str, **options: Any) -> None:
        first = ring[0]
        # Without keys: simplejwt would prepare them, and these are prepared already.
        super().__init__(first.algorithm, **options)
        self.ring, self.typ = ring, typ

    def encode(self, payload: dict[str, Any]) -> str:
        claims = dict(payload)
        if self.audience is not None:
            claims["aud"] = self.audience
        if self.issuer is not None:
            claims["iss"] = self.issuer
        first = self.ring[0]
        headers = {"typ": self.typ} if first.kid is None else {"typ": self.typ, "kid": first.kid}
        return jwt.encode(
            claims, first.signing, first.algorithm, headers=headers, json_encoder=self.json_encoder
        )

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """Verify a token and return its claims.

        Raises `TokenBackendError`, whatever is wrong with the token.
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
            # A critical extension must be understood, and we support none (RFC 7515, 4.1.11).
            raise jwt.InvalidTokenError("crit")
        if verify and self.typ not in (UNTYPED, header.get("typ")):
            # One kind of token must not be accepted as the other (RFC 9068, 4; RFC 8725, 3.11).
            raise jwt.InvalidTokenError("typ")
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
        # Keys come from the ring alone, never from the header's `jku`, `x5u` or `jwk`.
        kid = header.get("kid")
        return [
            key
            for key in self.ring
            if key.algorithm == header.get("alg") and (kid is None or kid in key.names)
        ]

    def _verify(self, text: str, key: Key, verify: bool) -> dict[str, Any]:
        return jwt.decode(
            text,
            key.verifying,
            algorithms=[key.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            leeway=self.get_leeway(),
            # An `iat` in the future only shows that the clocks of two servers differ.
            options={
                "verify_signature": verify,
                "verify_aud": verify and self.audience is not None,
                "verify_iat": False,
            },
        )


def backend(typ: str = UNTYPED, audience: str | None = None) -> RingBackend:
    """Return the backend for the current settings. Raises `ImproperlyConfigured`.

    `audience` replaces the one of the settings.
    """
    jwt_settings = simple_jwt()
    return _backend(
        _ring_settings(),
        typ,
        audience or _hashable(jwt_settings.AUDIENCE),
        _hashable(jwt_settings.ISSUER),
        jwt_settings.LEEWAY,
        jwt_settings.JSON_ENCODER,
    )


def jwks() -> dict[str, list[dict[str, Any]]]:
    """Return the public keys as a JWK set (RFC 7517, 5)."""
    return {
        "keys": [
            {**key.jwk, "use": "sig", "alg": key.algorithm, "kid": key.kid}
            for key in backend().ring
            if key.jwk is not None
        ]
    }


def _ring_settings() -> tuple[KeySettings, ...]:
    own_ring = conf.SIGNING_KEYS
    if own_ring is not None:
        return tuple(_from_entry(entry) for entry in own_ring)
    jwt_settings = simple_jwt()
    algorithm = jwt_settings.ALGORITHM
    if "SIGNING_KEY" not in (getattr(settings, "SIMPLE_JWT", None) or {}):
        # simplejwt falls back to SECRET_KEY, and reads it at import. The fallbacks verify as
        # well, so that SECRET_KEY can be rotated without ending logins.
        secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
        return tuple(KeySettings(None, algorithm, secret, secret) for secret in secrets)
    signing = jwt_settings.SIGNING_KEY
    verifying = signing if algorithm.startswith("HS") else jwt_settings.VERIFYING_KEY
    return (KeySettings(None, algorithm, signing, verifying),)


def _from_entry(entry: Mapping[str, str]) -> KeySettings:
    secret = entry.get("secret")
    return KeySettings(
        kid=entry["kid"],
        algorithm=entry.get("algorithm", ""),
        signing=secret or entry.get("private_key"),
        verifying=secret or entry.get("public_key"),
    )


@lru_cache(maxsize=32)
def _backend(
    ring: tuple[KeySettings, ...], typ: str, audience: Any, issuer: Any, leeway: Any, encoder: Any
) -> RingBackend:
    prepared = tuple(_prepare(entry) for entry in ring)
    if prepared[0].signing is None:
        raise ImproperlyConfigured("The first signing key must have a private part or a secret.")
    return RingBackend(
        prepared,
        typ,
        audience=audience,
        issuer=issuer,
        leeway=leeway,
        json_encoder=encoder,
    )


# Cached because it parses PEM; the entry is all that it depends on.
@lru_cache(maxsize=32)
def _prepare(entry: KeySettings) -> Key:
    """Parse a key. simplejwt's list of algorithms excludes "none"."""
    if entry.algorithm not in ALLOWED_ALGORITHMS:
        raise ImproperlyConfigured(f"Signing key {entry.kid}: unknown algorithm.")
    prepare = jwt.get_algorithm_by_name(entry.algorithm).prepare_key
    try:
        signing = prepare(entry.signing) if entry.signing else None
        verifying = prepare(entry.verifying) if entry.verifying else signing
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        # Not the error's own text, which may quote the key.
        raise ImproperlyConfigured(
            f"Signing key {entry.kid} is not a key for {entry.algorithm}."
        ) from error
    if verifying is None:
        raise ImproperlyConfigured(f"Signing key {entry.kid} has no key.")
    verifying = _public_part(verifying)
    jwk = _jwk(entry.algorithm, verifying)
    if signing is not None and _jwk(entry.algorithm, _public_part(signing)) != jwk:
        raise ImproperlyConfigured(f"Signing key {entry.kid}: the two parts are not a pair.")
    thumbprint = _thumbprint(jwk) if jwk is not None else None
    names = frozenset(name for name in (entry.kid, thumbprint) if name)
    return Key(entry.algorithm, signing, verifying, entry.kid or thumbprint, names, jwk)


def _public_part(key: Any) -> Any:
    return key.public_key() if hasattr(key, "public_key") else key


def _jwk(algorithm: str, verifying: Any) -> dict[str, Any] | None:
    if isinstance(verifying, bytes):
        return None
    return jwt.get_algorithm_by_name(algorithm).to_jwk(verifying, as_dict=True)


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the name of a key pair that the settings do not name (RFC 7638)."""
    members = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | set) else value


def _check_form(text: str) -> None:
    """Accept a token in compact serialization and canonical base64url only.

    PyJWT skips characters outside the alphabet, so one signature would be valid for many
    texts (RFC 7515, 7.1; RFC 4648, 3.5).
    """
    if len(text) > MAX_LENGTH or not COMPACT_JWS.match(text):
        raise jwt.DecodeError("Not a compact JWS")
    for part in text.split("."):
        padded = part + "=" * (-len(part) % 4)
        if base64.urlsafe_b64encode(base64.urlsafe_b64decode(padded)).rstrip(b"=") != part.encode():
            raise jwt.DecodeError("Not canonical base64url")

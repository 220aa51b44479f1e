"""The key ring: it signs and verifies tokens.

It does not interpret claims, except those of PyJWT: times, issuer and audience.
"""

import base64
import hashlib
import json
import re
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

import jwt
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from rest_framework_simplejwt.backends import ALLOWED_ALGORITHMS, TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken

from ..conf import conf, simple_jwt
from . import encryption

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
# The type of an access token (RFC 9068, 2.1).
ACCESS = "at+jwt"
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

    def sign(self, message: bytes) -> bytes:
        return jwt.get_algorithm_by_name(self.algorithm).sign(message, self.signing)

    def has_signed(self, message: bytes, signature: bytes) -> bool:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        return algorithm.verify(message, self.verifying, signature)


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
    With `encryption_keys`, a token is encrypted by the first of them, and no other is accepted.
    """

    def __init__(
        self, ring: tuple[Key, ...], typ: str, encryption_keys: encryption.Keys, **options: Any
    ) -> None:
        first = ring[0]
        # Without keys: simplejwt would prepare them, and these are prepared already.
        super().__init__(first.algorithm, **options)
        self.ring, self.typ, self.encryption_keys = ring, typ, encryption_keys
        kid = {} if first.kid is None else {"kid": first.kid}
        header = {"alg": first.algorithm, **kid, "typ": typ}
        self.header = _encode_base64url(json.dumps(header, separators=(",", ":")).encode())
        self.to_json = (self.json_encoder or json.JSONEncoder)(separators=(",", ":")).encode
        # An `iat` in the future only shows that the clocks of two servers differ.
        self.rules = jwt.PyJWT({"verify_iat": False, "verify_aud": self.audience is not None})

    def encode(self, payload: dict[str, Any]) -> str:
        """Sign claims, as `jwt.encode` does.

        That examines the key and encodes the header for each token. Without it, a refresh takes 6 %
        fewer instructions.
        """
        claims = dict(payload)
        if self.audience is not None:
            claims["aud"] = self.audience
        if self.issuer is not None:
            claims["iss"] = self.issuer
        if isinstance(claims.get("nbf"), datetime):
            # A project's claim, which PyJWT takes as this too.
            claims["nbf"] = timegm(claims["nbf"].utctimetuple())
        message = self.header + b"." + _encode_base64url(self.to_json(claims).encode())
        signed = (message + b"." + _encode_base64url(self.ring[0].sign(message))).decode()
        if not self.encryption_keys:
            return signed
        return encryption.encrypt(signed, self.encryption_keys[0])

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """Verify a token and return its claims.

        Raises `TokenBackendError`, whatever is wrong with the token.
        """
        try:
            text = token.decode("ascii") if isinstance(token, bytes) else str(token)
            return self._decode(self._signed(text), verify)
        except jwt.ExpiredSignatureError as error:
            raise TokenBackendExpiredToken("Token is expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenBackendError("Token is invalid") from error

    def _signed(self, text: str) -> str:
        """Return the signed token that a client's text is, or contains."""
        if not self.encryption_keys:
            return text
        if len(text) > MAX_LENGTH:
            raise jwt.DecodeError("Too long")
        header, *_parts = [_decode_base64url(part) for part in text.split(".")]
        return encryption.decrypt(text, header, self.encryption_keys)

    def _decode(self, text: str, verify: bool) -> dict[str, Any]:
        if len(text) > MAX_LENGTH or not COMPACT_JWS.match(text):
            raise jwt.DecodeError("Not a compact JWS")
        signed, _dot, signature = text.rpartition(".")
        header, _dot, payload = signed.partition(".")
        candidates = self._candidates(_read_header(header), verify)
        if verify:
            message, raw_signature = signed.encode(), _decode_base64url(signature)
            if not any(key.has_signed(message, raw_signature) for key in candidates):
                raise jwt.InvalidSignatureError("Signature verification failed")
        claims = json.loads(_decode_base64url(payload))
        if not isinstance(claims, dict):
            raise jwt.DecodeError("Not an object")
        if verify:
            self._check_claims(claims, text)
        return claims

    def _check_claims(self, claims: dict[str, Any], text: str) -> None:
        """Check times, issuer and audience by PyJWT's rules; `text` is the token."""
        options: Any = self.rules.options
        rules: dict[str, Any] = {"audience": self.audience, "issuer": self.issuer}
        rules["leeway"] = self.get_leeway()
        # Not documented. `decode` parses the token again, which takes more than half of the time.
        validate = getattr(self.rules, "_validate_claims", None)
        if validate is not None:
            validate(claims, options, **rules)
        else:
            rules["options"] = {**options, "verify_signature": False}
            self.rules.decode(text, **rules)

    def _candidates(self, header: dict[str, Any], verify: bool) -> list[Key]:
        if verify and self.typ not in (UNTYPED, header.get("typ")):
            # One kind of token must not be accepted as the other (RFC 9068, 4; RFC 8725, 3.11).
            raise jwt.InvalidTokenError("typ")
        # Keys come from the ring alone, never from the header's `jku`, `x5u` or `jwk`.
        kid = header.get("kid")
        candidates = [
            key
            for key in self.ring
            if key.algorithm == header.get("alg") and (kid is None or kid in key.names)
        ]
        if not candidates:
            raise jwt.InvalidKeyError("No key for this token")
        return candidates


@lru_cache(maxsize=32)
def backend(typ: str = UNTYPED, audience: str | None = None) -> RingBackend:
    """Return the backend for the current settings. Raises `ImproperlyConfigured`.

    `audience` replaces the one of the settings.
    """
    jwt_settings = simple_jwt()
    return _backend(
        _ring_settings(),
        typ,
        encryption.encryption_keys() if typ == ACCESS else (),
        audience or _hashable(jwt_settings.AUDIENCE),
        _hashable(jwt_settings.ISSUER),
        jwt_settings.LEEWAY,
        jwt_settings.JSON_ENCODER,
    )


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    backend.cache_clear()


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
    ring: tuple[KeySettings, ...],
    typ: str,
    encryption_keys: encryption.Keys,
    audience: Any,
    issuer: Any,
    leeway: Any,
    encoder: Any,
) -> RingBackend:
    prepared = tuple(_prepare(entry) for entry in ring)
    if prepared[0].signing is None:
        raise ImproperlyConfigured("The first signing key must have a private part or a secret.")
    return RingBackend(
        prepared,
        typ,
        encryption_keys,
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
    return _encode_base64url(hashlib.sha256(canonical).digest()).decode()


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | set) else value


# Few headers are in use.
@lru_cache(maxsize=64)
def _read_header(encoded: str) -> dict[str, Any]:
    """Return the header of a token by PyJWT's rules. It is shared, so it must not be changed."""
    _decode_base64url(encoded)
    header = jwt.get_unverified_header(f"{encoded}.e30.AA")
    if "crit" in header:
        # A critical extension must be understood, and we support none (RFC 7515, 4.1.11).
        raise jwt.InvalidTokenError("crit")
    return header


def _encode_base64url(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def _decode_base64url(part: str) -> bytes:
    """Decode canonical base64url only.

    Python skips characters outside the alphabet and ignores the last bits, so one signature
    would be valid for many texts (RFC 7515, 7.1; RFC 4648, 3.5).
    """
    raw = part.encode()
    decoded = base64.urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    if _encode_base64url(decoded) != raw:
        raise jwt.DecodeError("Not canonical base64url")
    return decoded

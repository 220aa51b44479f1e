"""Encrypted access tokens: a signed token inside a JWE (RFC 7519, 5.2). It reads no claims.

joserfc, of the extra `jwe`, is imported only where `AUTHMODES_ENCRYPTION_KEYS` is set.
"""

import base64
import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jwt
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf

# The key of the settings wraps a new key for each token. With "dir" it would encrypt each token
# itself, and no more than 2 ** 32 of them (NIST SP 800-38D, 8.3).
ALGORITHMS = {"alg": "A256KW", "enc": "A256GCM"}
# 32 bytes in base64url.
KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}=?")


@dataclass(frozen=True)
class EncryptionKey:
    """One key, and the header of every token that it encrypts.

    No other header is accepted, so a token chooses neither an algorithm nor compression.
    """

    kid: str
    secret: bytes = field(repr=False)
    # joserfc's, which cannot be hashed.
    oct_key: Any = field(repr=False, compare=False)

    @property
    def header(self) -> dict[str, str]:
        return {**ALGORITHMS, "cty": "JWT", "kid": self.kid}


Keys = tuple[EncryptionKey, ...]


def encryption_keys() -> Keys:
    """Return the keys of the settings, if there are any. Raises `ImproperlyConfigured`."""
    return tuple(_prepare(entry["kid"], entry.get("key")) for entry in conf.ENCRYPTION_KEYS or ())


# Cached because joserfc looks for a PEM in it.
@lru_cache(maxsize=32)
def _prepare(kid: str, key: Any) -> EncryptionKey:
    try:
        from joserfc.jwk import OctKey
    except ImportError as error:
        raise ImproperlyConfigured(
            'AUTHMODES_ENCRYPTION_KEYS needs joserfc: install "authmodes[jwe]".'
        ) from error
    if not isinstance(key, str) or not KEY_PATTERN.fullmatch(key):
        raise ImproperlyConfigured(f"Encryption key {kid} is not 32 bytes in base64url.")
    secret = base64.urlsafe_b64decode(key[:43] + "=")
    return EncryptionKey(kid, secret, OctKey.import_key(secret))


def encrypt(signed: str, key: EncryptionKey) -> str:
    """Put a signed token into a JWE."""
    from joserfc import jwe

    return jwe.encrypt_compact(key.header, signed, key.oct_key, [*ALGORITHMS.values()])


def decrypt(text: str, header: bytes, keys: Keys) -> str:
    """Return the signed token in a JWE with this header. Raises `PyJWTError`, `ValueError`."""
    from joserfc import jwe
    from joserfc.errors import JoseError

    said = json.loads(header)
    key = next((key for key in keys if key.header == said), None)
    if key is None:
        raise jwt.InvalidKeyError("No key for this JWE")
    try:
        found = jwe.decrypt_compact(text, key.oct_key, [*ALGORITHMS.values()])
    except JoseError as error:
        raise jwt.DecodeError("Not encrypted with this key") from error
    return (found.plaintext or b"").decode("ascii")

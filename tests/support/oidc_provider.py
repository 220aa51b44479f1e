"""A fake OpenID Connect provider to sign in at, which also makes every mistake that tests need."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .oidc_server import Call

CLIENT_ID = "authmodes-tests"
REDIRECT_URI = "https://spa.example/callback"
VERIFIER = "v" * 43


@cache
def key_named(name: str) -> Any:
    """A key of its own for every name; "ec…" are elliptic, the others RSA."""
    if name.startswith("ec"):
        return ec.generate_private_key(ec.SECP256R1())
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem(name: str) -> bytes:
    return (
        key_named(name)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _challenge_of(verifier: str) -> str:
    return _base64url(hashlib.sha256(verifier.encode()).digest())


@dataclass
class OidcProvider:
    """What it is asked for over HTTP, and what a test changes.

    `faults` maps an endpoint ("openid-configuration", "jwks", …) to what it does
    instead: "500", "no json", "a list", "hang".
    """

    url: str
    kids: list[str] = field(default_factory=lambda: ["one"])
    faults: dict[str, str] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    token_changes: dict[str, Any] = field(default_factory=dict)
    released: threading.Event = field(default_factory=threading.Event)

    def claims(self, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": "subject-1",
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
            "sid": "provider-session-1",
            "preferred_username": "newcomer",
            "email": "newcomer@example.com",
            "email_verified": True,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def id_token(
        self,
        *,
        signed_by: str = "one",
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        """An ID token; `None` leaves a claim or a header out."""
        header = {"kid": signed_by, **(headers or {})}
        key = key_named(signed_by)
        if algorithm == "none":
            key = None
        elif algorithm == "HS256":
            return self._hmac_token(header, self.claims(**changed), public_pem(signed_by))
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(self.claims(**changed), key, algorithm=algorithm, headers=header)

    def _hmac_token(self, header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
        # By hand, because PyJWT refuses to take a public key for a secret.
        head = _base64url(json.dumps({"alg": "HS256", "typ": "JWT", **header}).encode())
        signed = f"{head}.{_base64url(json.dumps(claims).encode())}"
        return f"{signed}.{_base64url(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"

    def code_for(self, verifier: str, redirect_uri: str = REDIRECT_URI, **claims: Any) -> str:
        """What the provider would send to the client's redirect URI."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = {
            "challenge": _challenge_of(verifier),
            "redirect_uri": redirect_uri,
            "claims": claims,
        }
        return code

    def code_credential(self, redirect_uri: str = REDIRECT_URI, **claims: Any) -> dict[str, str]:
        """What the client then sends on."""
        code = self.code_for(VERIFIER, redirect_uri, **claims)
        return {"code": code, "code_verifier": VERIFIER, "redirect_uri": redirect_uri}

    def reset(self) -> None:
        """Be as a provider should be again."""
        self.kids[:] = ["one"]
        for kept in (self.faults, self.userinfo, self.token_changes, self.codes, self.asked):
            kept.clear()
        self.released.clear()

    def answer(self, call: Call) -> tuple[int, Any]:
        """The status and the body of an endpoint."""
        endpoint = call.path.rpartition("/")[2]
        self.asked.append(endpoint)
        fault = self.faults.get(endpoint)
        if fault == "hang":
            self.released.wait(5)
        if fault == "500":
            return 500, {"error": "server_error"}
        if fault == "no json":
            return 200, "<html>access_token"
        if fault == "a list":
            return 200, []
        return getattr(self, f"_{endpoint.replace('-', '_')}")(call.form)

    def close(self) -> None:
        self.released.set()

    def _openid_configuration(self, posted: dict[str, str]) -> tuple[int, Any]:
        return 200, {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }

    def _jwks(self, posted: dict[str, str]) -> tuple[int, Any]:
        keys = []
        for kid in self.kids:
            elliptic = kid.startswith("ec")
            algorithm: Any = jwt.algorithms.ECAlgorithm if elliptic else jwt.algorithms.RSAAlgorithm
            jwk = algorithm.to_jwk(key_named(kid).public_key(), as_dict=True)
            keys.append({**jwk, "kid": kid, "alg": "ES256" if elliptic else "RS256"})
        return 200, {"keys": keys}

    def _token(self, posted: dict[str, str]) -> tuple[int, Any]:
        # Each counts once, and a client has to show that it is the one that asked.
        granted = self.codes.pop(posted.get("code", ""), None)
        if (
            granted is None
            or posted.get("client_id") != CLIENT_ID
            or posted.get("redirect_uri") != granted["redirect_uri"]
            or _challenge_of(posted.get("code_verifier", "")) != granted["challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        self.userinfo = {"sub": "subject-1", **self.userinfo}
        return 200, {
            "access_token": "provider-access-token",
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.id_token(**granted["claims"]),
            **self.token_changes,
        }

    def _userinfo(self, posted: dict[str, str]) -> tuple[int, Any]:
        return 200, self.userinfo


def app_of(url: str, provider_id: str = "example", **settings: Any) -> dict[str, Any]:
    """An app for `SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]`."""
    return {
        "provider_id": provider_id,
        "name": provider_id.title(),
        "client_id": CLIENT_ID,
        "secret": "not-a-secret",
        "settings": {"server_url": url, "oauth_pkce_enabled": True, **settings},
    }

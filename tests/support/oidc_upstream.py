"""A fake OpenID Connect provider that ends the sessions of its users and reports it."""

import json
import secrets
import time
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .oidc_server import Call

CLIENT_ID = "our-client"
CLIENT_SECRET = "a-secret-of-thirty-two-characters"
BACKCHANNEL = "http://schemas.openid.net/event/backchannel-logout"
MISSING = object()

# A key takes a while to make, so the RSA one is made once.
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk_of(key: Any, kid: str, **members: Any) -> dict[str, Any]:
    algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", **members}


def unsigned(header: dict[str, Any], claims: Any) -> str:
    """The first two parts of a token, whatever is in them."""
    texts = (part if isinstance(part, str) else json.dumps(part) for part in (header, claims))
    return ".".join(urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in texts)


class OidcProvider:
    """What it says over HTTP; tests change its attributes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.reset()

    def reset(self) -> None:
        self.issuer = self.url
        self.signing: Any = ec.generate_private_key(ec.SECP256R1())
        self.kid = "key-1"
        self.keys = [jwk_of(self.signing, "key-1"), jwk_of(RSA_KEY, "key-rsa")]
        self.metadata: dict[str, Any] = {}
        self.broken: dict[str, tuple[int, str]] = {}
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, Any]] = {}
        # Who is signed in there, and by which of its sessions.
        self.claims: dict[str, Any] = {"sub": "sub-1", "sid": "sid-1"}
        self.userinfo: dict[str, Any] = {}

    def close(self) -> None:
        pass

    # -- what it serves --

    def answer(self, call: Call) -> tuple[int, Any]:
        self.asked.append(call.path)
        if call.path in self.broken:
            return self.broken[call.path]
        if call.path == "/authorize":
            code = secrets.token_urlsafe(8)
            self.codes[code] = dict(self.claims)
            back = urlencode({"code": code, "state": call.query["state"]})
            return 302, f"{call.query['redirect_uri']}?{back}"
        answers: dict[str, Any] = {
            "/.well-known/openid-configuration": self.configuration,
            "/.well-known/risc-configuration": self.risc_configuration,
            "/jwks": lambda: {"keys": self.keys},
            "/token": lambda: self.tokens(call.form["code"]),
            "/userinfo": lambda: {
                "sub": call.headers["authorization"].split()[-1],
                **self.userinfo,
            },
        }
        return (200, answers[call.path]()) if call.path in answers else (404, "")

    def configuration(self) -> dict[str, Any]:
        endpoints = ("authorize", "token", "userinfo")
        keys = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint")
        return {
            "issuer": self.issuer,
            **{key: f"{self.url}/{name}" for key, name in zip(keys, endpoints, strict=True)},
            "jwks_uri": f"{self.url}/jwks",
            "end_session_endpoint": f"{self.url}/end",
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            **self.metadata,
        }

    def risc_configuration(self) -> dict[str, Any]:
        return {"issuer": f"{self.issuer}/", "jwks_uri": f"{self.url}/jwks"}

    def tokens(self, code: str) -> dict[str, Any]:
        claims = self.codes.pop(code)
        now = int(time.time())
        id_token = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, **claims}
        id_token = {name: value for name, value in id_token.items() if value is not MISSING}
        return {
            "access_token": claims["sub"],
            "token_type": "bearer",
            "id_token": self.sign(id_token, typ="JWT"),
        }

    # -- what it says --

    def sign(self, claims: dict[str, Any], *, key: Any = None, alg: str = "", **header: Any) -> str:
        key = key or self.signing
        alg = alg or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        header = {"kid": self.kid, **header}
        kept = {name: value for name, value in header.items() if value is not MISSING}
        if "typ" not in kept:
            # PyJWT would put in one of its own.
            kept["typ"] = None
        return jwt.encode(claims, key, alg, headers=kept)

    def logout_token(
        self,
        *,
        key: Any = None,
        alg: str = "",
        header: dict[str, Any] | None = None,
        **changed: Any,
    ) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {BACKCHANNEL: {}},
            "sub": "sub-1",
            "sid": "sid-1",
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not MISSING}
        return self.sign(claims, key=key, alg=alg, **{"typ": "logout+jwt", **(header or {})})

    def event_token(
        self,
        kind: str = "",
        event: dict[str, Any] | None = None,
        *,
        subject: Any = None,
        header: dict[str, Any] | None = None,
        key: Any = None,
        **changed: Any,
    ) -> str:
        if subject is None:
            subject = {"subject_type": "iss-sub", "iss": f"{self.issuer}/", "sub": "sub-1"}
        claims = {
            "iss": f"{self.issuer}/",
            "aud": CLIENT_ID,
            "iat": int(time.time()),
            "jti": secrets.token_hex(8),
            "events": {kind: {"subject": subject, **(event or {})}},
            **changed,
        }
        claims = {name: value for name, value in claims.items() if value is not MISSING}
        return self.sign(claims, key=key, **{"typ": "secevent+jwt", **(header or {})})

"""A service with a process of its own, which accepts the site's access tokens.

It knows the address of the site's metadata and its own name (the audience), and verifies a token
with the keys that it finds there: without a database, without Django and without authmodes.
A revocation reaches it when the access token expires.
"""

import argparse
import json
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt

WELL_KNOWN = "/.well-known/oauth-authorization-server"
TIMEOUT = 10
# Written here and not taken from the token, which could name a weaker one.
ALGORITHMS = ["ES256"]
READ, WRITE = "reports:read", "reports:write"


class Unavailable(Exception):
    """The site cannot be asked for its keys."""


class Issuer:
    """The site, as its metadata describe it (RFC 8414); they are loaded when first needed."""

    def __init__(self, metadata_url: str) -> None:
        self.metadata_url = metadata_url
        self._lock = threading.Lock()
        self._loaded: tuple[str, jwt.PyJWKClient] | None = None

    def load(self) -> tuple[str, jwt.PyJWKClient]:
        """Return the issuer and its keys. Raises `Unavailable`."""
        with self._lock:
            if self._loaded is None:
                try:
                    with urllib.request.urlopen(self.metadata_url, timeout=TIMEOUT) as answer:
                        metadata = json.load(answer)
                    issuer, jwks_uri = metadata["issuer"], metadata["jwks_uri"]
                except (OSError, ValueError, KeyError) as error:
                    raise Unavailable(f"No metadata at {self.metadata_url}") from error
                # RFC 8414, 3.3: metadata of a different issuer must not be used.
                if issuer.rstrip("/") + WELL_KNOWN != self.metadata_url:
                    raise Unavailable(f"The metadata are of a different issuer: {issuer}")
                self._loaded = issuer, jwt.PyJWKClient(jwks_uri, timeout=TIMEOUT)
            return self._loaded


def read_access_token(raw_token: str, issuer: Issuer, audience: str) -> dict[str, Any]:
    """Return the claims.

    Raises `jwt.PyJWTError` for anything but an access token for this service, and
    `Unavailable` if the keys cannot be loaded.
    """
    if jwt.get_unverified_header(raw_token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("Not an access token")
    name, keys = issuer.load()
    try:
        key = keys.get_signing_key_from_jwt(raw_token).key
    except jwt.PyJWKClientConnectionError as error:
        raise Unavailable("The keys cannot be loaded") from error
    return jwt.decode(
        raw_token,
        key,
        algorithms=ALGORITHMS,
        audience=audience,
        issuer=name,
        options={"require": ["exp", "aud", "iss", "sub"]},
    )


class Handler(BaseHTTPRequestHandler):
    """The API of the service; `issuer` and `audience` are set by `make_server`."""

    issuer: Issuer
    audience: str

    def do_GET(self) -> None:
        if self.path == "/":
            self.answer(200, {"audience": self.audience, "metadata": self.issuer.metadata_url})
        elif claims := self.claims_with(READ):
            self.answer(200, {"reports": ["Q1", "Q2"], "for": claims["sub"]})

    def do_POST(self) -> None:
        if claims := self.claims_with(WRITE):
            self.answer(201, {"written_by": claims["sub"]})

    def do_OPTIONS(self) -> None:
        self.answer(200, {})

    def claims_with(self, scope: str) -> dict[str, Any] | None:
        """Return the claims of a caller who has the scope; answer any other (RFC 6750, 3)."""
        if self.path != "/reports/":
            return self.answer(404, {"detail": "Not found."})
        scheme, _space, raw_token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self.answer(401, {"detail": "An access token is required."}, "Bearer")
        try:
            claims = read_access_token(raw_token.strip(), self.issuer, self.audience)
        except Unavailable as error:
            return self.answer(503, {"detail": str(error)})
        except jwt.PyJWTError as error:
            return self.answer(401, {"detail": str(error)}, 'Bearer error="invalid_token"')
        if scope not in str(claims.get("scope", "")).split():
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            return self.answer(403, {"detail": f"The scope {scope} is required."}, challenge)
        return claims

    def answer(self, status: int, body: dict[str, Any], challenge: str = "") -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        # Any page may call: what counts is the token, which no browser adds by itself.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Authorization")
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()
        self.wfile.write(content)


def make_server(port: int, metadata_url: str, audience: str) -> ThreadingHTTPServer:
    """Return a server on this port of 127.0.0.1; port 0 chooses a free one."""
    names = {"issuer": Issuer(metadata_url), "audience": audience}
    return ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (Handler,), names))


def main() -> None:
    """Serve until the process is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--metadata", required=True, help=f"https://site.example{WELL_KNOWN}")
    parser.add_argument("--audience", required=True, help="the name of this service in `aud`")
    options = parser.parse_args()
    make_server(options.port, options.metadata, options.audience).serve_forever()


if __name__ == "__main__":
    main()

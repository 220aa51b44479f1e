"""A program on the user's computer: signs in through the browser and calls the API (RFC 8252).

It needs only Python's standard library: python example_project/hosts/native.py [SITE [SERVICE]]
"""

import base64
import hashlib
import json
import secrets
import sys
import webbrowser
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

SITE = sys.argv[1].rstrip("/") if sys.argv[1:] else "http://localhost:8000"
SERVICE = sys.argv[2].rstrip("/") if sys.argv[2:] else ""
CLIENT_ID = "native"
# An authorization code is good for 60 seconds; the user has longer to sign in.
WAIT = 300
returned: dict[str, list[str]] = {}


class Callback(BaseHTTPRequestHandler):
    """Takes the browser's return."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        # Browsers ask for an icon as well.
        if url.path != "/callback":
            return self.send_error(404)
        returned.update(parse_qs(url.query))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        words = "You are signed in." if "code" in returned else "You are not signed in."
        self.wfile.write(f"{words} Go back to the program.".encode())
        return None

    def log_message(self, *args: Any) -> None:
        """Keep the terminal for the program's own lines: the request line has the code."""


class Server(HTTPServer):
    """A server on a free port, which gives up after a while."""

    timeout = WAIT

    def handle_timeout(self) -> None:
        sys.exit("No sign-in came back from the browser.")


def sign_in() -> dict[str, Any]:
    """Return the tokens of a user who signs in, in the browser."""
    with Server(("127.0.0.1", 0), Callback) as server:
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        flow = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": f"http://127.0.0.1:{server.server_port}/callback",
            "state": secrets.token_urlsafe(16),
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = f"{SITE}/auth/authorize/?{urlencode(flow)}"
        print("Open", address, flush=True)
        webbrowser.open(address)
        while "state" not in returned:
            server.handle_request()
    if returned["state"] != [flow["state"]] or "code" not in returned:
        sys.exit(f"Not signed in: {returned.get('error', ['invalid_state'])[0]}")
    exchange = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "redirect_uri": flow["redirect_uri"],
        "code": returned["code"][0],
        "code_verifier": verifier,
    }
    return call(f"{SITE}/auth/token/", data=urlencode(exchange).encode())


def call(url: str, access_token: str = "", data: bytes | None = None) -> dict[str, Any]:
    """Return the JSON answer, also that of an error."""
    headers = {"Authorization": f"Bearer {access_token}"} if access_token else {}
    try:
        with urlopen(Request(url, data, headers), timeout=30) as response:
            return json.load(response)
    except HTTPError as error:
        sys.exit(f"{url} answers {error.code}: {error.read().decode()[:500]}")
    except OSError as error:
        sys.exit(f"{url} cannot be reached: {error}")


def main() -> None:
    """Sign in, call the site's API and then the service, if one is named."""
    tokens = sign_in()
    if "access_token" not in tokens:
        sys.exit("This site sends tokens in cookies, which a program has no use for.")
    print(call(f"{SITE}/api/hello/", tokens["access_token"]), flush=True)
    if SERVICE:
        print(call(f"{SERVICE}/reports/", tokens["access_token"]), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nNot signed in.")

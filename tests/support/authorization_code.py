"""The way from an SPA to the dummy provider and back with a code (RFC 7636)."""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .browser import Browser
from .logins import UID, post_json

NEXT = "https://spa.example/callback"


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def code_grant(code: str | None, verifier: str, **changed: Any) -> dict[str, Any]:
    """The parameters of a token request (RFC 6749, 4.1.3); None leaves one out."""
    sent = {
        "grant_type": "authorization_code",
        "code": code,
        "code_verifier": verifier,
        "client_id": "app",
        "redirect_uri": NEXT,
        **changed,
    }
    return {name: value for name, value in sent.items() if value is not None}


def redirect_query(response: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(response.url).query).items()}


@dataclass
class CodeFlow:
    """A browser login on its way to an SPA, step by step."""

    browser: Browser = field(default_factory=Browser)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(48), repr=False)
    state: str = "spa-state-1"
    next: str = NEXT
    code: str = field(default="", repr=False)

    def parameters(self, **changed: Any) -> dict[str, Any]:
        asked = {
            "mode": "jwt",
            "next": self.next,
            "code_challenge": challenge_of(self.verifier),
            "code_challenge_method": "S256",
            "state": self.state,
            **changed,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def look(self, **changed: Any) -> Any:
        """GET the start page."""
        return self.browser.get("/auth/social/dummy/start/", self.parameters(**changed))

    def start(self, **changed: Any) -> Any:
        """Press its button, which leaves for the provider."""
        page = self.look(**changed)
        if page.status_code != 200:
            return page
        return self.browser.submit(f"{page.wsgi_request.get_full_path()}")

    def authenticate(self, provider_url: str, uid: str = UID, **data: Any) -> Any:
        """Fill in the provider's form, which comes back to allauth."""
        return self.browser.submit(provider_url, {"id": uid, **data})

    def run(self, uid: str = UID, **data: Any) -> Any:
        """All the way to the redirect that carries the code."""
        started = self.start()
        assert started.status_code == 302, started.content
        response = self.authenticate(started.url, uid, **data)
        if response.status_code == 302 and "code=" in response.url:
            self.code = redirect_query(response)["code"]
        return response

    def tokens(self) -> dict[str, Any]:
        """The answer of the exchange, with the tokens by the names that `login/` uses."""
        response = self.exchange()
        assert response.status_code == 200, response.content
        answer = response.json()
        return {**answer, "access": answer["access_token"], "refresh": answer["refresh_token"]}

    def exchange(self, **changed: Any) -> Any:
        """The client's call; it has no cookies of the browser."""
        body = code_grant(self.code, self.verifier, redirect_uri=self.next)
        sent = {name: value for name, value in {**body, **changed}.items() if value is not None}
        return post_json("/auth/token/", sent)

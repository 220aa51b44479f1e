"""People, their logins over real HTTP, and a browser that signs in at allauth's dummy provider."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from django.test.utils import override_settings

from authmodes import revocations
from authmodes.models import LoginSession

from .oidc_provider import OidcProvider, app_of, serve_provider

PASSWORD = "correct horse battery staple"
NEXT = "https://spa.example/callback"
API = "/probe/api/"

User = get_user_model()


class Browser(Client):
    """A client that keeps cookies and is subject to CSRF, as browsers are."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(enforce_csrf_checks=True, **defaults)

    def csrf(self) -> dict[str, str]:
        """The header that a same-origin script would send."""
        if "csrftoken" not in self.cookies:
            self.get("/auth/csrf/")
        return {"x-csrftoken": self.cookies["csrftoken"].value}

    def submit(self, path: str, data: dict[str, Any] | None = None, **extra: Any) -> Any:
        """Send a form of ours."""
        return self.post(path, data or {}, headers=self.csrf(), **extra)

    def send_json(self, path: str, data: Any = None, method: str = "post", **extra: Any) -> Any:
        """Call the API from a page of ours."""
        headers = {**self.csrf(), **extra.pop("headers", {})}
        call = getattr(self, method)
        body = {} if data is None else data
        return call(path, json.dumps(body), "application/json", headers=headers, **extra)

    @property
    def session_cookie(self) -> str:
        """What the browser holds, "" once it was told to forget it."""
        return self.cookies["sessionid"].value if "sessionid" in self.cookies else ""


@dataclass
class Login:
    """One login, which can call the API with the credential that it was given."""

    mode: str
    browser: Browser
    answer: dict[str, Any] = field(repr=False)

    @property
    def sid(self) -> str:
        return self.answer["sid"]

    @property
    def row(self) -> LoginSession:
        return LoginSession.objects.get(sid=self.sid)

    @property
    def access(self) -> str:
        return self.answer["access"]

    @property
    def refresh_token(self) -> str:
        return self.answer["refresh"]

    def headers(self) -> dict[str, str]:
        if self.mode == "jwt":
            return {"authorization": f"Bearer {self.access}"}
        return self.browser.csrf()

    def get(self, path: str = API, **extra: Any) -> Any:
        return self.browser.get(path, headers=self.headers(), **extra)

    def post(self, path: str = API, data: Any = None, **extra: Any) -> Any:
        body = json.dumps({} if data is None else data)
        return self.browser.post(path, body, "application/json", headers=self.headers(), **extra)

    def delete(self, path: str, **extra: Any) -> Any:
        return self.browser.delete(path, headers=self.headers(), **extra)

    def refresh(self) -> Any:
        """Swap the refresh token and go on with the successors."""
        response = refresh(self.refresh_token)
        if response.status_code == 200:
            self.answer = {**self.answer, **response.json()}
        return response

    def logout(self) -> Any:
        return self.post("/auth/logout/")


def post_json(path: str, data: Any, client: Client | None = None, **extra: Any) -> Any:
    """A call by a client that holds no cookies, unless one is given."""
    return (client or Client()).post(path, json.dumps(data), "application/json", **extra)


def refresh(raw_token: Any) -> Any:
    return post_json("/auth/token/refresh/", {"refresh": raw_token})


def call_with(raw_token: str, path: str = API) -> Any:
    return Client().get(path, headers={"authorization": f"Bearer {raw_token}"})


def claims_of(raw_token: str) -> dict[str, Any]:
    return _part(raw_token, 1)


def header_of(raw_token: str) -> dict[str, Any]:
    return _part(raw_token, 0)


def _part(raw_token: str, index: int) -> dict[str, Any]:
    text = raw_token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    """A snapshot that a test has started would go on asking the database of the next one."""
    yield
    revocations.snapshot.stop()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    # allauth counts attempts and used TOTP codes in the cache.
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def alice(db: None) -> Any:
    return User.objects.create_user("alice", "alice@example.com", PASSWORD)


@pytest.fixture
def bob(db: None) -> Any:
    return User.objects.create_user("bob", "bob@example.com", PASSWORD)


@pytest.fixture
def admin_user(db: None) -> Any:
    return User.objects.create_superuser("root", "root@example.com", PASSWORD)


@pytest.fixture(params=["session", "jwt"])
def mode(request: pytest.FixtureRequest) -> str:
    """What a client signs in for; a test that takes it holds in both."""
    return request.param


@pytest.fixture
def login(alice: Any) -> Callable[..., Login]:
    """Sign a user in by REST and give back the login."""

    def sign_in(mode: str, user: Any = None, browser: Browser | None = None) -> Login:
        browser = browser or Browser()
        name = (user or alice).get_username()
        body = {"username": name, "password": PASSWORD, "mode": mode}
        response = browser.send_json("/auth/login/", body)
        assert response.status_code == 200, response.content
        assert response.json()["mode"] == mode
        return Login(mode, browser, response.json())

    return sign_in


@pytest.fixture
def clock() -> Iterator[Any]:
    """A clock that stands still; `clock.shift(delta)` moves it."""
    with time_machine.travel(datetime(2031, 5, 4, 12, 0, tzinfo=UTC), tick=False) as traveller:
        yield traveller


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    """`ATOMIC_REQUESTS = True`; for tests with `transaction=True`."""
    from django.db import connections

    settings_dict = connections.settings["default"]
    live = connections["default"].settings_dict
    before = settings_dict["ATOMIC_REQUESTS"], live["ATOMIC_REQUESTS"]
    settings_dict["ATOMIC_REQUESTS"] = live["ATOMIC_REQUESTS"] = True
    yield
    settings_dict["ATOMIC_REQUESTS"], live["ATOMIC_REQUESTS"] = before


# -- the dummy provider --------------------------------------------------------------------

UID = "4711"


@pytest.fixture
def alice_at_dummy(alice: Any) -> Any:
    """alice, who has connected account 4711 of the dummy provider."""
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    return alice


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def redirect_query(response: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(response.url).query).items()}


@dataclass
class Handoff:
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

    def exchange(self, **changed: Any) -> Any:
        """The client's call; it has no cookies of the browser."""
        body = {"code": self.code, "code_verifier": self.verifier, **changed}
        return post_json("/auth/token/exchange/", body)


@pytest.fixture
def handoff(alice_at_dummy: Any) -> Handoff:
    return Handoff()


def social_login(browser: Browser, uid: str = UID, mode: str = "session", **data: Any) -> Any:
    """Sign in at the dummy provider from our start page, without a handoff."""
    started = browser.submit(f"/auth/social/dummy/start/?mode={mode}")
    assert started.status_code == 302, started.content
    return browser.submit(started.url, {"id": uid, **data})


def html_login(browser: Browser, username: str, password: str = PASSWORD, query: str = "") -> Any:
    """Sign in on allauth's own page."""
    browser.get("/accounts/login/")
    return browser.submit(f"/accounts/login/{query}", {"login": username, "password": password})


def admin_login(browser: Browser, username: str, password: str = PASSWORD) -> Any:
    """Sign in on the admin's form."""
    browser.get("/admin/login/")
    return browser.submit(
        "/admin/login/?next=/admin/", {"username": username, "password": password}
    )


in_mode = override_settings


def only_row() -> LoginSession:
    """The one login session there is."""
    return LoginSession.objects.get()


# -- a real provider -----------------------------------------------------------------------


@pytest.fixture(scope="session")
def _served_provider() -> Iterator[OidcProvider]:
    with serve_provider() as served:
        yield served


@pytest.fixture
def provider(
    _served_provider: OidcProvider, settings: Any, monkeypatch: pytest.MonkeyPatch, db: None
) -> Iterator[OidcProvider]:
    """The provider "example" of allauth, on a port of its own, until a test turns something."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    apps = [app_of(_served_provider.url)]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": apps}}
    yield _served_provider
    _served_provider.reset()

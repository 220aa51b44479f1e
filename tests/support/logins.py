"""Ways to sign in over real HTTP, and what a login can do afterwards."""

import json
from dataclasses import dataclass, field
from typing import Any

from django.test import Client
from django.test.utils import override_settings

from authmodes.models import LoginSession

from .browser import Browser

PASSWORD = "correct horse battery staple"
# Two views of tests/urls.py: one that DRF guards, one that only Django's session opens.
API, PAGE = "/probe/api/", "/probe/page/"
# alice's account at allauth's dummy provider.
UID = "4711"

in_mode = override_settings


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

    def patch(self, path: str, data: Any) -> Any:
        return self.browser.patch(
            path, json.dumps(data), "application/json", headers=self.headers()
        )

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


def sign_in(
    mode: str | None = "session", browser: Browser | None = None, query: str = "", **changed: Any
) -> Any:
    """Sign alice in by REST, or whom `changed` names; the answer's `client` is the browser."""
    body = {"username": "alice", "password": PASSWORD, "mode": mode, **changed}
    sent = {name: value for name, value in body.items() if value is not None}
    return (browser or Browser()).send_json(f"/auth/login/{query}", sent)


def social_login(browser: Browser, uid: str = UID, mode: str = "session", **data: Any) -> Any:
    """Sign in at the dummy provider from our start page, without a code flow."""
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


def only_row() -> LoginSession:
    """The one login session there is."""
    return LoginSession.objects.get()


def assert_signed_out(browser: Browser) -> None:
    """Neither DRF nor Django knows the browser any more."""
    assert browser.get(API).status_code == 401
    assert browser.get(PAGE).status_code == 302

"""A client of allauth.headless without cookies."""

import json
from dataclasses import dataclass, field
from typing import Any

from allauth.headless.urls import build_urlpatterns
from django.test import Client
from django.urls import include, path

from ..urls import urlpatterns as project_urlpatterns
from .logins import PASSWORD, call_with, post_json

APP = "/_allauth/app/v1/"


@dataclass
class App:
    """A client of headless without cookies, which keeps what the answers tell it to keep."""

    session_token: str = field(default="", repr=False)
    access: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    meta: dict[str, Any] = field(default_factory=dict, repr=False)
    keeps_cookies: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def call(self, method: str, path: str, data: Any = None, **headers: str) -> Any:
        if self.session_token:
            headers.setdefault("x-session-token", self.session_token)
        body = {} if data is None else data
        response = self.keeps_cookies.generic(
            method, APP + path, json.dumps(body), "application/json", headers=headers
        )
        assert not response.cookies
        if response["content-type"] == "application/json":
            self.meta = response.json().get("meta", {})
            self.session_token = self.meta.get("session_token", self.session_token)
            self.access = self.meta.get("access_token", self.access)
            self.refresh_token = self.meta.get("refresh_token", self.refresh_token)
        return response

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, data: Any = None) -> Any:
        return self.call("POST", path, data)

    def login(self, query: str = "", **data: Any) -> Any:
        body = {"username": "alice", "password": PASSWORD, **data}
        return self.post(f"auth/login{query}", body)

    def refresh(self, raw_token: str | None = None) -> Any:
        """Swap at headless' own endpoint, as an app without a session token may."""
        token = self.refresh_token if raw_token is None else raw_token
        return post_json(f"{APP}tokens/refresh", {"refresh_token": token})

    def statuses(self) -> tuple[int, int, int]:
        """Of the session token, the access token and the refresh token, in this order.

        The last one is introspected, because using it would rotate it.
        """
        checked = post_json("/auth/token/verify/", {"token": self.refresh_token})
        return (
            self.get("auth/session").status_code,
            call_with(self.access).status_code,
            (checked.status_code),
        )


class Routes:
    """A URLconf of its own: allauth decides by the setting, at import, what routes there are."""

    def __init__(self) -> None:
        routes = build_urlpatterns("app")
        here = path("_allauth/app/", include((routes, "headless"), "app"))
        self.urlpatterns = [here, *project_urlpatterns]

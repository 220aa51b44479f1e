"""A client that behaves as browsers do."""

import json
from typing import Any

from django.test import Client


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


def browser_with(key: str, **defaults: Any) -> Browser:
    """A browser that holds this session key."""
    browser = Browser(**defaults)
    browser.cookies["sessionid"] = key
    return browser

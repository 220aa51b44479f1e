"""The token cookies: names and attributes; what the tokens say is not read here."""

from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from ..conf import RequestSettings, conf
from ..exceptions import TokenTooLarge
from .jwt import TokenPair

# Name and value together, in bytes (RFC 6265bis, 5.7).
COOKIE_MAX = 4096


def are_enabled() -> bool:
    return RequestSettings.read().tokens_in_cookies


def are_persistent(session: SessionBase) -> bool:
    """Whether the token cookies of a sign-in in this Django session outlast the browser."""
    return not (are_enabled() and session.get_expire_at_browser_close())


def check_size(pair: TokenPair) -> None:
    """Raise `TokenTooLarge` for a cookie that a browser would ignore."""
    access_size = len(conf.ACCESS_COOKIE_NAME) + len(pair.access)
    refresh_size = len(conf.REFRESH_COOKIE_NAME) + len(pair.refresh)
    if max(access_size, refresh_size) > COOKIE_MAX:
        raise TokenTooLarge


def set_cookies(response: HttpResponseBase, pair: TokenPair) -> None:
    """Put both tokens into cookies that scripts cannot read (ASVS V3.3.4)."""
    for name, value, expires_at in (
        (conf.ACCESS_COOKIE_NAME, pair.access, pair.access_expires_at),
        (conf.REFRESH_COOKIE_NAME, pair.refresh, pair.refresh_expires_at),
    ):
        age = expires_at - timezone.now() if pair.login_session.is_persistent else None
        _set_cookie(response, name, value, age)


def clear_cookies(response: HttpResponseBase) -> None:
    """Delete both cookies, by the attributes that they were set with."""
    for name in (conf.ACCESS_COOKIE_NAME, conf.REFRESH_COOKIE_NAME):
        _set_cookie(response, name, "", timedelta(0))


def _set_cookie(response: HttpResponseBase, name: str, value: str, age: timedelta | None) -> None:
    same_site: Any = conf.COOKIE_SAMESITE
    response.set_cookie(
        name,
        value,
        max_age=None if age is None else max(0, int(age.total_seconds())),
        # The prefix `__Host-` requires this path and no domain.
        path="/",
        secure=conf.COOKIE_SECURE,
        httponly=True,
        samesite=same_site,
    )


def are_sent(request: HttpRequest) -> bool:
    """Whether the request carries one of the token cookies."""
    return bool(access_token(request) or refresh_token(request))


def access_token(request: HttpRequest) -> str | None:
    return read_exact(request, conf.ACCESS_COOKIE_NAME)


def refresh_token(request: HttpRequest) -> str | None:
    return read_exact(request, conf.REFRESH_COOKIE_NAME)


def read_exact(request: HttpRequest, name: str) -> str | None:
    """Return the value of the one cookie of exactly this name; None if there are two values.

    Django strips all Unicode whitespace from a name and lets the last cookie win, while a
    browser lets a sibling subdomain set a cookie that is named `__Host-` after such a space.
    """
    header = request.META.get("HTTP_COOKIE")
    if not header:
        # `COOKIES` of a request made by hand.
        return request.COOKIES.get(name) or None
    pairs = (part.partition("=") for part in header.split(";"))
    values = {value.strip(" \t") for key, _, value in pairs if key.strip(" \t") == name}
    return (values.pop() or None) if len(values) == 1 else None

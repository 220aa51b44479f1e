"""The token cookies: their names, attributes, and nothing about what is in them."""

from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from . import errors, registry
from .client import Origin
from .conf import Transport, conf
from .models import LoginMode, LoginSession
from .tokens import TokenPair

COOKIE_MAX = 4096


def in_use() -> bool:
    return conf.TOKEN_TRANSPORT is Transport.COOKIE


def check_size(pair: TokenPair) -> None:
    """Raise `TokenTooLarge` for what a browser would drop without a word."""
    names = (conf.ACCESS_COOKIE_NAME, conf.REFRESH_COOKIE_NAME)
    if any(
        len(name) + len(value) > COOKIE_MAX
        for name, value in zip(names, (pair.access, pair.refresh), strict=True)
    ):
        raise errors.TokenTooLarge


def set_cookies(response: HttpResponseBase, pair: TokenPair) -> None:
    """Put both tokens into cookies that scripts cannot read (ASVS V3.3.4)."""
    now = timezone.now()
    _set_cookie(response, conf.ACCESS_COOKIE_NAME, pair.access, pair.access_expires_at - now)
    _set_cookie(response, conf.REFRESH_COOKIE_NAME, pair.refresh, pair.refresh_expires_at - now)


def clear_cookies(response: HttpResponseBase) -> None:
    """Take both cookies back, with the attributes they were set with."""
    for name in (conf.ACCESS_COOKIE_NAME, conf.REFRESH_COOKIE_NAME):
        _set_cookie(response, name, "", timedelta(0))


def _set_cookie(response: HttpResponseBase, name: str, value: str, age: timedelta) -> None:
    response.set_cookie(
        name,
        value,
        max_age=max(0, int(age.total_seconds())),
        # `__Host-` asks for this path and no domain.
        path="/",
        secure=conf.COOKIE_SECURE,
        httponly=True,
        samesite=conf.COOKIE_SAMESITE,  # type: ignore[arg-type]
    )


def are_sent(request: HttpRequest) -> bool:
    """Whether the browser holds any of the token cookies."""
    return bool(access_token(request) or refresh_token(request))


def logins_of_cookies(request: HttpRequest) -> list[LoginSession]:
    """The login sessions, not ended yet, whose tokens are in the cookies."""
    if not in_use():
        return []
    found = {}
    for raw_token in (access_token(request), refresh_token(request)):
        identified = registry.identify(raw_token) if raw_token else None
        if identified is not None and identified[1].ended_at is None:
            found[identified[1].pk] = identified[1]
    return list(found.values())


def start(request: HttpRequest, user: Any, origin: Origin | None = None) -> LoginSession:
    """Start a login for tokens; it ends those whose cookies it will replace (ASVS V7.2.4)."""
    replaced = logins_of_cookies(request)
    return registry.start(request, user, LoginMode.JWT, origin=origin, replacing=replaced)


def access_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.ACCESS_COOKIE_NAME) or None


def refresh_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.REFRESH_COOKIE_NAME) or None

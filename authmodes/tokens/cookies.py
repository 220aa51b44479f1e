"""The token cookies: their names, attributes, and nothing about what is in them."""

from datetime import timedelta

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from ..conf import Transport, conf
from ..exceptions import TokenTooLarge
from .jwt import TokenPair

COOKIE_MAX = 4096


def are_enabled() -> bool:
    return conf.TOKEN_TRANSPORT is Transport.COOKIE


def check_size(pair: TokenPair) -> None:
    """Raise `TokenTooLarge` for what a browser would drop without a word."""
    names = (conf.ACCESS_COOKIE_NAME, conf.REFRESH_COOKIE_NAME)
    if any(
        len(name) + len(value) > COOKIE_MAX
        for name, value in zip(names, (pair.access, pair.refresh), strict=True)
    ):
        raise TokenTooLarge


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


def access_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.ACCESS_COOKIE_NAME) or None


def refresh_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.REFRESH_COOKIE_NAME) or None

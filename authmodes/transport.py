"""The token cookies: their names, attributes, and nothing about what is in them."""

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from .conf import Transport, conf
from .tokens import TokenPair


def in_use() -> bool:
    return conf.TOKEN_TRANSPORT is Transport.COOKIE


def set_cookies(response: HttpResponseBase, pair: TokenPair) -> None:
    """Put both tokens into cookies that scripts cannot read (ASVS V3.3.4)."""
    for name, value, expires_at in (
        (conf.ACCESS_COOKIE_NAME, pair.access, pair.access_expires_at),
        (conf.REFRESH_COOKIE_NAME, pair.refresh, pair.refresh_expires_at),
    ):
        response.set_cookie(
            name,
            value,
            max_age=max(0, int((expires_at - timezone.now()).total_seconds())),
            # `__Host-` asks for this path and no domain.
            path="/",
            secure=conf.COOKIE_SECURE,
            httponly=True,
            samesite=conf.COOKIE_SAMESITE,  # type: ignore[arg-type]
        )


def clear_cookies(response: HttpResponseBase) -> None:
    """Take both cookies back, with the attributes they were set with."""
    for name in (conf.ACCESS_COOKIE_NAME, conf.REFRESH_COOKIE_NAME):
        response.set_cookie(
            name,
            "",
            max_age=0,
            path="/",
            secure=conf.COOKIE_SECURE,
            httponly=True,
            samesite=conf.COOKIE_SAMESITE,  # type: ignore[arg-type]
        )


def access_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.ACCESS_COOKIE_NAME) or None


def refresh_token(request: HttpRequest) -> str | None:
    return request.COOKIES.get(conf.REFRESH_COOKIE_NAME) or None

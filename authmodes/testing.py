"""Helpers for the tests of projects: sign a test client in without HTTP, and without throttles.

They work with Django's and DRF's clients, sync and async. In pytest, `pytest_plugins =
["authmodes.testing"]` in the top `conftest.py` gives two fixtures.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings

from . import registry
from .api.throttling import DEFAULT_RATES, EVERY_SCOPE
from .conf import Mode, conf
from .models import LoginSession
from .sessions import state as session_state
from .sessions import store as session_store
from .tokens import cookies as token_cookies
from .tokens.jwt import TokenPair, mint

__all__ = ["alogin", "login", "no_throttles"]


def login(client: Client | AsyncClient, user: Any, mode: str | None = None) -> LoginSession:
    """Sign `client` in as `user`; return the login session.

    `mode` is "session" or "jwt"; by default what `AUTHMODES_MODE` and `AUTHMODES_DEFAULT_MODE`
    say. The client gets a session cookie, token cookies, or an `Authorization` header that it
    sends with each request. `authmodes.tokens.mint()` returns the tokens of the login session.
    A later `login` of the same client replaces the credential.

    Signals, the limit of logins and inactive users are as in a sign-in over HTTP; allauth's
    stages are left out, as in `force_login()`. Raises `ValueError` for tokens where
    `AUTHMODES_MODE` does not allow them, `exceptions.UserInactive` and `exceptions.LimitReached`.
    """
    if _wanted(mode) == Mode.SESSION:
        _set_header(client, None)
        client.force_login(user)
        return _row_of(client)
    login_session, pair = _start_tokens(user)
    _set_tokens(client, pair)
    return login_session


async def alogin(client: AsyncClient, user: Any, mode: str | None = None) -> LoginSession:
    """Do what `login` does, in an async test."""
    if _wanted(mode) == Mode.SESSION:
        _set_header(client, None)
        await client.aforce_login(user)
        return await sync_to_async(_row_of)(client)
    login_session, pair = await sync_to_async(_start_tokens)(user)
    _set_tokens(client, pair)
    return login_session


def no_throttles() -> override_settings:
    """Return a context manager and decorator that switches off the rate limits.

    They are those of authmodes' endpoints and of allauth.
    """
    rest_framework = getattr(settings, "REST_FRAMEWORK", {})
    rates = dict.fromkeys([EVERY_SCOPE, *DEFAULT_RATES])
    rates |= {
        scope: rate
        for scope, rate in rest_framework.get("DEFAULT_THROTTLE_RATES", {}).items()
        if scope not in rates
    }
    return override_settings(
        REST_FRAMEWORK={**rest_framework, "DEFAULT_THROTTLE_RATES": rates},
        ACCOUNT_RATE_LIMITS=False,
    )


def _wanted(mode: str | None) -> str:
    wanted = Mode(mode) if mode else conf.DEFAULT_MODE
    # A cookie opens the admin in every mode.
    if wanted == Mode.JWT and not conf.MODE.allows(wanted):
        raise ValueError("AUTHMODES_MODE does not allow tokens.")
    return wanted


def _row_of(client: Client | AsyncClient) -> LoginSession:
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    sid = session_state.sid_in(session_store.engine()(key).load())
    assert sid is not None, "authmodes.receivers made no login session of it"
    return LoginSession.objects.get(sid=sid)


def _start_tokens(user: Any) -> tuple[LoginSession, TokenPair]:
    login_session = registry.start(None, user, Mode.JWT)
    return login_session, mint(login_session)


def _set_tokens(client: Client | AsyncClient, pair: TokenPair) -> None:
    if not token_cookies.are_enabled():
        _set_header(client, f"Bearer {pair.access}")
        return
    response = HttpResponse()
    token_cookies.set_cookies(response, pair)
    client.cookies.update(response.cookies)


def _set_header(client: Client | AsyncClient, value: str | None) -> None:
    # The names of ASGI's headers and of WSGI's environment.
    name = "authorization" if isinstance(client, AsyncClient) else "HTTP_AUTHORIZATION"
    defaults: dict[str, Any] = cast(Any, client.defaults)
    defaults.pop(name, None)
    if value is not None:
        defaults[name] = value


try:
    import pytest
except ImportError:
    pass
else:

    @pytest.fixture
    def authmodes_login(client: Client) -> Callable[..., LoginSession]:
        """Sign pytest-django's `client` in: `authmodes_login(user, mode)`."""
        return partial(login, client)

    @pytest.fixture
    def authmodes_no_throttles() -> Iterator[None]:
        """Switch rate limits off for the test."""
        with no_throttles():
            yield

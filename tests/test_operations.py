"""What docs/production.md says of a Redis that accepts connections and never answers."""

import socket
from collections.abc import Iterator

import pytest
from django.test import Client

from .support.logins import API, PASSWORD, call_with

OURS = "authmodes.sessions"


@pytest.fixture
def hanging_redis() -> Iterator[str]:
    # The kernel accepts what nobody reads.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def hang(settings, hanging_redis):
    def begin() -> None:
        settings.CACHES = {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": hanging_redis,
                "OPTIONS": {"socket_timeout": 0.05, "socket_connect_timeout": 0.05},
            }
        }
        settings.ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {}}

    return begin


@pytest.mark.parametrize(("engine", "status"), [(f"{OURS}.db", 200), (f"{OURS}.cached_db", 500)])
def test_a_cookie_needs_the_cache_only_with_an_engine_that_uses_it(
    engine, status, settings, login, hang
):
    settings.SESSION_ENGINE = engine
    cookie = login("session")
    cookie.browser.raise_request_exception = False
    hang()
    assert cookie.browser.get(API).status_code == status


def test_tokens_are_served_refreshed_and_ended_while_redis_hangs(login, hang):
    used, other = login("jwt"), login("jwt")
    hang()
    assert call_with(used.access).status_code == 200
    assert other.refresh().status_code == 200
    ended = Client().delete(
        "/auth/sessions/?all=1", headers={"authorization": f"Bearer {used.access}"}
    )
    assert ended.status_code == 200
    assert call_with(used.access).status_code == 401


def test_a_password_is_503_while_redis_hangs(alice, hang):
    hang()
    fields = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    assert Client().post("/auth/login/", fields).status_code == 503

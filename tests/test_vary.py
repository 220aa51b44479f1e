"""What an answer depends on stands in its `Vary`, so that no cache gives it to another user."""

import pytest
from django.core.cache import cache
from django.test import Client

from .support.browser import Browser
from .support.headless import App
from .support.logins import API, call_with


def vary_of(response):
    return {name.strip().lower() for name in response.get("Vary", "").split(",")}


@pytest.fixture
def token_cookies(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"


def test_an_answer_to_a_token_cookie_varies_on_the_cookie(token_cookies, login):
    answer = login("jwt").browser.get(API)
    assert answer.status_code == 200
    assert {"authorization", "cookie"} <= vary_of(answer)


def test_an_answer_to_a_bearer_token_varies_on_its_header(login):
    answer = call_with(login("jwt").access)
    assert answer.status_code == 200
    assert "authorization" in vary_of(answer)


def test_a_header_of_the_projects_own_stands_in_vary(login, settings):
    access = login("jwt").access
    settings.SIMPLE_JWT = {"AUTH_HEADER_NAME": "HTTP_X_ACCESS_TOKEN"}
    answer = Client().get(API, headers={"x-access-token": f"Bearer {access}"})
    assert answer.status_code == 200
    assert "x-access-token" in vary_of(answer)


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_a_401_varies_on_all_that_was_looked_at(transport, settings, db):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    anonymous, refused = Client().get(API), call_with("junk")
    assert anonymous.status_code == refused.status_code == 401
    assert {"authorization", "cookie"} <= vary_of(anonymous)
    assert "authorization" in vary_of(refused)


def test_an_answer_to_an_apps_session_token_varies_on_it(alice):
    app = App()
    app.login()
    assert "x-session-token" in vary_of(app.get("auth/session"))


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_djangos_site_cache_gives_one_users_answer_to_no_other(transport, login, bob, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    settings.MIDDLEWARE = [
        "django.middleware.cache.UpdateCacheMiddleware",
        *settings.MIDDLEWARE,
        "django.middleware.cache.FetchFromCacheMiddleware",
    ]
    cache.clear()
    alices, bobs = login("jwt", browser=Browser()), login("jwt", user=bob, browser=Browser())

    def get(login):
        return login.browser.get(API) if transport == "cookie" else login.get()

    assert get(alices).json()["username"] == "alice"
    assert get(bobs).json()["username"] == "bob"
    assert Client().get(API).status_code == 401
    assert get(alices).json()["username"] == "alice"

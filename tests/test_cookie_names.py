"""Cookies are read by their exact names: what a sibling subdomain sets never counts as ours."""

import pytest
from django.test import Client

from authmodes.models import LoginSession
from authmodes.tokens import AccessToken

from .support.browser import Browser
from .support.logins import API, PAGE, PASSWORD

ACCESS, REFRESH = "__Host-authmodes_access", "__Host-authmodes_refresh"
# Chromium takes them in front of a name, and Python's `str.strip` removes them.
SPACES = ["\u2000", "\u00a0", "\u0085", "\u3000", "\u2028"]


def cookies_of(user, mode):
    """What a browser holds that this user has signed in with, by https."""
    browser = Browser()
    response = browser.send_json(
        "/auth/login/",
        {"username": user.username, "password": PASSWORD, "mode": mode},
        secure=True,
        headers={"origin": "https://testserver"},
    )
    assert response.status_code == 200, response.content
    return {name: morsel.value for name, morsel in browser.cookies.items()}


def header_of(*pairs):
    """A `Cookie` header as a WSGI server passes it on."""
    return "; ".join(f"{name}={value}" for name, value in pairs).encode().decode("latin-1")


def get(path, *pairs):
    return Client().get(path, secure=True, HTTP_COOKIE=header_of(*pairs))


@pytest.fixture
def token_cookies(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"


@pytest.mark.parametrize("space", SPACES)
def test_a_token_cookie_named_after_a_space_is_not_ours(space, token_cookies, alice, bob):
    mine, planted = cookies_of(alice, "jwt"), cookies_of(bob, "jwt")
    pairs = [(ACCESS, mine[ACCESS]), (space + ACCESS, planted[ACCESS])]
    for order in (pairs, pairs[::-1]):
        assert get(API, *order).json()["username"] == "alice"
    assert get(API, pairs[1]).status_code == 401


def test_a_planted_refresh_token_is_neither_rotated_nor_ended(token_cookies, alice, bob):
    mine, planted = cookies_of(alice, "jwt"), cookies_of(bob, "jwt")
    pairs = [*mine.items(), *((f"\u2000{name}", planted[name]) for name in (ACCESS, REFRESH))]
    extra = {
        "secure": True,
        "HTTP_COOKIE": header_of(*pairs),
        "HTTP_X_CSRFTOKEN": mine["csrftoken"],
        "HTTP_ORIGIN": "https://testserver",
    }
    renewed = Client().post("/auth/token/refresh/", "{}", "application/json", **extra)
    assert AccessToken(renewed.cookies[ACCESS].value)["user_id"] == str(alice.pk)
    assert Client().post("/auth/logout/", **extra).status_code == 204
    assert [row.user for row in LoginSession.objects.active()] == [bob]


def test_two_values_of_one_name_are_none(token_cookies, alice, bob, settings):
    """The name of a project's own, without a prefix, can be planted as it is."""
    settings.AUTHMODES_ACCESS_COOKIE_NAME = "access"
    mine, planted = cookies_of(alice, "jwt"), cookies_of(bob, "jwt")
    pairs = [("access", mine["access"]), ("access", planted["access"])]
    for order in (pairs, pairs[::-1]):
        assert get(API, *order).status_code == 401
    assert get(API, pairs[0]).json()["username"] == "alice"


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("path", [API, PAGE])
def test_a_session_cookie_with_the_prefix_is_read_as_exactly(space, path, alice, bob, settings):
    name = settings.SESSION_COOKIE_NAME = "__Host-session"
    settings.SESSION_COOKIE_SECURE = True
    mine, planted = cookies_of(alice, "session"), cookies_of(bob, "session")
    pairs = [(name, mine[name]), (space + name, planted[name])]
    for order in (pairs, pairs[::-1]):
        assert get(path, *order).json()["username"] == "alice"
    assert get(path, pairs[1]).status_code != 200
    assert get(path, pairs[0], (name, planted[name])).status_code != 200
    assert get(path, pairs[0]).status_code == 200


def test_a_planted_csrf_cookie_with_the_prefix_lets_no_call_through(alice, settings):
    settings.CSRF_COOKIE_NAME, settings.CSRF_COOKIE_SECURE = "__Host-csrf", True
    browser = Browser()
    browser.get("/auth/csrf/", secure=True)
    planted = "p" * 32
    pairs = [("__Host-csrf", browser.cookies["__Host-csrf"].value), ("\u2000__Host-csrf", planted)]
    answer = Browser().post(
        "/auth/login/",
        {"username": "alice", "password": PASSWORD, "mode": "session"},
        "application/json",
        secure=True,
        HTTP_COOKIE=header_of(*pairs),
        HTTP_X_CSRFTOKEN=planted,
        HTTP_ORIGIN="https://testserver",
    )
    assert answer.status_code == 403

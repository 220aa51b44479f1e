"""With the cookie transport one browser holds one login; a logout ends all that came along."""

import sys
import types

import pytest
from django.contrib.auth import login as django_login
from django.contrib.auth import logout as django_logout
from django.contrib.auth.views import LogoutView
from django.contrib.sessions.models import Session
from django.http import JsonResponse
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.response import Response

from authmodes.models import LoginSession

from . import urls as project
from .support.authorization_code import code_grant
from .support.browser import Browser
from .support.logins import (
    API,
    Login,
    admin_login,
    assert_signed_out,
    call_with,
    html_login,
    sign_in,
    social_login,
)

ACCESS, REFRESH = "__Host-authmodes_access", "__Host-authmodes_refresh"
WHOAMI = "/probe/whoami/"


def login_view(request):
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.get(username=request.GET["name"])
    django_login(request, user, "django.contrib.auth.backends.ModelBackend")
    return JsonResponse({})


@api_view(["POST"])
def logout_view(request):
    django_logout(request)
    return Response({})


def cart(request):
    if "add" in request.GET:
        request.session["cart"] = request.GET["add"]
    return JsonResponse({"cart": request.session.get("cart")})


urls = types.ModuleType("tests.one_browser_urls")
urls.urlpatterns = [
    path("login-view/", login_view),
    path("logout-view/", logout_view),
    path("django-logout/", LogoutView.as_view(next_page="/probe/whoami/")),
    path("cart/", cart),
    path("", include(project)),
]
sys.modules[urls.__name__] = urls

pytestmark = pytest.mark.urls(urls.__name__)


@pytest.fixture(autouse=True)
def _token_cookies(settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"


@pytest.fixture
def staff(alice, bob):
    for user in (alice, bob):
        user.is_staff = user.is_superuser = True
        user.save()


# -- ways to sign in -----------------------------------------------------------------------


def rest(browser, name, mode):
    assert sign_in(mode, browser, username=name).status_code == 200


def page(browser, name, mode):
    assert html_login(browser, name, query=f"?mode={mode}").status_code == 302


def socially(browser, name, mode):
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.get(username=name)
    account, _ = user.socialaccount_set.get_or_create(provider="dummy", uid=str(9000 + user.pk))
    assert social_login(browser, account.uid, mode).status_code == 302


def admin(browser, name, mode):
    assert admin_login(browser, name).status_code == 302


def djangos(browser, name, mode):
    assert browser.get(f"/login-view/?name={name}").status_code == 200


def token_endpoint(browser, name, mode):
    body = {"username": name, "password": "correct horse battery staple"}
    assert browser.send_json("/auth/token/", body).status_code == 200


def headless(browser, name, mode):
    body = {"username": name, "password": "correct horse battery staple"}
    assert browser.send_json("/_allauth/browser/v1/auth/login", body).status_code == 200


BY_COOKIE = [rest, page, socially, admin, djangos, headless]
FOR_TOKENS = [rest, page, socially, token_endpoint]


def held(browser):
    """What the browser holds: token cookies, a session cookie."""
    tokens = ACCESS in browser.cookies and bool(browser.cookies[ACCESS].value)
    return tokens, bool(browser.session_cookie)


def names_of(browser):
    api = browser.get(API)
    return api.json()["username"] if api.status_code == 200 else None, (
        browser.get(WHOAMI).json()["username"]
    )


# -- signing in ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", BY_COOKIE)
@pytest.mark.parametrize("second", ["alice", "bob"])
def test_a_cookie_login_replaces_the_token_login(way, second, login, staff):
    browser = Browser()
    first = login("jwt", browser=browser)
    access = browser.cookies[ACCESS].value

    way(browser, second, "session")

    assert first.row.end_reason == "replaced"
    assert names_of(browser) == (second, second)
    assert held(browser) == (False, True)
    assert not browser.cookies[REFRESH].value
    assert call_with(access).status_code == 401
    assert LoginSession.objects.active().get().mode == "session"


# allauth's own page sends a user who is signed in away.
@pytest.mark.parametrize("way", [way for way in FOR_TOKENS if way is not page])
@pytest.mark.parametrize("second", ["alice", "bob"])
def test_a_token_login_replaces_the_cookie_login(way, second, login, bob):
    browser = Browser()
    first = login("session", browser=browser)
    key = browser.session_cookie

    way(browser, second, "jwt")

    # allauth itself signs the user of a social login out before it goes on.
    assert first.row.end_reason == ("logout" if way is socially else "replaced")
    assert names_of(browser) == (second, None)
    assert held(browser)[0]
    assert not Session.objects.filter(session_key=key).exists()
    assert LoginSession.objects.active().get().mode == "jwt"


def test_an_exchanged_code_replaces_the_cookie_login(code_flow, login):
    browser = code_flow.browser
    code_flow.run()
    first = login("session", browser=browser)
    body = code_grant(code_flow.code, code_flow.verifier)
    assert browser.send_json("/auth/token/", body).status_code == 200
    assert first.row.end_reason == "replaced"
    assert names_of(browser) == ("alice", None)


@pytest.mark.parametrize(
    ("way", "before"),
    [
        (way, before)
        for way in FOR_TOKENS
        for before in ("", "alice", "bob")
        if way in (rest, token_endpoint) or not before
    ],
)
def test_a_cart_moves_on_under_a_new_key_unless_it_is_another_users(way, before, alice, bob):
    browser = Browser()
    if before:
        rest(browser, before, "session")
    browser.get("/cart/?add=teapot")
    key = browser.session_cookie

    way(browser, "alice", "jwt")

    assert browser.get("/cart/").json()["cart"] == ("teapot" if before != "bob" else None)
    assert browser.session_cookie != key
    assert not Session.objects.filter(session_key=key).exists()
    for session in Session.objects.all():
        assert set(session.get_decoded()) == {"cart"}


@pytest.mark.parametrize("way", FOR_TOKENS)
def test_a_token_login_changes_the_csrf_token(way, alice):
    """Somebody who has planted the old one knows nothing of the new (as Django's `login()`)."""
    browser = Browser()
    browser.csrf()
    before = browser.cookies["csrftoken"].value
    way(browser, "alice", "jwt")
    assert browser.cookies["csrftoken"].value != before


@pytest.mark.parametrize("second", ["alice", "bob"])
def test_in_jwt_mode_the_admins_cookie_stands_beside_the_same_users_tokens(second, staff, settings):
    settings.AUTHMODES_MODE = "jwt"
    browser = Browser()
    rest(browser, "alice", "jwt")
    admin(browser, second, "session")
    assert held(browser) == (second == "alice", True)
    assert browser.get("/admin/").status_code == 200
    assert names_of(browser)[0] == ("alice" if second == "alice" else None)


@pytest.mark.parametrize("way", FOR_TOKENS)
@pytest.mark.parametrize("second", ["alice", "bob"])
def test_in_jwt_mode_a_token_login_leaves_the_same_users_admin_cookie(way, second, staff, settings):
    settings.AUTHMODES_MODE = "jwt"
    browser = Browser()
    admin(browser, "alice", "session")
    way(browser, second, "jwt")
    assert names_of(browser)[0] == second
    assert browser.get("/admin/").status_code == (200 if second == "alice" else 302)
    left = LoginSession.objects.active()
    assert {(row.user.username, row.mode) for row in left} == (
        {("alice", "jwt"), ("alice", "session")} if second == "alice" else {("bob", "jwt")}
    )


@pytest.mark.parametrize("way", [djangos, admin])
def test_without_token_cookies_a_cookie_login_leaves_tokens_alone(way, login, staff, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "body"
    browser = Browser()
    first = login("jwt", browser=browser)
    way(browser, "bob", "session")
    assert first.get().status_code == 200


# -- signing out ---------------------------------------------------------------------------


def allauths_page(browser):
    assert browser.get("/accounts/logout/").status_code == 200
    assert browser.submit("/accounts/logout/").status_code == 302


def djangos_page(browser):
    assert browser.submit("/django-logout/").status_code == 302


def an_api_view(browser):
    assert browser.submit("/logout-view/").status_code == 200


def our_endpoint(browser):
    assert browser.submit("/auth/logout/").status_code == 204


LOGOUTS = [allauths_page, djangos_page, an_api_view, our_endpoint]


@pytest.mark.parametrize("logout", LOGOUTS)
@pytest.mark.parametrize("allowed", ["both", "jwt"])
def test_every_logout_ends_the_login_of_the_token_cookies(logout, allowed, login, settings):
    settings.AUTHMODES_MODE = allowed
    first = login("jwt", browser=Browser())
    access = first.browser.cookies[ACCESS].value
    logout(first.browser)
    assert first.row.end_reason == "logout"
    assert held(first.browser) == (False, False)
    assert_signed_out(first.browser)
    assert call_with(access).status_code == 401


@pytest.mark.parametrize("logout", LOGOUTS)
def test_every_logout_ends_the_login_of_the_django_session(logout, login):
    first = login("session", browser=Browser())
    logout(first.browser)
    assert first.row.end_reason == "logout"
    assert_signed_out(first.browser)


def test_djangos_logout_in_a_token_view_ends_the_token(login, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "body"
    first, other = login("jwt"), login("jwt")
    response = first.post("/logout-view/")
    assert response.status_code == 200
    assert not response.cookies
    assert first.get().status_code == 401
    assert first.refresh().status_code == 401
    assert other.get().status_code == 200
    assert not Session.objects.exists()


def test_a_logout_by_header_leaves_the_cookies_of_a_different_login(login, alice, bob):
    browser = Browser()
    rest(browser, "bob", "jwt")
    login("jwt", browser=(other := Browser()))
    mine = Login("jwt", browser, {"access": other.cookies[ACCESS].value})
    assert mine.logout().status_code == 204
    assert other.get(API).status_code == 401
    assert names_of(browser)[0] == "bob"

"""The admin's cookie login in `jwt` mode, and the sign-ins of the same browser beside it."""

import re
import sys
import types

import pytest
from allauth.account.models import EmailAddress
from allauth.account.views import confirm_login_code, request_login_code
from allauth.mfa.totp.internal.auth import TOTP
from django.core import mail
from django.urls import include, path, reverse

from authmodes import registry
from authmodes.models import AuthorizationCode, LoginSession

from . import urls as project
from .support.authorization_code import CodeFlow, redirect_query
from .support.browser import Browser
from .support.logins import PASSWORD, admin_login, html_login
from .support.mfa import SECRET, totp_code

# What every request may change of a Django session.
MOVES = {"_authmodes", "socialaccount_states"}


urls = types.ModuleType("tests.kept_login_urls")
urls.urlpatterns = [
    # allauth routes these only if the setting is set before its URLs are imported.
    path("accounts/login/code/", request_login_code, name="account_request_login_code"),
    path("accounts/login/code/confirm/", confirm_login_code, name="account_confirm_login_code"),
    path("", include(project)),
]
sys.modules[urls.__name__] = urls


@pytest.fixture(autouse=True)
def _jwt_mode(settings):
    settings.AUTHMODES_MODE = "jwt"


@pytest.fixture(params=["allauth's page"])
def admins(request, admin_user, settings):
    """A browser that is signed in to the admin, and has a cart."""
    browser = Browser()
    if request.param == "admin's form":
        admin_login(browser, "root")
    else:
        settings.ACCOUNT_SESSION_REMEMBER = True
        html_login(browser, "root", query="?next=/admin/")
        # Another value than that of the sign-ins to come.
        settings.ACCOUNT_SESSION_REMEMBER = False
    session = browser.session
    session["cart"] = ["shoes"]
    # As of a login by a provider.
    session["_authmodes_provider_auth_time"] = 1_700_000_000
    session.save()
    assert browser.get("/admin/").status_code == 200
    return browser


def content(browser):
    return {name: value for name, value in browser.session.items() if name not in MOVES}


def authorize_url(flow):
    query = {
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": flow.next,
        "code_challenge": flow.parameters()["code_challenge"],
        "code_challenge_method": "S256",
    }
    return flow.browser.get(reverse("authmodes:authorize"), query)


def page_flow(browser, username):
    """An authorization code flow on allauth's login page."""
    page = authorize_url(CodeFlow(browser))
    browser.get(page.url)
    return browser.submit(page.url, {"login": username, "password": PASSWORD})


def social_flow(browser, uid):
    return CodeFlow(browser).run(uid)


def mailed_code_flow(browser, user):
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    page = authorize_url(CodeFlow(browser)).url.replace("/login/", "/login/code/")
    browser.get(page)
    asked = browser.submit(page, {"email": user.email})
    code = re.search(r"^([A-Z0-9-]{6,})$", mail.outbox[-1].body, re.MULTILINE)[1]
    return browser.submit(asked.url, {"code": code})


def assert_as_before(browser, before, key):
    assert content(browser) == before
    assert browser.session_cookie != key
    assert browser.get("/admin/").status_code == 200
    cookies = LoginSession.objects.active().filter(mode="session")
    assert cookies.get().user.username == "root"
    assert cookies.get().session_key == browser.session_cookie


@pytest.mark.urls(urls.__name__)
@pytest.mark.parametrize("admins", ["allauth's page", "admin's form"], indirect=True)
@pytest.mark.parametrize("name", ["alice", "root"])
@pytest.mark.parametrize(
    ("by", "transport"),
    [("page", "body"), ("page", "cookie"), ("provider", "body"), ("mailed code", "body")],
)
def test_a_code_flow_leaves_the_admins_session_as_it_was(
    admins, alice, admin_user, settings, by, name, transport
):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    settings.ACCOUNT_LOGIN_BY_CODE_ENABLED = True
    user = {"alice": alice, "root": admin_user}[name]
    user.socialaccount_set.create(provider="dummy", uid="4711")
    before, key = content(admins), admins.session_cookie
    if by == "page":
        response = page_flow(admins, name)
    elif by == "provider":
        response = social_flow(admins, "4711")
    else:
        response = mailed_code_flow(admins, user)
    assert "code" in redirect_query(response)
    assert AuthorizationCode.objects.get().user == user
    assert_as_before(admins, before, key)


@pytest.mark.parametrize("end", ["code", "cancel", "outdated"])
@pytest.mark.parametrize("begin", [page_flow, social_flow])
def test_a_code_flow_that_waits_at_a_stage_leaves_it_too(admins, alice, begin, end):
    alice.socialaccount_set.create(provider="dummy", uid="4711")
    TOTP.activate(alice, SECRET)
    before, key = content(admins), admins.session_cookie
    waiting = begin(admins, "alice" if begin is page_flow else "4711")
    for name in ("cart", "_session_expiry"):
        assert content(admins)[name] == before[name]
    assert admins.get("/admin/").status_code == 200
    if end == "cancel":
        response = admins.submit("/accounts/logout/", {"next": "/accounts/login/"})
    else:
        if end == "outdated":
            registry.revoke_user(alice)
        response = admins.submit(waiting.url, {"code": totp_code()})
    assert ("code" if end == "code" else "error") in redirect_query(response)
    assert_as_before(admins, before, key)


@pytest.mark.parametrize("name", ["alice", "root"])
def test_a_sign_in_that_is_refused_leaves_it_too(admins, alice, name):
    """Tokens have nowhere to go: the transport is `body`, and no app has asked."""
    before, key = content(admins), admins.session_cookie
    assert html_login(admins, name).status_code == 400
    assert_as_before(admins, before, key)


def test_an_inactive_user_leaves_it_too(admins, alice):
    before, key = content(admins), admins.session_cookie
    alice.socialaccount_set.create(provider="dummy", uid="4711")
    alice.is_active = False
    alice.save()
    response = social_flow(admins, "4711")
    assert redirect_query(response)["error"] == "access_denied"
    assert content(admins) == before
    assert admins.get("/admin/").status_code == 200
    assert key


def test_tokens_in_cookies_for_the_same_user_leave_it_too(admins, admin_user, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    before, key = content(admins), admins.session_cookie
    assert html_login(admins, "root").status_code == 302
    assert admins.cookies["__Host-authmodes_access"].value
    assert_as_before(admins, before, key)


def test_headless_leaves_it_too(admins, alice):
    before, key = content(admins), admins.session_cookie
    body = {"username": "alice", "password": PASSWORD}
    response = admins.send_json("/_allauth/browser/v1/auth/login", body)
    assert response.json()["errors"][0]["code"] == "mode_disabled"
    assert_as_before(admins, before, key)


def test_signing_in_to_the_admin_again_forgets_what_was_kept(admins, alice):
    """A sign-in for tokens was abandoned at a stage."""
    TOTP.activate(alice, SECRET)
    page_flow(admins, "alice")
    admin_login(admins, "root")
    assert "_authmodes_kept_login" not in admins.session
    assert admins.get("/admin/").status_code == 200


def test_a_login_that_the_flow_sets_aside_comes_back_as_it_was(admins, alice, settings):
    """In `both`, the visitor is signed in on allauth's pages too."""
    settings.AUTHMODES_MODE = "both"
    alice.socialaccount_set.create(provider="dummy", uid="4711")
    before, key = content(admins), admins.session_cookie
    assert "code" in redirect_query(social_flow(admins, "4711"))
    assert_as_before(admins, before, key)


def test_a_server_error_leaves_it_under_its_key(admins, alice, monkeypatch):
    """Django sends no cookie with one, so a new key would be lost."""

    def broken(self, request, user):
        request.session["account_of_the_flow"] = 1
        raise RuntimeError

    monkeypatch.setattr("authmodes.adapter.AuthModesAdapterMixin.login", broken)
    before, key = content(admins), admins.session_cookie
    admins.raise_request_exception = False
    assert html_login(admins, "alice").status_code == 500
    assert (content(admins), admins.session_cookie) == (before, key)
    assert admins.get("/admin/").status_code == 200

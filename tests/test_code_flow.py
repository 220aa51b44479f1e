"""Every end of an authorization code flow, and what it leaves in the visitor's browser."""

import html
import re

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.signals import pre_social_login
from allauth.urls import build_provider_urlpatterns
from asgiref.sync import async_to_sync
from django.core.exceptions import PermissionDenied
from django.test import AsyncClient
from django.test.utils import override_settings
from django.urls import include, path

from authmodes import registry
from authmodes.models import AuthorizationCode, LoginSession

from . import urls
from .support.authorization_code import NEXT, CodeFlow, redirect_query
from .support.browser import Browser
from .support.logins import PAGE, call_with, html_login, social_login
from .support.mfa import SECRET, totp_code


class Routes:
    """All routes of the project but those of allauth's pages."""

    urlpatterns = (
        path("accounts/", include(build_provider_urlpatterns())),
        *(route for route in urls.urlpatterns if str(route.pattern) != "accounts/"),
    )


without_pages = override_settings(
    HEADLESS_ONLY=True, HEADLESS_FRONTEND_URLS={}, ROOT_URLCONF=Routes
)


@pytest.fixture(params=["with allauth's pages", "without allauth's pages"])
def pages(request):
    """Whether the project routes them, or is `HEADLESS_ONLY`."""
    if request.param.startswith("without"):
        with without_pages:
            yield
    else:
        yield


@pytest.fixture
def second_factor(alice):
    TOTP.activate(alice, SECRET)


def assert_error(response, error="access_denied", description=None):
    assert response.status_code == 302, response.content
    assert response.url.startswith(f"{NEXT}?")
    expected = {"error": error, "state": "spa-state-1"}
    if description is not None:
        expected["error_description"] = description
    assert redirect_query(response) == expected
    assert response["Cache-Control"] == "no-store"
    assert not AuthorizationCode.objects.exists()


def provider_flow(provider, **params):
    """A flow at a real provider, and the URL at which it sends the browser back."""
    flow = CodeFlow()
    page = flow.browser.get("/auth/social/example/start/", flow.parameters())
    started = flow.browser.submit(page.wsgi_request.get_full_path())
    query = {**params, "state": redirect_query(started)["state"]}
    return flow, flow.browser.get("/accounts/oidc/example/login/callback/", query)


# -- the ends ------------------------------------------------------------------------------


def test_cancelling_at_the_provider_leads_back_to_the_client(code_flow, pages):
    started = code_flow.start()
    assert_error(code_flow.browser.submit(started.url, {"action": "cancel"}))


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("access_denied", "access_denied"),
        ("temporarily_unavailable", "temporarily_unavailable"),
        ("server_error", "server_error"),
        ("<made up>", "server_error"),
    ],
)
def test_what_a_provider_refuses_leads_back_to_the_client(provider, said, error):
    _, response = provider_flow(provider, error=said)
    assert_error(response, error)


def test_a_provider_that_refuses_leads_back_without_allauths_pages_too(provider):
    with without_pages:
        assert_error(provider_flow(provider, error="access_denied")[1])


def test_a_provider_that_fails_leads_back_to_the_client(provider, pages):
    provider.faults["token"] = "500"
    _, response = provider_flow(provider, code="x")
    assert redirect_query(response)["error"] in ("server_error", "access_denied")
    assert response.url.startswith(NEXT)


def test_an_inactive_user_leads_back_to_the_client(code_flow, alice, pages):
    alice.is_active = False
    alice.save()
    assert_error(code_flow.run(), description="user_inactive")


def test_a_closed_sign_up_leads_back_to_the_client(code_flow, pages, monkeypatch):
    monkeypatch.setattr(DefaultAccountAdapter, "is_open_for_signup", lambda self, request: False)
    assert_error(code_flow.run(uid="99", username="newcomer"))


def test_tokens_switched_off_on_the_way_lead_back_to_the_client(code_flow, pages):
    started = code_flow.start()
    with override_settings(AUTHMODES_MODE="session"):
        assert_error(code_flow.authenticate(started.url), description="mode_disabled")
    assert code_flow.browser.get(PAGE).status_code == 302


@pytest.mark.parametrize(
    ("raised", "error"), [(PermissionDenied, "access_denied"), (ValueError, "server_error")]
)
def test_an_exception_in_a_flow_leads_back_to_the_client(code_flow, raised, error):
    def refuse(**kwargs):
        raise raised

    started = code_flow.start()
    pre_social_login.connect(refuse)
    try:
        assert_error(code_flow.authenticate(started.url), error)
    finally:
        pre_social_login.disconnect(refuse)


def test_a_provider_that_was_left_for_too_long_leads_back_to_the_client(code_flow, clock, pages):
    started = code_flow.start()
    clock.shift(601)
    assert_error(code_flow.authenticate(started.url))


def test_a_stage_that_was_left_for_too_long_leads_back_to_the_client(
    code_flow, second_factor, clock
):
    waiting = code_flow.run()
    clock.shift(3600)
    assert_error(code_flow.browser.get(waiting.url))


def test_cancelling_at_a_stage_leads_back_to_the_client(code_flow, second_factor):
    code_flow.run()
    # What the page of the second factor offers for "Cancel".
    cancel = {"next": "/accounts/login/"}
    assert_error(code_flow.browser.submit("/accounts/logout/", cancel))


def test_the_issuer_is_named_with_a_code_and_with_an_error(code_flow, settings):
    """RFC 9207."""
    settings.SIMPLE_JWT = {"ISSUER": "https://id.example"}
    started = code_flow.start()
    cancelled = code_flow.browser.submit(started.url, {"action": "cancel"})
    for response in (cancelled, code_flow.run()):
        assert redirect_query(response)["iss"] == "https://id.example"


def test_a_callback_of_an_unknown_flow_leads_nowhere(code_flow):
    started = code_flow.start()
    response = Browser().submit(started.url, {"action": "cancel"})
    assert not response.headers.get("location", "").startswith(NEXT)


# -- the visitor's session -----------------------------------------------------------------


def test_two_tabs_finish_in_turn(code_flow):
    code_flow.state, first = "one", code_flow.start()
    first, code_flow.state = code_flow.start(), "two"
    second = code_flow.start()
    for started, state in ((second, "two"), (first, "one")):
        assert redirect_query(code_flow.authenticate(started.url))["state"] == state


def test_a_cancelled_tab_leaves_the_other_alone(code_flow):
    first, second = code_flow.start(), code_flow.start()
    code_flow.browser.submit(second.url, {"action": "cancel"})
    assert "code" in redirect_query(code_flow.authenticate(first.url))


def fill_cart(browser):
    session = browser.session
    session["cart"] = ["shoes"]
    session.save()


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_what_is_not_a_login_outlasts_the_flow_under_another_key(
    code_flow, login, settings, transport
):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    browser = login("session", browser=code_flow.browser).browser
    fill_cart(browser)
    key = browser.session_cookie
    code_flow.run()
    assert code_flow.code
    assert browser.session["cart"] == ["shoes"]
    assert browser.session_cookie != key


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_flow_to_tokens_in_bodies_leaves_the_visitors_login(code_flow, login, alice, bob, name):
    visitor = {"alice": alice, "bob": bob}[name]
    before = login("session", visitor, browser=code_flow.browser)
    code_flow.run()
    assert call_with(code_flow.tokens()["access"]).json()["username"] == "alice"
    assert before.row.is_active
    assert before.get("/probe/whoami/").json() == {"username": name}
    assert before.get().json()["username"] == name


def test_a_flow_to_tokens_in_cookies_ends_the_visitors_login(code_flow, login, settings):
    before = login("session", browser=code_flow.browser)
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    code_flow.run()
    assert before.row.end_reason == "logout"
    assert before.get(PAGE).status_code == 302


def test_data_of_a_different_user_end_with_the_login(code_flow, login, bob, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    fill_cart(login("session", bob, browser=code_flow.browser).browser)
    code_flow.run()
    assert code_flow.code
    assert "cart" not in code_flow.browser.session


def test_data_of_a_different_user_do_not_pass_a_stage(code_flow, login, bob, second_factor):
    fill_cart(login("session", bob, browser=code_flow.browser).browser)
    waiting = code_flow.run()
    code_flow.browser.get(waiting.url)
    done = code_flow.browser.submit(waiting.url, {"code": totp_code()})
    assert "code" in redirect_query(done)
    assert "cart" not in code_flow.browser.session


@pytest.mark.parametrize("transport", ["body", "cookie"])
@pytest.mark.parametrize("end", ["cancel", "inactive", "mode"])
def test_a_flow_that_fails_leaves_the_visitors_login(
    code_flow, login, alice, bob, settings, end, transport
):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    before = login("session", bob, browser=code_flow.browser)
    started = code_flow.start()
    if end == "cancel":
        response = code_flow.browser.submit(started.url, {"action": "cancel"})
    elif end == "inactive":
        alice.is_active = False
        alice.save()
        response = code_flow.authenticate(started.url)
    else:
        with override_settings(AUTHMODES_MODE="session"):
            response = code_flow.authenticate(started.url)
    assert redirect_query(response)["error"] == "access_denied"
    assert before.row.is_active
    assert before.get("/probe/whoami/").json() == {"username": "bob"}


def test_a_flow_that_stops_at_a_stage_ends_the_visitors_login(code_flow, login, bob, second_factor):
    before = login("session", bob, browser=code_flow.browser)
    waiting = code_flow.run()
    assert before.row.end_reason == "logout"
    assert before.get(PAGE).status_code == 302
    code_flow.browser.get(waiting.url)
    done = code_flow.browser.submit(waiting.url, {"code": totp_code()})
    assert "code" in redirect_query(done)
    assert before.get(PAGE).status_code == 302


def test_an_abandoned_flow_changes_nothing_for_the_next_sign_in(code_flow, alice):
    code_flow.start()
    assert social_login(code_flow.browser).url == PAGE
    assert LoginSession.objects.get().mode == "session"


# -- pages that name the way on ------------------------------------------------------------


def test_a_form_without_its_csrf_token_is_answered_with_the_way_back_to_it(code_flow):
    path = code_flow.look().wsgi_request.get_full_path()
    response = code_flow.browser.post(path, headers={"accept": "text/html"})
    assert response.status_code == 403
    assert b"CSRF Failed" not in response.content
    href = re.search(r'<a href="([^"]+)">Try again</a>', response.content.decode())[1]
    assert html.unescape(href) == path
    as_json = code_flow.browser.post(path, headers={"accept": "application/json"})
    assert (as_json.status_code, as_json.json()["code"]) == (403, "csrf_failed")


def test_what_only_the_client_can_mend_leads_back_to_the_client(code_flow):
    code_flow.browser.defaults["HTTP_ACCEPT"] = "text/html"
    response = code_flow.look(next="https://evil.example/")
    assert b"Go back to the app" in response.content
    assert b"Try again" not in response.content


def test_a_sign_in_that_is_out_of_date_may_be_tried_again(alice, second_factor):
    browser = Browser()
    waiting = html_login(browser, "alice")
    registry.revoke_user(alice)
    refused = browser.submit(waiting.url, {"code": totp_code()})
    assert refused.status_code == 403
    assert b'<a href="/accounts/login/">Try again</a>' in refused.content


def test_under_asgi_each_end_leads_back_to_the_client_too(code_flow):
    started, browser = code_flow.start(), AsyncClient()
    browser.cookies = code_flow.browser.cookies
    assert_error(async_to_sync(browser.post)(started.url, {"action": "cancel"}))

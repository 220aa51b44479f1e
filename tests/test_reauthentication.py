"""allauth's pages that ask for a re-authentication, for users who have only their provider."""

import time
from urllib.parse import urlsplit

import pytest
from allauth.account import app_settings
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount

from authmodes.models import LoginSession
from authmodes.signin.reauthentication import CLOCK_SKEW

from .support.authorization_code import redirect_query
from .support.browser import Browser
from .support.headless import App
from .support.logins import PASSWORD, only_row
from .support.mfa import SECRET, totp_code

MFA, CONNECTIONS = "/accounts/2fa/totp/activate/", "/accounts/3rdparty/"
CALLBACK = "/accounts/oidc/example/login/callback/"
TIMEOUT = 300
# Up to 65.21, allauth lets a user pass for whom it has no method, and has none by mailed code.
IS_LENIENT = not hasattr(app_settings, "REAUTHENTICATION_METHODS")


@pytest.fixture(autouse=True)
def _required(settings, clock):
    settings.ACCOUNT_REAUTHENTICATION_REQUIRED = True
    settings.MFA_REAUTHENTICATION_REQUIRED = True


@pytest.fixture
def social_alice(alice):
    """alice, who has no password."""
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    alice.set_unusable_password()
    alice.save()
    return alice


@pytest.fixture
def browser(social_alice, provider):
    browser = Browser()
    started = browser.submit("/accounts/oidc/example/login/")
    assert come_back(browser, provider, started).status_code == 302
    assert only_row().user == social_alice
    return browser


def come_back(browser, provider, started, **claims):
    """Authenticate at the provider, and be sent back from there."""
    asked = redirect_query(started)
    provider.userinfo["sub"] = claims.get("sub", "subject-1")
    provider.codes["code"] = {
        "challenge": asked["code_challenge"],
        "redirect_uri": asked["redirect_uri"],
        "claims": claims,
    }
    return browser.get(CALLBACK, {"code": "code", "state": asked["state"]})


def assert_leads_to_provider(response, provider):
    assert response.status_code == 302
    assert response.url.startswith(f"{provider.url}/authorize?")
    asked = redirect_query(response)
    assert (asked["prompt"], asked["max_age"]) == ("login", "0")


def test_a_recent_sign_in_counts_and_a_later_one_leads_to_the_provider(browser, provider, clock):
    clock.shift(TIMEOUT - 1)
    assert browser.get(MFA).status_code == 200
    clock.shift(2)
    assert_leads_to_provider(browser.get(MFA), provider)


@pytest.mark.parametrize("claims", [{}, {"auth_time": 0}, {"auth_time": CLOCK_SKEW}])
def test_back_from_the_provider_the_page_opens_and_the_login_stays(
    browser, provider, clock, claims
):
    clock.shift(2 * TIMEOUT)
    sent = browser.get(MFA)
    key, row = browser.session_cookie, only_row()
    clock.shift(10)
    moments = {name: int(time.time()) - ago for name, ago in claims.items()}
    back = come_back(browser, provider, sent, **moments)
    assert (back.status_code, back.url) == (302, MFA)
    assert browser.get(MFA).status_code == 200
    assert browser.session_cookie != key
    assert only_row().sid == row.sid
    clock.shift(TIMEOUT + 1)
    assert_leads_to_provider(browser.get(MFA), provider)


def test_an_old_auth_time_of_the_sign_in_does_not_limit_the_way_back(browser, provider, clock):
    session = browser.session
    session["_authmodes_provider_auth_time"] = time.time() - 10 * TIMEOUT
    session.save()
    clock.shift(2 * TIMEOUT)
    assert come_back(browser, provider, browser.get(MFA)).url == MFA
    assert browser.get(MFA).status_code == 200


def test_a_provider_that_did_not_ask_the_user_again_opens_nothing(browser, provider, clock):
    clock.shift(2 * TIMEOUT)
    sent, earlier = browser.get(MFA), int(time.time()) - CLOCK_SKEW - 1
    assert come_back(browser, provider, sent, auth_time=earlier).status_code == 401
    assert_leads_to_provider(browser.get(MFA), provider)


@pytest.mark.parametrize("owner", ["nobody", "bob", "alice"])
def test_a_different_account_at_the_provider_opens_nothing(
    browser, provider, clock, owner, social_alice, bob
):
    """Not even a second account of the same user: that one was not asked for."""
    users = {"bob": bob, "alice": social_alice}
    if owner in users:
        account = SocialAccount.objects.create(
            user=users[owner], provider="example", uid="subject-2"
        )
        SocialAccount.objects.filter(pk=account.pk).update(last_login="2001-01-01T00:00Z")
    clock.shift(2 * TIMEOUT)
    sent = browser.get(MFA)
    assert come_back(browser, provider, sent, sub="subject-2").status_code == 401
    assert_leads_to_provider(browser.get(MFA), provider)
    assert only_row().user == social_alice


def test_the_way_back_counts_only_for_the_user_who_was_sent(browser, provider, clock, bob):
    clock.shift(2 * TIMEOUT)
    sent = browser.get(MFA)
    browser.submit("/accounts/logout/")
    assert come_back(browser, provider, sent).status_code == 401
    assert not LoginSession.objects.active().exists()
    assert browser.get("/probe/whoami/").json()["username"] != "alice"


def test_cancelling_at_the_provider_leaves_the_login_and_opens_nothing(browser, provider, clock):
    clock.shift(2 * TIMEOUT)
    state = redirect_query(browser.get(MFA))["state"]
    cancelled = browser.get(CALLBACK, {"error": "access_denied", "state": state})
    assert (cancelled.status_code, cancelled.url) == (302, "/accounts/3rdparty/login/cancelled/")
    assert only_row().is_active
    assert_leads_to_provider(browser.get(MFA), provider)


def test_a_provider_that_is_away_is_named_on_a_page(browser, provider, clock):
    clock.shift(2 * TIMEOUT)
    provider.faults["openid-configuration"] = "500"
    assert browser.get(MFA).status_code == 401
    assert only_row().is_active


def test_connecting_another_account_leads_there_and_to_the_connections(browser, provider, clock):
    started = browser.submit("/accounts/oidc/example/login/?process=connect")
    clock.shift(2 * TIMEOUT)
    sent = come_back(browser, provider, started, sub="subject-2")
    assert_leads_to_provider(sent, provider)
    assert come_back(browser, provider, sent).url == CONNECTIONS
    assert SocialAccount.objects.count() == 1
    again = browser.submit("/accounts/oidc/example/login/?process=connect")
    assert come_back(browser, provider, again, sub="subject-2").url == CONNECTIONS
    assert SocialAccount.objects.count() == 2


def test_an_account_of_a_provider_that_is_gone_is_passed_over(
    browser, provider, clock, social_alice
):
    SocialAccount.objects.create(user=social_alice, provider="gone", uid="subject-1")
    clock.shift(2 * TIMEOUT)
    assert_leads_to_provider(browser.get(MFA), provider)
    SocialAccount.objects.filter(provider="example").delete()
    assert browser.get(MFA).status_code == (200 if IS_LENIENT else 403)


def test_a_project_without_providers_of_the_user_refuses(browser, clock):
    SocialAccount.objects.all().delete()
    assert browser.get(MFA).status_code == 200
    clock.shift(2 * TIMEOUT)
    assert browser.get(MFA).status_code == (200 if IS_LENIENT else 403)


def password(user):
    user.set_password(PASSWORD)
    user.save()


def mailed_code(user):
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)


def second_factor(user):
    TOTP.activate(user, SECRET)


REAUTHENTICATE = {
    password: "reauthenticate/",
    mailed_code: "reauthenticate/",
    second_factor: "2fa/reauthenticate/",
}


METHODS = [each for each in REAUTHENTICATE if not (IS_LENIENT and each is mailed_code)]


@pytest.mark.parametrize("method", METHODS)
def test_a_user_with_a_method_of_allauths_is_asked_for_it(method, browser, provider, social_alice):
    """Neither a recent sign-in nor the way to the provider is sufficient then."""
    assert browser.get(CONNECTIONS).status_code == 200
    method(social_alice)
    browser.logout()
    come_back(browser, provider, browser.submit("/accounts/oidc/example/login/"))
    if method is second_factor:
        waiting = browser.get("/accounts/2fa/authenticate/")
        assert waiting.status_code == 200
        browser.submit("/accounts/2fa/authenticate/", {"code": totp_code()})
    page = browser.get("/accounts/2fa/recovery-codes/generate/" if method is second_factor else MFA)
    assert page.status_code == 302
    assert urlsplit(page.url).path.startswith(f"/accounts/{REAUTHENTICATE[method]}")


def test_an_app_of_headless_signs_in_recently_or_is_told(social_alice, provider, clock):
    app = App()
    token = {"client_id": "authmodes-tests", "id_token": provider.id_token()}
    body = {"provider": "example", "process": "login", "token": token}
    assert app.post("auth/provider/token", body).status_code == 200
    assert app.post("account/email", {"email": "one@example.com"}).status_code == 200
    clock.shift(TIMEOUT + 1)
    late = app.post("account/email", {"email": "two@example.com"})
    assert late.status_code == (200 if IS_LENIENT else 401)

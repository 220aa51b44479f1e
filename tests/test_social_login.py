"""One set of rules for every social login, whichever of allauth's flows it comes through."""

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.providers import registry as providers
from allauth.socialaccount.providers.google import views as google
from allauth.socialaccount.providers.google.provider import GoogleProvider
from django.core.cache import cache
from django.test import Client
from django.urls import include, path

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import UID, html_login, only_row, post_json, social_login
from .support.oidc_provider import CLIENT_ID
from .urls import urlpatterns as project_urlpatterns

REST, HEADLESS = "/auth/social/example/", "/_allauth/app/v1/auth/provider/token"
BUTTON = "/accounts/google/login/token/"
ALLAUTH_KEYS = google.jwtkit.lookup_kid_jwk


@pytest.fixture
def alice_at_provider(alice):
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    SocialAccount.objects.create(user=alice, provider="google", uid="subject-1")
    return alice


@pytest.fixture
def google_button(provider, settings, monkeypatch):
    """allauth's own view for Google's button, which asks the provider of the tests."""
    providers.load()
    monkeypatch.setitem(providers.provider_map, GoogleProvider.id, GoogleProvider)
    app = {"client_id": CLIENT_ID, "secret": "x"}
    settings.SOCIALACCOUNT_PROVIDERS = {"google": {"APPS": [app]}}
    monkeypatch.setattr(google, "CERTS_URL", f"{provider.url}/jwks")
    monkeypatch.setattr(google, "ID_TOKEN_ISSUER", provider.url)
    monkeypatch.setattr(google.jwtkit, "lookup_kid_pem_x509_certificate", ALLAUTH_KEYS)


urlpatterns = [
    path("accounts/", include("allauth.socialaccount.providers.google.urls")),
    *project_urlpatterns,
]


def send(entry_point, id_token, **token):
    if entry_point == "rest":
        return post_json(REST, {"mode": "jwt", "id_token": id_token, **token})
    if entry_point == "button":
        client = Client()
        client.cookies["g_csrf_token"] = "x"
        return client.post(BUTTON, {"g_csrf_token": "x", "credential": id_token})
    token = {"client_id": CLIENT_ID, "id_token": id_token, **token}
    return post_json(HEADLESS, {"provider": "example", "process": "login", "token": token})


FOREIGN = {
    "an access token": {"headers": {"typ": "at+jwt"}},
    "an access token of Keycloak's": {"typ": "Bearer"},
    "a refresh token of Keycloak's": {"typ": "Offline"},
    "for several, issued to another": {"aud": ["another", CLIENT_ID], "azp": "another"},
    "for several, issued to nobody": {"aud": ["another", CLIENT_ID]},
    "a logout token by its type": {"headers": {"typ": "logout+jwt"}},
    "a logout token by its events": {"events": {}},
    "with a nonce that the client does not name": {"nonce": "planted"},
    "with an extension": {"headers": {"crit": ["x"], "x": 1}},
    "of no date": {"iat": None},
    "of a date that is a text": {"iat": "1700000000"},
}


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("entry_point", ["rest", "headless", "button"])
def test_a_token_that_is_not_for_this_sign_in_is_refused_at_every_entry_point(
    what, entry_point, provider, alice_at_provider, request
):
    if entry_point == "button":
        request.getfixturevalue("google_button")
    response = send(entry_point, provider.id_token(**FOREIGN[what]))
    assert response.status_code == (400 if entry_point == "headless" else 401), response.content
    assert not LoginSession.objects.exists()


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("entry_point", ["rest", "headless", "button"])
def test_a_token_that_is_for_this_sign_in_is_accepted_once(
    entry_point, provider, alice_at_provider, request
):
    if entry_point == "button":
        request.getfixturevalue("google_button")
    id_token = provider.id_token(jti=None)
    assert send(entry_point, id_token).status_code in (200, 302)
    assert LoginSession.objects.get().user == alice_at_provider
    # allauth keeps the `jti` of a token in the cache, and this one has none.
    cache.clear()
    assert send(entry_point, id_token).status_code in (400, 401)
    assert LoginSession.objects.count() == 1


@pytest.mark.parametrize("entry_points", [("rest", "headless"), ("headless", "rest")])
def test_a_token_that_was_used_at_one_entry_point_is_refused_at_the_other(
    entry_points, provider, alice_at_provider
):
    id_token = provider.id_token(jti=None)
    assert [send(each, id_token).status_code for each in entry_points] in ([200, 400], [200, 401])


@pytest.mark.parametrize(("named", "status"), [("n-1", 200), ("n-2", 400), (5, 400), ("", 400)])
def test_headless_compares_the_nonce_that_the_client_names(
    named, status, provider, alice_at_provider
):
    response = send("headless", provider.id_token(nonce="n-1"), nonce=named)
    assert response.status_code == status
    if status == 400:
        assert response.json()["errors"][0]["code"] == "invalid_nonce"


@pytest.mark.parametrize("entry_point", ["rest", "headless"])
def test_an_address_of_doubtful_verification_opens_no_account(
    entry_point, provider, alice, settings
):
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    response = send(entry_point, provider.id_token(email=alice.email, email_verified="true"))
    assert response.status_code in (400, 401)
    assert not LoginSession.objects.exists()


def test_an_abandoned_sign_in_says_nothing_of_the_next_users(alice, bob):
    """In the same browser, by allauth's records of how a user authenticated."""
    TOTP.activate(alice, generate_totp_secret())
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    browser = Browser()
    assert social_login(browser).url == "/accounts/2fa/authenticate/"
    browser.submit("/accounts/logout/", {"next": "/accounts/login/"})
    html_login(browser, "bob")
    row = only_row()
    assert row.user == bob
    assert (row.method, row.provider, row.amr) == ("password", "", "pwd")

"""A client with a provider's token signs in: who it is, that it is for us, and only once."""

import base64
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount, SocialApp
from allauth.socialaccount.providers.facebook import flows as facebook
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.core.checks import run_checks
from django.db import connection, connections
from django.test import Client
from django.test.utils import override_settings
from django.utils.module_loading import import_string
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes.adapter import AuthModesAccountAdapter
from authmodes.models import ExpiringMark, LoginSession
from authmodes.signin import provider_session
from authmodes.signin.provider_tokens import _tidied

from .support.browser import Browser
from .support.logins import API, Login, in_mode, post_json
from .support.oidc_provider import CLIENT_ID, REDIRECT_URI, app_of

User = get_user_model()

ROOT = Path(__file__).parent.parent
PATH = "/auth/social/example/"
PROVIDERS = "allauth.socialaccount.providers"


@pytest.fixture
def connected(alice):
    """alice, who has connected the provider's account."""
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    return alice


def present(mode="jwt", path=PATH, browser=None, **body):
    return (browser or Browser()).send_json(path, {"mode": mode, **body})


def code_of(response):
    return response.status_code, response.json()["code"]


def assert_nothing_was_made(users=0):
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()
    assert not ExpiringMark.objects.exists()
    assert User.objects.count() == users


# -- a good one ----------------------------------------------------------------------------


def test_an_id_token_of_a_newcomer_signs_them_up_and_in(mode, provider):
    browser = Browser()
    response = present(mode, browser=browser, id_token=provider.id_token())
    assert response.status_code == 200, response.content
    used = Login(mode, browser, response.json())
    assert (used.row.mode, used.row.method, used.row.provider) == (mode, "socialaccount", "example")
    assert (used.row.provider_uid, used.row.provider_sid) == ("subject-1", "provider-session-1")
    assert used.row.amr == "fed"
    assert used.get().json() == {"username": "newcomer", "mode": mode}
    assert response["Cache-Control"] == "no-store"
    assert ("access" in response.json()) == (mode == "jwt")
    assert bool(browser.session_cookie) == (mode == "session")


def test_an_id_token_signs_in_whoever_has_connected_it(mode, provider, connected):
    response = present(mode, id_token=provider.id_token(email="other@example.com"))
    assert response.json()["user"]["username"] == "alice"
    assert User.objects.count() == 1


@pytest.mark.parametrize("kid", ["one", "ec-1"])
def test_tokens_of_each_common_algorithm_are_accepted(kid, provider):
    provider.kids[:] = [kid]
    algorithm = "ES256" if kid == "ec-1" else "RS256"
    id_token = provider.id_token(signed_by=kid, algorithm=algorithm)
    assert present(id_token=id_token).status_code == 200


def test_with_the_cookie_transport_the_tokens_are_in_cookies_only(provider):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie"):
        browser = Browser()
        response = present("jwt", browser=browser, id_token=provider.id_token())
        assert response.status_code == 200, response.content
        assert not {"access", "refresh"} & set(response.json())
        assert browser.get(API).json()["mode"] == "jwt"


@pytest.mark.parametrize(("mode", "transport"), [("session", "body"), ("jwt", "cookie")])
def test_where_the_answer_sets_a_cookie_csrf_is_enforced(mode, transport, provider):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT=transport):
        body = {"mode": mode, "id_token": provider.id_token()}
        response = post_json(PATH, body, Client(enforce_csrf_checks=True))
    assert code_of(response) == (403, "csrf_failed")
    assert_nothing_was_made()


def test_a_client_without_cookies_needs_no_csrf_token(provider):
    body = {"mode": "jwt", "id_token": provider.id_token()}
    assert post_json(PATH, body, Client(enforce_csrf_checks=True)).status_code == 200


def test_a_stale_credential_is_not_in_the_way(mode, provider):
    browser = Browser()
    browser.cookies["sessionid"] = "x" * 32
    headers = {"authorization": "Bearer stale"}
    body = {"mode": mode, "id_token": provider.id_token()}
    assert browser.send_json(PATH, body, headers=headers).status_code == 200


def test_nor_is_it_on_the_page_that_drf_makes_of_the_answer(mode, provider):
    body = {"mode": mode, "id_token": provider.id_token()}
    headers = {"authorization": "Bearer stale", "accept": "text/html"}
    response = Browser().send_json(PATH, body, headers=headers)
    assert response.status_code == 200
    assert "newcomer" in response.content.decode()


@pytest.mark.parametrize("on", ["session", "jwt"])
def test_a_mode_that_is_off_is_refused(on, provider):
    off = "jwt" if on == "session" else "session"
    with in_mode(AUTHMODES_MODE=on):
        response = present(off, id_token=provider.id_token())
    assert code_of(response) == (400, "mode_disabled")
    assert_nothing_was_made()


def test_a_new_login_in_a_browser_ends_the_one_it_held(provider, login, bob):
    browser = Browser()
    earlier = login("session", bob, browser)
    assert present("session", browser=browser, id_token=provider.id_token()).status_code == 200
    assert earlier.row.end_reason == "logout"
    assert browser.get(API).json()["username"] == "newcomer"


def test_the_list_says_what_each_provider_takes(provider, settings):
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "APPS": [
                app_of(provider.url),
                app_of(provider.url, "plain", oauth_pkce_enabled=False),
            ]
        },
        "facebook": {"APPS": [{"client_id": "fb", "secret": "x"}]},
        "github": {"APPS": [{"client_id": "gh", "secret": "x"}], "OAUTH_PKCE_ENABLED": True},
    }
    listed = {entry["id"]: entry for entry in Client().get("/auth/social/").json()}
    assert {name: entry["token"] for name, entry in listed.items()} == {
        "dummy": ["id_token"],
        "example": ["id_token", "code"],
        "plain": ["id_token"],
        "facebook": ["id_token", "access_token"],
        "github": ["code"],
    }
    assert listed["example"]["url"] == PATH


# -- a bad one -----------------------------------------------------------------------------

BAD = {
    "for another client": {"aud": "somebody-else"},
    "for several, issued to another": {"aud": [CLIENT_ID, "x"], "azp": "x"},
    "for several, issued to nobody": {"aud": [CLIENT_ID, "x"]},
    "for nobody": {"aud": None},
    "expired": {"exp": 1_700_000_000},
    "without an end": {"exp": None},
    "with an endless end": {"exp": 10**300},
    "with an end that is no number": {"exp": "soon"},
    "of another issuer": {"iss": "https://evil.example"},
    "of a similar issuer": {"iss": "http://127.0.0.1/"},
    "of no issuer": {"iss": None},
    "about nobody": {"sub": None},
    "about an empty subject": {"sub": ""},
    "about a number": {"sub": 5},
    "about an endless subject": {"sub": "x" * 300},
    "not valid yet": {"nbf": 4_000_000_000},
    "of an unknown key": {"headers": {"kid": "two"}},
    "of a key without a text for a name": {"headers": {"kid": ""}},
    "of another key under a known name": {"signed_by": "two", "headers": {"kid": "one"}},
    "unsigned": {"algorithm": "none"},
    "signed with the public key": {"algorithm": "HS256"},
    "of another kind of key": {
        "signed_by": "ec-1",
        "algorithm": "ES256",
        "headers": {"kid": "one"},
    },
    "with an extension": {"headers": {"crit": ["exp"], "exp": 1}},
    "a logout token by its type": {"headers": {"typ": "logout+jwt"}},
    "a logout token by its events": {"events": {}},
    "an access token by its type": {"headers": {"typ": "at+jwt"}},
    "an access token of Keycloak's": {"typ": "Bearer"},
    "with a NUL": {"given_name": "a\x00b"},
    "with a lone surrogate": {"given_name": "\ud800"},
    "of an issuer that is no text": {"iss": "\ud800"},
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_token_is_401_and_nothing_is_made(bad, provider):
    response = present(id_token=provider.id_token(**BAD[bad]))
    assert code_of(response) == (401, "invalid_provider_token")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'
    assert_nothing_was_made()


@pytest.mark.parametrize(
    "text", ["a.b.c", "\x00", "e30.e30.e30", "x" * 20_000, "é.é.é", "[" * 9000]
)
def test_what_is_no_token_at_all_is_4xx(text, provider):
    response = present(id_token=text)
    assert response.status_code in (400, 401)
    assert_nothing_was_made()
    assert provider.asked == []


@pytest.mark.parametrize("spoilt", ["payload", "signature"])
def test_a_token_that_was_tampered_with_is_401(spoilt, provider):
    header, payload, signature = provider.id_token().split(".")
    if spoilt == "payload":
        payload = provider.id_token(sub="subject-2").split(".")[1]
    else:
        signature = signature[::-1]
    response = present(id_token=f"{header}.{payload}.{signature}")
    assert code_of(response) == (401, "invalid_provider_token")
    assert_nothing_was_made()


@pytest.mark.parametrize(
    ("inside", "sent", "status"),
    [
        ("n-1", "n-1", 200),
        (None, None, 200),
        (None, "", 200),
        ("n-1", "n-2", 401),
        ("n-1", None, 401),
        (None, "n-1", 401),
    ],
)
def test_the_nonce_is_the_one_that_the_client_says(inside, sent, status, mode, provider):
    body = {} if sent is None else {"nonce": sent}
    response = present(mode, id_token=provider.id_token(nonce=inside), **body)
    assert response.status_code == status
    if status == 401:
        assert response.json()["code"] == "invalid_nonce"
        assert_nothing_was_made()


def test_a_wrong_nonce_does_not_use_the_token_up(provider):
    id_token = provider.id_token(nonce="n-1")
    assert present(id_token=id_token, nonce="wrong").status_code == 401
    assert present(id_token=id_token, nonce="n-1").status_code == 200


# -- once ----------------------------------------------------------------------------------


# The order of P-256.
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_another_signature(id_token):
    """The same token with the other of the two signatures that ECDSA accepts."""
    signed, _, signature = id_token.rpartition(".")
    raw = base64.urlsafe_b64decode(f"{signature}==")
    other = raw[:32] + (N - int.from_bytes(raw[32:])).to_bytes(32)
    return f"{signed}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}"


@pytest.mark.parametrize("jti", ["j-1", None])
def test_an_id_token_counts_once_whatever_process_it_comes_to(jti, mode, provider):
    provider.kids[:] = ["ec-1"]
    id_token = provider.id_token(signed_by="ec-1", algorithm="ES256", jti=jti)
    assert present(mode, id_token=id_token).status_code == 200
    # Another process may have another cache, which is what allauth goes by.
    cache.clear()
    for again in (id_token, with_another_signature(id_token)):
        assert code_of(present(mode, id_token=again)) == (401, "provider_token_replayed")
    assert LoginSession.objects.count() == ExpiringMark.objects.count() == 1
    ExpiringMark.objects.all().delete()
    if jti is None:
        # It is the row that refused it, whichever of its signatures it came with.
        assert present(mode, id_token=with_another_signature(id_token)).status_code == 200


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", [False, True])
def test_of_eight_at_once_one_signs_in_on_postgresql(known, provider, alice):
    if known:
        SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    # Without a `jti`, which allauth would count as well.
    id_token, barrier = provider.id_token(jti=None), threading.Barrier(8)

    def enter(mode):
        browser = Browser()
        browser.csrf()
        barrier.wait(timeout=60)
        try:
            return present(mode, browser=browser, id_token=id_token).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(enter, ["session", "jwt"] * 4)) == [200] + [401] * 7
    assert LoginSession.objects.count() == ExpiringMark.objects.count() == 1


def test_a_used_token_is_kept_for_as_long_as_it_could_be_presented(provider):
    exp = int(time.time()) + 300
    present(id_token=provider.id_token(exp=exp))
    assert ExpiringMark.objects.get().expires_at.timestamp() == exp


def test_a_token_that_allauth_has_seen_elsewhere_stays_used(provider):
    """allauth.headless and Google's button note a `jti` in the cache."""
    id_token = provider.id_token(jti="j-2")
    cache.add(f"jwt:iss={provider.url},jti=j-2", True)
    for _attempt in range(2):
        assert code_of(present(id_token=id_token)) == (401, "invalid_provider_token")
    assert_nothing_was_made()


# -- keys and outages ----------------------------------------------------------------------


def test_a_key_that_was_rotated_at_the_provider_is_fetched_anew(provider, clock):
    assert present(id_token=provider.id_token()).status_code == 200
    provider.kids[:] = ["two"]
    id_token = provider.id_token(signed_by="two")
    # The keys were fetched a moment ago, so the client is asked to try again.
    assert code_of(present(id_token=id_token)) == (503, "provider_unavailable")
    clock.shift(timedelta(seconds=11))
    assert present(id_token=id_token).status_code == 200
    clock.shift(timedelta(seconds=11))
    assert code_of(present(id_token=provider.id_token())) == (401, "invalid_provider_token")


@pytest.mark.parametrize("kind", ["id_token", "code"])
@pytest.mark.parametrize(
    ("kids", "status"), [(["one"], 200), (["one", "ec-1"], 200), (["one", "two"], 401)]
)
def test_a_token_that_names_no_key_is_accepted_where_only_one_fits(kind, kids, status, provider):
    provider.kids[:] = kids
    claims = {"headers": {"kid": None}}
    if kind == "id_token":
        response = present(id_token=provider.id_token(**claims))
    else:
        response = present(**provider.code_credential(**claims))
    assert response.status_code == status


def test_forged_tokens_make_us_fetch_each_document_once(provider):
    for number in range(20):
        id_token = provider.id_token(signed_by="two", headers={"kid": "one"}, sub=f"s-{number}")
        assert present(id_token=id_token).status_code == 401
    assert sorted(provider.asked) == ["jwks", "openid-configuration"]


@pytest.mark.parametrize(
    "claims",
    [{"aud": "x"}, {"iss": "https://evil.example"}, {"exp": 1_700_000_000}, {"nonce": "n"}],
)
def test_a_token_that_is_wrong_at_first_sight_makes_us_fetch_nothing(claims, provider):
    assert present(id_token=provider.id_token(**claims)).status_code == 401
    assert provider.asked == []


OUTAGES = [
    (kind, endpoint, fault)
    for kind, endpoints in {
        "id_token": ("openid-configuration", "jwks"),
        "code": ("openid-configuration", "jwks", "token", "userinfo"),
    }.items()
    for endpoint in endpoints
    for fault in ("500", "no json", "hang")
    # A time-out takes its time, and is the same wherever it comes.
    if fault != "hang" or endpoint in ("jwks", "token")
]


@pytest.mark.parametrize(("kind", "endpoint", "fault"), OUTAGES)
def test_a_provider_that_is_down_is_503_and_leaves_nothing(kind, endpoint, fault, provider, clock):
    credential = {
        "id_token": lambda: {"id_token": provider.id_token()},
        "code": lambda: provider.code_credential(),
    }[kind]()
    provider.faults[endpoint] = fault
    with override_settings(SOCIALACCOUNT_REQUESTS_TIMEOUT=0.2):
        response = present(**credential)
    assert code_of(response) == (503, "provider_unavailable")
    assert_nothing_was_made()
    provider.faults.clear()
    if kind == "id_token":
        # Nothing came of it, so it is as good as before when the provider is asked again.
        clock.shift(timedelta(seconds=11))
        assert present(**credential).status_code == 200


def test_a_provider_that_is_gone_is_503(mode, provider, settings):
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app_of("http://127.0.0.1:9")]}}
    response = present(mode, id_token=provider.id_token(iss="http://127.0.0.1:9"))
    assert code_of(response) == (503, "provider_unavailable")
    assert_nothing_was_made()


def test_an_outage_is_logged_without_the_token(provider, caplog):
    provider.faults["jwks"] = "500"
    id_token = provider.id_token()
    present(id_token=id_token)
    assert "provider_failed provider=example error=HTTPError" in caplog.text
    assert id_token[:40] not in caplog.text


# -- which user it is -----------------------------------------------------------------------------


def test_the_same_address_at_a_second_provider_is_not_the_same_person(mode, provider, settings):
    second = {**app_of(provider.url, "second"), "client_id": "second"}
    apps = [app_of(provider.url), second]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": apps}}
    assert present(id_token=provider.id_token()).status_code == 200
    first = LoginSession.objects.get()
    theirs = {"aud": "second", "preferred_username": "second"}
    response = present(mode, "/auth/social/second/", id_token=provider.id_token(**theirs))
    assert code_of(response) == (401, "stage_pending")
    assert response.json()["stage"] == "provider_signup"
    assert response.json()["continue"]["fields"] == ["email"]
    assert LoginSession.objects.get() == first
    # A different user with a different address may sign up.
    id_token = provider.id_token(**theirs)
    response = present(mode, "/auth/social/second/", id_token=id_token, email="o@example.com")
    assert response.json()["user"]["id"] != str(first.user_id)


def test_another_subject_with_the_same_address_is_not_the_same_person(mode, provider):
    assert present(id_token=provider.id_token()).status_code == 200
    response = present(mode, id_token=provider.id_token(sub="subject-2"))
    assert code_of(response) == (401, "stage_pending")


@override_settings(SOCIALACCOUNT_EMAIL_AUTHENTICATION=True)
def test_logins_by_an_unverified_address_end_when_its_owner_signs_in(mode, provider, alice, login):
    earlier = [login("session"), login("jwt")]
    EmailAddress.objects.create(user=alice, email="alice@example.com", verified=False)
    response = present(mode, id_token=provider.id_token(email="alice@example.com"))
    assert response.json()["user"]["username"] == "alice"
    assert [used.get().status_code for used in earlier] == [401, 401]
    alice.refresh_from_db()
    assert not alice.has_usable_password()


@pytest.mark.parametrize("verified", ["false", "true", 1, None])
@override_settings(SOCIALACCOUNT_EMAIL_AUTHENTICATION=True)
def test_only_true_makes_an_address_verified(verified, provider, alice):
    id_token = provider.id_token(email="alice@example.com", email_verified=verified)
    response = present(id_token=id_token)
    assert code_of(response) == (401, "stage_pending")
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize("source", ["userinfo", "id_token"])
@override_settings(SOCIALACCOUNT_EMAIL_AUTHENTICATION=True)
def test_only_true_makes_an_address_of_a_code_verified(source, provider, alice):
    claims = {"email": "alice@example.com"}
    text = {"email_verified": "true"}
    provider.userinfo = {**claims, "email_verified": True, **(text if source == "userinfo" else {})}
    credential = provider.code_credential(**claims, **(text if source == "id_token" else {}))
    assert code_of(present(**credential)) == (401, "stage_pending")
    provider.userinfo["email_verified"] = True
    assert present(**provider.code_credential(**claims)).json()["user"]["username"] == "alice"


@override_settings(SOCIALACCOUNT_EMAIL_AUTHENTICATION=True)
def test_a_project_may_vouch_for_a_providers_addresses(provider, alice, settings):
    app = app_of(provider.url)
    app["settings"]["verified_email"] = ["example.com"]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app]}}
    id_token = provider.id_token(email="alice@example.com", email_verified="false")
    assert present(id_token=id_token).json()["user"]["username"] == "alice"


@pytest.mark.parametrize(
    ("provider_id", "claim", "verified"),
    [
        ("apple", "true", True),
        ("apple", "false", False),
        ("amazon_cognito", "true", True),
        ("google", "true", False),
        ("google", "false", False),
        ("google", True, True),
    ],
)
def test_text_is_a_boolean_only_where_the_provider_documents_it(rf, provider_id, claim, verified):
    provider = import_string(f"{PROVIDERS}.{provider_id}.provider.provider_classes")[0]
    claims = {"sub": "1", "email": "alice@example.com", "email_verified": claim}
    request = rf.get("/")
    app = SocialApp(provider=provider_id, client_id="one")
    login = provider(request, app=app).sociallogin_from_response(request, claims)
    assert _tidied(login).email_addresses[0].verified is verified


def test_an_inactive_user_gets_no_login_and_keeps_the_token(mode, provider, connected):
    User.objects.update(is_active=False)
    response = present(mode, id_token=provider.id_token())
    assert code_of(response) == (401, "user_inactive")
    assert_nothing_was_made(users=1)


class ClosedAdapter(AuthModesAccountAdapter):
    def is_open_for_signup(self, request):
        return False


@override_settings(ACCOUNT_ADAPTER=f"{__name__}.ClosedAdapter")
def test_where_sign_up_is_closed_a_newcomer_is_403(mode, provider, alice):
    assert code_of(present(mode, id_token=provider.id_token())) == (403, "signup_closed")
    assert_nothing_was_made(users=1)
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    assert present(mode, id_token=provider.id_token()).status_code == 200


def test_a_login_over_the_limit_leaves_the_token_unused(mode, provider, connected, login):
    login("jwt")
    with override_settings(AUTHMODES_MAX_LOGIN_SESSIONS=1, AUTHMODES_LIMIT_POLICY="refuse"):
        response = present(mode, id_token=provider.id_token())
    assert code_of(response) == (403, "limit_reached")
    assert LoginSession.objects.count() == 1
    assert not ExpiringMark.objects.exists()


def test_of_two_sign_ups_at_once_one_makes_no_half_user(mode, provider, monkeypatch):
    """The other call has made the account since this one looked for it."""

    def lookup(sociallogin):
        sociallogin._did_authenticate_by_email = None

    monkeypatch.setattr("allauth.socialaccount.models.SocialLogin.lookup", lookup)
    first = present(mode, id_token=provider.id_token(email=None))
    assert first.status_code == 200
    response = present(mode, id_token=provider.id_token(email=None))
    assert code_of(response) == (409, "conflict")
    assert User.objects.count() == SocialAccount.objects.count() == 1
    assert ExpiringMark.objects.count() == LoginSession.objects.count() == 1


@override_settings(ACCOUNT_RATE_LIMITS={"login": "3/m/ip"})
def test_attempts_are_limited(provider):
    answers = [present(id_token="a.b.c") for _attempt in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert answers[-1]["Retry-After"]


# -- access tokens -------------------------------------------------------------------------


def test_an_access_token_alone_identifies_nobody(mode, provider):
    response = present(mode, access_token="provider-access-token")
    assert code_of(response) == (400, "audience_unverifiable")
    assert response.json()["supported"] == ["id_token", "code"]
    assert provider.asked == []
    assert_nothing_was_made()


def test_of_an_access_token_beside_an_id_token_nothing_is_believed(provider):
    provider.userinfo = {"sub": "somebody-else"}
    response = present(access_token="of-somebody-else", id_token=provider.id_token())
    assert response.status_code == 200
    assert SocialAccount.objects.get().uid == "subject-1"
    assert "userinfo" not in provider.asked


@pytest.fixture
def graph(provider, settings, monkeypatch):
    """Facebook's API as allauth asks it; `app` is whom the access token was issued to."""
    settings.SOCIALACCOUNT_PROVIDERS = {
        "facebook": {"APPS": [{"client_id": "fb", "secret": "x"}]},
    }
    monkeypatch.setattr(facebook, "GRAPH_API_URL", f"{provider.url}/graph")
    inspected = {"app_id": "fb", "is_valid": True}
    answers = {
        "access_token": (200, {"access_token": "app-token"}),
        "debug_token": (200, {"data": inspected}),
        "me": (200, {"id": "f-1", "name": "F"}),
    }
    for name in answers:
        monkeypatch.setattr(
            type(provider), f"_{name}", lambda self, posted, n=name: answers[n], raising=False
        )
    return answers


def test_facebook_tells_whom_its_access_token_was_issued_to(mode, graph):
    for _again in range(2):
        response = present(mode, "/auth/social/facebook/", access_token="t")
        assert response.status_code == 200, response.content
    assert SocialAccount.objects.get().uid == "f-1"


@pytest.mark.parametrize(
    ("status", "data", "expected"),
    [
        (200, {"app_id": "another-app", "is_valid": True}, 401),
        (200, {"app_id": "fb", "is_valid": False}, 401),
        (400, {}, 401),
        (500, {}, 503),
        (200, {"app_id": "fb"}, 503),
    ],
)
def test_an_access_token_of_another_app_is_refused(status, data, expected, graph):
    graph["debug_token"] = (status, {"data": data})
    response = present(path="/auth/social/facebook/", access_token="t")
    assert response.status_code == expected
    assert_nothing_was_made()


def test_a_provider_of_no_id_tokens_says_what_it_takes(provider, settings):
    apps = {"APPS": [{"client_id": "gh", "secret": "x"}]}
    settings.SOCIALACCOUNT_PROVIDERS = {"github": apps}
    for kind in ({"id_token": provider.id_token()}, provider.code_credential()):
        response = present(path="/auth/social/github/", **kind)
        assert code_of(response) == (400, "unsupported_credential")
        assert response.json()["supported"] == []


# -- codes ---------------------------------------------------------------------------------


def test_a_code_with_its_verifier_signs_in(mode, provider):
    response = present(mode, **provider.code_credential())
    assert response.status_code == 200, response.content
    assert SocialAccount.objects.get().uid == "subject-1"
    assert LoginSession.objects.get().provider_sid == "provider-session-1"
    # The provider's own tokens stay here.
    assert b"provider-access-token" not in response.content


def test_a_code_counts_once_and_with_its_verifier_only(mode, provider):
    used = provider.code_credential()
    assert present(mode, **used).status_code == 200
    planted = {**provider.code_credential(), "code_verifier": "w" * 43}
    for bad in (used, planted):
        assert code_of(present(mode, **bad)) == (401, "invalid_grant")
    assert LoginSession.objects.count() == 1


@pytest.mark.parametrize("missing", ["code_verifier", "redirect_uri"])
def test_a_code_without_verifier_or_redirect_uri_is_400(missing, mode, provider):
    body = provider.code_credential()
    del body[missing]
    response = present(mode, **body)
    assert code_of(response) == (400, "invalid")
    assert missing in response.json()["errors"]
    assert provider.asked == []


@pytest.mark.parametrize("uri", ["https://evil.example/", f"{REDIRECT_URI}/", f"{REDIRECT_URI}?x"])
def test_a_code_that_was_sent_elsewhere_is_refused(uri, mode, provider):
    response = present(mode, **provider.code_credential(uri))
    assert code_of(response) == (400, "invalid_redirect_uri")
    assert provider.asked == []
    assert_nothing_was_made()


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "somebody-else"},
        {"iss": "https://evil.example"},
        {"exp": 1_700_000_000},
        {"signed_by": "two", "headers": {"kid": "one"}},
        {"algorithm": "none"},
        {"algorithm": "HS256"},
        # What the userinfo says is of somebody else then.
        {"sub": "subject-2"},
    ],
)
def test_the_id_token_that_comes_for_a_code_is_checked(claims, mode, provider):
    response = present(mode, **provider.code_credential(**claims))
    assert code_of(response) == (401, "invalid_provider_token")
    assert_nothing_was_made()


@pytest.mark.parametrize(
    ("inside", "sent", "status"),
    [("n", "n", 200), ("n", "m", 401), ("n", "", 401), (None, "n", 401)],
)
def test_a_code_is_held_against_its_nonce(inside, sent, status, provider):
    response = present(**provider.code_credential(nonce=inside), nonce=sent)
    assert response.status_code == status


@pytest.mark.parametrize("entry_point", ["rest", "page"])
@pytest.mark.parametrize("endpoint", ["token", "userinfo"])
def test_a_redirect_of_the_provider_is_not_followed(entry_point, endpoint, provider, monkeypatch):
    """A 307 would carry the code, its verifier and the client's secret to a different host."""
    monkeypatch.setattr(
        type(provider), f"_{endpoint}", lambda self, posted: (307, f"{self.url}/elsewhere")
    )
    if entry_point == "rest":
        response = present(**provider.code_credential())
        assert code_of(response) == (503, "provider_unavailable")
    else:
        browser = Browser()
        state = browser.submit("/auth/social/example/start/?mode=session").url
        state = parse_qs(urlsplit(state).query)["state"][0]
        response = browser.get(f"/accounts/oidc/example/login/callback/?code=c&state={state}")
        assert response.status_code == 401
    assert "elsewhere" not in provider.asked
    assert_nothing_was_made()


def test_a_response_of_the_token_endpoint_has_bounds(provider):
    provider.token_changes = {"padding": "x" * provider_session.MAX_LENGTH}
    assert code_of(present(**provider.code_credential())) == (503, "provider_unavailable")


# -- bad input -----------------------------------------------------------------------------

VALUES = [None, ["x"], "a\x00b", "\ud800", "x" * 1_000_000]
FIELDS = [
    *("id_token", "access_token", "code", "code_verifier", "redirect_uri", "nonce"),
    *("client_id", "mode", "process", "mfa_code", "username", "email"),
]


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_wrong_kind_is_4xx(field, provider):
    client = Client(raise_request_exception=False)
    for value in VALUES:
        credential = provider.code_credential() if field.startswith(("code", "red")) else {}
        body = {**(credential or {"id_token": "a.b.c"}), "mode": "jwt", field: value}
        response = client.post(PATH, json.dumps(body), "application/json")
        assert 400 <= response.status_code < 500, (value, response.content[:200])
        assert isinstance(response.json()["code"], str)
        assert len(response.content) < 5000
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("data", ["[]", "5", "{", "null", "[" * 100_000, '{"x": ' * 900])
def test_a_body_that_is_no_object_is_400(data, provider):
    for method in ("post", "delete"):
        response = getattr(Client(), method)(PATH, data, "application/json")
        assert response.status_code in (400, 401), response.content


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "5", "null", "{}", '{"id": []}', '{"id": {}}', "[" * 10_000, '{"id": 1e999}'),
        *('{"id": 1, "email": ["x"]}', '{"id": "\\u0000"}', '{"id": ' + "9" * 5000 + "}"),
    ],
)
def test_a_dummy_token_that_makes_no_sense_is_4xx(text, db):
    client = Client(raise_request_exception=False)
    response = post_json("/auth/social/dummy/", {"mode": "jwt", "id_token": text}, client)
    assert response.status_code in (400, 401), response.content
    assert not LoginSession.objects.exists()


def test_the_dummy_provider_takes_its_json(mode, db):
    for _again in range(2):
        response = present(mode, "/auth/social/dummy/", id_token='{"id": 7, "username": "dee"}')
        assert response.json()["user"]["username"] == "dee"


@pytest.mark.parametrize("name", ["nobody", "%00", "x" * 5000, "..", "openid_connect", "EXAMPLE"])
def test_an_unknown_provider_is_404(name, provider):
    response = present(path=f"/auth/social/{name}/", id_token=provider.id_token())
    assert response.status_code == 404


def test_nothing_is_done_by_another_method(provider):
    for method in ("get", "head", "put", "patch"):
        assert getattr(Client(), method)(PATH).status_code == 405
    assert Client().options(PATH).status_code == 200


def test_two_credentials_at_once_or_none_are_400(provider):
    assert code_of(present()) == (400, "invalid")
    both = {**provider.code_credential(), "id_token": provider.id_token()}
    assert code_of(present(**both)) == (400, "invalid")


def test_an_app_of_the_same_provider_may_be_named(provider, settings):
    phone = {**app_of(provider.url), "client_id": "phone"}
    phone["settings"] = {**phone["settings"], "hidden": True}
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"APPS": [phone, app_of(provider.url)]},
    }
    for_phone = provider.id_token(aud="phone", jti=secrets.token_hex(4))
    assert present(id_token=for_phone).status_code == 401
    assert present(id_token=for_phone, client_id="phone").status_code == 200
    assert present(id_token=provider.id_token()).status_code == 200
    assert present(id_token=provider.id_token(), client_id="x").status_code == 404


def test_a_browser_is_sent_by_the_app_that_is_not_hidden(provider, settings):
    phone = {**app_of(provider.url, hidden=True), "client_id": "phone"}
    apps = [phone, app_of(provider.url)]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": apps}}
    listed = [one["id"] for one in Client().get("/auth/social/").json()]
    assert listed.count("example") == 1
    response = Client().post("/auth/social/example/start/?mode=session")
    assert f"client_id={CLIENT_ID}" in response["Location"]


def test_a_project_may_do_without_social_accounts(tmp_path):
    (tmp_path / "unsocial.py").write_text(
        "from tests.settings import *\n"
        "INSTALLED_APPS = [name for name in INSTALLED_APPS if 'socialaccount' not in name]\n"
    )
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "unsocial",
        # From Django 6.1 on, checks connect to PostgreSQL.
        "TEST_DATABASE": "sqlite",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    command = [sys.executable, "-m", "django", "check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("alg", [[], {}, None, 1])
def test_an_algorithm_that_is_no_text_is_none(alg, provider):
    # PyJWT would not make one.
    head = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "one"}).encode()).decode()
    id_token = ".".join([head.rstrip("="), *provider.id_token().split(".")[1:]])
    assert code_of(present(id_token=id_token)) == (401, "invalid_provider_token")
    assert_nothing_was_made()


# -- which user it is, letter by letter -----------------------------------------------------------

# To a collation such as utf8mb4_general_ci, each is "subject-1".
TWINS = ["SUBJECT-1", "subject-1 ", "sübject-1"]


@pytest.mark.parametrize("sub", TWINS)
@pytest.mark.parametrize("process", ["login", "connect", "headless"])
def test_another_subject_is_another_person(sub, process, provider, connected, login, bob):
    id_token = provider.id_token(sub=sub, email="other@example.com")
    if process == "headless":
        token = {"client_id": CLIENT_ID, "id_token": id_token}
        body = {"provider": "example", "process": "login", "token": token}
        response = post_json("/_allauth/app/v1/auth/provider/token", body)
        name = response.json().get("data", {}).get("user", {}).get("username")
    elif process == "connect":
        body = {"process": "connect", "id_token": id_token}
        response, name = login("jwt", bob).post(PATH, body), "bob"
    else:
        response = present(id_token=id_token)
        name = response.json().get("user", {}).get("username")
    if connection.vendor == "mysql" and response.status_code == 403:
        # Its unique index has no room for both.
        assert SocialAccount.objects.get().user == connected
        return
    assert response.status_code == 200, response.content
    assert SocialAccount.objects.get(uid=sub).user == User.objects.get(username=name) != connected
    assert SocialAccount.objects.get(uid="subject-1").user == connected


def test_mysql_is_warned_of_a_collation_that_takes_subjects_for_one(alice):
    messages = run_checks(tags=["database"], databases=["default"])
    is_mysql = connection.vendor == "mysql"
    assert ("authmodes.W010" in {message.id for message in messages}) == is_mysql

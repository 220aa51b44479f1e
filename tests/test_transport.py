"""Tokens in cookies: their attributes, CSRF, and that no cookie is ever in the way."""

import json
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.test import Client, RequestFactory
from django.test.utils import override_settings
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.exceptions import TokenTooLarge
from authmodes.models import AuthorizationCode, LoginSession
from authmodes.registry import validation
from authmodes.tokens import RefreshToken, cookies, mint

from .support.authorization_code import CodeFlow, code_grant, redirect_query
from .support.browser import Browser
from .support.logins import API, PASSWORD, Login, html_login, post_json, sign_in, social_login
from .support.mfa import SECRET, totp_code

ACCESS, REFRESH = "__Host-authmodes_access", "__Host-authmodes_refresh"
COOKIES = (ACCESS, REFRESH)
BODY = {"username": "alice", "password": PASSWORD, "mode": "jwt"}

in_cookies = override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie")


@pytest.fixture(autouse=True)
def _token_cookies():
    with in_cookies:
        yield


def values_of(browser, names=COOKIES):
    return {name: browser.cookies[name].value for name in names if name in browser.cookies}


def plant(browser, **values):
    for name, value in values.items():
        browser.cookies[{"access": ACCESS, "refresh": REFRESH}.get(name, name)] = value


def attributes_of(morsel):
    return {name: morsel[name] for name in ("path", "domain", "secure", "httponly", "samesite")}


HOST_BOUND = {"path": "/", "domain": "", "secure": True, "httponly": True, "samesite": "Lax"}


# -- every way to get token cookies --------------------------------------------------------


def by_login(browser, alice):
    return sign_in("jwt", browser)


def by_simplejwts_endpoint(browser, alice):
    return browser.send_json("/auth/token/", {"username": "alice", "password": PASSWORD})


def by_refresh(browser, alice):
    sign_in("jwt", browser)
    return browser.send_json("/auth/token/refresh/")


def by_allauths_page(browser, alice):
    with override_settings(AUTHMODES_MODE="jwt", ACCOUNT_SESSION_REMEMBER=True):
        return html_login(browser, "alice")


def by_social_login(browser, alice):
    alice.socialaccount_set.create(provider="dummy", uid="4711")
    return social_login(browser, mode="jwt")


WAYS = [by_login, by_simplejwts_endpoint, by_refresh, by_allauths_page, by_social_login]


@pytest.mark.parametrize("way", WAYS)
def test_token_cookies_are_bound_to_the_host_and_closed_to_scripts(way, alice):
    response = way(Browser(), alice)
    assert set(COOKIES) <= set(response.cookies)
    for name in COOKIES:
        assert attributes_of(response.cookies[name]) == HOST_BOUND
        assert response.cookies[name]["max-age"] > 0
        assert len(name) + len(response.cookies[name].value) + 1 <= 4096


@pytest.mark.parametrize("way", WAYS)
def test_a_token_is_told_by_set_cookie_and_nowhere_else(way, alice):
    browser = Browser()
    response = way(browser, alice)
    text = response.content.decode() + json.dumps(dict(response.headers))
    for value in values_of(browser).values():
        assert value.split(".")[2] not in text
    if response["Content-Type"].startswith("application/json"):
        assert not {"access", "refresh"} & set(response.json())


@pytest.mark.parametrize("way", WAYS)
def test_a_login_whose_tokens_come_in_cookies_leaves_no_django_session(way, alice):
    browser = Browser()
    way(browser, alice)
    assert browser.get(API).json() == {"username": "alice", "mode": "jwt"}
    assert browser.get("/probe/page/").status_code == 302
    assert [row.mode for row in LoginSession.objects.all()] == ["jwt"]


@override_settings(AUTHMODES_COOKIE_SECURE=False)
@pytest.mark.parametrize("way", WAYS)
def test_without_https_the_cookies_have_names_that_a_browser_takes(way, alice):
    """`__Host-` is refused without `Secure` (RFC 6265bis, 4.1.3.2)."""
    browser = Browser()
    response = way(browser, alice)
    assert {"authmodes_access", "authmodes_refresh"} <= set(response.cookies)
    assert not set(COOKIES) & set(response.cookies)
    for name in ("authmodes_access", "authmodes_refresh"):
        assert attributes_of(response.cookies[name]) == {**HOST_BOUND, "secure": ""}
    assert browser.get(API).status_code == 200


def test_the_insecure_names_open_nothing_where_cookies_are_secure(alice):
    """A sibling domain could plant them."""
    browser = sign_in("jwt").client
    stranger = Browser()
    plant(
        stranger,
        authmodes_access=values_of(browser)[ACCESS],
        authmodes_refresh=values_of(browser)[REFRESH],
    )
    assert stranger.get(API).status_code == 401
    assert stranger.send_json("/auth/token/refresh/").status_code in (400, 401)
    assert LoginSession.objects.active().count() == 1


@pytest.mark.parametrize("debug", [True, False])
def test_cookies_are_secure_unless_debug_is_on(debug, alice, settings):
    settings.DEBUG = debug
    response = sign_in("jwt")
    assert (ACCESS in response.cookies) is not debug


# -- how long ------------------------------------------------------------------------------


def test_max_age_is_how_long_the_token_counts(alice, clock):
    response = sign_in("jwt")
    assert response.cookies[ACCESS]["max-age"] == 5 * 60
    assert response.cookies[REFRESH]["max-age"] == 24 * 60 * 60


def test_max_age_never_goes_beyond_the_absolute_end(alice, clock):
    with override_settings(AUTHMODES_ABSOLUTE_LIFETIME=timedelta(hours=30)):
        browser = sign_in("jwt").client
    for hours_left in (18, 6):
        clock.shift(timedelta(hours=12))
        response = browser.send_json("/auth/token/refresh/")
        assert response.status_code == 200
        assert response.cookies[REFRESH]["max-age"] == hours_left * 3600
    clock.shift(timedelta(hours=5, minutes=58))
    response = browser.send_json("/auth/token/refresh/")
    assert response.cookies[REFRESH]["max-age"] == 120
    assert response.cookies[ACCESS]["max-age"] == 120


def test_a_retry_within_the_grace_does_not_stretch_the_cookie(alice, clock):
    browser = sign_in("jwt").client
    before = values_of(browser)
    first = browser.send_json("/auth/token/refresh/").cookies[REFRESH]
    value, max_age = first.value, first["max-age"]
    clock.shift(timedelta(seconds=7))
    plant(browser, refresh=before[REFRESH])
    second = browser.send_json("/auth/token/refresh/").cookies[REFRESH]
    assert (second.value, second["max-age"]) == (value, max_age - 7)


# -- "remember me" -------------------------------------------------------------------------


def lifetimes_of(response):
    """`Max-Age` and `Expires` of both token cookies."""
    return {response.cookies[name][each] for name in COOKIES for each in ("max-age", "expires")}


def on_a_page(browser, url, remember):
    """Fill in allauth's login form, whose box is not sent if it is not ticked."""
    ticked = {"remember": "on"} if remember else {}
    browser.get(url)
    return browser.submit(url, {"login": "alice", "password": PASSWORD, **ticked})


def redeem(flow, redirect):
    body = code_grant(redirect_query(redirect)["code"], flow.verifier)
    return flow.browser.send_json("/auth/token/", body)


def authorize_url(flow):
    asked = {**flow.parameters(), "client_id": "app", "redirect_uri": flow.next}
    return f"/auth/authorize/?{urlencode({**asked, 'response_type': 'code'})}"


def remember_by_login(browser, alice, remember):
    return sign_in("jwt", browser, remember=remember)


def remember_by_allauths_page(browser, alice, remember):
    with override_settings(AUTHMODES_MODE="jwt"):
        return on_a_page(browser, "/accounts/login/", remember)


def remember_through_a_second_factor(browser, alice, remember):
    TOTP.activate(alice, SECRET)
    with override_settings(AUTHMODES_MODE="jwt"):
        stage = on_a_page(browser, "/accounts/login/", remember)
        return browser.submit(stage.url, {"code": totp_code()})


def remember_by_a_code(browser, alice, remember):
    flow = CodeFlow(browser)
    page = browser.get(authorize_url(flow)).url
    return redeem(flow, on_a_page(browser, page, remember))


def remember_by_a_code_of_a_signed_in_user(browser, alice, remember):
    flow = CodeFlow(browser)
    sign_in("session", browser, remember=remember)
    return redeem(flow, browser.get(authorize_url(flow)))


def remember_by_setting(browser, alice, remember):
    """What Django's setting says of the session cookies of social logins."""
    with override_settings(SESSION_EXPIRE_AT_BROWSER_CLOSE=not remember):
        return by_social_login(browser, alice)


REMEMBERING = [
    remember_by_login,
    remember_by_allauths_page,
    remember_through_a_second_factor,
    remember_by_a_code,
    remember_by_a_code_of_a_signed_in_user,
    remember_by_setting,
]


@pytest.mark.parametrize("way", REMEMBERING)
def test_token_cookies_end_with_the_browser_for_a_user_who_is_not_remembered(way, alice, clock):
    browser = Browser()
    first = way(browser, alice, remember=False)
    assert lifetimes_of(first) == {""}
    assert first.cookies["csrftoken"]["max-age"] > 0
    before = values_of(browser)
    assert lifetimes_of(browser.send_json("/auth/token/refresh/")) == {""}
    successor = values_of(browser)[REFRESH]
    plant(browser, refresh=before[REFRESH])
    assert lifetimes_of(browser.send_json("/auth/token/refresh/")) == {""}
    assert values_of(browser)[REFRESH] == successor
    assert lifetimes_of(browser.send_json("/auth/token/refresh/")) == {""}


@pytest.mark.parametrize("way", REMEMBERING)
def test_token_cookies_outlast_the_browser_for_a_user_who_is_remembered(way, alice):
    browser = Browser()
    assert "" not in lifetimes_of(way(browser, alice, remember=True))
    assert "" not in lifetimes_of(browser.send_json("/auth/token/refresh/"))


@pytest.mark.parametrize("remember", [True, False])
def test_the_latest_sign_in_decides_whether_the_user_is_remembered(remember, alice):
    browser = Browser()
    sign_in("jwt", browser, remember=not remember)
    response = sign_in("jwt", browser, remember=remember)
    assert ("" in lifetimes_of(response)) is not remember


@pytest.mark.parametrize("remember", [True, False])
def test_allauths_setting_decides_for_all_users(remember, alice, settings):
    settings.ACCOUNT_SESSION_REMEMBER = remember
    page = remember_by_allauths_page(Browser(), alice, remember=not remember)
    assert ("" in lifetimes_of(page)) is not remember
    assert ("" in lifetimes_of(sign_in("jwt", remember=not remember))) is not remember


def test_a_token_in_a_body_does_not_say_whether_the_user_is_remembered(alice):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="body"):
        answer = sign_in("jwt", remember=False).json()
    assert "persistent" not in RefreshToken(answer["refresh"]).payload


# -- CSRF ----------------------------------------------------------------------------------


def without_token(path):
    return {}


def with_a_wrong_token(path):
    return {"x-csrftoken": "x" * 32}


def with_a_junk_header(path):
    return {"authorization": "Basic YTpi"}


def state_of_the_database():
    return (
        list(LoginSession.objects.order_by("pk").values()),
        list(OutstandingToken.objects.order_by("pk").values()),
        AuthorizationCode.objects.count(),
    )


@pytest.mark.parametrize("headers", [without_token, with_a_wrong_token, with_a_junk_header])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/auth/login/", BODY),
        ("post", "/auth/token/", BODY),
        ("post", "/auth/token/refresh/", {}),
        ("post", "/auth/token/", code_grant("x", "v" * 43)),
        ("post", "/auth/logout/", {}),
        ("delete", "/auth/sessions/", {}),
        ("delete", "/auth/sessions/?all=1", {}),
        ("delete", "/auth/sessions/{sid}/", {}),
        ("post", API, {}),
        ("put", API, {}),
        ("patch", API, {}),
        ("delete", API, {}),
    ],
)
def test_an_unsafe_call_without_a_csrf_token_is_403_and_does_nothing(
    method, path, body, headers, alice, clock
):
    response = sign_in("jwt")
    browser = response.client
    path = path.format(sid=response.json()["sid"])
    before, cookies = state_of_the_database(), values_of(browser)
    refused = getattr(browser, method)(
        path, json.dumps(body), "application/json", headers=headers(path)
    )
    assert (refused.status_code, set(refused.cookies) & set(COOKIES)) == (403, set())
    assert state_of_the_database() == before
    assert values_of(browser) == cookies
    assert browser.get(API).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/refresh/", "/auth/logout/", API])
def test_a_cross_site_form_gets_nowhere(path, content_type, alice):
    """A form needs no preflight, and `text/plain` can look like JSON."""
    browser = sign_in("jwt").client
    before = state_of_the_database()
    body = urlencode(BODY) if "form" in content_type else json.dumps(BODY)
    response = browser.post(path, body, content_type, headers={"origin": "https://evil.example"})
    assert response.status_code in (403, 415)
    assert state_of_the_database()[1:] == before[1:]
    assert LoginSession.objects.active().count() == 1


@pytest.mark.parametrize("path", ["/auth/token/refresh/", "/auth/logout/", API])
def test_a_csrf_token_does_not_help_a_foreign_origin(path, alice):
    browser = sign_in("jwt").client
    response = browser.send_json(path, headers={"origin": "https://evil.example"})
    assert response.status_code == 403
    assert browser.get(API).status_code == 200


def test_a_bearer_header_needs_no_csrf_token(alice):
    browser = sign_in("jwt").client
    header = {"authorization": f"Bearer {values_of(browser)[ACCESS]}"}
    assert Client(enforce_csrf_checks=True).post(API, headers=header).status_code == 200


# -- stale, foreign and garbage cookies ----------------------------------------------------


@pytest.fixture(params=["garbage", "expired", "revoked", "bobs", "swapped", "deleted", "cookie"])
def stale(request, alice, bob, clock):
    """A browser with token cookies that are not the ones it should have."""
    browser = Browser()
    kind = request.param
    if kind == "garbage":
        plant(browser, access="a.b.c", refresh="\u00e4%00;")
        return browser
    if kind == "cookie":
        # Of a login for cookies: its session id where a token should be.
        browser = sign_in("session", browser).client
        plant(browser, access=browser.session_cookie, refresh=browser.session_cookie)
        return browser
    sign_in("jwt", browser, username="bob")
    if kind == "expired":
        clock.shift(timedelta(days=40))
    elif kind == "revoked":
        registry.revoke_all(LoginSession.objects.all())
    elif kind == "swapped":
        held = values_of(browser)
        plant(browser, access=held[REFRESH], refresh=held[ACCESS])
    elif kind == "deleted":
        bob.delete()
    return browser


def test_no_cookie_blocks_a_login_for_tokens(stale):
    response = sign_in("jwt", stale)
    browser = response.client
    assert browser.get(API).json() == {"username": "alice", "mode": "jwt"}
    assert response.json()["user"]["username"] == "alice"


def test_no_cookie_blocks_a_login_for_a_cookie(stale):
    sign_in("session", stale)
    assert stale.get("/probe/page/").json() == {"username": "alice"}


def test_no_cookie_blocks_simplejwts_endpoint(stale):
    assert by_simplejwts_endpoint(stale, None).status_code == 200
    assert stale.get(API).json()["username"] == "alice"


def test_no_cookie_blocks_a_logout_which_takes_both_back(stale):
    response = stale.send_json("/auth/logout/")
    assert response.status_code == 204
    for name in COOKIES:
        assert (response.cookies[name].value, response.cookies[name]["max-age"]) == ("", 0)
        assert attributes_of(response.cookies[name]) == HOST_BOUND
    assert stale.get(API).status_code == 401


def test_no_cookie_blocks_the_pages_for_everybody(stale):
    for path in ("/auth/", "/auth/csrf/", "/auth/social/", "/auth/.well-known/jwks.json"):
        assert stale.get(path).status_code == 200


def test_the_refresh_of_one_login_does_not_mind_the_access_cookie_of_another(alice, bob):
    """The refresh token says whose it is."""
    other = sign_in("jwt", username="bob").client
    response = sign_in("jwt")
    browser = response.client
    plant(browser, access=values_of(other)[ACCESS])
    refreshed = browser.send_json("/auth/token/refresh/")
    assert refreshed.status_code == 200
    assert refreshed.json()["sid"] == response.json()["sid"]
    assert browser.get(API).json()["username"] == "alice"
    assert other.get(API).json()["username"] == "bob"


@pytest.mark.parametrize("value", ["garbage", "a.b.c", "x" * 4000])
def test_a_refresh_does_not_mind_a_garbage_access_cookie(value, alice):
    browser = sign_in("jwt").client
    plant(browser, access=value)
    assert browser.send_json("/auth/token/refresh/").status_code == 200
    assert browser.get(API).status_code == 200


def test_a_client_without_cookies_still_hands_its_refresh_token_to_logout(alice):
    browser = sign_in("jwt").client
    body = {"refresh": values_of(browser)[REFRESH]}
    assert post_json("/auth/logout/", body).status_code == 204
    assert browser.get(API).status_code == 401


def test_logging_out_with_the_cookies_of_two_logins_ends_both(alice):
    """The user of this browser is to be signed out of both."""
    one = sign_in("jwt").client
    browser = sign_in("jwt").client
    plant(browser, access=values_of(one)[ACCESS])
    assert browser.send_json("/auth/logout/").status_code == 204
    assert not LoginSession.objects.active().exists()


# -- refused refreshes ---------------------------------------------------------------------


@pytest.mark.parametrize("why", ["garbage", "revoked", "expired", "reused", "the access token"])
def test_a_refused_refresh_takes_both_cookies_back(why, alice, clock):
    browser = sign_in("jwt").client
    first = values_of(browser)
    if why == "garbage":
        plant(browser, refresh="a.b.c")
    elif why == "revoked":
        registry.revoke_all(LoginSession.objects.all())
    elif why == "expired":
        clock.shift(timedelta(days=1))
    elif why == "the access token":
        plant(browser, refresh=first[ACCESS])
    else:
        browser.send_json("/auth/token/refresh/")
        clock.shift(timedelta(minutes=1))
        plant(browser, refresh=first[REFRESH])
    response = browser.send_json("/auth/token/refresh/")
    assert response.status_code == 401
    assert response.json()["code"]
    for name in COOKIES:
        assert (response.cookies[name].value, response.cookies[name]["max-age"]) == ("", 0)
        assert attributes_of(response.cookies[name]) == HOST_BOUND
    assert browser.get(API).status_code == 401


def test_a_refresh_without_its_cookie_is_4xx_whatever_the_body_says(alice):
    """With this transport a token in a body is none."""
    browser = sign_in("jwt").client
    held = values_of(browser)
    stranger = Browser()
    response = stranger.send_json("/auth/token/refresh/", {"refresh": held[REFRESH]})
    assert response.status_code in (400, 401)
    assert not set(COOKIES) & {name for name, one in response.cookies.items() if one.value}
    assert browser.send_json("/auth/token/refresh/").status_code == 200


def test_switching_tokens_off_and_on_again_leaves_the_login_as_it_was(alice):
    """A mode that is off refuses; it does not end (the design, section 5)."""
    browser = sign_in("jwt").client
    with override_settings(AUTHMODES_MODE="session"):
        assert browser.get(API).status_code == 401
        refused = browser.send_json("/auth/token/refresh/")
        assert (refused.status_code, refused.json()["code"]) == (401, "mode_disabled")
    assert browser.get(API).status_code == 200
    assert browser.send_json("/auth/token/refresh/").status_code == 200


# -- signing in over a login ---------------------------------------------------------------


@pytest.mark.parametrize("second", ["alice", "bob"])
def test_signing_in_over_token_cookies_ends_the_login_that_they_were(second, alice, bob):
    """It could not be ended otherwise: its cookies are gone (ASVS V7.2.4)."""
    first = sign_in("jwt")
    browser = first.client
    held = values_of(browser)
    sign_in("jwt", browser, username=second)
    assert LoginSession.objects.get(sid=first.json()["sid"]).ended_at is not None
    stranger = Browser()
    plant(stranger, access=held[ACCESS], refresh=held[REFRESH])
    assert stranger.get(API).status_code == 401


@pytest.mark.parametrize("names", [(ACCESS,), (REFRESH,), COOKIES])
def test_ended_logins_do_not_count_as_the_browsers_logins(names, alice):
    response = sign_in("jwt")
    row = LoginSession.objects.get(sid=response.json()["sid"])
    request = RequestFactory().get("/")
    request.COOKIES = values_of(response.client, names)
    assert validation.logins_of_token_cookies(request) == [row]
    registry.revoke(row)
    assert validation.logins_of_token_cookies(request) == []


# -- size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "name"), [("access", ACCESS), ("refresh", REFRESH)])
def test_a_cookie_of_4096_bytes_passes_and_one_of_4097_does_not(field, name, alice):
    """The name counts together with the value (RFC 6265bis, 5.7)."""
    pair = mint(LoginSession.objects.get(sid=sign_in("jwt").json()["sid"]))
    fitting = "x" * (4096 - len(name))
    cookies.check_size(replace(pair, **{field: fitting}))
    with pytest.raises(TokenTooLarge):
        cookies.check_size(replace(pair, **{field: fitting + "x"}))


def many_claims(user, login_session):
    return {"groups": [f"a-group-with-quite-a-long-name-{number}" for number in range(120)]}


@pytest.mark.parametrize("way", [by_login, by_simplejwts_endpoint])
def test_a_token_too_large_for_a_cookie_is_a_clear_error_and_no_half_made_login(way, alice):
    """Browsers ignore a cookie of more than 4,096 bytes (ASVS V3.3.5)."""
    browser = Browser(raise_request_exception=False)
    with override_settings(AUTHMODES_CLAIMS="tests.test_transport.many_claims"):
        response = way(browser, alice)
    assert response.status_code >= 400
    assert response.json()["code"]
    assert not set(COOKIES) & set(response.cookies)
    assert not LoginSession.objects.active().exists()


def test_a_refresh_whose_token_grew_too_large_is_a_clear_error(alice):
    browser = sign_in("jwt").client
    browser.raise_request_exception = False
    with override_settings(AUTHMODES_CLAIMS="tests.test_transport.many_claims"):
        response = browser.send_json("/auth/token/refresh/")
    assert response.status_code >= 400
    assert not [one for one in response.cookies.values() if len(one.key) + len(one.value) > 4096]


def test_the_same_token_is_no_trouble_in_a_body(alice):
    with override_settings(
        AUTHMODES_CLAIMS="tests.test_transport.many_claims", AUTHMODES_TOKEN_TRANSPORT="body"
    ):
        browser = Browser()
        response = browser.send_json("/auth/login/", BODY)
        assert Login("jwt", browser, response.json()).get().status_code == 200

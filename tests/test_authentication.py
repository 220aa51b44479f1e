"""Which credential counts, what a refused one is told, and what a request costs."""

from datetime import timedelta

import pytest
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from authmodes import registry
from authmodes.authentication import LoginAuth
from authmodes.models import LoginSession
from authmodes.state import to_django

from .support.browser import Browser
from .support.logins import API, PASSWORD, call_with, post_json
from .support.tokens import claims_of
from .urls import urlpatterns as project_urlpatterns


@api_view(["GET"])
@permission_classes([AllowAny])
def for_everybody(request: Request) -> Response:
    return Response({"username": request.user.get_username() or None})


urlpatterns = [*project_urlpatterns, path("probe/for-everybody/", for_everybody)]

CHALLENGE = 'Bearer realm="api"'
INVALID = 'Bearer realm="api", error="invalid_token"'
COOKIES = override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie")
ACCESS, REFRESH = "__Host-authmodes_access", "__Host-authmodes_refresh"


def with_header(value, browser=None):
    return (browser or Client()).get(API, headers={"authorization": value})


def test_a_request_of_drf_leads_to_the_request_of_django_that_it_wraps(rf):
    plain = rf.get("/")
    assert to_django(Request(plain)) is plain
    assert to_django(plain) is plain


# -- anonymous calls and bad headers --------------------------------------------------------


@pytest.mark.parametrize("configured", ["session", "jwt", "both"])
@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_an_anonymous_call_is_401_with_a_challenge_and_never_403(configured, method, transport, db):
    with override_settings(AUTHMODES_MODE=configured, AUTHMODES_TOKEN_TRANSPORT=transport):
        response = getattr(Browser(), method)(API)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize(
    "path",
    ["/auth/user/", "/auth/sessions/", "/auth/sessions/00000000-0000-4000-8000-000000000000/"],
)
def test_our_own_endpoints_challenge_an_anonymous_call_too(path, db):
    response = Client().get(path)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == CHALLENGE
    assert response.json()["code"] == "not_authenticated"


@pytest.mark.parametrize(
    "value", ["Bearer x", "bearer x", "BEARER x", "Bearer", "Bearer a b", "Bearer  "]
)
def test_a_bad_bearer_header_is_401_invalid_token(value, db):
    response = with_header(value)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == INVALID


@pytest.mark.parametrize("value", ["Basic YTpi", "Token x", "x", "", "Bearerx y"])
def test_another_scheme_is_no_bearer_token(value, db):
    response = with_header(value)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == CHALLENGE


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/auth/login/", {"username": "alice", "password": "wrong", "mode": "jwt"}),
        ("/auth/token/", {"username": "alice", "password": "wrong"}),
        ("/auth/token/refresh/", {"refresh": "x"}),
        ("/auth/token/verify/", {"token": "x"}),
        ("/auth/token/blacklist/", {"refresh": "x"}),
        ("/auth/token/", {"grant_type": "client_credentials"}),
    ],
)
def test_every_401_carries_a_bearer_challenge(path, body, alice):
    response = post_json(path, body)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith(CHALLENGE)
    assert set(response.json()) >= {"detail", "code"}


@pytest.mark.parametrize("why", ["revoked", "expired", "garbage", "off"])
def test_a_token_that_is_refused_for_any_reason_is_invalid_token(why, login, clock, settings):
    used = login("jwt")
    token = used.access
    if why == "revoked":
        registry.revoke(used.row)
    elif why == "expired":
        clock.shift(timedelta(minutes=6))
    elif why == "off":
        settings.AUTHMODES_MODE = "session"
    else:
        token = token[:-10] + "AAAAAAAAAA"
    response = call_with(token)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == INVALID
    assert set(response.json()) == {"detail", "code"} or "detail" in response.json()


def test_a_refused_token_is_never_repeated_in_the_answer(login):
    used = login("jwt")
    registry.revoke(used.row)
    assert used.access not in call_with(used.access).content.decode()


# -- one credential is validated ------------------------------------------------------------


@pytest.mark.parametrize("value", ["Bearer x", "Bearer", "bearer ey.ey.ey"])
def test_a_bad_header_never_falls_back_to_a_good_cookie(value, login):
    cookie = login("session")
    response = with_header(value, cookie.browser)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == INVALID


def test_a_good_header_outranks_the_cookie_of_another_user(login, bob):
    cookie, token = login("session"), login("jwt", bob)
    response = with_header(f"Bearer {token.access}", cookie.browser)
    assert response.json() == {"username": "bob", "mode": "jwt"}


def test_a_bearer_token_needs_no_csrf_token_even_beside_a_cookie(login):
    browser = Browser()
    login("session", browser=browser)
    token = login("jwt")
    response = browser.post(API, headers={"authorization": f"Bearer {token.access}"})
    assert response.status_code == 200


@pytest.mark.parametrize("header", ["Basic YTpi", "Token x", "junk", "Negotiate", "Bearerx"])
def test_a_junk_header_does_not_exempt_a_cookie_from_csrf(header, login):
    cookie = login("session")
    response = cookie.browser.post(API, headers={"authorization": header})
    assert response.status_code == 403
    assert with_header(header, cookie.browser).status_code == 200


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_a_cookie_needs_a_csrf_token_on_every_unsafe_method(method, login):
    cookie = login("session")
    assert getattr(cookie.browser, method)(API).status_code == 403
    # With it, DRF gets as far as the method.
    allowed = getattr(cookie.browser, method)(API, headers=cookie.browser.csrf())
    assert allowed.status_code == (200 if method == "post" else 405)


@pytest.mark.parametrize("path", ["/auth/sessions/", "/auth/sessions/?all=1"])
def test_our_own_unsafe_endpoints_need_it_too(path, login):
    cookie = login("session")
    response = cookie.browser.delete(path)
    assert (response.status_code, response.json()["code"]) == (403, "csrf_failed")
    assert cookie.browser.post("/auth/logout/").status_code == 403
    assert cookie.get().status_code == 200


def test_a_token_in_the_query_or_the_body_is_ignored(login):
    token = login("jwt")
    for name in ("access_token", "access", "token", "jwt"):
        assert Client().get(API, {name: token.access}).status_code == 401
        assert Client().post(API, {name: token.access}).status_code == 401


def test_a_sid_or_a_session_key_is_no_bearer_token_and_a_token_no_cookie(login):
    cookie, token = login("session"), login("jwt")
    for value in (cookie.sid, token.sid, cookie.browser.session_cookie, token.refresh_token):
        assert call_with(value).status_code == 401
    for value in (token.access, token.refresh_token, token.sid, cookie.sid, cookie.row.auth_hash):
        browser = Browser()
        browser.cookies["sessionid"] = value
        assert browser.get(API).status_code == 401


def test_simplejwts_header_settings_are_honoured(login, settings):
    token = login("jwt")
    settings.SIMPLE_JWT = {"AUTH_HEADER_TYPES": ("JWT",)}
    assert with_header(f"JWT {token.access}").status_code == 200
    assert with_header(f"Bearer {token.access}").status_code == 401


# -- request.auth --------------------------------------------------------------------------


def _auth_of(login, mode, monkeypatch):
    from tests import urls

    seen = []
    used = login(mode)
    original = urls.Response

    def spy(data):
        import inspect

        seen.append(inspect.currentframe().f_back.f_locals["request"].auth)
        return original(data)

    monkeypatch.setattr(urls, "Response", spy)
    assert used.get().status_code == 200
    return used, seen[0]


def test_request_auth_has_the_same_shape_in_every_mode(mode, login, monkeypatch):
    used, auth = _auth_of(login, mode, monkeypatch)
    assert isinstance(auth, LoginAuth)
    assert (auth.sid, auth.mode) == (used.sid, mode)
    assert auth.login_session == used.row
    row = used.row
    assert auth.claims["sid"] == used.sid
    assert auth.claims["user_id"] == str(row.user.pk)
    assert auth.claims["auth_time"] == int(row.created_at.timestamp())


def test_the_user_endpoint_answers_alike_in_every_mode(mode, login, alice):
    used = login(mode)
    assert used.get("/auth/user/").json() == {
        "mode": mode,
        "sid": used.sid,
        "user": {
            "id": str(alice.pk),
            "username": "alice",
            "email": "alice@example.com",
            "display": "alice",
        },
    }


# -- cost ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "queries"), [("session", 2), ("jwt", 1)])
def test_an_authenticated_request_costs(mode, queries, login, django_assert_num_queries, clock):
    used = login(mode)
    used.get()
    with django_assert_num_queries(queries):
        assert used.get().status_code == 200


@pytest.mark.parametrize(("mode", "queries"), [("session", 200), ("jwt", 100)])
def test_a_hundred_calls_within_the_touch_interval_write_nothing(
    mode, queries, login, django_assert_num_queries, clock
):
    used = login(mode)
    used.get()
    with django_assert_num_queries(queries) as captured:
        for _ in range(100):
            clock.shift(timedelta(milliseconds=500))
            used.get()
    assert {query["sql"].split()[0] for query in captured} == {"SELECT"}


def test_a_hundred_calls_over_ten_minutes_write_the_row_ten_times(
    mode, login, django_assert_max_num_queries, clock, settings
):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(hours=1)}
    used = login(mode)
    with django_assert_max_num_queries(1000) as captured:
        for _ in range(100):
            clock.shift(timedelta(seconds=6))
            assert used.get().status_code == 200
    writes = [q["sql"] for q in captured if q["sql"].startswith('UPDATE "authmodes_loginsession"')]
    writes += [q["sql"] for q in captured if q["sql"].startswith("UPDATE `authmodes_loginsession`")]
    assert len(writes) == 10


def test_an_anonymous_request_costs_nothing(db, django_assert_num_queries):
    client = Client()
    with django_assert_num_queries(0):
        assert client.get(API).status_code == 401
        assert client.get("/probe/whoami/").status_code == 200
        assert call_with("junk").status_code == 401


def test_credential_answers_are_not_stored_and_vary(mode, login):
    used = login(mode)
    for response in (
        used.get("/auth/user/"),
        used.get("/auth/sessions/"),
        used.get("/auth/csrf/"),
        Client().get("/auth/user/"),
        post_json("/auth/token/", {"username": "alice", "password": PASSWORD}),
        post_json("/auth/token/refresh/", {"refresh": "x"}),
        used.logout(),
    ):
        assert response["Cache-Control"] == "no-store"
        vary = {name.strip().lower() for name in response["Vary"].split(",")}
        assert {"cookie", "authorization"} <= vary


# -- the cookie transport ------------------------------------------------------------------


@pytest.fixture
def cookie_login(alice):
    """A login for tokens that came in cookies; yields the browser and the answer."""
    with COOKIES:
        browser = Browser()
        body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
        response = browser.send_json("/auth/login/", body)
        assert response.status_code == 200
        yield browser, response


def test_token_cookies_are_http_only_secure_host_bound_and_same_site(cookie_login):
    _, response = cookie_login
    for name in (ACCESS, REFRESH):
        morsel = response.cookies[name]
        assert morsel["httponly"] is True
        assert morsel["secure"] is True
        assert (morsel["samesite"], morsel["path"], morsel["domain"]) == ("Lax", "/", "")
        assert morsel["max-age"] > 0
        assert len(morsel.key) + len(morsel.value) <= 4096


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("AUTHMODES_COOKIE_SECURE", False, ("authmodes_access", "", "Lax")),
        ("AUTHMODES_COOKIE_SAMESITE", "Strict", (ACCESS, True, "Strict")),
        ("AUTHMODES_ACCESS_COOKIE_NAME", "at", ("at", True, "Lax")),
    ],
)
def test_token_cookie_settings(setting, value, expected, alice):
    with COOKIES, override_settings(**{setting: value}):
        body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
        cookies = Browser().send_json("/auth/login/", body).cookies
    name, secure, same_site = expected
    assert (cookies[name]["secure"], cookies[name]["samesite"]) == (secure, same_site)


def test_token_cookie_values_are_never_in_a_body(cookie_login):
    browser, response = cookie_login
    bodies = [response.content]
    secret = [browser.cookies[name].value for name in (ACCESS, REFRESH)]
    refreshed = browser.send_json("/auth/token/refresh/")
    assert refreshed.status_code == 200
    secret += [browser.cookies[name].value for name in (ACCESS, REFRESH)]
    bodies += [refreshed.content]
    bodies += [browser.get(path).content for path in ("/auth/", "/auth/user/", "/auth/sessions/")]
    for body in bodies:
        assert not [value for value in secret if value.encode() in body]
    assert "access" not in response.json()
    assert "refresh" not in refreshed.json()


def test_a_token_cookie_opens_the_api(cookie_login):
    browser, response = cookie_login
    assert browser.get(API).json() == {"username": "alice", "mode": "jwt"}
    assert claims_of(browser.cookies[ACCESS].value)["sid"] == response.json()["sid"]


def test_token_cookies_mean_nothing_to_the_body_transport(cookie_login):
    browser, _ = cookie_login
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="body"):
        assert browser.get(API).status_code == 401


@pytest.mark.parametrize("header", [None, "Basic YTpi", "junk"])
def test_a_token_cookie_is_subject_to_csrf(cookie_login, header):
    browser, _ = cookie_login
    headers = {} if header is None else {"authorization": header}
    assert browser.post(API, headers=headers).status_code == 403
    assert browser.post("/auth/logout/", headers=headers).status_code == 403
    assert browser.post("/auth/token/refresh/", headers=headers).status_code == 403
    assert browser.delete("/auth/sessions/?all=1", headers=headers).status_code == 403
    assert browser.send_json(API).status_code == 200


def test_with_token_cookies_a_login_is_subject_to_csrf(alice):
    with COOKIES:
        for path in ("/auth/login/", "/auth/token/"):
            body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
            assert post_json(path, body, Client(enforce_csrf_checks=True)).status_code == 403
    assert not LoginSession.objects.exists()


def test_refreshing_by_cookie_moves_both_cookies_on(clock, cookie_login):
    browser, _ = cookie_login
    before = {name: browser.cookies[name].value for name in (ACCESS, REFRESH)}
    clock.shift(timedelta(seconds=1))
    assert browser.send_json("/auth/token/refresh/").status_code == 200
    after = {name: browser.cookies[name].value for name in (ACCESS, REFRESH)}
    assert before[ACCESS] != after[ACCESS]
    assert before[REFRESH] != after[REFRESH]
    assert browser.get(API).status_code == 200


def test_a_refused_refresh_takes_the_cookies_back(cookie_login):
    browser, _ = cookie_login
    registry.revoke_all(LoginSession.objects.all())
    response = browser.send_json("/auth/token/refresh/")
    assert response.status_code == 401
    for name in (ACCESS, REFRESH):
        morsel = response.cookies[name]
        assert (morsel.value, morsel["max-age"], morsel["path"]) == ("", 0, "/")
        assert (morsel["secure"], morsel["httponly"], morsel["samesite"]) == (True, True, "Lax")


@pytest.mark.parametrize("gone", [(), (ACCESS,), (REFRESH,)])
def test_logging_out_by_cookie_ends_the_login_and_takes_the_cookies_back(cookie_login, gone):
    browser, response = cookie_login
    kept = {name: browser.cookies[name].value for name in (ACCESS, REFRESH)}
    for name in gone:
        del browser.cookies[name]
    logged_out = browser.send_json("/auth/logout/")
    assert logged_out.status_code == 204
    for name in (ACCESS, REFRESH):
        assert logged_out.cookies[name]["max-age"] == 0
        assert logged_out.cookies[name]["secure"] is True
    row = LoginSession.objects.get(sid=response.json()["sid"])
    assert row.end_reason == "logout"
    for name, value in kept.items():
        browser.cookies[name] = value
    assert browser.get(API).status_code == 401
    assert browser.send_json("/auth/token/refresh/").status_code == 401


def test_a_stale_token_cookie_does_not_hide_a_good_django_session(login):
    with COOKIES:
        cookie = login("session")
        cookie.browser.cookies[ACCESS] = "stale"
        assert cookie.get().json() == {"username": "alice", "mode": "session"}
        # The session authenticated the call, so CSRF is enforced.
        assert cookie.browser.post(API).status_code == 403


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("path", [API, "/probe/for-everybody/"])
@pytest.mark.parametrize("why", ["garbage", "revoked", "expired"])
def test_a_bad_token_cookie_alone_is_401_with_its_own_code(path, why, clock, cookie_login):
    browser, _ = cookie_login
    assert browser.get(path).json()["username"] == "alice"
    if why == "garbage":
        browser.cookies[ACCESS] = "stale"
    elif why == "revoked":
        registry.revoke_all(LoginSession.objects.all())
    else:
        clock.shift(timedelta(minutes=6))
    response = browser.get(path)
    code = "login_session_ended" if why == "revoked" else "token_not_valid"
    assert (response.status_code, response.json()["code"]) == (401, code)
    assert response["WWW-Authenticate"] == INVALID


def test_a_bad_header_does_not_fall_back_to_a_good_token_cookie(cookie_login):
    browser, _ = cookie_login
    assert with_header("Bearer x", browser).status_code == 401

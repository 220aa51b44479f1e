"""`token/` with the grants of an app's user: the words and the errors of RFC 6749."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core.cache import cache
from django.test import Client
from django.utils import translation
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy

from authmodes import registry
from authmodes.exceptions import OAuthError
from authmodes.models import AuthorizationCode, LoginSession

from .support.authorization_code import NEXT, CodeFlow, code_grant
from .support.browser import Browser
from .support.logins import API, PASSWORD, UID, call_with, post_json
from .support.tokens import claims_of

TOKEN = "/auth/token/"
PHONE = "com.example.app:/cb"


def post_form(body: dict[str, Any], **extra: Any) -> Any:
    return Client().post(TOKEN, urlencode(body), "application/x-www-form-urlencoded", **extra)


def basic(client_id: str, secret: str = "") -> dict[str, str]:
    pair = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
    return {"authorization": f"Basic {pair}"}


def refresh_grant(raw_token: str, **more: Any) -> Any:
    return post_form({"grant_type": "refresh_token", "refresh_token": raw_token, **more})


def assert_error(response: Any, error: str, code: str = "", status: int = 400) -> None:
    body = response.json()
    assert (response.status_code, body["error"]) == (status, error), body
    assert body["code"] == (code or error)
    assert body["error_description"].isascii()
    assert body["detail"]
    assert response["Cache-Control"] == "no-store"


@pytest.fixture
def flow(code_flow: CodeFlow) -> CodeFlow:
    assert code_flow.run().status_code == 302
    return code_flow


@pytest.fixture
def granted(flow: CodeFlow) -> dict[str, Any]:
    return flow.exchange().json()


@pytest.mark.parametrize("send", [post_form, lambda body: post_json(TOKEN, body)])
def test_a_code_is_answered_in_the_words_of_oauth(flow, send):
    response = send(code_grant(flow.code, flow.verifier))
    assert response.status_code == 200
    body = response.json()
    row = LoginSession.objects.get()
    access, refresh = body.pop("access_token"), body.pop("refresh_token")
    assert body == {"token_type": "Bearer", "expires_in": 300, "sid": str(row.sid)}
    assert (response["Cache-Control"], response["Pragma"]) == ("no-store", "no-cache")
    assert not response.cookies
    assert row.client_id == "app"
    assert claims_of(access)["client_id"] == "app"
    assert call_with(access).json() == {"username": "alice", "mode": "jwt"}
    assert refresh_grant(refresh).status_code == 200
    listed = call_with(access, "/auth/sessions/").json()["results"]
    assert [one["client_id"] for one in listed] == ["app"]


def test_a_client_without_a_secret_may_name_itself_by_basic(flow):
    body = code_grant(flow.code, flow.verifier, client_id=None)
    assert post_form(body, headers=basic("app")).status_code == 200


@pytest.mark.parametrize(
    ("changed", "headers", "challenge"),
    [
        ({"client_id": None}, {}, "Bearer"),
        ({"client_id": "phone"}, {}, "Bearer"),
        ({"client_secret": "s"}, {}, "Bearer"),
        ({"client_id": None}, basic("app", "s"), "Basic"),
        ({"client_id": None}, basic("phone"), "Basic"),
    ],
)
def test_a_client_that_is_unknown_or_has_a_secret_is_refused(flow, changed, headers, challenge):
    body = code_grant(flow.code, flow.verifier, **changed)
    response = post_form(body, headers=headers)
    assert_error(response, "invalid_client", status=401)
    assert response["WWW-Authenticate"] == f'{challenge} realm="api"'
    assert flow.exchange().status_code == 200


@pytest.mark.parametrize("name", ["code", "redirect_uri", "code_verifier"])
@pytest.mark.parametrize("value", [None, ""])
def test_a_request_that_leaves_something_out_is_invalid_and_keeps_the_code(flow, name, value):
    assert_error(flow.exchange(**{name: value}), "invalid_request")
    assert flow.exchange().status_code == 200


@pytest.mark.parametrize("code", ["\ud800", "\0", "x" * 100_000, "é"])
def test_a_code_that_cannot_be_one_is_an_invalid_grant(flow, code):
    assert_error(flow.exchange(code=code), "invalid_grant")


def test_a_code_belongs_to_the_client_that_requested_it(settings, alice_at_dummy):
    settings.AUTHMODES_REDIRECT_URIS = {"web": [NEXT], "phone": [NEXT, PHONE]}
    flow = CodeFlow()
    for named, owner, other in ((None, "web", "phone"), ("phone", "phone", "web")):
        started = flow.start(client_id=named)
        flow.code = flow.authenticate(started.url).url.partition("code=")[2].partition("&")[0]
        assert AuthorizationCode.objects.get().client_id == owner
        assert_error(flow.exchange(client_id=other), "invalid_grant")
        assert_error(flow.exchange(client_id=owner), "invalid_grant")
    refused = flow.look(client_id="web", next=PHONE)
    assert b"invalid_next" in refused.content


def test_a_scope_of_the_projects_claims_is_named(flow, settings):
    settings.AUTHMODES_CLAIMS = lambda user, login_session: {"scope": "reports:read"}
    assert flow.exchange().json()["scope"] == "reports:read"


def test_a_description_is_never_translated():
    with translation.override("de"):
        said: Any = OAuthError("invalid_grant", gettext_lazy("Not found.")).detail
    assert said["error_description"] == "Not found."
    assert said["detail"] != "Not found."


# -- refresh -------------------------------------------------------------------------------


def test_a_refresh_rotates_by_the_rules_of_the_refresh_endpoint(clock, granted):
    first = refresh_grant(granted["refresh_token"], client_id="app").json()
    assert set(first) == {"access_token", "token_type", "expires_in", "refresh_token", "sid"}
    assert first["sid"] == granted["sid"]
    # An answer that was lost.
    again = refresh_grant(granted["refresh_token"]).json()
    assert again["refresh_token"] == first["refresh_token"]
    clock.shift(timedelta(seconds=11))
    assert_error(refresh_grant(granted["refresh_token"]), "invalid_grant", "token_reused")
    assert LoginSession.objects.get().end_reason == "reuse"
    assert_error(refresh_grant(first["refresh_token"]), "invalid_grant", "login_session_ended")
    assert call_with(first["access_token"]).status_code == 401


def test_a_revoked_login_an_old_and_a_made_up_token_are_invalid_grants(clock, granted):
    assert_error(refresh_grant("x"), "invalid_grant", "token_not_valid")
    assert_error(refresh_grant(granted["access_token"]), "invalid_grant", "token_not_valid")
    assert_error(refresh_grant(""), "invalid_request")
    registry.revoke(LoginSession.objects.get())
    refused = refresh_grant(granted["refresh_token"])
    assert_error(refused, "invalid_grant", "login_session_ended")
    clock.shift(timedelta(days=31))
    assert_error(refresh_grant(granted["refresh_token"]), "invalid_grant", "token_expired")


def test_a_refresh_token_belongs_to_the_client_that_requested_the_login(granted, settings):
    settings.AUTHMODES_REDIRECT_URIS = {"app": [NEXT], "phone": [PHONE]}
    token = granted["refresh_token"]
    assert_error(refresh_grant(token, client_id="phone"), "invalid_grant")
    assert_error(refresh_grant(token, client_id="x"), "invalid_client", status=401)
    response = post_form(
        {"grant_type": "refresh_token", "refresh_token": token}, headers=basic("app", "s")
    )
    assert_error(response, "invalid_client", status=401)
    # Nothing was rotated.
    refreshed = refresh_grant(token, client_id="app")
    assert refreshed.status_code == 200
    assert LoginSession.objects.get().is_active


def test_a_login_that_no_client_requested_is_bound_to_none(login):
    used = login("jwt")
    assert "client_id" not in claims_of(used.access)
    assert refresh_grant(used.refresh_token, client_id="app").status_code == 200


def test_no_grant_is_given_where_tokens_are_off(granted, settings):
    settings.AUTHMODES_MODE = "session"
    refused = refresh_grant(granted["refresh_token"])
    assert_error(refused, "unsupported_grant_type", "mode_disabled")


def test_a_reused_token_is_found_and_genuine_ones_are_counted_by_login(
    clock, granted, settings, alice
):
    rates = {"authmodes": None, "authmodes_refresh": "1/min"}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}
    cache.clear()
    assert refresh_grant("x").status_code == 400
    assert refresh_grant("x").status_code == 429
    assert refresh_grant(granted["refresh_token"]).status_code == 200
    clock.shift(timedelta(seconds=11))
    assert_error(refresh_grant(granted["refresh_token"]), "invalid_grant", "token_reused")
    cache.clear()


# -- tokens in cookies ---------------------------------------------------------------------


def test_with_token_cookies_both_grants_need_csrf_and_answer_in_cookies(settings, alice):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    flow = CodeFlow()
    flow.run()
    browser, body = flow.browser, code_grant(flow.code, flow.verifier)
    assert browser.post(TOKEN, body).json()["code"] == "csrf_failed"
    assert browser.submit(TOKEN, body).json().keys() == {"token_type", "expires_in", "sid"}
    assert browser.get(API).json()["username"] == "alice"
    body = {"grant_type": "refresh_token", "client_id": "app"}
    assert browser.post(TOKEN, body).status_code == 403
    before = {name: cookie.value for name, cookie in browser.cookies.items()}
    refreshed = browser.submit(TOKEN, body)
    assert refreshed.json().keys() == {"token_type", "expires_in", "sid"}
    assert browser.cookies["__Host-authmodes_refresh"].value not in before.values()
    registry.revoke(LoginSession.objects.get())
    refused = browser.submit(TOKEN, body)
    assert_error(refused, "invalid_grant", "login_session_ended")
    assert refused.cookies["__Host-authmodes_refresh"].value == ""
    # And without a cookie.
    assert_error(Browser().submit(TOKEN, body), "invalid_grant", "token_not_valid")


def test_without_a_grant_the_endpoint_is_simplejwts(alice):
    body = {"username": "alice", "password": PASSWORD}
    assert {"access", "refresh", "user"} <= post_json(TOKEN, body).json().keys()

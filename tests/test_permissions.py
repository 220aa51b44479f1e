"""A recent sign-in asked for: pages go to re-authentication, the API is challenged."""

from base64 import b64encode
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.core.management import call_command
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.utils import timezone
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import IsAdminUser, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.tokens import RefreshToken as SimplejwtRefreshToken

from authmodes.models import LoginSession
from authmodes.permissions import RecentLogin, recent_login
from authmodes.sessions import store as session_store

from .support.browser import Browser, browser_with
from .support.logins import (
    PASSWORD,
    UID,
    Login,
    call_with,
    html_login,
    only_row,
    refresh,
    social_login,
)
from .support.mfa import SECRET, totp_code
from .support.sessions import session_without_row
from .support.tokens import claims_of
from .urls import urlpatterns as project_urlpatterns

FIVE = timedelta(minutes=5)
PAGE, SENSITIVE_API = "/transfer/", "/api/transfer/"


@recent_login(FIVE)
def transfer(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"done": request.method, "to": request.POST.get("to")})


@api_view(["GET", "POST"])
@permission_classes([RecentLogin.within(FIVE)])
def api_transfer(request: Request) -> Response:
    return Response({"done": True})


@recent_login(FIVE)
async def async_transfer(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"done": request.method})


@api_view(["GET"])
@permission_classes([RecentLogin.within(FIVE) | IsAuthenticated])
def either(request: Request) -> Response:
    return Response({"done": True})


@api_view(["GET"])
@permission_classes([RecentLogin.within(FIVE) | IsAdminUser])
def recent_or_admin(request: Request) -> Response:
    return Response({"done": True})


@api_view(["GET"])
@authentication_classes([SessionAuthentication, BasicAuthentication])
@permission_classes([RecentLogin.within(FIVE)])
def by_drf(request: Request) -> Response:
    return Response({"done": True})


urlpatterns = [
    *project_urlpatterns,
    path("transfer/", transfer),
    path("api/transfer/", api_transfer),
    path("async-transfer/", async_transfer),
    path("either/", either),
    path("recent-or-admin/", recent_or_admin),
    path("by-drf/", by_drf),
]
pytestmark = pytest.mark.urls("tests.test_permissions")


@pytest.fixture
def browser(alice, clock):
    """alice on allauth's page, just now."""
    browser = Browser()
    assert html_login(browser, "alice").status_code == 302
    return browser


def reauthenticate(browser, url, password=PASSWORD):
    browser.get(url)
    return browser.submit(url, {"password": password})


# -- pages ---------------------------------------------------------------------------------


def test_a_fresh_sign_in_opens_the_page(browser, clock):
    assert browser.get(PAGE).status_code == 200
    clock.shift(FIVE)
    assert browser.get(PAGE).status_code == 200


def test_a_stale_sign_in_goes_to_reauthentication_and_back(browser, clock):
    clock.shift(FIVE + timedelta(seconds=1))
    response = browser.get(PAGE)
    assert response.status_code == 302
    assert urlsplit(response.url).path == "/accounts/reauthenticate/"
    assert parse_qs(urlsplit(response.url).query)["next"] == [PAGE]
    back = reauthenticate(browser, response.url)
    assert (back.status_code, back.url) == (302, PAGE)
    assert browser.get(PAGE).status_code == 200
    clock.shift(FIVE + timedelta(seconds=1))
    assert browser.get(PAGE).status_code == 302


def test_a_wrong_password_opens_nothing(browser, clock):
    clock.shift(2 * FIVE)
    response = browser.get(PAGE)
    assert reauthenticate(browser, response.url, "wrong").status_code == 200
    assert browser.get(PAGE).status_code == 302


def test_what_was_posted_is_carried_out_after_the_reauthentication(browser, clock):
    browser.get("/auth/csrf/")
    clock.shift(2 * FIVE)
    response = browser.submit(PAGE, {"to": "bob"})
    assert response.status_code == 302
    done = reauthenticate(browser, response.url)
    assert done.json() == {"done": "POST", "to": "bob"}


def test_an_anonymous_user_goes_to_the_sign_in_page(db):
    response = Browser().get(PAGE)
    assert response.status_code == 302
    browser = Browser()
    final = browser.get(PAGE, follow=True)
    assert final.redirect_chain[-1][0].startswith("/accounts/login/")


def test_reauthentication_changes_the_session_id_and_keeps_the_row(browser, clock):
    row, old = only_row(), browser.session_cookie
    clock.shift(2 * FIVE)
    response = browser.get(PAGE)
    reauthenticate(browser, response.url)
    new = browser.session_cookie
    assert new != old
    after = only_row()
    assert (after.sid, after.created_at, after.ended_at) == (row.sid, row.created_at, None)
    assert after.session_key == session_store.stored_key(new)
    planted = Browser()
    planted.cookies["sessionid"] = old
    assert planted.get("/probe/page/").status_code == 302


def test_reauthentication_in_a_late_request_keeps_the_login(browser, clock, settings):
    settings.AUTHMODES_ROTATE_SESSION_AFTER = timedelta(0)
    clock.shift(2 * FIVE)
    url = browser.get(PAGE).url
    page = Browser()
    for name, morsel in browser.cookies.items():
        page.cookies[name] = morsel.value
    page.csrf()
    browser.get("/probe/page/")  # rotates, so what follows is late
    assert page.submit(url, {"password": PASSWORD}).status_code == 302
    assert page.get(PAGE).status_code == 200
    clock.shift(timedelta(seconds=60))
    assert page.get(PAGE).status_code == 200
    assert only_row().session_key == session_store.stored_key(page.session_cookie)


def test_a_new_sign_in_is_recent(browser, clock):
    clock.shift(2 * FIVE)
    assert browser.get(PAGE).status_code == 302
    again = Browser()
    html_login(again, "alice")
    assert again.get(PAGE).status_code == 200


def test_activity_is_no_proof(browser, clock):
    for _ in range(10):
        clock.shift(timedelta(minutes=1))
        browser.get("/probe/page/")
    assert browser.get(PAGE).status_code == 302


@pytest.mark.parametrize("command", [False, True])
def test_a_session_from_before_authmodes_is_no_proof(command, alice):
    """It may be years old; that it is seen for the first time says nothing."""
    browser = browser_with(session_without_row(alice))
    if command:
        call_command("adopt_sessions")
    assert browser.get(PAGE).status_code == 302
    assert browser.get(SENSITIVE_API).status_code == 401
    assert only_row().authenticated_at is None
    reauthenticate(browser, "/accounts/reauthenticate/?next=/probe/page/")
    assert browser.get(PAGE).status_code == 200
    assert browser.get(SENSITIVE_API).status_code == 200


def test_of_a_session_from_before_authmodes_allauths_records_are_the_proof(browser, clock):
    session = session_store.engine()(browser.session_cookie)
    del session["_authmodes"]
    session.save()
    LoginSession.objects.all().delete()
    clock.shift(FIVE)
    assert browser.get(PAGE).status_code == 200
    clock.shift(timedelta(seconds=1))
    assert browser.get(PAGE).status_code == 302


@pytest.fixture
def without_password(alice_at_dummy, clock):
    """alice, who only ever comes by her provider."""
    alice_at_dummy.set_unusable_password()
    alice_at_dummy.save()
    browser = Browser()
    social_login(browser)
    assert browser.get(PAGE).status_code == 200
    clock.shift(2 * FIVE)
    return browser


def test_a_user_without_a_password_goes_to_their_provider_and_back(without_password):
    """allauth has no re-authentication for them, and would send them round in circles."""
    browser = without_password
    old = browser.session_cookie
    response = browser.get(PAGE)
    assert urlsplit(response.url).path == "/accounts/dummy/authenticate/"
    row = LoginSession.objects.get()
    back = browser.submit(response.url, {"id": UID})
    assert (back.status_code, back.url) == (302, PAGE)
    assert browser.get(PAGE).status_code == 200
    assert browser.session_cookie != old
    assert LoginSession.objects.active().get() == row


def test_a_user_without_any_way_to_prove_it_is_refused(without_password):
    SocialAccount.objects.all().delete()
    assert without_password.get(PAGE).status_code == 403


# -- the API -------------------------------------------------------------------------------


def test_a_fresh_login_may_call(login, clock, mode):
    used = login(mode)
    assert used.get(SENSITIVE_API).status_code == 200
    assert used.post(SENSITIVE_API).status_code == 200


def test_a_stale_login_is_challenged(login, clock, mode, settings):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}
    used = login(mode)
    clock.shift(FIVE + timedelta(seconds=1))
    for response in (used.get(SENSITIVE_API), used.post(SENSITIVE_API)):
        assert response.status_code == 401
        assert response.json()["code"] == "insufficient_user_authentication"
        challenge = response.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer ")
        assert 'error="insufficient_user_authentication"' in challenge
        assert 'max_age="300"' in challenge
    assert used.get().status_code == 200
    assert "max_age" not in used.get().headers.get("WWW-Authenticate", "")


def test_a_new_login_meets_the_challenge(login, clock, mode, settings):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}
    used = login(mode)
    clock.shift(2 * FIVE)
    assert used.get(SENSITIVE_API).status_code == 401
    assert login(mode).get(SENSITIVE_API).status_code == 200
    assert used.get(SENSITIVE_API).status_code == 401


def test_reauthentication_meets_the_challenge_for_the_cookie(browser, clock):
    clock.shift(2 * FIVE)
    assert browser.get(SENSITIVE_API).status_code == 401
    reauthenticate(browser, "/accounts/reauthenticate/?next=/probe/page/")
    assert browser.get(SENSITIVE_API).status_code == 200


def test_a_refresh_is_no_proof(login, clock):
    used = login("jwt")
    clock.shift(2 * FIVE)
    assert used.refresh().status_code == 200
    assert call_with(used.access, SENSITIVE_API).status_code == 401
    assert call_with(used.access).status_code == 200


def test_a_refresh_token_from_before_authmodes_is_no_proof(alice, settings):
    """Its `iat` is that of its last rotation by simplejwt, and of no sign-in."""
    settings.AUTHMODES_ACCEPT_LEGACY_REFRESH = True
    answer = refresh(str(SimplejwtRefreshToken.for_user(alice))).json()
    assert claims_of(answer["access"])["auth_time"] == 0
    assert call_with(answer["access"], SENSITIVE_API).status_code == 401
    assert call_with(answer["access"]).status_code == 200


def social_answer(provider, alice, mode, **claims):
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    browser = Browser()
    body = {"mode": mode, "id_token": provider.id_token(**claims)}
    response = browser.send_json("/auth/social/example/", body)
    assert response.status_code == 200, response.content
    return Login(mode, browser, response.json())


@pytest.mark.parametrize(
    ("ago", "is_recent"),
    [(None, True), (timedelta(minutes=4), True), (timedelta(minutes=6), False), (FIVE * -9, True)],
)
def test_a_sign_in_is_as_recent_as_the_provider_says(ago, is_recent, mode, provider, alice):
    """Single sign-on says that a user is signed in there, perhaps for days (`auth_time`)."""
    claims = {} if ago is None else {"auth_time": int((timezone.now() - ago).timestamp())}
    used = social_answer(provider, alice, mode, **claims)
    assert used.get(SENSITIVE_API).status_code == (200 if is_recent else 401)
    assert used.get().status_code == 200
    assert used.row.auth_time <= timezone.now().timestamp()


@pytest.mark.parametrize("auth_time", ["x", None, -1, [], 10**20])
def test_an_auth_time_that_is_none_is_passed_over(auth_time, mode, provider, alice):
    used = social_answer(provider, alice, mode, auth_time=auth_time)
    assert used.get(SENSITIVE_API).status_code == 200


def test_a_second_factor_after_single_sign_on_is_recent(provider, alice, mode):
    TOTP.activate(alice, SECRET)
    SocialAccount.objects.create(user=alice, provider="example", uid="subject-1")
    auth_time = int((timezone.now() - timedelta(days=9)).timestamp())
    id_token = provider.id_token(auth_time=auth_time)
    body = {"mode": mode, "id_token": id_token, "mfa_code": totp_code()}
    browser = Browser()
    answer = browser.send_json("/auth/social/example/", body)
    assert answer.status_code == 200, answer.content
    assert Login(mode, browser, answer.json()).get(SENSITIVE_API).status_code == 200


def test_an_anonymous_call_is_asked_to_sign_in_in_the_usual_way(db):
    response = Browser().get(SENSITIVE_API)
    assert response.status_code == 401
    assert "insufficient" not in response.headers["WWW-Authenticate"]


def test_it_can_be_one_of_two_permissions(login, clock, mode, settings):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=1)}
    used = login(mode)
    assert used.get("/recent-or-admin/").status_code == 200
    clock.shift(2 * FIVE)
    assert used.get("/either/").status_code == 200
    response = used.get("/recent-or-admin/")
    assert (response.status_code, 'max_age="300"' in response["WWW-Authenticate"]) == (401, True)


def test_with_drfs_own_authentication_the_session_is_the_proof(login, clock):
    used = login("session")
    assert used.browser.get("/by-drf/").status_code == 200
    clock.shift(2 * FIVE)
    assert used.browser.get("/by-drf/").status_code == 403


def test_what_proves_nothing_about_time_is_refused(bob):
    basic = {"authorization": "Basic " + b64encode(f"bob:{PASSWORD}".encode()).decode()}
    assert Browser().get("/by-drf/", headers=basic).status_code == 403


def test_an_asynchronous_view_is_guarded_as_well(browser, clock):
    assert browser.get("/async-transfer/").json() == {"done": "GET"}
    clock.shift(2 * FIVE)
    response = browser.get("/async-transfer/")
    assert urlsplit(response.url).path == "/accounts/reauthenticate/"
    reauthenticate(browser, response.url)
    assert browser.get("/async-transfer/").status_code == 200

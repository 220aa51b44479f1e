"""`authenticate`, `authenticate_token` and their twins: the check of views that are not DRF's."""

import asyncio
import threading
from datetime import timedelta

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.contrib.auth import get_user_model
from django.db import OperationalError, connections
from django.db.backends.utils import CursorWrapper
from django.http import JsonResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.test.utils import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import AuthenticationFailed

from authmodes import registry
from authmodes.authentication import (
    aauthenticate,
    aauthenticate_token,
    authenticate,
    authenticate_token,
)
from authmodes.exceptions import ServiceUnavailable
from authmodes.machines import clients as machine_clients
from authmodes.machines import tokens as machine_tokens
from authmodes.models import LoginSession, write_database

from .support.browser import Browser
from .support.logins import API, call_with
from .urls import urlpatterns as project_urlpatterns

PLAIN, ASYNC, LATE = "/plain/", "/async/", "/late/"
CHECKS = ["database", "snapshot", "none"]
ACCESS = "__Host-authmodes_access"


def answer(found):
    if found is None:
        return JsonResponse({}, status=401, headers={"WWW-Authenticate": 'Bearer realm="api"'})
    user, auth = found
    return JsonResponse({"username": user.get_username(), "mode": auth.mode, "sid": auth.sid})


@csrf_exempt
def plain(request):
    return answer(authenticate(request))


@csrf_exempt
async def plain_async(request):
    found = await aauthenticate(request)
    # The user of an access token that was validated by no query is loaded here.
    return await sync_to_async(answer)(found)


def late(request):
    """The user of a token that was validated by no query is loaded after the check."""
    user, _auth = authenticate(request)
    return JsonResponse({"email": user.email})


urlpatterns = [
    *project_urlpatterns,
    path("plain/", plain),
    path("async/", plain_async),
    path("late/", late),
]
pytestmark = pytest.mark.urls(__name__)


class Credential:
    """A credential of a client, and the three ways to present it."""

    def __init__(self, kind, login, settings):
        if kind == "token cookie":
            settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
        self.kind, self.browser = kind, Browser()
        self.login = login("session" if kind == "session cookie" else "jwt", browser=self.browser)
        if kind == "bearer":
            self.browser = Browser()

    def call(self, path, method="get", **headers):
        if self.kind == "bearer":
            headers = {"authorization": f"Bearer {self.login.access}", **headers}
        return getattr(self.browser, method)(path, headers=headers)


@pytest.fixture(params=["session cookie", "bearer", "token cookie"])
def credential(request, login, settings):
    return Credential(request.param, login, settings)


def facts(response):
    """What a client and a cache see of an answer, whoever has made it."""
    body = response.json()
    vary = {name.strip().lower() for name in response.get("Vary", "").split(",")}
    return {
        "status": response.status_code,
        "challenge": response.get("WWW-Authenticate"),
        "code": body.get("code") if response.has_header("WWW-Authenticate") else None,
        "username": body.get("username"),
        "mode": body.get("mode"),
        "vary": vary & {"cookie", "authorization"},
    }


def assert_same_as_drf(credential, status, **sent):
    """One answer for one credential, of DRF and of both plain views."""
    expected = facts(credential.call(API, **sent))
    assert expected["status"] == status
    if expected["code"] == "not_authenticated":
        # DRF's own, for a call without a credential that counts.
        expected["code"] = None
    for url in (PLAIN, ASYNC):
        assert facts(credential.call(url, **sent)) == expected, url
    return expected


# -- the same answers as DRF's -------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS)
def test_a_credential_that_counts_counts_everywhere(check, credential, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    seen = assert_same_as_drf(credential, 200)
    assert seen["username"] == "alice"
    assert seen["mode"] == credential.login.mode
    for url in (PLAIN, ASYNC):
        assert credential.call(url).json()["sid"] == credential.login.sid


ENDINGS = {
    "revoked": lambda used: registry.revoke(used.row),
    "all revoked": lambda used: registry.revoke_user(used.row.user),
    "logged out": lambda used: registry.revoke(used.row, "logout"),
    "password changed": lambda used: change_user(used, password=True),
    "locked": lambda used: change_user(used, is_active=False),
    "locked without a signal": lambda used: get_user_model().objects.update(is_active=False),
    "deleted": lambda used: used.row.user.delete(),
}


def change_user(used, password=False, **fields):
    user = used.row.user
    if password:
        user.set_password("another one")
    for name, value in fields.items():
        setattr(user, name, value)
    user.save()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_login_that_ended_is_refused_everywhere(ending, credential):
    ENDINGS[ending](credential.login)
    assert_same_as_drf(credential, 401)


@pytest.mark.parametrize("setting", ["AUTHMODES_IDLE_TIMEOUT", "AUTHMODES_ABSOLUTE_LIFETIME"])
def test_an_idle_and_an_expired_login_are_refused_everywhere(setting, clock, credential, settings):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(days=60)}
    setattr(settings, setting, timedelta(hours=1))
    used = credential.login
    LoginSession.objects.filter(sid=used.sid).update(expires_at=used.row.created_at)
    if setting == "AUTHMODES_IDLE_TIMEOUT":
        LoginSession.objects.filter(sid=used.sid).update(
            expires_at=used.row.created_at + timedelta(days=30)
        )
    clock.shift(timedelta(hours=2))
    assert_same_as_drf(credential, 401)


def test_a_switched_off_mode_is_refused_everywhere_and_comes_back(credential, settings):
    settings.AUTHMODES_MODE = "jwt" if credential.login.mode == "session" else "session"
    assert_same_as_drf(credential, 401)
    settings.AUTHMODES_MODE = "both"
    assert_same_as_drf(credential, 200)


def test_a_bound_login_is_refused_to_another_client_everywhere(credential, settings):
    settings.AUTHMODES_BIND_USER_AGENT = True
    assert_same_as_drf(credential, 401, **{"user-agent": "another"})
    assert credential.login.row.end_reason == "revoked"


@pytest.mark.parametrize("check", ["snapshot", "none"])
def test_checks_without_a_query_refuse_outside_of_drf_what_they_refuse_in_it(
    check, login, settings
):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    used = login("jwt")
    registry.revoke(used.row)
    assert call_with(used.access, API).status_code == (401 if check == "snapshot" else 200)
    for url in (PLAIN, ASYNC):
        assert call_with(used.access, url).status_code == (401 if check == "snapshot" else 200)


def test_a_cookie_needs_a_csrf_token_on_unsafe_methods_everywhere(credential):
    if credential.kind == "bearer":
        assert_same_as_drf(credential, 200, method="post")
        return
    for url in (API, PLAIN, ASYNC):
        refused = credential.call(url, "post")
        assert (refused.status_code, refused.json()["code"]) == (403, "csrf_failed")
        sent = credential.browser.csrf()
        assert credential.call(url, "post", **sent).status_code == 200


def test_without_a_credential_the_answer_is_none(db):
    for url in (PLAIN, ASYNC):
        response = Client().get(url)
        assert facts(response)["vary"] == {"cookie", "authorization"}
        assert response.json() == {}


@pytest.mark.parametrize("value", ["Bearer", "Bearer x", "Bearer a b", "bearer ey.ey.ey"])
def test_a_bad_header_never_falls_back_to_a_cookie(value, login):
    used = login("session")
    for url in (PLAIN, ASYNC):
        response = used.browser.get(url, headers={"authorization": value})
        assert facts(response) == facts(used.browser.get(API, headers={"authorization": value}))
        assert response["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'
        assert response["Cache-Control"] == "no-store"


def test_a_user_who_is_loaded_after_the_check_and_is_locked_is_a_401(login, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = "none"
    used = login("jwt")
    assert call_with(used.access, LATE).json() == {"email": "alice@example.com"}
    get_user_model().objects.update(is_active=False)
    refused = call_with(used.access, LATE)
    assert (refused.status_code, refused.json()["code"]) == (401, "user_inactive")
    assert refused["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'


def test_the_row_is_touched_after_a_plain_view_as_after_drfs(clock, credential):
    for url in (PLAIN, ASYNC):
        clock.shift(timedelta(minutes=2))
        before = credential.login.row.last_seen_at
        assert credential.call(url).status_code == 200
        assert credential.login.row.last_seen_at - before == timedelta(minutes=2)


@pytest.mark.parametrize(("kind", "queries"), [("session cookie", 2), ("bearer", 1)])
@pytest.mark.parametrize("path", [PLAIN, ASYNC])
def test_a_plain_view_costs_what_drfs_costs(
    path, kind, queries, login, settings, clock, django_assert_num_queries
):
    credential = Credential(kind, login, settings)
    credential.call(path)
    with django_assert_num_queries(queries):
        assert credential.call(path).status_code == 200


# -- by a token alone ----------------------------------------------------------------------

JUNK = ["", "x", "a.b.c", "x" * 1_000_000, "\ud800", "\x00", b"", b"x", None, 7, ["x"], object()]


@pytest.mark.parametrize("raw", JUNK, ids=lambda raw: repr(raw)[:12])
def test_what_is_no_token_is_refused_and_never_an_error(raw, db):
    for request in (None, RequestFactory().get("/")):
        with pytest.raises(AuthenticationFailed):
            authenticate_token(raw, request)
        with pytest.raises(AuthenticationFailed):
            async_to_sync(aauthenticate_token)(raw, request)


def by_token(used, request=None):
    """The user and auth, by the function and by its twin, which agree."""
    found = authenticate_token(used.access, request)
    assert async_to_sync(aauthenticate_token)(used.access, request) == found
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_a_token_is_enough_without_a_request(check, login, alice, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    used = login("jwt")
    user, auth = by_token(used)
    assert (user, auth.sid, auth.mode) == (alice, used.sid, "jwt")
    assert auth.login_session == used.row


def test_bytes_of_a_token_and_a_refresh_token_are_refused(login):
    used = login("jwt")
    for raw in (used.access.encode(), used.refresh_token, used.sid):
        with pytest.raises(AuthenticationFailed):
            authenticate_token(raw)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_token_of_a_login_that_ended_is_refused_without_a_request(ending, login):
    used = login("jwt")
    ENDINGS[ending](used)
    with pytest.raises(AuthenticationFailed):
        by_token(used)


def test_a_token_is_refused_without_a_request_while_tokens_are_off(login, settings):
    used = login("jwt")
    settings.AUTHMODES_MODE = "session"
    with pytest.raises(AuthenticationFailed) as refused:
        by_token(used)
    assert refused.value.detail["code"] == "mode_disabled"


@pytest.mark.parametrize(
    "bound", [{"AUTHMODES_BIND_IP": True}, {"AUTHMODES_BIND_USER_AGENT": True}]
)
def test_a_bound_login_needs_the_request_and_is_not_ended_without_it(bound, login):
    used = login("jwt")
    with override_settings(**bound):
        with pytest.raises(AuthenticationFailed):
            by_token(used)
        assert used.row.ended_at is None
        assert by_token(used, RequestFactory().get("/"))[1].sid == used.sid


def test_a_login_without_an_address_is_not_bound_to_one(login, settings):
    used = login("jwt")
    LoginSession.objects.update(ip_address=None)
    settings.AUTHMODES_BIND_IP = True
    assert by_token(used)[1].sid == used.sid


def test_a_login_that_is_used_without_a_request_is_not_idle(login, clock):
    used = login("jwt")
    LoginSession.objects.update(last_ip_address="192.0.2.7")
    clock.shift(timedelta(minutes=2))
    before = used.row.last_seen_at
    authenticate_token(used.access)
    assert used.row.last_seen_at - before == timedelta(minutes=2)
    # Where from is not known.
    assert used.row.last_ip_address == "192.0.2.7"


def test_a_machine_clients_token_has_an_anonymous_user_and_scopes(db):
    client, secret = machine_clients.create("reports", "reports:read")
    found = machine_clients.authenticate(client.client_id, secret, None)
    raw = str(machine_tokens.mint(found, ["reports:read"]))
    for user, auth in (authenticate_token(raw), async_to_sync(aauthenticate_token)(raw)):
        assert user.is_anonymous
        assert (auth.mode, auth.client_id) == ("client", client.client_id)
        assert auth.scopes == {"reports:read"}
    machine_clients.revoke(client)
    with pytest.raises(AuthenticationFailed):
        authenticate_token(raw)


# -- the database away, and the event loop -------------------------------------------------


def broken(*args, **kwargs):
    raise OperationalError("the server is gone")


def test_a_database_that_is_away_is_503_and_its_exception(login, monkeypatch):
    used = login("jwt")
    monkeypatch.setattr("authmodes.authentication.validation.find_for_request", broken)
    for url in (PLAIN, ASYNC):
        response = call_with(used.access, url)
        assert (response.status_code, response["Retry-After"]) == (503, "5")
    with pytest.raises(ServiceUnavailable):
        authenticate_token(used.access)
    with pytest.raises(ServiceUnavailable):
        async_to_sync(aauthenticate_token)(used.access)


def test_the_twins_ask_the_database_in_no_thread_that_runs_an_event_loop(credential, monkeypatch):
    execute = CursorWrapper.execute

    def spied(self, *args, **kwargs):
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        return execute(self, *args, **kwargs)

    client = AsyncClient()
    client.cookies = credential.browser.cookies
    headers = {}
    if credential.kind == "bearer":
        headers = {"authorization": f"Bearer {credential.login.access}"}
    monkeypatch.setattr(CursorWrapper, "execute", spied)
    response = async_to_sync(client.get)(ASYNC, headers=headers)
    assert response.json()["username"] == "alice"


def test_the_twin_and_auser_share_one_user(login, django_assert_num_queries):
    used = login("session")
    seen = []

    async def view(request):
        seen.append(await request.auser())
        seen.append((await aauthenticate(request))[0])
        return JsonResponse({})

    with override_settings(ROOT_URLCONF=_urlconf(view)):
        client = AsyncClient()
        client.cookies = used.browser.cookies
        with django_assert_num_queries(2):
            assert async_to_sync(client.get)("/view/").status_code == 200
    assert seen[0] is seen[1]


def _urlconf(view):
    return type("Routes", (), {"urlpatterns": [path("view/", view)]})


def test_a_request_without_a_session_or_user_has_no_credential(db):
    request = AsyncRequestFactory().get("/")
    assert authenticate(request) is None
    assert async_to_sync(aauthenticate)(request) is None
    request.user = get_user_model()(username="made by hand")
    assert authenticate(request) is None


@pytest.mark.django_db(transaction=True)
def test_a_twin_outside_of_requests_leaves_no_connection_open(login):
    """Nothing sends `request_finished` there, and each thread would keep one."""
    used = login("jwt")

    async def check():
        async with ThreadSensitiveContext():
            await aauthenticate_token(used.access)
            return await sync_to_async(is_open)()

    def is_open():
        assert threading.current_thread() is not threading.main_thread()
        return connections[write_database()].connection is not None

    assert asyncio.run(check()) is False

"""The adapter for django-ninja: DRF's rules and the REST API's errors, sync and async."""

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import OperationalError
from django.test import AsyncClient, Client
from django.urls import path
from ninja import NinjaAPI

from authmodes import registry
from authmodes.contrib.ninja import AuthModesAuth, add_exception_handlers
from authmodes.machines import clients as machine_clients

from .support.browser import Browser
from .support.logins import call_with, post_json
from .urls import urlpatterns as project_urlpatterns

CHALLENGE = 'Bearer realm="api"'
INVALID = 'Bearer realm="api", error="invalid_token"'
MISSING = 'Bearer realm="api", error="insufficient_scope", scope="reports:read"'
PATHS = ["/ninja/sync", "/ninja/async"]

api = NinjaAPI(auth=AuthModesAuth())
add_exception_handlers(api)
# As above, but for the line that one may forget.
bare = NinjaAPI(auth=AuthModesAuth(), urls_namespace="bare")


def whoami(request):
    return {
        "username": request.user.get_username(),
        "mode": request.auth.mode,
        "sid": request.auth.sid,
    }


@api.api_operation(["GET", "POST"], "/sync")
def sync_view(request):
    return whoami(request)


@api.api_operation(["GET", "POST"], "/async")
async def async_view(request):
    assert await request.auser() is request.user
    # The user of a token that was validated by no query is loaded here.
    return await sync_to_async(whoami)(request)


@api.get("/open", auth=None)
def open_to_all(request):
    return {}


@api.get("/reports", auth=AuthModesAuth("reports:read"))
def reports(request):
    return {"client_id": request.auth.client_id}


@bare.get("/whoami")
def bare_whoami(request):
    return whoami(request)


urlpatterns = [*project_urlpatterns, path("ninja/", api.urls), path("bare/", bare.urls)]
pytestmark = pytest.mark.urls(__name__)


def code_of(response):
    assert set(response.json()) == {"detail", "code"}
    return response.status_code, response.json()["code"], response.get("WWW-Authenticate")


@pytest.mark.parametrize("url", PATHS)
@pytest.mark.parametrize("check", ["database", "snapshot", "none"])
def test_a_login_of_either_mode_counts(url, check, mode, login, settings):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    used = login(mode)
    response = used.get(url)
    assert response.json() == {"username": "alice", "mode": mode, "sid": used.sid}
    vary = {name.strip() for name in response["Vary"].split(",")}
    assert "Authorization" in vary
    assert ("Cookie" in vary) == (mode == "session")


@pytest.mark.parametrize("url", PATHS)
def test_a_token_cookie_counts_and_is_subject_to_csrf(url, login, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    browser = login("jwt").browser
    assert browser.get(url).json()["mode"] == "jwt"
    assert code_of(browser.post(url)) == (403, "csrf_failed", None)
    assert browser.send_json(url).status_code == 200


@pytest.mark.parametrize("url", PATHS)
def test_a_session_cookie_is_subject_to_csrf_and_a_header_is_not(url, login):
    cookie, token = login("session"), login("jwt")
    assert code_of(cookie.browser.post(url)) == (403, "csrf_failed", None)
    assert cookie.post(url).status_code == 200
    assert token.post(url).status_code == 200


@pytest.mark.parametrize("url", [*PATHS, "/bare/whoami"])
def test_a_call_without_a_credential_is_challenged(url, db):
    assert code_of(Client().get(url)) == (401, "not_authenticated", CHALLENGE)


@pytest.mark.parametrize("url", [*PATHS, "/bare/whoami"])
def test_a_login_that_ended_is_refused_with_our_code(url, mode, login):
    used = login(mode)
    registry.revoke(used.row)
    code, challenge = {
        "jwt": ("login_session_ended", INVALID),
        "session": ("not_authenticated", CHALLENGE),
    }[mode]
    assert code_of(used.get(url)) == (401, code, challenge)


@pytest.mark.parametrize("url", PATHS)
def test_a_mode_that_is_off_is_refused(url, mode, login, settings):
    used = login(mode)
    settings.AUTHMODES_MODE = "session" if mode == "jwt" else "jwt"
    expected = "mode_disabled" if mode == "jwt" else "not_authenticated"
    assert code_of(used.get(url))[:2] == (401, expected)


@pytest.mark.parametrize("url", PATHS)
def test_a_bad_header_is_refused_and_an_open_operation_asks_for_none(url, login):
    browser = login("session").browser
    bad = {"authorization": "Bearer x"}
    assert code_of(browser.get(url, headers=bad)) == (401, "token_not_valid", INVALID)
    assert Client().get("/ninja/open", headers=bad).status_code == 200


@pytest.mark.parametrize("url", PATHS)
def test_a_database_that_is_away_is_503(url, login, monkeypatch):
    def broken(*args, **kwargs):
        raise OperationalError("the server is gone")

    used = login("jwt")
    monkeypatch.setattr("authmodes.authentication.validation.find_for_request", broken)
    response = used.get(url)
    assert code_of(response)[:2] == (503, "unavailable")
    assert response["Retry-After"] == "5"


def test_a_machine_client_needs_a_scope_that_an_operation_names(login):
    client, secret = machine_clients.create("reports", "reports:read reports:write")
    body = {
        "grant_type": "client_credentials",
        "client_id": client.client_id,
        "client_secret": secret,
    }

    def token(scope):
        return post_json("/auth/token/", {**body, "scope": scope}).json()["access_token"]

    may, other = token("reports:read"), token("reports:write")
    assert call_with(may, "/ninja/reports").json() == {"client_id": client.client_id}
    assert code_of(call_with(other, "/ninja/reports")) == (403, "insufficient_scope", MISSING)
    # An operation for users is none for machines.
    for url in PATHS:
        assert code_of(call_with(may, url))[:2] == (403, "insufficient_scope")
    assert code_of(login("session").get("/ninja/reports")) == (403, "insufficient_scope", MISSING)


def test_an_async_server_runs_both_kinds_of_operation(mode, login):
    used = login(mode)
    client = AsyncClient()
    client.cookies = used.browser.cookies
    for url in PATHS:
        response = async_to_sync(client.get)(url, headers=used.headers())
        assert response.json()["username"] == "alice"


@pytest.mark.parametrize(
    ("configured", "scheme"),
    [
        ("both", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
        ("jwt", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}),
        ("session", {"type": "apiKey", "in": "cookie", "name": "sessionid"}),
    ],
)
def test_the_openapi_document_names_the_scheme_of_the_mode(configured, scheme, settings):
    settings.AUTHMODES_MODE = configured
    document = api.get_openapi_schema(path_prefix="")
    described = dict(document["components"]["securitySchemes"]["AuthModesAuth"])
    assert ("cookie" in described.pop("description", "")) == (configured == "both")
    assert described == scheme
    operation = document["paths"]["/sync"]["get"]
    assert operation["security"] == [{"AuthModesAuth": []}]
    assert "security" not in document["paths"]["/open"]["get"]


def test_no_cache_keeps_a_refusal(db):
    assert Browser().get(PATHS[0])["Cache-Control"] == "no-store"

"""The faces that RFCs describe: challenges, revocation, introspection, caching; one credential."""

import re
from datetime import timedelta
from http.cookies import SimpleCookie
from itertools import product
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.test.utils import override_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes import registry
from authmodes.api import answers
from authmodes.models import AuthorizationCode, LoginSession
from authmodes.registry import validation
from authmodes.urls import urlpatterns

from .support.browser import Browser
from .support.logins import API, call_with, post_json, refresh
from .support.tokens import claims_of

CHALLENGE = 'Bearer realm="api"'
INVALID = 'Bearer realm="api", error="invalid_token"'
REVOKE, INTROSPECT = "/auth/token/revoke/", "/auth/token/introspect/"
ACCESS = "__Host-authmodes_access"

ROOT = Path(__file__).parent.parent


# -- RFC 7009: revocation ------------------------------------------------------------------


def revoke(raw_token, **more):
    """As the RFC has it: a form."""
    return Client().post(REVOKE, {"token": raw_token, **more})


@pytest.mark.parametrize("token", ["x", "eyJhbGciOiJub25lIn0.e30.", "\u00e4"])
def test_revoking_an_unknown_token_is_200(token, login):
    """2.2: the client cannot do anything about it, and learns nothing."""
    used = login("jwt")
    for hint in ({}, {"token_type_hint": "access_token"}, {"token_type_hint": "nonsense"}):
        response = revoke(token, **hint)
        assert (response.status_code, response.content) == (200, b"")
    assert used.get().status_code == 200


@pytest.mark.parametrize("kind", ["access", "refresh"])
@pytest.mark.parametrize("hint", [None, "refresh_token", "access_token", "nonsense"])
def test_revoking_either_token_ends_the_whole_login_whatever_the_hint(kind, hint, login):
    """2.1: a wrong hint must not be in the way; and a login is one thing here."""
    used, other = login("jwt"), login("jwt")
    raw_token = used.answer[kind]
    response = revoke(raw_token, **({} if hint is None else {"token_type_hint": hint}))
    assert response.status_code == 200
    assert used.get().status_code == 401
    assert used.refresh().status_code == 401
    assert used.row.end_reason == "logout"
    assert other.get().status_code == 200


def test_revoking_a_refresh_token_ends_every_access_token_of_the_family(login, clock):
    used = login("jwt")
    issued = [used.access]
    for _ in range(3):
        clock.shift(timedelta(seconds=1))
        used.refresh()
        issued.append(used.access)
    assert [call_with(one).status_code for one in issued] == [200] * 4
    assert revoke(used.refresh_token).status_code == 200
    assert [call_with(one).status_code for one in issued] == [401] * 4


def test_revoking_a_rotated_refresh_token_ends_its_family(login, clock):
    used = login("jwt")
    first = used.refresh_token
    used.refresh()
    assert revoke(first).status_code == 200
    assert used.get().status_code == 401
    assert refresh(used.refresh_token).status_code == 401


def test_revoking_twice_is_200_and_the_first_reason_stays(login):
    used = login("jwt")
    registry.revoke(used.row)
    assert revoke(used.refresh_token).status_code == 200
    assert used.row.end_reason == "revoked"


@pytest.mark.parametrize("body", [{}, {"token": ""}, {"refresh": "x"}])
def test_revoking_nothing_is_400(body, db):
    response = Client().post(REVOKE, body)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid"


def test_a_token_in_the_query_is_not_revoked(login):
    used = login("jwt")
    assert Client().post(f"{REVOKE}?token={used.refresh_token}").status_code == 400
    assert Client().get(REVOKE, {"token": used.refresh_token}).status_code == 405
    assert used.get().status_code == 200


def test_revoking_needs_no_credential_but_the_token_and_minds_no_stale_one(login):
    used = login("jwt")
    response = Client().post(
        REVOKE, {"token": used.access}, headers={"authorization": "Bearer stale"}
    )
    assert response.status_code == 200
    assert used.get().status_code == 401


# -- RFC 7662: introspection ---------------------------------------------------------------


@pytest.fixture
def resource_server(bob, login):
    """A caller with the permission; it signs in like everybody else."""
    bob.user_permissions.add(Permission.objects.get(codename="view_loginsession"))
    return login("jwt", bob)


def introspect(caller, raw_token, **more):
    headers = {} if caller is None else {"authorization": f"Bearer {caller.access}"}
    return Client().post(INTROSPECT, {"token": raw_token, **more}, headers=headers)


def test_a_stranger_may_not_introspect(login):
    used = login("jwt")
    for caller, status in ((None, 401), (used, 403)):
        response = introspect(caller, used.access)
        assert response.status_code == status
        assert "active" not in response.json()
        assert response["Cache-Control"] == "no-store"
    assert introspect(None, used.access)["WWW-Authenticate"] == CHALLENGE


def test_a_permission_taken_away_is_gone_at_once(login, resource_server, bob):
    used = login("jwt")
    assert introspect(resource_server, used.access).status_code == 200
    bob.user_permissions.clear()
    assert introspect(resource_server, used.access).status_code == 403


def test_a_live_access_token_is_described(clock, login, resource_server, alice):
    used = login("jwt")
    response = introspect(resource_server, used.access)
    assert response["Cache-Control"] == "no-store"
    answer, payload = response.json(), claims_of(used.access)
    assert answer["active"] is True
    assert (answer["sub"], answer["username"]) == (str(alice.pk), "alice")
    assert (answer["token_type"], answer["token_use"]) == ("Bearer", "access")
    for name in ("exp", "iat", "jti", "sid", "auth_time", "amr"):
        assert answer[name] == payload[name]


def test_a_live_refresh_token_is_described_and_not_used_up(login, resource_server):
    used = login("jwt")
    for hint in ("refresh_token", "access_token", "nonsense"):
        answer = introspect(resource_server, used.refresh_token, token_type_hint=hint).json()
        assert (answer["active"], answer["token_use"]) == (True, "refresh")
    assert used.refresh().status_code == 200


def dead_ones(used, clock, settings, alice):
    def revoked():
        registry.revoke(used.row)

    def expired():
        clock.shift(timedelta(days=40))

    def off():
        settings.AUTHMODES_MODE = "session"

    def locked():
        type(alice).objects.filter(pk=alice.pk).update(is_active=False)

    def password():
        alice.set_password("another one")
        alice.save()

    def gone():
        alice.delete()

    return {one.__name__: one for one in (revoked, expired, off, locked, password, gone)}


@pytest.mark.parametrize("why", ["revoked", "expired", "locked", "password", "gone"])
@pytest.mark.parametrize("kind", ["access", "refresh"])
def test_a_dead_token_is_inactive_and_nothing_more(
    why, kind, clock, login, resource_server, alice, bob, settings
):
    """2.2: not even why."""
    used = login("jwt")
    dead_ones(used, clock, settings, alice)[why]()
    if why == "expired":
        resource_server = login("jwt", bob)
    response = introspect(resource_server, used.answer[kind])
    assert (response.status_code, response.json()) == (200, {"active": False})
    assert response["Cache-Control"] == "no-store"


def test_with_tokens_switched_off_every_token_is_inactive(login, bob, settings):
    bob.user_permissions.add(Permission.objects.get(codename="view_loginsession"))
    used, caller = login("jwt"), login("session", bob)
    settings.AUTHMODES_MODE = "session"
    response = caller.post(INTROSPECT, {"token": used.access})
    assert response.json() == {"active": False}


@pytest.mark.parametrize("token", ["x", "eyJhbGciOiJub25lIn0.e30.", "\u00e4"])
def test_garbage_is_inactive_and_nothing_more(token, resource_server):
    assert introspect(resource_server, token).json() == {"active": False}


def test_a_rotated_refresh_token_is_inactive(login, resource_server):
    used = login("jwt")
    first = used.refresh_token
    used.refresh()
    assert introspect(resource_server, first).json() == {"active": False}
    assert used.row.ended_at is None


def test_a_cookie_that_introspects_is_subject_to_csrf(login, bob):
    bob.user_permissions.add(Permission.objects.get(codename="view_loginsession"))
    used, caller = login("jwt"), login("session", bob)
    assert caller.browser.post(INTROSPECT, {"token": used.access}).status_code == 403
    assert caller.post(INTROSPECT, {"token": used.access}).json()["active"] is True


def test_a_claim_of_the_project_cannot_make_a_token_look_like_another(login, resource_server):
    with override_settings(AUTHMODES_CLAIMS="tests.test_protocol.impostor"):
        used = login("jwt")
        answer = introspect(resource_server, used.access).json()
    assert (answer["active"], answer["username"], answer["token_type"]) == (True, "alice", "Bearer")
    assert answer["sub"] == str(used.row.user_id)


def impostor(user, login_session):
    return {"active": False, "username": "root", "sub": "0", "token_type": "x", "token_use": "x"}


# -- work that is done once ----------------------------------------------------------------


@pytest.fixture
def calls_of(monkeypatch):
    """Count the calls of a function from here on."""

    def watch(owner, name):
        original, calls = getattr(owner, name), []

        def counted(*args, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return watch


@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_the_answer_of_a_login_and_of_a_refresh_is_built_once(transport, calls_of, login, settings):
    settings.AUTHMODES_TOKEN_TRANSPORT = transport
    built = calls_of(answers.TokenAnswerSerializer, "to_representation")
    used = login("jwt")
    assert len(built) == 1
    if transport == "body":
        assert used.refresh().status_code == 200
    else:
        assert used.browser.send_json("/auth/token/refresh/").status_code == 200
    assert len(built) == 2


@pytest.mark.parametrize("path", ["/auth/logout/", "/auth/token/blacklist/", REVOKE])
def test_ending_a_login_by_its_refresh_token_loads_it_once(path, calls_of, login):
    used = login("jwt")
    identified = calls_of(validation, "identify")
    body = {"refresh": used.refresh_token, "token": used.refresh_token}
    assert post_json(path, body).status_code in (200, 204)
    assert len(identified) == 1
    assert used.row.end_reason == "logout"


# -- RFC 6750: challenges ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["access_token", "token"])
@pytest.mark.parametrize("where", ["query", "form", "both"])
def test_a_token_anywhere_but_in_the_header_is_ignored(name, where, login):
    """RFC 9700, 4.3.2."""
    used = login("jwt")
    query = f"?{name}={used.access}" if where != "form" else ""
    data = {name: used.access} if where != "query" else {}
    for response in (Client().get(API + query), Client().post(API + query, data)):
        assert response.status_code == 401
        # No token was sent, as far as we are concerned.
        assert response["WWW-Authenticate"] == CHALLENGE


def test_a_token_in_the_query_does_not_change_what_the_header_says(login, bob):
    used, other = login("jwt"), login("jwt", bob)
    header = {"authorization": f"Bearer {used.access}"}
    response = Client().get(f"{API}?access_token={other.access}", headers=header)
    assert response.json()["username"] == "alice"


@pytest.mark.parametrize("path", ["/auth/user/", "/auth/sessions/", INTROSPECT, API])
def test_the_challenge_names_an_error_only_when_a_token_was_sent(path, db):
    for header, expected in (
        (None, CHALLENGE),
        ("Basic YTpi", CHALLENGE),
        ("Bearer x", INVALID),
        ("Bearer", INVALID),
    ):
        headers = {} if header is None else {"authorization": header}
        response = Client().post(path, {"token": "x"}, headers=headers)
        assert (response.status_code, response["WWW-Authenticate"]) == (401, expected)


def test_the_challenge_does_not_repeat_what_was_sent(db):
    response = call_with('x", error="injected')
    assert response["WWW-Authenticate"] == INVALID


# -- caching and methods, over every endpoint there is -------------------------------------


def endpoint(pattern):
    values = {"provider": "dummy", "sid": "00000000-0000-4000-8000-000000000000"}
    text = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: values[found[1]], str(pattern.pattern))
    return f"/auth/{text}"


def methods_of(pattern):
    callback = pattern.callback
    view = getattr(callback, "cls", None) or callback.view_class
    return {name for name in ("get", "post", "delete", "put", "patch") if hasattr(view, name)}


# The key set is meant to be cached; the list is what must be justified, not what is tested.
PUBLIC = {"/auth/.well-known/jwks.json"}
ENDPOINTS = {endpoint(pattern): methods_of(pattern) for pattern in urlpatterns}
# A page for people, which only a cookie opens.
PAGES = {"/auth/sessions/manage/"}
PRIVATE = [one for one in ENDPOINTS if one not in PUBLIC | PAGES]
POST_ONLY = [
    one for one, methods in ENDPOINTS.items() if "post" in methods and "get" not in methods
]


def call_in_every_way(path):
    for method in ("get", "head", "options", "post", "put", "patch", "delete"):
        for client in (Client(), Browser()):
            yield method, getattr(client, method)(path)


def assert_private(method, response):
    assert "no-store" in response.get("Cache-Control", ""), (method, response.status_code)
    vary = {name.strip().lower() for name in response.get("Vary", "").split(",")}
    assert {"cookie", "authorization"} <= vary, (method, response.status_code)


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_no_answer_of_any_endpoint_may_be_stored_or_taken_for_another(path, transport, db):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT=transport):
        for method, response in call_in_every_way(path):
            assert_private(method, response)


@pytest.mark.parametrize("path", PRIVATE)
def test_nor_any_answer_to_somebody_who_is_signed_in(path, mode, login):
    used = login(mode)
    for method in sorted(ENDPOINTS[path], reverse=True):
        response = getattr(used.browser, method)(path, headers=used.headers())
        assert_private(method, response)


@pytest.mark.parametrize("path", sorted(PAGES))
def test_a_page_for_people_is_not_stored_and_varies_on_the_cookie(path, login):
    assert path in ENDPOINTS
    used = login("session")
    for browser in (used.browser, Browser()):
        response = browser.get(path)
        assert "no-store" in response["Cache-Control"]
        assert "cookie" in response["Vary"].lower()


def database():
    return (
        list(LoginSession.objects.order_by("pk").values()),
        list(OutstandingToken.objects.order_by("pk").values()),
        BlacklistedToken.objects.count(),
        AuthorizationCode.objects.count(),
    )


def test_the_list_of_what_is_only_posted_is_not_empty():
    assert {"/auth/login/", "/auth/logout/", "/auth/token/refresh/", REVOKE} <= set(POST_ONLY)


@pytest.mark.parametrize("path", POST_ONLY)
@pytest.mark.parametrize("transport", ["body", "cookie"])
def test_a_get_of_what_is_only_posted_is_405_and_changes_nothing(
    path, transport, login, alice, clock
):
    # DRF asks for the permission first.
    alice.user_permissions.add(Permission.objects.get(codename="view_loginsession"))
    cookie, token = login("session"), login("jwt")
    before = database()
    query = {
        "token": token.refresh_token,
        "refresh": token.refresh_token,
        "username": "alice",
        "password": "x",
    }
    with override_settings(AUTHMODES_TOKEN_TRANSPORT=transport):
        for headers in (token.headers(), {}):
            cookie.browser.cookies[ACCESS] = token.access
            cookie.browser.cookies["__Host-authmodes_refresh"] = token.refresh_token
            for method in ("get", "head"):
                response = getattr(cookie.browser, method)(path, query, headers=headers)
                assert response.status_code == 405
    assert database() == before
    assert call_with(token.access).status_code == 200


@pytest.mark.parametrize("path", [one for one in ENDPOINTS if "get" in ENDPOINTS[one]])
def test_a_get_changes_nothing(path, mode, login, clock):
    used = login(mode)
    before = database()
    for method in ("get", "head", "options"):
        getattr(used.browser, method)(path, headers=used.headers())
    assert database() == before
    assert used.get().status_code == 200


# -- which credential counts: every row of the documented table ----------------------------


def tables():
    """The two tables of the section, as lists of cells."""
    text = (ROOT / "docs" / "rest-api.md").read_text()
    section = text.partition("## Which credential counts")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip().replace("`", "") for cell in line) for line in lines]
    rows = [row for row in rows if not set(row[0]) <= set("- ")]
    verdicts = [row for row in rows if not row[0].startswith(("AUTHMODES_", "setting"))][1:]
    settings = [row for row in rows if row[0].startswith("AUTHMODES_")]
    return verdicts, settings


VERDICTS, SETTINGS = tables()

HEADERS = ["none", "another scheme", "Bearer, good", "Bearer, bad"]
CREDENTIALS = ["none", "good", "bad"]
MODES = ["session", "jwt", "both"]
TRANSPORTS = ["body", "cookie"]
COMBINATIONS = list(product(HEADERS, CREDENTIALS, CREDENTIALS, MODES, TRANSPORTS))


def effective(header, cookie, session, mode, transport):
    """What the settings make of the three, by the second table and the sentence above it."""
    if header == "another scheme":
        header = "none"
    if session == "bad":
        session = "none"
    for setting, to_header, to_cookie, to_session in SETTINGS:
        name, value = setting.replace('"', "").split(" = ")
        if value != {"AUTHMODES_MODE": mode, "AUTHMODES_TOKEN_TRANSPORT": transport}[name]:
            continue
        # What is not there does not become bad, and what is none stays it.
        if to_header == "bad" and header != "none":
            header = "Bearer, bad"
        if to_cookie == "none" or (to_cookie == "bad" and cookie != "none"):
            cookie = to_cookie
        if to_session == "none":
            session = "none"
    return header, cookie, session


def documented(*combination):
    wanted = effective(*combination)
    found = [
        row[3]
        for row in VERDICTS
        if all(cell in ("any", one) for cell, one in zip(row[:3], wanted, strict=True))
    ]
    assert len(found) == 1, (combination, wanted, found)
    return found[0]


def test_the_tables_are_read_as_they_are_written():
    assert len(VERDICTS) >= 7
    assert len(SETTINGS) == 5
    assert {row[3].partition(";")[0] for row in VERDICTS} == {
        "the header's",
        "the cookie's",
        "the session's",
        "401 invalid_token",
        "401",
    }


def test_every_combination_has_one_documented_answer_and_every_row_is_needed():
    used = {effective(*combination) for combination in COMBINATIONS}
    for combination in COMBINATIONS:
        documented(*combination)
    for row in VERDICTS:
        assert [one for one in used if all(c in ("any", o) for c, o in zip(row, one, strict=False))]


@pytest.fixture
def everybody(alice, bob, login):
    """Three users with one login each, so that an answer tells which credential counted."""
    carol = type(alice).objects.create_user("carol", "carol@example.com", "x")
    carol.set_password("correct horse battery staple")
    carol.save()
    return {"header": login("jwt"), "cookie": login("jwt", bob), "session": login("session", carol)}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", MODES)
def test_a_combination_is_answered_as_documented(mode, transport, everybody):
    cookies = {name: morsel.value for name, morsel in everybody["session"].browser.cookies.items()}
    for combination in product(HEADERS, CREDENTIALS, CREDENTIALS):
        # The three sign in once, and what an answer ends is taken back.
        with transaction.atomic():
            everybody["session"].browser.cookies = SimpleCookie(cookies)
            assert_answered_as_documented(*combination, mode, transport, everybody)
            transaction.set_rollback(True)


def assert_answered_as_documented(header, cookie, session, mode, transport, everybody):
    expected = documented(header, cookie, session, mode, transport)
    told = (header, cookie, session)
    browser = everybody["session"].browser
    csrf = browser.csrf()
    if session != "good":
        browser.cookies["sessionid"] = "a-session-that-is-over" if session == "bad" else ""
        if session == "none":
            del browser.cookies["sessionid"]
    if cookie != "none":
        good = everybody["cookie"].access
        browser.cookies[ACCESS] = good if cookie == "good" else good[:-8] + "AAAAAAAA"
    good = everybody["header"].access
    headers = {
        "none": {},
        "another scheme": {"authorization": "Basic YTpi"},
        "Bearer, good": {"authorization": f"Bearer {good}"},
        "Bearer, bad": {"authorization": f"Bearer {good[:-8]}AAAAAAAA"},
    }[header]

    with override_settings(AUTHMODES_MODE=mode, AUTHMODES_TOKEN_TRANSPORT=transport):
        # A refused session is flushed, so the unsafe calls come with their own copy of it.
        held = {name: morsel.value for name, morsel in browser.cookies.items()}
        responses = {}
        for name, call in (
            ("get", lambda: browser.get(API, headers=headers)),
            ("forged", lambda: browser.post(API, headers=headers)),
            ("post", lambda: browser.post(API, headers={**headers, **csrf})),
        ):
            for cookie_name, value in held.items():
                browser.cookies[cookie_name] = value
            responses[name] = call()

    if expected.startswith("401"):
        challenge = INVALID if "invalid_token" in expected else CHALLENGE
        for response in responses.values():
            challenged = response.status_code, response["WWW-Authenticate"]
            assert challenged == (401, challenge), told
        return
    whose, _, csrf_rule = expected.partition("; ")
    credential = re.fullmatch(r"the (\w+)'s", whose)[1]
    name = everybody[credential].row.user.get_username()
    mode_of_it = "session" if credential == "session" else "jwt"
    answer = {"username": name, "mode": mode_of_it}
    assert responses["get"].json() == answer, told
    assert responses["post"].json() == answer, told
    if csrf_rule == "no CSRF":
        assert responses["forged"].json() == answer, told
    else:
        assert csrf_rule == "CSRF on unsafe methods", told
        assert responses["forged"].status_code == 403, told

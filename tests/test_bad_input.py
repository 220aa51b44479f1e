"""Whatever is sent to whichever endpoint: a 4xx that says why, and nothing has changed."""

import json

import pytest
from django.test import Client
from django.test.utils import override_settings
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import CharField
from rest_framework.validators import ProhibitSurrogateCharactersValidator
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes.api.fields import AsciiFirst, TokenField
from authmodes.models import AuthorizationCode, LoginSession

from .support.authorization_code import challenge_of
from .support.browser import Browser
from .support.logins import PASSWORD, sign_in

BIG = "x" * 100_000
SID = "/auth/sessions/{sid}/"

# endpoint: a body that would do, but for what the test puts into one field of it
POST = {
    "/auth/login/": {"username": "alice", "password": PASSWORD, "mode": "jwt"},
    "/auth/token/": {"username": "alice", "password": PASSWORD},
    "/auth/token/refresh/": {"refresh": "x"},
    "/auth/token/verify/": {"token": "x"},
    "/auth/token/blacklist/": {"refresh": "x"},
}
GET = ["/auth/", "/auth/csrf/", "/auth/user/", "/auth/social/", "/auth/sessions/"]


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def unchanged(login):
    """Two logins that must be as they were afterwards, and nothing beside them."""
    logins = [login("session"), login("jwt")]

    def state():
        return (
            list(LoginSession.objects.order_by("pk").values()),
            list(OutstandingToken.objects.order_by("pk").values()),
            BlacklistedToken.objects.count(),
            AuthorizationCode.objects.count(),
        )

    before = state()
    yield logins
    assert state() == before
    assert [used.get().status_code for used in logins] == [200, 200]


def assert_bad(response, *statuses):
    assert 400 <= response.status_code < 500, (response.status_code, response.content[:500])
    if statuses:
        assert response.status_code in statuses
    answer = response.json()
    assert answer["detail"]
    assert answer["code"]
    assert isinstance(answer["code"], str)
    assert len(response.content) < 5000
    assert b"Traceback" not in response.content
    assert response["Cache-Control"] == "no-store"


def send(client, path, text, content_type="application/json", **extra):
    return client.generic("POST", path, text, content_type, **extra)


# -- bodies: the parsers are DRF's, the same everywhere --------------------------------------


@pytest.mark.parametrize("path", POST)
def test_a_body_that_is_no_object_is_400(path, client, unchanged):
    assert_bad(send(client, path, b'["refresh"]'), 400)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"null", b"\xff\xfe\x00", b'{"refresh": NaN}', b"[" * 100_000],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_json_is_400(text, client, unchanged):
    assert_bad(send(client, "/auth/token/refresh/", text), 400)


@pytest.mark.parametrize("path", POST)
def test_a_body_of_another_type_is_415(path, client, unchanged):
    assert_bad(send(client, path, json.dumps({"x": "y"}), "text/plain"), 415)


@pytest.mark.parametrize("path", [*POST, "/auth/social/dummy/"])
def test_a_multipart_body_that_the_csrf_check_has_read_is_4xx(path, db):
    """Django has then read the stream, and `request.body` would raise."""
    browser = Browser(raise_request_exception=False)
    browser.cookies["sessionid"] = "x" * 32
    response = browser.post(path, {"x": "y"}, headers=browser.csrf())
    assert_bad(response, 400, 401)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/json; charset=nonsense", 400),
        ("multipart/form-data", 400),
        ("multipart/form-data; boundary=", 400),
    ],
)
def test_a_type_that_says_too_little_is_refused(content_type, status, client, unchanged):
    text = json.dumps({"refresh": "y"})
    assert_bad(send(client, "/auth/token/refresh/", text, content_type), status, 400)


# An empty mode is the default mode, and no mode at all is too: neither is a mistake.
FIELDS = [(path, field) for path in POST for field in POST[path] if field != "mode"]


@pytest.mark.parametrize("value", ["a\x00b", {"x": "x"}], ids=["a NUL", "an object"])
@pytest.mark.parametrize(("path", "field"), [*FIELDS, ("/auth/login/", "mode")])
def test_a_field_of_the_wrong_kind_is_4xx(path, field, value, client, unchanged):
    body = json.dumps({**POST[path], field: value})
    assert_bad(send(client, path, body), 400, 401)


# One field of each kind: a name, a secret, a token, a code.
KINDS = [FIELDS[0], FIELDS[1], ("/auth/token/refresh/", "refresh"), FIELDS[-2]]


@pytest.mark.parametrize("value", [10**400, BIG, "\ud800"], ids=["huge", "100 kB", "surrogate"])
@pytest.mark.parametrize(("path", "field"), KINDS)
def test_a_value_that_no_column_holds_is_4xx(path, field, value, client, unchanged):
    body = json.dumps({**POST[path], field: value})
    assert_bad(send(client, path, body), 400, 401)


def test_half_a_surrogate_in_a_token_is_refused_as_by_drf(client, unchanged):
    response = send(client, "/auth/token/refresh/", json.dumps({"refresh": "a.\ud800"}))
    with pytest.raises(ValidationError) as refused:
        CharField().run_validation("a.\ud800")
    assert response.status_code == 400
    assert response.json()["errors"] == {"refresh": refused.value.detail}


def test_a_token_has_the_validators_of_drf_but_one():
    """Fails where DRF has another one for surrogates: `AsciiFirst` then replaces none."""
    swapped = {ProhibitSurrogateCharactersValidator: AsciiFirst}
    of_drf = [type(each) for each in CharField().validators]
    kinds = [swapped.get(kind, kind) for kind in of_drf]
    assert [type(each) for each in TokenField().validators] == kinds != of_drf


@pytest.mark.parametrize(("path", "field"), FIELDS)
def test_a_field_that_is_missing_is_4xx(path, field, client, unchanged):
    body = {name: value for name, value in POST[path].items() if name != field}
    assert_bad(send(client, path, json.dumps(body)), 400)


@pytest.mark.parametrize("path", POST)
def test_a_field_sent_as_a_form_may_be_as_wrong(path, client, unchanged):
    field = next(iter(POST[path]))
    response = client.post(path, {**POST[path], field: "\udcff".encode("utf-8", "surrogateescape")})
    assert 400 <= response.status_code < 500


def test_a_field_named_twice_or_unknown_fields_do_no_harm(client, unchanged):
    path = "/auth/token/refresh/"
    response = send(client, path, '{"refresh": "x", "refresh": [], "is_staff": true, "sid": 1}')
    assert_bad(response, 400, 401)


# -- logout --------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, ["x"], "a\x00b"])
def test_logging_out_with_a_refresh_token_that_is_none_ends_nothing(value, client, unchanged):
    response = send(client, "/auth/logout/", json.dumps({"refresh": value}))
    assert response.status_code == 204


@pytest.mark.parametrize("text", [b"{", b"\xff"])
def test_logging_out_with_a_body_that_is_no_json_is_400(text, client, unchanged):
    assert_bad(send(client, "/auth/logout/", text), 400)


@pytest.mark.parametrize("text", [b"[]", b"null"])
def test_logging_out_with_another_kind_of_json_ends_nothing(text, client, unchanged):
    assert send(client, "/auth/logout/", text).status_code == 204


# -- methods -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*POST, "/auth/logout/"])
def test_what_is_posted_is_not_done_by_another_method(path, mode, unchanged):
    used = unchanged[0 if mode == "session" else 1]
    for method in ("get", "head", "put", "patch", "delete"):
        call = getattr(used.browser, method)
        response = call(path, headers={**used.browser.csrf(), **used.headers()})
        assert response.status_code == 405, method
        if method != "head":
            assert_bad(response)


def test_what_is_got_is_not_put_and_options_changes_nothing(mode, unchanged):
    used = unchanged[0 if mode == "session" else 1]
    for path in GET:
        for method in ("put", "patch"):
            assert_bad(getattr(used.browser, method)(path, headers=used.headers()), 405)
    for path in (*POST, *GET, "/auth/logout/"):
        assert used.browser.options(path, headers=used.headers()).status_code == 200


# -- addresses -----------------------------------------------------------------------------

STRANGE_SIDS = [
    "00000000-0000-4000-8000-000000000000",
    "not-a-uuid",
    "a%00b",
    "%ED%A0%80",
    "x" * 5000,
    # Digits, to `int()` and to a careless pattern.
    "\u0660" * 32,
]


@pytest.mark.parametrize("sid", STRANGE_SIDS, ids=lambda sid: sid[:20])
def test_an_unknown_sid_is_404(sid, unchanged):
    for used in unchanged:
        used.browser.raise_request_exception = False
        for method in ("get", "delete"):
            response = getattr(used, method)(SID.format(sid=sid))
            assert_bad(response, 404)
            assert response.json()["code"] == "not_found"


@pytest.mark.parametrize("method", ["get", "delete"])
def test_the_sid_of_another_user_is_404(method, mode, unchanged, login, bob):
    attacker = login(mode, bob)
    for victim in unchanged:
        response = getattr(attacker, method)(SID.format(sid=victim.sid))
        assert_bad(response, 404)
    attacker.row.delete()
    OutstandingToken.objects.filter(user=bob).delete()


@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_sid_tells_a_stranger_nothing(method, unchanged):
    for sid in (unchanged[0].sid, STRANGE_SIDS[0], "not-a-uuid"):
        assert_bad(getattr(Client(), method)(SID.format(sid=sid)), 401)


@pytest.mark.parametrize("provider", ["nobody", "a%00b", "%ED%A0%80", "x" * 5000, "DUMMY"])
def test_an_unknown_provider_is_404(provider, client, db):
    for call in (client.get, client.post):
        path = f"/auth/social/{provider}/start/"
        assert_bad(call(path, headers={"accept": "application/json"}), 404)


START = {
    "mode": "jwt",
    "next": "https://spa.example/callback",
    "code_challenge": challenge_of("v" * 43),
    "code_challenge_method": "S256",
}


@pytest.mark.parametrize("value", ["5" * 43 + "\x00", BIG[:20_000]], ids=["a NUL", "20 kB"])
@pytest.mark.parametrize("field", [*START, "state"])
def test_a_strange_parameter_of_the_start_page_is_400_or_only_a_state(field, value, client, db):
    for call in (client.get, client.post):
        headers = {"accept": "application/json"}
        response = call("/auth/social/dummy/start/", {**START, field: value}, headers=headers)
        if field == "state" and len(value) <= 1024:
            assert response.status_code in (200, 302)
        else:
            assert_bad(response, 400)
    assert not AuthorizationCode.objects.exists()


@pytest.mark.parametrize("value", ["\x00", "both"])
def test_a_strange_mode_in_the_query_is_400(value, client, unchanged):
    body = {"username": "alice", "password": PASSWORD}
    response = client.post("/auth/login/", body, "application/json", query_params={"mode": value})
    assert_bad(response, 400)


@pytest.mark.parametrize("value", ["0", "true", "", "11"])
def test_only_all_equal_one_ends_them_all(value, login):
    used, other = login("jwt"), login("jwt")
    response = used.delete(f"/auth/sessions/?all={value}")
    if value == "0":
        assert response.json() == {"ended": 1}
    else:
        # Nobody is to believe that "true" has ended them.
        assert_bad(response, 400)
        assert other.get().status_code == 200
    assert used.get().status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/auth/token/refresh/", "refresh"),
        ("/auth/token/verify/", "token"),
        ("/auth/token/blacklist/", "refresh"),
        ("/auth/token/revoke/", "token"),
    ],
)
def test_a_token_is_text_and_nothing_is_made_into_one(path, name, client, db):
    for value in (5, True, ["x"], None):
        response = send(client, path, json.dumps({name: value}))
        assert_bad(response, 400)
        assert set(response.json()["errors"]) == {name}


# -- headers and cookies -------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["Bearer " + BIG, "Bearer \udcff", "Bearer a.b.c", "Bearer " * 50],
    ids=lambda value: repr(value[:16]),
)
def test_a_strange_bearer_header_is_401(value, client, unchanged):
    for path in ("/auth/user/", "/auth/sessions/"):
        assert_bad(client.get(path, HTTP_AUTHORIZATION=value), 401)
    assert_bad(client.post("/auth/logout/", HTTP_AUTHORIZATION=value), 401)


@pytest.mark.parametrize("value", ["a.b.c", "ä"])
def test_a_strange_token_cookie_is_401_and_in_no_logins_way(value, unchanged):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie"):
        browser = Browser(raise_request_exception=False)
        browser.cookies["__Host-authmodes_access"] = value
        browser.cookies["__Host-authmodes_refresh"] = value
        assert_bad(browser.get("/auth/user/"), 401)
        assert_bad(browser.send_json("/auth/token/refresh/"), 401, 400)
        assert browser.send_json("/auth/logout/").status_code == 204


@pytest.mark.parametrize("value", ["a\x00b", "x" * 20_000, "ä\U0001f511"])
def test_a_strange_user_agent_is_no_reason_not_to_sign_in(value, alice):
    response = sign_in("session", Browser(raise_request_exception=False, HTTP_USER_AGENT=value))
    assert response.status_code == 200, response.content


@pytest.mark.parametrize("address", ["", "not an address", "::1", "fe80::1%eth0", "unix:"])
def test_a_strange_address_is_no_reason_not_to_sign_in(address, alice):
    response = sign_in("session", Browser(raise_request_exception=False, REMOTE_ADDR=address))
    assert response.status_code == 200, response.content


@pytest.mark.parametrize("accept", ["application/xml", "nonsense", "*/*;q=0", "application/json"])
def test_a_client_that_accepts_something_else_still_gets_an_error_it_can_read(accept, client, db):
    response = client.get("/auth/user/", headers={"accept": accept})
    assert response.status_code in (401, 406)
    assert response.json()["code"]

"""Machine clients: a secret becomes a short access token that no user's is mistaken for."""

import base64
import logging
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.tokens import AccessToken as StockAccessToken
from rest_framework_simplejwt.tokens import RefreshToken as StockRefreshToken

from authmodes import registry
from authmodes.machines import clients as machine_clients
from authmodes.machines import tokens as machine_tokens
from authmodes.management.commands.make_signing_key import make_key
from authmodes.models import ExpiringMark, LoginSession, MachineClient, MachineClientSecret
from authmodes.permissions import HasScope
from authmodes.registry import validation
from authmodes.tokens.jwt import (
    AccessToken,
    LegacyRefreshToken,
    RefreshToken,
    TokenError,
    read_token,
)

from .support.browser import Browser
from .support.logins import PASSWORD, Login, call_with, in_mode, post_json, refresh
from .support.tokens import claims_of, header_of
from .urls import urlpatterns as project_urlpatterns

TOKEN = "/auth/token/"
REPORTS, EITHER = "/api/reports/", "/api/either/"
BOTH, BARE = "/api/both/", "/api/bare/"
GRANT = {"grant_type": "client_credentials"}
SCOPES = "reports:read reports:write"
MISSING = 'Bearer realm="api", error="insufficient_scope", scope="reports:read"'
INVALID = 'Bearer realm="api", error="invalid_token"'
HOUR = timedelta(hours=1)


@api_view(["GET"])
@permission_classes([HasScope.of("reports:read")])
def reports(request: Request) -> Response:
    auth = request.auth
    return Response(
        {
            "client_id": auth.client_id,
            "mode": auth.mode,
            "sid": auth.sid,
            "scopes": sorted(auth.scopes),
            "login_session": auth.login_session and str(auth.login_session.sid),
            "is_authenticated": request.user.is_authenticated,
        }
    )


@api_view(["GET"])
@permission_classes([HasScope.of("reports:read") | IsAdminUser])
def either(request: Request) -> Response:
    return Response({})


@api_view(["GET"])
@permission_classes([HasScope.of("reports:write", "reports:read")])
def both(request: Request) -> Response:
    return Response({})


@api_view(["GET"])
@permission_classes([HasScope])
def bare(request: Request) -> Response:
    return Response({})


urlpatterns = [
    *project_urlpatterns,
    path("api/reports/", reports),
    path("api/either/", either),
    path("api/both/", both),
    path("api/bare/", bare),
]
pytestmark = pytest.mark.urls("tests.test_machines")


class Machine:
    """A machine client with the secrets it was ever given, newest last."""

    def __init__(self, name: str = "Reports", scopes: str = SCOPES, **fields: Any) -> None:
        self.row, secret = machine_clients.create(name, scopes, **fields)
        self.secrets = [secret]

    @property
    def secret(self) -> str:
        return self.secrets[-1]

    def rotate(self, overlap: timedelta) -> None:
        secret = machine_clients.rotate(self.row, overlap)
        assert secret is not None
        self.secrets.append(secret)

    def ask(self, secret: str | None = None, **more: Any) -> Any:
        body = {**GRANT, "client_id": self.row.client_id, "client_secret": secret or self.secret}
        return post_json(TOKEN, {**body, **more})

    def token(self, secret: str | None = None, **more: Any) -> str:
        response = self.ask(secret, **more)
        assert response.status_code == 200, response.content
        return response.json()["access_token"]


@pytest.fixture
def machine(db: None) -> Machine:
    return Machine()


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{secret}'.encode()).decode()}"}


def error_of(response: Any) -> tuple[int, str, str]:
    body = response.json()
    assert body["detail"]
    return response.status_code, body["error"], body["code"]


# -- the exchange --------------------------------------------------------------------------


def test_a_secret_becomes_a_bearer_token_in_either_way_and_either_form(machine):
    pair = {"client_id": machine.row.client_id, "client_secret": machine.secret}
    header = basic(*pair.values())
    answers = [
        Client().post(TOKEN, {**GRANT, **pair}),
        Client().post(
            TOKEN,
            "&".join(f"{k}={v}" for k, v in {**GRANT, **pair}.items()),
            "application/x-www-form-urlencoded",
        ),
        post_json(TOKEN, {**GRANT, **pair}),
        Client().post(TOKEN, GRANT, headers=header),
        post_json(TOKEN, GRANT, headers=header),
        post_json(TOKEN, {**GRANT, "client_id": machine.row.client_id}, headers=header),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.content
        body = answer.json()
        access = body.pop("access_token")
        assert body == {"token_type": "Bearer", "expires_in": 300, "scope": SCOPES}
        assert answer["Cache-Control"] == "no-store"
        assert not answer.cookies
        assert call_with(access, REPORTS).status_code == 200
    assert not LoginSession.objects.exists()


def test_basic_credentials_are_url_decoded(machine):
    # RFC 6749, 2.3.1: "%" and "+" mean something there.
    name = "".join(f"%{ord(letter):02X}" for letter in machine.row.client_id)
    response = post_json(TOKEN, GRANT, headers=basic(name, machine.secret))
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (None, SCOPES),
        ("", SCOPES),
        ("reports:write", "reports:write"),
        ("reports:write reports:read reports:write", SCOPES),
        ("reports:delete", None),
        ("reports:read reports:delete", None),
        ("Reports:read", None),
        ("reports:*", None),
    ],
)
def test_a_client_gets_of_its_scopes_what_it_asks_for(machine, asked, granted):
    response = machine.ask(scope=asked)
    if granted is None:
        assert error_of(response) == (400, "invalid_scope", "invalid_scope")
    else:
        assert response.json()["scope"] == granted
        assert claims_of(response.json()["access_token"])["scope"] == granted


NAME, SECRET = "name", "secret"
ON_THE_WAY = {"client_id": NAME, "client_secret": SECRET}
REFUSED: dict[str, tuple[Any, Any, int, str]] = {
    "nothing": ({}, None, 401, "invalid_client"),
    "only a name": ({"client_id": NAME}, None, 401, "invalid_client"),
    "only a secret": ({"client_secret": SECRET}, None, 401, "invalid_client"),
    "wrong secret": ({**ON_THE_WAY, "client_secret": "x" * 43}, None, 401, "invalid_client"),
    "unknown client": ({**ON_THE_WAY, "client_id": "client-0"}, None, 401, "invalid_client"),
    "digest as secret": ({**ON_THE_WAY, "client_secret": "digest"}, None, 401, "invalid_client"),
    "other case": ({**ON_THE_WAY, "client_id": "upper"}, None, 401, "invalid_client"),
    "NUL in the name": ({**ON_THE_WAY, "client_id": "a\0b"}, None, 401, "invalid_client"),
    "NULs as secret": ({**ON_THE_WAY, "client_secret": "\0" * 9}, None, 401, "invalid_client"),
    "half a surrogate": (
        {"client_id": "\ud800", "client_secret": "\ud800"},
        None,
        401,
        "invalid_client",
    ),
    "a huge secret": ({**ON_THE_WAY, "client_secret": "x" * 900_000}, None, 401, "invalid_client"),
    "a huge name": ({**ON_THE_WAY, "client_id": "x" * 900_000}, None, 401, "invalid_client"),
    "a number": ({**ON_THE_WAY, "client_id": 7}, None, 400, "invalid_request"),
    "a list": ({**ON_THE_WAY, "client_secret": [SECRET]}, None, 400, "invalid_request"),
    "an object": ({**ON_THE_WAY, "scope": {}}, None, 400, "invalid_request"),
    "scope NUL": ({**ON_THE_WAY, "scope": "\0"}, None, 400, "invalid_scope"),
    "Basic, empty": ({}, b"Basic", 401, "invalid_client"),
    "Basic, no base64": ({}, b"Basic !!!", 401, "invalid_client"),
    "Basic, no padding": ({}, b"Basic YQ", 401, "invalid_client"),
    "Basic, no colon": ({}, b"Basic " + base64.b64encode(b"abc"), 401, "invalid_client"),
    "Basic, no text": ({}, b"Basic " + base64.b64encode(b"\xff:\xff"), 401, "invalid_client"),
    "Basic, bad escape": ({}, b"Basic " + base64.b64encode(b"%ff:%ff"), 401, "invalid_client"),
    "Basic, NULs": ({}, b"Basic " + base64.b64encode(b"\0:\0"), 401, "invalid_client"),
    "Basic, empty parts": ({}, b"Basic " + base64.b64encode(b":"), 401, "invalid_client"),
    "Basic, non-ASCII header": ({}, "Basic \xe9\xe9".encode("latin-1"), 401, "invalid_client"),
    "Basic and a secret": ({"client_secret": SECRET}, "right", 400, "invalid_request"),
    "Basic and another name": ({"client_id": "client-0"}, "right", 400, "invalid_request"),
    "another grant": ({"grant_type": "password"}, "right", 400, "unsupported_grant_type"),
    "refresh grant": ({"grant_type": "refresh_token"}, "right", 401, "invalid_client"),
    "code grant": ({"grant_type": "authorization_code"}, "right", 401, "invalid_client"),
    "grant of no text": ({"grant_type": ["client_credentials"]}, None, 400, "invalid_request"),
    "grant of a number": ({"grant_type": 1}, None, 400, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_client_is_told_in_both_languages(machine, case):
    changed, header, status, error = REFUSED[case]
    known = {
        NAME: machine.row.client_id,
        SECRET: machine.secret,
        "upper": machine.row.client_id.upper(),
        "digest": machine.row.secrets.get().digest,
    }
    body = {
        key: known.get(value, value) if isinstance(value, str) else value
        for key, value in {**GRANT, **changed}.items()
    }
    extra: dict[str, Any] = {}
    if header == "right":
        extra["headers"] = basic(machine.row.client_id, machine.secret)
    elif header is not None:
        extra["HTTP_AUTHORIZATION"] = header.decode("latin-1")
    response = post_json(TOKEN, body, **extra)
    assert error_of(response) == (status, error, error)
    assert response["Cache-Control"] == "no-store"
    if status == 401:
        scheme = "Basic" if header else "Bearer"
        assert response["WWW-Authenticate"] == f'{scheme} realm="api"'
    else:
        assert "WWW-Authenticate" not in response


@pytest.mark.parametrize("name", ["grant_type", "client_id", "client_secret", "scope"])
def test_a_parameter_given_twice_is_an_invalid_request(machine, name):
    body = {**GRANT, "client_id": machine.row.client_id, "client_secret": machine.secret}
    doubled = {**body, name: [body.get(name, "reports:read")] * 2}
    assert error_of(Client().post(TOKEN, doubled))[1] == "invalid_request"


def test_an_upload_is_no_parameter(machine):
    upload = SimpleUploadedFile("grant_type", b"client_credentials")
    response = Client().post(TOKEN, {"grant_type": upload})
    assert error_of(response) == (400, "invalid_request", "invalid_request")


@pytest.mark.parametrize("grant_type", [None, ""])
def test_without_a_grant_type_it_is_simplejwts_password_login(alice, grant_type):
    body = {"username": "alice", "password": PASSWORD, "grant_type": grant_type}
    response = post_json(TOKEN, body)
    assert response.status_code == 200
    assert {"access", "refresh"} <= response.json().keys()
    assert post_json(TOKEN, [GRANT]).status_code == 400


def test_a_grant_in_the_query_string_counts_for_nothing(machine):
    query = f"?grant_type=client_credentials&client_id={machine.row.client_id}"
    response = Client().post(f"{TOKEN}{query}&client_secret={machine.secret}")
    assert response.status_code == 400
    assert "access_token" not in response.json()


@pytest.mark.parametrize("mode", ["session", "jwt", "both"])
def test_no_machine_gets_in_where_tokens_are_off(machine, mode):
    access = machine.token()
    with in_mode(AUTHMODES_MODE=mode):
        asked, called = machine.ask(), call_with(access, REPORTS)
        verified = post_json("/auth/token/verify/", {"token": access})
    if mode == "session":
        assert error_of(asked) == (400, "unsupported_grant_type", "mode_disabled")
        assert (called.status_code, called["WWW-Authenticate"]) == (401, INVALID)
        assert verified.status_code == 401
        # And the switch is no revocation.
        assert call_with(access, REPORTS).status_code == 200
    else:
        assert [asked.status_code, called.status_code, verified.status_code] == [200] * 3


def test_no_cookie_is_set_or_read_for_a_machine(machine, login):
    with override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie", AUTHMODES_COOKIE_SECURE=False):
        # Without a CSRF token, which a machine does not have.
        browser = Browser()
        body = {**GRANT, "client_id": machine.row.client_id, "client_secret": machine.secret}
        response = post_json(TOKEN, body, browser)
        assert response.status_code == 200
        assert not response.cookies
        # Its token counts in the header alone.
        access = response.json()["access_token"]
        browser.cookies["authmodes_access"] = access
        assert browser.get(REPORTS).status_code == 401
        assert call_with(access, REPORTS).status_code == 200


# -- the token -----------------------------------------------------------------------------


def test_the_token_says_what_rfc_9068_asks_for_and_the_jwks_verifies_it(machine, clock):
    entry = {"kid": "k1", "algorithm": "ES256", **make_key("ES256")}
    with override_settings(
        AUTHMODES_SIGNING_KEYS=[entry],
        SIMPLE_JWT={"ISSUER": "https://app.example", "AUDIENCE": "https://api.example"},
    ):
        access = machine.token()
        jwks = Client().get("/auth/.well-known/jwks.json").json()
        key = jwt.PyJWK(jwks["keys"][0])
        claims = jwt.decode(access, key, algorithms=["ES256"], audience="https://api.example")
    assert header_of(access) == {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}
    now = int(datetime(2031, 5, 4, 12, 0, tzinfo=UTC).timestamp())
    assert uuid.UUID(claims.pop("secret_id")) == machine.row.secrets.get().secret_id
    assert len(claims.pop("jti")) == 32
    assert claims == {
        "token_type": "client_access",
        "iss": "https://app.example",
        "aud": "https://api.example",
        "iat": now,
        "exp": now + 300,
        "sub": machine.row.client_id,
        "client_id": machine.row.client_id,
        "scope": SCOPES,
    }


def test_a_view_sees_a_client_and_no_user(machine):
    assert call_with(machine.token(), REPORTS).json() == {
        "client_id": machine.row.client_id,
        "mode": "client",
        "sid": "",
        "scopes": SCOPES.split(),
        "login_session": None,
        "is_authenticated": False,
    }


@pytest.mark.parametrize("claim", ["user_id", "sub"])
def test_kinds_are_not_interchangeable(machine, login, claim):
    with override_settings(SIMPLE_JWT={"USER_ID_CLAIM": claim}):
        user, access = login("jwt"), machine.token()
        # A machine's as a user's access token, as a refresh token and as a legacy one.
        refused = call_with(access)
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "You do not have permission to perform this action.",
        )
        with override_settings(AUTHMODES_ACCEPT_LEGACY_REFRESH=True):
            assert refresh(access).status_code == 401
        assert post_json("/auth/token/blacklist/", {"refresh": access}).status_code == 401
        assert validation.identify(access) is None
        for kind in (AccessToken, RefreshToken, LegacyRefreshToken):
            with pytest.raises(TokenError):
                read_token(kind, access)
        # simplejwt's own classes, which a project may have on a view.
        for stock in (StockAccessToken, StockRefreshToken):
            with pytest.raises(TokenError, match="wrong type"):
                stock(access)
        # A user's as a machine's, and a secret as a token.
        for raw in (user.access, user.refresh_token, machine.secret, machine.row.client_id):
            assert machine_tokens.read(raw) is None
        assert call_with(user.access, REPORTS)["WWW-Authenticate"] == MISSING
        assert call_with(user.refresh_token, REPORTS).status_code == 401
        assert call_with(machine.secret, REPORTS).status_code == 401
        assert machine.ask(secret=user.access).status_code == 401


def forged(**changed: Any) -> str:
    """What only the holder of our key could make."""
    token = machine_tokens.MachineToken()
    token.payload.update(changed)
    return str(token)


@pytest.mark.parametrize(
    "changed",
    [
        {"secret_id": None},
        {"secret_id": "not a uuid"},
        {"secret_id": str(uuid.UUID(int=7))},
        {"client_id": "client-0", "sub": "client-0"},
        {"sub": "another-client"},
        {"client_id": None, "sub": None},
        {"scope": None},
        {"scope": ["reports:read"]},
        {"jti": None},
        {"exp": None},
        {"exp": "soon"},
        {"token_type": "access"},
        {"token_type": None},
    ],
    ids=str,
)
def test_a_token_with_other_claims_is_refused_and_never_a_500(machine, changed):
    whole = claims_of(machine.token())
    assert call_with(forged(**whole), REPORTS).status_code == 200
    assert call_with(forged(**{**whole, **changed}), REPORTS).status_code == 401
    assert call_with(forged(**{**whole, **changed})).status_code == 401


def test_a_token_dies_with_its_lifetime_its_secret_or_its_client(db, clock):
    def lifetime(machine: Machine) -> int:
        answer = machine.ask().json()
        claims = claims_of(answer["access_token"])
        assert claims["exp"] - claims["iat"] == answer["expires_in"]
        return answer["expires_in"]

    now = datetime(2031, 5, 4, 12, 0, tzinfo=UTC)
    assert lifetime(Machine()) == 300
    assert lifetime(Machine(expires_at=now + timedelta(seconds=40))) == 40
    assert lifetime(Machine(expires_at=now + HOUR)) == 300
    rotated = Machine()
    rotated.rotate(timedelta(seconds=50))
    assert rotated.ask(rotated.secrets[0]).json()["expires_in"] == 50
    assert lifetime(rotated) == 300
    with override_settings(SIMPLE_JWT={"ACCESS_TOKEN_LIFETIME": timedelta(seconds=20)}):
        assert lifetime(Machine()) == 20


# -- revoked, expired, rotated -------------------------------------------------------------


def take_scope(machine: Machine) -> None:
    MachineClient.objects.filter(pk=machine.row.pk).update(scopes="reports:write")


def revoke(machine: Machine) -> None:
    assert machine_clients.revoke(machine.row)


def rotate_at_once(machine: Machine) -> None:
    machine.rotate(timedelta(0))


def expire(machine: Machine) -> None:
    MachineClient.objects.update(expires_at=datetime(2031, 5, 4, 12, 0, tzinfo=UTC))


def forget_secret(machine: Machine) -> None:
    machine.row.secrets.all().delete()


# What happens -> status of the token's next request, and of the secret's next exchange.
ENDS: dict[str, tuple[Callable[[Machine], None], int, int]] = {
    "client revoked": (revoke, 401, 401),
    "client expired": (expire, 401, 401),
    "secret revoked": (rotate_at_once, 401, 401),
    "secret gone": (forget_secret, 401, 401),
    "scope taken away": (take_scope, 403, 200),
}


@pytest.mark.parametrize("check", ["database", "snapshot", "none"])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_counts_from_the_next_request(machine, clock, check, end):
    act, token_status, secret_status = ENDS[end]
    with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check):
        access, secret = machine.token(), machine.secret
        assert call_with(access, REPORTS).status_code == 200
        act(machine)
        ended = call_with(access, REPORTS)
        # The signature alone does not show it, until the token expires.
        assert ended.status_code == (200 if check == "none" else token_status)
        if ended.status_code == 401:
            assert ended["WWW-Authenticate"] == INVALID
        assert machine.ask(secret).status_code == secret_status
        clock.shift(timedelta(seconds=301))
        assert call_with(access, REPORTS).status_code == 401


def test_revoking_is_final_and_says_who(machine, admin_user):
    assert machine_clients.revoke(machine.row, by=admin_user)
    assert not machine_clients.revoke(machine.row)
    row = MachineClient.objects.get()
    assert row.revoked_by == admin_user
    assert machine_clients.rotate(row) is None
    assert row.secrets.count() == 1


def test_an_overlap_lets_the_old_secret_go_on_to_the_second(machine, clock):
    old = machine.secret
    before = machine.token(old)
    machine.rotate(HOUR)
    clock.shift(HOUR - timedelta(seconds=1))
    last = machine.token(old)
    assert call_with(last, REPORTS).status_code == 200
    assert call_with(before, REPORTS).status_code == 401
    new = machine.token()
    clock.shift(timedelta(seconds=1))
    assert machine.ask(old).status_code == 401
    assert call_with(last, REPORTS).status_code == 401
    assert call_with(new, REPORTS).status_code == 200
    assert machine.ask().status_code == 200


def test_rotating_shortens_what_was_left_and_prolongs_nothing(machine, clock):
    machine.rotate(HOUR)
    first = machine.row.secrets.earliest("pk")
    ends = first.expires_at
    machine.rotate(5 * HOUR)
    first.refresh_from_db()
    assert first.expires_at == ends
    machine.rotate(timedelta(minutes=5))
    first.refresh_from_db()
    assert first.expires_at == ends - HOUR + timedelta(minutes=5)
    machine.rotate(timedelta(0))
    assert [machine.ask(each).status_code for each in machine.secrets] == [401] * 4 + [200]


def _act_at_once(*acts: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(acts))

    def act(number: int) -> Any:
        barrier.wait(timeout=30)
        try:
            return acts[number]()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, range(len(acts))))


def _assert_one_secret_is_left(machine: Machine) -> None:
    given = _act_at_once(*[lambda: machine_clients.rotate(machine.row, timedelta(0))] * 8)
    assert sorted(machine.ask(each).status_code for each in given) == [200] + [401] * 7
    assert machine.ask().status_code == 401


@pytest.mark.django_db(transaction=True)
def test_of_eight_rotations_at_once_one_secret_is_left(machine):
    _assert_one_secret_is_left(machine)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(3))
def test_of_eight_rotations_at_once_one_secret_is_left_on_postgresql(machine, repetition):
    _assert_one_secret_is_left(machine)


@pytest.mark.servers
@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("repetition", range(3))
def test_a_revocation_beside_rotations_always_wins_on_postgresql(machine, repetition):
    *given, revoked = _act_at_once(
        *[lambda: machine_clients.rotate(machine.row)] * 4,
        lambda: machine_clients.revoke(machine.row),
    )
    assert revoked
    for secret in (machine.secret, *filter(None, given)):
        assert machine.ask(secret).status_code == 401
    assert machine_clients.rotate(machine.row) is None


def test_one_clients_secret_opens_no_other_client(machine):
    other = Machine("Other")
    assert machine.ask(secret=other.secret).status_code == 401
    machine.rotate(timedelta(0))
    assert other.ask().status_code == 200


@pytest.mark.parametrize("scopes", ['a"b', "a\\b", "é", "a\0b"])
def test_what_cannot_be_a_scope_makes_no_client(db, scopes):
    with pytest.raises(ValidationError):
        machine_clients.create("Reports", scopes)
    assert not MachineClient.objects.exists()


def test_pruning_forgets_what_ended_long_ago(machine, clock):
    gone, expired = Machine("Gone"), Machine("Expired", expires_at=datetime(2031, 5, 5, tzinfo=UTC))
    machine.rotate(timedelta(0))
    machine_clients.revoke(gone.row)
    clock.shift(timedelta(days=90))
    registry.prune()
    assert (MachineClient.objects.count(), MachineClientSecret.objects.count()) == (3, 4)
    clock.shift(timedelta(seconds=1))
    registry.prune()
    assert set(MachineClient.objects.all()) == {machine.row, expired.row}
    assert MachineClientSecret.objects.count() == 2
    assert machine.ask().status_code == 200


# -- permission ----------------------------------------------------------------------------


def test_a_missing_scope_is_a_403_with_a_challenge_and_no_token_a_401(machine, login, mode):
    without = call_with(machine.token(scope="reports:write"), REPORTS)
    assert (without.status_code, without["WWW-Authenticate"]) == (403, MISSING)
    assert without.json()["code"] == "insufficient_scope"
    anonymous = Client().get(REPORTS)
    assert anonymous.status_code == 401
    assert anonymous["WWW-Authenticate"] == 'Bearer realm="api"'
    user = login(mode).get(REPORTS)
    assert (user.status_code, user["WWW-Authenticate"]) == (403, MISSING)


def scope_of_user(user: Any, login_session: Any) -> dict[str, Any]:
    return {"scope": "reports:read profile", "client_id": "web"}


def test_a_users_token_with_the_scope_claim_passes_as_well(login):
    with override_settings(AUTHMODES_CLAIMS="tests.test_machines.scope_of_user"):
        signed_in = login("jwt")
    answer = call_with(signed_in.access, REPORTS).json()
    assert answer["scopes"] == ["profile", "reports:read"]
    # What a user's claims say makes no client of them.
    assert (answer["client_id"], answer["mode"], answer["sid"]) == ("", "jwt", signed_in.sid)


def test_has_scope_combines_with_other_permissions(machine, login, admin_user):
    assert call_with(machine.token(), EITHER).status_code == 200
    allowed = login("jwt", admin_user).get(EITHER)
    assert allowed.status_code == 200
    assert "WWW-Authenticate" not in allowed
    refused = login("jwt").get(EITHER)
    assert (refused.status_code, refused["WWW-Authenticate"]) == (403, MISSING)
    assert Client().get(EITHER).status_code == 401


def test_of_several_scopes_all_are_needed(machine):
    assert call_with(machine.token(), BOTH).status_code == 200
    for scope in SCOPES.split():
        refused = call_with(machine.token(scope=scope), BOTH)
        assert refused.status_code == 403
        assert refused["WWW-Authenticate"].endswith(f'scope="{SCOPES}"')


def test_has_scope_without_a_scope_admits_no_call(machine, login):
    assert call_with(machine.token(), BARE).status_code == 403
    assert login("jwt").get(BARE).status_code == 403
    assert Client().get(BARE).status_code == 401
    with pytest.raises(TypeError):
        HasScope.of()


class AnotherPackages(BaseAuthentication):
    """As django-oauth-toolkit and others have it, by names of their own."""

    scopes: Any = None

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        return AnonymousUser(), self


@pytest.mark.parametrize("scopes", [{"reports:read": "Read"}, ["reports:read"], "reports:read", 1])
def test_has_scope_beside_another_packages_tokens_admits_no_call(scopes, monkeypatch):
    monkeypatch.setattr(AnotherPackages, "scopes", scopes)
    monkeypatch.setattr(reports.cls, "authentication_classes", [AnotherPackages])
    assert Client().get(REPORTS).status_code == 403


FOR_USERS = [
    ("get", "/auth/user/"),
    ("get", "/auth/sessions/"),
    ("delete", "/auth/sessions/"),
    ("get", f"/auth/sessions/{uuid.UUID(int=7)}/"),
    ("post", "/auth/token/introspect/"),
    ("post", "/auth/logout/"),
    ("get", "/probe/api/"),
]


@pytest.mark.parametrize("check", ["database", "none"])
@pytest.mark.parametrize(("method", "url"), FOR_USERS)
def test_what_is_for_users_is_closed_to_machines(machine, method, url, check):
    with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check):
        headers = {"authorization": f"Bearer {machine.token()}"}
        response = getattr(Client(), method)(url, headers=headers)
    # Who it is is known; signing in again would change nothing.
    assert response.status_code == 403


# -- verify, introspect, revoke ------------------------------------------------------------


def introspect(login: Login, raw_token: str) -> Any:
    return login.post("/auth/token/introspect/", {"token": raw_token}).json()


def test_verify_and_introspect_know_a_machines_token(machine, login, admin_user):
    access, root = machine.token(), login("session", admin_user)
    assert post_json("/auth/token/verify/", {"token": access}).status_code == 200
    told = introspect(root, access)
    assert told == {
        **claims_of(access),
        "active": True,
        "token_type": "Bearer",
        "token_use": "client_access",
    }
    assert told["client_id"] == told["sub"] == machine.row.client_id
    assert "username" not in told
    take_scope(machine)
    assert introspect(root, access)["scope"] == "reports:write"
    revoke(machine)
    assert post_json("/auth/token/verify/", {"token": access}).status_code == 401
    assert introspect(root, access) == {"active": False}


def test_a_token_revoked_by_rfc_7009_is_dead_and_its_sister_is_not(machine, clock, login):
    access, sister = machine.token(), machine.token()
    for _again in range(2):
        answer = post_json("/auth/token/revoke/", {"token": access})
        assert (answer.status_code, answer.content) == (200, b"")
    assert call_with(access, REPORTS).status_code == 401
    assert post_json("/auth/token/verify/", {"token": access}).status_code == 401
    assert call_with(sister, REPORTS).status_code == 200
    # What was written down for it goes when the token would be refused anyway.
    clock.shift(timedelta(seconds=300))
    registry.prune()
    assert ExpiringMark.objects.count() == 1
    clock.shift(timedelta(seconds=1))
    registry.prune()
    assert not ExpiringMark.objects.exists()


# -- cost, traces, logs --------------------------------------------------------------------


@pytest.mark.parametrize(("check", "count"), [("database", 1), ("snapshot", 1), ("none", 0)])
def test_a_machines_request_costs_one_query(machine, check, count):
    with override_settings(AUTHMODES_ACCESS_TOKEN_CHECK=check):
        access = machine.token()
        for _request in range(3):
            with CaptureQueriesContext(
                connection,
            ) as queries:
                assert call_with(access, REPORTS).status_code == 200
            assert len(queries) == count


def test_an_exchange_writes_once_per_touch_interval(machine, clock):
    counts = []
    for seconds in (0, 59, 1):
        clock.shift(timedelta(seconds=seconds))
        with CaptureQueriesContext(connection) as queries:
            machine.token()
        counts.append(sum(query["sql"].startswith("UPDATE") for query in queries))
    assert counts == [1, 0, 1]
    machine.row.refresh_from_db()
    assert machine.row.last_used_at == datetime(2031, 5, 4, 12, 1, tzinfo=UTC)


def test_an_unknown_client_costs_what_a_wrong_secret_costs(machine):
    costs = []
    for name in (machine.row.client_id, "client-0", "a\0b"):
        with CaptureQueriesContext(connection) as queries:
            assert (
                post_json(TOKEN, {**GRANT, "client_id": name, "client_secret": "x"}).status_code
                == 401
            )
        costs.append(len(queries))
    assert costs == [1, 1, 1]


def test_who_was_let_in_and_who_was_not_is_logged_without_secrets(machine, caplog):
    caplog.set_level(logging.INFO, "authmodes")
    access = machine.token(scope="reports:read")
    machine.ask(secret="a-wrong-secret")
    post_json(TOKEN, {**GRANT, "client_id": machine.secret, "client_secret": "\nforged line"})
    old = machine.secret
    machine.rotate(timedelta(0))
    machine.ask(old)
    revoke(machine)
    machine.ask()
    name = machine.row.client_id
    assert [record.getMessage() for record in caplog.records if record.name == "authmodes"] == [
        f"machine_client_token_made client_id={name} expires_in=300 scope=reports:read "
        "ip_address=127.0.0.1",
        f'machine_client_refused client_id={name} reason="unknown client or wrong secret" '
        "ip_address=127.0.0.1",
        'machine_client_refused reason="unknown client or wrong secret" ip_address=127.0.0.1',
        f"machine_client_secret_made client_id={name}",
        f'machine_client_refused client_id={name} reason="the secret was revoked" '
        "ip_address=127.0.0.1",
        f"machine_client_revoked client_id={name}",
        f'machine_client_refused client_id={name} reason="the client was revoked" '
        "ip_address=127.0.0.1",
    ]
    for each in (access, *machine.secrets, "a-wrong-secret", "forged"):
        assert each not in caplog.text


def test_nothing_in_the_database_is_accepted_as_a_credential(machine):
    access = machine.token()
    post_json("/auth/token/revoke/", {"token": access})
    machine.rotate(HOUR)
    found: set[str] = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("authmodes_"):
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                found |= {str(value) for row in cursor.fetchall() for value in row}
    for secret in (access, *machine.secrets):
        assert not [
            value for value in found if secret in value or (value in secret and len(value) > 20)
        ]
    for value in found:
        assert machine.ask(secret=value or "-").status_code in (400, 401)
        assert machine_tokens.read(value) is None


def test_what_is_printed_of_them_names_no_secret(machine):
    minted = machine_tokens.mint(machine.row.secrets.get(), ["reports:read"])
    token = machine_tokens.read(str(minted))
    assert repr(minted) == repr(token)
    assert repr(token) == "<MachineToken>"
    secret = machine.row.secrets.get()
    for text in (str(secret), repr(secret), str(machine.row), repr(machine.row)):
        assert secret.digest not in text
        assert machine.secret not in text

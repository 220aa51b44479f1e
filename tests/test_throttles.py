"""Who calls a credential endpoint too often is told to wait; nobody else is."""

from datetime import timedelta

import pytest
from allauth.core.internal import ratelimit
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext, override_settings
from rest_framework import throttling

from authmodes import urls
from authmodes.api import throttling as api_throttling
from authmodes.api.views.login import LoginView
from authmodes.conf import conf
from authmodes.machines import clients as machine_clients
from authmodes.machines import tokens as machine_tokens
from authmodes.models import LoginSession

from .support.authorization_code import code_grant
from .support.browser import Browser
from .support.caches import UNREACHABLE
from .support.logins import PASSWORD, post_json, refresh

EVERY = api_throttling.EVERY_SCOPE
PASSWORD_BODY = {"username": "alice", "password": "wrong", "mode": "jwt"}
CODE_BODY = code_grant("x", "v" * 43)
REFRESH_GRANT = {"grant_type": "refresh_token", "refresh_token": "x"}
START = "/auth/social/dummy/start/"

# scope: path, body, and what the endpoint says to it while it listens
ENDPOINTS = {
    "login": ("authmodes_login", "/auth/login/", PASSWORD_BODY, 401),
    "obtain": ("authmodes_login", "/auth/token/", PASSWORD_BODY, 401),
    "start": ("authmodes_start", START, {}, 302),
    "code": ("authmodes_code", "/auth/token/", CODE_BODY, 400),
    "refresh grant": ("authmodes_refresh", "/auth/token/", REFRESH_GRANT, 400),
    "refresh": ("authmodes_refresh", "/auth/token/refresh/", {"refresh": "x"}, 401),
    "verify": ("authmodes_token", "/auth/token/verify/", {"token": "x"}, 401),
    "blacklist": ("authmodes_token", "/auth/token/blacklist/", {"refresh": "x"}, 401),
    "revoke": ("authmodes_token", "/auth/token/revoke/", {"token": "x"}, 200),
    "logout": ("authmodes_logout", "/auth/logout/", {}, 204),
    "client": ("authmodes_client", "/auth/token/", {"grant_type": "client_credentials"}, 401),
    "social": ("authmodes_login", "/auth/social/dummy/", {"id_token": "x", "mode": "jwt"}, 401),
    "upstream logout": ("authmodes_upstream", "/auth/upstream/logout/nobody/", {}, 415),
    "upstream events": ("authmodes_upstream", "/auth/upstream/events/nobody/", {}, 404),
}
# What takes no credential, or none but that of the login itself.
UNLIMITED = {"index", "csrf", "user", "social", "session_list", "session_detail", "jwks"}
# A page, which needs a login.
UNLIMITED |= {"session_manage"}
# For administrators.
UNLIMITED |= {"staff_session_list", "staff_session_detail"}


@pytest.fixture(autouse=True)
def fresh_counts():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def rates(settings):
    """Set rates: `rates(authmodes_login="2/min")`."""

    def change(**wanted):
        settings.REST_FRAMEWORK = {
            **settings.REST_FRAMEWORK,
            "DEFAULT_THROTTLE_RATES": {EVERY: None, **wanted},
        }

    return change


def call(endpoint, ip="198.51.100.1", **headers):
    _, path, body, _ = ENDPOINTS[endpoint]
    return post_json(path, body, REMOTE_ADDR=ip, headers=headers)


def statuses(endpoint, times, **extra):
    return [call(endpoint, **extra).status_code for _ in range(times)]


def with_refresh_token(raw_token, ip="198.51.100.1", path="/auth/token/refresh/", name="refresh"):
    return post_json(path, {name: raw_token}, REMOTE_ADDR=ip)


# -- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_too_many_calls_are_429_with_the_time_to_wait(endpoint, rates, clock, alice):
    scope, _, _, usual = ENDPOINTS[endpoint]
    rates(**{scope: "2/min"})
    assert statuses(endpoint, 2) == [usual, usual]
    clock.shift(timedelta(seconds=12.5))

    response = call(endpoint)

    assert response.status_code == 429
    assert response["Retry-After"] == "48"
    assert response["Cache-Control"] == "no-store"
    body = response.json()
    assert body["code"] == "throttled"
    of_others = {"error", "error_description", "err", "description"}
    assert set(body) - (of_others if scope == "authmodes_upstream" else set()) == {"detail", "code"}
    clock.shift(timedelta(seconds=int(response["Retry-After"])))
    assert call(endpoint).status_code == usual


def test_a_callers_own_introspections_are_counted(rates, login, alice, admin_user):
    rates(authmodes_introspect="1/min")
    both = [login("jwt", admin_user) for _ in range(2)]
    path, body = "/auth/token/introspect/", {"token": "x"}
    assert [each.post(path, body).status_code for each in both] == [200, 200]
    refused = both[0].post(path, body)
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) in range(1, 61)


def test_a_browser_is_told_on_a_page(rates, alice_at_dummy):
    rates(authmodes_start="1/min")
    browser = Browser(headers={"accept": "text/html"})
    assert browser.submit(START + "?mode=session").status_code == 302
    page = browser.submit(START + "?mode=session")
    assert page.status_code == 429
    assert page["Content-Type"].startswith("text/html")
    assert "throttled" in page.content.decode()
    assert int(page["Retry-After"]) in range(1, 61)


def test_every_endpoint_that_takes_a_credential_is_counted():
    scopes = {}
    for route in urls.urlpatterns:
        view = getattr(route.callback, "cls", None)
        scopes[route.name] = getattr(view, "credential_scope", "")
    assert {name for name, scope in scopes.items() if not scope} == UNLIMITED
    # What `token/` is counted by depends on the body.
    used = {*filter(None, scopes.values()), "authmodes_client", "authmodes_code"}
    assert used == set(api_throttling.DEFAULT_RATES)
    assert {scope for scope, *_ in ENDPOINTS.values()} | {"authmodes_introspect"} == set(
        api_throttling.DEFAULT_RATES
    )


def test_all_endpoints_that_sign_a_user_in_share_a_count(rates, alice):
    rates(authmodes_login="2/min")
    endpoints = ("login", "obtain", "social")
    assert [call("login").status_code, call("obtain").status_code] == [401, 401]
    assert [call(endpoint).status_code for endpoint in endpoints] == [429, 429, 429]


def test_machines_do_not_use_up_what_people_have(rates, alice):
    rates(authmodes_login="1/min", authmodes_client="1/min")
    assert statuses("client", 2) == [401, 429]
    assert statuses("obtain", 2) == [401, 429]


def test_the_token_of_a_machine_is_counted_by_its_client(rates, db):
    rates(authmodes_token="1/min")
    for name in ("nightly", "hourly"):
        client, _ = machine_clients.create(name, scopes="reports:read")
        first, second = (str(machine_tokens.mint(client.secrets.get(), [])) for _ in range(2))
        path = "/auth/token/verify/"
        assert with_refresh_token(first, path=path, name="token").status_code == 200
        assert with_refresh_token(second, path=path, name="token").status_code == 429


def test_what_is_only_read_is_never_counted(rates, alice):
    rates(**{EVERY: "1/min"})
    for path in ("/auth/", "/auth/csrf/", "/auth/social/", "/auth/.well-known/jwks.json", START):
        answers = {Client().get(path).status_code for _ in range(3)}
        assert 429 not in answers, path


# -- who is one caller ---------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["login", "code", "refresh"])
def test_a_made_up_forwarded_address_changes_nothing(endpoint, rates, alice):
    scope, _, _, usual = ENDPOINTS[endpoint]
    rates(**{scope: "2/min"})
    spoofed = [
        call(endpoint, **{"x-forwarded-for": f"203.0.113.{n}"}).status_code for n in range(4)
    ]
    assert spoofed == [usual, usual, 429, 429]
    # Nor does it use up what the made-up address has.
    assert call(endpoint, ip="203.0.113.0").status_code == usual


def test_people_at_different_addresses_have_a_count_each(rates, alice):
    rates(authmodes_login="1/min")
    assert statuses("login", 2, ip="198.51.100.1") == [401, 429]
    assert statuses("login", 2, ip="198.51.100.2") == [401, 429]


def test_behind_a_trusted_proxy_its_word_counts_and_no_more(rates, settings, alice):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    rates(authmodes_login="1/min")

    def forwarded(addresses):
        return call("login", ip="10.0.0.1", **{"x-forwarded-for": addresses}).status_code

    assert forwarded("198.51.100.1") == 401
    assert forwarded("198.51.100.2") == 401
    assert forwarded("203.0.113.7, 198.51.100.1") == 429


@pytest.mark.parametrize("endpoint", ["code", "login", "client"])
def test_fewer_proxies_than_the_settings_say_are_no_500(endpoint, rates, settings, caplog, alice):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    rates(**{EVERY: "1/min"})
    alone, usual = {"x-forwarded-for": "198.51.100.1"}, ENDPOINTS[endpoint][3]
    assert [call(endpoint, **alone).status_code for _ in range(2)] == [usual] * 2
    # allauth's own limits are not waived, so nobody guesses passwords that way.
    settings.ACCOUNT_RATE_LIMITS = {}
    assert call(endpoint, **alone).status_code == (403 if endpoint == "login" else usual)
    assert "ALLAUTH_TRUSTED_PROXY_COUNT" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
    ],
)
def test_another_site_does_not_use_up_what_an_address_has(headers, rates, alice):
    rates(authmodes_login="2/min")
    browser = Browser()
    body = {**PASSWORD_BODY, "mode": "session"}
    answers = [browser.post("/auth/login/", body, headers=headers) for _ in range(3)]
    # CSRF refuses it, but who forges the headers is not to call as often as they like.
    assert [answer.status_code for answer in answers] == [403, 403, 429]
    ours = {"origin": "http://testserver"}
    colleagues = [call("login", ip="127.0.0.1", **each).status_code for each in (ours, {}, {})]
    assert colleagues == [401, 401, 429]


def test_an_ipv6_network_is_one_caller(rates, alice):
    rates(authmodes_login="1/min")
    assert call("login", ip="2001:db8:0:1::1").status_code == 401
    assert call("login", ip="2001:db8:0:1:ffff::2").status_code == 429
    assert call("login", ip="2001:db8:0:2::1").status_code == 401


def test_where_no_address_is_known_nobody_is_shut_out(rates, alice):
    rates(**{EVERY: "1/min"})
    assert statuses("code", 3, ip="") == [400, 400, 400]


def test_behind_one_address_each_login_has_refreshes_of_its_own(rates, login):
    """An office of a thousand refreshes more often than any limit for an address allows."""
    rates(authmodes_refresh="2/min")
    colleagues = [login("jwt") for _ in range(3)]
    for colleague in colleagues:
        answers = [colleague.refresh().status_code for _ in range(3)]
        assert answers == [200, 200, 429]


def test_rubbish_from_the_same_address_does_not_stop_genuine_tokens(rates, login):
    rates(authmodes_refresh="1/min", authmodes_token="1/min", authmodes_logout="1/min")
    genuine = login("jwt")
    forged = genuine.refresh_token[:-6] + "AAAAAA"
    for path, name in [
        ("/auth/token/refresh/", "refresh"),
        ("/auth/token/verify/", "token"),
        ("/auth/logout/", "refresh"),
    ]:
        assert with_refresh_token(forged, path=path, name=name).status_code != 429
        assert with_refresh_token(forged, path=path, name=name).status_code == 429
    token = genuine.refresh_token
    assert with_refresh_token(token, path="/auth/token/verify/", name="token").status_code == 200
    assert genuine.refresh().status_code == 200
    body = {"refresh": genuine.refresh_token}
    assert post_json("/auth/logout/", body).status_code == 204


def test_another_address_does_not_give_a_login_more_refreshes(rates, login):
    rates(authmodes_refresh="1/min")
    raw_token = login("jwt").refresh_token
    assert with_refresh_token(raw_token, "198.51.100.1").status_code == 200
    assert with_refresh_token(raw_token, "198.51.100.2").status_code == 429


THIEF = "203.0.113.66"


def test_no_count_keeps_the_reuse_of_a_refresh_token_from_being_noticed(settings, login, clock):
    settings.REST_FRAMEWORK = {}
    victim = login("jwt")
    stolen = current = victim.refresh_token
    for _ in range(60):
        current = with_refresh_token(current, THIEF).json()["refresh"]
    assert with_refresh_token(current, THIEF).status_code == 429
    assert victim.row.ended_at is None
    answer = with_refresh_token(stolen)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_reused")
    assert victim.row.end_reason == "reuse"
    # That was all it can do; from now on it is counted like any other.
    assert with_refresh_token(stolen).status_code == 429


def test_no_count_keeps_the_reuse_of_a_code_from_being_noticed(rates, code_flow):
    rates(authmodes_code="1/min")
    code_flow.run()
    assert code_flow.exchange().status_code == 200
    wrong = {"code_verifier": "w" * 43}
    assert code_flow.exchange(**wrong).status_code == 429
    assert code_flow.exchange().status_code == 400
    assert LoginSession.objects.get().end_reason == "reuse"
    assert code_flow.exchange().status_code == 429


def test_an_access_token_uses_up_nobodys_refreshes(rates, login):
    rates(authmodes_refresh="1/min")
    victim = login("jwt")
    answers = [with_refresh_token(victim.access, THIEF).status_code for _ in range(2)]
    assert answers == [401, 429]
    assert victim.refresh().status_code == 200


def bearer(used):
    return {"headers": {"authorization": f"Bearer {used.access}"}}


@pytest.mark.parametrize(
    ("path", "send"),
    [
        ("/auth/token/revoke/", lambda used: {"data": {"token": used.access}}),
        ("/auth/token/revoke/", lambda used: {"data": {"token": used.refresh_token}}),
        ("/auth/token/blacklist/", lambda used: {"data": {"refresh": used.refresh_token}}),
        ("/auth/logout/", lambda used: {"data": {"refresh": used.refresh_token}}),
        ("/auth/logout/", lambda used: {"data": {}, **bearer(used)}),
    ],
    ids=["revoke access", "revoke refresh", "blacklist", "logout by body", "logout by header"],
)
def test_no_count_keeps_an_owner_from_ending_a_login(rates, login, path, send):
    rates(authmodes_token="1/min", authmodes_logout="1/min")
    victim = login("jwt")
    for _ in range(2):
        # What a thief of the access token can call without doing the login any harm, and
        # what a neighbour can.
        with_refresh_token(victim.access, THIEF, "/auth/token/verify/", "token")
        rubbish = {"authorization": "Bearer rubbish"}
        for ip in (THIEF, "198.51.100.1"):
            body = {"refresh": victim.refresh_token}
            post_json("/auth/logout/", body, REMOTE_ADDR=ip, headers=rubbish)
            post_json("/auth/logout/", {"refresh": victim.access}, REMOTE_ADDR=ip)
            with_refresh_token("x", ip, "/auth/token/revoke/", "token")
    assert victim.row.ended_at is None
    assert call("logout").status_code == 429
    answer = post_json(path, **(asked := send(victim)), REMOTE_ADDR="198.51.100.1")
    assert answer.status_code in (200, 204)
    assert victim.row.end_reason == "logout"
    assert post_json(path, **asked, REMOTE_ADDR="198.51.100.1").status_code == 429


@pytest.mark.parametrize("transport", ["session", "cookie"])
def test_no_count_keeps_a_browser_from_signing_out(transport, rates, settings, login):
    rates(authmodes_logout="1/min")
    settings.AUTHMODES_TOKEN_TRANSPORT = "body" if transport == "session" else "cookie"
    used = login("session" if transport == "session" else "jwt")
    assert statuses("logout", 2, ip="127.0.0.1") == [204, 429]
    assert used.browser.send_json("/auth/logout/").status_code == 204
    assert used.row.end_reason == "logout"
    assert used.browser.send_json("/auth/logout/").status_code == 429


def test_no_count_keeps_a_machines_token_from_being_revoked(rates, db):
    rates(authmodes_token="1/min")
    client, _ = machine_clients.create("nightly", scopes="reports:read")
    minted = str(machine_tokens.mint(client.secrets.get(), ["reports:read"]))
    verified = [
        with_refresh_token(minted, THIEF, "/auth/token/verify/", "token").status_code
        for _ in range(2)
    ]
    assert verified == [200, 429]
    revoked = [
        with_refresh_token(minted, THIEF, "/auth/token/revoke/", "token").status_code
        for _ in range(2)
    ]
    assert revoked == [200, 429]
    assert machine_tokens.validate(machine_tokens.read(minted)) is None


def test_a_throttled_refresh_leaves_the_login_as_it_was(rates, login, clock):
    rates(authmodes_refresh="1/min")
    signed_in = login("jwt")
    assert signed_in.refresh().status_code == 200
    assert signed_in.refresh().status_code == 429
    clock.shift(timedelta(seconds=61))
    assert signed_in.refresh().status_code == 200
    assert signed_in.row.ended_at is None


def test_token_cookies_are_counted_by_their_login(rates, settings, login):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    rates(authmodes_refresh="1/min")
    one, other, third = login("jwt"), login("jwt"), login("jwt")
    assert one.browser.send_json("/auth/token/refresh/").status_code == 200
    assert one.browser.send_json("/auth/token/refresh/").status_code == 429
    assert other.browser.send_json("/auth/token/refresh/").status_code == 200
    # A token in the body is not the one that counts here, so it says nothing about the caller.
    body = {"refresh": third.browser.cookies[conf.REFRESH_COOKIE_NAME].value}
    assert one.browser.send_json("/auth/token/refresh/", body).status_code == 429


def test_no_token_is_part_of_a_key_in_the_cache(rates, login):
    rates(**{EVERY: "5/min"})
    raw_token = login("jwt").refresh_token
    refresh(raw_token)
    keys = [str(key) for key in cache._cache]
    assert any("throttle_authmodes_refresh" in key for key in keys)
    assert not [key for key in keys if "eyJ" in key]


# -- the rates -----------------------------------------------------------------------------


def test_without_a_word_of_the_projects_our_rates_hold(settings, db):
    settings.REST_FRAMEWORK = {}
    for scope, rate in api_throttling.DEFAULT_RATES.items():
        assert api_throttling.CredentialThrottle(scope).rate == rate
    amount = int(api_throttling.DEFAULT_RATES["authmodes_login"].split("/")[0])
    assert statuses("login", amount + 1) == [401] * amount + [429]


def test_rates_are_read_live(rates, alice, clock):
    rates(authmodes_login="1/min")
    assert statuses("login", 2) == [401, 429]
    rates(authmodes_login="3/min")
    assert statuses("login", 3) == [401, 401, 429]
    rates(authmodes_login="1/hour")
    refused = call("login")
    # Lowered below what was counted already: still a time to wait.
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) > 3500
    rates(authmodes_login=None)
    assert statuses("login", 5) == [401] * 5
    rates(authmodes_login="0/min")
    assert call("login")["Retry-After"] == "60"


@pytest.mark.parametrize("rate", ["", "5", 5, "x/min", "5/fortnight", "/min", ["5/min"]])
def test_a_rate_that_makes_no_sense_is_the_default_and_an_error_of_the_checks(
    rate, rates, caplog, db
):
    rates(authmodes_code=rate, authmodes_start="5/min")
    assert api_throttling.invalid_rates() == ["authmodes_code"]
    assert call("code").status_code == 400
    default = api_throttling.DEFAULT_RATES["authmodes_code"]
    assert api_throttling.CredentialThrottle("authmodes_code").rate == default
    assert "rate_invalid scope=authmodes_code" in caplog.text


def test_one_rate_can_stand_for_all_that_are_not_named(rates, alice):
    rates(**{EVERY: "1/min"}, authmodes_code=None)
    assert statuses("login", 2) == [401, 429]
    assert statuses("code", 3) == [400] * 3


def test_the_projects_own_throttles_go_on_counting(rates, monkeypatch, alice):
    # DRF reads both settings when it is imported. The second class must not be asked about
    # scopes of ours, which it does not know.
    classes = [throttling.AnonRateThrottle, throttling.ScopedRateThrottle]
    monkeypatch.setattr(LoginView, "throttle_classes", classes)
    monkeypatch.setattr(throttling.SimpleRateThrottle, "THROTTLE_RATES", {"anon": "2/min"})
    assert statuses("login", 3) == [401, 401, 429]


def test_counting_costs_no_query(rates, login):
    def queries_of_a_refresh():
        signed_in = login("jwt")
        with CaptureQueriesContext(connection) as captured:
            assert signed_in.refresh().status_code == 200
        return len(captured)

    rates()
    without = queries_of_a_refresh()
    rates(**{EVERY: "100/min"})
    assert queries_of_a_refresh() == without


# -- the cache is away ---------------------------------------------------------------------


def test_without_the_cache_nobody_is_refused_and_the_log_says_so(rates, login, settings, caplog):
    signed_in = login("jwt")
    rates(**{EVERY: "1/min"})
    settings.CACHES = UNREACHABLE
    assert [signed_in.refresh().status_code for _ in range(3)] == [200, 200, 200]
    assert login("jwt").mode == "jwt"
    assert "calls_not_counted scope=authmodes_refresh" in caplog.text
    assert "eyJ" not in caplog.text


@pytest.mark.parametrize("path", ["/auth/login/", "/auth/token/"])
def test_without_the_cache_allauths_limits_let_nobody_guess(path, settings, alice):
    settings.CACHES = UNREACHABLE
    with override_settings(ACCOUNT_RATE_LIMITS={}):
        response = post_json(path, {**PASSWORD_BODY, "password": PASSWORD})
    assert response.status_code == 503
    assert response.json()["code"] == "limits_unavailable"
    assert not LoginSession.objects.exists()


# -- allauth's own limits ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "wait"),
    [
        ({"login": "1/2h/ip"}, 7200),
        ({"login_failed": "1/90s/key"}, 90),
        ({"login_failed": "1/m/ip,1/10m/key"}, 600),
    ],
)
def test_allauths_limits_count_as_well_and_name_their_own_time(limits, wait, alice):
    with override_settings(ACCOUNT_RATE_LIMITS=limits):
        assert statuses("login", 1) == [401]
        response = call("login")
    assert response.status_code == 429
    assert response["Retry-After"] == str(wait)
    assert response.json()["code"] == "throttled"


def test_allauth_still_has_the_private_name_that_reads_its_rates():
    [first, second] = ratelimit.parse_rates("10/m/ip,5/300s/key")
    assert (first.duration, second.duration) == (60, 300)

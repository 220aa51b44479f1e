"""A login bound to the address or the user agent of its sign-in, in both modes."""

import pytest

from authmodes import request_client
from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import API, PASSWORD, refresh, sign_in

HOME = "192.0.2.10"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0"
NEWER = "Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0"


@pytest.fixture
def sign_in_at(alice):
    """Sign alice in from somewhere; give a function that calls from there or elsewhere."""

    def from_(mode, address=HOME, agent=CHROME):
        browser = Browser(REMOTE_ADDR=address, HTTP_USER_AGENT=agent)
        answer = sign_in(mode, browser).json()
        token = {"HTTP_AUTHORIZATION": f"Bearer {answer['access']}"} if mode == "jwt" else {}

        def call(address=address, agent=agent, path=API, **extra):
            meta = {"REMOTE_ADDR": address, "HTTP_USER_AGENT": agent, **token, **extra}
            return browser.get(path, **meta).status_code

        call.answer = answer
        return call

    return from_


def assert_ended(call):
    """Ended for good, and not only for this client."""
    row = LoginSession.objects.get()
    assert (row.end_reason, row.ended_by) == ("revoked", None)
    assert call() == 401
    if "refresh" in call.answer:
        assert refresh(call.answer["refresh"]).status_code == 401


def test_without_binding_a_login_moves_freely(mode, sign_in_at):
    call = sign_in_at(mode)
    assert call("198.51.100.7", NEWER) == 200
    assert call("2001:db8::1") == 200


@pytest.mark.parametrize("value", [True, "exact"])
def test_bound_to_the_address_another_one_ends_the_login(value, mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = value
    call = sign_in_at(mode)
    assert call() == 200
    assert call("192.0.2.11") == 401
    assert_ended(call)


@pytest.mark.parametrize(
    ("home", "near", "away"),
    [
        (HOME, "192.0.2.250", "192.0.3.10"),
        ("2001:db8:1:2::10", "2001:db8:1:2:ffff::1", "2001:db8:1:3::10"),
    ],
)
def test_bound_to_the_network_only_another_network_ends_it(
    home, near, away, mode, sign_in_at, settings
):
    settings.AUTHMODES_BIND_IP = "network"
    call = sign_in_at(mode, home)
    assert (call(), call(near)) == (200, 200)
    assert call(away) == 401
    assert_ended(call)


def test_bound_to_the_network_the_other_kind_of_address_is_another(mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = "network"
    call = sign_in_at(mode)
    assert call("::ffff:198.51.100.1") == 401
    assert_ended(call)


@pytest.mark.parametrize("binding", ["exact", "network"])
@pytest.mark.parametrize("home", ["::ffff:192.0.2.10", "::FFFF:c000:20a", HOME])
def test_an_ipv4_address_is_itself_however_a_server_writes_it(
    home, binding, mode, sign_in_at, settings
):
    """A server that listens on IPv6 alone sees `::ffff:192.0.2.10`."""
    settings.AUTHMODES_BIND_IP = binding
    call = sign_in_at(mode, home)
    assert LoginSession.objects.get().ip_address == HOME
    assert (call(), call(HOME), call("::ffff:192.0.2.10")) == (200, 200, 200)
    assert call("::ffff:198.51.100.7") == 401
    assert_ended(call)


def test_a_row_that_was_written_the_long_way_is_of_that_address_still(sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = True
    call = sign_in_at("jwt")
    LoginSession.objects.update(ip_address="::ffff:192.0.2.10")
    assert (call(), call("192.0.2.11")) == (200, 401)


@pytest.mark.parametrize("binding", ["exact", "network"])
@pytest.mark.parametrize("zone", ["eth0", "e" * 60])
def test_a_zone_is_no_part_of_an_address(zone, binding, mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = binding
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = True
    for _ in range(2):
        call = sign_in_at(mode, f"fe80::1%{zone}")
        assert (call(), call("fe80::1")) == (200, 200)
    assert call("fe80:0:0:1::1%eth0") == 401


@pytest.mark.parametrize("address", ["", "unix:", "not an address"])
def test_a_client_without_an_address_is_bound_to_none(address, mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = True
    call = sign_in_at(mode, address)
    assert LoginSession.objects.get().ip_address is None
    assert (call(), call(HOME)) == (200, 200)


def test_bound_to_the_user_agent_another_one_ends_the_login(mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_USER_AGENT = True
    call = sign_in_at(mode)
    assert call("198.51.100.7") == 200
    assert call(agent=NEWER) == 401
    assert_ended(call)


def test_a_user_agent_longer_than_the_row_keeps_is_recognised(mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_USER_AGENT = True
    call = sign_in_at(mode, agent="a" * 5000)
    assert (call(), call()) == (200, 200)


def test_a_client_without_a_user_agent_is_bound_to_having_none(mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_USER_AGENT = True
    call = sign_in_at(mode, agent="")
    assert call() == 200
    assert call(agent=CHROME) == 401


def test_both_at_once_need_both(mode, sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = "network"
    settings.AUTHMODES_BIND_USER_AGENT = True
    call = sign_in_at(mode)
    assert call("192.0.2.99") == 200
    assert call("192.0.2.99", NEWER) == 401
    assert_ended(call)


@pytest.mark.parametrize("value", [True, "network"])
def test_x_forwarded_for_neither_helps_a_thief_nor_harms_the_owner(
    value, mode, sign_in_at, settings
):
    settings.AUTHMODES_BIND_IP = value
    owner = sign_in_at(mode)
    for header in ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED"):
        assert owner(**{header: "198.51.100.66"}) == 200
    assert LoginSession.objects.get().last_ip_address == HOME
    assert owner("198.51.100.66", HTTP_X_FORWARDED_FOR=HOME) == 401
    assert_ended(owner)


def test_behind_a_trusted_proxy_the_clients_address_counts(mode, alice, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    settings.AUTHMODES_BIND_IP = True
    browser = Browser(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR=HOME)
    body = {"username": "alice", "password": PASSWORD, "mode": mode}
    answer = browser.send_json("/auth/login/", body).json()
    assert LoginSession.objects.get().ip_address == HOME
    token = {"HTTP_AUTHORIZATION": f"Bearer {answer['access']}"} if mode == "jwt" else {}
    # What the client itself sends stands before what the proxy adds.
    forged = f"198.51.100.66, {HOME}"
    assert browser.get(API, HTTP_X_FORWARDED_FOR=forged, **token).status_code == 200
    stolen = f"{HOME}, 198.51.100.66"
    assert browser.get(API, HTTP_X_FORWARDED_FOR=stolen, **token).status_code == 401


def test_where_the_projects_adapter_knows_the_address_it_alone_counts(mode, sign_in_at, settings):
    settings.ACCOUNT_ADAPTER = "tests.support.adapters.OwnRule"
    settings.AUTHMODES_BIND_IP = True
    owner = sign_in_at(mode)
    assert owner("198.51.100.66") == 200
    assert owner(HTTP_X_OURS="198.51.100.66") == 401
    assert_ended(owner)


def test_pages_are_bound_as_the_api_is(sign_in_at, settings):
    settings.AUTHMODES_BIND_IP = True
    call = sign_in_at("session")
    assert call(path="/probe/page/") == 200
    assert call("192.0.2.11", path="/probe/page/") == 302
    assert_ended(call)


def test_switched_on_later_it_binds_to_the_address_of_the_sign_in(mode, sign_in_at, settings):
    call = sign_in_at(mode)
    assert call("198.51.100.7") == 200
    settings.AUTHMODES_BIND_IP = True
    assert call() == 200
    assert call("198.51.100.7") == 401


def test_a_refresh_from_elsewhere_is_refused_as_well(alice, settings):
    """Else a thief would swap a stolen refresh token and the owner would be locked out."""
    settings.AUTHMODES_BIND_IP = True
    browser = Browser(REMOTE_ADDR=HOME)
    body = {"username": "alice", "password": PASSWORD, "mode": "jwt"}
    answer = browser.send_json("/auth/login/", body).json()
    thief = Browser(REMOTE_ADDR="198.51.100.66")
    stolen = {"refresh": answer["refresh"]}
    assert thief.send_json("/auth/token/refresh/", stolen).status_code == 401
    assert LoginSession.objects.get().end_reason == "revoked"


# -- the connection's address, where allauth's answer is no other ------------------------------

FORWARDED = {"HTTP_X_FORWARDED_FOR": "198.51.100.66", "HTTP_X_REAL_IP": "198.51.100.66"}


@pytest.mark.parametrize("address", [HOME, "2001:db8::1", "::ffff:192.0.2.10", "192.0.2.10:80", ""])
@pytest.mark.parametrize(
    ("name", "value", "is_remembered"),
    [
        ("ALLAUTH_TRUSTED_PROXY_COUNT", 0, True),
        ("ALLAUTH_TRUSTED_PROXY_COUNT", 1, False),
        ("ALLAUTH_TRUSTED_CLIENT_IP_HEADER", "X-Real-IP", False),
        ("ACCOUNT_ADAPTER", "allauth.account.adapter.DefaultAccountAdapter", True),
        ("ACCOUNT_ADAPTER", "tests.support.adapters.OwnRule", False),
    ],
)
def test_the_connection_is_the_client_only_where_allauth_says_so(
    name, value, is_remembered, address, settings, rf
):
    assert request_client._is_connection_of_client()
    setattr(settings, name, value)
    assert request_client._is_connection_of_client() is is_remembered
    settings.AUTHMODES_BIND_IP = True
    request = rf.get("/", REMOTE_ADDR=address, **FORWARDED)
    told = request_client.ip_address(request)
    for bound in (HOME, "2001:db8::1", "198.51.100.66"):
        assert request_client.violates_binding(request, bound, "") is (told != bound)


def test_the_same_address_is_not_asked_for(mode, sign_in_at, settings, monkeypatch):
    settings.AUTHMODES_BIND_IP = True
    call = sign_in_at(mode)
    asked = []
    ask = request_client.raw_ip_address
    monkeypatch.setattr(
        request_client, "raw_ip_address", lambda request: asked.append(1) or ask(request)
    )
    assert (call(), asked) == (200, [])
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    assert call() == 200
    assert asked

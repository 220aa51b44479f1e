"""The rules of a request are the settings as they are, and never older."""

from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.test.utils import override_settings

from authmodes import client, conf
from authmodes.adapter import AuthModesAccountAdapter
from authmodes.conf import IpBinding
from authmodes.rules import NAMES, OURS, rules, rules_of

HOME = "192.0.2.10"
HOUR = timedelta(hours=1)


class OwnRule(AuthModesAccountAdapter):
    def get_client_ip(self, request):
        return request.META.get("HTTP_X_OURS", HOME)


class NoRule(AuthModesAccountAdapter):
    pass


@pytest.fixture
def set_directly():
    """Change a setting where Django keeps it, as no test of a site does, and put it back."""
    before = {}

    def set_(name, value):
        before.setdefault(name, getattr(django_settings, name, conf.UNSET))
        setattr(django_settings, name, value)

    yield set_
    for name, value in before.items():
        if value is conf.UNSET:
            delattr(django_settings, name)
        else:
            setattr(django_settings, name, value)


CHANGES = [
    ("AUTHMODES_MODE", "session", "tokens_count", False),
    ("AUTHMODES_MODE", "jwt", "cookies_count", False),
    ("AUTHMODES_TOKEN_TRANSPORT", "cookie", "tokens_in_cookies", True),
    ("AUTHMODES_TOUCH_INTERVAL", HOUR, "touch_after", HOUR),
    ("AUTHMODES_IDLE_TIMEOUT", timedelta(seconds=40), "idle_timeout", timedelta(seconds=40)),
    ("AUTHMODES_IDLE_TIMEOUT", timedelta(seconds=40), "touch_after", timedelta(seconds=10)),
    ("AUTHMODES_RENEW_AFTER", HOUR, "renew_after", HOUR),
    ("AUTHMODES_ROTATE_SESSION_AFTER", HOUR, "rotate_after", HOUR),
    ("AUTHMODES_BIND_IP", "network", "bind_ip", IpBinding.NETWORK),
    ("AUTHMODES_BIND_USER_AGENT", True, "bind_user_agent", True),
    ("SESSION_COOKIE_NAME", "other", "cookie_name", "other"),
    ("SESSION_SAVE_EVERY_REQUEST", True, "saves_every_request", True),
]


@pytest.mark.parametrize(("name", "value", "rule", "wanted"), CHANGES)
def test_a_changed_setting_counts_at_once(name, value, rule, wanted):
    before = getattr(rules(), rule)
    with override_settings(**{name: value}):
        assert getattr(rules(), rule) == wanted
    assert getattr(rules(), rule) == before != wanted


@pytest.mark.parametrize(("name", "value", "rule", "wanted"), CHANGES)
def test_so_does_one_that_is_changed_behind_djangos_back(name, value, rule, wanted, set_directly):
    before = getattr(rules(), rule)
    set_directly(name, value)
    assert getattr(rules(), rule) == wanted != before


def test_every_setting_of_the_rules_is_among_their_names():
    """One that was forgotten would be remembered for ever."""
    assert {name for name, *_ in CHANGES} <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_what_settings_py_says_is_looked_up_in_the_module():
    """A private name of Django's; should it move, every request becomes slower and nothing else."""
    assert conf._lookup().__self__ is vars(django_settings._wrapped)


def test_one_request_is_judged_by_one_set_of_rules(set_directly):
    request = RequestFactory().get("/")
    before = rules_of(request)
    set_directly("AUTHMODES_BIND_USER_AGENT", True)
    assert rules_of(request) is before
    assert rules_of(RequestFactory().get("/")).bind_user_agent


@pytest.mark.parametrize("name", sorted({*OURS} - {"AUTHMODES_BIND_USER_AGENT"}))
@pytest.mark.parametrize("value", [["jwt"], {}, 1])
def test_a_value_that_makes_no_sense_is_refused_by_name(name, value, settings):
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        rules()


def test_one_is_not_true_though_python_says_so(settings):
    settings.AUTHMODES_BIND_IP = True
    assert rules().bind_ip is IpBinding.EXACT
    settings.AUTHMODES_BIND_IP = 1
    with pytest.raises(ImproperlyConfigured, match="AUTHMODES_BIND_IP"):
        rules()


# -- whether the connection's address is the client's ---------------------------------------


@pytest.fixture
def bound(settings):
    settings.AUTHMODES_BIND_IP = True
    return settings


@pytest.mark.parametrize(
    "adapter",
    [
        "allauth.account.adapter.DefaultAccountAdapter",
        "authmodes.adapter.AuthModesAccountAdapter",
        "tests.test_rules.NoRule",
    ],
)
def test_the_connection_tells_the_address_where_nobody_trusts_a_header(adapter, bound):
    bound.ACCOUNT_ADAPTER = adapter
    assert rules().peer_is_client


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLAUTH_TRUSTED_PROXY_COUNT", 1),
        ("ALLAUTH_TRUSTED_CLIENT_IP_HEADER", "X-Real-IP"),
        ("ALLAUTH_SETTING_GETTER", "tests.test_rules.setting"),
        ("ACCOUNT_ADAPTER", "tests.test_rules.OwnRule"),
    ],
)
def test_allauth_is_asked_where_the_project_has_said_a_word_about_addresses(name, value, bound):
    setattr(bound, name, value)
    assert not rules().peer_is_client


def test_an_adapter_that_is_not_there_is_in_nobodys_way_where_nothing_is_bound(settings):
    settings.ACCOUNT_ADAPTER = "nowhere.Adapter"
    assert not rules().peer_is_client


def test_no_proxy_is_the_same_as_none_named(bound):
    bound.ALLAUTH_TRUSTED_PROXY_COUNT = 0
    bound.ALLAUTH_TRUSTED_CLIENT_IP_HEADER = None
    assert rules().peer_is_client


@pytest.mark.parametrize("address", [HOME, "2001:db8::1", "::ffff:192.0.2.10", "fe80::1%eth0"])
@pytest.mark.parametrize(
    "header", ["X_FORWARDED_FOR", "X_REAL_IP", "FORWARDED", "CF_CONNECTING_IP"]
)
def test_and_allauth_would_say_so_too(address, header, bound):
    """The day allauth trusts another header by itself, this fails and `rules.py` has to follow."""
    headers = {"REMOTE_ADDR": address, f"HTTP_{header}": "198.51.100.66"}
    request = RequestFactory().get("/", **headers)
    assert rules_of(request).peer_is_client
    assert client.ip_address(request) == str(client.parse_ip(address))


def test_the_rules_are_made_once_while_the_settings_stay():
    assert rules() is rules()


def setting(name, default):
    return default

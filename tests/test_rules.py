"""The rules of a request are the settings as they are, and never older."""

import functools
from datetime import timedelta
from unittest.mock import Mock

import pytest
from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory
from django.test.utils import override_settings

from authmodes import binding, client
from authmodes import rules as rules_module
from authmodes.adapter import AuthModesAccountAdapter
from authmodes.conf import UNSET, IpBinding
from authmodes.rules import ALLAUTHS, NAMES, OURS, Rules, rules, rules_of

HOME = "192.0.2.10"
HOUR = timedelta(hours=1)


class OwnRule(AuthModesAccountAdapter):
    def get_client_ip(self, request):
        return request.META.get("HTTP_X_OURS", HOME)


class WrappedRule(AuthModesAccountAdapter):
    @functools.wraps(DefaultAccountAdapter.get_client_ip)
    def get_client_ip(self, request):
        return HOME


class NoRule(AuthModesAccountAdapter):
    pass


class OwnRuleOfEach(AuthModesAccountAdapter):
    def __init__(self, request=None):
        super().__init__(request)
        self.get_client_ip = lambda request: HOME


def factory(request=None):
    return AuthModesAccountAdapter(request)


@pytest.fixture
def set_directly():
    """Assign to `settings` itself, unlike `override_settings`, and put it back.

    So it is read where the settings module is kept.
    """
    before = {}

    def set_(name, value):
        before.setdefault(name, getattr(django_settings, name, UNSET))
        setattr(django_settings, name, value)

    yield set_
    for name, value in before.items():
        if value is UNSET:
            delattr(django_settings, name)
        else:
            setattr(django_settings, name, value)


CHANGES = [
    ("AUTHMODES_MODE", "session", "allows_tokens", False),
    ("AUTHMODES_MODE", "jwt", "allows_cookies", False),
    ("AUTHMODES_TOKEN_TRANSPORT", "cookie", "tokens_in_cookies", True),
    ("AUTHMODES_TOUCH_INTERVAL", HOUR, "touch_after", HOUR),
    ("AUTHMODES_IDLE_TIMEOUT", timedelta(seconds=40), "idle_timeout", timedelta(seconds=40)),
    ("AUTHMODES_IDLE_TIMEOUT", timedelta(seconds=40), "touch_after", timedelta(seconds=10)),
    ("AUTHMODES_RENEW_AFTER", HOUR, "renew_after", HOUR),
    ("AUTHMODES_ROTATE_SESSION_AFTER", HOUR, "rotate_after", HOUR),
    ("AUTHMODES_BIND_IP", "network", "bind_ip", IpBinding.NETWORK),
    ("AUTHMODES_BIND_USER_AGENT", True, "bind_user_agent", True),
]


@pytest.mark.parametrize(("name", "value", "rule", "wanted"), CHANGES)
def test_a_changed_setting_counts_at_once(name, value, rule, wanted):
    before = getattr(rules(), rule)
    with override_settings(**{name: value}):
        assert getattr(rules(), rule) == wanted
    assert getattr(rules(), rule) == before != wanted


@pytest.mark.parametrize(("name", "value", "rule", "wanted"), CHANGES)
def test_so_does_one_that_is_assigned(name, value, rule, wanted, set_directly):
    before = getattr(rules(), rule)
    set_directly(name, value)
    assert getattr(rules(), rule) == wanted != before


def test_the_changes_above_leave_out_no_rule():
    assert {rule for *_, rule, _ in CHANGES} == {*Rules._fields} - {"adapter"}


def test_no_name_stands_twice():
    assert len(set(NAMES)) == len(NAMES) == len(OURS) + len(ALLAUTHS)


def test_rules_are_made_of_nothing_that_they_are_not_remembered_by(settings):
    """Else a setting that changes meanwhile would leave a wrong rule behind for good."""
    settings.AUTHMODES_MODE = "jwt"
    made = rules_module._rules.__wrapped__(*[UNSET] * len(NAMES))
    assert (made.allows_cookies, made.allows_tokens) == (True, False)


def test_what_settings_py_says_is_looked_up_where_django_keeps_it():
    """A private name of Django's; should it move, every request becomes slower and nothing else."""
    assert rules_module._lookup().__self__ is vars(django_settings._wrapped)


def test_a_request_keeps_the_rules_it_began_with(set_directly):
    request = RequestFactory().get("/")
    before = rules_of(request)
    set_directly("AUTHMODES_BIND_USER_AGENT", True)
    assert rules_of(request) is before
    assert rules_of(RequestFactory().get("/")).bind_user_agent


def test_the_rules_are_made_once_while_the_settings_stay():
    assert rules() is rules()


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


@pytest.fixture
def asked(monkeypatch):
    """How often allauth was asked where a request comes from."""
    calls = []
    tell = client.told_ip
    monkeypatch.setattr(client, "told_ip", lambda request: calls.append(1) or tell(request))
    return calls


@pytest.mark.parametrize(
    "adapter",
    [
        "allauth.account.adapter.DefaultAccountAdapter",
        "authmodes.adapter.AuthModesAccountAdapter",
        "tests.test_rules.NoRule",
    ],
)
def test_nobody_is_asked_where_the_connection_tells_the_address(adapter, bound, asked):
    bound.ACCOUNT_ADAPTER = adapter
    assert not binding.is_elsewhere(RequestFactory().get("/", REMOTE_ADDR=HOME), HOME, "")
    assert not asked


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLAUTH_TRUSTED_PROXY_COUNT", 1),
        ("ALLAUTH_TRUSTED_CLIENT_IP_HEADER", "X-Real-IP"),
        ("ALLAUTH_SETTING_GETTER", "tests.test_rules.setting"),
        ("ACCOUNT_ADAPTER", "tests.test_rules.OwnRule"),
        ("ACCOUNT_ADAPTER", "tests.test_rules.WrappedRule"),
        ("ACCOUNT_ADAPTER", "tests.test_rules.OwnRuleOfEach"),
        ("ACCOUNT_ADAPTER", "tests.test_rules.factory"),
    ],
)
def test_allauth_is_asked_where_the_project_has_said_a_word_about_addresses(
    name, value, bound, asked
):
    setattr(bound, name, value)
    request = RequestFactory().get("/", REMOTE_ADDR=HOME, HTTP_X_REAL_IP=HOME)
    assert not binding.is_elsewhere(request, HOME, "")
    assert asked


@pytest.mark.parametrize("kind", [DefaultAccountAdapter, AuthModesAccountAdapter])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda rule: rule,
        functools.wraps(DefaultAccountAdapter.get_client_ip),
        lambda rule: Mock(return_value="198.51.100.66"),
    ],
    ids=["bare", "wrapped", "mock"],
)
def test_a_rule_that_is_put_there_later_counts_from_then_on(kind, wrap, bound, asked, monkeypatch):
    request = RequestFactory().get("/", REMOTE_ADDR=HOME)
    assert not binding.is_elsewhere(request, HOME, "")
    monkeypatch.setattr(kind, "get_client_ip", wrap(lambda self, request: "198.51.100.66"))
    assert binding.is_elsewhere(request, HOME, "")
    assert asked


def test_an_adapter_that_is_not_there_is_left_to_allauth_to_complain_of(settings):
    settings.ACCOUNT_ADAPTER = "nowhere.Adapter"
    assert rules().adapter is None


def test_no_proxy_is_the_same_as_none_named(settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 0
    settings.ALLAUTH_TRUSTED_CLIENT_IP_HEADER = None
    assert client.is_peer(rules().adapter)


@pytest.mark.parametrize("address", [HOME, "2001:db8::1", "::ffff:192.0.2.10", "fe80::1%eth0"])
@pytest.mark.parametrize(
    "header", ["X_FORWARDED_FOR", "X_REAL_IP", "FORWARDED", "CF_CONNECTING_IP"]
)
def test_and_allauth_would_say_so_too(address, header):
    """The day allauth trusts another header by itself, this fails and `rules.py` has to follow."""
    headers = {"REMOTE_ADDR": address, f"HTTP_{header}": "198.51.100.66"}
    request = RequestFactory().get("/", **headers)
    assert client.is_peer(rules_of(request).adapter)
    assert client.ip_address(request) == str(client.parse_ip(address))


def test_allauth_goes_by_no_setting_that_the_rules_do_not_know(settings):
    """Nor may it let a project opt in to a header by a setting of another name."""
    getter.asked.clear()
    settings.ALLAUTH_SETTING_GETTER = getter
    assert client.told_ip(RequestFactory().get("/", HTTP_X_FORWARDED_FOR=HOME)) == "127.0.0.1"
    assert "ALLAUTH_TRUSTED_PROXY_COUNT" in getter.asked
    assert getter.asked <= {*ALLAUTHS}


def setting(name, default):
    return getattr(django_settings, name, default)


def getter(name, default):
    getter.asked.add(name)
    return setting(name, default)


getter.asked = set()

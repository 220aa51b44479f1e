"""`conf` reads the settings live and refuses what it does not know."""

from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test.utils import override_settings

from authmodes.conf import (
    AccessTokenCheck,
    IpBinding,
    Mode,
    RequestSettings,
    Transport,
    conf,
    simple_jwt,
)

DEFAULTS = {
    "DEFAULT_MODE": "session",
    "IDLE_TIMEOUT": None,
    "ABSOLUTE_LIFETIME": timedelta(days=30),
    "TOUCH_INTERVAL": timedelta(minutes=1),
    "REFRESH_GRACE": timedelta(seconds=10),
    "TOKEN_TRANSPORT": "body",
    "COOKIE_SAMESITE": "Lax",
    "CLAIMS": None,
    "TOKEN_CACHE_SIZE": 1024,
    "RETENTION": timedelta(days=90),
    "EVENT_RETENTION": timedelta(days=365),
}


@pytest.fixture
def unset(settings):
    """The settings of a project that names none of ours."""
    for name in dir(django_settings):
        if name.startswith("AUTHMODES_"):
            delattr(settings, name)
    return settings


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_setting_has_its_documented_default(unset, name):
    assert getattr(conf, name) == DEFAULTS[name]


def test_cookie_sessions_are_the_default_mode(unset):
    assert conf.MODE is Mode.SESSION
    assert conf.REDIRECT_URIS == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODE", "jwt"),
        ("TOKEN_TRANSPORT", "cookie"),
        ("IDLE_TIMEOUT", timedelta(hours=1)),
        ("ABSOLUTE_LIFETIME", timedelta(hours=24)),
        ("TOUCH_INTERVAL", timedelta(seconds=5)),
        ("REFRESH_GRACE", timedelta(0)),
        ("REDIRECT_URIS", {"phone": ["app://callback"]}),
        ("COOKIE_SAMESITE", "Strict"),
        ("ACCESS_COOKIE_NAME", "a"),
        ("REFRESH_COOKIE_NAME", "r"),
        ("RETENTION", timedelta(days=1)),
        ("TOKEN_CACHE_SIZE", 0),
    ],
)
def test_a_changed_setting_counts_at_once_and_so_does_changing_it_back(name, value):
    before = getattr(conf, name)
    with override_settings(**{f"AUTHMODES_{name}": value}):
        assert getattr(conf, name) == value
    assert getattr(conf, name) == before


@pytest.mark.parametrize("name", ["MODE", "DEFAULT_MODE", "TOKEN_TRANSPORT"])
@pytest.mark.parametrize("value", ["", "SESSION", "cookies", None, 1, ["jwt"]])
def test_an_unknown_choice_is_refused_by_name(settings, name, value):
    setattr(settings, f"AUTHMODES_{name}", value)
    with pytest.raises(ImproperlyConfigured, match=f"AUTHMODES_{name}"):
        getattr(conf, name)


def test_both_is_no_default_mode(settings):
    settings.AUTHMODES_DEFAULT_MODE = "both"
    with pytest.raises(ImproperlyConfigured, match="AUTHMODES_DEFAULT_MODE"):
        _ = conf.DEFAULT_MODE


@pytest.mark.parametrize("only", ["session", "jwt"])
def test_where_one_mode_is_off_the_other_is_the_default(settings, only):
    settings.AUTHMODES_MODE = only
    settings.AUTHMODES_DEFAULT_MODE = "jwt" if only == "session" else "session"
    assert only == conf.DEFAULT_MODE


@pytest.mark.parametrize(
    "name", ["IDLE_TIMEOUT", "ABSOLUTE_LIFETIME", "TOUCH_INTERVAL", "REFRESH_GRACE", "RETENTION"]
)
@pytest.mark.parametrize("value", [60, "1 day"])
def test_a_duration_must_be_a_timedelta(settings, name, value):
    setattr(settings, f"AUTHMODES_{name}", value)
    with pytest.raises(ImproperlyConfigured, match=f"AUTHMODES_{name}"):
        getattr(conf, name)


@pytest.mark.parametrize("name", ["ABSOLUTE_LIFETIME", "TOUCH_INTERVAL", "REFRESH_GRACE"])
def test_only_the_idle_timeout_may_be_none(settings, name):
    setattr(settings, f"AUTHMODES_{name}", None)
    with pytest.raises(ImproperlyConfigured, match=f"AUTHMODES_{name}"):
        getattr(conf, name)


@pytest.mark.parametrize("value", [-1, 1.5, True, "1024", None])
def test_a_size_is_a_number_of_tokens(settings, value):
    settings.AUTHMODES_TOKEN_CACHE_SIZE = value
    with pytest.raises(ImproperlyConfigured, match="AUTHMODES_TOKEN_CACHE_SIZE"):
        _ = conf.TOKEN_CACHE_SIZE


@pytest.mark.parametrize("value", [["app://a"], {"app": ["app://a"], "empty": []}])
def test_a_list_of_redirect_uris_is_the_one_of_the_client_app(settings, value):
    settings.AUTHMODES_REDIRECT_URIS = value
    assert conf.REDIRECT_URIS == {"app": ["app://a"]}


@pytest.mark.parametrize(
    "value",
    [
        *("https://spa.example/callback", [None], [b"x"], None, 5, {"app": "app://a"}),
        *({None: ["app://a"]}, {"": ["app://a"]}, {"an app": ["app://a"]}),
        {"client-0": ["app://a"]},
    ],
)
def test_redirect_uris_are_lists_of_strings_by_client_id(settings, value):
    settings.AUTHMODES_REDIRECT_URIS = value
    with pytest.raises(ImproperlyConfigured, match="AUTHMODES_REDIRECT_URIS"):
        _ = conf.REDIRECT_URIS


@pytest.mark.parametrize(
    ("mode", "cookies", "tokens"),
    [("session", True, False), ("jwt", False, True), ("both", True, True)],
)
def test_a_mode_allows_what_its_name_says(mode, cookies, tokens):
    assert Mode(mode).allows(Mode.SESSION) is cookies
    assert Mode(mode).allows(Mode.JWT) is tokens
    assert Mode(mode).allows("session") is cookies


def test_token_cookies_are_secure_and_host_bound_unless_debugging(unset):
    unset.DEBUG = False
    assert conf.COOKIE_SECURE
    assert conf.ACCESS_COOKIE_NAME == "__Host-authmodes_access"
    assert conf.REFRESH_COOKIE_NAME == "__Host-authmodes_refresh"
    unset.DEBUG = True
    assert not conf.COOKIE_SECURE
    assert conf.ACCESS_COOKIE_NAME == "authmodes_access"


def test_the_claims_function_may_be_a_path_or_a_callable(settings):
    settings.AUTHMODES_CLAIMS = "json.dumps"
    assert conf.CLAIMS is __import__("json").dumps
    settings.AUTHMODES_CLAIMS = len
    assert conf.CLAIMS is len


def test_simplejwts_settings_are_read_live(settings):
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(seconds=7)}
    assert timedelta(seconds=7) == simple_jwt().ACCESS_TOKEN_LIFETIME
    settings.SIMPLE_JWT = {"ACCESS_TOKEN_LIFETIME": timedelta(seconds=8)}
    assert timedelta(seconds=8) == simple_jwt().ACCESS_TOKEN_LIFETIME


def test_the_transport_is_one_of_two():
    assert {str(member) for member in Transport} == {"body", "cookie"}


# -- the settings of each request ----------------------------------------------------------

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("name", "value", "field", "expected"),
    [
        ("MODE", "jwt", "allows_cookies", False),
        ("MODE", "session", "allows_tokens", False),
        ("TOKEN_TRANSPORT", "cookie", "tokens_in_cookies", True),
        ("TOUCH_INTERVAL", HOUR, "touch_after", HOUR),
        ("IDLE_TIMEOUT", timedelta(seconds=40), "touch_after", timedelta(seconds=10)),
        ("IDLE_TIMEOUT", HOUR, "idle_timeout", HOUR),
        ("RENEW_AFTER", HOUR, "renew_after", HOUR),
        ("ROTATE_SESSION_AFTER", HOUR, "rotate_after", HOUR),
        ("BIND_IP", "network", "bind_ip", IpBinding.NETWORK),
        ("BIND_USER_AGENT", True, "bind_user_agent", True),
        ("ACCESS_TOKEN_CHECK", "none", "access_token_check", AccessTokenCheck.NONE),
        ("SNAPSHOT_MAX_AGE", HOUR, "snapshot_max_age", HOUR),
    ],
)
def test_a_changed_setting_counts_with_the_next_request(name, value, field, expected):
    before = getattr(RequestSettings.read(), field)
    assert before != expected
    with override_settings(**{f"AUTHMODES_{name}": value}):
        assert getattr(RequestSettings.read(), field) == expected
    assert getattr(RequestSettings.read(), field) == before


def test_no_field_of_the_request_settings_is_left_untested():
    mark = next(
        mark
        for mark in test_a_changed_setting_counts_with_the_next_request.pytestmark
        if mark.name == "parametrize"
    )
    assert {case[2] for case in mark.args[1]} == set(RequestSettings._fields)


def test_request_settings_are_read_once_and_not_for_each_request(login, settings):
    used = login("session")
    settings.AUTHMODES_RENEW_AFTER = HOUR
    misses = RequestSettings.read.cache_info().misses
    for _ in range(3):
        assert used.get().status_code == 200
    assert RequestSettings.read.cache_info().misses == misses + 1


def test_request_settings_cannot_be_changed():
    with pytest.raises(AttributeError):
        RequestSettings.read().allows_cookies = False

"""The `AUTHMODES_*` settings, typed and checked; it decides nothing with them.

`conf` reads a setting at each access. Only `RequestSettings` are kept, until Django announces a
changed setting, as DRF and simplejwt keep theirs.
"""

import enum
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, NamedTuple, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string
from rest_framework_simplejwt import settings as simplejwt_settings

from . import policy

__all__ = [
    "AccessTokenCheck",
    "IpBinding",
    "LimitPolicy",
    "Mode",
    "RequestSettings",
    "Settings",
    "Transport",
    "conf",
    "simple_jwt",
]


class Mode(enum.StrEnum):
    """What a login may become; `AUTHMODES_MODE` takes any, a login session has one of two."""

    SESSION = "session"
    JWT = "jwt"
    BOTH = "both"

    def allows(self, mode: str) -> bool:
        """Whether logins of `mode` are switched on."""
        return self is Mode.BOTH or self == mode


class Transport(enum.StrEnum):
    """How tokens reach a client: in the body of an answer, or in `HttpOnly` cookies."""

    BODY = "body"
    COOKIE = "cookie"


class AccessTokenCheck(enum.StrEnum):
    """How an access token is checked against ended login sessions."""

    DATABASE = "database"
    SNAPSHOT = "snapshot"
    NONE = "none"


class LimitPolicy(enum.StrEnum):
    """What happens to a login over `AUTHMODES_MAX_LOGIN_SESSIONS`."""

    END_OLDEST = "end_oldest"
    REFUSE = "refuse"


class IpBinding(enum.StrEnum):
    """How closely a login is bound to the address of its sign-in."""

    OFF = "off"
    EXACT = "exact"
    NETWORK = "network"

    @classmethod
    def _missing_(cls, value: object) -> "IpBinding | None":
        # The setting may be a plain bool.
        return (cls.EXACT if value else cls.OFF) if isinstance(value, bool) else None


# The app of an `AUTHMODES_REDIRECT_URIS` that is a list.
CLIENT_ID = "app"
# RFC 6749, appendix A.1; and none that a machine client can have.
CLIENT_ID_PATTERN = re.compile(r"(?!client-)[\x21-\x7e]{1,100}")
Choice = TypeVar("Choice", bound=enum.StrEnum)
Value = TypeVar("Value")


def simple_jwt() -> Any:
    """Return simplejwt's settings as they are now.

    simplejwt rebinds its `api_settings` when `SIMPLE_JWT` changes, so a name imported
    from it goes stale; every reader asks here instead.
    """
    return simplejwt_settings.api_settings


class Setting(Generic[Value]):
    """One `AUTHMODES_*` setting: its default, and what checks and converts a project's value."""

    def __init__(self, default: object, parse: Callable[[str, Any], Value]) -> None:
        self.default, self.parse = default, parse

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"AUTHMODES_{name}"

    def __get__(self, instance: object, owner: type | None = None) -> Value:
        return self.parse(self.name, getattr(settings, self.name, self.default))


def _boolean(name: str, value: Any) -> bool:
    return bool(value)


def _choice(kind: type[Choice]) -> Callable[[str, Any], Choice]:
    def parse(name: str, value: Any) -> Choice:
        try:
            return kind(value)
        except ValueError:
            known = ", ".join(repr(str(member)) for member in kind)
            raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of {known}.") from None

    return parse


def _duration(name: str, value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    raise ImproperlyConfigured(f"{name} must be a timedelta, not {value!r}.")


def _optional_duration(name: str, value: Any) -> timedelta | None:
    return None if value is None else _duration(name, value)


def _optional_count(name: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and value > 0):
        return value
    raise ImproperlyConfigured(f"{name} must be a positive int or None.")


def _count(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ImproperlyConfigured(f"{name} must be an int of 0 or more.")


def _strings(name: str, value: Any) -> Sequence[str]:
    listed = isinstance(value, list | tuple | set | frozenset)
    if not listed or not all(isinstance(entry, str) for entry in value):
        raise ImproperlyConfigured(f"{name} must be a list of strings.")
    return list(value)


def _redirect_uris(name: str, value: Any) -> Mapping[str, Sequence[str]]:
    """Return the redirect URIs by `client_id`; a list has those of one client, `CLIENT_ID`."""
    clients = value if isinstance(value, Mapping) else {CLIENT_ID: value}
    for client_id in clients:
        if not isinstance(client_id, str) or not CLIENT_ID_PATTERN.fullmatch(client_id):
            raise ImproperlyConfigured(f"{name}: {client_id!r} cannot be a client_id.")
    by_client = {client_id: _strings(name, uris) for client_id, uris in clients.items()}
    return {client_id: uris for client_id, uris in by_client.items() if uris}


def _same_site(name: str, value: Any) -> str:
    if value not in ("Lax", "Strict", "None"):
        raise ImproperlyConfigured(f"{name} must be 'Lax', 'Strict' or 'None'.")
    return str(value)


def _callable(name: str, value: Any) -> Callable[[Any, Any], Mapping[str, Any]] | None:
    extra = import_string(value) if isinstance(value, str) else value
    if extra is not None and not callable(extra):
        raise ImproperlyConfigured(f"{name} must name a callable.")
    return extra


def _keys(name: str, value: Any) -> Sequence[Mapping[str, str]] | None:
    if value is None:
        return None
    listed = isinstance(value, list | tuple) and value
    if not listed or not all(isinstance(entry, Mapping) for entry in value):
        raise ImproperlyConfigured(f"{name} must be a list of dicts, or None.")
    kids = [entry.get("kid") for entry in value]
    if not all(isinstance(kid, str) and kid for kid in kids) or len(set(kids)) != len(kids):
        raise ImproperlyConfigured(f"{name}: every key needs its own kid.")
    return list(value)


class Settings:
    """One attribute per setting, named as in the reference (`docs/settings.md`)."""

    MODE = Setting(Mode.SESSION, _choice(Mode))
    REDIRECT_URIS = Setting((), _redirect_uris)
    IDLE_TIMEOUT = Setting(None, _optional_duration)
    ABSOLUTE_LIFETIME = Setting(timedelta(days=30), _duration)
    RENEW_AFTER = Setting(None, _optional_duration)
    ROTATE_SESSION_AFTER = Setting(None, _optional_duration)
    TOUCH_INTERVAL = Setting(timedelta(minutes=1), _duration)
    MAX_LOGIN_SESSIONS = Setting(None, _optional_count)
    LIMIT_POLICY = Setting(LimitPolicy.END_OLDEST, _choice(LimitPolicy))
    BIND_IP = Setting(False, _choice(IpBinding))
    BIND_USER_AGENT = Setting(False, _boolean)
    NOTIFY_NEW_LOGIN = Setting(False, _boolean)
    REFRESH_GRACE = Setting(timedelta(seconds=10), _duration)
    ACCESS_TOKEN_CHECK = Setting(AccessTokenCheck.DATABASE, _choice(AccessTokenCheck))
    SNAPSHOT_INTERVAL = Setting(timedelta(seconds=1), _duration)
    SNAPSHOT_MAX_AGE = Setting(timedelta(seconds=30), _duration)
    ACCEPT_LEGACY_REFRESH = Setting(False, _boolean)
    TOKEN_TRANSPORT = Setting(Transport.BODY, _choice(Transport))
    COOKIE_SAMESITE = Setting("Lax", _same_site)
    CLAIMS = Setting(None, _callable)
    SIGNING_KEYS = Setting(None, _keys)
    ENCRYPTION_KEYS = Setting(None, _keys)
    TOKEN_CACHE_SIZE = Setting(1024, _count)
    STAFF_API = Setting(False, _boolean)
    RETENTION = Setting(timedelta(days=90), _duration)
    EVENT_RETENTION = Setting(timedelta(days=365), _duration)
    EVENT_KEEP_IDENTITY = Setting(False, _boolean)

    @property
    def DEFAULT_MODE(self) -> Mode:
        """The mode of a login that names none; where one mode is off, the other one."""
        if self.MODE is not Mode.BOTH:
            return self.MODE
        name = "AUTHMODES_DEFAULT_MODE"
        default = _choice(Mode)(name, getattr(settings, name, Mode.SESSION))
        if default is Mode.BOTH:
            raise ImproperlyConfigured(f"{name} must be 'session' or 'jwt'.")
        return default

    @property
    def COOKIE_SECURE(self) -> bool:
        return bool(getattr(settings, "AUTHMODES_COOKIE_SECURE", not settings.DEBUG))

    @property
    def ACCESS_COOKIE_NAME(self) -> str:
        return self._cookie_name("AUTHMODES_ACCESS_COOKIE_NAME", "authmodes_access")

    @property
    def REFRESH_COOKIE_NAME(self) -> str:
        return self._cookie_name("AUTHMODES_REFRESH_COOKIE_NAME", "authmodes_refresh")

    def _cookie_name(self, setting: str, name: str) -> str:
        # A browser refuses a `__Host-` cookie that is not Secure, so plain-http
        # development gets the bare name (RFC 6265bis, 4.1.3.2).
        default = f"__Host-{name}" if self.COOKIE_SECURE else name
        return str(getattr(settings, setting, default))


conf = Settings()


class RequestSettings(NamedTuple):
    """The settings that every request needs.

    They are read once per process, because reading them costs about 20 microseconds;
    `setting_changed` clears them.
    """

    allows_cookies: bool
    allows_tokens: bool
    tokens_in_cookies: bool
    touch_after: timedelta
    idle_timeout: timedelta | None
    renew_after: timedelta | None
    rotate_after: timedelta | None
    bind_ip: IpBinding
    bind_user_agent: bool
    access_token_check: AccessTokenCheck
    snapshot_max_age: timedelta

    @staticmethod
    @functools.cache
    def read() -> "RequestSettings":
        return RequestSettings(
            allows_cookies=conf.MODE.allows(Mode.SESSION),
            allows_tokens=conf.MODE.allows(Mode.JWT),
            tokens_in_cookies=conf.TOKEN_TRANSPORT is Transport.COOKIE,
            touch_after=policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT),
            idle_timeout=conf.IDLE_TIMEOUT,
            renew_after=conf.RENEW_AFTER,
            rotate_after=conf.ROTATE_SESSION_AFTER,
            bind_ip=conf.BIND_IP,
            bind_user_agent=conf.BIND_USER_AGENT,
            access_token_check=conf.ACCESS_TOKEN_CHECK,
            snapshot_max_age=conf.SNAPSHOT_MAX_AGE,
        )


@receiver(setting_changed)
def _clear_request_settings(**kwargs: Any) -> None:
    RequestSettings.read.cache_clear()

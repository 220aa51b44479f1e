"""The `AUTHMODES_*` settings as typed properties; it decides nothing with them.

Every property is a live read, so `override_settings` and a changed setting take effect
on the next access. Nothing here is cached.
"""

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
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
    """How an access token is held against the login sessions that ended."""

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


Choice = TypeVar("Choice", bound=enum.StrEnum)


def simple_jwt() -> Any:
    """Return simplejwt's settings as they are now.

    simplejwt rebinds its `api_settings` when `SIMPLE_JWT` changes, so a name imported
    from it goes stale; every reader asks here instead.
    """
    return simplejwt_settings.api_settings


class Settings:
    """One property per setting, named as in the reference (`docs/settings.md`)."""

    @property
    def MODE(self) -> Mode:
        return self._choice("MODE", Mode.SESSION)

    @property
    def DEFAULT_MODE(self) -> Mode:
        """The mode of a login that names none; where one mode is off, the other one."""
        if self.MODE is not Mode.BOTH:
            return self.MODE
        default = self._choice("DEFAULT_MODE", Mode.SESSION)
        if default is Mode.BOTH:
            raise ImproperlyConfigured("AUTHMODES_DEFAULT_MODE must be 'session' or 'jwt'.")
        return default

    @property
    def REDIRECT_URIS(self) -> Sequence[str]:
        value = self._get("REDIRECT_URIS", [])
        listed = isinstance(value, list | tuple | set | frozenset)
        if not listed or not all(isinstance(uri, str) for uri in value):
            raise ImproperlyConfigured("AUTHMODES_REDIRECT_URIS must be a list of strings.")
        return list(value)

    @property
    def IDLE_TIMEOUT(self) -> timedelta | None:
        return self._optional_duration("IDLE_TIMEOUT")

    @property
    def ABSOLUTE_LIFETIME(self) -> timedelta:
        return self._duration("ABSOLUTE_LIFETIME", timedelta(days=30))

    @property
    def RENEW_AFTER(self) -> timedelta | None:
        return self._optional_duration("RENEW_AFTER")

    @property
    def ROTATE_SESSION_AFTER(self) -> timedelta | None:
        return self._optional_duration("ROTATE_SESSION_AFTER")

    @property
    def MAX_LOGIN_SESSIONS(self) -> int | None:
        value = self._get("MAX_LOGIN_SESSIONS", None)
        if value is None or (isinstance(value, int) and value > 0):
            return value
        raise ImproperlyConfigured("AUTHMODES_MAX_LOGIN_SESSIONS must be a positive int or None.")

    @property
    def LIMIT_POLICY(self) -> LimitPolicy:
        return self._choice("LIMIT_POLICY", LimitPolicy.END_OLDEST)

    @property
    def BIND_IP(self) -> IpBinding:
        value = self._get("BIND_IP", False)
        if isinstance(value, bool):
            return IpBinding.EXACT if value else IpBinding.OFF
        try:
            return IpBinding(value)
        except ValueError:
            raise ImproperlyConfigured(
                "AUTHMODES_BIND_IP must be False, True, 'exact' or 'network'."
            ) from None

    @property
    def BIND_USER_AGENT(self) -> bool:
        return bool(self._get("BIND_USER_AGENT", False))

    @property
    def NOTIFY_NEW_LOGIN(self) -> bool:
        return bool(self._get("NOTIFY_NEW_LOGIN", False))

    @property
    def TOUCH_INTERVAL(self) -> timedelta:
        return self._duration("TOUCH_INTERVAL", timedelta(minutes=1))

    @property
    def REFRESH_GRACE(self) -> timedelta:
        return self._duration("REFRESH_GRACE", timedelta(seconds=10))

    @property
    def ACCESS_TOKEN_CHECK(self) -> AccessTokenCheck:
        return self._choice("ACCESS_TOKEN_CHECK", AccessTokenCheck.DATABASE)

    @property
    def SNAPSHOT_INTERVAL(self) -> timedelta:
        return self._duration("SNAPSHOT_INTERVAL", timedelta(seconds=1))

    @property
    def ACCEPT_LEGACY_REFRESH(self) -> bool:
        return bool(self._get("ACCEPT_LEGACY_REFRESH", False))

    @property
    def TOKEN_TRANSPORT(self) -> Transport:
        return self._choice("TOKEN_TRANSPORT", Transport.BODY)

    @property
    def COOKIE_SECURE(self) -> bool:
        return bool(self._get("COOKIE_SECURE", not settings.DEBUG))

    @property
    def COOKIE_SAMESITE(self) -> str:
        value = self._get("COOKIE_SAMESITE", "Lax")
        if value not in ("Lax", "Strict", "None"):
            raise ImproperlyConfigured(
                "AUTHMODES_COOKIE_SAMESITE must be 'Lax', 'Strict' or 'None'."
            )
        return str(value)

    @property
    def ACCESS_COOKIE_NAME(self) -> str:
        return str(self._get("ACCESS_COOKIE_NAME", self._cookie_name("authmodes_access")))

    @property
    def REFRESH_COOKIE_NAME(self) -> str:
        return str(self._get("REFRESH_COOKIE_NAME", self._cookie_name("authmodes_refresh")))

    @property
    def CLAIMS(self) -> Callable[[Any, Any], Mapping[str, Any]] | None:
        path = self._get("CLAIMS", None)
        extra = import_string(path) if isinstance(path, str) else path
        if extra is not None and not callable(extra):
            raise ImproperlyConfigured("AUTHMODES_CLAIMS must name a callable.")
        return extra

    @property
    def SIGNING_KEYS(self) -> Sequence[Mapping[str, str]] | None:
        value = self._get("SIGNING_KEYS", None)
        if value is None:
            return None
        listed = isinstance(value, list | tuple) and value
        if not listed or not all(isinstance(entry, Mapping) for entry in value):
            raise ImproperlyConfigured("AUTHMODES_SIGNING_KEYS must be a list of dicts, or None.")
        kids = [entry.get("kid") for entry in value]
        if not all(kids) or len(set(kids)) != len(kids):
            raise ImproperlyConfigured("AUTHMODES_SIGNING_KEYS: every key needs its own kid.")
        return list(value)

    @property
    def RETENTION(self) -> timedelta:
        return self._duration("RETENTION", timedelta(days=90))

    def _cookie_name(self, name: str) -> str:
        # A browser refuses a `__Host-` cookie that is not Secure, so plain-http
        # development gets the bare name (RFC 6265bis, 4.1.3.2).
        return f"__Host-{name}" if self.COOKIE_SECURE else name

    def _get(self, name: str, default: Any) -> Any:
        return getattr(settings, f"AUTHMODES_{name}", default)

    def _choice(self, name: str, default: Choice) -> Choice:
        value = self._get(name, default)
        try:
            return type(default)(value)
        except ValueError:
            known = ", ".join(repr(str(member)) for member in type(default))
            raise ImproperlyConfigured(
                f"AUTHMODES_{name} is {value!r}; it must be one of {known}."
            ) from None

    def _optional_duration(self, name: str, default: timedelta | None = None) -> timedelta | None:
        value = self._get(name, default)
        if value is None or isinstance(value, timedelta):
            return value
        raise ImproperlyConfigured(f"AUTHMODES_{name} must be a timedelta, not {value!r}.")

    def _duration(self, name: str, default: timedelta) -> timedelta:
        value = self._optional_duration(name, default)
        if value is None:
            raise ImproperlyConfigured(f"AUTHMODES_{name} must be a timedelta, not None.")
        return value


conf = Settings()


class RequestSettings(NamedTuple):
    """The settings that one request is judged by, read once."""

    allows_cookies: bool
    allows_tokens: bool
    tokens_in_cookies: bool
    touch_after: timedelta
    idle_timeout: timedelta | None
    renew_after: timedelta | None
    rotate_after: timedelta | None
    bind_ip: IpBinding
    bind_user_agent: bool

    @staticmethod
    @functools.cache
    def read() -> "RequestSettings":
        """Kept until Django says that a setting has changed, as DRF and simplejwt keep theirs."""
        mode = conf.MODE
        return RequestSettings(
            allows_cookies=mode.allows(Mode.SESSION),
            allows_tokens=mode.allows(Mode.JWT),
            tokens_in_cookies=conf.TOKEN_TRANSPORT is Transport.COOKIE,
            touch_after=policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT),
            idle_timeout=conf.IDLE_TIMEOUT,
            renew_after=conf.RENEW_AFTER,
            rotate_after=conf.ROTATE_SESSION_AFTER,
            bind_ip=conf.BIND_IP,
            bind_user_agent=conf.BIND_USER_AGENT,
        )


def _forget(**kwargs: Any) -> None:
    RequestSettings.read.cache_clear()


setting_changed.connect(_forget)

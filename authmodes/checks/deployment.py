"""Checks of what is acceptable in development alone; they run with `check --deploy`."""

import logging
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import Tags
from django.utils.module_loading import import_string

from ..conf import conf
from ..sessions import store as session_store
from ..sessions.db import DigestMixin
from ..tokens import keys
from .declaration import check
from .tokens import LOCAL_HOSTS


@check("W004", deploy=True, hint="Use a random key of at least as many bits as the hash has.")
def check_key_length() -> Iterator[str]:
    """An HMAC key that is shorter than its hash can be guessed (RFC 7518, 3.2)."""
    for key in keys.backend().ring:
        if not isinstance(key.verifying, bytes):
            continue
        bits = 8 * len(key.verifying)
        if bits < int(key.algorithm[2:]):
            yield f"A signing key of {bits} bits is too short for {key.algorithm}."


@check("W005", deploy=True)
def check_redirect_schemes() -> Iterator[str]:
    """A code that is sent over plain http can be read on the way."""
    for uri in chain.from_iterable(conf.REDIRECT_URIS.values()):
        parts = urlsplit(uri)
        if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
            yield f"AUTHMODES_REDIRECT_URIS lists {uri!r}, which is not https."


@check("W006", deploy=True)
def check_session_cookie_secure() -> Iterator[str]:
    """The cookie of a login session is sent over plain http."""
    if not settings.SESSION_COOKIE_SECURE:
        yield "SESSION_COOKIE_SECURE is off: the cookie of a login session can be read on the way."


@check("W007", deploy=True, hint="Set ACCOUNT_REAUTHENTICATION_REQUIRED = True.")
def check_reauthentication() -> Iterator[str]:
    """An intruder at an open browser adds their own way to sign in (ASVS V7.5.1)."""
    if not get_adapter().is_reauthentication_required(app="allauth.account"):
        yield "allauth's pages change addresses and connect providers without a recent login."


@check("W009", deploy=True, hint="Wrap admin.site.login in allauth's secure_admin_login.")
def check_admin_login() -> Iterator[str]:
    """The admin's form skips the second factor that allauth asks for (ASVS V6.3.4)."""
    if not apps.is_installed("allauth.mfa") or not apps.is_installed("django.contrib.admin"):
        return
    # An admin site of the project, or allauth's decorator on this one, has another function.
    if getattr(admin.site.login, "__func__", None) is admin.AdminSite.login:
        yield "The admin's own form signs staff in without their second factor."


@check("W021", Tags.caches, deploy=True, hint="Use Redis, Memcached or the database for it.")
def check_shared_cache() -> Iterator[str]:
    """Each process counts failed sign-ins, and keeps used one-time codes, for itself."""
    if isinstance(caches[DEFAULT_CACHE_ALIAS], DummyCache | LocMemCache):
        yield "Processes do not share the default cache, so each process counts for itself."


@check("W022", Tags.caches, deploy=True, hint='Set "socket_timeout" and "socket_connect_timeout".')
def check_cache_timeout() -> Iterator[str]:
    """A Redis that accepts connections and never answers stops every worker."""
    for alias in sorted({DEFAULT_CACHE_ALIAS, settings.SESSION_CACHE_ALIAS}):
        cache = settings.CACHES.get(alias, {})
        # Also django-redis, whose names of options are in capitals, and options in a URL.
        options = f"{cache.get('OPTIONS')} {cache.get('LOCATION')}".lower()
        is_redis = "redis" in cache.get("BACKEND", "").lower()
        if is_redis and "socket_timeout" not in options and _redis_waits_for_ever():
            yield f"The cache {alias!r} has no timeout, so requests wait for ever if Redis hangs."


def _redis_waits_for_ever() -> bool:
    """Whether redis-py has no timeout of its own; newer releases have one of 5 seconds."""
    # An extra of ours; part of it is not annotated.
    connection: Any = import_string("redis.Connection")
    return connection().socket_timeout is None


@check(
    "I002",
    deploy=True,
    hint='Use "authmodes.sessions.db" or "authmodes.sessions.cached_db", which store digests. '
    "The change signs all users out.",
)
def check_keys_at_rest() -> Iterator[str]:
    """The keys in the table of sessions, or in a dump of it, can be used to sign in."""
    if not issubclass(session_store.engine(), DigestMixin):
        yield "SESSION_ENGINE stores session keys as they are, so a dump can be used to sign in."


@check(
    "I003",
    Tags.compatibility,
    deploy=True,
    hint='Add "authmodes": {"level": "INFO", "handlers": […]} to its loggers.',
)
def check_logging() -> Iterator[str]:
    """The log does not record which logins start and end."""
    logger: logging.Logger | None = logging.getLogger("authmodes")
    is_enabled = logger.isEnabledFor(logging.INFO) if logger else False
    handlers: list[logging.Handler] = []
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    if not is_enabled or all(handler.level > logging.INFO for handler in handlers):
        yield 'LOGGING hides the records of the logger "authmodes" about logins.'

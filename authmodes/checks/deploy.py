"""What is fine on a developer's machine and unsafe anywhere else; for `check --deploy` only."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from allauth.account.adapter import get_adapter
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.core.checks import CheckMessage, Warning

from .. import keys
from ..conf import conf
from .base import Apps

LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1"}


def check_key_length(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W004: an HMAC key shorter than its hash can be guessed (RFC 7518, 3.2)."""
    for key in keys.backend().ring:
        bits = 8 * len(key.verifying) if isinstance(key.verifying, bytes) else None
        if bits is not None and bits < int(key.algorithm[2:]):
            yield Warning(
                f"A signing key of {bits} bits is too short for {key.algorithm}.",
                hint="Use a random key of at least as many bits as the hash has.",
                id="authmodes.W004",
            )


def check_redirect_schemes(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W005: a code sent over plain http can be read on the way."""
    for uri in conf.REDIRECT_URIS:
        parts = urlsplit(uri)
        if parts.scheme == "http" and parts.hostname not in LOCAL_HOSTS:
            yield Warning(
                f"AUTHMODES_REDIRECT_URIS lists {uri!r}, which is not https.", id="authmodes.W005"
            )


def check_session_cookie_secure(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W006: a login session's cookie travels in the clear."""
    if not settings.SESSION_COOKIE_SECURE:
        yield Warning(
            "SESSION_COOKIE_SECURE is off: the cookie of a login session can be read on the way.",
            id="authmodes.W006",
        )


def check_reauthentication(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W007: who finds a browser open adds a way in of their own (ASVS V7.5.1)."""
    if not get_adapter().is_reauthentication_required(app="allauth.account"):
        yield Warning(
            "allauth's pages change an e-mail address or connect a provider without asking who "
            "it is.",
            hint="Set ACCOUNT_REAUTHENTICATION_REQUIRED = True.",
            id="authmodes.W007",
        )


def check_admin_login(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W009: a way round the second factor that allauth's pages ask for (ASVS V6.3.4)."""
    if not apps.is_installed("allauth.mfa") or not apps.is_installed("django.contrib.admin"):
        return
    # A site of the project's own, or allauth's decorator on this one, has another function.
    if getattr(admin.site.login, "__func__", None) is admin.AdminSite.login:
        yield Warning(
            "The admin's own form signs staff in without their second factor.",
            hint="admin.site.login = secure_admin_login(admin.site.login), "
            "of allauth.account.decorators.",
            id="authmodes.W009",
        )

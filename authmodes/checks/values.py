"""What the settings say: values that cannot be, and values that are probably not meant."""

from collections.abc import Iterable
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from .. import keys, throttles
from ..conf import Mode, Transport, conf, simple_jwt
from .base import Apps


def check_settings(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E001: a setting has a value that it cannot have, such as an unknown mode."""
    for name in sorted(vars(type(conf))):
        if not name.isupper():
            continue
        try:
            getattr(conf, name)
        except (ImproperlyConfigured, ImportError) as error:
            yield Error(str(error), id="authmodes.E001")


def check_token_type_claim(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E007: without the claim a refresh token would pass as an access token."""
    if not simple_jwt().TOKEN_TYPE_CLAIM or not simple_jwt().JTI_CLAIM:
        yield Error(
            "SIMPLE_JWT switches TOKEN_TYPE_CLAIM or JTI_CLAIM off; authmodes needs both.",
            id="authmodes.E007",
        )


def check_signing_keys(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E008: a key is missing, does not parse, or is not one for its algorithm."""
    try:
        keys.backend()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="authmodes.E008")


def check_throttle_rates(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """E009: DRF cannot read a rate, so that the default stands in for it."""
    for scope in throttles.senseless_rates():
        yield Error(
            f"DEFAULT_THROTTLE_RATES has a rate for {scope!r} that makes no sense.",
            hint='A number and a period, such as "20/min", or None for no limit.',
            id="authmodes.E009",
        )


def check_redirect_uris(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W001: a browser login cannot end in tokens anywhere."""
    if conf.TOKEN_TRANSPORT is Transport.COOKIE or not conf.MODE.allows(Mode.JWT):
        return
    if not conf.REDIRECT_URIS:
        yield Warning(
            "AUTHMODES_REDIRECT_URIS is empty, so no browser login can end in tokens.",
            hint="List the exact URLs that a one-time code may be sent to.",
            id="authmodes.W001",
        )


def check_cookie_secure(app_configs: Apps, **kwargs: Any) -> Iterable[CheckMessage]:
    """W002: the token cookies travel in the clear and without their `__Host-` names."""
    if conf.TOKEN_TRANSPORT is Transport.COOKIE and not conf.COOKIE_SECURE:
        yield Warning(
            "The token cookies are not Secure.",
            hint="Fine for development over http; elsewhere set AUTHMODES_COOKIE_SECURE.",
            id="authmodes.W002",
        )

"""What the settings say of every request, read all at once; each is described in `conf.py`."""

import functools
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from . import policy
from .conf import UNSET, IpBinding, Mode, Transport, conf, values

# All that a rule is made of.
OURS = (
    "AUTHMODES_MODE",
    "AUTHMODES_TOKEN_TRANSPORT",
    "AUTHMODES_TOUCH_INTERVAL",
    "AUTHMODES_IDLE_TIMEOUT",
    "AUTHMODES_RENEW_AFTER",
    "AUTHMODES_ROTATE_SESSION_AFTER",
    "AUTHMODES_BIND_IP",
    "AUTHMODES_BIND_USER_AGENT",
)
DJANGOS = ("SESSION_COOKIE_NAME", "SESSION_SAVE_EVERY_REQUEST")
ALLAUTHS = (
    "ACCOUNT_ADAPTER",
    "ALLAUTH_TRUSTED_PROXY_COUNT",
    "ALLAUTH_TRUSTED_CLIENT_IP_HEADER",
    # Has the last word on each of allauth's settings.
    "ALLAUTH_SETTING_GETTER",
)
NAMES = OURS + DJANGOS + ALLAUTHS


class Rules(NamedTuple):
    """The settings that a request is judged by.

    `touch_after` is the touch interval in force. `peer_is_client`: allauth takes the address
    of the connection for the client's, so that nobody has to ask it.
    """

    cookies_count: bool
    tokens_count: bool
    tokens_in_cookies: bool
    touch_after: timedelta
    idle_timeout: timedelta | None
    renew_after: timedelta | None
    rotate_after: timedelta | None
    bind_ip: IpBinding
    bind_user_agent: bool
    cookie_name: str
    saves_every_request: bool
    peer_is_client: bool


def rules() -> Rules:
    """The rules as the settings are now; raises `ImproperlyConfigured` as `conf` does.

    Remembered by the settings' values, so they are as live as each of them. To read them one
    by one takes a request longer than all it does with them.
    """
    given = values(NAMES)
    try:
        return _rules(*given)
    except TypeError:
        # A list where none belongs cannot be remembered.
        return _rules.__wrapped__(*given)


def rules_of(request: HttpRequest) -> Rules:
    """The rules of one request, which stay the same until it is answered."""
    known: Rules | None = getattr(request, "_authmodes_rules", None)
    if known is None:
        known = request._authmodes_rules = rules()  # type: ignore[attr-defined]
    return known


@functools.lru_cache(maxsize=16, typed=True)
def _rules(*given: Any) -> Rules:
    return Rules(
        cookies_count=conf.MODE.allows(Mode.SESSION),
        tokens_count=conf.MODE.allows(Mode.JWT),
        tokens_in_cookies=conf.TOKEN_TRANSPORT is Transport.COOKIE,
        touch_after=policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT),
        idle_timeout=conf.IDLE_TIMEOUT,
        renew_after=conf.RENEW_AFTER,
        rotate_after=conf.ROTATE_SESSION_AFTER,
        bind_ip=conf.BIND_IP,
        bind_user_agent=conf.BIND_USER_AGENT,
        cookie_name=settings.SESSION_COOKIE_NAME,
        saves_every_request=settings.SESSION_SAVE_EVERY_REQUEST,
        # Where nobody asks, the adapter need not be there.
        peer_is_client=conf.BIND_IP is not IpBinding.OFF
        and _peer_is_client(*given[-len(ALLAUTHS) :]),
    )


def _peer_is_client(adapter: Any, *trusted: Any) -> bool:
    """Whether no header is trusted and the account adapter has no rule of its own.

    Then the client's address is `REMOTE_ADDR` (allauth's documentation, "Rate limits").
    """
    if any(value is not UNSET and value for value in trusted):
        return False
    if adapter is UNSET:
        return True
    own = (vars(kind).get("get_client_ip") for kind in import_string(adapter).__mro__)
    return all(
        rule is None or rule.__module__.startswith(("allauth.", "authmodes.")) for rule in own
    )

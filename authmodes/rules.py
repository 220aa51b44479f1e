"""What the settings say of every request, read all at once; each is described in `conf.py`."""

import functools
import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import Settings as DjangoSettings
from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

from . import policy
from .conf import UNSET, IpBinding, Mode, Settings, Transport

# Every setting that a rule is made of: the key under which the rules are remembered.
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
ALLAUTHS = (
    "ACCOUNT_ADAPTER",
    "ALLAUTH_TRUSTED_PROXY_COUNT",
    "ALLAUTH_TRUSTED_CLIENT_IP_HEADER",
    # Has the last word on each of allauth's settings.
    "ALLAUTH_SETTING_GETTER",
)
NAMES = OURS + ALLAUTHS

# What Django's lazy object keeps of itself; it stays this dict, whatever is overridden.
_lazy = vars(settings)


class Rules(NamedTuple):
    """The settings that a request is judged by.

    `touch_after` is the touch interval in force. `peer_is_client`: allauth takes the address
    of the connection for the client's, so that nobody has to ask it.
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
    peer_is_client: bool


def rules_of(request: HttpRequest) -> Rules:
    """The rules as the settings were when this request first asked for them."""
    known: Rules | None = getattr(request, "_authmodes_rules", None)
    if known is None:
        known = request._authmodes_rules = rules()  # type: ignore[attr-defined]
    return known


def rules() -> Rules:
    """The rules as the settings are now; raises `ImproperlyConfigured` as `conf` does.

    Remembered by the values of the settings, so a changed one counts at once. Reading them one
    by one takes longer than everything a request does with them.
    """
    values = tuple(map(_lookup(), NAMES, itertools.repeat(UNSET)))
    try:
        return _rules(*values)
    except TypeError:
        # A list where none belongs cannot be remembered.
        return _rules.__wrapped__(*values)


def _lookup() -> Callable[[str, Any], Any]:
    """Read a setting by its whole name, and a default.

    Most projects leave out most settings, and to Django's lazy object one that is missing costs
    ten times one that is there. So it is looked up where the lazy object looks. `_wrapped` is a
    private name of Django's; a test fails when it moves.
    """
    loaded = _lazy.get("_wrapped")
    if type(loaded) is DjangoSettings:
        return vars(loaded).get
    # Overridden, or not loaded yet.
    return functools.partial(getattr, settings)


# By type as well, because 1 is no True to a setting.
@functools.lru_cache(maxsize=16, typed=True)
def _rules(*values: Any) -> Rules:
    # From these values and nothing else: what was read again might have changed meanwhile.
    given = dict(zip(NAMES, values, strict=True))
    conf = Settings(given)
    return Rules(
        allows_cookies=conf.MODE.allows(Mode.SESSION),
        allows_tokens=conf.MODE.allows(Mode.JWT),
        tokens_in_cookies=conf.TOKEN_TRANSPORT is Transport.COOKIE,
        touch_after=policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT),
        idle_timeout=conf.IDLE_TIMEOUT,
        renew_after=conf.RENEW_AFTER,
        rotate_after=conf.ROTATE_SESSION_AFTER,
        bind_ip=conf.BIND_IP,
        bind_user_agent=conf.BIND_USER_AGENT,
        peer_is_client=_peer_is_client(*(given[name] for name in ALLAUTHS)),
    )


def _peer_is_client(adapter: Any, *trusted: Any) -> bool:
    """Whether no header is trusted and the account adapter has no rule of its own.

    Then the client's address is `REMOTE_ADDR` (allauth's documentation, "Rate limits").
    """
    if any(value is not UNSET and value for value in trusted):
        return False
    if adapter is UNSET:
        return True
    try:
        kinds = import_string(adapter).__mro__
    except ImportError:
        # allauth says so where it is asked.
        return False
    rules = [(kind, vars(kind)["get_client_ip"]) for kind in kinds if "get_client_ip" in vars(kind)]
    # Of the class as well: a rule that wraps allauth's says it came from there.
    return all(
        part.__module__.startswith(("allauth.", "authmodes.")) for pair in rules for part in pair
    )

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
ALLAUTHS_OWN = "allauth.account.adapter.DefaultAccountAdapter"

# What Django's lazy object keeps of itself; it stays this dict, whatever is overridden.
_lazy = vars(settings)


class Rules(NamedTuple):
    """The settings that a request is judged by.

    `touch_after` is the touch interval in force; `adapter` the account adapter's class, None
    where a header is trusted or it is no class.
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
    adapter: type | None


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
        adapter=_own_adapter(*(given[name] for name in ALLAUTHS)),
    )


def _own_adapter(adapter: Any, *trusted: Any) -> type | None:
    """The account adapter's class, where it and the project leave addresses to allauth."""
    if any(value is not UNSET and value for value in trusted):
        return None
    try:
        found = import_string(ALLAUTHS_OWN if adapter is UNSET else adapter)
    except ImportError:
        # allauth says so where it is asked.
        return None
    # allauth calls whatever it is, a function too.
    return found if isinstance(found, type) else None

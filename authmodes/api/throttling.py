"""How often one caller may call a credential endpoint, and what counts as one caller.

The rates are DRF's: `DEFAULT_THROTTLE_RATES` by scope, read when they are needed. The
caller's identity is not: DRF's `get_ident` trusts an address that the caller sends.
"""

import logging
import math
from typing import Any, cast

from django.http import HttpRequest
from rest_framework import settings as rest_framework
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from .. import logs, request_client
from ..machines import tokens as machine_tokens
from ..state import to_django
from ..tokens.jwt import read_any

DEFAULT_RATES = {
    "authmodes_login": "20/min",
    # A count of its own: machines must not use up what users have.
    "authmodes_client": "60/min",
    "authmodes_start": "60/min",
    "authmodes_code": "60/min",
    "authmodes_refresh": "60/min",
    "authmodes_token": "120/min",
    "authmodes_logout": "120/min",
    # A service may ask once for each request that it serves.
    "authmodes_introspect": "1200/min",
    # A provider reports on many users from one address.
    "authmodes_upstream": "600/min",
}
# In a project's rates: the one for all scopes that it does not name.
EVERY_SCOPE = "authmodes"


def invalid_rates() -> list[str]:
    """Return our scopes whose rate in the project's settings cannot be understood."""
    rates = rest_framework.api_settings.DEFAULT_THROTTLE_RATES
    ours = [scope for scope in (EVERY_SCOPE, *DEFAULT_RATES) if scope in rates]
    return [scope for scope in ours if not _is_valid_rate(rates[scope])]


def _is_valid_rate(rate: Any) -> bool:
    try:
        SimpleRateThrottle.parse_rate(cast(Any, None), rate)
    except Exception:
        # DRF lets the errors of its parsing pass.
        return False
    return True


class CredentialThrottle(SimpleRateThrottle):
    """Counts by login session or machine client where the call proves one, else by address.

    A genuine token cannot be made up, so many users behind one address have a count each,
    which invalid tokens from there do not use up.
    """

    # Set by DRF from the rate.
    num_requests: int
    duration: int

    def __init__(self, scope: str) -> None:
        self.scope = scope
        super().__init__()

    def get_rate(self) -> str | None:
        rates: Any = rest_framework.api_settings.DEFAULT_THROTTLE_RATES
        scope = str(self.scope)
        rate = rates.get(scope, rates.get(EVERY_SCOPE, DEFAULT_RATES[scope]))
        if not _is_valid_rate(rate):
            # The check authmodes.E009 reports it; a limit was intended.
            logs.log(logging.WARNING, "rate_invalid", scope=scope, rate=rate)
            return DEFAULT_RATES[scope]
        return rate

    def allow_request(self, request: Request, view: Any) -> bool:
        if self.rate is None or request.method in SAFE_METHODS:
            return True
        caller = _owner(request, view) or _network(request)
        if caller is None:
            # The callers cannot be told apart, and one must not use up what all have.
            return True
        self.caller = caller
        try:
            allowed = super().allow_request(request, view)
        except Exception as error:
            # Whatever a cache raises when it is away. To refuse would sign out every user whose
            # access token expires; passwords have allauth's limits, which are not waived.
            logs.log(logging.WARNING, "calls_not_counted", scope=self.scope, error=repr(error))
            return True
        # An attacker with a token must not be able to use up the count, and so prevent the owner
        # from ending the login or us from detecting reuse. This exempts one call per login,
        # because the next one ends nothing.
        return allowed or view.ends_a_login(request)

    def get_cache_key(self, request: Request, view: Any) -> str:
        return self.cache_format % {"scope": self.scope, "ident": self.caller}

    def wait(self) -> float:
        # DRF's own rounds down to a second too early, and is None after a rate was lowered.
        blocking = self.history[max(self.num_requests, 1) - 1 :] or [self.now]
        return math.ceil(blocking[0] + self.duration - self.now)


def _owner(request: Request, view: Any) -> str | None:
    """Return the login or client of the caller's credential, or of the call's token."""
    if sid := getattr(request.auth, "sid", ""):
        return str(sid)
    raw_token = view.presented_token(request)
    if token := read_any(raw_token, *view.token_kinds):
        return str(token.sid)
    machine_token = machine_tokens.read(raw_token)
    return f"client:{machine_token.client_id}" if machine_token else None


def _network(request: Request) -> str | None:
    """Return the caller's address; of IPv6 the network, all of which one line may use."""
    address = request_client.ip_address(to_django(request))
    if address is None:
        return None
    network = request_client.network_of(address) if ":" in address else address
    return f"cross-site:{network}" if _is_cross_site(to_django(request)) else network


def _is_cross_site(request: HttpRequest) -> bool:
    """Whether a page of another site makes the browser call: it must not use up the user's count.

    A client that lies about it gains one more count, and no more than that.
    """
    if said := request.headers.get("sec-fetch-site"):
        return said == "cross-site"
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.get_host()

"""What a request says about its client: address, user agent, and whether they violate a binding."""

import ipaddress
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from allauth import app_settings as allauth_settings
from allauth.account.adapter import get_adapter
from allauth.core.internal.httpkit import is_headless_request
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.http import HttpRequest

from .conf import IpBinding
from .models import USER_AGENT_MAX_LENGTH
from .sessions.state import user_agent_digest
from .state import request_settings

IPV4_NETWORK, IPV6_NETWORK = 24, 64


def is_headless(request: HttpRequest) -> bool:
    """Whether allauth.headless handles the request, for either of its clients."""
    return is_headless_request(request) is not None


def is_app_client(request: HttpRequest) -> bool:
    """Whether the request is from headless' client "app", which has no cookies."""
    # A private name of allauth's; a test fails if it moves.
    return is_headless_request(request) == "app"


def ip_address(request: HttpRequest) -> str | None:
    """Return the client's address in its normal form; None if it is unknown."""
    address = raw_ip_address(request)
    try:
        return str(parse_ip(address)) if address else None
    except ValueError:
        return None


def raw_ip_address(request: HttpRequest) -> str | None:
    """Ask allauth, which knows the trusted proxies. The address may have several notations."""
    try:
        return get_adapter(request).get_client_ip(request)
    except PermissionDenied:
        return None


def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an address in any notation. Raises `ValueError`.

    A server that listens on IPv6 alone sees IPv4 clients as `::ffff:192.0.2.10`. A zone
    (`fe80::1%eth0`) is a local name of any length, and is dropped.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def user_agent(request: HttpRequest) -> str:
    # Not `request.headers`, which parses every header.
    return request.META.get("HTTP_USER_AGENT", "")[:USER_AGENT_MAX_LENGTH].replace("\x00", "")


def violates_binding(request: HttpRequest, bound_address: str | None, agent_digest: str) -> bool:
    """Whether the login is bound to an address or user agent other than this request's."""
    rules = request_settings(request)
    if rules.bind_user_agent and user_agent_digest(user_agent(request)) != agent_digest:
        return True
    if rules.bind_ip is IpBinding.OFF or not bound_address:
        return False
    # True for most requests, and cheaper than asking allauth and parsing both.
    if request.META.get("REMOTE_ADDR") == bound_address and _is_connection_of_client():
        return False
    if raw_ip_address(request) == bound_address:
        return False
    here = ip_address(request)
    if here is None:
        return True
    if rules.bind_ip is IpBinding.EXACT:
        # The stored address may have another notation.
        return here != str(parse_ip(bound_address))
    return network_of(here) != network_of(bound_address)


@lru_cache(maxsize=1)
def _is_connection_of_client() -> bool:
    """Whether allauth takes the connection's address for the client's.

    It does without trusted proxies and headers, unless the project's adapter has a rule of its
    own. Asking its adapter takes an eighth of what a bound cookie costs, so this is remembered.
    """
    if allauth_settings.TRUSTED_PROXY_COUNT or allauth_settings.TRUSTED_CLIENT_IP_HEADER:
        return False
    classes = [vars(each) for each in type(get_adapter()).__mro__]
    rules = {each["get_client_ip"].__module__ for each in classes if "get_client_ip" in each}
    # Ours asks allauth's, and answers to its error.
    return rules <= {"allauth.account.adapter", "authmodes.adapter"}


@receiver(setting_changed)
def _forget(**kwargs: Any) -> None:
    _is_connection_of_client.cache_clear()


def is_bound(bound_address: str | None) -> bool:
    """Whether a login that began at this address is bound to its client at all."""
    rules = request_settings(None)
    return rules.bind_user_agent or (rules.bind_ip is not IpBinding.OFF and bool(bound_address))


@lru_cache(maxsize=1024)
def place_of(ip_address: str | None) -> str:
    """Return where an address is, such as "Berlin, Germany", for display only.

    Needs Django's GeoIP2, with a database of cities or countries at `GEOIP_PATH`; "" without
    it, or where the address is not in it.
    """
    if not ip_address or not getattr(settings, "GEOIP_PATH", None):
        return ""
    try:
        from django.contrib.gis.geoip2 import GeoIP2

        geoip = GeoIP2()
        find: Callable[[str], Any] = geoip.city if geoip.is_city else geoip.country
        found = find(ip_address)
    except Exception:
        # The package, the database or the address in it may be missing: all the same to a page.
        return ""
    return ", ".join(str(found[part]) for part in ("city", "country_name") if found.get(part))


def network_of(ip_address: str) -> str:
    """Return the /24 or /64 of an address: roughly one connection or one office."""
    address = parse_ip(ip_address)
    prefix = IPV4_NETWORK if address.version == 4 else IPV6_NETWORK
    return str(ipaddress.ip_network((address, prefix), strict=False))

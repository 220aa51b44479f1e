"""Whether a credential comes from where its login was made, for projects that ask for it."""

import ipaddress

from django.http import HttpRequest

from . import client
from .conf import IpBinding
from .memory import digest_of_agent
from .state import settings_of

IPV4_NETWORK, IPV6_NETWORK = 24, 64


def is_elsewhere(request: HttpRequest, ip_address: str | None, agent_digest: str) -> bool:
    """Whether the request comes from another address or user agent than the sign-in."""
    rules = settings_of(request)
    if rules.bind_user_agent and digest_of_agent(client.user_agent(request)) != agent_digest:
        return True
    if rules.bind_ip is IpBinding.OFF or not ip_address:
        return False
    # Nearly always so, and then no address is parsed; one in another spelling goes the long way.
    if client.told_ip(request) == ip_address:
        return False
    here = client.ip_address(request)
    if here is None:
        return True
    if rules.bind_ip is IpBinding.EXACT:
        # What was kept may be written in another way.
        return here != str(client.parse_ip(ip_address))
    return network_of(here) != network_of(ip_address)


def network_of(ip_address: str) -> str:
    """The /24 or /64 of an address: roughly one line or one office."""
    address = client.parse_ip(ip_address)
    prefix = IPV4_NETWORK if address.version == 4 else IPV6_NETWORK
    return str(ipaddress.ip_network((address, prefix), strict=False))

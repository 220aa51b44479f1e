"""What providers say about logins that came from them: that they are over.

OpenID Connect Back-Channel Logout 1.0, security event tokens (RFC 8417, RFC 8935), and the
way back: where to send a browser that wants to sign out at its provider as well.
"""

from .ending import has_ended
from .events import receive
from .issuers import named, openid_providers, transmitters
from .leaving import logout_url
from .logout import log_out

__all__ = [
    "has_ended",
    "log_out",
    "logout_url",
    "named",
    "openid_providers",
    "receive",
    "transmitters",
]

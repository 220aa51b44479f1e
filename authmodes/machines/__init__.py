"""Machine clients: a secret that is exchanged for short access tokens, without a user.

allauth's identity provider has clients too, with one secret that neither expires nor
overlaps with its successor, and it would have to be installed as a whole.
"""

from .clients import OVERLAP, add_secret, authenticate, change, create, revoke, rotate
from .tokens import MachineToken, judge, mint, read, revoke_token

__all__ = [
    "OVERLAP",
    "MachineToken",
    "add_secret",
    "authenticate",
    "change",
    "create",
    "judge",
    "mint",
    "read",
    "revoke",
    "revoke_token",
    "rotate",
]

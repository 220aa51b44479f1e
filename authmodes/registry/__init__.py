"""The only writer of login sessions.

It starts, adopts, touches, validates, rotates, ends and prunes them.

A change that processes may compete for is one conditional UPDATE, so exactly one of them makes
it. Locks are taken in one order, login session first and refresh token second, because two
orders would deadlock.
"""

from .ending import revoke, revoke_all, revoke_in_batches, revoke_user
from .pruning import prune, prune_in_batches
from .starting import start

__all__ = [
    "prune",
    "prune_in_batches",
    "revoke",
    "revoke_all",
    "revoke_in_batches",
    "revoke_user",
    "start",
]

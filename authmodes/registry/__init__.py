"""The only writer of login sessions: it starts, validates, rotates, ends and prunes them.

Every change is one conditional statement on the row, so that of any number of processes
exactly one makes it. Locks are always taken in the same order, login session first and
refresh token second, because two orders would deadlock.
"""

from .ending import revoke, revoke_all, revoke_user
from .pruning import prune
from .starting import start

__all__ = ["prune", "revoke", "revoke_all", "revoke_user", "start"]

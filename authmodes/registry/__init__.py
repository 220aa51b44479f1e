"""The only writer of login sessions: it starts, touches, rotates, ends and prunes them.

Every change is one conditional statement on the row, so that any number of processes
agree on who made it. The order of locks is always login session first, refresh token
second; two orders would deadlock.
"""

from .ending import prune, revoke, revoke_all
from .following import abandon, follow, recheck, touch
from .judging import end_by_token_text, end_outdated, identify, is_acceptable, is_live, verdict
from .rotating import Refusal, finish_reuse, rotate
from .starting import adopt, start

__all__ = [
    "Refusal",
    "abandon",
    "adopt",
    "end_by_token_text",
    "end_outdated",
    "finish_reuse",
    "follow",
    "identify",
    "is_acceptable",
    "is_live",
    "prune",
    "recheck",
    "revoke",
    "revoke_all",
    "rotate",
    "start",
    "touch",
    "verdict",
]

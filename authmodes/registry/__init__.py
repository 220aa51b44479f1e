"""The only writer of login sessions: it starts, touches, rotates, ends and prunes them.

Every change is one conditional statement on the row, so that any number of processes
agree on who made it. The order of locks is always login session first, refresh token
second; two orders would deadlock.
"""

from .adopting import adopt, adopt_many
from .ending import prune, revoke, revoke_all
from .following import (
    Touch,
    abandon,
    carry_over,
    follow,
    is_current,
    recheck,
    rotate_key,
    touch,
)
from .judging import end_by_token_text, end_outdated, identify, is_acceptable, is_live, verdict
from .rotating import Refusal, finish_reuse, rotate
from .starting import start

__all__ = [
    "Refusal",
    "Touch",
    "abandon",
    "adopt",
    "adopt_many",
    "carry_over",
    "end_by_token_text",
    "end_outdated",
    "finish_reuse",
    "follow",
    "identify",
    "is_acceptable",
    "is_current",
    "is_live",
    "prune",
    "recheck",
    "revoke",
    "revoke_all",
    "rotate",
    "rotate_key",
    "start",
    "touch",
    "verdict",
]

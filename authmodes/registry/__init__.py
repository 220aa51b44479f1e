"""The only writer of login sessions: it starts, touches, rotates, ends and prunes them.

Every change is one conditional statement on the row, so that any number of processes
agree on who made it. The order of locks is always login session first, refresh token
second; two orders would deadlock.
"""

from .adopting import adopt, adopt_many, recollect
from .conflicts import retried
from .ending import (
    cancel_handoffs,
    end_others,
    ending_of_user,
    prune,
    revoke,
    revoke_all,
    revoke_user,
)
from .following import (
    Touch,
    abandon,
    attend,
    expire,
    follow,
    is_active,
    is_idle,
    keep,
    last_seen,
    recheck,
    rotate_key,
    sid_unremembered,
    touch,
    touch_cookie,
)
from .judging import (
    auth_hashes,
    end_by_token_text,
    end_outdated,
    goes_on,
    identify,
    is_acceptable,
    is_live,
    verdict,
)
from .outliving import finish, may_be_undone, outlive
from .rotating import Refusal, is_reused, rotate, spend_legacy
from .starting import start, start_app

__all__ = [
    "Refusal",
    "Touch",
    "abandon",
    "adopt",
    "adopt_many",
    "attend",
    "auth_hashes",
    "cancel_handoffs",
    "end_by_token_text",
    "end_others",
    "end_outdated",
    "ending_of_user",
    "expire",
    "finish",
    "follow",
    "goes_on",
    "identify",
    "is_acceptable",
    "is_active",
    "is_idle",
    "is_live",
    "is_reused",
    "keep",
    "last_seen",
    "may_be_undone",
    "outlive",
    "prune",
    "recheck",
    "recollect",
    "retried",
    "revoke",
    "revoke_all",
    "revoke_user",
    "rotate",
    "rotate_key",
    "sid_unremembered",
    "spend_legacy",
    "start",
    "start_app",
    "touch",
    "touch_cookie",
    "verdict",
]

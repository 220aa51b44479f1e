"""The signals authmodes sends; who sends them and when stands in `registry.py`.

`login_session_started`
    For each sign-in, once its transaction is committed.
    Arguments: `login_session`, `request`, and `is_new_client`: whether the user's earlier
    logins came from other clients or networks (None unless `AUTHMODES_NOTIFY_NEW_LOGIN`).
`login_session_ended`
    Once for each login session that ends, whatever ended it, and once that is committed. Arguments:
    `login_session`, whose `ended_at`, `end_reason` and `ended_by` are set.
`refresh_token_reused`
    A refresh token came back after it had been rotated away: it has two holders
    (RFC 9700, 4.14.2). Arguments: `login_session`, `request` (may be None). The
    token itself is never passed on.

Receivers run through `send_robust`: one that fails is logged and cannot keep a login alive.
"""

from django.dispatch import Signal

login_session_started = Signal()
login_session_ended = Signal()
refresh_token_reused = Signal()

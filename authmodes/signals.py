"""The signals of authmodes; `registry` sends them.

`login_session_started`
    A sign-in was committed. Arguments: `login_session`, `request`, and `is_new_client`:
    whether the user's earlier logins came from other clients or networks (None unless
    `AUTHMODES_NOTIFY_NEW_LOGIN` is on).
`login_session_ended`
    The end of a login session was committed. Sent once for each, also in a bulk revocation.
    Arguments: `login_session`, with its user and `ended_at`, `end_reason` and `ended_by`. With a
    receiver, a bulk revocation takes longer, because it loads complete rows, batch by batch.
`refresh_token_reused`
    A refresh token was presented after it had been rotated, so two clients have it
    (RFC 9700, 4.14.2). Arguments: `login_session`, `request` (may be None). The token itself
    is never an argument.
`login_refused`
    An attempt to sign in was refused, once for each request, after its view. Arguments:
    `request`, `code` and `provider` ("" without one).

Receivers are called by `send_robust`: an exception is logged and changes nothing.
"""

from django.dispatch import Signal

__all__ = [
    "login_refused",
    "login_session_ended",
    "login_session_started",
    "refresh_token_reused",
]

login_refused = Signal()
login_session_started = Signal()
login_session_ended = Signal()
refresh_token_reused = Signal()

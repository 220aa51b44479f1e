"""Ties a login that waits at one of allauth's stages to what its user was when it began.

There is no row yet that could be ended, so the login is looked at once more when it is done.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from ..registry import ending, validation

SESSION_KEY = "_authmodes_pending"


def store(request: HttpRequest, user: Any) -> None:
    """Keep the user's password hash, as Django does of a cookie login, and the latest ending."""
    request.session[SESSION_KEY] = {
        "user": str(user.pk),
        "auth_hash": user.get_session_auth_hash(),
        "ended": ending.latest_revocation_of(user),
    }


def renew(request: HttpRequest | None, user: Any) -> None:
    """Go on with a login whose own request has ended the others, by a passkey made at a stage."""
    if request is None or not hasattr(request, "session"):
        return
    noted = request.session.get(SESSION_KEY)
    if noted and noted["user"] == str(user.pk):
        store(request, user)


def pop_is_outdated(request: HttpRequest, user: Any) -> bool:
    """Whether the password was changed, or all logins of the user were ended, meanwhile."""
    noted = request.session.pop(SESSION_KEY, None)
    if noted is None or noted["user"] != str(user.pk):
        return False
    hashes = validation.auth_hashes(user)
    if not any(constant_time_compare(noted["auth_hash"], known) for known in hashes):
        return True
    # An ending that was noted then and is forgotten by now is none that came between.
    return ending.latest_revocation_of(user) not in ("", noted["ended"])

"""Refuses a login that waited at one of allauth's stages while its user's logins were ended.

Such a login has no row yet that could be ended, so it is validated once more when it is done.
"""

from typing import Any

from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from ..exceptions import LoginOutdated
from ..registry import ending, validation
from ..state import request_state

SESSION_KEY = "_authmodes_pending"


def store(request: HttpRequest, user: Any) -> None:
    """Keep what `validate` compares: the password hash, as Django does, and the latest ending."""
    request.session[SESSION_KEY] = {
        "user": str(user.pk),
        "auth_hash": user.get_session_auth_hash(),
        "ended": ending.latest_revocation_of(user),
    }
    request_state(request).has_begun_login = True


def renew(request: HttpRequest | None, user: Any) -> None:
    """Keep a pending login that has itself ended the others, by creating a passkey at a stage."""
    if request is None or not hasattr(request, "session"):
        return
    stored = request.session.get(SESSION_KEY)
    if stored and stored["user"] == str(user.pk):
        store(request, user)


def validate(request: HttpRequest, user: Any) -> None:
    """Raise `LoginOutdated` if all logins of the user were ended while the login waited.

    A login that has not waited was recognised in this very request and needs no second query.
    """
    stored = request.session.pop(SESSION_KEY, None)
    if stored is None or stored["user"] != str(user.pk) or request_state(request).has_begun_login:
        return
    hashes = validation.auth_hashes(user)
    if not any(constant_time_compare(stored["auth_hash"], known) for known in hashes):
        raise LoginOutdated
    # The mark of an ending expires; its absence does not mean that a new ending happened.
    if ending.latest_revocation_of(user) not in ("", stored["ended"]):
        raise LoginOutdated

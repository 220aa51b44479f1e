"""A user's own login sessions, for the API and for the page; anybody else's do not exist."""

import uuid
from typing import Any

from django.http import Http404

from ..models import LoginSession, LoginSessionQuerySet


def active_of(user: Any) -> LoginSessionQuerySet:
    """The user's active login sessions, the one that was seen last first."""
    return LoginSession.objects.active().for_user(user).order_by("-last_seen_at", "-pk")


def one_of(user: Any, sid: str) -> LoginSession:
    """One of them, by its `sid` as a client wrote it. Raises `Http404`."""
    try:
        wanted = uuid.UUID(sid)
    except ValueError:
        raise Http404 from None
    found = active_of(user).by_sid(wanted)
    if found is None:
        raise Http404
    return found

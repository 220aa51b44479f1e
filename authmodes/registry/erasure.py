"""Removes what identifies a user from the login events; the events themselves stay."""

import re
from typing import Any

from django.db import transaction
from django.db.models import Q

from ..conf import conf
from ..models import LoginEvent, write_database
from ..models.login_event import USERNAME_MAX_LENGTH


def keep_or_remove_identity(user: Any) -> None:
    """Remove the addresses of a user who is about to be deleted.

    With `AUTHMODES_EVENT_KEEP_IDENTITY` they stay, and the name is written to the user's events.
    """
    theirs = LoginEvent.objects.filter(user=user.pk)
    if conf.EVENT_KEEP_IDENTITY:
        theirs.update(username=user.get_username()[:USERNAME_MAX_LENGTH])
    else:
        theirs.update(ip_address=None)
        LoginEvent.objects.filter(actor=user.pk).update(ip_address=None)


def erase(user_id: Any) -> int:
    """Remove a user's id, name, addresses and `sid`s from all events; return their number.

    What happened, when and why remains, so that the numbers of the past stay right.
    """
    here = {"ip_address": None, "actor_sid": None}
    with transaction.atomic(using=write_database()):
        count = events_of(user_id).count()
        LoginEvent.objects.filter(actor=user_id).update(actor=None, **here)
        LoginEvent.objects.filter(_names(user_id)).update(filter="")
        LoginEvent.objects.filter(user=user_id).update(
            user=None, username="", sid=None, bucket=None, **here
        )
    return count


def events_of(user_id: Any) -> Any:
    """Return the events that `erase` would change."""
    return LoginEvent.objects.filter(Q(user=user_id) | Q(actor=user_id) | _names(user_id))


def _names(user_id: Any) -> Q:
    # A bulk revocation of one user, of several, or of those of a user that match more.
    parameter = rf"(^|[& ])user(__id__exact)?=([^& ]*,)?{re.escape(str(user_id))}([,& ]|$)"
    return Q(filter__regex=parameter)

"""Counts login sessions for operators; it reads the whole table, so no page does this."""

from django.db.models import Count

from ..models import LoginSession, LoginSessionQuerySet


def count_login_sessions() -> dict[str, int | dict[str, int]]:
    """Return the numbers of active logins by mode and provider, and of ended ones by reason.

    `expired` is what the next pruning ends. A login without a provider is counted under "".
    """
    rows = LoginSession.objects
    return {
        "active": rows.active().count(),
        "active_by_mode": _count(rows.active(), "mode"),
        "active_by_provider": _count(rows.active(), "provider"),
        "expired": rows.expired().count(),
        "ended_by_reason": _count(rows.ended(), "end_reason"),
    }


def _count(rows: LoginSessionQuerySet, column: str) -> dict[str, int]:
    return dict(rows.order_by(column).values_list(column).annotate(Count("pk")))

"""What happened to one login session, for its page."""

from typing import Any

from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import EndReason, EventKind, LoginEvent, LoginSession, method_label

# How many events a page lists.
EVENTS = 100


def timeline_of(row: LoginSession, names: dict[str, str]) -> list[dict[str, Any]]:
    """What happened to a login, oldest first: its events, and what the row alone knows."""
    events = LoginEvent.objects.filter(sid=row.sid).select_related("actor").order_by("pk")
    steps: list[dict[str, Any]] = [
        {
            "at": event.created_at,
            "kind": event.kind,
            "what": capfirst(event.get_kind_display()),
            "detail": _event_detail(event, names),
            "by": event.actor if event.actor_id and event.actor_id != row.user_id else None,
            "address": event.ip_address,
        }
        for event in events[:EVENTS]
    ]
    known = {step["kind"] for step in steps}
    if EventKind.STARTED not in known:
        method = signed_in_with(row, names)
        started = {"at": row.created_at, "kind": "started", "what": _("Signed in")}
        steps.append({**started, "detail": method, "address": row.ip_address})
    if row.rotated_at:
        steps.append({"at": row.rotated_at, "kind": "rotated", "what": _("Last token rotation")})
    if row.ended_at and EventKind.ENDED not in known:
        ended = {"at": row.ended_at, "kind": "ended", "what": _("Ended")}
        reason = row.get_end_reason_display()
        steps.append({**ended, "detail": reason, "by": row.ended_by})
    elif not row.is_active and not row.ended_at:
        steps.append({"at": row.expires_at, "kind": "ended", "what": _("Expired")})
    return sorted(steps, key=lambda step: step["at"])


def _event_detail(event: LoginEvent, names: dict[str, str]) -> str:
    if event.code:
        return reason_label(event.code)
    return signed_in_with(event, names)


def reason_label(code: str) -> str:
    """The text of an end reason; the code of a refusal is shown as it is."""
    return str(dict(EndReason.choices).get(code, code))


def signed_in_with(row: LoginSession | LoginEvent, names: dict[str, str]) -> str:
    """The provider by its name, or the method; and who acts in the user's name."""
    way = names.get(row.provider, row.provider) or capfirst(method_label(row.method))
    acting_user = getattr(row, "acting_user", None)
    if acting_user is None:
        return way
    # "by root (Password)": how the acting user signed in.
    by = gettext("by %(user)s") % {"user": acting_user}
    return f"{by} ({way})" if way else by

"""Ending login sessions from the admin: confirmation, revocation, the admin's log, a message."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model, logout
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import registry
from ..models import LoginSession, LoginSessionQuerySet
from ..registry import ending
from ..sessions import state as session_state
from .base import ReadOnlyAdmin

# How many rows a confirmation page lists, and how many it counts at most.
LISTED = 100
COUNTED = 10_000
# How many login sessions of one revocation are entered in the admin's log. Every row has its
# actor and reason in any case.
LOGGED = 1000
# How many users are handled by one statement.
BATCH = 500


@dataclass(frozen=True)
class Revocation:
    """A request of an administrator, before it is confirmed.

    `targets` are the rows that it would end now. `carry_out` ends and logs them, and returns
    their number.
    """

    question: str
    targets: tuple[QuerySet[Any], ...]
    carry_out: Callable[[], int]


class RevokingAdmin(ReadOnlyAdmin):
    """A list with revoke actions. Each is a POST from a confirmation page."""

    def run_action(self, request: HttpRequest, revocation: Revocation) -> HttpResponse | None:
        """Ask for confirmation, or carry out what was confirmed; None shows the list again."""
        if request.POST.get("post"):
            return self.carry_out(request, revocation)
        # The confirmation posts again what was posted here. With "select across" these are
        # the keys of one page and the choice, not every key of the table.
        names = ("action", "select_across", ACTION_CHECKBOX_NAME)
        hidden = [(name, value) for name in names for value in request.POST.getlist(name)]
        return self.ask(request, revocation, hidden)

    def ask(
        self,
        request: HttpRequest,
        revocation: Revocation,
        hidden: Iterable[tuple[str, str]] = (),
        row: LoginSession | None = None,
    ) -> HttpResponse | None:
        """The confirmation page; None, and a message, if there is nothing to end."""
        count, listed = _extent(revocation.targets)
        if not count:
            self._report(request, 0)
            return None
        title = _("Revoke login sessions") if row is None else _("Revoke login session")
        context = {
            "row": row,
            "question": revocation.question,
            "listed": listed,
            "count": min(count, COUNTED),
            "is_more": count > COUNTED,
            "unlisted": count - len(listed),
            "is_own": _includes_own(request, revocation),
            "hidden": [*hidden, ("post", "yes")],
        }
        return self.render(request, "revoke_confirmation", title, context)

    def carry_out(self, request: HttpRequest, revocation: Revocation) -> HttpResponse | None:
        is_own = _includes_own(request, revocation)
        self._report(request, revocation.carry_out())
        if not is_own:
            return None
        # The session of this request was deleted, and Django answers 400 when it saves such a
        # session.
        logout(request)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def _report(self, request: HttpRequest, count: int) -> None:
        if not count:
            nothing = _("Nothing was revoked: no login session among these is active.")
            self.message_user(request, nothing, messages.WARNING)
            return
        done = ngettext(
            "%(count)d login session was revoked.", "%(count)d login sessions were revoked.", count
        )
        self.message_user(request, done % {"count": count}, messages.SUCCESS)


def revoke_rows(request: HttpRequest, login_sessions: LoginSessionQuerySet) -> int:
    """Revoke the active ones of `login_sessions`, with an entry for each in the admin's log."""
    active = login_sessions.active().order_by("-created_at", "-pk")
    rows = list(active[:LOGGED])
    count = registry.revoke_all(active, by=request.user)
    _log(request, rows, _revoked(count))
    return count


def revoke_users(request: HttpRequest, user_ids: list[Any]) -> int:
    """Revoke every login session of these users, with an entry for each user."""
    total = 0
    for start in range(0, len(user_ids), BATCH):
        batch = user_ids[start : start + BATCH]
        theirs = LoginSession.objects.active().filter(user__in=batch)
        total += registry.revoke_all(theirs, by=request.user)
        ending.cancel_authorization_codes(user__in=batch)
        users = get_user_model()._base_manager.filter(pk__in=batch)
        _log(request, users, _("All login sessions revoked."))
    return total


def revoke_providers(request: HttpRequest, providers: list[str]) -> int:
    """Revoke every login session of these providers, with an entry for each provider."""
    total = 0
    for provider in providers:
        through_it = LoginSession.objects.active().filter(provider=provider)
        count = registry.revoke_all(through_it, by=request.user)
        ending.cancel_authorization_codes(provider=provider)
        name = _("All of provider %(provider)s") % {"provider": provider}
        log_unnamed(request, LoginSession, [name], _revoked(count))
        total += count
    return total


def log_unnamed(request: HttpRequest, model: Any, reprs: Iterable[str], message: str) -> None:
    """Log what has no row of its own, or a row whose `str()` reveals too much."""
    actor: Any = request.user
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=actor.pk,
            content_type=content_type,
            object_repr=each[:200],
            action_flag=CHANGE,
            change_message=message,
        )
        for each in reprs
    )


def _log(request: HttpRequest, rows: Iterable[Any], message: str) -> None:
    actor: Any = request.user
    LogEntry.objects.log_actions(actor.pk, rows, CHANGE, message)


def _revoked(count: int) -> str:
    if count == 1:
        return _("Revoked.")
    return _("Revoked, together %(count)d login sessions.") % {"count": count}


def _includes_own(request: HttpRequest, revocation: Revocation) -> bool:
    """Whether the administrator's own login session is among the targets."""
    own = session_state.load(request.session)
    return own is not None and any(
        targets.filter(sid=own.sid).exists()
        for targets in revocation.targets
        if targets.model is LoginSession
    )


def _extent(targets: Iterable[QuerySet[Any]]) -> tuple[int, list[Any]]:
    """How many rows there are, COUNTED and one more at most for each target, and the first."""
    total, listed = 0, []
    for rows in targets:
        rows = rows.order_by("-created_at", "-pk").select_related("user")
        first = list(rows[: LISTED + 1])
        total += len(first) if len(first) <= LISTED else rows[: COUNTED + 1].count()
        listed += first
    return total, listed[:LISTED]

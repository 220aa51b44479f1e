"""Ending login sessions from the admin: asked for, confirmed, logged and told about."""

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
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import registry
from ..models import EndReason, LoginSession, LoginSessionQuerySet
from ..registry import ending
from ..sessions import state as session_state
from .base import ReadOnlyAdmin

# How many rows a confirmation page lists, and how far it counts them.
LISTED = 100
COUNTED = 10_000
# How many login sessions one click enters in the admin's log. Each row has its actor and
# reason in any case.
LOGGED = 1000
BATCH = 500


@dataclass(frozen=True)
class Revocation:
    """Something an administrator asks for, not yet done.

    `targets` are what it would end now; `carry_out` ends it, logs it and returns how many
    there were.
    """

    question: str
    targets: tuple[QuerySet[Any], ...]
    carry_out: Callable[[], int]


class RevokingAdmin(ReadOnlyAdmin):
    """A list with revoke actions. Everything here is a POST that comes from a confirmation."""

    def run_action(self, request: HttpRequest, revocation: Revocation) -> HttpResponse | None:
        """Ask first, then do it; None shows the list again, as of any action."""
        if request.POST.get("post"):
            return self.carry_out(request, revocation)
        # What a confirmation posts is what was posted here: with "select across" that is
        # a page of keys and the wish, not every key of the table.
        names = ("action", "select_across", ACTION_CHECKBOX_NAME)
        hidden = [(name, value) for name in names for value in request.POST.getlist(name)]
        return self.ask(request, revocation, hidden)

    def ask(
        self,
        request: HttpRequest,
        revocation: Revocation,
        hidden: Iterable[tuple[str, str]] = (),
        about: LoginSession | None = None,
    ) -> HttpResponse | None:
        """The confirmation page; None, and a message, if there is nothing to end."""
        count, listed = _extent(revocation.targets)
        if not count:
            self._tell(request, 0)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("Revoke login sessions") if about is None else _("Revoke login session"),
            "opts": self.opts,
            "page_title": self.page_title,
            "about": about,
            "question": revocation.question,
            "listed": listed,
            "count": min(count, COUNTED),
            "is_more": count > COUNTED,
            "unlisted": count - len(listed),
            "is_own": _includes_own(request, revocation),
            "hidden": [*hidden, ("post", "yes")],
            "cancel_url": self.list_url(request),
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "authmodes/admin/revoke_confirmation.html", context)

    def carry_out(self, request: HttpRequest, revocation: Revocation) -> HttpResponse | None:
        is_own = _includes_own(request, revocation)
        self._tell(request, revocation.carry_out())
        if not is_own:
            return None
        # The session that this answer would be saved to is gone; Django answers 400 to that.
        logout(request)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def _tell(self, request: HttpRequest, count: int) -> None:
        if not count:
            nothing = _("Nothing was revoked: no login session among these is active.")
            self.message_user(request, nothing, messages.WARNING)
            return
        done = ngettext(
            "%(count)d login session was revoked.", "%(count)d login sessions were revoked.", count
        )
        self.message_user(request, done % {"count": count}, messages.SUCCESS)


def end(request: HttpRequest, login_sessions: LoginSessionQuerySet) -> int:
    """End the active ones among `login_sessions`, with an entry for each in the admin's log."""
    active = login_sessions.active().order_by("-created_at", "-pk")
    rows = list(active[:LOGGED])
    count = registry.revoke_all(active, EndReason.REVOKED, by=_actor(request))
    _log(request, rows, _revoked(count))
    return count


def end_of_users(request: HttpRequest, user_ids: list[Any]) -> int:
    """End every login session of these users, with an entry for each user."""
    total = 0
    for start in range(0, len(user_ids), BATCH):
        batch = user_ids[start : start + BATCH]
        theirs = LoginSession.objects.active().filter(user__in=batch)
        total += registry.revoke_all(theirs, EndReason.REVOKED, by=_actor(request))
        ending.cancel_authorization_codes(user__in=batch)
        users = get_user_model()._base_manager.filter(pk__in=batch)
        _log(request, users, _("All login sessions revoked."))
    return total


def end_of_providers(request: HttpRequest, providers: list[str]) -> int:
    """End every login session made through these providers, with an entry for each."""
    total = 0
    for provider in providers:
        through_it = LoginSession.objects.active().filter(provider=provider)
        count = registry.revoke_all(through_it, EndReason.REVOKED, by=_actor(request))
        ending.cancel_authorization_codes(provider=provider)
        log_unnamed(
            request,
            LoginSession,
            [_("All of provider %(provider)s") % {"provider": provider}],
            _revoked(count),
        )
        total += count
    return total


def log_unnamed(request: HttpRequest, model: Any, reprs: Iterable[str], message: str) -> None:
    """Log what has no row of its own, or one whose `str()` says too much."""
    content_type = ContentType.objects.get_for_model(model)
    LogEntry.objects.bulk_create(
        LogEntry(
            user_id=_actor(request).pk,
            content_type=content_type,
            object_repr=each[:200],
            action_flag=CHANGE,
            change_message=message,
        )
        for each in reprs
    )


def _log(request: HttpRequest, rows: Iterable[Any], message: str) -> None:
    LogEntry.objects.log_actions(_actor(request).pk, rows, CHANGE, message)


def _revoked(count: int) -> str:
    if count == 1:
        return _("Revoked.")
    return _("Revoked, together %(count)d login sessions.") % {"count": count}


def _actor(request: HttpRequest) -> Any:
    return request.user


def _includes_own(request: HttpRequest, revocation: Revocation) -> bool:
    """Whether the administrator's own login session is among them."""
    own = session_state.load(request.session)
    return own is not None and any(
        targets.filter(sid=own.sid).exists()
        for targets in revocation.targets
        if targets.model is LoginSession
    )


def _extent(targets: Iterable[QuerySet[Any]]) -> tuple[int, list[Any]]:
    """How many there are, counted a little further than COUNTED at most, and the first few."""
    total, listed = 0, []
    for rows in targets:
        rows = rows.order_by("-created_at", "-pk").select_related("user")
        first = list(rows[: LISTED + 1])
        total += len(first) if len(first) <= LISTED else rows[: COUNTED + 1].count()
        listed += first
    return total, listed[:LISTED]

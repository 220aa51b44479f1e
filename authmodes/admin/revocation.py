"""Ending login sessions from the admin: confirmation, revocation, the admin's log, a message."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_permission_codename, get_user_model, logout
from django.contrib.contenttypes.models import ContentType
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..models import LoginSession, LoginSessionQuerySet
from ..registry import ending
from ..sessions import state as session_state
from .base import ListAdmin

# How many rows a confirmation page lists, and how many it counts at most.
LISTED = 100
COUNTED = 10_000
# How many login sessions of one revocation are entered in the admin's log. Every row has its
# actor and reason in any case.
LOGGED = 1000
# How many users are handled by one statement.
BATCH = 500


class RevokingAdmin(ListAdmin):
    """A read-only list with revoke actions. Each is a POST from a confirmation page."""

    # Any value shows the search box; `search_for` decides what is searched.
    search_fields: ClassVar[Any] = ("user",)
    search_help_text: ClassVar[Any] = _("Name or e-mail address of the user.")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django also accepts the change permission, which has no meaning here.
        view = get_permission_codename("view", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{view}"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        for word in search_term.split():
            queryset = queryset.filter(self.search_for(word))
        return queryset, False

    def search_for(self, word: str) -> Q:
        user_model: Any = get_user_model()
        names = {user_model.USERNAME_FIELD, user_model.get_email_field_name()}
        fields = sorted(names & {field.name for field in user_model._meta.get_fields()})
        matches = Q(*((f"{field}__icontains", word) for field in fields), _connector=Q.OR)
        # A subquery: there are fewer users than rows, and an OR over a join would read every
        # row of both tables.
        return Q(user__in=user_model._base_manager.filter(matches).values("pk"))

    def confirm(
        self,
        request: HttpRequest,
        question: str,
        targets: tuple[QuerySet[Any], ...],
        revoke: Callable[[], int],
        row: LoginSession | None = None,
    ) -> HttpResponse | None:
        """Ask for confirmation, or revoke what was confirmed; None shows the list again.

        `targets` are the rows that would end now. `revoke` ends and logs them, and returns
        their number.
        """
        own_sid = session_state.current_sid(request)
        is_own = any(
            rows.filter(sid=own_sid).exists() for rows in targets if rows.model is LoginSession
        )
        if request.POST.get("post"):
            self._report(request, revoke())
            if not is_own:
                return None
            # The session of this request was deleted, and Django answers 400 when it saves such
            # a session.
            logout(request)
            return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
        count, listed = _extent(targets)
        if not count:
            self._report(request, 0)
            return None
        # The confirmation posts again what was posted here. With "select across" these are
        # the keys of one page and the choice, not every key of the table.
        names = ("action", "select_across", ACTION_CHECKBOX_NAME)
        hidden = [(name, value) for name in names for value in request.POST.getlist(name)]
        context = {
            "row": row,
            "question": question,
            "listed": listed,
            "count": min(count, COUNTED),
            "is_more": count > COUNTED,
            "unlisted": count - len(listed),
            "is_own": is_own,
            "hidden": [*hidden, ("post", "yes")],
        }
        title = gettext("Revoke login session") if row else gettext("Revoke login sessions")
        return self.render(request, "revoke_confirmation", title, context)

    def _report(self, request: HttpRequest, count: int) -> None:
        if not count:
            nothing = gettext("Nothing was revoked: no login session among these is active.")
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
        total += _revoke_all(request, user__in=batch)
        ending.cancel_pending(*batch)
        users = get_user_model()._base_manager.filter(pk__in=batch)
        _log(request, users, gettext("All login sessions revoked."))
    return total


def revoke_providers(request: HttpRequest, providers: list[str]) -> int:
    """Revoke every login session of these providers, with an entry for each provider."""
    total = 0
    for provider in providers:
        count = _revoke_all(request, provider=provider)
        name = gettext("All of provider %(provider)s") % {"provider": provider}
        log_unnamed(request, LoginSession, [name], _revoked(count))
        total += count
    return total


def _revoke_all(request: HttpRequest, **lookups: Any) -> int:
    count = registry.revoke_all(LoginSession.objects.active().filter(**lookups), by=request.user)
    ending.cancel_authorization_codes(**lookups)
    return count


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
        return gettext("Revoked.")
    return gettext("Revoked, together %(count)d login sessions.") % {"count": count}


def _extent(targets: Iterable[QuerySet[Any]]) -> tuple[int, list[Any]]:
    """How many rows there are, COUNTED and one more at most for each target, and the first."""
    total, listed = 0, []
    for rows in targets:
        rows = rows.order_by("-created_at", "-pk").select_related("user")
        first = list(rows[: LISTED + 1])
        total += len(first) if len(first) <= LISTED else rows[: COUNTED + 1].count()
        listed += first
    return total, listed[:LISTED]

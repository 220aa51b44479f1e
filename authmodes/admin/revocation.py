"""Ending login sessions from the admin: confirmation, batches, the admin's log, a message."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_permission_codename, get_user_model, logout
from django.contrib.contenttypes.models import ContentType
from django.core import signing
from django.core.exceptions import BadRequest
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..models import LoginEvent, LoginSession
from ..registry import ending, events
from ..sessions import state as session_state
from . import search
from .base import ListAdmin
from .keyset import WINDOW, scanned

# How many rows a confirmation page lists, and how many it counts at most.
LISTED = 20
COUNTED = 10_000
# How many login sessions one request ends.
BATCH = 1000
FILTER_LENGTH = 500
# The fields of a chosen action, which each batch posts again.
CARRIED = ("action", "select_across", ACTION_CHECKBOX_NAME)
# The hidden field that carries what was done so far, signed.
PROGRESS = "progress"


@dataclass(frozen=True)
class Scope:
    """What one revocation ends, and how it is described."""

    rows: Any
    question: str
    # What is ended, for the admin's log.
    name: str
    # The same for the event, without anything that was typed. "": each row has an event.
    filter: str
    # What the filters and the search of the list select, as pairs of a title and a text.
    words: list[tuple[str, str]] = field(default_factory=list)
    # Of rows that no index finds, those that the confirmation counts; None for all.
    window: Any = None
    # The row that the entry in the log is about, if there is one.
    about: Any = None
    # End all logins of each user that a row belongs to, and sign-ins that are not finished. Of
    # an impersonation, which may be among the rows, only itself.
    whole_users: bool = False
    # Called once, when the revocation begins. With `whole_users`, there may be no rows at all.
    begin: Callable[[], None] | None = None
    # Refresh tokens without a login session, which only the blacklist ends.
    tokens: QuerySet[Any] | None = None
    blacklist: Callable[[QuerySet[Any]], int] | None = None

    @property
    def ends_unfinished(self) -> bool:
        """Whether sign-ins that are not finished end, which no row shows."""
        return self.whole_users and self.begin is not None


@dataclass(frozen=True)
class Progress:
    """What the requests of one revocation have done so far."""

    # Logins that began later are not ended: their users signed in again.
    started_at: str
    done: int = 0
    last_pk: int = 0
    total: int | None = None
    log: int | None = None
    event: int | None = None


class RevokingAdmin(ListAdmin):
    """A read-only list with revoke actions. Each is a POST from a confirmation page."""

    # Any value shows the search box; `search_for` decides what is searched.
    search_fields: ClassVar[Any] = ("user",)
    search_help_text: ClassVar[Any] = _("Name or e-mail address of the user, or its beginning.")

    # -- permissions

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django also accepts the change permission, which has no meaning here.
        view = get_permission_codename("view", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{view}"))

    def has_address_permission(self, request: HttpRequest) -> bool:
        """Whether staff see and search IP addresses. The page of login sessions decides.

        A project may override this there.
        """
        if not self.admin_site.is_registered(LoginSession):
            return True
        page: Any = self.admin_site.get_model_admin(LoginSession)
        return page is self or bool(page.has_address_permission(request))

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether logins may be revoked. Those of superusers: by superusers alone."""
        return self.may_revoke_for(request, getattr(obj, "user", None))

    def may_revoke_for(self, request: HttpRequest, user: Any) -> bool:
        if not super().has_revoke_permission(request):
            return False
        return not getattr(user, "is_superuser", False) or _is_super(request)

    def ending_unfinished(self, request: HttpRequest, *users: Any) -> Callable[[], None] | None:
        """The `begin` of a `Scope`: end the sign-ins of these users that are not finished."""
        pks = [user.pk for user in users if self.may_end_unfinished(request, user)]
        return partial(ending.cancel_unfinished, *pks) if pks else None

    def may_end_unfinished(self, request: HttpRequest, user: Any) -> bool:
        """Whether sign-ins that no row shows may be ended; not if the page hides the user."""
        return self.may_revoke_for(request, user) and not self.hides(request, user=user)

    def hides(self, request: HttpRequest, **lookups: Any) -> bool:
        """Whether there are such rows, and a `get_queryset` of the project's leaves out all."""
        shown = self.get_queryset(request).filter(**lookups)
        return not shown.exists() and self.model._default_manager.filter(**lookups).exists()

    def spared(self, request: HttpRequest) -> Any:
        """Return the keys of the users whose logins this administrator may not revoke."""
        users = get_user_model()
        if _is_super(request) or not hasattr(users, "is_superuser"):
            return ()
        return users._base_manager.filter(is_superuser=True).values("pk")

    def revocable(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Leave out the rows that this administrator may not revoke."""
        return rows.exclude(user__in=self.spared(request))

    # -- search

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        for word in search_term.split():
            condition = self.search_for(request, word)
            queryset = queryset.filter(condition)
            if isinstance(condition, search.Scan):
                queryset = scanned(queryset)
        return queryset, False

    def search_for(self, request: HttpRequest, word: str) -> Q:
        return search.by_user(word)

    def search_by_names(self, request: HttpRequest, word: str) -> Q:
        """Search for a `sid`, an address or a user, for rows that have all three."""
        by_sid = search.by_sid(word)
        if by_sid is not None:
            return by_sid
        by_address = search.by_address(word, self.model._default_manager.all())
        if by_address is not None and self.has_address_permission(request):
            return by_address
        return search.by_user(word)

    # -- revoking

    def revoke_one(self, request: HttpRequest, scope: Scope, row: LoginSession) -> HttpResponse:
        """Ask for confirmation by GET; revoke by POST."""
        own = str(row.sid) == session_state.current_sid(request)
        if request.POST.get("post"):
            count = registry.revoke_all(scope.rows, by=request.user)
            if count:
                self.log_change(request, row, gettext("Revoked."))
            self._report(request, count)
        elif scope.rows.exists():
            return self._ask(request, scope, row=row, is_own=own)
        else:
            self._report(request, 0)
        if not own or not request.POST.get("post"):
            return HttpResponseRedirect(self.list_url(request))
        # The session of this request was deleted, and Django answers 400 when it saves such
        # a session.
        logout(request)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def revoke_many(self, request: HttpRequest, scope: Scope) -> HttpResponse | None:
        """Ask for confirmation, or end the next batch of what was confirmed.

        None when it is finished: the list is shown again. The login session of this request
        is never among them.
        """
        own = session_state.current_sid(request)

        def others(rows: Any) -> Any:
            rows = self.revocable(request, rows.active())
            return rows.exclude(sid=own) if own else rows

        rows, tokens = others(scope.rows), scope.tokens
        if tokens is not None:
            tokens = self.revocable(request, tokens)
        window = None if scope.window is None else others(scope.window)
        scope = replace(scope, rows=rows, window=window, tokens=tokens)
        if request.POST.get("post"):
            return self._continue(request, scope, own)
        is_certain = scope.ends_unfinished or window is not None
        if is_certain or rows.exists() or (tokens is not None and tokens.exists()):
            return self._ask(request, scope)
        self._report(request, 0)
        return None

    def _continue(self, request: HttpRequest, scope: Scope, own: str | None) -> HttpResponse | None:
        progress = _load(request)
        if progress is None:
            raise BadRequest
        if not progress.last_pk and scope.begin:
            scope.begin()
        rows = scope.rows.filter(created_at__lte=progress.started_at)
        batch = list(
            rows.filter(pk__gt=progress.last_pk)
            .order_by("pk")
            .values_list("pk", "user", "acting_user")[:BATCH]
        )
        chosen = Q(pk__in=[pk for pk, _user, _acting_user in batch])
        ends: Any = LoginSession.objects.filter(chosen)
        if scope.whole_users:
            users = {user for _pk, user, acting_user in batch if acting_user is None}
            ends = self.get_queryset(request).filter(chosen | Q(user__in=users))
            if own:
                ends = ends.exclude(sid=own)
            ending.cancel_unfinished(*users)
        event = _event(request, scope, progress)
        count = registry.revoke_all(ends, by=request.user, event=event) if batch else 0
        if scope.tokens is not None and scope.blacklist:
            count += scope.blacklist(scope.tokens[:BATCH])
        progress = replace(
            progress,
            done=progress.done + count,
            last_pk=batch[-1][0] if batch else progress.last_pk,
            event=event.pk if event else None,
        )
        if progress.done or scope.ends_unfinished:
            progress = replace(progress, log=_log(request, scope, progress))
        more = len(batch) == BATCH and rows.filter(pk__gt=progress.last_pk).exists()
        if more or (scope.tokens is not None and scope.tokens.exists()):
            return self._ask(request, scope, progress=progress)
        self._report(request, progress.done, ends_unfinished=scope.ends_unfinished)
        return None

    def _ask(
        self,
        request: HttpRequest,
        scope: Scope,
        *,
        row: LoginSession | None = None,
        is_own: bool = False,
        progress: Progress | None = None,
    ) -> HttpResponse:
        # The confirmation posts again what was posted here. With "select across" these are
        # the keys of one page and the choice, not every key of the table.
        hidden = [(name, value) for name in CARRIED for value in request.POST.getlist(name)]
        context: dict[str, Any] = {"row": row, "scope": scope, "is_own": is_own}
        if progress is None:
            count, users, listed = _extent(scope)
            extent = _describe(min(count, COUNTED), users)
            if scope.window is not None:
                count = COUNTED + 1
                context["searched"] = WINDOW
            if count > COUNTED:
                extent = gettext("At least %(extent)s") % {"extent": extent}
            progress = Progress(timezone.now().isoformat(), total=count)
            context |= {
                "extent": extent,
                "count": count,
                "listed": listed,
                "unlisted": count > len(listed),
                "show_address": self.has_address_permission(request),
            }
        else:
            context["progress"] = progress
            context["is_counted"] = progress.total is not None and progress.total <= COUNTED
        state = signing.dumps(list(vars(progress).values()), salt=_salt(request), compress=True)
        context["hidden"] = [*hidden, ("post", "yes"), (PROGRESS, state)]
        title = gettext("Revoke login session") if row else gettext("Revoke login sessions")
        return self.render(request, "revoke_confirmation", title, context)

    def _report(self, request: HttpRequest, count: int, *, ends_unfinished: bool = False) -> None:
        if not count and ends_unfinished:
            pending = gettext("No login session was active. Unfinished sign-ins were ended.")
            self.message_user(request, pending, messages.SUCCESS)
            return
        if not count:
            nothing = gettext("Nothing was revoked: no login session among these is active.")
            self.message_user(request, nothing, messages.WARNING)
            return
        done = ngettext(
            "%(count)s login session was revoked.", "%(count)s login sessions were revoked.", count
        )
        self.message_user(request, done % {"count": localize(count)}, messages.SUCCESS)


def _is_super(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


def _salt(request: HttpRequest) -> str:
    """Name the administrator and the revocation: its count belongs to one event and one entry."""
    asked = [request.POST.getlist(name) for name in CARRIED]
    return f"authmodes.admin.revocation {request.user.pk} {request.get_full_path()} {asked}"


def _load(request: HttpRequest) -> Progress | None:
    """Return what the page was sent, if it is ours and of this revocation; else None."""
    state = request.POST.get(PROGRESS)
    if state is None:
        return Progress(timezone.now().isoformat())
    try:
        return Progress(*signing.loads(state, salt=_salt(request)))
    except signing.BadSignature:
        return None


def _log(request: HttpRequest, scope: Scope, progress: Progress) -> int:
    """Keep one entry in the admin's log for a revocation, whatever the number of its batches."""
    message = ngettext(
        "Revoked %(count)s login session.", "Revoked %(count)s login sessions.", progress.done
    ) % {"count": localize(progress.done)}
    if progress.log is not None:
        LogEntry.objects.filter(pk=progress.log).update(change_message=message)
        return progress.log
    actor: Any = request.user
    about = scope.about
    entry = LogEntry.objects.create(
        user_id=actor.pk,
        content_type=ContentType.objects.get_for_model(about or LoginSession),
        object_id=about.pk if about else None,
        object_repr=scope.name[:200],
        action_flag=CHANGE,
        change_message=message,
    )
    return int(entry.pk)


def _event(request: HttpRequest, scope: Scope, progress: Progress) -> LoginEvent | None:
    """Return the one event of a revocation; None if each login session has its own."""
    if not scope.filter:
        return None
    event = LoginEvent.objects.filter(pk=progress.event).first() if progress.event else None
    if event is None:
        event = events.new_bulk(scope.filter[:FILTER_LENGTH], by=request.user)
        event.user = scope.about
    return event


def _extent(scope: Scope) -> tuple[int, int, list[Any]]:
    """How many rows and users there are, COUNTED and one more at most, and the newest rows."""
    total, users = 0, 0
    listed: list[Any] = []
    newest = scope.rows.order_by("-created_at", "-pk")
    for rows in (newest if scope.window is None else scope.window, scope.tokens):
        if rows is None:
            continue
        found = rows.order_by()[: COUNTED + 1].aggregate(
            rows=Count("pk"), users=Count("user", distinct=True)
        )
        total, users = total + found["rows"], users + found["users"]
        listed += rows.select_related("user")[:LISTED]
    return total, users, listed[:LISTED]


def _describe(count: int, users: int) -> str:
    logins = ngettext("%(count)s login session", "%(count)s login sessions", count)
    owners = ngettext("%(users)s user", "%(users)s users", users)
    return gettext("%(logins)s of %(owners)s") % {
        "logins": logins % {"count": localize(count)},
        "owners": owners % {"users": localize(users)},
    }

"""The audit trail in the admin: a list with filters, a page for each event, and a CSV export."""

import csv
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..exceptions import refusal_codes
from ..models import EndReason, LoginEvent, LoginSession
from ..signin import providers
from .base import Column, with_detail
from .filters import ProviderFilter, UserFilter, ValueFilter
from .revocation import RevokingAdmin
from .timeline import reason_label, signed_in_with

CSV_FIELDS = (
    *("created_at", "kind", "code", "count", "user_id", "user", "username", "ip_address", "sid"),
    *("mode", "method", "provider", "actor_id", "actor", "actor_sid", "filter"),
)
# How many rows of an export are in memory at a time.
CSV_BATCH = 1000
# A spreadsheet takes a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CodeFilter(ValueFilter):
    """Why a login ended or was refused; `?code=` finds a code that is not offered as well."""

    title = _("reason")
    parameter_name = "code"

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        return {**{code: code for code in refusal_codes()}, **dict(EndReason.choices)}


class EventUserFilter(UserFilter):
    """The events of one user, who may have been deleted."""

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        asked = self.value()
        return queryset if asked is None else queryset.filter(user=asked)


class LoginEventAdmin(RevokingAdmin):
    """Every login event. Nothing is edited, and nothing is ended from here."""

    page_title = _("Login events")
    # The themes differ in what they put object tools into, so the link is below the search.
    change_list_template = "authmodes/admin/login_event_list.html"
    ordering = ("-created_at", "-id")
    actions = None
    list_filter = (
        *("kind", CodeFilter, "mode", ProviderFilter),
        ("created_at", admin.DateFieldListFilter),
        EventUserFilter,
    )
    query_lookups = frozenset({"kind__exact", "mode__exact", "created_at__gte", "created_at__lt"})
    list_display_links = ("created_at",)
    search_help_text = _("Name or e-mail address of the user, an IP address, or a sid.")

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Not `select_related`: beside a filter by the user it would hide those of deleted users.
        theirs = LoginSession.objects.filter(sid=OuterRef("sid")).values("pk")[:1]
        rows = super().get_queryset(request).prefetch_related("user", "actor")
        return rows.annotate(login_session_id=Subquery(theirs))

    def search_for(self, request: HttpRequest, word: str) -> Q:
        return self.search_by_names(request, word)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Columns of two lines, which fit beside the sidebar and the filters."""
        user, names = self._user_column(request, "user"), providers.names(request)
        if self.has_address_permission(request):
            user = with_detail(user, _address)

        def how(row: LoginEvent) -> str:
            texts = (row.get_mode_display(), signed_in_with(row, names))
            return " · ".join(filter(None, texts))

        login_session = with_detail(self._login_session_column(request), how)
        columns = ["created_at", with_detail(kind, _reason_and_extent), user, login_session]
        return [*columns, self._user_column(request, "actor")]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        address = ["ip_address"] if self.has_address_permission(request) else []
        fields = [
            *("created_at", "kind", "reason", self._user_column(request, "user"), *address),
            *("mode", self._way_field(request), self._login_session_column(request), "sid"),
            *(self._user_column(request, "actor"), "actor_sid", "filter", "count"),
        ]
        return [(None, {"fields": fields})]

    @admin.display(description=_("reason"))
    def reason(self, row: LoginEvent) -> str:
        return reason_label(row.code) or self.get_empty_value_display()

    def _way_field(self, request: HttpRequest) -> Column:
        names = providers.names(request)

        @admin.display(description=_("signed in with"))
        def way(row: LoginEvent) -> str:
            return signed_in_with(row, names) or self.get_empty_value_display()

        return way

    def _user_column(self, request: HttpRequest, name: str) -> Column:
        field: Any = self.opts.get_field(name)
        link = self.link_column(request, name, field.verbose_name, lambda row: getattr(row, name))

        def column(row: LoginEvent) -> Any:
            user_id = getattr(row, f"{name}_id")
            if user_id is None or getattr(row, name) is not None:
                return link(row)
            known = (row.username if name == "user" else "") or user_id
            return gettext("%(user)s (deleted)") % {"user": known}

        column.__name__ = name
        return admin.display(description=field.verbose_name)(column)

    def _login_session_column(self, request: HttpRequest) -> Column:
        may_open = self.may_open(request, LoginSession)

        @admin.display(description=_("login session"))
        def login_session(row: Any) -> str:
            if row.sid is None:
                return self.get_empty_value_display()
            text = str(row.sid)[:8]
            if row.login_session_id is None or not may_open:
                return text
            name, site = "admin:authmodes_loginsession_change", self.admin_site.name
            url = reverse(name, args=[row.login_session_id], current_app=site)
            return format_html('<a href="{}">{}</a>', url, text)

        return login_session

    # -- the export

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name="authmodes_loginevent_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Send what the filters match as CSV, in batches that hold no transaction open."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.refuse_nul(request)
        try:
            found = self.get_changelist_instance(request).get_queryset(request)
        except (IncorrectLookupParameters, ValidationError, ValueError):
            found = LoginEvent.objects.none()
        fields = [
            name
            for name in CSV_FIELDS
            if name != "ip_address" or self.has_address_permission(request)
        ]
        response = StreamingHttpResponse(
            _csv_lines(found.order_by(*self.ordering), fields), content_type="text/csv"
        )
        name = timezone.localtime().strftime("login-events-%Y-%m-%d.csv")
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


@admin.display(description=_("kind"))
def kind(row: LoginEvent) -> str:
    return row.get_kind_display()


def _reason_and_extent(row: LoginEvent) -> str:
    number = f"\N{MULTIPLICATION SIGN} {localize(row.count)}" if row.count != 1 else ""
    return " ".join(filter(None, (reason_label(row.code), number, row.filter)))


def _address(row: LoginEvent) -> SafeString:
    return format_html('<bdi dir="ltr">{}</bdi>', row.ip_address or "")


def _csv_lines(events: QuerySet[Any], fields: list[str]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    yield writer.writerow(fields)
    for event in _in_batches(events):
        yield writer.writerow([_cell(getattr(event, name)) for name in fields])


def _in_batches(events: QuerySet[Any]) -> Iterator[Any]:
    after = Q()
    while batch := list(events.filter(after)[:CSV_BATCH]):
        yield from batch
        last = batch[-1]
        same = Q(created_at=last.created_at, pk__lt=last.pk)
        after = Q(created_at__lte=last.created_at) & (Q(created_at__lt=last.created_at) | same)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line

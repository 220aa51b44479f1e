"""The list of login sessions, the page of each, and the actions that end them."""

import re
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..models import LoginSession
from ..request_client import parse_ip
from .base import Column, status_badge
from .filters import ProviderFilter, StatusFilter, UserFilter
from .revocation import RevokingAdmin, revoke_providers, revoke_rows, revoke_users

SECRETS = ("session_key", "auth_hash", "previous_jti")
# An IPv4 or IPv6 address, or its beginning.
ADDRESS = re.compile(r"[0-9]{1,3}\.[0-9.]*|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]*")


class LoginSessionAdmin(RevokingAdmin):
    """Every login session, active or ended."""

    page_title = _("Login sessions")
    ordering = ("-created_at", "-id")
    sortable_by = ("created_at",)
    row_pages = ("revoke",)
    list_filter = (
        StatusFilter,
        "mode",
        ProviderFilter,
        ("created_at", admin.DateFieldListFilter),
        UserFilter,
    )
    query_lookups = frozenset({"mode__exact", "created_at__gte", "created_at__lt"})
    list_display_links = ("client",)
    search_help_text = _(
        "Name or e-mail address of the user, or the IP address of the sign-in or its beginning."
    )
    actions = ("revoke_selected", "revoke_all_of_users", "revoke_all_of_provider")

    # -- permissions

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # The permission to delete a user includes the rows that go with the user; Django asks
        # us about each. On our own pages nothing is deleted.
        match = request.resolver_match
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        return obj is not None and match is not None and not (match.url_name or "").startswith(own)

    # -- the list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("user", "acting_user").defer(*SECRETS)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        # On a small screen the last columns may be out of sight, so the first ones are those
        # that an administrator decides by.
        revoke = [self._revoke_column(request)] if self.has_revoke_permission(request) else []
        return [
            self.user_column(request, of=lambda row: row.user),
            "client",
            "status",
            *revoke,
            "mode",
            "signed_in_with",
            "ip_address",
            "created_at",
            "last_seen_at",
        ]

    def search_for(self, word: str) -> Q:
        if not ADDRESS.fullmatch(word):
            return super().search_for(word)
        begins = Q(ip_address__startswith=word.lower())
        try:
            exact = Q(ip_address=str(parse_ip(word)))
        except ValueError:
            return begins
        # "2001:db8::" is both an address and the beginning of others.
        return exact | begins if word.endswith("::") else exact

    @admin.display(description=_("client"))
    def client(self, row: LoginSession) -> str:
        return row.client_label

    @admin.display(description=_("signed in with"))
    def signed_in_with(self, row: LoginSession) -> str | None:
        way = row.provider or row.method
        if row.acting_user is None:
            return way or None
        # "by root (password)": how the acting user signed in.
        by = gettext("by %(user)s") % {"user": row.acting_user}
        return f"{by} ({way})" if way else by

    @admin.display(description=_("status"))
    def status(self, row: LoginSession) -> SafeString:
        ended = _("Ended") if row.ended_at else ""
        return status_badge(row.is_active, ended, row.get_end_reason_display())

    def _revoke_column(self, request: HttpRequest) -> Column:
        @admin.display(description=_("revoke"))
        def revoke(row: LoginSession) -> str:
            if not row.is_active:
                return ""
            return format_html(
                '<a href="{}" aria-label="{}">{}</a>',
                self.keep_filters(request, self.page_url("revoke", row)),
                gettext("Revoke %(login_session)s of %(user)s")
                % {"login_session": row, "user": row.user},
                _("Revoke"),
            )

        return revoke

    # -- the page of a login session

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        user = self.user_column(request, of=lambda row: row.user)
        actor = self.actor_column(request, of=lambda row: row.ended_by)
        return [
            (None, {"fields": [user, "status", "mode", "client", "sid"]}),
            (
                _("Sign-in"),
                {"fields": ["method", "provider", "provider_uid", "amr", "acting_user"]},
            ),
            (_("Client"), {"fields": ["client_id", "ip_address", "last_ip_address", "user_agent"]}),
            (_("Time"), {"fields": ["created_at", "last_seen_at", "rotated_at", "expires_at"]}),
            (_("End"), {"fields": ["ended_at", "end_reason", actor]}),
        ]

    # -- revoking

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation by GET; revoke by POST."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        row = self.get_row(request, object_id)
        only_this = LoginSession.objects.active().filter(pk=row.pk)
        response = self.confirm(
            request,
            gettext("Do you want to revoke this login session?"),
            (only_this,),
            lambda: revoke_rows(request, only_this),
            row,
        )
        return response or HttpResponseRedirect(self.list_url(request))

    @admin.action(description=_("Revoke selected login sessions"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return self.confirm(
            request,
            gettext("Do you want to revoke the selected login sessions?"),
            (queryset.active(),),
            lambda: revoke_rows(request, queryset),
        )

    @admin.action(
        description=_("Revoke all login sessions of the selected users"), permissions=["revoke"]
    )
    def revoke_all_of_users(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        # Read before anything is ended, which may change what the list is filtered by.
        user_ids = list(queryset.order_by().values_list("user", flat=True).distinct())
        theirs = queryset.order_by().values("user")
        return self.confirm(
            request,
            gettext("Do you want to revoke all login sessions of the selected users?"),
            (LoginSession.objects.active().filter(user__in=theirs),),
            lambda: revoke_users(request, user_ids),
        )

    @admin.action(
        description=_("Revoke all login sessions of the selected providers"), permissions=["revoke"]
    )
    def revoke_all_of_provider(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        chosen = queryset.exclude(provider="").order_by().values_list("provider", flat=True)
        providers = sorted(set(chosen.distinct()))
        return self.confirm(
            request,
            gettext("Do you want to revoke all login sessions made through %(providers)s?")
            % {"providers": ", ".join(providers)},
            (LoginSession.objects.active().filter(provider__in=providers),),
            lambda: revoke_providers(request, providers),
        )

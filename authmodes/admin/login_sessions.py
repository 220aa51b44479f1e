"""The list of login sessions, the page of each, and the actions that end them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _

from ..models import LoginEvent, LoginSession
from ..registry import ending
from ..signin import providers
from . import filters
from .base import Column, badge, relative_time, status_badge
from .overview import overview_context
from .revocation import RevokingAdmin, Scope
from .timeline import signed_in_with, timeline_of
from .user_panel import add_user_panel

SECRETS = ("session_key", "auth_hash", "current_jti", "previous_jti")
# How many other login sessions of the user the page of one lists.
OTHERS = 10


class LoginSessionAdmin(RevokingAdmin):
    """Every login session, active or ended."""

    page_title = _("Login sessions")
    change_list_template = "authmodes/admin/login_session_list.html"
    ordering = ("-created_at", "-id")
    sortable_by = ("signed_in",)
    row_pages = ("revoke",)
    list_filter = (
        filters.StatusFilter,
        filters.ReasonFilter,
        "mode",
        filters.ProviderFilter,
        ("created_at", admin.DateFieldListFilter),
        filters.ClientFilter,
        filters.UserFilter,
    )
    query_lookups = frozenset({"mode__exact", "created_at__gte", "created_at__lt"})
    search_help_text = _(
        "Name or e-mail address of the user or IP address of the sign-in, or the beginning of"
        " either, or a whole sid."
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
        rows: Any = super().get_queryset(request)
        return rows.with_is_idle().select_related("user", "acting_user").defer(*SECRETS)

    def order_for(self, request: HttpRequest, ordering: list[str]) -> list[str]:
        # The end of a login is as far from its sign-in as that of any other, so either is the
        # same order. This one is indexed for those that have not ended.
        if request.GET.get(filters.StatusFilter.parameter_name) in filters.OPEN:
            return [name.replace("created_at", "expires_at") for name in ordering]
        return ordering

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        revoke = [self._revoke_column(request)] if self.has_revoke_permission(request) else []
        return [
            self.user_column(request),
            self._client_column(request),
            "status",
            self._provider_column(request),
            "signed_in",
            "last_seen",
            *revoke,
        ]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> list[Any]:
        # The client, because the user has a page of their own.
        return [list_display[1]]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"overview_url": self.page_url("overview")}
        if self.has_revoke_permission(request):
            kept = request.GET.copy()
            kept.pop(PAGE_VAR, None)
            url = self.page_url("revoke_matching")
            context["revoke_matching_url"] = f"{url}?{kept.urlencode()}" if kept else url
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def search_for(self, request: HttpRequest, word: str) -> Q:
        return self.search_by_names(request, word)

    @admin.display(description=_("status"))
    def status(self, row: LoginSession) -> SafeString:
        if row.is_active and row.is_idle:
            status = badge("idle", _("Idle"))
        else:
            status = status_badge(row.is_active, row.ended_at and _("Ended"))
        mode = badge("mode", row.get_mode_display())
        if not row.end_reason:
            return format_html("{} {}", status, mode)
        html = '{} {}<div class="authmodes-detail">{}</div>'
        return format_html(html, status, mode, row.get_end_reason_display())

    @admin.display(description=_("signed in"), ordering="created_at")
    def signed_in(self, row: LoginSession) -> str:
        return relative_time(row.created_at)

    @admin.display(description=_("last seen"))
    def last_seen(self, row: LoginSession) -> str:
        return relative_time(row.last_seen_at)

    def _client_column(self, request: HttpRequest) -> Column:
        show_address = self.has_address_permission(request)

        @admin.display(description=_("client"))
        def client(row: LoginSession) -> SafeString:
            address = (row.last_ip_address or row.ip_address) if show_address else None
            html = '{}<span class="authmodes-detail"><bdi dir="ltr">{}</bdi></span>'
            return format_html(html, row.client_label, address or "")

        return client

    def _provider_column(self, request: HttpRequest) -> Column:
        names = providers.names(request)

        @admin.display(description=_("provider"))
        def provider(row: LoginSession) -> str | None:
            return signed_in_with(row, names) or None

        return provider

    def _revoke_column(self, request: HttpRequest) -> Column:
        @admin.display(description=_("revoke"))
        def revoke(row: LoginSession) -> str:
            if not row.is_active or not self.has_revoke_permission(request, row):
                return ""
            return format_html(
                '<a class="authmodes-revoke" href="{}" aria-label="{}">{}</a>',
                self.keep_filters(request, self.page_url("revoke", row)),
                gettext("Revoke %(login_session)s of %(user)s")
                % {"login_session": row, "user": row.user},
                _("Revoke"),
            )

        return revoke

    # -- the page of a login session

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a login session. There is no form, because nothing of it can be edited."""
        row = self.get_row(request, object_id)
        names = providers.names(request)
        show_address = self.has_address_permission(request)
        user = self.user_column(request)
        may_revoke = row.is_active and self.has_revoke_permission(request, row)
        revoke_url = self.keep_filters(request, self.page_url("revoke", row))
        context = {
            "original": row,
            "status": self.status(row),
            "facts": self._facts(row, user(row), names, show_address),
            "timeline": timeline_of(row, names),
            "history_url": self.page_url("history", row),
            "revoke_url": revoke_url if may_revoke else None,
            **self.sessions_context(request, row.user, OTHERS, other_than=row),
        }
        return self.render(request, "login_session", str(row), context)

    def sessions_context(
        self, request: HttpRequest, user: Any, number: int, other_than: LoginSession | None = None
    ) -> dict[str, Any]:
        """Describe the newest login sessions of a user: the active ones, or others than one."""
        rows: Any = self.get_queryset(request).filter(user=user.pk)
        rows = rows.active() if other_than is None else rows.exclude(pk=other_than.pk)
        asked = "?" + urlencode({filters.UserFilter.parameter_name: user.pk})
        everywhere = self.page_url("revoke_matching") + asked
        return {
            "show_address": self.has_address_permission(request),
            "user_url": self.page_url("changelist") + asked,
            "everywhere_url": everywhere if self.may_revoke_for(request, user) else None,
            "others": [
                {
                    "row": each,
                    "url": self.page_url("change", each),
                    "status": self.status(each),
                    "signed_in": relative_time(each.created_at),
                    "last_seen": relative_time(each.last_seen_at),
                }
                for each in rows.order_by(*self.ordering)[:number]
            ],
        }

    def _facts(
        self, row: LoginSession, user: Any, names: dict[str, str], show_address: bool
    ) -> list[tuple[Any, Any]]:
        facts: list[tuple[Any, Any]] = [
            (_("User"), user),
            (_("Client"), row.client_label),
            (_("Name"), row.name),
            (_("App"), row.client_id),
            (_("User agent"), row.user_agent),
            (_("Signed in with"), signed_in_with(row, names)),
            (_("Acting user"), row.acting_user),
            (_("Account at the provider"), row.provider_uid),
            (_("Authentication methods"), row.amr),
        ]
        if show_address:
            facts += [
                (_("IP address of the sign-in"), row.ip_address),
                (_("Last IP address"), row.last_ip_address),
            ]
        facts += [
            (_("Last seen"), relative_time(row.last_seen_at)),
            (_("Ends at the latest"), row.expires_at),
            ("sid", row.sid),
        ]
        return [(name, value) for name, value in facts if value]

    # -- revoking

    def get_urls(self) -> list[URLPattern]:
        # By now, every app has registered its pages.
        add_user_panel(self.admin_site)
        name, view = f"{self.opts.app_label}_{self.opts.model_name}", self.admin_site.admin_view
        return [
            path("revoke/", view(self.revoke_matching_view), name=f"{name}_revoke_matching"),
            path("overview/", view(self.overview_view), name=f"{name}_overview"),
            *super().get_urls(),
        ]

    def overview_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        events: Any = None
        if self.may_open(request, LoginEvent):
            events = self.admin_site.get_model_admin(LoginEvent).get_queryset(request)
        context = overview_context(providers.names(request), events)
        return self.render(request, "overview", gettext("Overview"), context)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation by GET; revoke by POST."""
        row = self.get_row(request, object_id)
        if not self.has_revoke_permission(request, row):
            raise PermissionDenied
        scope = Scope(
            rows=LoginSession.objects.active().filter(pk=row.pk),
            question=gettext("Do you want to revoke this login session?"),
            name=str(row),
            filter="",
        )
        return self.revoke_one(request, scope, row)

    def revoke_matching_view(self, request: HttpRequest) -> HttpResponse:
        """Ask about everything that the filters of the list match; revoke it by POST."""
        if not self.has_view_permission(request) or not self.has_revoke_permission(request):
            raise PermissionDenied
        self.refuse_nul(request)
        try:
            changelist: Any = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(self.page_url("changelist"))
        asked, searched = changelist.get_filters_params(), changelist.query.strip()
        specs = [each for each in changelist.filter_specs if isinstance(each, filters.UserFilter)]
        user = specs[0].user if specs and len(asked) == 1 else None
        scope = Scope(
            rows=changelist.queryset,
            question=gettext("Do you want to revoke every active login session of the site?"),
            name=gettext("All login sessions"),
            filter="all",
        )
        if user and not searched:
            scope = self._everywhere(request, user)
        elif asked or searched:
            words = filters.in_words(changelist)
            search = [(pgettext("noun", "Search"), searched)] if searched else []
            # Neither the event nor the admin's log must have what was typed.
            typed = [(title, "…") for title, _text in search]
            recorded = " · ".join(f"{title}: {text}" for title, text in [*words, *typed])
            parameters = [(name, value) for name, values in asked.items() for value in values]
            parameters += [(SEARCH_VAR, "…")] if searched else []
            scope = Scope(
                rows=changelist.queryset,
                window=changelist.window(request),
                question=gettext(
                    "Do you want to revoke every active login session that matches"
                    " the filters and the search of the list?"
                ),
                words=[*words, *search],
                name=gettext("All that match %(filters)s") % {"filters": recorded},
                filter="&".join(f"{name}={value}" for name, value in parameters),
            )
        return self.revoke_many(request, scope) or HttpResponseRedirect(
            f"{self.page_url('changelist')}?{request.GET.urlencode()}"
        )

    def _everywhere(self, request: HttpRequest, user: Any) -> Scope:
        return Scope(
            rows=self.get_queryset(request).filter(of_users([user.pk])),
            question=gettext("Do you want to sign %(user)s out everywhere?") % {"user": user},
            name=str(user),
            filter=f"user={user.pk}",
            about=user,
            whole_users=True,
            begin=self.ending_unfinished(request, user),
        )

    @admin.action(description=_("Revoke selected login sessions"), permissions=["revoke"])
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        pks = request.POST.getlist(admin.helpers.ACTION_CHECKBOX_NAME)
        only = queryset.first() if len(pks) == 1 and not _is_across(request) else None
        scope = Scope(
            rows=queryset,
            question=gettext("Do you want to revoke the selected login sessions?"),
            name=str(only) if only else gettext("The selected login sessions"),
            filter="" if only else "selected",
            about=only,
        )
        return self.revoke_many(request, scope)

    @admin.action(
        description=_("Revoke all login sessions of the selected users"), permissions=["revoke"]
    )
    def revoke_all_of_users(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        users: list[Any] = []
        if not _is_across(request):
            users = sorted({row.user for row in queryset}, key=str)
        theirs = queryset.order_by().values("user")
        scope = Scope(
            rows=self.get_queryset(request).filter(of_users(users or theirs)),
            question=gettext("Do you want to revoke all login sessions of the selected users?"),
            name=gettext("All of the users %(users)s") % {"users": ", ".join(map(str, users))}
            if users
            else gettext("All of the users in the list"),
            filter=f"user={','.join(str(each.pk) for each in users) or 'selected'}",
            about=users[0] if len(users) == 1 else None,
            whole_users=True,
            begin=self.ending_unfinished(request, *users),
        )
        return self.revoke_many(request, scope)

    @admin.action(
        description=_("Revoke all login sessions of the selected providers"), permissions=["revoke"]
    )
    def revoke_all_of_provider(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        # Those of the rows on the page that was posted, whatever has ended since.
        pks = request.POST.getlist(admin.helpers.ACTION_CHECKBOX_NAME)
        chosen = self.get_queryset(request).filter(pk__in=pks).order_by()
        ids = sorted(set(chosen.values_list("provider", flat=True)) - {""})
        names = providers.names(request)
        named = ", ".join(names.get(each, each) for each in ids)
        scope = Scope(
            rows=self.get_queryset(request).filter(provider__in=ids),
            question=gettext("Do you want to revoke all login sessions made through %(providers)s?")
            % {"providers": named},
            name=gettext("All of provider %(provider)s") % {"provider": named},
            filter=f"provider={','.join(ids)}",
            begin=lambda: ending.cancel_authorization_codes(
                spare=self.spared(request), provider__in=ids
            ),
        )
        return self.revoke_many(request, scope)


def of_users(pks: Any) -> Q:
    """The logins of users, and those in which they act in another user's name."""
    return Q(user__in=pks) | Q(acting_user__in=pks)


def _is_across(request: HttpRequest) -> bool:
    return request.POST.get("select_across") == "1"

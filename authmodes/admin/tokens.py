"""The lists of refresh tokens that replace simplejwt's: no token text, and a revoke action.

A token has no page of its own; the page of its login session shows everything. Nothing here
calls `str()` on an outstanding token, because the result is its `jti`.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms import CheckboxInput
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from .. import policy
from ..models import LoginSession
from . import search
from .base import Column, relative_time, status_badge
from .filters import TokenUserFilter, UserFilter
from .revocation import RevokingAdmin, Scope


class TokenAdmin(RevokingAdmin):
    """What both lists share; `token_of` finds the refresh token of a row."""

    ordering = ("-id",)
    list_display_links = None

    def token_of(self, row: Any) -> OutstandingToken:
        raise NotImplementedError

    def get_search_fields(self, request: HttpRequest) -> Any:
        # Autocomplete shows the `str()` of a row, and simplejwt's has the `jti`. Without fields,
        # it answers 404.
        match = request.resolver_match
        is_autocomplete = match is not None and match.url_name == "autocomplete"
        return () if is_autocomplete else super().get_search_fields(request)

    def login_session_of(self, row: Any) -> LoginSession | None:
        """None for a token that simplejwt issued without authmodes."""
        return getattr(self.token_of(row), "login_session", None)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            # The admin's log links here.
            path("<path:object_id>/change/", view(self.open_view), name=f"{name}_change"),
        ]

    def open_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the page of the token's login session."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        login_session = row and self.login_session_of(row)
        if login_session is None or not self.may_open(request, LoginSession):
            return HttpResponseRedirect(self.list_url(request))
        return HttpResponseRedirect(self.page_url("change", login_session))

    def own_columns(self, request: HttpRequest) -> list[Column | str]:
        """The columns that both lists begin with."""
        login_session = self.link_column(
            *(request, "login_session", _("login session"), self.login_session_of),
            text=lambda row: str(row.sid)[:8],
        )
        user = self.user_column(request, of=lambda row: self.token_of(row).user)
        return [user, login_session, "client"]

    @admin.display(description=_("client"))
    def client(self, row: Any) -> str | None:
        login_session = self.login_session_of(row)
        return login_session.client_label if login_session else None


class OutstandingTokenAdmin(TokenAdmin):
    """Refresh tokens: one for each login session of the mode "jwt"."""

    page_title = _("Refresh tokens")
    list_filter = (UserFilter,)
    actions = ("revoke_selected",)

    def token_of(self, row: OutstandingToken) -> OutstandingToken:
        return row

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).defer("token", "jti")
        return rows.select_related("user", "login_session", "blacklistedtoken")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*self.own_columns(request), "status", "issued_at", "expires_at"]

    @admin.display(description=_("issued at"))
    def issued_at(self, row: OutstandingToken) -> str:
        login_session = self.login_session_of(row)
        return relative_time(login_session.refreshed_at if login_session else row.created_at)

    @admin.display(description=_("status"))
    def status(self, row: OutstandingToken) -> SafeString:
        ended = _("Blacklisted") if hasattr(row, "blacklistedtoken") else ""
        return status_badge(not policy.is_over(row.expires_at, timezone.now()), ended)

    def action_checkbox(self, obj: OutstandingToken) -> SafeString:
        label = gettext("Select the refresh token of %(user)s") % {"user": obj.user}
        checkbox = CheckboxInput({"class": "action-select", "aria-label": label}, lambda _: False)
        return checkbox.render(admin.helpers.ACTION_CHECKBOX_NAME, str(obj.pk))

    @admin.action(
        description=_("Revoke the login sessions of the selected refresh tokens"),
        permissions=["revoke"],
    )
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        scope = Scope(
            rows=LoginSession.objects.filter(refresh_token__in=queryset.order_by().values("pk")),
            question=gettext(
                "Do you want to revoke the login sessions of the selected refresh tokens?"
            ),
            name=gettext("The login sessions of the selected refresh tokens"),
            filter="selected",
            # Tokens that simplejwt issued without authmodes.
            tokens=queryset.filter(
                login_session=None, blacklistedtoken=None, expires_at__gt=timezone.now()
            ),
            blacklist=_blacklist,
        )
        return self.revoke_many(request, scope)


def _blacklist(tokens: QuerySet[Any]) -> int:
    """Blacklist tokens without a login session; return how many were not blacklisted before."""
    entries = (BlacklistedToken.objects.get_or_create(token=token) for token in tokens)
    return sum(created for _entry, created in entries)


class BlacklistedTokenAdmin(TokenAdmin):
    """Blacklisted refresh tokens. Entries stay, because an ended login stays ended."""

    page_title = _("Blacklisted refresh tokens")
    list_filter = (TokenUserFilter,)
    actions = None

    def token_of(self, row: BlacklistedToken) -> OutstandingToken:
        return row.token

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).defer("token__token", "token__jti")
        return rows.select_related("token__user", "token__login_session__ended_by")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        ended_by = self.link_column(request, "ended_by", _("ended by"), of=self._ended_by)
        return [*self.own_columns(request), "blacklisted_at", "reason", ended_by]

    def search_for(self, request: HttpRequest, word: str) -> Q:
        return search.by_user(word, "token__user")

    @admin.display(description=_("reason"))
    def reason(self, row: BlacklistedToken) -> str | None:
        login_session = self.login_session_of(row)
        return login_session.get_end_reason_display() if login_session else None

    def _ended_by(self, row: BlacklistedToken) -> Any:
        login_session = self.login_session_of(row)
        return login_session and login_session.ended_by

"""simplejwt's two pages, without token text and with a way to end what a token belongs to.

A token has no page of its own: all there is to know is on its login session's. Nothing here
calls `str()` on an outstanding token, because that is its `jti`.
"""

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms import CheckboxInput
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from .. import policy
from ..models import LoginSession
from .base import badge
from .revocation import LOGGED, Revocation, RevokingAdmin, end, log_unnamed


def _login_session(token: OutstandingToken) -> LoginSession | None:
    """The login session of a token; None for one that simplejwt made without authmodes."""
    return getattr(token, "login_session", None)


class TokenAdmin(RevokingAdmin):
    """What both lists share."""

    ordering = ("-id",)
    list_display_links = None

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=f"{name}_changelist"),
            # The admin's log links here.
            path("<path:object_id>/change/", view(self.open_view), name=f"{name}_change"),
        ]

    def open_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go to the token's login session."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        login_session = row and _login_session(self.token_of(row))
        if not login_session:
            return HttpResponseRedirect(self.list_url(request))
        name = "admin:authmodes_loginsession_change"
        return HttpResponseRedirect(
            reverse(name, args=[quote(login_session.pk)], current_app=self.admin_site.name)
        )

    def token_of(self, row: Any) -> OutstandingToken:
        raise NotImplementedError

    @admin.display(description=_("client"))
    def client(self, row: Any) -> str | None:
        login_session = _login_session(self.token_of(row))
        return login_session.client_label if login_session else None


class OutstandingTokenAdmin(TokenAdmin):
    """Refresh tokens: one for each login session of mode "jwt"."""

    page_title = _("Refresh tokens")
    actions = ("revoke_selected",)

    def token_of(self, row: OutstandingToken) -> OutstandingToken:
        return row

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = (
            super()
            .get_queryset(request)
            .select_related("user", "login_session", "blacklistedtoken")
        )
        return rows.defer("token", "jti")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [
            self.user_column(request, of=lambda row: row.user),
            self.login_session_column(request, of=_login_session),
            "client",
            "issued_at",
            "expires_at",
            "status",
        ]

    @admin.display(description=_("issued at"))
    def issued_at(self, row: OutstandingToken) -> Any:
        return row.created_at

    @admin.display(description=_("status"))
    def status(self, row: OutstandingToken) -> SafeString:
        if hasattr(row, "blacklistedtoken"):
            return badge("ended", _("Blacklisted"))
        if policy.is_over(row.expires_at, timezone.now()):
            return badge("expired", _("Expired"))
        return badge("active", _("Active"))

    def action_checkbox(self, obj: OutstandingToken) -> SafeString:
        label = gettext("Select the refresh token of %(user)s") % {"user": obj.user}
        checkbox = CheckboxInput({"class": "action-select", "aria-label": label}, lambda _: False)
        return checkbox.render(admin.helpers.ACTION_CHECKBOX_NAME, str(obj.pk))

    @admin.action(
        description=_("Revoke the login sessions of the selected refresh tokens"),
        permissions=["revoke"],
    )
    def revoke_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        theirs = LoginSession.objects.filter(refresh_token__in=queryset.order_by().values("pk"))
        # From before authmodes, or made past it: only the blacklist can stop those.
        without = queryset.filter(
            login_session=None, blacklistedtoken=None, expires_at__gt=timezone.now()
        )
        revocation = Revocation(
            gettext("Do you want to revoke the login sessions of the selected refresh tokens?"),
            (theirs.active(), without),
            lambda: end(request, theirs) + _blacklist(request, without),
        )
        return self.run_action(request, revocation)


def _blacklist(request: HttpRequest, tokens: QuerySet[Any]) -> int:
    """Blacklist tokens that have no login session; return how many this call did."""
    done = []
    for token in tokens.select_related("user").order_by("pk").iterator():
        _entry, created = BlacklistedToken.objects.get_or_create(token=token)
        if created:
            done.append(gettext("Refresh token of %(user)s") % {"user": token.user})
    log_unnamed(request, OutstandingToken, done[:LOGGED], gettext("Blacklisted."))
    return len(done)


class BlacklistedTokenAdmin(TokenAdmin):
    """Blacklisted refresh tokens. An entry stays: a login session that ended is ended."""

    page_title = _("Blacklisted refresh tokens")
    actions = None

    def token_of(self, row: BlacklistedToken) -> OutstandingToken:
        return row.token

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = (
            super()
            .get_queryset(request)
            .select_related("token__user", "token__login_session__ended_by")
        )
        return rows.defer("token__token", "token__jti")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [
            self.user_column(request, of=lambda row: row.token.user),
            self.login_session_column(request, of=lambda row: _login_session(row.token)),
            "client",
            "blacklisted_at",
            "reason",
            self.actor_column(request, of=self._ended_by),
        ]

    def search_for(self, request: HttpRequest, word: str) -> Q:
        by_user = super().search_for(request, word)
        return Q(token__in=OutstandingToken.objects.filter(by_user).values("pk"))

    @admin.display(description=_("reason"))
    def reason(self, row: BlacklistedToken) -> str | None:
        login_session = _login_session(row.token)
        return login_session.get_end_reason_display() if login_session else None

    def _ended_by(self, row: BlacklistedToken) -> Any:
        login_session = _login_session(row.token)
        return login_session and login_session.ended_by

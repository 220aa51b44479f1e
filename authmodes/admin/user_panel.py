"""The panel on the admin page of a user: the active login sessions, and how to end them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _

from ..models import LoginSession
from .revocation import RevokingAdmin

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = object

LISTED = 10


@dataclass(frozen=True)
class Panel:
    """A read-only field. Equal for one request, because Django compares fields."""

    page: Any
    request: HttpRequest

    __name__ = "login_sessions_panel"
    short_description = _("Active")

    def __call__(self, user: Any) -> str:
        return render_to_string(
            "authmodes/admin/user_panel.html",
            self.page.sessions_context(self.request, user, LISTED),
            self.request,
        )


class LoginSessionsPanelMixin(ModelAdmin):
    """For the admin of any user model: a panel of the user's active login sessions.

    The registered admin of the user model has it without this. Name it, before other classes,
    for an admin of a proxy of the user model.
    """

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["authmodes/admin.css"]})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        panels = self._panels(request, obj)
        return [*fieldsets, (_("Login sessions"), {"fields": panels})] if panels else fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), *self._panels(request, obj)]

    def _panels(self, request: HttpRequest, obj: Any) -> list[Panel]:
        if obj is None or not self.admin_site.is_registered(LoginSession):
            return []
        page = self.admin_site.get_model_admin(LoginSession)
        if not isinstance(page, RevokingAdmin) or not page.has_view_permission(request):
            return []
        return [Panel(page, request)]


def add_user_panel(site: admin.AdminSite) -> None:
    """Add the panel to the admin of the user model that a site has registered."""
    users = get_user_model()
    if not site.is_registered(users):
        return
    page = site.get_model_admin(users)
    if not isinstance(page, LoginSessionsPanelMixin):
        # Not registered anew: the site is building its URLs from what is registered.
        page.__class__ = type(type(page).__name__, (LoginSessionsPanelMixin, type(page)), {})

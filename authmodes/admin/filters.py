"""What the list of login sessions can be filtered by, without reading the table for it."""

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

NO_PROVIDER = "-"


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("active", _("Active")), ("ended", _("Ended")), ("expired", _("Expired"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "active":
                return queryset.active()
            case "ended":
                return queryset.ended()
            case "expired":
                return queryset.expired()
            case _:
                return queryset


class ProviderFilter(admin.SimpleListFilter):
    """The providers that the site has now: asking the table would read all of it.

    One that was removed since is still found by its id in the address, `?provider=id`.
    """

    title = _("provider")
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        known: dict[str, Any] = {}
        if apps.is_installed("allauth.socialaccount"):
            for provider in get_adapter(request).list_providers(request):
                known[provider.sub_id] = provider.name
        asked = self.value()
        if asked and asked != NO_PROVIDER:
            known.setdefault(asked, asked)
        return [*known.items(), (NO_PROVIDER, _("Without a provider"))]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        asked = self.value()
        if asked is None:
            return queryset
        return queryset.filter(provider="" if asked == NO_PROVIDER else asked)


class UserFilter(admin.SimpleListFilter):
    """One user's login sessions; there is no list of users to choose from, only a link here."""

    title = _("user")
    # Django's own name for this lookup; ours takes whatever key the user model has.
    parameter_name = "user__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        asked = self.value()
        if asked is None:
            return []
        try:
            self.user = get_user_model()._base_manager.filter(pk=asked).first()
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error
        return [(asked, self.user or asked)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(user=self.user) if self.user else queryset.none()

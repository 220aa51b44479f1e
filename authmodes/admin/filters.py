"""The filters of the list of login sessions; their choices are not read from the table."""

from typing import Any

from allauth.socialaccount.adapter import get_adapter
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

# Each is a method of the query set.
STATUSES = {"active": _("Active"), "ended": _("Ended"), "expired": _("Expired")}
NO_PROVIDER = "-"


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(STATUSES.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        status = self.value()
        return getattr(queryset, status)() if status in STATUSES else queryset


class ProviderFilter(admin.SimpleListFilter):
    """The providers that the site has now; to look in the table would read all of it.

    `?provider=id` also finds a provider that was removed.
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
    """The login sessions of one user: reached by a link, and without a list of users."""

    title = _("user")
    # Django's own name for this lookup; ours takes every kind of primary key.
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

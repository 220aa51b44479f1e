"""The filters of our lists; their choices are not read from the table."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import ClientFamily, EndReason
from ..signin import providers
from .keyset import scanned

# Each is a method of the query set.
STATUSES = {
    "active": _("Active"),
    "idle": _("Idle"),
    "expired": _("Expired"),
    "ended": _("Ended"),
}
# Those of login sessions that have not ended.
OPEN = ("active", "idle", "expired")
# Stands for an empty value in a query string.
NONE = "-"


class StatusFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(STATUSES.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        status = self.value()
        if status == "idle":
            # An index on the time of the last use would make every touch of a row dearer.
            return scanned(queryset.idle())
        return getattr(queryset, status)() if status in STATUSES else queryset

    def indexed(self, request: HttpRequest, queryset: Any) -> Any:
        """The rows among which an index finds these."""
        return queryset.active() if self.value() == "idle" else self.queryset(request, queryset)


class ValueFilter(admin.SimpleListFilter):
    """One value of a column. A value in the query string that is not offered counts as well."""

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        known = {value or NONE: label for value, label in self.known(request, model_admin).items()}
        asked = self.value()
        if asked:
            known.setdefault(asked, asked)
        return list(known.items())

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        asked = self.value()
        if not asked:
            return queryset
        return queryset.filter(**{str(self.parameter_name): "" if asked == NONE else asked})


class ReasonFilter(ValueFilter):
    title = _("end reason")
    parameter_name = "end_reason"

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        return dict(EndReason.choices)


class ProviderFilter(ValueFilter):
    """The providers that the site has now; to look in the table would read all of it.

    `?provider=id` also finds a provider that was removed.
    """

    title = _("provider")
    parameter_name = "provider"

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        return {**providers.names(request), "": _("Without a provider")}


class ClientFilter(ValueFilter):
    title = _("client")
    parameter_name = "client_family"

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        return dict(ClientFamily.choices)


class UserFilter(admin.SimpleListFilter):
    """The rows of one user: reached by a link, and without a list of users."""

    title = _("user")
    # Django's own name for this lookup; ours takes every kind of primary key.
    parameter_name = "user__id__exact"
    # The path from a row to its user.
    user_path = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        asked = self.value()
        if asked is None:
            return []
        try:
            self.user = get_user_model()._base_manager.filter(pk=asked).first()
        except (OverflowError, ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error
        return [(asked, self.user or asked)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(**{self.user_path: self.user}) if self.user else queryset.none()


class TokenUserFilter(UserFilter):
    """The entries of the blacklist of one user, under the same name in the query string."""

    user_path = "token__user"

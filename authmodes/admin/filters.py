"""The filters of our lists; their choices are not read from the table."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.text import capfirst
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
# For what a query string asks for and no choice offers.
SIGNS = {"gte": "≥ ", "lt": "< "}


def in_words(changelist: Any) -> list[tuple[str, str]]:
    """What the filters of a list select, by the titles and choices that its sidebar shows."""
    asked = changelist.get_filters_params()
    words = []
    for spec in changelist.filter_specs:
        used = {
            name: values if isinstance(values, list) else [values]
            for name, values in spec.used_parameters.items()
            if asked.pop(name, None)
        }
        if not used:
            continue
        chosen = [each["display"] for each in spec.choices(changelist) if each.get("selected")]
        # One choice is marked where a date is given twice, and none for the "today" of yesterday.
        if len(chosen) != max(map(len, used.values())):
            chosen = _as_asked(used)
        words.append((capfirst(spec.title), ", ".join(map(str, chosen))))
    # A lookup that is allowed needs no filter.
    return [*words, *((name, ", ".join(values)) for name, values in asked.items())]


def _as_asked(used: dict[str, list[Any]]) -> list[str]:
    return [
        f"{SIGNS.get(name.rpartition('__')[2], '')}{value}"
        for name, values in used.items()
        for value in values
    ]


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
        if status is None:
            return queryset
        # Not every row for a status that there is not: what is listed can be revoked.
        return getattr(queryset, status)() if status in STATUSES else queryset.none()

    def indexed(self, request: HttpRequest, queryset: Any) -> Any:
        """The rows among which an index finds these."""
        return queryset.active() if self.value() == "idle" else self.queryset(request, queryset)


class ValueFilter(admin.SimpleListFilter):
    """One value of a column. A value in the query string that is not offered counts as well."""

    def known(self, request: HttpRequest, model_admin: Any) -> dict[str, Any]:
        raise NotImplementedError

    def value(self) -> str | None:
        return super().value() or None

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
        if self.user and model_admin.hides(request, **{self.user_path: self.user}):
            # The name would be shown to staff for any number.
            self.user = None
        return [(asked, self.user or asked)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(**{self.user_path: self.user}) if self.user else queryset.none()


class TokenUserFilter(UserFilter):
    """The entries of the blacklist of one user, under the same name in the query string."""

    user_path = "token__user"

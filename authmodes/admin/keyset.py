"""Paging without a count and without an offset: each page begins after a row, by an index."""

from datetime import datetime
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.timezone import is_naive

AFTER, BEFORE, LAST = "after", "before", "last"
SEPARATOR = "~"


class KeysetChangeList:
    """For a `ChangeList` whose primary key decides between rows that are otherwise equal.

    `p` is "last", or "after" or "before" with the sort keys of a row: "after~2026-01-31T…~42".
    A value that is not understood shows the first page.
    """

    model: type[Model]
    queryset: QuerySet[Any]
    model_admin: Any
    list_per_page: int

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        ordering: list[str] = super().get_ordering(request, queryset)  # type: ignore[misc]
        first = self.model_admin.order_for(request, ordering)[0]
        descends = first.startswith("-")
        # Both in one direction, so that one index serves either order.
        key = "-pk" if descends else "pk"
        return [key] if first.lstrip("-") in ("pk", "id") else [first, key]

    def get_results(self, request: HttpRequest) -> None:
        self.keys = [str(each) for each in self.queryset.query.order_by]
        step, *values = request.GET.get(PAGE_VAR, "").split(SEPARATOR)
        position = self._parse(values)
        rows, goes_back = self.queryset, step in (BEFORE, LAST)
        if goes_back:
            rows = rows.reverse()
        if position and step in (AFTER, BEFORE):
            rows = rows.filter(self._beyond(position, goes_back))
        elif step != LAST:
            step, rows, goes_back = "", self.queryset, False
        found = list(rows[: self.list_per_page + 1])
        more, page = len(found) > self.list_per_page, found[: self.list_per_page]
        self.result_list = page[::-1] if goes_back else page
        # What leads here is there: a page after a row has a page before it.
        self.has_previous = more if goes_back else step == AFTER
        self.has_next = step == BEFORE if goes_back else more
        self._describe()

    def _describe(self) -> None:
        """Set what Django's templates ask for; equal counts make them show none."""
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = bool(self.result_list)
        self.can_show_all, self.multi_page = False, self.has_previous or self.has_next
        self.paginator = Paginator(self.result_list, self.list_per_page)
        if self.result_list:
            self.previous_page = self._name(BEFORE, self.result_list[0])
            self.next_page = self._name(AFTER, self.result_list[-1])

    def _name(self, step: str, row: Any) -> str:
        values = (getattr(row, key.lstrip("-")) for key in self.keys)
        texts = (each.isoformat() if isinstance(each, datetime) else str(each) for each in values)
        return SEPARATOR.join((step, *texts))

    def _parse(self, texts: list[str]) -> list[Any] | None:
        opts: Any = self.model._meta
        names = [key.lstrip("-") for key in self.keys]
        if len(texts) != len(names):
            return None
        fields = [opts.pk if name == "pk" else opts.get_field(name) for name in names]
        try:
            values = [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
        except (ValidationError, ValueError):
            return None
        if any(isinstance(each, datetime) and is_naive(each) for each in values):
            return None
        return values

    def _beyond(self, position: list[Any], backwards: bool) -> Q:
        key = self.keys[0].lstrip("-")
        lookup = "gt" if self.keys[0].startswith("-") is backwards else "lt"
        strictly = Q(**{f"{key}__{lookup}": position[0]})
        if len(self.keys) == 1:
            return strictly
        # The first condition is implied, and is the one that an index can use.
        within = Q(**{f"{key}__{lookup}e": position[0]})
        return within & (strictly | Q(**{f"pk__{lookup}": position[1]}))

"""Paging without a count and without an offset: each page begins after a row, by an index.

Some conditions are found by no index. A page looks for those in a bounded number of rows, and
leads on from there whatever it has found.
"""

from datetime import datetime
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet, Value
from django.http import HttpRequest
from django.utils.timezone import is_naive

AFTER, BEFORE, LAST = "after", "before", "last"
SEPARATOR = "~"
# How many rows a page looks through for what no index finds.
WINDOW = 10_000
MARK = "is_scanned"


def scanned(rows: Any) -> Any:
    """Mark that a condition of these rows is found by no index."""
    return rows.alias(**{MARK: Value(True)})


class KeysetChangeList:
    """For a `ChangeList` whose primary key decides between rows that are otherwise equal.

    `p` is "last", or "after" or "before" with the sort keys of a row: "after~2026-01-31T…~42".
    A value that is not understood shows the first page.
    """

    model: type[Model]
    queryset: QuerySet[Any]
    root_queryset: QuerySet[Any]
    filter_specs: list[Any]
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
        self.names = [key.lstrip("-") for key in self.keys]
        step, *values = request.GET.get(PAGE_VAR, "").split(SEPARATOR)
        position = self._parse(values) if step in (AFTER, BEFORE) else None
        if position is None and step != LAST:
            step = ""
        goes_back = step in (BEFORE, LAST)
        within = self._beyond(position, goes_back) if position else Q()
        edge = self._edge(request, within, goes_back)
        if edge:
            within &= self._beyond(edge[1], not goes_back)
        rows = self.queryset.filter(within)
        found = list((rows.reverse() if goes_back else rows)[: self.list_per_page + 1])
        more, page = len(found) > self.list_per_page, found[: self.list_per_page]
        self.result_list = page[::-1] if goes_back else page
        # Where a page that is not full goes on.
        self.further_page, self.searched = None, WINDOW
        if edge and not more:
            more, self.further_page = True, self._name(BEFORE if goes_back else AFTER, edge[0])
        # What leads here is there: a page after a row has a page before it.
        self.has_previous = more if goes_back else step == AFTER
        self.has_next = step == BEFORE if goes_back else more
        self._describe()
        if self.further_page:
            setattr(self, "previous_page" if goes_back else "next_page", self.further_page)

    def window(self, request: HttpRequest) -> Any:
        """What is found where page 1 looks; None if it looks through everything."""
        edge = self._edge(request, Q(), False)
        return self.queryset.filter(self._beyond(edge[1], True)) if edge else None

    def _edge(self, request: HttpRequest, within: Q, goes_back: bool) -> list[Any] | None:
        """Return the last row that a page looks through, and the next; None if it has no end."""
        if MARK not in self.queryset.query.annotations:
            return None
        rows: Any = self.root_queryset
        for each in self.filter_specs:
            found = getattr(each, "indexed", each.queryset)(request, rows)
            rows = rows if found is None else found
        rows = rows.filter(within).order_by(*self.keys).values_list(*self.names)
        found = list((rows.reverse() if goes_back else rows)[WINDOW - 1 : WINDOW + 1])
        return found if len(found) == 2 else None

    def _describe(self) -> None:
        """Set what Django's templates ask for; equal counts make them show none."""
        self.result_count = self.full_result_count = len(self.result_list)
        self.show_full_result_count = self.show_admin_actions = bool(self.result_list)
        self.can_show_all, self.multi_page = False, self.has_previous or self.has_next
        self.paginator = Paginator(self.result_list, self.list_per_page)
        self.previous_page = self.next_page = None
        if self.result_list:
            first, last = (
                [getattr(row, name) for name in self.names]
                for row in (self.result_list[0], self.result_list[-1])
            )
            self.previous_page, self.next_page = self._name(BEFORE, first), self._name(AFTER, last)

    def _name(self, step: str, values: Any) -> str:
        texts = (each.isoformat() if isinstance(each, datetime) else str(each) for each in values)
        return SEPARATOR.join((step, *texts))

    def _parse(self, texts: list[str]) -> list[Any] | None:
        opts: Any = self.model._meta
        if len(texts) != len(self.names):
            return None
        fields = [opts.pk if name == "pk" else opts.get_field(name) for name in self.names]
        try:
            values = [field.to_python(text) for field, text in zip(fields, texts, strict=True)]
        except (ValidationError, ValueError):
            return None
        if any(isinstance(each, datetime) and is_naive(each) for each in values):
            return None
        return values

    def _beyond(self, position: list[Any], backwards: bool) -> Q:
        key = self.names[0]
        lookup = "gt" if self.keys[0].startswith("-") is backwards else "lt"
        strictly = Q(**{f"{key}__{lookup}": position[0]})
        if len(self.keys) == 1:
            return strictly
        # The first condition is implied, and is the one that an index can use.
        within = Q(**{f"{key}__{lookup}e": position[0]})
        return within & (strictly | Q(**{f"pk__{lookup}": position[1]}))

"""Pages of a large table, without counting it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator

# Nobody pages further, that is what filters are for, and each page makes the database
# walk past all the rows before it.
LAST_PAGE = 1000


class UncountedPaginator(AnyPaginator):
    """Knows the page it is asked for, and whether there is another.

    `count` is the number of rows up to the end of that page, and one more if the table goes
    on. That is enough for Django's change list: it offers the next page and refuses one
    that is past the end.
    """

    def __init__(self, queryset: QuerySet[Any], per_page: int, page: int = 1) -> None:
        super().__init__(queryset, per_page)
        self.current = min(max(page, 1), LAST_PAGE)

    @cached_property
    def count(self) -> int:
        before = (self.current - 1) * self.per_page
        return before + len(self._keys(before))

    @property
    def previous(self) -> int | None:
        return self.current - 1 if self.current > 1 else None

    @property
    def next(self) -> int | None:
        return self.current + 1 if self.count > self.current * self.per_page else None

    def _keys(self, before: int) -> Sequence[Any]:
        peek = int(self.current < LAST_PAGE)
        rows: Any = self.object_list
        return rows.values_list("pk")[before : before + self.per_page + peek]

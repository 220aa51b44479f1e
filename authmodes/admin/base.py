"""Pages of a large table, without counting it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import PAGE_VAR
from django.contrib.auth import get_permission_codename, get_user_model
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import LoginSession

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator
# Nobody pages further, that is what filters are for, and each page makes the database
# walk past all the rows before it.
LAST_PAGE = 1000
if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin
REVOKE = "authmodes.revoke_loginsession"


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


Column = Callable[[Any], Any]


class ReadOnlyAdmin(ModelAdmin):
    """A list of rows that nobody adds, edits or deletes by hand."""

    change_list_template: ClassVar[Any] = "authmodes/admin/change_list.html"
    # Named for the page and its breadcrumbs; the model may be simplejwt's.
    page_title: ClassVar[Any] = ""
    # Lookups that a query string may use, besides those of our own filters. Django allows
    # any field of the model, and `?session_key__startswith=a` would tell the key letter by
    # letter to whoever may look at the list.
    query_lookups: frozenset[str] = frozenset()

    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    # "Show all" would load the table.
    list_max_show_all = 0
    # A sortable column needs an index.
    sortable_by: ClassVar[Any] = ()

    class Media:
        css = {"all": ["authmodes/admin.css"]}

    # -- permissions

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django's lets people in who have "change", which means nothing here.
        codename = get_permission_codename("view", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(REVOKE))

    # -- the list

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Django answers an action that one may not run as if none had been chosen.
        if request.method == "POST" and not self.has_revoke_permission(request):
            raise PermissionDenied
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            # PostgreSQL would refuse the query.
            raise BadRequest
        context = {
            "title": self.page_title,
            "selection_note_all": _("All that match are selected, on every page"),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, *args: Any, **kwargs: Any
    ) -> UncountedPaginator:
        # Django asks the paginator for its count before it names the page.
        try:
            page = int(request.GET.get(PAGE_VAR, 1))
        except ValueError:
            page = 1
        return UncountedPaginator(queryset, per_page, page)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        own = {getattr(each, "parameter_name", None) for each in self.list_filter}
        return lookup in self.query_lookups or lookup in own

    def list_url(self, request: HttpRequest) -> str:
        """The list as it was filtered when the reader left it."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
        preserved: Any = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, reverse(name, current_app=self.admin_site.name))

    # -- search

    search_help_text: ClassVar[Any] = _("Name or e-mail address of the user.")

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        """The user's fields; `get_search_results` looks them up on the user model."""
        user_model: Any = get_user_model()
        names = (user_model.USERNAME_FIELD, user_model.get_email_field_name())
        known = {field.name for field in user_model._meta.get_fields()}
        return tuple(name for name in dict.fromkeys(names) if name in known)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        for word in search_term.split():
            queryset = queryset.filter(self.search_for(request, word))
        return queryset, False

    def search_for(self, request: HttpRequest, word: str) -> Q:
        # Users are looked up on their own: there are fewer of them, and an OR over a join
        # would read every row of both tables.
        users = get_user_model()._base_manager.filter(
            Q(
                *((f"{field}__icontains", word) for field in self.get_search_fields(request)),
                _connector=Q.OR,
            )
        )
        return Q(user__in=users.values("pk"))

    # -- columns and links

    def link_column(
        self,
        request: HttpRequest,
        name: str,
        description: Any,
        model: Any,
        of: Column,
        text: Column = str,
    ) -> Column:
        """What `of` finds for a row, as a link where the reader may open it."""
        site = self.admin_site
        linked = site.is_registered(model) and site.get_model_admin(
            model
        ).has_view_or_change_permission(request)

        def column(row: Any) -> str:
            found = of(row)
            if found is None:
                return self.get_empty_value_display()
            return self.link(found, text(found)) if linked else text(found)

        column.__name__ = name
        return admin.display(description=description)(column)

    def user_column(self, request: HttpRequest, of: Column) -> Column:
        return self.link_column(request, "user", _("user"), get_user_model(), of)

    def actor_column(self, request: HttpRequest, of: Column) -> Column:
        return self.link_column(request, "ended_by", _("ended by"), get_user_model(), of)

    def login_session_column(self, request: HttpRequest, of: Column) -> Column:
        return self.link_column(
            *(request, "login_session", _("login session"), LoginSession, of),
            text=lambda row: str(row.sid)[:8],
        )

    def link(self, target: Any, text: str) -> SafeString:
        opts = target._meta
        name = f"admin:{opts.app_label}_{opts.model_name}_change"
        url = reverse(name, args=[quote(target.pk)], current_app=self.admin_site.name)
        return format_html('<a href="{}">{}</a>', url, text)


def badge(kind: str, text: Any, more: str = "") -> SafeString:
    """A status in words, coloured by `kind`: "active", "ended" or "expired"."""
    html = '<span class="authmodes-badge authmodes-{}">{}</span>{}'
    return format_html(html, kind, text, f" {more}" if more else "")

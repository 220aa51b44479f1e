"""What all our lists share: read-only pages, search by user, links, and paging without a count."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

# These classes are generic in the stubs only.
if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
    ModelAdmin = admin.ModelAdmin[Any]
    ModelForm = forms.ModelForm[Any]
else:
    AnyPaginator = Paginator
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm

# For each page, the database reads all the rows before it. Filters lead to older rows.
LAST_PAGE = 1000

Column = Callable[[Any], Any]


class UncountedPaginator(AnyPaginator):
    """A paginator that knows the requested page, and whether there is a next one.

    `count` is the number of rows up to the end of that page, plus one if there are more.
    With it, Django's change list offers the next page and refuses one past the end.
    """

    def __init__(self, queryset: QuerySet[Any], per_page: int, page: int = 1) -> None:
        super().__init__(queryset, per_page)
        self.current = min(max(page, 1), LAST_PAGE)

    @cached_property
    def count(self) -> int:
        before = (self.current - 1) * self.per_page
        one_more = int(self.current < LAST_PAGE)
        rows: Any = self.object_list
        return before + len(rows.values_list("pk")[before : before + self.per_page + one_more])


class ListAdmin(ModelAdmin):
    """A list whose rows are not deleted by hand."""

    change_list_template: ClassVar[Any] = "authmodes/admin/change_list.html"
    # The heading of the list, also in breadcrumbs; the model may be simplejwt's.
    page_title: ClassVar[Any] = ""
    # The pages of a row besides Django's: "revoke" is the method `revoke_view`.
    row_pages: ClassVar[tuple[str, ...]] = ()
    # Lookups that a query string may use, besides those of our own filters. Django allows
    # any field of the model, and `?session_key__startswith=a` would reveal the key letter
    # by letter to everyone with the view permission.
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

    # What an administrator needs to revoke what is listed.
    revoke_permission = "authmodes.revoke_loginsession"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(self.revoke_permission))

    def has_address_permission(self, request: HttpRequest) -> bool:
        """Whether the addresses of users are shown."""
        return True

    # -- the list

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Django would treat an action without permission as if no action had been chosen.
        if request.method == "POST" and not self.has_revoke_permission(request):
            raise PermissionDenied
        self.refuse_nul(request)
        context = {
            "title": self.page_title,
            "selection_note_all": _("All that match are selected, on every page"),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def refuse_nul(self, request: HttpRequest) -> None:
        """Raise `BadRequest` for a query string that PostgreSQL would refuse."""
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            raise BadRequest

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, *args: Any, **kwargs: Any
    ) -> UncountedPaginator:
        # Django asks for the count before it names the page.
        try:
            page = int(request.GET.get(PAGE_VAR, 1))
        except ValueError:
            page = 1
        return UncountedPaginator(queryset, per_page, page)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        own = {getattr(each, "parameter_name", None) for each in self.list_filter}
        return lookup in self.query_lookups or lookup in own

    # -- columns

    def link_column(
        self, request: HttpRequest, name: str, description: Any, of: Column, text: Column = str
    ) -> Column:
        """A column of what `of` finds for a row, linked if the administrator may open it."""
        site = self.admin_site

        def column(row: Any) -> str:
            found = of(row)
            if found is None:
                return self.get_empty_value_display()
            page = site.get_model_admin(type(found)) if site.is_registered(type(found)) else None
            if page is None or not page.has_view_or_change_permission(request):
                return text(found)
            return format_html('<a href="{}">{}</a>', self.page_url("change", found), text(found))

        column.__name__ = name
        return admin.display(description=description)(column)

    def user_column(self, request: HttpRequest, of: Column) -> Column:
        return self.link_column(request, "user", _("user"), of)

    def actor_column(self, request: HttpRequest, of: Column) -> Column:
        return self.link_column(request, "ended_by", _("ended by"), of)

    # -- pages of our own

    def get_urls(self) -> list[URLPattern]:
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<path:object_id>/{page}/",
                self.admin_site.admin_view(getattr(self, f"{page}_view")),
                name=f"{prefix}_{page}",
            )
            for page in self.row_pages
        ]
        return [*own, *super().get_urls()]

    def page_url(self, page: str, row: Any = None) -> str:
        """The URL of a page of this list, or of a row, whose model may be a different one."""
        opts = self.opts if row is None else row._meta
        args = [] if row is None else [quote(row.pk)]
        name = f"admin:{opts.app_label}_{opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def keep_filters(self, request: HttpRequest, url: str) -> str:
        """Add the filters of the list that the administrator came from."""
        context: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return add_preserved_filters(context, url)

    def list_url(self, request: HttpRequest) -> str:
        return self.keep_filters(request, self.page_url("changelist"))

    def get_row(self, request: HttpRequest, object_id: str) -> Any:
        """The row that a page is about; raises `PermissionDenied` or `Http404`."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def render(
        self, request: HttpRequest, template: str, title: str, context: dict[str, Any]
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "page_title": self.page_title,
            "list_url": self.list_url(request),
            "media": self.media,
            **context,
        }
        return TemplateResponse(request, f"authmodes/admin/{template}.html", context)


def status_badge(is_active: bool, ended: Any = "", more: str = "") -> SafeString:
    """A coloured status; `ended` says how a row was ended, and `more` why."""
    if ended:
        kind, text = "ended", ended
    else:
        kind, text = ("active", _("Active")) if is_active else ("expired", _("Expired"))
    html = '<span class="authmodes-badge authmodes-{}">{}</span>{}'
    return format_html(html, kind, text, f" {more}" if more else "")

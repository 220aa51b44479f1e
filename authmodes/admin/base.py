"""What all our lists share: read-only pages, links, badges, and relative times."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import ago
from .keyset import KeysetChangeList

# These classes are generic in the stubs only.
if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm
    if apps.is_installed("unfold"):
        # Its templates need the widgets and attributes of its own class.
        from unfold.admin import ModelAdmin
    else:
        ModelAdmin = admin.ModelAdmin

Column = Callable[[Any], Any]


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

    # Rendering a row costs more than finding it.
    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    # "Show all" would load the table.
    list_max_show_all = 0
    # A sortable column needs an index.
    sortable_by: ClassVar[Any] = ()

    class Media:
        css = {"all": ["authmodes/admin.css"]}
        js = ["authmodes/admin.js"]

    # -- permissions

    # What an administrator needs to revoke what is listed.
    revoke_permission = "authmodes.revoke_loginsession"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm(self.revoke_permission))

    # -- the list

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # Django would treat an action without permission as if no action had been chosen.
        if request.method == "POST" and not self.has_revoke_permission(request):
            raise PermissionDenied
        self.refuse_nul(request)
        return super().changelist_view(request, {"title": self.page_title, **(extra_context or {})})

    def refuse_nul(self, request: HttpRequest) -> None:
        """Raise `BadRequest` for a query string that PostgreSQL would refuse."""
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            raise BadRequest

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[Any]:
        base = super().get_changelist(request, **kwargs)
        return type("ChangeList", (KeysetChangeList, base), {})

    def order_for(self, request: HttpRequest, ordering: list[str]) -> list[str]:
        """Return the order that an index gives for the filters, if that is a different one."""
        return ordering

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        own = {getattr(each, "parameter_name", None) for each in self.list_filter}
        return lookup in self.query_lookups or lookup in own

    # -- columns

    def link_column(
        self, request: HttpRequest, name: str, description: Any, of: Column, text: Column = str
    ) -> Column:
        """A column of what `of` finds for a row, linked if the administrator may open it."""

        def column(row: Any) -> str:
            found = of(row)
            if found is None:
                return self.get_empty_value_display()
            if not self.may_open(request, type(found)):
                return text(found)
            return format_html('<a href="{}">{}</a>', self.page_url("change", found), text(found))

        column.__name__ = name
        return admin.display(description=description)(column)

    def user_column(self, request: HttpRequest, of: Column = attrgetter("user")) -> Column:
        return self.link_column(request, "user", _("user"), of)

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

    def may_open(self, request: HttpRequest, model: Any) -> bool:
        """Whether this site has a page of a model, and shows it to the administrator."""
        if not self.admin_site.is_registered(model):
            return False
        return self.admin_site.get_model_admin(model).has_view_or_change_permission(request)

    def list_url(self, request: HttpRequest) -> str:
        return self.keep_filters(request, self.page_url("changelist"))

    def get_row(self, request: HttpRequest, object_id: str) -> Any:
        """The row that a page is about; raises `PermissionDenied` or `Http404`."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        # As Django's own pages do; a project may decide for each row.
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
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


def with_detail(column: Column, detail: Column) -> Column:
    """Add a second, smaller line to a column."""

    @wraps(column)
    def both(row: Any) -> SafeString:
        html = '{}<span class="authmodes-detail">{}</span>'
        return format_html(html, column(row), detail(row) or "")

    return both


def badge(kind: str, text: Any) -> SafeString:
    return format_html('<span class="authmodes-badge authmodes-{}">{}</span>', kind, text)


def status_badge(is_active: bool, ended: Any = "") -> SafeString:
    """A coloured status; `ended` says how a row was ended."""
    if ended:
        return badge("ended", ended)
    return badge("active", _("Active")) if is_active else badge("expired", _("Expired"))


def relative_time(moment: datetime | None) -> str:
    """How long ago something was; the exact time is shown when the pointer rests on it."""
    if moment is None:
        return ""
    exact = localize(timezone.localtime(moment))
    html = '<time datetime="{}" title="{}">{}</time>'
    return format_html(html, moment.isoformat(), exact, ago(moment))

"""What an administrator fills in about a machine client and its secrets."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import policy
from ..machines import clients as machine_clients
from ..models import MachineClient, split_scopes
from .base import ReadOnlyAdmin, badge

HOUR = timedelta(hours=1)
OVERLAP_MAX = 30 * 24


class MachineClientForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """What an administrator says about a client."""

    def clean_scopes(self) -> str:
        return " ".join(split_scopes(self.cleaned_data["scopes"]))

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        in_the_past = expires_at is not None and policy.is_over(expires_at, timezone.now())
        if in_the_past and "expires_at" in self.changed_data:
            # To end it now is to revoke it, with an actor.
            raise ValidationError(_("This has passed already."))
        return expires_at


class RotationForm(forms.Form):
    """How long the old secrets go on."""

    hours = forms.IntegerField(
        label=_("Hours until the old secrets expire"),
        help_text=_("0 revokes them at once, and with them the tokens they were exchanged for."),
        min_value=0,
        max_value=OVERLAP_MAX,
        initial=machine_clients.OVERLAP // HOUR,
    )

    @property
    def overlap(self) -> timedelta:
        return self.cleaned_data["hours"] * HOUR


class MachineClientAdmin(ReadOnlyAdmin):
    """Programs that have tokens of their own. `change` includes a new secret."""

    form = MachineClientForm
    page_title = _("Machine clients")
    ordering = ("-id",)
    search_help_text = _("Name or client id.")
    list_display = ("name", "status", "scopes", "client_id", "expires_at", "last_used_at")
    search_fields = ("name", "client_id")

    # -- permissions

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("authmodes.add_machineclient"))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = bool(request.user.has_perm("authmodes.change_machineclient"))
        return may and (obj is None or obj.revoked_at is None)

    def has_revoke_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("authmodes.revoke_machineclient"))

    # -- the list

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return ("name", "client_id")

    def search_for(self, request: HttpRequest, word: str) -> Q:
        return Q(name__icontains=word) | Q(client_id__startswith=word)

    @admin.display(description=_("status"))
    def status(self, row: MachineClient) -> SafeString:
        return _status(row)

    # -- the page of one

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = (None, {"fields": ["name", "scopes", "expires_at"]})
        if obj is None:
            return [fields]
        return [
            (None, {"fields": ["client_id", "status"]}),
            fields,
            (_("Secrets"), {"fields": ["secrets"]}),
            (_("Time"), {"fields": ["created_at", "last_used_at", "revoked_at", "revoked_by"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (
            *("client_id", "status", "secrets"),
            *("created_at", "last_used_at", "revoked_at", "revoked_by"),
        )

    @admin.display(description=_("made at"))
    def secrets(self, row: MachineClient) -> SafeString | str:
        """When each was made and what has become of it; nothing of the secret itself."""
        lines = (
            (localize(timezone.localtime(each.created_at)), _status(each), _until(each))
            for each in row.secrets.order_by("-pk")
        )
        return format_html_join("", "<div>{} {} {}</div>", lines) or self.get_empty_value_display()

    @sensitive_variables()
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {
            "may_rotate": self.has_change_permission(request),
            "may_revoke": self.has_revoke_permission(request),
            # The page that follows shows the secret; nothing may come between.
            "show_save_and_add_another": False,
            "show_save_and_continue": object_id is not None,
            **(extra_context or {}),
        }
        return super().changeform_view(request, object_id, form_url, context)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
            obj.raw_secret = machine_clients.add_secret(obj)
        elif not machine_clients.change(obj, form.changed_data):
            # It was revoked since the page's permissions were asked.
            raise PermissionDenied

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_secret(request, obj, obj.raw_secret)

    # -- rotating and revoking

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        name = "authmodes_machineclient"
        return [
            path("<path:object_id>/rotate/", view(self.rotate_view), name=f"{name}_rotate"),
            path("<path:object_id>/revoke/", view(self.revoke_view), name=f"{name}_revoke"),
            *super().get_urls(),
        ]

    @sensitive_variables()
    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask by GET how long the old secrets go on; make and show the new one by POST."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        row = self._find(request, object_id)
        form = RotationForm(request.POST if request.method == "POST" else None)
        if row.is_active and not form.is_valid():
            return self._ask(request, row, gettext("Rotate secret"), form)
        raw_secret = machine_clients.rotate(row, form.overlap) if row.is_active else None
        if raw_secret is None:
            return self._refuse(request, row)
        done = gettext("Secret rotated; the old ones end in %(hours)d h.")
        self.log_change(request, row, done % form.cleaned_data)
        return self._show_secret(request, row, raw_secret)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Confirm by GET, end by POST."""
        if not self.has_revoke_permission(request):
            raise PermissionDenied
        row = self._find(request, object_id)
        if row.revoked_at is not None:
            return self._refuse(request, row)
        if request.method != "POST":
            return self._ask(request, row, gettext("Revoke"))
        if not machine_clients.revoke(row, by=request.user):
            return self._refuse(request, row)
        self.log_change(request, row, gettext("Revoked."))
        done = gettext("The machine client “%(name)s” was revoked.") % {"name": row}
        self.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(self.list_url(request))

    def _find(self, request: HttpRequest, object_id: str) -> MachineClient:
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def _ask(
        self, request: HttpRequest, row: MachineClient, title: str, form: Any = None
    ) -> HttpResponse:
        context = {"form": form, "cancel_url": self._page_of(request, row)}
        return self._page(request, row, title, "confirmation", context)

    def _show_secret(self, request: HttpRequest, row: MachineClient, secret: str) -> HttpResponse:
        """The only answer that ever carries a secret; `admin_view` has made it no-store."""
        context = {"secret": secret, "done_url": self.list_url(request)}
        return self._page(request, row, gettext("The secret"), "secret", context)

    def _page(
        self, request: HttpRequest, row: MachineClient, title: str, name: str, more: dict[str, Any]
    ) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "page_title": self.page_title,
            "list_url": self.list_url(request),
            "client": row,
            "media": self.media,
            **more,
        }
        return TemplateResponse(request, f"authmodes/admin/machine_client_{name}.html", context)

    def _refuse(self, request: HttpRequest, row: MachineClient) -> HttpResponse:
        message = gettext("The machine client “%(name)s” was revoked or has expired.")
        self.message_user(request, message % {"name": row}, messages.WARNING)
        return HttpResponseRedirect(self._page_of(request, row))

    def _page_of(self, request: HttpRequest, row: MachineClient) -> str:
        name = "admin:authmodes_machineclient_change"
        url = reverse(name, args=[quote(row.pk)], current_app=self.admin_site.name)
        preserved: Any = {
            "preserved_filters": self.get_preserved_filters(request),
            "opts": self.opts,
        }
        return add_preserved_filters(preserved, url)


def _status(row: Any) -> SafeString:
    if row.revoked_at is not None:
        return badge("ended", _("Revoked"))
    return badge("active", _("Active")) if row.is_active else badge("expired", _("Expired"))


def _until(secret: Any) -> str:
    if secret.revoked_at is not None or secret.expires_at is None:
        return ""
    return gettext("until %(moment)s") % {"moment": localize(timezone.localtime(secret.expires_at))}

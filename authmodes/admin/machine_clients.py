"""The admin pages of machine clients, whose secrets are shown exactly once."""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from .. import policy
from ..machines import clients as machine_clients
from ..models import MachineClient, MachineClientSecret, split_scopes
from .base import ListAdmin, ModelForm, status_badge

HOUR = timedelta(hours=1)
OVERLAP_MAX = 30 * 24


class MachineClientForm(ModelForm):
    def clean_scopes(self) -> str:
        return " ".join(split_scopes(self.cleaned_data["scopes"]))

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        in_the_past = expires_at is not None and policy.is_over(expires_at, timezone.now())
        if in_the_past and "expires_at" in self.changed_data:
            # A client that has to end now is revoked, which records the actor.
            raise ValidationError(_("This moment has passed."))
        return expires_at


class RotationForm(forms.Form):
    """How long the old secrets can still be used."""

    hours = forms.IntegerField(
        label=_("Hours until the old secrets expire"),
        help_text=_("0 revokes them at once, and the tokens that were issued for them."),
        min_value=0,
        max_value=OVERLAP_MAX,
        initial=machine_clients.OVERLAP // HOUR,
    )


class MachineClientAdmin(ListAdmin):
    """Programs with tokens of their own. The change permission includes a new secret."""

    form = MachineClientForm
    page_title = _("Machine clients")
    ordering = ("-id",)
    search_fields = ("name", "client_id__startswith")
    search_help_text = _("Name or client id.")
    list_display = ("name", "status", "scopes", "client_id", "expires_at", "last_used_at")
    row_pages = ("rotate", "revoke")
    readonly_fields = (
        *("client_id", "status", "secrets"),
        *("created_at", "last_used_at", "revoked_at", "revoked_by"),
    )

    # -- permissions

    revoke_permission = "authmodes.revoke_machineclient"

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        is_final = obj is not None and obj.revoked_at is not None
        return not is_final and super().has_change_permission(request, obj)

    # -- the list

    @admin.display(description=_("status"))
    def status(self, row: MachineClient | MachineClientSecret) -> SafeString:
        return status_badge(row.is_active, _("Revoked") if row.revoked_at else "")

    # -- the page of a client

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

    @admin.display(description=_("made at"))
    def secrets(self, row: MachineClient) -> SafeString | str:
        """When each secret was made, and its status; nothing of the secret itself."""
        lines = (
            (localize(timezone.localtime(each.created_at)), self.status(each), _until(each))
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
            # The next page has to be the one that shows the secret.
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
            # It was revoked after the permissions of the page were checked.
            raise PermissionDenied

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_secret(request, obj, obj.raw_secret)

    # -- rotating and revoking

    @sensitive_variables()
    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask by GET how long the old secrets are to work; make and show a new one by POST."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        row = self.get_row(request, object_id)
        form = RotationForm(request.POST if request.method == "POST" else None)
        if not row.is_active:
            return self._refuse(request, row)
        if not self.has_change_permission(request, row):
            raise PermissionDenied
        if not form.is_valid():
            return self._ask(request, row, gettext("Rotate secret"), form)
        raw_secret = machine_clients.rotate(row, HOUR * form.cleaned_data["hours"])
        if raw_secret is None:
            return self._refuse(request, row)
        done = gettext("Secret rotated; the old ones end in %(hours)d h.")
        self.log_change(request, row, done % form.cleaned_data)
        return self._show_secret(request, row, raw_secret)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation by GET; revoke by POST."""
        row = self.get_row(request, object_id)
        if not self.has_revoke_permission(request, row):
            raise PermissionDenied
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

    def _ask(
        self, request: HttpRequest, row: MachineClient, title: str, form: Any = None
    ) -> HttpResponse:
        context = {"row": row, "form": form, "cancel_url": self._page_of(request, row)}
        return self.render(request, "machine_client_confirmation", title, context)

    def _show_secret(self, request: HttpRequest, row: MachineClient, secret: str) -> HttpResponse:
        """The only answer that carries a secret; `admin_view` has made it no-store."""
        context = {"row": row, "secret": secret}
        return self.render(request, "machine_client_secret", gettext("The secret"), context)

    def _refuse(self, request: HttpRequest, row: MachineClient) -> HttpResponse:
        message = gettext("The machine client “%(name)s” was revoked or has expired.")
        self.message_user(request, message % {"name": row}, messages.WARNING)
        return HttpResponseRedirect(self._page_of(request, row))

    def _page_of(self, request: HttpRequest, row: MachineClient) -> str:
        return self.keep_filters(request, self.page_url("change", row))


def _until(secret: MachineClientSecret) -> str:
    if secret.revoked_at is not None or secret.expires_at is None:
        return ""
    return gettext("until %(moment)s") % {"moment": localize(timezone.localtime(secret.expires_at))}

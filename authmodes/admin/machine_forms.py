"""What an administrator fills in about a machine client and its secrets."""

from datetime import timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import machines, policy
from ..models import split_scopes

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
        initial=machines.OVERLAP // HOUR,
    )

    @property
    def overlap(self) -> timedelta:
        return self.cleaned_data["hours"] * HOUR

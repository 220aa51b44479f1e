"""The audit trail of logins; `registry.events` writes it, and no row of it is edited."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .labels import MODES
from .managers import PrimaryManager

USERNAME_MAX_LENGTH = 254


class EventKind(models.TextChoices):
    """What happened."""

    STARTED = "started", _("signed in")
    REFUSED = "refused", _("sign-in refused")
    REUSE = "reuse", _("token or code reused")
    STEP_UP = "step_up", _("re-authenticated")
    ENDED = "ended", _("ended")


class LoginEvent(models.Model):
    """One thing that happened to a login, or several refused attempts of one minute.

    It outlives the login session and the user. There is no constraint on the users, so that
    their ids stay when they are deleted. It never has a credential or a name that was typed.
    """

    kind = models.CharField(_("kind"), max_length=10, choices=EventKind.choices)
    created_at = models.DateTimeField(_("time"), default=timezone.now)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    # Of a deleted user, and only with `AUTHMODES_EVENT_KEEP_IDENTITY`.
    username = models.CharField(_("user name"), max_length=USERNAME_MAX_LENGTH, default="")
    sid = models.UUIDField(_("sid"), null=True)
    ip_address = models.GenericIPAddressField(_("IP address"), null=True)
    code = models.CharField(
        _("reason"),
        max_length=40,
        default="",
        help_text=_("Why a login ended or was refused: an end reason, or an error code."),
    )
    mode = models.CharField(_("mode"), max_length=10, choices=MODES, default="")
    method = models.CharField(_("method"), max_length=40, default="")
    provider = models.CharField(_("provider"), max_length=200, default="")
    # Null: the user, or the system.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("by"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        related_name="+",
    )
    actor_sid = models.UUIDField(
        _("by login"), null=True, help_text=_("The login that the request came with.")
    )
    filter = models.CharField(
        _("filter"),
        max_length=500,
        default="",
        help_text=_("What was ended, where one event stands for many login sessions."),
    )
    count = models.PositiveIntegerField(_("number"), default=1)
    # A digest of what refused attempts are counted by. Null for all other events.
    bucket = models.BigIntegerField(null=True, unique=True, editable=False)

    objects = PrimaryManager()

    class Meta:
        verbose_name = _("login event")
        verbose_name_plural = _("login events")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["-created_at", "-id"], name="authmodes_event_time"),
            models.Index(fields=["user", "created_at"], name="authmodes_event_user"),
            models.Index(fields=["kind", "created_at"], name="authmodes_event_kind"),
            models.Index(fields=["code", "created_at"], name="authmodes_event_code"),
            models.Index(fields=["provider", "created_at"], name="authmodes_event_provider"),
            models.Index(fields=["sid"], name="authmodes_event_sid"),
            models.Index(fields=["ip_address", "created_at"], name="authmodes_event_ip"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.pk}"

"""The row of every login and how to query it; `registry` writes it."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import policy
from ..conf import conf, simple_jwt
from .authentication_context import AuthenticationContextModel
from .labels import MODES, ago, method_label
from .managers import PrimaryManager
from .user_agent import FAMILY_MARKS, USER_AGENT_MAX_LENGTH, ClientFamily, client_label, is_handheld

NAME_MAX_LENGTH = 60
# A request may take this long between changing a key and writing the row.
SLOW_REQUEST = timedelta(minutes=5)


class EndReason(models.TextChoices):
    """Why a login session ended."""

    LOGOUT = "logout", _("logged out")
    REVOKED = "revoked", _("revoked")
    REVOKED_BY_USER = "revoked_by_user", _("revoked by the user")
    REPLACED = "replaced", _("replaced by another login")
    REUSE = "reuse", _("token or code reused")
    EXPIRED = "expired", _("expired")
    LIMIT = "limit", _("limit of login sessions")
    PASSWORD_CHANGED = "password_changed", _("password changed")
    USER_DISABLED = "user_disabled", _("user disabled")
    UPSTREAM_LOGOUT = "upstream_logout", _("logged out at the provider")


class LoginSessionQuerySet(models.QuerySet["LoginSession"]):
    """Login sessions by their status."""

    def active(self, now: Any = None) -> "LoginSessionQuerySet":
        """Neither ended nor past their absolute lifetime."""
        return self.filter(ended_at__isnull=True, expires_at__gt=now or timezone.now())

    def ended(self) -> "LoginSessionQuerySet":
        return self.filter(ended_at__isnull=False)

    def expired(self) -> "LoginSessionQuerySet":
        """Past their absolute lifetime, but not ended yet."""
        return self.filter(ended_at__isnull=True, expires_at__lte=timezone.now())

    def idle(self) -> "LoginSessionQuerySet":
        """Active, but unused for longer than the idle timeout or the refresh token's lifetime."""
        return self.active().filter(_is_idle())

    def with_is_idle(self) -> "LoginSessionQuerySet":
        """Annotate `is_idle`: whether `idle()` finds the row, provided that it is active."""
        # A dict, because django-stubs rejects the annotation of a name that the model declares.
        annotations = {"is_idle": models.ExpressionWrapper(_is_idle(), models.BooleanField())}
        return self.annotate(**annotations)

    def cookie_only(self) -> "LoginSessionQuerySet":
        """Active, and unusable once their Django session is missing from its store.

        Logins that were seen recently are left out: a request may be changing their key.
        """
        seen_recently = policy.touch_after(conf.TOUCH_INTERVAL, conf.IDLE_TIMEOUT) + SLOW_REQUEST
        return self.active().filter(
            models.Q(refresh_token__isnull=True) | _has_idle_refresh_token(),
            session_key__isnull=False,
            last_seen_at__lt=timezone.now() - seen_recently,
        )

    def for_user(self, user: Any) -> "LoginSessionQuerySet":
        return self.filter(user=user)

    def by_sid(self, sid: uuid.UUID) -> "LoginSession | None":
        """Return the one with this `sid`. Unlike `first()`, this does not sort."""
        return next(iter(self.filter(sid=sid)), None)

    def for_credential(self) -> "LoginSessionQuerySet":
        """Load everything that validating a credential needs in one query.

        A `BlacklistedToken` made by `bulk_create` sends no signal, so the blacklist is read
        here as well.
        """
        entries = apps.get_model("token_blacklist", "BlacklistedToken")._default_manager.all()
        # Not `Exists` and no join: PostgreSQL plans this in less time.
        entry = entries.filter(token_id=models.OuterRef("refresh_token_id")).values("pk")
        # A dict, because django-stubs rejects the annotation of a name that the model declares.
        annotations = {"blacklist_entry": models.Subquery(entry)}
        return self.select_related("user").annotate(**annotations)


def _is_idle() -> models.Q:
    idle = _has_idle_refresh_token() & models.Q(session_key__isnull=True)
    if conf.IDLE_TIMEOUT is not None:
        idle |= models.Q(last_seen_at__lt=timezone.now() - conf.IDLE_TIMEOUT)
    return idle


def _has_idle_refresh_token() -> models.Q:
    limit = timezone.now() - simple_jwt().REFRESH_TOKEN_LIFETIME
    return models.Q(rotated_at__lt=limit) | models.Q(rotated_at=None, created_at__lt=limit)


class LoginSession(AuthenticationContextModel):
    """One sign-in by one user on one client, in either mode.

    `ended_at` is the truth; the Django session and simplejwt's blacklist are mirrors of it.
    """

    # Set by `for_credential()` alone: the key of the `BlacklistedToken`, if there is one.
    blacklist_entry: Any
    # Set by `with_is_idle()` alone.
    is_idle: bool
    # Not stored: whether the token cookies outlast the browser. The refresh token says so.
    is_persistent = True

    sid = models.UUIDField(
        _("sid"),
        default=uuid.uuid4,
        unique=True,
        editable=False,
        help_text=_("Public name of this login session. It is not a credential."),
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="login_sessions",
        # The index on user and end has it first.
        db_index=False,
    )
    # Who acts in this login in the user's name (impersonation).
    acting_user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("acting user"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        editable=False,
        db_index=False,
    )
    # `Mode.BOTH` is a setting: a login session has one of the two.
    mode = models.CharField(_("mode"), max_length=10, choices=MODES)
    # A credential: used to delete the Django session, never shown.
    session_key = models.CharField(max_length=128, null=True, editable=False)  # noqa: DJ001
    refresh_token = models.OneToOneField(
        "token_blacklist.OutstandingToken",
        verbose_name=_("refresh token"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="login_session",
        editable=False,
    )
    # Of the refresh token that counts and of the one before it. `refresh_token`, which stands for
    # the whole family, keeps the first, so a rotation writes to one row and to no index.
    current_jti = models.CharField(max_length=255, default="", editable=False)
    previous_jti = models.CharField(max_length=255, default="", editable=False)
    rotated_at = models.DateTimeField(_("rotated at"), null=True, editable=False)
    auth_hash = models.CharField(max_length=128, default="", editable=False)

    client_id = models.CharField(
        _("client id"),
        max_length=100,
        default="",
        help_text=_("The app that requested the login; empty for this site's own pages."),
    )
    ip_address = models.GenericIPAddressField(_("IP address"), null=True)
    last_ip_address = models.GenericIPAddressField(_("last IP address"), null=True)
    user_agent = models.CharField(_("user agent"), max_length=USER_AGENT_MAX_LENGTH, default="")
    name = models.CharField(
        _("name"),
        max_length=NAME_MAX_LENGTH,
        default="",
        help_text=_("What the user calls this login session."),
    )
    # By the database, so that a login parses nothing and the list has an index to filter by.
    client_family = models.GeneratedField(
        verbose_name=_("client family"),
        expression=models.Case(
            *(
                models.When(user_agent__contains=mark, then=models.Value(family.value))
                for mark, family in FAMILY_MARKS
            ),
            models.When(user_agent="", then=models.Value(ClientFamily.UNKNOWN.value)),
            default=models.Value(ClientFamily.PROGRAM.value),
        ),
        output_field=models.CharField(max_length=10, choices=ClientFamily.choices),
        db_persist=True,
    )

    created_at = models.DateTimeField(_("signed in at"))
    last_seen_at = models.DateTimeField(_("last seen at"))
    expires_at = models.DateTimeField(_("expires at"))
    ended_at = models.DateTimeField(_("ended at"), null=True)
    end_reason = models.CharField(
        _("end reason"), max_length=20, choices=EndReason.choices, default=""
    )
    ended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("ended by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        db_index=False,
    )

    objects = PrimaryManager.from_queryset(LoginSessionQuerySet)()

    class Meta:
        verbose_name = _("login session")
        verbose_name_plural = _("login sessions")
        default_permissions = ("view",)
        permissions = (("revoke_loginsession", _("Can revoke login session")),)
        constraints = (
            # Not `unique=True`, which on PostgreSQL adds an index for LIKE.
            models.UniqueConstraint(fields=["session_key"], name="authmodes_session_key"),
        )
        # Ending a row writes to each index that it is in, so indexes leave out what no query asks
        # for. MySQL and MariaDB ignore the conditions. SQLite uses such an index only for a query
        # that repeats the condition.
        indexes = (
            models.Index(fields=["user", "ended_at"], name="authmodes_user_ended"),
            models.Index(fields=["-created_at", "-id"], name="authmodes_created"),
            models.Index(fields=["ip_address", "-created_at"], name="authmodes_ip"),
            models.Index(
                fields=["expires_at"],
                name="authmodes_open_expires",
                condition=models.Q(ended_at__isnull=True),
            ),
            models.Index(
                fields=["ended_at"],
                name="authmodes_ended",
                condition=models.Q(ended_at__isnull=False),
            ),
            *(
                models.Index(
                    fields=[name],
                    name=f"authmodes_{name}",
                    condition=models.Q((f"{name}__isnull", False)),
                )
                for name in ("ended_by", "acting_user")
            ),
            *(
                models.Index(
                    fields=[name], name=f"authmodes_{name}", condition=~models.Q((name, ""))
                )
                for name in ("provider_sid", "provider_uid")
            ),
            # The admin filters by these in the order of the sign-ins. Where a value is rare among
            # the newest rows, the order alone would lead through all of them.
            *(
                models.Index(
                    fields=[name, "-created_at"],
                    name=f"authmodes_{name}",
                    condition=~models.Q((name, "")),
                )
                for name in ("provider", "end_reason", "client_family")
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_mode_display()} {str(self.sid)[:8]}: {self.client_label}"

    @property
    def is_active(self) -> bool:
        return self.ended_at is None and not policy.is_over(self.expires_at, timezone.now())

    @property
    def is_impersonated(self) -> bool:
        """Whether a different user acts in this login in the user's name."""
        return self.acting_user_id is not None

    @property
    def client_label(self) -> str:
        return client_label(self.user_agent)

    @property
    def display_name(self) -> str:
        """What the user calls it, or else the label of its client."""
        return self.name or self.client_label

    @property
    def method_label(self) -> str:
        return method_label(self.method)

    @property
    def signed_in_ago(self) -> str:
        return ago(self.created_at)

    @property
    def last_seen_ago(self) -> str:
        return ago(self.last_seen_at)

    @property
    def is_handheld(self) -> bool:
        return is_handheld(self.user_agent)

    @property
    def auth_time(self) -> int:
        """The claim of OpenID Connect: when the user authenticated, 0 if that is unknown."""
        return int(self.authenticated_at.timestamp()) if self.authenticated_at else 0

    @property
    def refreshed_at(self) -> datetime:
        """When the current refresh token was issued."""
        return self.rotated_at or self.created_at


class Overview(LoginSession):
    """The entry of the overview in the admin's index, which lists models."""

    class Meta:
        proxy = True
        verbose_name = _("overview")
        verbose_name_plural = _("overview")
        default_permissions = ()

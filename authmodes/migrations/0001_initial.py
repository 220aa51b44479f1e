import uuid

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import authmodes.conf
import authmodes.models.machine_client


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("token_blacklist", "0013_alter_blacklistedtoken_options_and_more"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ExpiringMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
            ],
            options={
                "verbose_name": "expiring mark",
                "verbose_name_plural": "expiring marks",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="AuthorizationCode",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("method", models.CharField(default="", max_length=40, verbose_name="method")),
                ("provider", models.CharField(default="", max_length=200, verbose_name="provider")),
                (
                    "provider_uid",
                    models.CharField(default="", max_length=255, verbose_name="provider uid"),
                ),
                ("provider_sid", models.CharField(default="", editable=False, max_length=255)),
                (
                    "amr",
                    models.CharField(
                        default="",
                        help_text="Space-separated values of RFC 8176, as in the tokens' amr claim.",
                        max_length=100,
                        verbose_name="authentication methods",
                    ),
                ),
                ("authenticated_at", models.DateTimeField(editable=False, null=True)),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("auth_hash", models.CharField(default="", max_length=128)),
                ("client_id", models.CharField(max_length=100)),
                ("code_challenge", models.CharField(max_length=43)),
                ("next", models.CharField(max_length=2000)),
                ("sid", models.UUIDField(null=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "authorization code",
                "verbose_name_plural": "authorization codes",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="LoginSession",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("method", models.CharField(default="", max_length=40, verbose_name="method")),
                ("provider", models.CharField(default="", max_length=200, verbose_name="provider")),
                (
                    "provider_uid",
                    models.CharField(default="", max_length=255, verbose_name="provider uid"),
                ),
                ("provider_sid", models.CharField(default="", editable=False, max_length=255)),
                (
                    "amr",
                    models.CharField(
                        default="",
                        help_text="Space-separated values of RFC 8176, as in the tokens' amr claim.",
                        max_length=100,
                        verbose_name="authentication methods",
                    ),
                ),
                ("authenticated_at", models.DateTimeField(editable=False, null=True)),
                (
                    "sid",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        help_text="Public name of this login session. It is not a credential.",
                        unique=True,
                        verbose_name="sid",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            (authmodes.conf.Mode["SESSION"], "cookie"),
                            (authmodes.conf.Mode["JWT"], "token"),
                        ],
                        max_length=10,
                        verbose_name="mode",
                    ),
                ),
                ("session_key", models.CharField(editable=False, max_length=128, null=True)),
                ("current_jti", models.CharField(default="", editable=False, max_length=255)),
                ("previous_jti", models.CharField(default="", editable=False, max_length=255)),
                (
                    "rotated_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="rotated at"),
                ),
                ("auth_hash", models.CharField(default="", editable=False, max_length=128)),
                (
                    "client_id",
                    models.CharField(
                        default="",
                        help_text="The app that requested the login; empty for this site's own pages.",
                        max_length=100,
                        verbose_name="client id",
                    ),
                ),
                ("ip_address", models.GenericIPAddressField(null=True, verbose_name="IP address")),
                (
                    "last_ip_address",
                    models.GenericIPAddressField(null=True, verbose_name="last IP address"),
                ),
                (
                    "user_agent",
                    models.CharField(default="", max_length=512, verbose_name="user agent"),
                ),
                (
                    "name",
                    models.CharField(
                        default="",
                        help_text="What the user calls this login session.",
                        max_length=60,
                        verbose_name="name",
                    ),
                ),
                (
                    "client_family",
                    models.GeneratedField(
                        db_persist=True,
                        expression=models.Case(
                            models.When(then=models.Value("edge"), user_agent__contains="Edg"),
                            models.When(then=models.Value("opera"), user_agent__contains="OPR/"),
                            models.When(
                                then=models.Value("samsung"), user_agent__contains="SamsungBrowser/"
                            ),
                            models.When(
                                then=models.Value("firefox"), user_agent__contains="Firefox/"
                            ),
                            models.When(
                                then=models.Value("firefox"), user_agent__contains="FxiOS/"
                            ),
                            models.When(then=models.Value("chrome"), user_agent__contains="CriOS/"),
                            models.When(
                                then=models.Value("chrome"), user_agent__contains="Chrome/"
                            ),
                            models.When(
                                then=models.Value("safari"), user_agent__contains="Safari/"
                            ),
                            models.When(
                                then=models.Value("browser"), user_agent__contains="Mozilla/"
                            ),
                            models.When(then=models.Value(""), user_agent=""),
                            default=models.Value("program"),
                        ),
                        output_field=models.CharField(
                            choices=[
                                ("chrome", "Chrome"),
                                ("edge", "Edge"),
                                ("firefox", "Firefox"),
                                ("opera", "Opera"),
                                ("safari", "Safari"),
                                ("samsung", "Samsung Internet"),
                                ("browser", "Other browser"),
                                ("program", "App or script"),
                                ("", "Unknown client"),
                            ],
                            max_length=10,
                        ),
                        verbose_name="client family",
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="signed in at")),
                ("last_seen_at", models.DateTimeField(verbose_name="last seen at")),
                ("expires_at", models.DateTimeField(verbose_name="expires at")),
                ("ended_at", models.DateTimeField(null=True, verbose_name="ended at")),
                (
                    "end_reason",
                    models.CharField(
                        choices=[
                            ("logout", "logged out"),
                            ("revoked", "revoked"),
                            ("revoked_by_user", "revoked by the user"),
                            ("replaced", "replaced by another login"),
                            ("reuse", "token or code reused"),
                            ("expired", "expired"),
                            ("limit", "limit of login sessions"),
                            ("password_changed", "password changed"),
                            ("user_disabled", "user disabled"),
                            ("upstream_logout", "logged out at the provider"),
                        ],
                        default="",
                        max_length=20,
                        verbose_name="end reason",
                    ),
                ),
                (
                    "acting_user",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="acting user",
                    ),
                ),
                (
                    "ended_by",
                    models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="ended by",
                    ),
                ),
                (
                    "refresh_token",
                    models.OneToOneField(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="login_session",
                        to="token_blacklist.outstandingtoken",
                        verbose_name="refresh token",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="login_sessions",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "login session",
                "verbose_name_plural": "login sessions",
                "permissions": (("revoke_loginsession", "Can revoke login session"),),
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="Overview",
            fields=[],
            options={
                "verbose_name": "overview",
                "verbose_name_plural": "overview",
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("authmodes.loginsession",),
        ),
        migrations.CreateModel(
            name="MachineClient",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "client_id",
                    models.CharField(
                        default=authmodes.models.machine_client.new_client_id,
                        editable=False,
                        help_text="Public name of this client. It is not a credential.",
                        max_length=100,
                        unique=True,
                        verbose_name="client id",
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                (
                    "scopes",
                    models.CharField(
                        help_text="The scopes that the client may request, separated by spaces.",
                        max_length=1000,
                        validators=[authmodes.models.machine_client.validate_scopes],
                        verbose_name="scopes",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(
                        default=django.utils.timezone.now, editable=False, verbose_name="created at"
                    ),
                ),
                (
                    "expires_at",
                    models.DateTimeField(
                        blank=True, help_text="Empty: never.", null=True, verbose_name="expires at"
                    ),
                ),
                (
                    "last_used_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="last used at"),
                ),
                (
                    "revoked_at",
                    models.DateTimeField(
                        db_index=True, editable=False, null=True, verbose_name="revoked at"
                    ),
                ),
                (
                    "revoked_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="revoked by",
                    ),
                ),
            ],
            options={
                "verbose_name": "machine client",
                "verbose_name_plural": "machine clients",
                "permissions": (("revoke_machineclient", "Can revoke machine client"),),
                "default_permissions": ("view", "add", "change"),
            },
        ),
        migrations.CreateModel(
            name="MachineClientSecret",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("secret_id", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)),
                ("digest", models.CharField(editable=False, max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("expires_at", models.DateTimeField(db_index=True, null=True)),
                ("revoked_at", models.DateTimeField(db_index=True, null=True)),
                (
                    "client",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secrets",
                        to="authmodes.machineclient",
                    ),
                ),
            ],
            options={
                "verbose_name": "machine client secret",
                "verbose_name_plural": "machine client secrets",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="LoginEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("started", "signed in"),
                            ("refused", "sign-in refused"),
                            ("reuse", "token or code reused"),
                            ("step_up", "re-authenticated"),
                            ("ended", "ended"),
                        ],
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="time"),
                ),
                (
                    "username",
                    models.CharField(default="", max_length=254, verbose_name="user name"),
                ),
                ("sid", models.UUIDField(null=True, verbose_name="sid")),
                ("ip_address", models.GenericIPAddressField(null=True, verbose_name="IP address")),
                (
                    "code",
                    models.CharField(
                        default="",
                        help_text="Why a login ended or was refused: an end reason, or an error code.",
                        max_length=40,
                        verbose_name="reason",
                    ),
                ),
                (
                    "mode",
                    models.CharField(
                        choices=[
                            (authmodes.conf.Mode["SESSION"], "cookie"),
                            (authmodes.conf.Mode["JWT"], "token"),
                        ],
                        default="",
                        max_length=10,
                        verbose_name="mode",
                    ),
                ),
                ("method", models.CharField(default="", max_length=40, verbose_name="method")),
                ("provider", models.CharField(default="", max_length=200, verbose_name="provider")),
                (
                    "actor_sid",
                    models.UUIDField(
                        help_text="The login that the request came with.",
                        null=True,
                        verbose_name="by login",
                    ),
                ),
                (
                    "filter",
                    models.CharField(
                        default="",
                        help_text="What was ended, where one event stands for many login sessions.",
                        max_length=500,
                        verbose_name="filter",
                    ),
                ),
                ("count", models.PositiveIntegerField(default=1, verbose_name="number")),
                ("bucket", models.BigIntegerField(editable=False, null=True, unique=True)),
                (
                    "actor",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "login event",
                "verbose_name_plural": "login events",
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["-created_at", "-id"], name="authmodes_event_time"),
                    models.Index(fields=["user", "created_at"], name="authmodes_event_user"),
                    models.Index(fields=["kind", "created_at"], name="authmodes_event_kind"),
                    models.Index(fields=["code", "created_at"], name="authmodes_event_code"),
                    models.Index(
                        fields=["provider", "created_at"], name="authmodes_event_provider"
                    ),
                    models.Index(fields=["sid"], name="authmodes_event_sid"),
                    models.Index(fields=["ip_address", "created_at"], name="authmodes_event_ip"),
                ],
            },
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(fields=["user", "ended_at"], name="authmodes_user_ended"),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(fields=["-created_at", "-id"], name="authmodes_created"),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(fields=["ip_address", "-created_at"], name="authmodes_ip"),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", True)),
                fields=["expires_at"],
                name="authmodes_open_expires",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)),
                fields=["ended_at"],
                name="authmodes_ended",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("ended_by__isnull", False)),
                fields=["ended_by"],
                name="authmodes_ended_by",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("acting_user__isnull", False)),
                fields=["acting_user"],
                name="authmodes_acting_user",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("provider_sid", ""), _negated=True),
                fields=["provider_sid"],
                name="authmodes_provider_sid",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("provider_uid", ""), _negated=True),
                fields=["provider_uid"],
                name="authmodes_provider_uid",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("provider", ""), _negated=True),
                fields=["provider", "-created_at"],
                name="authmodes_provider",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("end_reason", ""), _negated=True),
                fields=["end_reason", "-created_at"],
                name="authmodes_end_reason",
            ),
        ),
        migrations.AddIndex(
            model_name="loginsession",
            index=models.Index(
                condition=models.Q(("client_family", ""), _negated=True),
                fields=["client_family", "-created_at"],
                name="authmodes_client_family",
            ),
        ),
        migrations.AddConstraint(
            model_name="loginsession",
            constraint=models.UniqueConstraint(
                fields=("session_key",), name="authmodes_session_key"
            ),
        ),
    ]

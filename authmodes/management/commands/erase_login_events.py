"""`manage.py erase_login_events`: remove one person from the audit trail and the admin's log."""

import re
from argparse import ArgumentParser
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db.models import Q

from ...registry import erasure
from ..base import CheckedCommand

# The apps whose objects are described by the names and addresses of users.
NAMING_APPS = ("authmodes", "token_blacklist", "account", "socialaccount", "mfa")


class Command(CheckedCommand):
    help = (
        "Remove a user's id, name, addresses and sids from the login events, and entries about "
        "the user from the admin's log. The kind, the time and the code of each event remain."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--user", required=True, help="the name that the user signs in with, or the id"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, **options: Any) -> None:
        user_id, names = _find(options["user"])
        entries = _log_entries(user_id, names)
        if options["dry_run"]:
            events = erasure.events_of(user_id).count()
            self.stdout.write(f"Would erase {events} login events, {len(entries)} log entries.")
            return
        events = erasure.erase(user_id)
        for entry in entries:
            entry.object_repr, entry.object_id, entry.change_message = "-", None, ""
            entry.save(update_fields=["object_repr", "object_id", "change_message"])
        self.stdout.write(f"Erased {events} login events, {len(entries)} log entries.")


def _find(text: str) -> tuple[Any, set[str]]:
    """Return the id of a user, and the names; a user who was deleted has only the id."""
    model: Any = get_user_model()
    user = model._base_manager.filter(**{model.USERNAME_FIELD: text}).first()
    try:
        user_id = user.pk if user is not None else model._meta.pk.to_python(text)
    except ValidationError:
        raise CommandError("There is no such user.") from None
    user = user or model._base_manager.filter(pk=user_id).first()
    if user is None:
        return user_id, set()
    names = {str(user), user.get_username(), getattr(user, model.get_email_field_name(), "")}
    if apps.is_installed("allauth.account"):
        addresses = apps.get_model("account", "EmailAddress").objects.filter(user=user_id)
        names.update(addresses.values_list("email", flat=True))
    return user_id, names - {"", None}


def _log_entries(user_id: Any, names: set[str]) -> list[Any]:
    """Return the entries of the admin's log that are about the user, or name the user."""
    if not apps.is_installed("django.contrib.admin"):
        return []
    from django.contrib.admin.models import LogEntry

    opts = get_user_model()._meta
    is_user = Q(content_type__app_label=opts.app_label, content_type__model=opts.model_name)
    found = {entry.pk: entry for entry in LogEntry.objects.filter(is_user, object_id=str(user_id))}
    for name in names:
        # Not "bob" in "bobby".
        whole = re.compile(rf"(?<![\w@.+-]){re.escape(name)}(?![\w@.+-])", re.IGNORECASE)
        naming = LogEntry.objects.filter(
            content_type__app_label__in=NAMING_APPS, object_repr__icontains=name
        )
        found |= {entry.pk: entry for entry in naming if whole.search(entry.object_repr)}
    return list(found.values())

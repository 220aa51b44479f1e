"""`manage.py revoke_login_sessions`: the command line of `registry.revoke_in_batches`."""

from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandError
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from ... import registry
from ...models import LoginSession
from ...registry import ending, events
from ..base import ProgressCommand


class Command(ProgressCommand):
    help = (
        "End login sessions: their cookies, access tokens and refresh tokens are refused. "
        "Several options select the login sessions that match all of them. Works in batches, in "
        "constant memory; it can be interrupted and run again."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", help="the name that the user signs in with")
        parser.add_argument("--provider", help="such as google")
        parser.add_argument("--before", type=_moment, help="signed in before this time (ISO 8601)")
        parser.add_argument("--all", action="store_true", help="every login session")
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, **options: Any) -> None:
        names = {"user": "user", "provider": "provider", "before": "created_at__lt"}
        lookups = {names[name]: options[name] for name in names if options[name] is not None}
        if bool(lookups) == options["all"]:
            raise CommandError("Give --user, --provider or --before, or only --all.")
        if "user" in lookups:
            lookups["user"] = _user(options["user"])
        rows = LoginSession.objects.filter(ended_at=None, **lookups)
        total = rows.count()
        if options["dry_run"]:
            self.stdout.write(f"Would revoke {total} login sessions.")
            return
        if "created_at__lt" not in lookups:
            # What is not a row yet: each of these is a sign-in of this moment.
            ending.cancel_authorization_codes(**lookups)
            if lookups.keys() == {"user"}:
                ending.cancel_pending(lookups["user"])
        described = " ".join(f"{name}={value}" for name, value in lookups.items()) or "all"
        done = 0
        for count in registry.revoke_in_batches(rows, event=events.new_bulk(described)):
            done += count
            self.show(done, total)
        self.finish(f"Revoked {done} login sessions.")


def _user(name: str) -> Any:
    """Return the key of a user; the event must not contain the name."""
    model: Any = get_user_model()
    user = model._base_manager.filter(**{model.USERNAME_FIELD: name}).first()
    if user is None:
        raise CommandError("There is no such user.")
    return user.pk


def _moment(text: str) -> datetime:
    try:
        day = parse_date(text) if len(text) <= len("2000-01-01") else None
        moment = datetime.combine(day, datetime.min.time()) if day else parse_datetime(text)
        if moment is not None:
            aware = timezone.make_aware(moment) if timezone.is_naive(moment) else moment
            return aware.astimezone(UTC)
    except (OverflowError, ValueError):
        pass
    raise ArgumentTypeError("give a date or a time such as 2026-01-31T12:00+00:00")

"""Facts that are kept until a given moment, such as the `jti` of a token that was used once."""

from datetime import datetime

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _

from .compiled import CompiledQuery
from .databases import write_database
from .digests import digest_of
from .managers import PrimaryManager


class ExpiringMarkManager(PrimaryManager["ExpiringMark"]):
    """Sets and reads marks by name: the kind of the mark, then what identifies it."""

    def set_once(self, *name: str, until: datetime) -> bool:
        """Set a mark; return False if it is set already.

        This is one INSERT, so only one of any number of processes succeeds.
        """
        try:
            with transaction.atomic(using=write_database()):
                self.create(digest=_digest(name), expires_at=until)
        except IntegrityError:
            return False
        return True

    def extend(self, *names: tuple[str, ...], until: datetime) -> None:
        """Set marks, or move their expiry to a later moment; the order of calls is irrelevant.

        Nothing is deleted: on MariaDB, two transactions that delete and insert the same name
        deadlock.
        """
        marks = [ExpiringMark(digest=_digest(name), expires_at=until) for name in names]
        known = self.filter(digest__in=[mark.digest for mark in marks], expires_at__lte=until)
        if known.update(expires_at=until) < len(marks):
            self.bulk_create(marks, ignore_conflicts=True)

    def latest_expiry(self, *names: tuple[str, ...]) -> datetime | None:
        """Return the latest expiry among the marks of these names; None if none is set."""
        found = self.filter(digest__in=[_digest(name) for name in names])
        return found.aggregate(latest=models.Max("expires_at"))["latest"]

    def expiry(self, *name: str) -> datetime | None:
        """Return the expiry of a mark; None if it is not set. Every sign-in asks for one."""
        mark = _with_digest.first(write_database(), digest=_digest(name))
        return None if mark is None else mark.expires_at

    def clear(self, *name: str) -> None:
        """Delete a mark, so that it can be set again."""
        self.named(*name).delete()

    def named(self, *name: str) -> models.QuerySet["ExpiringMark"]:
        """Return the queryset of one mark, for use inside another query."""
        return self.filter(digest=_digest(name))


class ExpiringMark(models.Model):
    """A fact that matters until `expires_at`. Only a digest of its name is stored."""

    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = ExpiringMarkManager()

    class Meta:
        verbose_name = _("expiring mark")
        verbose_name_plural = _("expiring marks")
        default_permissions = ()

    def __str__(self) -> str:
        return f"expiring mark {self.pk}"


_with_digest = CompiledQuery[ExpiringMark](
    ExpiringMark, lambda digest: ExpiringMark.objects.filter(digest=digest), digest="digest"
)


def _digest(name: tuple[str, ...]) -> str:
    return digest_of("\0".join(name))

"""Which tokens were used up here, so that each counts once: above all other issuers'."""

import hashlib
from datetime import datetime

from django.db import IntegrityError, models, transaction
from django.utils.translation import gettext_lazy as _

from .managers import PrimaryManager


class ExpiringMarkManager(PrimaryManager["ExpiringMark"]):
    """Spending is one INSERT, so of any number of processes only one can."""

    def spend(self, *name: str, until: datetime) -> bool:
        """Use a token up; False if somebody has already.

        `name` is what identifies it, such as its issuer and `jti`, and `until` when it
        would be refused anyway.
        """
        try:
            with transaction.atomic():
                self.create(digest=_digest(name), expires_at=until)
        except IntegrityError:
            return False
        return True

    def note(self, *name: str, until: datetime) -> None:
        """Remember a name until then at least; in whatever order that is asked, the latest counts.

        Nothing is deleted: on MariaDB two who delete and insert the same name deadlock.
        """
        if not self.named(*name).filter(expires_at__lte=until).update(expires_at=until):
            self.spend(*name, until=until)

    def spent_until(self, *names: tuple[str, ...]) -> datetime | None:
        """The latest until when one of these names is remembered; None if none is."""
        found = self.filter(digest__in=[_digest(name) for name in names])
        return found.aggregate(latest=models.Max("expires_at"))["latest"]

    def give_back(self, *name: str) -> None:
        """Let a token be presented again: nothing came of it."""
        self.named(*name).delete()

    def named(self, *name: str) -> models.QuerySet["ExpiringMark"]:
        """The one of this name, if it was spent; for a query that asks for more than that."""
        return self.filter(digest=_digest(name))


class ExpiringMark(models.Model):
    """A token that must not be accepted again. Only a digest of its name is kept."""

    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField(db_index=True)

    objects = ExpiringMarkManager()

    class Meta:
        verbose_name = _("expiring mark")
        verbose_name_plural = _("expiring marks")
        default_permissions = ()

    def __str__(self) -> str:
        return f"expiring mark {self.pk}"


def _digest(name: tuple[str, ...]) -> str:
    # JSON can carry half of a surrogate pair, and a name may come from a token that nobody
    # has verified yet.
    return hashlib.sha256("\0".join(name).encode(errors="surrogatepass")).hexdigest()

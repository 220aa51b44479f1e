"""Compares the `uid` of social accounts letter by letter where the database's collation does not.

A provider's `sub` is case-sensitive (OpenID Connect Core, 2). The usual collations of MySQL and
MariaDB treat "A", "á" and "a " like "a", so one user could sign in as another.
"""

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.models import SocialAccount
from allauth.socialaccount.signals import pre_social_login
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.models.lookups import Exact
from django.http import HttpRequest
from django.utils.translation import gettext as _

from .. import request_client


def register() -> None:
    """Make every query for an account by its `uid` exact, including allauth's own."""
    uid: Any = SocialAccount._meta.get_field("uid")
    uid.register_lookup(ExactText)
    pre_social_login.connect(refuse_twin, dispatch_uid="authmodes_twin")


def refuse_twin(request: HttpRequest, sociallogin: Any, **kwargs: Any) -> None:
    """Refuse an account that the table's unique index confuses with an existing one.

    allauth sends the signal in every flow, after looking the account up and before any change.
    """
    account = sociallogin.account
    if connections[SocialAccount.objects.db].vendor != "mysql" or account.pk:
        return
    # `in` compares by the collation, as the index does. An equal uid belongs to an account
    # that a parallel call has just created.
    alike = SocialAccount.objects.filter(provider=account.provider, uid__in=[account.uid])
    if not alike.exclude(uid=account.uid).exists():
        return
    if request_client.is_headless(request):
        from allauth.headless.base.response import ForbiddenResponse

        raise ImmediateHttpResponse(ForbiddenResponse(request))
    raise PermissionDenied(_("The database treats this account and an existing one as the same."))


class ExactText(Exact):
    """`=` twice: as the index compares, and then letter by letter."""

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        by_index, params = super().as_sql(compiler, connection)
        lhs, lhs_params = self.process_lhs(compiler, connection)
        rhs, rhs_params = self.process_rhs(compiler, connection)
        letters = "CAST(CONVERT(%s USING utf8mb4) AS BINARY)"
        by_letters = f"{letters % lhs} = {letters % rhs}"
        return f"({by_index} AND {by_letters})", (*params, *lhs_params, *rhs_params)

"""Tells the accounts of a provider apart letter by letter, where the database would not.

A provider's `sub` is case-sensitive (OpenID Connect Core, 2), and the usual collations of
MySQL and MariaDB take "A", "á" and "a " for "a": one person would sign in as another.
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
    """Have every query for an account by its `uid` be exact, allauth's above all."""
    uid: Any = SocialAccount._meta.get_field("uid")
    uid.register_lookup(ExactText)
    pre_social_login.connect(refuse_twin, dispatch_uid="authmodes_twin")


def refuse_twin(request: HttpRequest, sociallogin: Any, **kwargs: Any) -> None:
    """Refuse an account that the table's unique index takes for another one.

    Sent by allauth in every flow, when it has looked the account up and done nothing yet.
    """
    if connections[SocialAccount.objects.db].vendor != "mysql" or sociallogin.account.pk:
        return
    account = sociallogin.account
    # `in` is compared by the collation, as the index is; the very same is no twin, but somebody
    # who has made it this moment.
    alike = SocialAccount.objects.filter(provider=account.provider, uid__in=[account.uid])
    if not alike.exclude(uid=account.uid).exists():
        return
    if request_client.is_headless(request):
        from allauth.headless.base.response import ForbiddenResponse

        raise ImmediateHttpResponse(ForbiddenResponse(request))
    raise PermissionDenied(_("The database cannot tell this account from another one."))


class ExactText(Exact):
    """`=` as the index knows it, and then by the letters."""

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        by_index, params = super().as_sql(compiler, connection)
        lhs, lhs_params = self.process_lhs(compiler, connection)
        rhs, rhs_params = self.process_rhs(compiler, connection)
        letters = "CAST(CONVERT(%s USING utf8mb4) AS BINARY)"
        by_letters = f"{letters % lhs} = {letters % rhs}"
        return f"({by_index} AND {by_letters})", (*params, *lhs_params, *rhs_params)

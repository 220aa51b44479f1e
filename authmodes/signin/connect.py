"""Connects provider accounts to a signed-in user, and disconnects them.

allauth's own flows for this also ask for a re-authentication that is kept in a Django session,
which a token login does not have. The views ask for `permissions.RecentLogin` instead.
"""

from typing import TYPE_CHECKING, Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import signals
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest

from ..exceptions import Conflict, ConnectedOther, DisconnectRefused, LoginRefused, UidRequired
from ..models import write_database
from . import provider_tokens
from .allauth_internals import social_flows
from .provider_tokens import Credential

if TYPE_CHECKING:
    from allauth.socialaccount.models import SocialAccount


def connect(
    request: HttpRequest, user: Any, provider: Provider, credential: Credential
) -> "SocialAccount":
    """Connect the account that a credential identifies to `user`, unless it is connected already.

    Raises `Conflict` for an account of another user, and what `provider_tokens.verified` raises.
    """
    with provider_tokens.verified(request, provider, credential) as sociallogin:
        sociallogin.state["process"] = AuthProcess.CONNECT
        try:
            with transaction.atomic(using=write_database()):
                _connect(request, user, sociallogin)
        except ImmediateHttpResponse:
            raise LoginRefused from None
        except IntegrityError:
            raise Conflict from None
        return sociallogin.account


def _connect(request: HttpRequest, user: Any, sociallogin: Any) -> None:
    social_flows().login.pre_social_login(request, sociallogin)
    if sociallogin.is_existing and sociallogin.user != user:
        raise ConnectedOther
    if not sociallogin.is_existing or sociallogin.account._state.adding:
        sociallogin.connect(request, user)


def disconnect(request: HttpRequest, user: Any, provider: Provider, uid: str) -> None:
    """Disconnect an account: the one that `uid` names, or the only one of this provider.

    Raises `Http404`, or `BadRequest` if several accounts could be meant or if allauth's rules
    say that the user could not sign in any more.
    """
    with transaction.atomic(using=write_database()):
        account = _account_to_disconnect(request, user, provider, uid)
        account.delete()
        signals.social_account_removed.send(
            account.__class__, request=request, socialaccount=account
        )
    get_adapter(request).send_notification_mail(
        "socialaccount/email/account_disconnected",
        user,
        context={"account": account, "provider": provider},
    )


def _account_to_disconnect(request: HttpRequest, user: Any, provider: Provider, uid: str) -> Any:
    # Imported here, because a project may do without allauth.socialaccount.
    from allauth.socialaccount.models import SocialAccount

    # All of the user's accounts are locked, or two parallel calls could each rely on the
    # account that the other one deletes.
    accounts = SocialAccount.objects.select_for_update().filter(user=user).order_by("pk")
    found = [
        account
        for account in accounts
        if account.provider == provider.sub_id and uid in ("", account.uid)
    ]
    if not found:
        raise Http404
    if len(found) > 1:
        raise UidRequired
    try:
        social_flows().connect.validate_disconnect(request, found[0])
    except ValidationError as error:
        detail = " ".join(error.messages)
        raise DisconnectRefused(detail, getattr(error, "code", None) or "invalid") from None
    return found[0]

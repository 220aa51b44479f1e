"""Connects provider accounts to a signed-in user, and disconnects them.

It repeats allauth's few steps, because allauth's own flows for it also ask for a
re-authentication that is noted in a Django session, and a token login has none. Whoever
calls this has asked for a recent login already (`stepup.RecentLogin`).
"""

from typing import TYPE_CHECKING, Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount import signals
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.providers.base import AuthProcess, Provider
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy as _

from ..exceptions import BadRequest, Conflict, login_refused
from . import provider_tokens
from .provider_tokens import Credential

if TYPE_CHECKING:
    from allauth.socialaccount.models import SocialAccount


def connect(
    request: HttpRequest, user: Any, provider: Provider, credential: Credential
) -> "SocialAccount":
    """Connect what a credential identifies to `user`; theirs already is no mistake.

    Raises `Conflict` for an account of somebody else, and what `provider_tokens.verified`
    raises.
    """
    with provider_tokens.verified(request, provider, credential) as sociallogin:
        sociallogin.state["process"] = AuthProcess.CONNECT
        try:
            with transaction.atomic():
                _connect(request, user, sociallogin)
        except ImmediateHttpResponse:
            raise login_refused() from None
        except IntegrityError:
            raise Conflict from None
        return sociallogin.account


def disconnect(request: HttpRequest, user: Any, provider: Provider, uid: str) -> None:
    """Disconnect an account, the only one of this provider unless `uid` names it.

    Raises `Http404`, or `BadRequest` where several could be meant or allauth's rules say
    that the user could not sign in any more.
    """
    # Not above, nor below: a project may do without allauth.socialaccount.
    from allauth.socialaccount.models import SocialAccount

    with transaction.atomic():
        account = _account_to_disconnect(request, user, provider, uid)
        account.delete()
        signals.social_account_removed.send(SocialAccount, request=request, socialaccount=account)
    get_adapter(request).send_notification_mail(
        "socialaccount/email/account_disconnected",
        user,
        context={"account": account, "provider": provider},
    )


def _account_to_disconnect(request: HttpRequest, user: Any, provider: Provider, uid: str) -> Any:
    from allauth.socialaccount.internal import flows
    from allauth.socialaccount.models import SocialAccount

    # All of them, or two calls at once leave each other as the way in that stays.
    accounts = SocialAccount.objects.select_for_update().filter(user=user).order_by("pk")
    of_provider = [account for account in accounts if account.provider == provider.sub_id]
    found = [account for account in of_provider if uid in ("", account.uid)]
    if not found:
        raise Http404
    if len(found) > 1:
        raise BadRequest(_("Say which account by its uid."), "uid_required")
    account = found[0]
    try:
        flows.connect.validate_disconnect(request, account)
    except ValidationError as error:
        detail = " ".join(error.messages)
        raise BadRequest(detail, getattr(error, "code", None) or "invalid") from None
    return account


def _connect(request: HttpRequest, user: Any, sociallogin: Any) -> None:
    from allauth.socialaccount.internal import flows

    flows.login.pre_social_login(request, sociallogin)
    if sociallogin.is_existing and sociallogin.user != user:
        detail = _("This account is connected to somebody else.")
        raise Conflict({"detail": detail, "code": "connected_other"})
    if not sociallogin.is_existing or sociallogin.account._state.adding:
        sociallogin.connect(request, user)

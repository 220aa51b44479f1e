"""Sign-ins that allauth matches with an account by its e-mail address, not by a provider account.

With `SOCIALACCOUNT_EMAIL_AUTHENTICATION` the owner of an address is signed in to the account
that has it, although the address may never have been verified here. A different person may
have made that account for them and kept ways into it (pre-hijacking). allauth only wipes its
password.
"""

from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.utils import user_email
from allauth.socialaccount.providers.base import AuthProcess
from django.apps import apps
from django.db import router, transaction

from ..exceptions import LoginRefused
from ..models import LoginSession
from ..registry import ending
from .allauth_internals import email_that_matched

# What else signs a user in, or acts for one: the app, and its model.
OTHER_WAYS_IN = {
    "allauth.mfa": "mfa.Authenticator",
    "allauth.idp.oidc": "allauth_idp_oidc.Token",
}


def check(sociallogin: Any) -> None:
    """Refuse a match with an account that is not the owner's. Raises `LoginRefused`.

    An address that is only a further one, and not verified, may be a mistake: the account
    belongs to the owner of its verified address. A telephone number cannot be removed, because
    the project keeps it.
    """
    user, email = sociallogin.user, email_that_matched(sociallogin)
    connects = sociallogin.state.get("process") == AuthProcess.CONNECT
    if connects or not email or _is_verified(user, email):
        return
    is_further = (user_email(user) or "") != email.lower()
    if is_further and EmailAddress.objects.filter(user=user, verified=True).exists():
        raise LoginRefused
    by_phone = app_settings.LoginMethod.PHONE in app_settings.LOGIN_METHODS
    if by_phone and get_adapter().get_phone(user):
        raise LoginRefused


def remove_other_ways_in(user: Any, sociallogin: Any) -> None:
    """Remove every way into an account but that of the owner of its address, who signs in now.

    The address counts as verified from then on, because the provider has verified it.
    """
    from allauth.socialaccount.models import SocialAccount

    email = email_that_matched(sociallogin)
    if not email or _is_verified(user, email):
        return
    with transaction.atomic(using=router.db_for_write(LoginSession)):
        ending.revoke_user(user)
        # Anew even if there is none, because links to reset a password depend on it.
        user.set_unusable_password()
        user_email(user, email)
        user.save()
        SocialAccount.objects.filter(user=user).exclude(pk=sociallogin.account.pk).delete()
        EmailAddress.objects.filter(user=user).delete()
        EmailAddress.objects.create(user=user, email=email.lower(), verified=True, primary=True)
        for app, model in OTHER_WAYS_IN.items():
            if apps.is_installed(app):
                apps.get_model(model)._default_manager.filter(user=user).delete()


def _is_verified(user: Any, email: str) -> bool:
    # Compared here, because a collation may take "é" for "e".
    verified = EmailAddress.objects.filter(user=user, verified=True)
    return email.lower() in verified.values_list("email", flat=True)

"""Checks sign-ins that allauth matches with an account by e-mail address.

With `SOCIALACCOUNT_EMAIL_AUTHENTICATION` the owner of an address is signed in to the account
that has it, although the address may never have been verified here. An attacker may have
created that account and kept other ways to sign in to it (pre-hijacking). allauth only removes
its password.
"""

from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.models import EmailAddress
from allauth.account.utils import user_email
from allauth.socialaccount.providers.base import AuthProcess
from django.apps import apps
from django.db import transaction

from ..exceptions import LoginRefused
from ..models import write_database
from ..registry import ending
from .allauth_internals import email_that_matched

# By app, the models of other credentials: they sign a user in, or act for one.
OTHER_WAYS_IN = {
    "allauth.mfa": "mfa.Authenticator",
    "allauth.idp.oidc": "allauth_idp_oidc.Token",
}


def check(sociallogin: Any) -> None:
    """Raise `LoginRefused` if the account may not belong to the owner of the address.

    An unverified secondary address may be a mistake: the account belongs to the owner of its
    verified address. An account that can sign in by telephone number is refused as well,
    because the project stores the number and we cannot remove it.
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
    """Remove every other way to sign in to an account that was matched by its address.

    Only the provider account of this sign-in is kept. The address then counts as verified,
    because the provider has verified it.
    """
    from allauth.socialaccount.models import SocialAccount

    email = email_that_matched(sociallogin)
    if not email or _is_verified(user, email):
        return
    with transaction.atomic(using=write_database()):
        ending.revoke_user(user)
        # Even if there is none, because this also invalidates links to reset the password.
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
    # Compared in Python, because a collation may treat "é" like "e".
    verified = EmailAddress.objects.filter(user=user, verified=True)
    return email.lower() in verified.values_list("email", flat=True)

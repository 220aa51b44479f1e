"""A sign-in that an e-mail address leads to an account: the owner gets it, and gets it alone."""

import pytest
from allauth.account.forms import default_token_generator
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from authmodes.models import LoginSession

from .support.browser import Browser
from .support.logins import API, PASSWORD, post_json, sign_in, social_login
from .support.mfa import totp_code
from .support.oidc_provider import CLIENT_ID

User = get_user_model()
OWNER = {"email": "owner@example.com", "email_verified": True}
HEADLESS = "/_allauth/app/v1/auth/provider/token"


@pytest.fixture
def planted(provider, settings):
    """An account that a different person has made for the owner's address."""
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"
    user = User.objects.create_user("planted", OWNER["email"], PASSWORD)
    EmailAddress.objects.create(user=user, email=user.email, primary=True)
    EmailAddress.objects.create(user=user, email="mallory@example.com", verified=True)
    SocialAccount.objects.create(user=user, provider="dummy", uid="mallory")
    return user


def rest(provider, mode, **claims):
    id_token = provider.id_token(sub="owner", **claims)
    return post_json("/auth/social/example/", {"mode": mode, "id_token": id_token})


def headless(provider, mode, **claims):
    id_token = provider.id_token(sub="owner", **claims)
    token = {"client_id": CLIENT_ID, "id_token": id_token}
    body = {"provider": "example", "process": "login", "token": token, "mode": mode}
    return post_json(HEADLESS, body)


def page(provider, mode, **claims):
    # The dummy provider's form takes a box that is ticked.
    claims["email_verified"] = "on" if claims["email_verified"] else ""
    return social_login(Browser(), "555", mode, **claims)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("enter", [rest, headless, page])
def test_the_owner_is_left_as_the_only_one_with_a_way_in(
    enter, connected, mode, provider, planted, settings
):
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie" if enter is page else "body"
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = connected
    secret = generate_totp_secret()
    squatter = sign_in("session", username="planted").client
    waiting = Browser()
    TOTP.activate(planted, secret)
    waiting.submit("/accounts/login/", {"login": "planted", "password": PASSWORD})
    reset = default_token_generator.make_token(planted)

    assert enter(provider, mode, **OWNER).status_code in (200, 302)
    assert squatter.get(API).status_code == 401
    waiting.submit("/accounts/2fa/authenticate/", {"code": totp_code(secret)})
    assert waiting.get(API).status_code == 401
    planted = User.objects.get(pk=planted.pk)
    assert not planted.has_usable_password()
    assert not default_token_generator.check_token(planted, reset)
    assert not Authenticator.objects.exists()
    accounts = set(SocialAccount.objects.values_list("uid", flat=True))
    assert accounts == ({"555" if enter is page else "owner"} if connected else set())
    address = EmailAddress.objects.get(user=planted)
    assert (address.email, address.verified, address.primary) == (OWNER["email"], True, True)
    login_session = LoginSession.objects.get(ended_at=None)
    assert (login_session.user, login_session.mode) == (planted, mode)


def test_what_the_owner_adds_afterwards_stays(provider, planted):
    assert rest(provider, "jwt", **OWNER).status_code == 200
    planted.refresh_from_db()
    planted.set_password("the owner's own password")
    planted.save()
    assert rest(provider, "jwt", **OWNER).status_code == 200
    planted.refresh_from_db()
    assert planted.has_usable_password()


def test_a_password_without_an_address_row_is_removed_as_well(provider, planted, settings):
    EmailAddress.objects.all().delete()
    assert rest(provider, "jwt", **OWNER).status_code == 200
    planted.refresh_from_db()
    assert not planted.has_usable_password()
    assert EmailAddress.objects.get().verified


@pytest.mark.parametrize("enter", [rest, headless, page])
def test_an_account_that_only_lists_the_address_is_not_opened(enter, provider, alice, settings):
    """Its owner may have mistyped a second address, and is not put out by whose it is."""
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    EmailAddress.objects.create(user=alice, email=OWNER["email"])
    response = enter(provider, "session", **OWNER)
    assert response.status_code in (400, 401, 403)
    assert not LoginSession.objects.exists()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    assert EmailAddress.objects.filter(user=alice).count() == 2


def test_all_of_it_is_removed_or_nothing(provider, planted, monkeypatch):
    squatter = sign_in("session", username="planted").client

    def fail(*args, **kwargs):
        raise IntegrityError

    monkeypatch.setattr(EmailAddress.objects, "create", fail)
    assert rest(provider, "jwt", **OWNER).status_code == 409
    assert squatter.get(API).status_code == 200
    assert SocialAccount.objects.filter(uid="mallory").exists()

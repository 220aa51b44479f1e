"""What a user's changes do to that user's logins: locked, gone, new password, new ways in."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.core import mail
from django.test.utils import override_settings
from django.urls import path
from django.utils import timezone
from rest_framework.decorators import api_view
from rest_framework.response import Response

from authmodes.models import LoginSession

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.logins import (
    API,
    PASSWORD,
    Login,
    admin_login,
    call_with,
    html_login,
    refresh,
    social_login,
)
from .urls import urlpatterns as project_urlpatterns

NEW_PASSWORD = "another horse, another staple"

User = get_user_model()

pytestmark = pytest.mark.urls("tests.test_user_changes")


@api_view(["POST"])
def change_password(request):
    """A project's own endpoint, which does no more than Django's documentation shows."""
    user = User.objects.get(pk=request.user.pk)
    user.set_password(NEW_PASSWORD)
    user.save()
    return Response()


@api_view(["POST"])
def lock(request):
    user = User.objects.get(pk=request.user.pk)
    user.is_active = False
    user.save(update_fields=["is_active"])
    return Response()


urlpatterns = [
    *project_urlpatterns,
    path("probe/change-password/", change_password),
    path("probe/lock/", lock),
]


@dataclass
class Scene:
    """alice signed in thrice: in the browser she acts from, and twice elsewhere; and bob."""

    alice: Any
    browser: Browser
    here: LoginSession
    cookie: Login
    token: Login
    bobs: list[Login]
    root: Any

    def fresh_user(self):
        return User.objects.get(pk=self.alice.pk)

    def act(self, url, **data):
        self.browser.get(url)
        return self.browser.submit(url, data)


@pytest.fixture
def scene(login, alice, bob, admin_user):
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    browser = Browser()
    assert html_login(browser, "alice").status_code == 302
    here = LoginSession.objects.get()
    bobs = [login("session", bob), login("jwt", bob)]
    return Scene(alice, browser, here, login("session"), login("jwt"), bobs, admin_user)


def assert_elsewhere_ended(scene, *reasons):
    assert scene.cookie.browser.get(API).status_code == 401
    assert call_with(scene.token.access).status_code == 401
    assert refresh(scene.token.refresh_token).status_code == 401
    for used in (scene.cookie, scene.token):
        assert used.row.ended_at is not None
        assert used.row.end_reason in reasons


def assert_here_lives(scene):
    assert scene.browser.get(API).status_code == 200
    assert scene.browser.get("/probe/page/").status_code == 200
    scene.here.refresh_from_db()
    assert scene.here.ended_at is None


def assert_here_ended(scene):
    assert scene.browser.get(API).status_code == 401
    scene.here.refresh_from_db()
    assert scene.here.ended_at is not None


def assert_others_live(scene):
    assert [used.get().status_code for used in scene.bobs] == [200, 200]


# -- passwords -----------------------------------------------------------------------------


def test_a_password_changed_on_allauths_page_ends_the_others_and_keeps_this_one(scene):
    response = scene.act(
        "/accounts/password/change/",
        oldpassword=PASSWORD,
        password1=NEW_PASSWORD,
        password2=NEW_PASSWORD,
    )
    assert response.status_code == 302
    assert scene.fresh_user().check_password(NEW_PASSWORD)
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_lives(scene)
    assert_others_live(scene)


@override_settings(ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE=True)
def test_this_one_ends_too_where_allauth_is_told_to_sign_out(scene):
    scene.act(
        "/accounts/password/change/",
        oldpassword=PASSWORD,
        password1=NEW_PASSWORD,
        password2=NEW_PASSWORD,
    )
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_ended(scene)


def test_a_password_reset_by_link_ends_them_all(scene):
    stranger = Browser()
    stranger.submit("/accounts/password/reset/", {"email": scene.alice.email})
    (link,) = re.findall(r"https?://\S+/accounts/password/reset/key/\S+", mail.outbox[0].body)
    page = stranger.get(re.sub(r"^https?://[^/]+", "", link))
    response = stranger.submit(page.url, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})
    assert response.status_code == 302
    assert scene.fresh_user().check_password(NEW_PASSWORD)
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_ended(scene)
    assert_others_live(scene)


def test_a_password_changed_on_the_admins_page_ends_them_all_and_not_the_admins_own(scene):
    admin = Browser()
    admin_login(admin, "root")
    url = f"/admin/auth/user/{scene.alice.pk}/password/"
    admin.get(url)
    response = admin.submit(
        url,
        {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"},
    )
    assert response.status_code == 302, response.content
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_ended(scene)
    assert_others_live(scene)
    assert admin.get("/admin/").status_code == 200


def test_an_admin_who_disables_password_login_ends_them_all(scene):
    admin = Browser()
    admin_login(admin, "root")
    url = f"/admin/auth/user/{scene.alice.pk}/password/"
    admin.get(url)
    admin.submit(url, {"usable_password": "false", "unset-password": "Disable"})
    assert not scene.fresh_user().has_usable_password()
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_ended(scene)


def test_an_admins_own_password_changed_in_the_admin_keeps_the_admins_login(scene, login):
    admin = Browser()
    admin_login(admin, "root")
    elsewhere = login("jwt", scene.root)
    admin.get("/admin/password_change/")
    response = admin.submit(
        "/admin/password_change/",
        {"old_password": PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD},
    )
    assert response.status_code == 302
    assert admin.get("/admin/").status_code == 200
    assert elsewhere.get().status_code == 401
    assert_others_live(scene)


@pytest.mark.parametrize("update_fields", [None, ["password"]])
def test_set_password_and_save_ends_them_all(scene, update_fields):
    user = scene.fresh_user()
    user.set_password(NEW_PASSWORD)
    user.save(update_fields=update_fields)
    # Told at once, and not only when somebody asks.
    ended = LoginSession.objects.for_user(user).ended()
    assert {row.end_reason for row in ended} == {"password_changed"}
    assert ended.count() == 3
    assert_elsewhere_ended(scene, "password_changed")
    assert_here_ended(scene)
    assert_others_live(scene)


@pytest.mark.parametrize("own", ["cookie", "token"])
def test_a_projects_own_change_of_password_ends_the_others_at_once(scene, own):
    """The login in use goes as Django's cookies do, which nobody told to stay."""
    used = getattr(scene, own)
    other = scene.token if own == "cookie" else scene.cookie
    assert used.post("/probe/change-password/").status_code == 200
    assert other.row.end_reason == "password_changed"
    assert other.get().status_code == 401
    assert scene.browser.get(API).status_code == 401
    assert used.get().status_code == 401
    assert used.row.end_reason == "password_changed"


def test_a_save_that_changes_neither_ends_nothing(scene):
    user = scene.fresh_user()
    user.first_name = "Alice"
    user.last_login = timezone.now()
    user.save()
    assert_here_lives(scene)
    assert scene.cookie.get().status_code == 200
    assert scene.token.refresh().status_code == 200


def test_a_better_hash_of_the_same_password_ends_nothing_but_what_django_ends(scene, login):
    """Django upgrades a hash when its user signs in, and its cookies die of that."""
    hashers = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        "django.contrib.auth.hashers.MD5PasswordHasher",
    ]
    with override_settings(PASSWORD_HASHERS=hashers):
        browser = Browser()
        html_login(browser, "alice")
        assert browser.get(API).status_code == 200
        # A cookie and a token are of one mind.
        cookie = scene.cookie.browser.get(API).status_code
        assert call_with(scene.token.access).status_code == cookie


# -- locked and gone -----------------------------------------------------------------------


@pytest.mark.parametrize("update_fields", [None, ["is_active"]])
def test_deactivating_a_user_ends_them_all_at_once(scene, update_fields):
    user = scene.fresh_user()
    user.is_active = False
    user.save(update_fields=update_fields)
    assert LoginSession.objects.for_user(user).active().count() == 0
    assert_elsewhere_ended(scene, "user_disabled")
    assert_here_ended(scene)
    assert_others_live(scene)


def test_deactivating_a_user_in_the_admin_ends_them_all(scene):
    admin = Browser()
    admin_login(admin, "root")
    url = f"/admin/auth/user/{scene.alice.pk}/change/"
    form = admin.get(url).context["adminform"].form
    data = {name: form[name].value() for name in form.fields if name != "is_active"}
    joined = data.pop("date_joined")
    data |= {"date_joined_0": f"{joined:%Y-%m-%d}", "date_joined_1": f"{joined:%H:%M:%S}"}
    for name in ("last_login", "password"):
        data.pop(name, None)
    data = {name: value for name, value in data.items() if value not in (None, False)}
    assert admin.submit(url, data).status_code == 302
    assert scene.fresh_user().is_active is False
    assert_elsewhere_ended(scene, "user_disabled")
    assert_here_ended(scene)


@pytest.mark.parametrize("own", ["cookie", "token"])
def test_a_user_who_locks_the_account_is_out_with_every_login(scene, own):
    used = getattr(scene, own)
    assert used.post("/probe/lock/").status_code == 200
    assert used.get().status_code == 401
    assert_elsewhere_ended(scene, "user_disabled")
    assert_here_ended(scene)


def in_python(scene):
    scene.fresh_user().delete()


def in_bulk(scene):
    User.objects.filter(pk=scene.alice.pk).delete()


def in_the_admin(scene):
    admin = Browser()
    admin_login(admin, "root")
    url = f"/admin/auth/user/{scene.alice.pk}/delete/"
    admin.get(url)
    assert admin.submit(url, {"post": "yes"}).status_code == 302


@pytest.mark.parametrize("delete", [in_python, in_bulk, in_the_admin])
def test_every_credential_of_a_deleted_user_is_401(delete, scene):
    delete(scene)
    assert not User.objects.filter(pk=scene.alice.pk).exists()
    assert scene.cookie.browser.get(API).status_code == 401
    assert scene.browser.get(API).status_code == 401
    assert call_with(scene.token.access).status_code == 401
    response = refresh(scene.token.refresh_token)
    assert response.status_code == 401
    assert response.json()["code"]
    assert not LoginSession.objects.filter(pk=scene.here.pk).exists()
    assert_others_live(scene)


def test_the_refresh_of_a_user_deleted_while_rotating_is_401(scene, monkeypatch):
    """Between our reading of the row and our writing."""
    from authmodes.registry import rotation

    original = rotation._rotate_row

    def late(login_session, jti, now):
        User.objects.filter(pk=login_session.user_id).delete()
        return original(login_session, jti, now)

    monkeypatch.setattr(rotation, "_rotate_row", late)
    response = refresh(scene.token.refresh_token)
    assert response.status_code == 401
    assert response.json()["code"] == "token_not_valid"


def test_a_user_recreated_with_the_same_id_does_not_inherit_a_login(scene):
    pk = scene.alice.pk
    scene.alice.delete()
    User.objects.create_user("mallory", "m@example.com", PASSWORD, pk=pk)
    assert scene.cookie.browser.get(API).status_code == 401
    assert call_with(scene.token.access).status_code == 401
    assert refresh(scene.token.refresh_token).status_code == 401


# -- a second factor -----------------------------------------------------------------------


def prove_it_is_alice(scene):
    """allauth asks for the password again before it changes a second factor."""
    response = scene.act("/accounts/reauthenticate/", password=PASSWORD)
    assert response.status_code == 302, response.content


def add_totp(scene):
    prove_it_is_alice(scene)
    page = scene.browser.get("/accounts/2fa/totp/activate/")
    assert page.status_code == 200
    secret = page.context["form"].secret
    code = totp.format_hotp_value(
        totp.hotp_value(secret, next(iter(totp.yield_hotp_counters_from_time())))
    )
    response = scene.browser.submit("/accounts/2fa/totp/activate/", {"code": code})
    assert response.status_code == 302, response.content
    assert Authenticator.objects.filter(user=scene.alice, type="totp").exists()


@pytest.mark.django_db(transaction=True)
def test_adding_a_second_factor_ends_the_others_and_keeps_this_one(scene):
    add_totp(scene)
    assert_elsewhere_ended(scene, "revoked_by_user")
    assert_here_lives(scene)
    assert_others_live(scene)


@pytest.mark.django_db(transaction=True)
def test_removing_a_second_factor_ends_the_others_and_keeps_this_one(scene):
    prove_it_is_alice(scene)
    TOTP.activate(scene.alice, generate_totp_secret())
    response = scene.act("/accounts/2fa/totp/deactivate/")
    assert response.status_code == 302, response.content
    assert not Authenticator.objects.filter(user=scene.alice, type="totp").exists()
    assert_elsewhere_ended(scene, "revoked_by_user")
    assert_here_lives(scene)
    assert_others_live(scene)


# -- social accounts -----------------------------------------------------------------------


def connect_dummy(scene, uid="4712"):
    started = scene.act("/accounts/dummy/login/?process=connect")
    assert started.status_code == 302, started.content
    response = scene.browser.submit(started.url, {"id": uid})
    assert response.status_code == 302, response.content


def test_connecting_a_social_account_ends_the_others_and_keeps_this_one(scene):
    connect_dummy(scene)
    assert SocialAccount.objects.filter(user=scene.alice, uid="4712").exists()
    assert_elsewhere_ended(scene, "revoked_by_user")
    assert_here_lives(scene)
    assert_others_live(scene)


def test_disconnecting_a_social_account_ends_the_others_and_keeps_this_one(scene):
    account = SocialAccount.objects.create(user=scene.alice, provider="dummy", uid="4713")
    response = scene.act("/accounts/3rdparty/", account=account.pk)
    assert response.status_code == 302, response.content
    assert not SocialAccount.objects.filter(pk=account.pk).exists()
    assert_elsewhere_ended(scene, "revoked_by_user")
    assert_here_lives(scene)
    assert_others_live(scene)


def test_the_actor_is_on_the_rows_that_a_new_way_in_ended(scene):
    connect_dummy(scene)
    assert scene.cookie.row.ended_by == scene.alice
    assert scene.token.row.ended_by == scene.alice


def test_signing_in_by_a_connected_account_ends_nothing_elsewhere(scene):
    """Nothing changed: a login is no new way in."""
    SocialAccount.objects.create(user=scene.alice, provider="dummy", uid="4714")
    social_login(Browser(), "4714")
    assert scene.cookie.get().status_code == 200
    assert scene.token.get().status_code == 200


# -- a squatter (the acceptance list, G 15) ------------------------------------------------


@pytest.fixture
def squatted(db, login, settings):
    """Somebody registered the address of its owner, never verified it, and is signed in."""
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    settings.ACCOUNT_UNIQUE_EMAIL = True
    squatter = User.objects.create_user("squatter", "owner@example.com", PASSWORD)
    EmailAddress.objects.create(user=squatter, email=squatter.email, verified=False, primary=True)
    return squatter, [login("session", squatter), login("jwt", squatter), login("jwt", squatter)]


OWNER = {"email": "owner@example.com", "email_verified": "on"}


def assert_squatter_is_out(squatter, logins):
    cookie, token, other = logins
    assert cookie.browser.get(API).status_code == 401
    for used in (token, other):
        assert call_with(used.access).status_code == 401
        assert refresh(used.refresh_token).status_code == 401
    assert not [used for used in logins if used.row.ended_at is None]
    squatter.refresh_from_db()
    assert not squatter.check_password(PASSWORD)


def test_the_owner_who_comes_in_for_a_cookie_puts_the_squatter_out(squatted):
    squatter, logins = squatted
    owner = Browser()
    assert social_login(owner, "555", **OWNER).status_code == 302
    assert owner.get(API).json() == {"username": "squatter", "mode": "session"}
    assert_squatter_is_out(squatter, logins)
    assert owner.get(API).status_code == 200


def test_the_owner_who_comes_in_for_tokens_puts_the_squatter_out(squatted):
    squatter, logins = squatted
    code_flow = CodeFlow()
    assert code_flow.run("555", **OWNER).status_code == 302
    answer = code_flow.tokens()
    assert_squatter_is_out(squatter, logins)
    assert call_with(answer["access"]).status_code == 200
    assert refresh(answer["refresh"]).status_code == 200


@override_settings(AUTHMODES_TOKEN_TRANSPORT="cookie")
def test_the_owner_who_comes_in_for_token_cookies_puts_the_squatter_out(squatted, settings):
    squatter, logins = squatted
    owner = Browser()
    social_login(owner, "555", mode="jwt", **OWNER)
    assert owner.get(API).json() == {"username": "squatter", "mode": "jwt"}
    settings.AUTHMODES_TOKEN_TRANSPORT = "body"
    assert_squatter_is_out(squatter, logins)


def test_an_address_that_the_provider_has_not_verified_opens_nothing(squatted):
    squatter, logins = squatted
    stranger = Browser()
    social_login(stranger, "556", email="owner@example.com")
    assert [used.get().status_code for used in logins] == [200, 200, 200]
    squatter.refresh_from_db()
    assert squatter.check_password(PASSWORD)


@pytest.mark.parametrize("connected", [False, True])
def test_who_verified_the_address_is_no_squatter(connected, login, alice, settings):
    """Coming in by e-mail once more is then an ordinary login, and ends nothing elsewhere."""
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION = True
    settings.SOCIALACCOUNT_EMAIL_AUTHENTICATION_AUTO_CONNECT = connected
    EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
    phone, laptop = Browser(), Browser()
    social_login(phone, "557", email=alice.email, email_verified="on")
    assert phone.get(API).json()["username"] == "alice"
    token = login("jwt")
    social_login(laptop, "557", email=alice.email, email_verified="on")
    assert laptop.get(API).status_code == 200
    assert phone.get(API).status_code == 200
    assert token.get().status_code == 200


def test_a_squatter_who_has_no_password_is_put_out_as_well(squatted):
    """Nothing is wiped then, so no changed password tells on those logins."""
    squatter, logins = squatted
    squatter = User.objects.get(pk=squatter.pk)
    squatter.set_unusable_password()
    squatter.save()
    squatter_again = Browser()
    SocialAccount.objects.create(user=squatter, provider="dummy", uid="666")
    social_login(squatter_again, "666")
    assert squatter_again.get(API).status_code == 200
    owner = Browser()
    social_login(owner, "555", **OWNER)
    assert owner.get(API).status_code == 200
    assert squatter_again.get(API).status_code == 401
    assert_squatter_is_out(squatter, logins)

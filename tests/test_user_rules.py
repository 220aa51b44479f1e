"""The project's own rules about users count in both modes, and for what is found by a join."""

from datetime import timedelta

import pytest
from allauth.account.auth_backends import AuthenticationBackend
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.middleware import get_user
from django.contrib.auth.models import UserManager
from django.db import models, transaction
from django.http import HttpRequest
from django.test.utils import CaptureQueriesContext

from authmodes import registry
from authmodes.middleware.validation import _user_of_session
from authmodes.models import LoginSession
from authmodes.sessions import store
from authmodes.tokens import mint

from .support.authorization_code import CodeFlow
from .support.browser import Browser
from .support.database import connection
from .support.headless import App
from .support.logins import API, UID, admin_login, only_row, post_json, refresh, social_login

User = get_user_model()


class KeptManager(UserManager):
    """Hides whom the project has deleted softly."""

    def get_queryset(self):
        return super().get_queryset().exclude(last_name="deleted")


class KeptBackend(AuthenticationBackend):
    """Finds nobody whom the project has deleted softly."""

    def get_user(self, user_id):
        user = super().get_user(user_id)
        return None if user is not None and user.last_name == "deleted" else user


def is_kept(user):
    return user is not None and user.last_name != "deleted"


@pytest.fixture(params=["manager", "backend", "rule"])
def delete_softly(request, settings, monkeypatch):
    """A project that tells deleted users by one of the three rules."""
    if request.param == "manager":
        manager = KeptManager()
        manager.model = User
        monkeypatch.setitem(User._meta.__dict__, "default_manager", manager)
    elif request.param == "backend":
        settings.AUTHENTICATION_BACKENDS = [f"{__name__}.KeptBackend"]
    else:
        settings.SIMPLE_JWT = {"USER_AUTHENTICATION_RULE": f"{__name__}.is_kept"}
    return lambda: User._base_manager.update(last_name="deleted")


def test_tokens_of_an_impersonation_need_an_acting_user_who_is_accepted(alice, bob):
    pair = mint(registry.start(None, alice, "jwt", acting_user=bob))
    browser = Browser(headers={"authorization": f"Bearer {pair.access}"})
    assert browser.get(API).json()["username"] == "alice"
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert refresh(pair.refresh).status_code == 401
    assert browser.get(API).status_code == 401
    assert only_row().end_reason == "user_disabled"


def test_a_login_of_a_refused_user_opens_nothing(mode, delete_softly, login):
    used = login(mode)
    delete_softly()
    assert used.get().status_code == 401
    assert only_row().end_reason == "user_disabled"


class Choosy(models.QuerySet):
    def get(self, *args, **kwargs):
        return models.QuerySet.get(self.exclude(last_name="deleted"), *args, **kwargs)


class ChoosyManager(UserManager):
    def get(self, *args, **kwargs):
        return self.exclude(last_name="deleted").get(*args, **kwargs)


def with_manager(manager):
    def change(monkeypatch, settings, alice):
        manager.model = User
        monkeypatch.setitem(User._meta.__dict__, "default_manager", manager)
        User._base_manager.update(last_name="deleted")

    return change


def with_get_user(monkeypatch, settings, alice):
    monkeypatch.setattr(ModelBackend, "get_user", lambda self, pk: None)


def without_backend(monkeypatch, settings, alice):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.KeptBackend"]


CHANGES = {
    "nothing": lambda *_: None,
    "deleted": lambda monkeypatch, settings, alice: alice.delete(),
    "inactive": lambda *_: User.objects.update(is_active=False),
    "password": lambda *_: User.objects.update(password="a different one"),
    "manager": with_manager(KeptManager()),
    "manager's get": with_manager(ChoosyManager()),
    "queryset's get": with_manager(UserManager.from_queryset(Choosy)()),
    "backend removed": without_backend,
    "get_user replaced": with_get_user,
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_user_of_a_cookie_is_the_one_that_django_finds(
    change, login, alice, monkeypatch, settings
):
    used = login("session")
    key = used.browser.cookies["sessionid"].value
    CHANGES[change](monkeypatch, settings, alice)
    found = []
    for find in (_user_of_session, get_user):
        request = HttpRequest()
        request.session = store.engine()(key)
        with CaptureQueriesContext(connection) as queries, transaction.atomic():
            found.append((find(request), len(queries) if change == "nothing" else None))
            transaction.set_rollback(True)
    assert found[0] == found[1]
    assert (found[0][0] == alice) == (change == "nothing")


def test_the_user_of_an_ordinary_cookie_is_found_by_a_compiled_query(login, monkeypatch):
    used = login("session")
    monkeypatch.setattr(User._default_manager.__class__, "get", None)
    monkeypatch.setattr(models.Manager, "get", None)
    assert used.get().status_code == 200


def test_a_login_of_an_accepted_user_goes_on(mode, delete_softly, login):
    assert login(mode).get().status_code == 200


def test_a_refresh_token_of_a_refused_user_is_refused(delete_softly, login):
    used = login("jwt")
    delete_softly()
    assert refresh(used.refresh_token).json()["code"] == "login_session_ended"
    assert post_json("/auth/token/verify/", {"token": used.access}).status_code == 401


@pytest.mark.parametrize("check", ["snapshot", "none"])
def test_a_token_that_needs_no_row_asks_when_the_user_is_loaded(
    check, delete_softly, login, settings
):
    settings.AUTHMODES_ACCESS_TOKEN_CHECK = check
    settings.AUTHMODES_SNAPSHOT_INTERVAL = timedelta(hours=1)
    used = login("jwt")
    delete_softly()
    assert used.get("/auth/user/").status_code == 401


def test_an_app_of_headless_is_signed_out(delete_softly, alice):
    app = App()
    assert app.login().status_code == 200
    delete_softly()
    assert app.statuses() == (410, 401, 401)


def test_an_authorization_code_of_a_refused_user_is_worth_nothing(delete_softly, alice_at_dummy):
    flow = CodeFlow()
    flow.run()
    delete_softly()
    assert flow.exchange().status_code == 400


def test_a_refused_user_does_not_get_in_by_a_provider(delete_softly, alice):
    SocialAccount.objects.create(user=alice, provider="dummy", uid=UID)
    delete_softly()
    browser = Browser()
    social_login(browser, mode="session")
    assert browser.get(API).status_code == 401
    assert not LoginSession.objects.exists()


def test_the_admins_form_asks_simplejwts_rule(admin_user, settings):
    settings.SIMPLE_JWT = {"USER_AUTHENTICATION_RULE": f"{__name__}.is_kept"}
    browser = Browser()
    assert admin_login(browser, "root").status_code == 302
    User.objects.update(last_name="deleted")
    assert browser.get("/admin/").status_code == 302
    refused = admin_login(Browser(), "root")
    assert refused.status_code == 403
    assert "This account is inactive." in refused.content.decode()

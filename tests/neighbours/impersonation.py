"""What django-hijack and django-loginas make of a login, and of the return from it."""

from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth import login as django_login
from django.core import mail
from django.core.management import call_command
from django.http import JsonResponse
from django.urls import include, path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.response import Response

from authmodes import registry
from authmodes.contrib.hijack import impersonating
from authmodes.models import LoginEvent, LoginSession
from authmodes.permissions import RecentLogin
from tests.support.browser import Browser
from tests.support.logins import API, PAGE, admin_login, assert_signed_out, sign_in
from tests.support.sessions import BACKEND
from tests.urls import urlpatterns as project_urlpatterns


def become(request, pk):
    """A view of a project's own that impersonates."""
    assert request.user.is_superuser
    with impersonating(request):
        django_login(request, get_user_model().objects.get(pk=pk), backend=BACKEND)
    return JsonResponse({})


def switch(request, pk):
    """A `login()` as a different user that is no impersonation."""
    assert request.user.is_authenticated
    django_login(request, get_user_model().objects.get(pk=pk), backend=BACKEND)
    return JsonResponse({})


@api_view(["GET"])
@permission_classes([RecentLogin.within(timedelta(hours=1))])
def sensitive(request):
    return Response({})


urlpatterns = [
    *project_urlpatterns,
    path("hijack/", include("hijack.urls")),
    path("loginas/", include("loginas.urls")),
    path("become/<int:pk>/", become),
    path("switch/<int:pk>/", switch),
    path("sensitive/", sensitive),
]
pytestmark = pytest.mark.urls(__name__)


class Impersonation:
    """root's browser, and the two clicks of a package."""

    def __init__(self, package):
        self.package, self.browser = package, Browser()

    def acquire(self, user):
        if self.package == "hijack":
            answer = self.browser.submit("/hijack/acquire/", {"user_pk": user.pk})
        else:
            answer = self.browser.submit(f"/loginas/login/user/{user.pk}/")
        assert answer.status_code == 302, answer.content
        return answer

    def release(self):
        if self.package == "hijack":
            answer = self.browser.submit("/hijack/release/")
        else:
            answer = self.browser.get("/loginas/logout/")
        assert answer.status_code == 302, answer.content
        return answer

    def who(self):
        answer = self.browser.get(PAGE)
        return answer.json()["username"] if answer.status_code == 200 else None


@pytest.fixture(params=["hijack", "loginas"])
def impersonation(request, admin_user):
    made = Impersonation(request.param)
    assert sign_in("session", made.browser, username="root").status_code == 200
    return made


def active(user):
    return LoginSession.objects.active().filter(user=user)


def test_the_row_says_who_acts_and_the_administrators_own_login_ends(
    impersonation, alice, admin_user
):
    own = LoginSession.objects.get(user=admin_user)
    impersonation.acquire(alice)
    assert impersonation.who() == "alice"
    row = active(alice).get()
    assert (row.acting_user, row.mode, row.is_impersonated) == (admin_user, "session", True)
    assert impersonation.browser.get(API).json() == {"username": "alice", "mode": "session"}
    own.refresh_from_db()
    assert (own.end_reason, own.acting_user) == ("logout", None)
    started = LoginEvent.objects.filter(kind="started", sid=row.sid).get()
    assert (started.user_id, started.actor_id) == (alice.pk, admin_user.pk)


def test_the_return_gives_the_administrator_a_login_that_lasts_no_longer(
    impersonation, alice, admin_user
):
    own = LoginSession.objects.get(user=admin_user)
    impersonation.acquire(alice)
    impersonated = active(alice).get()
    impersonation.release()
    assert impersonation.who() == "root"
    assert impersonation.browser.get(API).json()["username"] == "root"
    impersonated.refresh_from_db()
    assert impersonated.end_reason == "logout"
    again = active(admin_user).get()
    assert again.acting_user is None
    assert again.expires_at == impersonated.expires_at == own.expires_at
    assert (again.method, again.provider) == (own.method, own.provider) == ("password", "")


def test_neither_the_impersonation_nor_the_return_counts_as_a_recent_sign_in(impersonation, alice):
    assert impersonation.browser.get("/sensitive/").status_code == 200
    impersonation.acquire(alice)
    assert impersonation.browser.get("/sensitive/").status_code == 401
    impersonation.release()
    assert impersonation.browser.get("/sensitive/").status_code == 401


@pytest.mark.parametrize("policy", ["end_oldest", "refuse"])
def test_it_takes_no_place_in_the_limit(policy, impersonation, alice, settings):
    settings.AUTHMODES_MAX_LOGIN_SESSIONS, settings.AUTHMODES_LIMIT_POLICY = 2, policy
    alices = [Browser(), Browser()]
    assert sign_in("session", alices[0]).status_code == 200
    impersonation.acquire(alice)
    # One more, up to the limit: the impersonation does not count.
    assert sign_in("session", alices[1]).status_code == 200
    assert [each.get(API).status_code for each in alices] == [200, 200]
    impersonation.release()
    impersonation.acquire(alice)
    assert [each.get(API).status_code for each in alices] == [200, 200]
    assert impersonation.who() == "alice"


@pytest.mark.django_db(transaction=True)
def test_it_sends_no_mail_and_its_client_stays_new_to_the_user(impersonation, alice, settings):
    settings.AUTHMODES_NOTIFY_NEW_LOGIN = True
    sign_in("session", Browser(headers={"user-agent": "alice's phone"}))
    impersonation.acquire(alice)
    impersonation.release()
    assert mail.outbox == []
    # A login of the user's own, by the administrator's client.
    sign_in("session", Browser())
    assert [message.to for message in mail.outbox] == [["alice@example.com"]]


def test_it_does_not_move_last_login(impersonation, alice):
    before = get_user_model().objects.get(pk=alice.pk).last_login
    impersonation.acquire(alice)
    assert get_user_model().objects.get(pk=alice.pk).last_login == before


def command(user):
    call_command("revoke_login_sessions", user=user.get_username())


def lock(user):
    user.is_active = False
    user.save()


def change_password(user):
    user.set_password("another one")
    user.save()


@pytest.mark.parametrize(
    "end",
    [registry.revoke_user, command, lock, change_password, lambda user: user.delete()],
    ids=["revoked", "by the command", "locked", "password changed", "deleted"],
)
@pytest.mark.parametrize("whose", ["root", "alice"])
def test_it_ends_with_the_logins_of_either_user(end, whose, impersonation, alice):
    impersonation.acquire(alice)
    sid = active(alice).get().sid
    end(get_user_model().objects.get(username=whose))
    assert_signed_out(impersonation.browser)
    assert not LoginSession.objects.active().filter(sid=sid).exists()


def test_an_administrator_who_was_locked_meanwhile_cannot_return(impersonation, alice, admin_user):
    impersonation.acquire(alice)
    # Without a signal, so that the impersonation goes on until the next touch.
    get_user_model().objects.filter(pk=admin_user.pk).update(is_active=False)
    if impersonation.package == "hijack":
        assert impersonation.browser.submit("/hijack/release/").status_code == 403
    else:
        # loginas finds no backend that accepts the user, which it does not expect.
        impersonation.browser.raise_request_exception = False
        assert impersonation.browser.get("/loginas/logout/").status_code == 500
    assert not active(admin_user).exists()
    assert impersonation.who() != "root"


def test_it_ends_when_the_administrator_was_locked_without_a_signal(
    impersonation, alice, admin_user, settings
):
    settings.AUTHMODES_TOUCH_INTERVAL = timedelta(0)
    impersonation.acquire(alice)
    sid = active(alice).get().sid
    assert impersonation.who() == "alice"
    get_user_model().objects.filter(pk=admin_user.pk).update(is_active=False)
    assert_signed_out(impersonation.browser)
    assert LoginSession.objects.get(sid=sid).end_reason == "user_disabled"


def test_revoking_the_row_signs_the_browser_out_of_both(impersonation, alice, admin_user):
    impersonation.acquire(alice)
    registry.revoke(active(alice).get())
    assert_signed_out(impersonation.browser)
    assert not active(admin_user).exists()


def test_the_user_sees_it_among_the_own_logins_and_can_end_it(impersonation, alice):
    impersonation.acquire(alice)
    own = Browser()
    sign_in("session", own)
    listed = own.get("/auth/sessions/").json()
    rows = listed if isinstance(listed, list) else listed["results"]
    assert sorted(row["is_impersonated"] for row in rows) == [False, True]
    sid = next(row["sid"] for row in rows if row["is_impersonated"])
    assert own.send_json(f"/auth/sessions/{sid}/", method="delete").status_code == 204
    assert_signed_out(impersonation.browser)


def test_an_app_gets_no_code_for_it(impersonation, alice):
    query = (
        "?response_type=code&client_id=app&redirect_uri=https://spa.example/callback"
        f"&code_challenge={'a' * 43}&code_challenge_method=S256"
    )
    impersonation.acquire(alice)
    answer = impersonation.browser.get(f"/auth/authorize/{query}")
    assert answer.status_code == 302
    assert "error=access_denied" in answer.url
    impersonation.release()
    assert "code=" in impersonation.browser.get(f"/auth/authorize/{query}").url


def test_one_who_impersonates_an_impersonator_acts_all_the_way(impersonation, alice, admin_user):
    boss = get_user_model().objects.create_superuser("boss", "boss@example.com", "x")
    impersonation.acquire(boss)
    impersonation.acquire(alice)
    assert active(alice).get().acting_user == admin_user
    impersonation.release()
    if impersonation.package == "hijack":
        assert impersonation.who() == "boss"
        assert active(boss).get().acting_user == admin_user
        impersonation.release()
        assert impersonation.who() == "root"
        assert active(admin_user).get().acting_user is None
    assert not active(alice).exists()


def test_in_jwt_mode_no_cookie_impersonates(impersonation, alice, settings):
    settings.AUTHMODES_MODE = "jwt"
    impersonation.browser = Browser()
    assert admin_login(impersonation.browser, "root").status_code == 302
    # Only the admin takes a cookie in this mode, so the packages' views see no user.
    impersonation.acquire(alice)
    assert impersonation.browser.get(API).status_code == 401
    assert not active(alice).exists()


def test_a_view_of_the_projects_own_says_that_it_impersonates(alice, admin_user):
    for view, acting_user in (("become", admin_user), ("switch", None)):
        browser = Browser()
        assert sign_in("session", browser, username="root").status_code == 200
        assert browser.get(f"/{view}/{alice.pk}/").status_code == 200
        assert active(alice).latest("created_at").acting_user == acting_user


def test_the_admin_shows_who_acts(impersonation, alice):
    impersonation.acquire(alice)
    staff = Browser()
    assert admin_login(staff, "root").status_code == 302
    page = staff.get("/admin/authmodes/loginsession/").content.decode()
    assert "by root (Password)" in page
    row = active(alice).get()
    page = staff.get(f"/admin/authmodes/loginsession/{row.pk}/change/").content.decode()
    assert "Acting user" in page

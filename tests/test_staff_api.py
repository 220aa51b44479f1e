"""`staff/sessions/`: what the admin's list does, over REST, for those that the admin admits."""

from datetime import timedelta
from unittest import mock

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils import timezone

from authmodes import registry
from authmodes.admin.login_sessions import LoginSessionAdmin
from authmodes.models import AuthorizationCode, LoginEvent, LoginSession
from authmodes.registry import ending

from .support.browser import Browser
from .support.logins import PASSWORD

URL = "/auth/staff/sessions/"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _switched_on(settings):
    settings.AUTHMODES_STAFF_API = True


@pytest.fixture
def carol(db):
    return get_user_model().objects.create_superuser("carol", "carol@example.com", PASSWORD)


@pytest.fixture
def administrator(login, carol, mode):
    return login(mode, carol)


def support(*permissions):
    user = get_user_model().objects.create_user("dave", password=PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def sids(answer):
    assert answer.status_code == 200, answer.content
    return [entry["sid"] for entry in answer.json()["results"]]


def test_it_is_off_by_default(settings, administrator):
    settings.AUTHMODES_STAFF_API = False
    for call in (administrator.get, administrator.delete):
        assert call(URL).status_code == 404
        assert call(f"{URL}{administrator.sid}/").status_code == 404


def test_it_lists_the_logins_of_all_users_and_no_credential(administrator, login, bob):
    one, his = login("session"), login("jwt", bob)
    answer = administrator.get(URL)
    assert sids(answer) == [his.sid, one.sid, administrator.sid]
    assert answer.json()["results"][0]["username"] == "bob"
    for secret in (one.browser.session_cookie, one.row.session_key, his.access, his.refresh_token):
        assert secret not in answer.content.decode()
    assert administrator.get(f"{URL}{his.sid}/").json()["user"] == bob.pk


def test_it_is_filtered(administrator, login, bob):
    one, his, ended = login("session"), login("jwt", bob), login("jwt")
    ended.logout()
    day = timedelta(days=1)
    yesterday, tomorrow = timezone.now() - day, timezone.now() + day
    LoginSession.objects.filter(sid=one.sid).update(provider="google", created_at=yesterday - day)

    def listed(**query):
        return set(sids(administrator.get(URL, query_params=query))) - {administrator.sid}

    assert listed(status="active") == {one.sid, his.sid}
    assert listed(status="ended") == listed(end_reason="logout") == {ended.sid}
    assert listed(mode="session") == {one.sid}
    assert listed(user=bob.pk) == {his.sid}
    assert listed(provider="google") == listed(before=yesterday.isoformat()) == {one.sid}
    assert listed(after=yesterday.isoformat()) == {his.sid, ended.sid}
    assert listed(after=tomorrow.isoformat()) == set()
    assert listed(user=bob.pk, provider="google") == set()


@pytest.mark.parametrize(
    "query", [{"status": "x"}, {"user": "x"}, {"before": "x"}, {"page_size": "0"}, {"mode": "x"}]
)
def test_a_filter_that_cannot_be_is_400(query, administrator):
    answer = administrator.get(URL, query_params=query)
    assert answer.status_code == 400
    assert answer.json()["code"] in ("invalid", "invalid_mode")


def test_one_login_is_revoked_on_the_next_request(administrator, carol, login):
    victim = login("jwt")
    assert administrator.delete(f"{URL}{victim.sid}/").status_code == 204
    assert victim.get().status_code == 401
    row = victim.row
    assert (row.end_reason, row.ended_by) == ("revoked", carol)
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (carol, str(row.pk))
    assert administrator.delete(f"{URL}{victim.sid}/").status_code == 204
    assert LogEntry.objects.count() == 1
    assert administrator.delete(f"{URL}junk/").status_code == 404


def test_logins_are_revoked_by_user_provider_and_moment(administrator, login, bob):
    one, his, other = login("session"), login("jwt", bob), login("jwt")
    LoginSession.objects.filter(sid=one.sid).update(provider="google")
    assert administrator.delete(f"{URL}?user={bob.pk}").json() == {"ended": 1, "has_more": False}
    assert (his.get().status_code, one.get().status_code) == (401, 200)
    assert administrator.delete(f"{URL}?provider=google").json()["ended"] == 1
    assert (one.get().status_code, other.get().status_code) == (401, 200)
    soon = timezone.now() + timedelta(hours=1)
    # A "+" in a query is a space.
    before = soon.isoformat().replace("+00:00", "Z")
    assert administrator.delete(f"{URL}?before={before}").json()["ended"] == 1
    assert (other.get().status_code, administrator.get().status_code) == (401, 200)
    bulk = LoginEvent.objects.exclude(filter="").order_by("pk").values_list("filter", "count")
    assert list(bulk)[:2] == [(f"user={bob.pk}", 1), ("provider=google", 1)]
    assert LogEntry.objects.count() == 3


def test_all_are_revoked_only_when_all_is_asked_for(administrator, login):
    one = login("jwt")
    for query in ("", "?all=0", f"?all=1&user={one.row.user_id}", "?all=junk", "?user="):
        assert administrator.delete(f"{URL}{query}").status_code == 400
    assert one.get().status_code == 200
    assert administrator.delete(f"{URL}?all=1").json() == {"ended": 1, "has_more": False}
    assert (one.get().status_code, administrator.get().status_code) == (401, 200)


def test_many_are_revoked_call_by_call(administrator, login):
    victims = [login("jwt") for _ in range(3)]
    with (
        mock.patch("authmodes.api.views.staff.BATCHES", 1),
        mock.patch("authmodes.registry.ending.BATCH", 2),
    ):
        answers = [administrator.delete(f"{URL}?all=1").json() for _ in range(3)]
    assert answers == [
        {"ended": 2, "has_more": True},
        {"ended": 1, "has_more": False},
        {"ended": 0, "has_more": False},
    ]
    assert [victim.get().status_code for victim in victims] == [401] * 3


def test_other_users_are_refused(mode, login, bob):
    victim, other = login("jwt"), login(mode, bob)
    for call in (other.get, other.delete):
        assert call(URL).status_code == 403
        assert call(f"{URL}{victim.sid}/").status_code == 403
    assert Browser().get(URL).status_code == 401
    assert victim.get().status_code == 200


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [
        ((), (403, 403)),
        (("view_loginsession",), (200, 403)),
        (("view_loginsession", "revoke_loginsession"), (200, 204)),
        (("revoke_loginsession",), (403, 403)),
    ],
)
def test_viewing_and_revoking_are_permissions_apart(permissions, statuses, mode, login):
    victim, staff = login("jwt"), login(mode, support(*permissions))
    one = f"{URL}{victim.sid}/"
    many = None if statuses[1] == 204 else staff.delete(f"{URL}?all=1").status_code
    assert many in (None, 403)
    assert (staff.get(URL).status_code, staff.delete(one).status_code) == statuses
    assert victim.get().status_code == (401 if statuses[1] == 204 else 200)


def test_support_does_not_revoke_the_logins_of_superusers(mode, login, carol):
    superuser = login("jwt", carol)
    staff = login(mode, support("view_loginsession", "revoke_loginsession"))
    assert staff.delete(f"{URL}{superuser.sid}/").status_code == 403
    assert staff.delete(f"{URL}?user={carol.pk}").json()["ended"] == 0
    assert staff.delete(f"{URL}?all=1").json()["ended"] == 0
    assert superuser.get().status_code == 200


def test_a_write_needs_a_recent_sign_in(clock, administrator, login):
    victim = login("jwt")
    clock.shift(timedelta(minutes=6))
    if administrator.mode == "jwt":
        administrator.refresh()
    answer = administrator.delete(f"{URL}{victim.sid}/")
    assert answer.status_code == 401
    assert 'error="insufficient_user_authentication"' in answer["WWW-Authenticate"]
    assert administrator.get(URL).status_code == 200
    assert victim.row.ended_at is None


def test_an_admin_site_that_asks_for_more_is_obeyed(administrator):
    def asks_for_a_device(request):
        return request.user.is_active and request.user.is_verified()

    with mock.patch("django.contrib.admin.site.has_permission", asks_for_a_device):
        assert administrator.get(URL).status_code == 403
        assert administrator.delete(f"{URL}?all=1").status_code == 403


def test_addresses_are_for_those_who_may_see_them(administrator):
    place = "authmodes.admin.LoginSessionAdmin.has_address_permission"
    assert administrator.get(URL).json()["results"][0]["ip_address"] == "127.0.0.1"
    one = f"{URL}{administrator.sid}/"
    with mock.patch(place, return_value=False):
        assert administrator.get(URL).json()["results"][0]["ip_address"] is None
        assert "127.0.0.1" not in administrator.get(one).content.decode()


def test_the_queries_of_the_list_do_not_grow(administrator, login, django_assert_num_queries):
    administrator.get(URL)
    for _ in range(5):
        login("jwt")
    with django_assert_num_queries(2 if administrator.mode == "jwt" else 3):
        administrator.get(URL)


@pytest.mark.parametrize(
    "query", [{"user": "9" * 30}, {"before": "0001-01-01T00:00"}, {"user": "x"}], ids=str
)
def test_a_value_that_no_column_holds_is_400(query, administrator, settings):
    settings.TIME_ZONE = "Asia/Tokyo"
    for call in (administrator.get, administrator.delete):
        assert call(URL, query_params=query).status_code == 400


def test_a_revocation_ignores_no_filter_of_the_list(administrator, login, bob):
    his = login("jwt", bob)
    for unknown in ({"mode": "session"}, {"after": "2020-01-01"}, {"usr": "1"}):
        query = {"user": bob.pk, **unknown}
        assert administrator.delete(URL, query_params=query).status_code == 400
    assert his.get().status_code == 200


def test_the_event_of_a_revocation_has_the_user_and_not_what_was_typed(administrator, login, bob):
    login("jwt", bob)
    assert administrator.delete(f"{URL}?user={bob.pk:0600}").json()["ended"] == 1
    assert LoginEvent.objects.exclude(filter="").get().filter == f"user={bob.pk}"


def test_a_page_that_a_project_has_narrowed_down_is_narrow_here_too(administrator, login, bob):
    his, hers = login("jwt", bob), login("jwt")
    whole = LoginSessionAdmin.get_queryset

    def of_bob(page, request):
        return whole(page, request).filter(user=bob)

    with mock.patch.object(LoginSessionAdmin, "get_queryset", of_bob):
        assert sids(administrator.get(URL)) == [his.sid]
        assert administrator.get(f"{URL}{hers.sid}/").status_code == 404
        assert administrator.delete(f"{URL}{hers.sid}/").status_code == 404
        assert administrator.delete(f"{URL}?user={hers.row.user_id}").json()["ended"] == 0
        assert administrator.delete(f"{URL}?all=1").json()["ended"] == 1
    assert (his.get().status_code, hers.get().status_code) == (401, 200)
    # Nor does it end a sign-in that is not finished.
    assert ending.latest_revocation_of(hers.row.user) is None


def test_signing_a_user_out_ends_what_they_do_in_the_name_of_others(
    administrator, carol, alice, bob, login
):
    acts = registry.start(None, bob, "jwt", acting_user=alice)
    his = login("jwt", bob)
    assert administrator.delete(f"{URL}?user={alice.pk}").json()["ended"] == 1
    acts.refresh_from_db()
    assert (acts.end_reason, acts.ended_by) == ("revoked", carol)
    assert LoginEvent.objects.get(kind="ended").actor == carol
    assert his.get().status_code == 200


def test_a_support_role_cancels_no_authorization_code_of_a_superuser(login, mode, carol, alice):
    for user in (carol, alice):
        AuthorizationCode.objects.create(
            user=user, provider="corp", digest=user.username, expires_at=timezone.now() + HOUR
        )
    helper = login(mode, support("view_loginsession", "revoke_loginsession"))
    assert helper.delete(f"{URL}?provider=corp").status_code == 200
    assert [code.user for code in AuthorizationCode.objects.all()] == [carol]


def test_a_project_may_decide_for_each_row(administrator, login, bob, monkeypatch):
    hers, his = login("jwt"), login("jwt", bob)
    monkeypatch.setattr(
        LoginSessionAdmin,
        "has_view_permission",
        lambda self, request, obj=None: obj is None or obj.user == bob,
    )
    assert administrator.get(f"{URL}{his.sid}/").status_code == 200
    for call in (administrator.get, administrator.delete):
        assert call(f"{URL}{hers.sid}/").status_code == 403
    assert hers.get().status_code == 200

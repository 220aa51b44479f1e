"""The revocation table: each credential, each way to end it, and what the next request gets."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test.utils import override_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from authmodes import registry
from authmodes.models import LoginSession, write_database
from authmodes.signals import login_session_ended
from authmodes.tokens import RefreshToken

from .support.logins import API, Login, call_with, post_json, refresh

# Longer than every limit below, so that the row is validated and not only the token's `exp`.
LONG_LIVED = {"ACCESS_TOKEN_LIFETIME": timedelta(days=40)}


@dataclass
class Scene:
    """alice's login under test, her logins elsewhere, and the clock."""

    victim: Login
    other_cookie: Login
    other_token: Login
    clock: Any
    settings: Any

    @property
    def user(self) -> Any:
        return self.victim.row.user

    @property
    def token(self) -> Login:
        """The victim if it is a token login, else the other one: cookies have no blacklist."""
        return self.victim if self.victim.mode == "jwt" else self.other_token

    @property
    def cookie(self) -> Login:
        """The victim if it is a cookie login, else the other one."""
        return self.victim if self.victim.mode == "session" else self.other_cookie

    @property
    def outstanding(self) -> OutstandingToken:
        return self.token.row.refresh_token


def by_logout(scene):
    assert scene.victim.logout().status_code == 204


def by_logout_with_the_refresh_token(scene):
    body = {"refresh": scene.token.refresh_token}
    assert post_json("/auth/logout/", body).status_code == 204


def by_deleting_it_elsewhere(scene):
    assert scene.other_cookie.delete(f"/auth/sessions/{scene.victim.sid}/").status_code == 204


def by_deleting_it_with_itself(scene):
    assert scene.victim.delete(f"/auth/sessions/{scene.victim.sid}/").status_code == 204


def by_deleting_all_others_elsewhere(scene):
    assert scene.other_token.delete("/auth/sessions/").json() == {"ended": 2}


def by_deleting_all_others_itself(scene):
    assert scene.victim.delete("/auth/sessions/").json() == {"ended": 2}


def by_deleting_all(scene):
    assert scene.victim.delete("/auth/sessions/?all=1").json() == {"ended": 3}


def by_registry_revoke(scene):
    assert registry.revoke(scene.victim.row) is True


def by_registry_revoke_all(scene):
    assert registry.revoke_all(LoginSession.objects.for_user(scene.user)) == 3


def by_allauths_logout_page(scene):
    assert scene.cookie.browser.submit("/accounts/logout/").status_code == 302


def by_simplejwts_blacklist_endpoint(scene):
    body = {"refresh": scene.token.refresh_token}
    assert post_json("/auth/token/blacklist/", body).status_code == 200


def by_simplejwts_blacklist_method(scene):
    RefreshToken(scene.token.refresh_token).blacklist()


def by_simplejwts_blacklist_method_on_a_predecessor(scene):
    predecessor = scene.token.refresh_token
    assert scene.token.refresh().status_code == 200
    RefreshToken(predecessor).blacklist()


def by_creating_a_blacklisted_token(scene):
    BlacklistedToken.objects.create(token=scene.outstanding)


def by_bulk_creating_a_blacklisted_token(scene):
    BlacklistedToken.objects.bulk_create([BlacklistedToken(token=scene.outstanding)])


def by_disabling_the_user(scene):
    user = scene.user
    user.is_active = False
    user.save()


def by_disabling_the_user_in_bulk(scene):
    get_user_model().objects.filter(pk=scene.user.pk).update(is_active=False)


def by_deleting_the_user(scene):
    scene.user.delete()


def by_deleting_the_user_in_bulk(scene):
    get_user_model().objects.filter(pk=scene.user.pk).delete()


def by_changing_the_password(scene):
    user = scene.user
    user.set_password("another one")
    user.save()


def by_making_the_password_unusable(scene):
    user = scene.user
    user.set_unusable_password()
    user.save()


def by_absolute_lifetime(scene):
    scene.clock.shift(timedelta(days=30))


def by_idle_timeout(scene):
    scene.settings.AUTHMODES_IDLE_TIMEOUT = timedelta(minutes=30)
    scene.clock.shift(timedelta(minutes=30, seconds=1))


def by_switching_cookies_off(scene):
    scene.settings.AUTHMODES_MODE = "jwt"


def by_switching_tokens_off(scene):
    scene.settings.AUTHMODES_MODE = "session"


ALIVE = (200, "")
GONE = (401, None)


def ended(reason: str) -> tuple[int, str]:
    return 401, reason


# way: (cookie, access token, refresh token)
TABLE = {
    by_logout: (ended("logout"),) * 3,
    by_logout_with_the_refresh_token: (ALIVE, ended("logout"), ended("logout")),
    by_deleting_it_elsewhere: (ended("revoked_by_user"),) * 3,
    by_deleting_it_with_itself: (ended("revoked_by_user"),) * 3,
    by_deleting_all_others_elsewhere: (ended("revoked_by_user"),) * 3,
    by_deleting_all_others_itself: (ALIVE,) * 3,
    by_deleting_all: (ended("revoked_by_user"),) * 3,
    by_registry_revoke: (ended("revoked"),) * 3,
    by_registry_revoke_all: (ended("revoked"),) * 3,
    by_allauths_logout_page: (ended("logout"), ALIVE, ALIVE),
    by_simplejwts_blacklist_endpoint: (ALIVE, ended("logout"), ended("logout")),
    by_simplejwts_blacklist_method: (ALIVE, ended("revoked"), ended("revoked")),
    by_simplejwts_blacklist_method_on_a_predecessor: (ALIVE, ended("revoked"), ended("revoked")),
    by_creating_a_blacklisted_token: (ALIVE, ended("revoked"), ended("revoked")),
    by_bulk_creating_a_blacklisted_token: (ALIVE, ended("revoked"), ended("revoked")),
    by_disabling_the_user: (ended("user_disabled"),) * 3,
    by_disabling_the_user_in_bulk: (ended("user_disabled"),) * 3,
    by_deleting_the_user: (GONE,) * 3,
    by_deleting_the_user_in_bulk: (GONE,) * 3,
    by_changing_the_password: (ended("password_changed"),) * 3,
    by_making_the_password_unusable: (ended("password_changed"),) * 3,
    by_absolute_lifetime: (ended("expired"),) * 3,
    by_idle_timeout: (ended("expired"),) * 3,
    by_switching_cookies_off: ((401, ""), ALIVE, ALIVE),
    by_switching_tokens_off: (ALIVE, (401, ""), (401, "")),
}
CREDENTIALS = {
    "cookie": ("session", lambda login: login.browser.get(API)),
    "access": ("jwt", lambda login: call_with(login.access)),
    "refresh": ("jwt", lambda login: refresh(login.refresh_token)),
}


@pytest.mark.parametrize("credential", CREDENTIALS)
@pytest.mark.parametrize("way", TABLE, ids=lambda way: way.__name__)
def test_the_next_request_after(way, credential, login, bob, clock, settings):
    settings.SIMPLE_JWT = LONG_LIVED
    settings.SESSION_COOKIE_AGE = 40 * 86400
    mode, use = CREDENTIALS[credential]
    scene = Scene(login(mode), login("session"), login("jwt"), clock, settings)
    bystander = login("jwt", bob)
    status, reason = TABLE[way][list(CREDENTIALS).index(credential)]

    way(scene)

    response = use(scene.victim)
    assert response.status_code == status, response.content
    # A credential that is not presented is ended by the nightly job, with the same reason.
    registry.prune()
    row = LoginSession.objects.filter(sid=scene.victim.sid).first()
    assert (row and row.end_reason) == reason
    assert (row is None or row.ended_at is None) == (reason in (None, ""))
    if way not in (by_absolute_lifetime, by_idle_timeout, by_switching_tokens_off):
        assert bystander.get().status_code == 200


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_ended_is_final(credential, login):
    mode, use = CREDENTIALS[credential]
    victim = login(mode)
    registry.revoke(victim.row)
    before = victim.row

    assert registry.revoke(victim.row, "logout", by=before.user) is False
    assert registry.revoke_all(LoginSession.objects.all(), "expired") == 0
    after = victim.row
    assert (after.ended_at, after.end_reason, after.ended_by) == (before.ended_at, "revoked", None)
    assert use(victim).status_code == 401
    assert use(victim).status_code == 401


@pytest.mark.parametrize(
    "blacklist",
    [
        by_registry_revoke,
        by_creating_a_blacklisted_token,
        by_simplejwts_blacklist_endpoint,
        by_simplejwts_blacklist_method,
    ],
    ids=lambda way: way.__name__,
)
@pytest.mark.parametrize("credential", ["access", "refresh"])
def test_deleting_a_blacklisted_token_never_brings_a_login_back(
    blacklist, credential, login, clock, settings
):
    mode, use = CREDENTIALS[credential]
    scene = Scene(login(mode), login("session"), login("jwt"), clock, settings)
    blacklist(scene)

    BlacklistedToken.objects.all().delete()

    assert use(scene.victim).status_code == 401
    assert scene.victim.row.ended_at is not None


@pytest.mark.parametrize("credential", ["access", "refresh"])
def test_a_bulk_blacklisted_login_that_was_refused_once_stays_ended(
    credential, login, clock, settings
):
    mode, use = CREDENTIALS[credential]
    scene = Scene(login(mode), login("session"), login("jwt"), clock, settings)
    by_bulk_creating_a_blacklisted_token(scene)
    assert use(scene.victim).status_code == 401

    BlacklistedToken.objects.all().delete()

    assert use(scene.victim).status_code == 401
    assert scene.victim.row.end_reason == "revoked"


@pytest.mark.parametrize("credential", ["access", "refresh"])
def test_deleting_the_outstanding_token_does_not_free_the_login(credential, login):
    """simplejwt's `flushexpiredtokens` and its admin delete such rows."""
    mode, use = CREDENTIALS[credential]
    victim = login(mode)
    registry.revoke(victim.row)
    OutstandingToken.objects.all().delete()
    assert use(victim).status_code == 401


def test_a_reenabled_user_does_not_get_an_ended_login_back(mode, login, alice):
    victim = login(mode)
    alice.is_active = False
    alice.save()
    assert victim.get().status_code == 401

    alice.is_active = True
    alice.save()

    assert victim.get().status_code == 401
    assert victim.row.end_reason == "user_disabled"


def test_setting_the_old_password_again_does_not_bring_a_login_back(mode, login, alice):
    victim = login(mode)
    old = alice.password
    alice.set_password("another one")
    alice.save()
    assert victim.get().status_code == 401

    alice.password = old
    alice.save()

    assert victim.get().status_code == 401


def test_deleting_the_django_session_ends_nothing_but_its_cookie(login):
    cookie, other, token = login("session"), login("session"), login("jwt")
    Session.objects.filter(session_key=cookie.row.session_key).delete()

    assert cookie.browser.get(API).status_code == 401
    assert other.get().status_code == 200
    assert token.get().status_code == 200


def test_revoking_deletes_the_django_session_and_blacklists_the_refresh_token(login):
    cookie, token = login("session"), login("jwt")
    key = cookie.row.session_key
    registry.revoke_all(LoginSession.objects.all())
    assert not Session.objects.filter(session_key=key).exists()
    assert BlacklistedToken.objects.get().token.login_session == token.row


def test_the_actor_and_the_reason_are_on_the_row(mode, login):
    victim, other = login(mode), login("session")
    other.delete(f"/auth/sessions/{victim.sid}/")
    row = victim.row
    assert (row.end_reason, row.ended_by) == ("revoked_by_user", row.user)


def test_a_user_can_neither_end_nor_see_the_login_of_another_user(mode, login, bob):
    victim, attacker = login(mode), login("jwt", bob)
    for response in (
        attacker.delete(f"/auth/sessions/{victim.sid}/"),
        attacker.get(f"/auth/sessions/{victim.sid}/"),
    ):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")
    assert attacker.delete("/auth/sessions/?all=1").json() == {"ended": 1}
    assert victim.get().status_code == 200


def test_the_list_shows_both_modes_alike_and_no_credential(login, bob):
    cookie, token = login("session"), login("jwt")
    login("jwt", bob)
    listed = token.get("/auth/sessions/").json()["results"]
    assert {entry["sid"]: entry["mode"] for entry in listed} == {
        cookie.sid: "session",
        token.sid: "jwt",
    }
    assert [entry["sid"] for entry in listed if entry["is_current"]] == [token.sid]
    text = str(listed)
    for secret in (
        cookie.browser.session_cookie,
        token.access,
        token.refresh_token,
        token.row.current_jti,
        token.row.auth_hash,
    ):
        assert secret not in text


def test_an_ended_login_is_not_listed(mode, login):
    victim, other = login(mode), login("jwt")
    registry.revoke(victim.row)
    assert [entry["sid"] for entry in other.get("/auth/sessions/").json()["results"]] == [other.sid]
    assert other.get(f"/auth/sessions/{victim.sid}/").status_code == 404


@pytest.mark.parametrize("logins", [3, 40])
def test_ending_all_logins_is_a_fixed_number_of_statements(
    alice, login, logins, django_assert_max_num_queries
):
    for count in range(logins):
        login("session" if count % 2 else "jwt")
    with django_assert_max_num_queries(10):
        assert registry.revoke_all(LoginSession.objects.for_user(alice)) == logins


@pytest.mark.django_db(transaction=True)
def test_the_ended_signal_is_sent_once_for_each_login(mode, login):
    seen = []

    def listen(login_session, **kwargs):
        seen.append((str(login_session.sid), login_session.end_reason, login_session.ended_at))

    victim = login(mode)
    login_session_ended.connect(listen)
    try:
        victim.logout()
        victim.logout()
        registry.revoke(victim.row)
    finally:
        login_session_ended.disconnect(listen)
    assert [(sid, reason) for sid, reason, _ in seen] == [(victim.sid, "logout")]
    assert seen[0][2] is not None


def test_a_receiver_that_fails_does_not_keep_a_login_alive(mode, login):
    def fail(**kwargs):
        raise RuntimeError("receiver")

    victim = login(mode)
    login_session_ended.connect(fail)
    try:
        assert victim.logout().status_code == 204
    finally:
        login_session_ended.disconnect(fail)
    assert victim.get().status_code == 401


def test_a_revocation_that_is_rolled_back_is_none(mode, login):
    victim = login(mode)
    with transaction.atomic(using=write_database()):
        assert registry.revoke(victim.row) is True
        transaction.set_rollback(True, using=write_database())
    assert victim.get().status_code == 200


def test_logging_out_ends_only_this_login(mode, login):
    victim, others = login(mode), [login("session"), login("jwt")]
    victim.logout()
    assert victim.get().status_code == 401
    assert [other.get().status_code for other in others] == [200, 200]


def test_pruning_never_frees_a_token_that_has_not_expired(login, clock):
    """A row may go when its tokens have expired, not before."""
    victim = login("jwt")
    registry.revoke(victim.row)
    with override_settings(AUTHMODES_RETENTION=timedelta(0)):
        clock.shift(timedelta(seconds=1))
        assert registry.prune() == 0
        assert refresh(victim.refresh_token).status_code == 401
        clock.shift(timedelta(days=31))
        assert registry.prune() == 1
        assert refresh(victim.refresh_token).status_code == 401
    assert not LoginSession.objects.exists()
    assert not OutstandingToken.objects.exists()
    assert not BlacklistedToken.objects.exists()

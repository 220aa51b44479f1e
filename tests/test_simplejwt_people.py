"""Projects that come from simplejwt: its routes, its recipes, and the tokens it issued before."""

import importlib.util
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client
from django.test.utils import override_settings
from django.urls import path
from rest_framework_simplejwt import serializers as simplejwt_serializers
from rest_framework_simplejwt import settings as simplejwt_settings
from rest_framework_simplejwt import views as simplejwt_views
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken
from rest_framework_simplejwt.utils import get_md5_hash_password

import authmodes.tokens
from authmodes import registry
from authmodes.models import LoginSession

from .support.logins import PASSWORD, Login, call_with, only_row, post_json, refresh
from .support.staff import run, sign_in_to_admin
from .support.tokens import claims_of
from .urls import urlpatterns as project_urlpatterns

DOCS = Path(__file__).parent.parent / "docs"
SERIALIZERS = {
    "TOKEN_OBTAIN_SERIALIZER": "authmodes.api.serializers.TokenObtainPairSerializer",
    "TOKEN_REFRESH_SERIALIZER": "authmodes.api.serializers.TokenRefreshSerializer",
    "TOKEN_VERIFY_SERIALIZER": "authmodes.api.serializers.TokenVerifySerializer",
    "TOKEN_BLACKLIST_SERIALIZER": "authmodes.api.serializers.TokenBlacklistSerializer",
}
OURS = {
    "obtain": "/auth/token/",
    "refresh": "/auth/token/refresh/",
    "verify": "/auth/token/verify/",
    "blacklist": "/auth/token/blacklist/",
}
THEIRS = {name: f"/simplejwt/{name}/" for name in OURS}

CREDENTIALS = {"username": "alice", "password": PASSWORD}


def legacy_accepted():
    """A new one each time: an `override_settings` that is entered twice forgets the way back."""
    return override_settings(AUTHMODES_ACCEPT_LEGACY_REFRESH=True)


def views_of_a_project_that_names_our_serializers():
    """simplejwt reads the names when its views are imported, so import them once more."""
    found = importlib.util.find_spec(simplejwt_views.__name__)
    module = importlib.util.module_from_spec(found)
    with override_settings(SIMPLE_JWT=SERIALIZERS):
        # A fresh import binds what `SIMPLE_JWT` says at that moment.
        assert simplejwt_settings.api_settings.TOKEN_REFRESH_SERIALIZER.startswith("authmodes.")
        found.loader.exec_module(module)
    return module


views = views_of_a_project_that_names_our_serializers()


class StockRefreshView(simplejwt_views.TokenViewBase):
    """A project's, with a throttle or a schema of its own."""

    serializer_class = simplejwt_serializers.TokenRefreshSerializer


class StockBlacklistView(simplejwt_views.TokenViewBase):
    serializer_class = simplejwt_serializers.TokenBlacklistSerializer


urlpatterns = [
    *project_urlpatterns,
    path("stock/refresh/", StockRefreshView.as_view()),
    path("stock/blacklist/", StockBlacklistView.as_view()),
    path("simplejwt/obtain/", views.TokenObtainPairView.as_view()),
    path("simplejwt/refresh/", views.TokenRefreshView.as_view()),
    path("simplejwt/verify/", views.TokenVerifyView.as_view()),
    path("simplejwt/blacklist/", views.TokenBlacklistView.as_view()),
]

pytestmark = pytest.mark.urls("tests.test_simplejwt_people")


@pytest.fixture(params=["ours", "theirs"])
def routes(request):
    return OURS if request.param == "ours" else THEIRS


@pytest.fixture
def legacy(alice):
    """A refresh token of before authmodes was installed."""
    return RefreshToken.for_user(alice)


def obtain(routes):
    response = post_json(routes["obtain"], CREDENTIALS)
    assert response.status_code == 200, response.content
    return response.json()


# -- simplejwt's routes with our serializers -----------------------------------------------


def test_the_fresh_import_really_is_simplejwts_code_with_our_serializers():
    assert views.TokenRefreshView.__mro__[1].__name__ == "TokenViewBase"
    assert views.TokenRefreshView()._serializer_class == SERIALIZERS["TOKEN_REFRESH_SERIALIZER"]


def test_obtaining_makes_a_login_session_and_the_same_answer(routes, alice):
    answer = obtain(routes)
    row = only_row()
    assert (str(row.sid), row.mode, row.user) == (answer["sid"], "jwt", alice)
    assert set(answer) == set(obtain(OURS))
    assert call_with(answer["access"]).json() == {"username": "alice", "mode": "jwt"}


def test_refreshing_rotates_and_reuse_ends_the_login(routes, alice, clock):
    answer = obtain(routes)
    clock.shift(timedelta(seconds=1))
    second = post_json(routes["refresh"], {"refresh": answer["refresh"]}).json()
    assert set(second) == set(answer)
    assert second["refresh"] != answer["refresh"]
    assert call_with(second["access"]).status_code == 200
    clock.shift(timedelta(minutes=1))
    response = post_json(routes["refresh"], {"refresh": answer["refresh"]})
    assert (response.status_code, response.json()["code"]) == (401, "token_reused")
    assert only_row().end_reason == "reuse"
    assert post_json(routes["refresh"], {"refresh": second["refresh"]}).status_code == 401
    assert call_with(second["access"]).status_code == 401


def test_verifying_asks_the_login_session(routes, alice):
    answer = obtain(routes)
    for raw_token in (answer["access"], answer["refresh"]):
        response = post_json(routes["verify"], {"token": raw_token})
        assert (response.status_code, response.json()) == (200, {})
    post_json(routes["blacklist"], {"refresh": answer["refresh"]})
    for raw_token in (answer["access"], answer["refresh"]):
        assert post_json(routes["verify"], {"token": raw_token}).status_code == 401


def test_blacklisting_ends_the_login(routes, alice):
    answer = obtain(routes)
    response = post_json(routes["blacklist"], {"refresh": answer["refresh"]})
    assert (response.status_code, response.json()) == (200, {})
    assert only_row().ended_at is not None
    assert call_with(answer["access"]).status_code == 401
    assert post_json(routes["refresh"], {"refresh": answer["refresh"]}).status_code == 401
    assert OutstandingToken.objects.get().token == ""


@pytest.mark.parametrize("name", ["refresh", "verify", "blacklist"])
@pytest.mark.parametrize("bad", ["x", "a.b.c", "legacy", "other kind", "ended"])
def test_a_bad_token_is_401_with_a_code(name, bad, routes, alice):
    answer = obtain(routes)
    raw_token = {
        "legacy": lambda: str(RefreshToken.for_user(alice)),
        "other kind": lambda: answer["access"],
        "ended": lambda: answer["refresh"],
    }.get(bad, lambda: bad)()
    if bad == "ended":
        post_json(OURS["blacklist"], {"refresh": answer["refresh"]})
    field = "token" if name == "verify" else "refresh"
    if (name, bad) in {("verify", "other kind"), ("blacklist", "ended")}:
        # An access token can be verified, and what has ended be ended again.
        assert post_json(routes[name], {field: raw_token}).status_code == 200
        return
    response = post_json(routes[name], {field: raw_token})
    assert response.status_code == 401, response.content
    assert response.json()["code"]
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("change", ["wrong password", "inactive", "unknown"])
def test_a_refused_login_is_simplejwts_401(change, routes, alice):
    body = dict(CREDENTIALS)
    if change == "wrong password":
        body["password"] = "wrong"
    elif change == "unknown":
        body["username"] = "nobody"
    else:
        get_user_model().objects.update(is_active=False)
    response = post_json(routes["obtain"], body)
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    expected = "No active account found with the given credentials"
    if change == "inactive":
        expected = response.json()["detail"]
    assert response.json()["detail"] == expected
    assert not LoginSession.objects.exists()


@pytest.mark.parametrize("name", ["obtain", "refresh", "verify", "blacklist"])
def test_an_empty_body_is_400(name, routes, db):
    assert post_json(routes[name], {}).status_code == 400


@pytest.mark.parametrize("name", ["obtain", "refresh", "verify", "blacklist"])
def test_what_is_posted_is_not_done_by_a_get(name, routes, db):
    assert Client().get(routes[name]).status_code == 405


@pytest.mark.django_db(transaction=True)
@override_settings(AUTHMODES_REFRESH_GRACE=timedelta(0))
def test_reuse_ends_the_login_under_atomic_requests(routes, alice, atomic_requests):
    answer = obtain(routes)
    second = post_json(routes["refresh"], {"refresh": answer["refresh"]}).json()
    response = post_json(routes["refresh"], {"refresh": answer["refresh"]})
    assert (response.status_code, response.json()["code"]) == (401, "token_reused")
    assert only_row().end_reason == "reuse"
    assert only_row().ended_at is not None
    assert BlacklistedToken.objects.filter(token=only_row().refresh_token).exists()
    assert post_json(routes["refresh"], {"refresh": second["refresh"]}).status_code == 401
    assert call_with(second["access"]).status_code == 401


@pytest.mark.django_db(transaction=True)
@legacy_accepted()
def test_a_legacy_token_presented_twice_is_refused_under_atomic_requests(
    routes, legacy, atomic_requests
):
    first = post_json(routes["refresh"], {"refresh": str(legacy)})
    assert first.status_code == 200
    assert post_json(routes["refresh"], {"refresh": str(legacy)}).status_code == 401
    assert call_with(first.json()["access"]).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_login_is_recorded_under_atomic_requests(routes, alice, atomic_requests):
    used = Login("jwt", None, obtain(routes))
    assert used.row.ended_at is None
    assert call_with(used.access).status_code == 200


# -- tokens that simplejwt issues beside authmodes -----------------------------------------


@pytest.fixture(params=["access", "refresh"])
def detail_of_a_refusal(request):
    def read(raw_token):
        answer = call_with(raw_token) if request.param == "access" else refresh(raw_token)
        assert (answer.status_code, answer.json()["code"]) == (401, "token_not_valid")
        return answer.json()["detail"]

    return read


@pytest.mark.parametrize("kind", [AccessToken, RefreshToken])
def test_a_refused_token_of_simplejwts_leads_to_the_guide(kind, detail_of_a_refusal, alice):
    made = str(kind.for_user(alice))
    (title,) = re.findall(r'See "([^"]+)" in the documentation', detail_of_a_refusal(made))
    assert (DOCS / "from-simplejwt.md").read_text().startswith(f"# {title}\n")
    assert "simplejwt" not in detail_of_a_refusal(made[:-10] + "AAAAAAAAAA")


def test_a_refused_token_of_ours_does_not(alice, clock):
    answer = obtain(OURS)
    clock.shift(timedelta(minutes=10))
    # Each is expired, or of the wrong kind.
    assert "simplejwt" not in call_with(answer["access"]).json()["detail"]
    assert "simplejwt" not in call_with(answer["refresh"]).json()["detail"]
    assert "simplejwt" not in refresh(answer["access"]).json()["detail"]


@pytest.mark.parametrize("kind", [authmodes.tokens.AccessToken, authmodes.tokens.RefreshToken])
def test_a_token_of_ours_is_not_made_without_a_login_session(kind, alice):
    with pytest.raises(TypeError, match=r"registry\.start"):
        kind.for_user(alice)
    pair = authmodes.tokens.mint(registry.start(None, alice, "jwt"))
    assert call_with(pair.access).status_code == 200


# -- refresh tokens from before authmodes --------------------------------------------------


def test_a_legacy_token_is_refused_unless_the_project_says_otherwise(routes, legacy):
    response = post_json(routes["refresh"], {"refresh": str(legacy)})
    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")
    assert not LoginSession.objects.exists()
    # Nor is it spent by that.
    with legacy_accepted():
        assert post_json(routes["refresh"], {"refresh": str(legacy)}).status_code == 200


@legacy_accepted()
def test_a_legacy_token_becomes_a_login_session_once(routes, legacy, alice):
    answer = post_json(routes["refresh"], {"refresh": str(legacy)}).json()
    row = only_row()
    assert (str(row.sid), row.user, row.mode) == (answer["sid"], alice, "jwt")
    assert call_with(answer["access"]).status_code == 200
    assert claims_of(answer["refresh"])["sid"] == answer["sid"]

    again = post_json(routes["refresh"], {"refresh": str(legacy)})
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert LoginSession.objects.count() == 1
    # The login that it became is not the one to suffer: it may have been a lost answer.
    assert post_json(routes["refresh"], {"refresh": answer["refresh"]}).status_code == 200


@legacy_accepted()
def test_the_absolute_end_of_a_legacy_token_is_not_extended(legacy, clock, alice):
    legacy = RefreshToken.for_user(alice)
    clock.shift(timedelta(hours=23))
    answer = refresh(str(legacy)).json()
    assert claims_of(answer["refresh"])["exp"] == legacy["exp"]
    assert int(only_row().expires_at.timestamp()) == legacy["exp"]
    assert claims_of(answer["access"])["exp"] <= legacy["exp"]
    clock.shift(timedelta(minutes=59))
    answer = refresh(answer["refresh"]).json()
    clock.shift(timedelta(minutes=1))
    assert refresh(answer["refresh"]).status_code == 401
    assert call_with(answer["access"]).status_code == 401


@legacy_accepted()
def test_a_legacy_token_of_a_year_lives_no_longer_than_a_login_may(alice, clock):
    legacy = RefreshToken.for_user(alice)
    legacy.set_exp(lifetime=timedelta(days=365))
    answer = refresh(str(legacy)).json()
    assert only_row().expires_at - only_row().created_at == timedelta(days=30)
    assert refresh(answer["refresh"]).status_code == 200


@legacy_accepted()
def test_a_blacklisted_legacy_token_is_refused(routes, legacy):
    legacy.blacklist()
    assert post_json(routes["refresh"], {"refresh": str(legacy)}).status_code == 401
    assert not LoginSession.objects.exists()


@legacy_accepted()
@pytest.mark.parametrize("recorded", [True, False])
def test_the_text_of_a_legacy_token_does_not_stay_in_the_database(recorded, routes, legacy):
    """simplejwt keeps it, and without its blacklist app there is no row at all."""
    if not recorded:
        OutstandingToken.objects.all().delete()
    assert post_json(routes["refresh"], {"refresh": str(legacy)}).status_code == 200
    assert set(OutstandingToken.objects.values_list("token", flat=True)) == {""}
    assert post_json(routes["refresh"], {"refresh": str(legacy)}).status_code == 401


@pytest.mark.parametrize("why", ["deleted", "locked", "expired", "off", "forged", "access"])
def test_a_legacy_token_that_would_not_be_valid_is_refused(why, legacy, alice, clock, settings):
    settings.AUTHMODES_ACCEPT_LEGACY_REFRESH = True
    raw_token = str(RefreshToken.for_user(alice))
    if why == "deleted":
        alice.delete()
    elif why == "locked":
        get_user_model().objects.update(is_active=False)
    elif why == "expired":
        clock.shift(timedelta(days=1))
    elif why == "off":
        settings.AUTHMODES_MODE = "session"
    elif why == "forged":
        raw_token = raw_token[:-10] + "AAAAAAAAAA"
    else:
        raw_token = str(AccessToken.for_user(alice))
    response = refresh(raw_token)
    assert response.status_code == 401
    assert response.json()["code"] in {"token_not_valid", "token_expired", "mode_disabled"}
    assert not LoginSession.objects.exists()


@legacy_accepted()
def test_a_legacy_token_that_was_exchanged_is_not_reported_as_simplejwts(legacy):
    assert refresh(str(legacy)).status_code == 200
    response = refresh(str(legacy))
    assert response.status_code == 401
    assert "From simplejwt" not in response.json()["detail"]
    assert LoginSession.objects.active().count() == 1


@legacy_accepted()
@pytest.mark.parametrize("changed", [False, True])
def test_a_legacy_token_that_is_tied_to_the_password_dies_with_it(changed, alice):
    """simplejwt's CHECK_REVOKE_TOKEN; what it makes of such a token is refused."""
    with override_settings(SIMPLE_JWT={"CHECK_REVOKE_TOKEN": True}):
        jwt_settings = simplejwt_settings.api_settings
        legacy = RefreshToken.for_user(alice)
        legacy[jwt_settings.REVOKE_TOKEN_CLAIM] = get_md5_hash_password(alice.password)
        if changed:
            alice.set_password("another one")
            alice.save()
        assert refresh(str(legacy)).status_code == (401 if changed else 200)
    assert LoginSession.objects.exists() is not changed


@legacy_accepted()
def test_a_legacy_access_token_opens_nothing(alice):
    """It has no login session that anybody could end; its client refreshes."""
    assert call_with(str(AccessToken.for_user(alice))).status_code == 401


@legacy_accepted()
def test_a_legacy_token_is_worth_nothing_elsewhere(legacy):
    assert post_json("/auth/token/verify/", {"token": str(legacy)}).status_code == 401
    assert post_json("/auth/token/revoke/", {"token": str(legacy)}).status_code == 200
    assert not LoginSession.objects.exists()


@legacy_accepted()
def test_a_client_that_signs_out_with_its_legacy_token_is_signed_out(legacy):
    """Whatever the answer: the token must not become a login afterwards."""
    post_json("/auth/logout/", {"refresh": str(legacy)})
    assert refresh(str(legacy)).status_code == 401
    assert not LoginSession.objects.exists()


@legacy_accepted()
@pytest.mark.parametrize("path_", ["/auth/token/blacklist/", "/simplejwt/blacklist/"])
def test_a_legacy_token_can_still_be_blacklisted(path_, legacy):
    post_json(path_, {"refresh": str(legacy)})
    assert refresh(str(legacy)).status_code == 401


def new_password(user):
    user.set_password("another horse, another staple")
    user.save()


def unusable_password(user):
    user.set_unusable_password()
    user.save()


def end_all(user):
    used = Login("jwt", None, post_json("/auth/token/", CREDENTIALS).json())
    url = "/auth/sessions/?all=1"
    assert Client().delete(url, headers=used.headers()).status_code == 200


def end_others(user):
    used = Login("jwt", None, post_json("/auth/token/", CREDENTIALS).json())
    assert Client().delete("/auth/sessions/", headers=used.headers()).status_code == 200


def lock_for_a_moment(user):
    for is_active in (False, True):
        user.is_active = is_active
        user.save()


def revoke_in_the_admin(user):
    post_json("/auth/token/", CREDENTIALS)
    chief = get_user_model().objects.create_superuser("chief", "c@example.com", PASSWORD)
    row = LoginSession.objects.active().filter(user=user).latest("pk")
    run(sign_in_to_admin(chief), "revoke_all_of_users", [row.pk])


ENDINGS = [
    registry.revoke_user,
    new_password,
    unusable_password,
    end_all,
    end_others,
    lock_for_a_moment,
    revoke_in_the_admin,
]


@legacy_accepted()
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("end", ENDINGS)
def test_legacy_tokens_end_with_all_logins_of_their_user(end, is_recorded, routes, legacy, alice):
    """Without simplejwt's blacklist app there is no row that could be blacklisted."""
    theirs = RefreshToken.for_user(get_user_model().objects.create_user("carol"))
    if not is_recorded:
        OutstandingToken.objects.all().delete()
    end(alice)
    response = post_json(routes["refresh"], {"refresh": str(legacy)})
    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")
    assert post_json(routes["refresh"], {"refresh": str(theirs)}).status_code == 200


@legacy_accepted()
def test_a_legacy_token_survives_a_change_that_ends_no_login(legacy, alice):
    alice.first_name = "Alice"
    alice.save()
    assert refresh(str(legacy)).status_code == 200


# -- the tutorials' recipes ----------------------------------------------------------------


def get_or_create_loop(user):
    for token in OutstandingToken.objects.filter(user=user):
        BlacklistedToken.objects.get_or_create(token=token)


def user_id_loop(user):
    for token in OutstandingToken.objects.filter(user_id=user.id):
        _, _ = BlacklistedToken.objects.get_or_create(token=token)


def bulk_create(user):
    outstanding = OutstandingToken.objects.filter(user=user).exclude(
        id__in=BlacklistedToken.objects.filter(token__user=user).values_list("token_id", flat=True)
    )
    BlacklistedToken.objects.bulk_create([BlacklistedToken(token=token) for token in outstanding])


def bulk_create_ignoring(user):
    BlacklistedToken.objects.bulk_create(
        [BlacklistedToken(token=one) for one in OutstandingToken.objects.filter(user=user)],
        ignore_conflicts=True,
    )


RECIPES = [get_or_create_loop, user_id_loop, bulk_create, bulk_create_ignoring]


@pytest.mark.parametrize("recipe", RECIPES)
def test_blacklisting_every_outstanding_token_ends_a_users_token_logins(
    recipe, login, alice, bob, clock
):
    fresh, rotated, other = login("jwt"), login("jwt"), login("jwt", bob)
    clock.shift(timedelta(seconds=1))
    rotated.refresh()
    recipe(alice)
    for used in (fresh, rotated):
        assert call_with(used.access).status_code == 401
        assert refresh(used.refresh_token).status_code == 401
        assert used.row.end_reason == "revoked"
    assert other.get().status_code == 200
    # And again, over what is blacklisted already.
    recipe(alice)
    assert other.refresh().status_code == 200


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_lock_legacy_tokens_out_too(recipe, legacy, alice):
    recipe(alice)
    with legacy_accepted():
        assert refresh(str(legacy)).status_code == 401


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_refresh_alone_finds_out(recipe, login, alice):
    used = login("jwt")
    recipe(alice)
    response = refresh(used.refresh_token)
    assert (response.status_code, response.json()["code"]) == (401, "login_session_ended")


@pytest.mark.parametrize("is_rotated", [False, True])
def test_the_recipe_of_simplejwts_own_documentation_for_one_token(is_rotated, login):
    """With our class, which is the one that reads our tokens."""
    used = login("jwt")
    raw_token = used.refresh_token
    if is_rotated:
        assert used.refresh().status_code == 200
    authmodes.tokens.RefreshToken(raw_token).blacklist()
    assert used.get().status_code == 401
    assert used.row.ended_at is not None
    assert OutstandingToken.objects.get().token == ""


def test_each_token_of_a_family_finds_its_outstanding_token(login, clock):
    used = login("jwt")
    raw_tokens = [used.refresh_token]
    for _ in range(2):
        clock.shift(timedelta(seconds=1))
        used.refresh()
        raw_tokens.append(used.refresh_token)
    tokens = [authmodes.tokens.RefreshToken(each) for each in raw_tokens]
    assert {each.outstand() for each in tokens} == {used.row.refresh_token}
    used.row.delete()
    with pytest.raises(TokenError):
        tokens[-1].blacklist()
    assert not BlacklistedToken.objects.exists()


@pytest.mark.parametrize("name", ["refresh", "blacklist"])
@pytest.mark.parametrize("is_rotated", [False, True])
def test_simplejwts_own_serializers_refuse_our_refresh_tokens(name, is_rotated, login):
    """They would accept a token that was rotated, and issue tokens that no login ends."""
    used = login("jwt")
    raw_token = used.refresh_token
    if is_rotated:
        assert used.refresh().status_code == 200
    response = post_json(f"/stock/{name}/", {"refresh": raw_token})
    assert (response.status_code, response.json()["code"]) == (401, "token_not_valid")
    with pytest.raises(TokenError):
        RefreshToken(raw_token)
    assert used.get().status_code == 200


# -- flushexpiredtokens --------------------------------------------------------------------


@pytest.mark.parametrize("after", [timedelta(0), timedelta(days=2), timedelta(days=31)])
@pytest.mark.parametrize("recipe", [get_or_create_loop, bulk_create])
def test_flushing_expired_tokens_revives_nothing(recipe, after, login, alice, clock):
    ended, open_ = login("jwt"), login("jwt")
    recipe(alice)
    clock.shift(after)
    call_command("flushexpiredtokens")
    for used in (ended, open_):
        assert call_with(used.access).status_code == 401
        assert refresh(used.refresh_token).status_code == 401
    assert not LoginSession.objects.active().exists()


def test_flushing_expired_tokens_does_not_end_a_login_that_lives(login, clock):
    """Its outstanding token expires with the login and not with simplejwt's lifetime."""
    used = login("jwt")
    for _ in range(3):
        clock.shift(timedelta(hours=20))
        call_command("flushexpiredtokens")
        assert used.refresh().status_code == 200
    assert used.get().status_code == 200


@legacy_accepted()
def test_flushing_does_not_make_a_spent_legacy_token_good_again(alice, clock):
    legacy = str(RefreshToken.for_user(alice))
    answer = refresh(legacy).json()
    clock.shift(timedelta(hours=23))
    call_command("flushexpiredtokens")
    assert refresh(legacy).status_code == 401
    clock.shift(timedelta(hours=2))
    call_command("flushexpiredtokens")
    assert refresh(legacy).status_code == 401
    assert refresh(answer["refresh"]).status_code == 401


@legacy_accepted()
@override_settings(SIMPLE_JWT={"LEEWAY": timedelta(minutes=10)})
def test_flushing_within_the_leeway_does_not_make_a_spent_legacy_token_good_again(alice, clock):
    """simplejwt's command knows of no leeway, so the blacklist entry goes before the token."""
    legacy = str(RefreshToken.for_user(alice))
    assert refresh(legacy).status_code == 200
    clock.shift(timedelta(days=1, minutes=5))
    call_command("flushexpiredtokens")
    assert refresh(legacy).status_code == 401


@legacy_accepted()
def test_revoking_a_legacy_token_is_true(legacy):
    assert post_json("/auth/token/revoke/", {"token": str(legacy)}).status_code == 200
    assert refresh(str(legacy)).status_code == 401


def test_simplejwts_own_views_put_no_token_into_a_body_where_cookies_carry_them(login, settings):
    used = login("jwt")
    settings.AUTHMODES_TOKEN_TRANSPORT = "cookie"
    for name, body in (("obtain", CREDENTIALS), ("refresh", {"refresh": used.refresh_token})):
        response = post_json(THEIRS[name], body)
        assert (response.status_code, response.json()["code"]) == (400, "cookie_transport")
    assert LoginSession.objects.count() == 1
    settings.AUTHMODES_TOKEN_TRANSPORT = "body"
    assert used.refresh().status_code == 200

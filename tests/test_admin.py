"""The admin's lists: what they show, who may use them, and that revoking ends every credential."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any
from unittest import mock

import pytest
from allauth.account.models import EmailAddress
from django.contrib.admin import AdminSite
from django.contrib.admin import site as default_site
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.admin import UserAdmin
from django.contrib.messages import get_messages
from django.core.management import call_command
from django.db.models import Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext, override_settings
from django.urls import path as route
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import RefreshToken as StockRefreshToken

from authmodes import registry
from authmodes.admin import (
    LoginSessionAdmin,
    LoginSessionsPanelMixin,
    OverviewAdmin,
    keyset,
    overview,
    revocation,
    search,
)
from authmodes.models import (
    AuthorizationCode,
    EndReason,
    EventKind,
    LoginEvent,
    LoginSession,
    Overview,
)
from authmodes.registry import ending

from .support.browser import Browser
from .support.database import connection
from .support.logins import PASSWORD, Login, call_with, post_json, refresh
from .support.staff import CHROME, LIST, ask, confirm, finish, make_staff, run, sign_in_to_admin
from .urls import urlpatterns as project_urlpatterns

User = get_user_model()
TOKENS = "/admin/token_blacklist/outstandingtoken/"
BLACKLIST = "/admin/token_blacklist/blacklistedtoken/"
PAGES = (LIST, TOKENS, BLACKLIST)
VIEWS = ("view_loginsession", "view_outstandingtoken", "view_blacklistedtoken")


@pytest.fixture
def root(admin_user: Any) -> Browser:
    return sign_in_to_admin(admin_user)


@pytest.fixture
def viewer(db: None) -> Browser:
    """Staff who may look and not revoke."""
    return sign_in_to_admin(make_staff("viewer", *VIEWS))


@pytest.fixture
def victim(login: Callable[..., Login]) -> tuple[Login, Login]:
    """alice, signed in with a cookie and, by simplejwt's endpoint, with tokens."""
    cookie = login("session")
    answer = post_json("/auth/token/", {"username": "alice", "password": PASSWORD}).json()
    token = Login("jwt", Browser(), answer)
    assert_works(cookie, token)
    return cookie, token


def assert_works(*logins: Login) -> None:
    for each in logins:
        assert each.get().status_code == 200


def assert_ended(cookie: Login, token: Login, reason: str = EndReason.REVOKED) -> None:
    """Each of the three credentials is refused on its next use, and both rows say why."""
    assert cookie.get().status_code == 401
    assert call_with(token.access).status_code == 401
    assert refresh(token.refresh_token).status_code == 401
    for each in (cookie, token):
        assert each.row.end_reason == reason


def assert_ended_by(admin_user: Any, *logins: Login) -> None:
    assert {each.row.ended_by for each in logins} == {admin_user}


def rows_of(user: Any, count: int = 1, **fields: Any) -> list[LoginSession]:
    now = timezone.now()
    values = {
        "user": user,
        "mode": "session",
        "created_at": now,
        "last_seen_at": now,
        "expires_at": now + timedelta(days=30),
        "user_agent": CHROME,
        "ip_address": "192.0.2.1",
        "auth_hash": "the-auth-hash-of-a-user",
        **fields,
    }
    return LoginSession.objects.bulk_create([LoginSession(**values) for _ in range(count)])


def change_url(row: Any) -> str:
    return f"{LIST}{row.pk}/change/"


def revoke_url(row: Any) -> str:
    return f"{LIST}{row.pk}/revoke/"


def said(response: Any) -> list[str]:
    return [str(message) for message in get_messages(response.wsgi_request)]


def shown(response: Any) -> list[Any]:
    return list(response.context["cl"].result_list)


# -- revoking ends logins -----------------------------------------------------------------


def test_revoking_selected_login_sessions_ends_every_credential(root, admin_user, victim):
    response = run(root, "revoke_selected", [each.row.pk for each in victim])
    assert said(response) == ["2 login sessions were revoked."]
    assert_ended(*victim)
    assert_ended_by(admin_user, *victim)


def test_revoking_one_leaves_the_others(root, victim):
    cookie, token = victim
    run(root, "revoke_selected", [token.row.pk])
    assert call_with(token.access).status_code == 401
    assert refresh(token.refresh_token).status_code == 401
    assert_works(cookie)


def test_revoking_all_of_users_ends_what_was_not_selected_too(root, admin_user, victim, login, bob):
    cookie, token = victim
    others = login("session", bob)
    response = run(root, "revoke_all_of_users", [cookie.row.pk])
    assert said(response) == ["2 login sessions were revoked."]
    assert_ended(cookie, token)
    assert_ended_by(admin_user, cookie, token)
    assert_works(others)


def test_revoking_all_of_users_works_from_a_row_that_has_ended(root, alice, victim):
    (ended,) = rows_of(alice, ended_at=timezone.now(), end_reason="logout")
    run(root, "revoke_all_of_users", [ended.pk])
    assert_ended(*victim)


def test_revoking_all_of_users_reaches_beyond_a_batch_of_the_list_that_it_changes(
    root, alice, bob, monkeypatch
):
    # Filtered by "active", the list no longer holds the users once they are done with.
    monkeypatch.setattr(revocation, "BATCH", 1)
    chosen = [rows_of(user, 20)[0].pk for user in (alice, bob)]
    run(root, "revoke_all_of_users", chosen, f"{LIST}?status=active")
    assert not LoginSession.objects.active().filter(user__in=[alice, bob]).exists()


def test_revoking_all_of_a_provider_ends_those_and_no_others(root, admin_user, victim, bob):
    cookie, token = victim
    LoginSession.objects.filter(sid=token.sid).update(provider="example")
    (bobs,) = rows_of(bob, provider="example")
    response = run(root, "revoke_all_of_provider", [token.row.pk, cookie.row.pk])
    assert said(response) == ["2 login sessions were revoked."]
    assert call_with(token.access).status_code == 401
    assert refresh(token.refresh_token).status_code == 401
    bobs.refresh_from_db()
    assert (bobs.end_reason, bobs.ended_by) == (EndReason.REVOKED, admin_user)
    # A login without a provider is not a login of the provider "".
    assert_works(cookie)


def test_a_page_that_a_project_has_narrowed_down_ends_no_other_rows(root, alice, bob):
    (shown,), (hidden,) = rows_of(alice, provider="example"), rows_of(bob, provider="example")
    whole = LoginSessionAdmin.get_queryset

    def of_alice(page, request):
        return whole(page, request).filter(user=alice)

    everywhere = f"{LIST}revoke/?user__id__exact={bob.pk}"
    with mock.patch.object(LoginSessionAdmin, "get_queryset", of_alice):
        run(root, "revoke_all_of_provider", [shown.pk])
        assert root.submit(everywhere, {"post": "yes"}).status_code == 302
        # Nor is the user named, for whatever number.
        assert root.get(everywhere).status_code == 302
        assert "bob" not in root.get(f"{LIST}?user__id__exact={bob.pk}").content.decode()
        assert "alice" in root.get(f"{LIST}?user__id__exact={alice.pk}").content.decode()
    hidden.refresh_from_db()
    assert hidden.ended_at is None
    assert ending.latest_revocation_of(bob) is None


def test_signing_out_everywhere_ends_only_what_a_narrowed_page_shows(root, victim, alice):
    cookie, token = victim
    whole = LoginSessionAdmin.get_queryset

    def of_cookies(page, request):
        return whole(page, request).filter(mode="session")

    everywhere = f"{LIST}revoke/?user__id__exact={alice.pk}"
    with mock.patch.object(LoginSessionAdmin, "get_queryset", of_cookies):
        finish(root, root.get(everywhere), everywhere)
    assert cookie.get().status_code == 401
    assert_works(token)


@pytest.mark.parametrize("pk", ["4711", "9" * 30])
def test_revoking_for_a_user_who_does_not_exist_ends_nothing(pk, root, victim):
    url = f"{LIST}revoke/?user__id__exact={pk}"
    assert root.get(url).status_code == root.submit(url, {"post": "yes"}).status_code == 302
    assert_works(*victim)


def test_revoking_from_the_page_of_one_ends_every_credential(root, admin_user, victim):
    for each in victim:
        page = root.get(change_url(each.row))
        assert f'href="{revoke_url(each.row)}"' in page.content.decode()
        response = confirm(root, root.get(revoke_url(each.row)), revoke_url(each.row))
        assert response.url == LIST
        assert said(response) == ["1 login session was revoked."]
    assert_ended(*victim)
    assert_ended_by(admin_user, *victim)


def test_revoking_a_refresh_token_ends_its_login_session(root, admin_user, victim):
    cookie, token = victim
    run(root, "revoke_selected", [token.row.refresh_token_id], TOKENS)
    assert call_with(token.access).status_code == 401
    assert refresh(token.refresh_token).status_code == 401
    assert token.row.end_reason == EndReason.REVOKED
    assert_ended_by(admin_user, token)
    assert_works(cookie)


def test_revoking_a_refresh_token_without_a_login_session_blacklists_it(root, alice):
    stock = StockRefreshToken.for_user(alice)
    outstanding = OutstandingToken.objects.get()
    response = run(root, "revoke_selected", [outstanding.pk], TOKENS)
    assert said(response) == ["1 login session was revoked."]
    assert BlacklistedToken.objects.filter(token=outstanding).exists()
    entry = LogEntry.objects.get()
    assert entry.object_repr == "The login sessions of the selected refresh tokens"
    assert str(stock["jti"]) not in f"{entry.object_repr} {entry.change_message}"


def test_what_is_selected_across_pages_is_revoked_and_nothing_else(root, alice, bob):
    rows_of(alice, 3)
    (bobs,) = rows_of(bob)
    first = LoginSession.objects.filter(user=alice).first()
    url = f"{LIST}?user__id__exact={alice.pk}"
    run(root, "revoke_selected", [first.pk], url, select_across="1")
    assert not LoginSession.objects.active().filter(user=alice).exists()
    bobs.refresh_from_db()
    assert bobs.ended_at is None


def test_what_has_ended_keeps_its_reason(root, alice):
    (ended,) = rows_of(alice, ended_at=timezone.now(), end_reason="logout")
    (expired,) = rows_of(alice, expires_at=timezone.now())
    response = ask(root, "revoke_selected", [ended.pk, expired.pk])
    assert response.status_code == 302
    assert said(response) == ["Nothing was revoked: no login session among these is active."]
    # And if it ended between the question and the answer.
    (row,) = rows_of(alice)
    page = ask(root, "revoke_selected", [ended.pk, row.pk])
    LoginSession.objects.filter(pk=row.pk).update(ended_at=timezone.now(), end_reason="logout")
    assert said(confirm(root, page)) == said(response)
    ended.refresh_from_db()
    assert (ended.end_reason, ended.ended_by) == ("logout", None)
    assert not LogEntry.objects.exists()


# Without it, Django has no reason to save the session that the request itself deletes.
@override_settings(SESSION_SAVE_EVERY_REQUEST=True)
def test_an_administrator_who_revokes_their_own_login_session_is_told_and_signed_out(root):
    own = LoginSession.objects.get()
    page = root.get(revoke_url(own))
    assert "You will be signed out." in page.content.decode()
    response = confirm(root, page, revoke_url(own))
    assert (response.status_code, response.url) == (302, "/admin/")
    assert root.get("/admin/").url.startswith("/admin/login/")
    own.refresh_from_db()
    assert own.end_reason == EndReason.REVOKED


def test_revoking_keeps_the_filters_of_the_list(root, alice):
    (row,) = rows_of(alice)
    html = root.get(f"{LIST}?status=active").content.decode()
    href = re.search(rf'href="({revoke_url(row)}\?[^"]+)"', html).group(1).replace("&amp;", "&")
    assert confirm(root, root.get(href), href).url == f"{LIST}?status=active"


# -- asked first, and only by POST ---------------------------------------------------------


@pytest.mark.parametrize(
    "action", ["revoke_selected", "revoke_all_of_users", "revoke_all_of_provider"]
)
def test_an_action_asks_before_it_revokes(root, victim, action):
    LoginSession.objects.update(provider="example")
    page = ask(root, action, [victim[0].row.pk])
    html = page.content.decode()
    assert page.status_code == 200
    assert "alice" in html
    assert "Yes, revoke" in html
    assert_works(*victim)


def test_get_never_revokes(root, victim):
    cookie, token = victim
    post = f"action=revoke_selected&_selected_action={cookie.row.pk}&post=yes&index=0"
    for url in (revoke_url(cookie.row), f"{revoke_url(cookie.row)}?post=yes", f"{LIST}?{post}"):
        root.get(url)
        root.head(url)
    root.get(f"{TOKENS}?action=revoke_selected&_selected_action=1&post=yes")
    assert_works(cookie, token)


def test_a_post_without_csrf_token_revokes_nothing(root, victim):
    row = victim[0].row
    data = {"action": "revoke_selected", "_selected_action": row.pk, "post": "yes"}
    assert root.post(LIST, data).status_code == 403
    assert root.post(TOKENS, data).status_code == 403
    assert root.post(revoke_url(row), {"post": "yes"}).status_code == 403
    assert_works(*victim)


def test_the_confirmation_lists_some_and_says_how_many(root, alice, bob, monkeypatch):
    monkeypatch.setattr(revocation, "LISTED", 2)
    monkeypatch.setattr(revocation, "COUNTED", 4)
    pks = [row.pk for user in (alice, bob) for row in rows_of(user, 2)]
    page = ask(root, "revoke_selected", pks)
    assert len(page.context["listed"]) == 2
    assert "4 login sessions of 2 users" in page.content.decode()
    pks += [row.pk for row in rows_of(alice, 3)]
    page = ask(root, "revoke_selected", pks)
    assert len(page.context["listed"]) == 2
    assert "At least 4 login sessions of 2 users" in page.content.decode()


# -- who may -------------------------------------------------------------------------------


def test_staff_who_may_only_view_cannot_revoke(viewer, victim):
    cookie, token = victim
    for url in (*PAGES, change_url(cookie.row)):
        page = viewer.get(url)
        assert page.status_code == 200
        html = page.content.decode()
        assert 'name="action"' not in html
        assert "/revoke/" not in html
    for pk, url in ((cookie.row.pk, LIST), (token.row.refresh_token_id, TOKENS)):
        data = {"action": "revoke_selected", "_selected_action": pk}
        assert viewer.submit(url, {**data, "index": "0"}).status_code == 403
        assert viewer.submit(url, {**data, "post": "yes"}).status_code == 403
    assert viewer.get(revoke_url(cookie.row)).status_code == 403
    assert viewer.submit(revoke_url(cookie.row)).status_code == 403
    assert_works(cookie, token)


def test_staff_who_may_view_and_revoke_need_nothing_else(victim):
    browser = sign_in_to_admin(make_staff("helpdesk", "view_loginsession", "revoke_loginsession"))
    assert "Revoke selected login sessions" in browser.get(LIST).content.decode()
    run(browser, "revoke_selected", [each.row.pk for each in victim])
    assert_ended(*victim)


@pytest.mark.parametrize("codenames", [(), ("revoke_loginsession",), ("change_user",)])
def test_without_the_view_permission_nothing_is_shown_or_revoked(victim, codenames):
    browser = sign_in_to_admin(make_staff("other", *codenames))
    row = victim[0].row
    for url in (*PAGES, change_url(row), f"{LIST}{row.pk}/history/", revoke_url(row)):
        assert browser.get(url).status_code == 403
    data = {"action": "revoke_selected", "_selected_action": row.pk, "post": "yes"}
    assert browser.submit(LIST, data).status_code == 403
    assert browser.submit(revoke_url(row)).status_code == 403
    assert_works(*victim)


def test_users_who_are_no_staff_are_sent_to_the_login(victim):
    cookie, _token = victim
    for url in (*PAGES, revoke_url(cookie.row)):
        assert cookie.browser.get(url).url.startswith("/admin/login/")
    assert cookie.browser.submit(revoke_url(cookie.row)).url.startswith("/admin/login/")
    assert_works(*victim)


def test_nothing_is_added_edited_or_deleted_by_hand(root, victim):
    cookie, token = victim
    entry = BlacklistedToken.objects.create(
        token=OutstandingToken.objects.create(
            jti="another", token="", expires_at=timezone.now() + timedelta(days=1)
        )
    )
    pairs = (
        (LIST, cookie.row.pk),
        (TOKENS, token.row.refresh_token_id),
        (BLACKLIST, entry.pk),
    )
    before = LoginSession.objects.values().get(pk=cookie.row.pk)
    for url, pk in pairs:
        for path in ("add/", f"{pk}/delete/", f"{pk}/change/"):
            root.submit(f"{url}{path}", {"post": "yes", "user": cookie.row.user_id, "mode": "jwt"})
        for action in ("delete_selected", "delete"):
            data = {"action": action, "_selected_action": pk, "post": "yes"}
            root.submit(url, data)
            root.submit(url, {**data, "index": "0"})
        html = root.get(url).content.decode()
        assert "delete_selected" not in html
        assert f"{url}add/" not in html
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.get(f"{LIST}{cookie.row.pk}/delete/").status_code == 403
    assert "deletelink" not in root.get(change_url(cookie.row)).content.decode()
    assert LoginSession.objects.values().get(pk=cookie.row.pk) == before
    assert OutstandingToken.objects.filter(pk=token.row.refresh_token_id).exists()
    assert_works(cookie, token)


def test_nothing_comes_off_the_blacklist(root, victim):
    _cookie, token = victim
    run(root, "revoke_selected", [token.row.pk])
    entry = BlacklistedToken.objects.get()
    for path in (f"{entry.pk}/delete/", f"{entry.pk}/change/", ""):
        data = {"action": "delete_selected", "_selected_action": entry.pk, "post": "yes"}
        root.submit(f"{BLACKLIST}{path}", data)
    assert BlacklistedToken.objects.filter(pk=entry.pk).exists()
    page = root.get(BLACKLIST).content.decode()
    assert "delete" not in page[page.index('id="changelist"') :]


@pytest.mark.parametrize("how", ["page", "action"])
def test_deleting_a_user_with_login_sessions_works_and_ends_them(root, alice, victim, how):
    cookie, token = victim
    users = "/admin/auth/user/"
    if how == "page":
        url = f"{users}{alice.pk}/delete/"
        assert "deleted-objects" in root.get(url).content.decode()
        response = root.submit(url, {"post": "yes"})
    else:
        data = {"action": "delete_selected", "_selected_action": alice.pk, "post": "yes"}
        response = root.submit(users, data)
    assert response.status_code == 302
    assert not type(alice).objects.filter(pk=alice.pk).exists()
    assert cookie.get().status_code == 401
    assert call_with(token.access).status_code == 401
    assert refresh(token.refresh_token).status_code == 401


def test_a_support_role_cannot_revoke_what_superusers_have(admin_user, victim):
    browser = sign_in_to_admin(make_staff("helpdesk", "view_loginsession", "revoke_loginsession"))
    (roots,) = rows_of(admin_user)
    assert f'href="{revoke_url(roots)}' not in browser.get(LIST).content.decode()
    assert f'href="{revoke_url(roots)}' not in browser.get(change_url(roots)).content.decode()
    assert browser.get(revoke_url(roots)).status_code == 403
    assert browser.submit(revoke_url(roots), {"post": "yes"}).status_code == 403
    pks = [roots.pk, *(each.row.pk for each in victim)]
    for action in ("revoke_selected", "revoke_all_of_users"):
        assert ask(browser, action, [roots.pk]).status_code == 302
    assert said(run(browser, "revoke_selected", pks)) == ["2 login sessions were revoked."]
    rows_of(victim[0].row.user)
    finish(browser, browser.get(f"{LIST}revoke/"), f"{LIST}revoke/")
    assert_ended(*victim)
    roots.refresh_from_db()
    assert roots.ended_at is None


def test_a_project_can_hide_addresses_from_staff(viewer, root, alice, monkeypatch):
    monkeypatch.setattr(
        LoginSessionAdmin,
        "has_address_permission",
        lambda self, request: self.has_revoke_permission(request),
    )
    row, _other = rows_of(alice, 2, last_ip_address="192.0.2.2")
    LoginEvent.objects.create(
        kind="reuse", sid=row.sid, created_at=timezone.now(), ip_address="192.0.2.3"
    )
    for url in (LIST, change_url(row)):
        assert "192.0.2" in root.get(url).content.decode()
        assert "192.0.2" not in viewer.get(url).content.decode()
    # A search would tell as well.
    for word in ("192.0.2.1", "192.0."):
        assert row in shown(root.get(f"{LIST}?q={word}"))
        assert shown(viewer.get(f"{LIST}?q={word}")) == []
    # And the confirmation of the page of refresh tokens.
    monkeypatch.setattr(
        LoginSessionAdmin, "has_address_permission", lambda self, request: request.user.is_superuser
    )
    token = registry.start(None, alice, "jwt")
    LoginSession.objects.update(ip_address="192.0.2.4")
    support = make_staff("support", *VIEWS, "revoke_loginsession")
    for browser, sees in ((sign_in_to_admin(support), False), (root, True)):
        page = ask(browser, "revoke_selected", [token.refresh_token_id], TOKENS)
        assert "alice" in page.content.decode()
        assert ("192.0.2.4" in page.content.decode()) == sees


# -- the admin's log -----------------------------------------------------------------------


def test_revoking_one_has_an_entry_that_leads_to_it(root, admin_user, victim):
    row = victim[0].row
    confirm(root, root.get(revoke_url(row)), revoke_url(row))
    entry = LogEntry.objects.get(user=admin_user, action_flag=2)
    assert (entry.get_edited_object(), entry.change_message) == (row, "Revoked.")
    assert "Revoked." in root.get(f"{LIST}{row.pk}/history/").content.decode()


@pytest.mark.parametrize("action", ["revoke_selected", "revoke_all_of_users"])
def test_revoking_many_has_one_entry_with_their_number(root, victim, bob, action):
    (bobs,) = rows_of(bob)
    run(root, action, [*(each.row.pk for each in victim), bobs.pk])
    entry = LogEntry.objects.get()
    assert entry.change_message == "Revoked 3 login sessions."
    assert root.get("/admin/").status_code == 200


def test_a_revocation_of_many_is_one_event_without_what_was_typed(root, admin_user, alice):
    rows_of(alice, 3, provider="example")
    url = f"{LIST}revoke/?provider=example&q=alice"
    finish(root, root.get(url), url)
    event = LoginEvent.objects.get(kind=EventKind.ENDED)
    assert (event.count, event.actor, event.code) == (3, admin_user, "revoked")
    assert event.filter == "provider=example&q=…"
    (row,) = rows_of(alice)
    run(root, "revoke_selected", [row.pk])
    assert LoginEvent.objects.filter(kind=EventKind.ENDED, sid=row.sid).count() == 1


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("mode__exact=jwt&status=active", ["Status: Active", "Mode: token"]),
        ("mode__exact=jwt&mode__exact=session", ["Mode: cookie, token"]),
        ("provider=-&q=+Alice+", ["Provider: Without a provider", "Search: Alice"]),
        ("provider=", ["Provider: All"]),
        ("user__id__exact={alice}&status=active&o=5", ["Status: Active", "User: alice"]),
        ("created_at__gte={today}&created_at__lt={tomorrow}", ["Signed in at: Today"]),
        ("created_at__gte=2026-01-01T00:00Z", ["Signed in at: ≥ 2026-01-01T00:00Z"]),
        # Either counts, so neither choice of the sidebar says it.
        (
            "created_at__gte={today}&created_at__lt={tomorrow}&created_at__gte=2026-01-01T00:00Z",
            ["Signed in at: ≥ {today}, ≥ 2026-01-01T00:00Z, < {tomorrow}"],
        ),
        ("", []),
        ("o=5&q=+", []),
    ],
)
def test_what_is_revoked_is_said_in_the_words_of_the_sidebar(root, alice, query, words):
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    known = {"alice": alice.pk, "today": today, "tomorrow": today + timedelta(days=1)}
    for mode in ("session", "jwt"):
        rows_of(alice, mode=mode)
    url = f"{LIST}revoke/?{query.format(**known).replace('+00:00', '%2B00:00')}"
    page = root.get(url)
    html = unescape(page.content.decode())
    expected = [each.format(**known) for each in words]
    shown_words = re.findall("<dt>(.+?)</dt><dd><bdi>(.+?)</bdi>", html)
    assert [": ".join(each) for each in shown_words] == expected
    assert ("every active login session of the site" in html) == (not words)
    finish(root, page, url)
    recorded = " · ".join(re.sub("Search: .*", "Search: …", each) for each in expected)
    described = f"All that match {recorded}" if words else "All login sessions"
    assert LogEntry.objects.get().object_repr == described


def test_a_status_that_does_not_exist_selects_nothing(root, alice):
    rows_of(alice)
    assert shown(root.get(f"{LIST}?status=expire")) == []
    assert said(root.get(f"{LIST}revoke/?status=expire")) == [
        "Nothing was revoked: no login session among these is active."
    ]


def test_revoking_all_of_one_user_has_an_entry_in_the_history_of_the_user(root, alice, victim):
    run(root, "revoke_all_of_users", [each.row.pk for each in victim])
    assert LogEntry.objects.get().get_edited_object() == alice


def test_revoking_all_of_a_provider_has_one_entry_that_names_it(root, alice):
    row, *_others = rows_of(alice, 3, provider="example")
    run(root, "revoke_all_of_provider", [row.pk])
    entry = LogEntry.objects.get()
    assert entry.object_repr == "All of provider Example ID"
    assert entry.change_message == "Revoked 3 login sessions."


# -- many ----------------------------------------------------------------------------------


def test_a_large_revocation_goes_on_batch_after_batch_with_one_entry(
    root, admin_user, alice, monkeypatch
):
    monkeypatch.setattr(revocation, "BATCH", 2)
    rows_of(alice, 5, provider="example")
    (other,) = rows_of(alice)
    url = f"{LIST}revoke/?provider=example"
    active = LoginSession.objects.active().filter(provider="example")
    page = root.get(url)
    assert "5 login sessions of 1 user" in page.content.decode()
    for left in (3, 1):
        page = confirm(root, page, url)
        assert f"{5 - left} of 5 login sessions are revoked." in page.content.decode()
        assert active.count() == left
    # The page can be left here: the list and its filters are all that is needed to go on.
    page = confirm(root, root.get(url), url)
    assert said(page) == ["1 login session was revoked."]
    assert not active.exists()
    events = LoginEvent.objects.filter(kind=EventKind.ENDED).order_by("pk")
    assert [event.count for event in events] == [4, 1]
    other.refresh_from_db()
    assert other.ended_at is None
    entries = LogEntry.objects.order_by("pk").values_list("object_repr", "change_message")
    assert list(entries) == [
        ("All that match Provider: Example ID", "Revoked 4 login sessions."),
        ("All that match Provider: Example ID", "Revoked 1 login session."),
    ]
    ended = LoginSession.objects.filter(provider="example")
    assert {(row.end_reason, row.ended_by) for row in ended} == {("revoked", admin_user)}


def test_the_administrators_own_login_stays_whatever_is_revoked(root, admin_user, alice):
    rows_of(alice, 2)
    rows_of(admin_user)
    own = LoginSession.objects.order_by("pk").first()
    for action in ("revoke_selected", "revoke_all_of_users"):
        response = run(root, action, [own.pk, *(row.pk for row in rows_of(alice))])
        assert response.status_code == 302
    rows_of(alice)
    page = root.get(f"{LIST}revoke/")
    assert "every active login session of the site" in page.content.decode()
    assert said(finish(root, page, f"{LIST}revoke/")) == ["1 login session was revoked."]
    assert list(LoginSession.objects.active()) == [own]
    # And if it is the only one.
    nothing = ["Nothing was revoked: no login session among these is active."]
    assert said(root.get(f"{LIST}revoke/"))[-1:] == nothing


def test_who_signs_in_again_while_a_revocation_goes_on_stays_signed_in(root, alice, monkeypatch):
    monkeypatch.setattr(revocation, "BATCH", 2)
    rows_of(alice, 3)
    url = f"{LIST}revoke/?user__id__exact={alice.pk}&status=active"
    page = confirm(root, root.get(url), url)
    (again,) = rows_of(alice)
    assert finish(root, page, url).status_code == 302
    assert list(LoginSession.objects.active().filter(user=alice)) == [again]


def test_signing_a_user_out_everywhere_also_ends_sign_ins_that_are_not_finished(
    root, alice, bob, victim, settings
):
    settings.AUTHMODES_ACCEPT_LEGACY_REFRESH = True
    (bobs,) = rows_of(bob)
    before = StockRefreshToken.for_user(alice)
    url = f"{LIST}revoke/?user__id__exact={alice.pk}"
    page = root.get(url)
    assert "sign alice out everywhere" in page.content.decode()
    finish(root, page, url)
    assert_ended(*victim)
    # A token from before authmodes has no row yet.
    assert refresh(str(before)).status_code == 401
    assert LogEntry.objects.get().get_edited_object() == alice
    bobs.refresh_from_db()
    assert bobs.ended_at is None


@pytest.mark.parametrize("way", ["panel", "selected"])
def test_signing_out_a_user_without_active_logins_ends_the_sign_ins_that_are_not_finished(
    way, root, alice, settings
):
    settings.AUTHMODES_ACCEPT_LEGACY_REFRESH = True
    before = StockRefreshToken.for_user(alice)
    if way == "panel":
        panel = panel_of(root.get(f"/admin/auth/user/{alice.pk}/change/").content.decode())
        url = re.search(r'href="([^"]+/revoke/[^"]+)"', panel).group(1)
        page = root.get(url)
        assert "Sign-ins that are not finished end as well." in page.content.decode()
        done = finish(root, page, url)
    else:
        (old,) = rows_of(alice, ended_at=timezone.now(), end_reason="logout")
        done = run(root, "revoke_all_of_users", [old.pk])
    assert said(done) == ["No login session was active. Unfinished sign-ins were ended."]
    assert refresh(str(before)).status_code == 401
    entry = LogEntry.objects.get()
    assert (entry.get_edited_object(), entry.change_message) == (
        alice,
        "Revoked 0 login sessions.",
    )


def test_a_support_role_does_not_end_unfinished_sign_ins_of_superusers(admin_user, settings):
    settings.AUTHMODES_ACCEPT_LEGACY_REFRESH = True
    before = StockRefreshToken.for_user(admin_user)
    support = sign_in_to_admin(make_staff("helpdesk", "view_loginsession", "revoke_loginsession"))
    url = f"{LIST}revoke/?user__id__exact={admin_user.pk}"
    assert said(support.get(url)) == [
        "Nothing was revoked: no login session among these is active."
    ]
    support.submit(url, {"post": "yes"})
    assert refresh(str(before)).status_code == 200


@pytest.mark.parametrize("is_super", [True, False])
def test_a_support_role_cancels_no_authorization_code_of_a_superuser(
    is_super, root, admin_user, alice
):
    (row,) = rows_of(alice, provider="example")
    for user in (admin_user, alice):
        AuthorizationCode.objects.create(
            user=user, provider="example", digest=user.username, expires_at=row.expires_at
        )
    support = sign_in_to_admin(make_staff("helpdesk", "view_loginsession", "revoke_loginsession"))
    run(root if is_super else support, "revoke_all_of_provider", [row.pk])
    left = [code.user for code in AuthorizationCode.objects.all()]
    assert left == ([] if is_super else [admin_user])


@pytest.mark.parametrize("way", ["everywhere", "selected", "across"])
def test_signing_an_administrator_out_ends_what_is_done_in_the_name_of_others(
    way, root, admin_user, bob
):
    """Also when the administrator has no active login beside it."""
    staff = make_staff("other")
    (old,) = rows_of(staff)
    registry.revoke(old)
    acts = registry.start(None, bob, "jwt", acting_user=staff)
    (bobs,) = rows_of(bob)
    if way == "everywhere":
        url = f"{LIST}revoke/?user__id__exact={staff.pk}"
        finish(root, root.get(url), url)
    else:
        url, across = f"{LIST}?user__id__exact={staff.pk}", str(int(way == "across"))
        run(root, "revoke_all_of_users", [old.pk], url, select_across=across)
    for row in (acts, bobs):
        row.refresh_from_db()
    assert (acts.end_reason, acts.ended_by_id) == ("revoked", admin_user.pk)
    assert bobs.ended_at is None


@pytest.mark.parametrize("state", ["", "x", "stolen", "of another"])
def test_a_revocation_goes_on_only_from_its_own_page_of_the_same_administrator(
    root, admin_user, alice, state
):
    """Otherwise its count would be added to the event and the entry of a different one."""
    rows_of(alice)
    if len(state) > 1:
        other = sign_in_to_admin(make_staff("other", "view_loginsession", "revoke_loginsession"))
        browser, query = (other, "") if state == "stolen" else (root, "?status=active")
        html = browser.get(f"{LIST}revoke/{query}").content.decode()
        state = re.search(r'name="progress" value="([^"]+)"', html).group(1)
    response = root.submit(f"{LIST}revoke/", {"post": "yes", "progress": state})
    assert response.status_code == 400
    assert LoginSession.objects.active().filter(user=alice).count() == 1


# -- no credential -------------------------------------------------------------------------


def test_no_page_shows_a_credential(root, alice, victim):
    cookie, token = victim
    token.refresh()
    stock = StockRefreshToken.for_user(alice)
    run(root, "revoke_selected", [rows_of(alice)[0].pk])
    secrets = {
        cookie.row.session_key,
        cookie.row.auth_hash,
        token.row.auth_hash,
        token.row.refresh_token.jti,
        token.row.current_jti,
        token.row.previous_jti,
        token.refresh_token,
        token.access,
        str(stock),
        stock["jti"],
        cookie.browser.session_cookie,
    }
    assert all(len(secret) > 10 for secret in secrets)
    outstanding = OutstandingToken.objects.get(jti=stock["jti"])
    pages = [
        *("/admin/", *PAGES, f"{LIST}?q=alice", f"{TOKENS}?q=alice", f"{BLACKLIST}?q=alice"),
        *(change_url(each.row) for each in victim),
        *(f"{LIST}{each.row.pk}/history/" for each in victim),
        *(revoke_url(each.row) for each in victim),
        f"/admin/auth/user/{alice.pk}/delete/",
    ]
    answers = [root.get(url) for url in pages]
    answers.append(ask(root, "revoke_selected", [outstanding.pk], TOKENS))
    answers.append(ask(root, "revoke_all_of_users", [token.row.pk]))
    run(root, "revoke_selected", [outstanding.pk], TOKENS)
    run(root, "revoke_all_of_users", [token.row.pk])
    for url in ("/admin/", *PAGES):
        answers.append(root.get(url))
        assert "alice" in answers[-1].content.decode()
    for answer in answers:
        assert answer.status_code == 200, answer
        html = answer.content.decode()
        assert [secret for secret in secrets if secret in html] == []


@pytest.mark.parametrize(
    "lookup",
    [
        "session_key__startswith=a",
        "auth_hash__startswith=a",
        "current_jti__startswith=a",
        "previous_jti__startswith=a",
        "refresh_token__jti__startswith=a",
        "user__password__startswith=m",
        "user_agent__contains=a",
    ],
)
def test_the_list_cannot_be_asked_for_a_credential_letter_by_letter(viewer, alice, lookup):
    rows_of(alice)
    assert viewer.get(f"{LIST}?{lookup}").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        f"{TOKENS}?token__startswith=e",
        f"{TOKENS}?jti__startswith=a",
        f"{TOKENS}?login_session__session_key__startswith=a",
        f"{BLACKLIST}?token__jti__startswith=a",
        f"{BLACKLIST}?token__token__startswith=e",
    ],
)
def test_the_token_lists_cannot_either(viewer, path):
    assert viewer.get(path).status_code == 400


def test_autocomplete_names_no_token(root, victim):
    """It shows the `str()` of a row, which of simplejwt's tokens has the `jti`."""
    _cookie, token = victim
    fields = [
        ("token_blacklist", "blacklistedtoken", "token"),
        ("authmodes", "loginsession", "refresh_token"),
    ]
    for app, model, field in fields:
        asked = {"app_label": app, "model_name": model, "field_name": field}
        for term in ("", "alice", token.row.refresh_token.jti[:4]):
            answer = root.get("/admin/autocomplete/", {**asked, "term": term})
            assert answer.status_code == 404
            assert token.row.refresh_token.jti not in answer.content.decode()


@pytest.mark.parametrize("page", [LIST, TOKENS, BLACKLIST])
@pytest.mark.parametrize("field", ["session_key", "jti", "token", "token__jti", "current_jti"])
def test_a_popup_names_no_credential_either(root, victim, page, field):
    assert root.get(page, {"_popup": "1", "_to_field": field}).status_code == 400


@pytest.mark.parametrize(
    "lookup",
    [
        "login_sessions__session_key__startswith=a",
        "login_sessions__refresh_token__jti__startswith=a",
        "outstandingtoken__jti__startswith=a",
        "outstandingtoken__token__startswith=a",
    ],
)
def test_the_list_of_users_cannot_be_asked_for_a_credential_letter_by_letter(root, victim, lookup):
    assert root.get(f"/admin/auth/user/?{lookup}").status_code == 400


def test_a_token_leads_to_its_login_session(root, victim):
    _cookie, token = victim
    target = change_url(token.row)
    assert f'href="{target}"' in root.get(TOKENS).content.decode()
    assert root.get(f"{TOKENS}{token.row.refresh_token_id}/change/").url == target
    run(root, "revoke_selected", [token.row.pk])
    page = root.get(BLACKLIST).content.decode()
    assert f'href="{target}"' in page
    assert "revoked" in page
    assert ">root</a>" in page
    assert root.get(f"{BLACKLIST}{BlacklistedToken.objects.get().pk}/change/").url == target


# -- the list ------------------------------------------------------------------------------


def test_the_list_shows_who_how_where_when_and_what_became_of_it(root, alice):
    rows_of(alice, ip_address="203.0.113.7", provider="example", mode="session")
    rows_of(alice, method="password", ended_at=timezone.now(), end_reason="reuse")
    rows_of(alice, expires_at=timezone.now())
    html = root.get(LIST).content.decode()
    for text in (
        *("Chrome on Linux", "203.0.113.7", "Example ID", "Password", ">Active<", ">Expired<"),
        *(">Ended<", "token or code reused", ">cookie<", "just now"),
        f'href="/admin/auth/user/{alice.pk}/change/"',
    ):
        assert text in html


def test_the_page_of_one_shows_what_is_known_and_nothing_to_edit(root, alice):
    (row,) = rows_of(alice)
    html = root.get(change_url(row)).content.decode()
    for text in ("Chrome on Linux", CHROME, "192.0.2.1", str(row.sid), "alice"):
        assert text in html
    assert ">None<" not in html
    content = html[html.index('id="content"') :]
    assert not re.search("<(input|select|textarea|form)", content)
    assert root.submit(change_url(row), {"mode": "jwt"}).status_code == 200
    assert LoginSession.objects.get(pk=row.pk).mode == "session"


def test_the_page_of_one_tells_what_happened_to_it(root, victim):
    cookie, token = victim
    token.refresh()
    confirm(root, root.get(revoke_url(token.row)), revoke_url(token.row))
    timeline = root.get(change_url(token.row)).context["timeline"]
    assert [step["kind"] for step in timeline] == ["started", "rotated", "ended"]
    assert [step.get("address") for step in timeline] == ["127.0.0.1", None, "127.0.0.1"]
    assert (timeline[2]["detail"], str(timeline[2]["by"])) == ("revoked", "root")
    html = root.get(change_url(token.row)).content.decode()
    assert "by root" in html
    # The user's other login.
    assert f'href="{change_url(cookie.row)}"' in html


def test_the_page_of_one_from_before_its_events_tells_what_the_row_knows(root, admin_user, alice):
    ended = {"ended_at": timezone.now(), "end_reason": "revoked", "ended_by": admin_user}
    an_hour_ago = timezone.now() - timedelta(hours=1)
    (row,) = rows_of(alice, method="password", created_at=an_hour_ago, **ended)
    timeline = root.get(change_url(row)).context["timeline"]
    assert [(step["kind"], step["detail"]) for step in timeline] == [
        ("started", "Password"),
        ("ended", "revoked"),
    ]
    assert timeline[1]["by"] == admin_user


def test_users_are_links_only_for_those_who_may_open_them(viewer, alice):
    rows_of(alice)
    html = viewer.get(LIST).content.decode()
    assert "alice" in html
    assert "/admin/auth/user/" not in html


def test_the_status_filter_tells_active_ended_and_expired_apart(root, alice):
    own = LoginSession.objects.get()
    (active,) = rows_of(alice)
    (ended,) = rows_of(alice, ended_at=timezone.now(), end_reason="logout")
    (expired,) = rows_of(alice, expires_at=timezone.now())
    month = timezone.now() - timedelta(days=29)
    (idle,) = rows_of(alice, mode="jwt", created_at=month)
    page = root.get(f"{LIST}?status=idle")
    assert shown(page) == [idle]
    assert ">Idle<" in page.content.decode()
    assert set(shown(root.get(f"{LIST}?status=active"))) == {own, active, idle}
    assert shown(root.get(f"{LIST}?status=ended")) == [ended]
    assert shown(root.get(f"{LIST}?status=expired")) == [expired]


def test_the_other_filters_narrow_the_list(root, alice):
    (old,) = rows_of(alice, created_at=timezone.now() - timedelta(days=60), mode="jwt")
    (social,) = rows_of(alice, provider="example")
    (gone,) = rows_of(alice, provider="closed-down")
    assert shown(root.get(f"{LIST}?mode__exact=jwt")) == [old]
    (script,) = rows_of(alice, user_agent="curl/8.5")
    (edge,) = rows_of(alice, user_agent=f"{CHROME} Edg/126.0", end_reason="limit")
    assert shown(root.get(f"{LIST}?client_family=program")) == [script]
    assert shown(root.get(f"{LIST}?client_family=edge")) == [edge]
    assert shown(root.get(f"{LIST}?end_reason=limit")) == [edge]
    assert shown(root.get(f"{LIST}?provider=example")) == [social]
    assert shown(root.get(f"{LIST}?provider=closed-down")) == [gone]
    assert gone not in shown(root.get(f"{LIST}?provider=-"))
    week = timezone.now() - timedelta(days=7)
    assert old not in shown(root.get(LIST, {"created_at__gte": week.isoformat()}))
    assert "Example ID" in root.get(LIST).content.decode()


def test_one_users_login_sessions_can_be_listed_and_the_filter_is_seen(root, alice, bob):
    (alices,) = rows_of(alice)
    rows_of(bob)
    page = root.get(f"{LIST}?user__id__exact={alice.pk}")
    assert shown(page) == [alices]
    assert page.context["cl"].filter_specs[-1].lookup_choices == [(str(alice.pk), alice)]
    assert "Clear all filters" in page.content.decode()


@pytest.mark.parametrize("value", ["x", "99999999999999999999999", "-1", "", "1,2"])
def test_a_strange_user_in_the_address_does_no_harm(root, alice, value):
    rows_of(alice)
    response = root.get(f"{LIST}?user__id__exact={value}", follow=True)
    assert response.status_code == 200


@pytest.mark.parametrize("name", ["user__id__exact", "provider", "mode__exact", "status", "p"])
def test_a_nul_byte_in_the_address_is_refused_on_every_database(root, name):
    assert root.get(f"{LIST}?{name}=a%00").status_code == 400


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ("ali", {"alice"}),
        ("BOB@EXAMPLE", {"bob"}),
        ("192.0.2.1", {"alice"}),
        ("192.0.", {"alice"}),
        ("2001:db8::", {"bob"}),
        ("2001:db8:0:0:0:0:0:1", {"bob"}),
        ("alice 192.0.2.1", {"alice"}),
        ("alice 2001:", set()),
        ("192.0.2", {"alice"}),
        ("192.0.20.", set()),
        ("192.999.", set()),
        ("2001:db8:", {"bob"}),
        ("2001:db", set()),
        ("::", set()),
        ("nobody", set()),
    ],
)
def test_search_finds_users_and_addresses(root, alice, bob, term, names):
    rows_of(alice, ip_address="192.0.2.1")
    rows_of(bob, ip_address="2001:db8::1")
    assert {row.user.username for row in shown(root.get(LIST, {"q": term}))} == names


def test_search_finds_the_sid_that_logs_name(root, alice):
    row, _other = rows_of(alice, 2)
    assert shown(root.get(f"{LIST}?q={row.sid}")) == [row]
    assert shown(root.get(f"{LIST}?q={row.sid.hex}")) == [row]


def test_a_search_for_many_users_finds_them_all(root, alice, bob, monkeypatch):
    monkeypatch.setattr(search, "FEW", 1)
    rows_of(alice), rows_of(bob)
    assert len(shown(root.get(f"{LIST}?q=example"))) == 0
    type(alice).objects.update(username=Concat(Value("team-"), "username"))
    assert {row.user.username for row in shown(root.get(f"{LIST}?q=team-"))} == {
        "team-alice",
        "team-bob",
        "team-root",
    }


def test_email_addresses_are_searched_by_an_index_where_users_are_many(
    root, alice, bob, monkeypatch
):
    monkeypatch.setattr(search, "SMALL_TABLE", 1)
    rows_of(alice), rows_of(bob)
    EmailAddress.objects.create(user=bob, email="bob@example.com")
    assert shown(root.get(f"{LIST}?q=alice@example.com")) == []
    assert {row.user for row in shown(root.get(f"{LIST}?q=Bob@example"))} == {bob}


@pytest.mark.parametrize("url", [TOKENS, BLACKLIST])
def test_the_token_lists_are_searched_by_user(root, login, alice, bob, url):
    for user in (alice, bob):
        outstanding = login("jwt", user).row.refresh_token
        BlacklistedToken.objects.create(token=outstanding)
    rows = shown(root.get(url, {"q": "bob@"}))
    users = [row.user if url == TOKENS else row.token.user for row in rows]
    assert users == [bob]


# -- large tables --------------------------------------------------------------------------


def queries_of(browser: Browser, url: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = browser.get(url)
    assert response.status_code == 200
    return [query["sql"] for query in captured]


def fill(user: Any, count: int) -> None:
    rows = rows_of(user, count, mode="jwt", provider="example")
    tokens = OutstandingToken.objects.bulk_create(
        OutstandingToken(
            user=user,
            jti=str(row.sid),
            token="",
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        for row in rows
    )
    for row, token in zip(rows, tokens, strict=True):
        row.refresh_token = token
    LoginSession.objects.bulk_update(rows, ["refresh_token"])
    BlacklistedToken.objects.bulk_create(BlacklistedToken(token=token) for token in tokens)


@pytest.mark.parametrize("url", PAGES)
@pytest.mark.parametrize("by", ["root", "viewer"])
def test_a_list_costs_as_many_queries_for_fifty_rows_as_for_five(request, alice, url, by):
    browser = request.getfixturevalue(by)
    fill(alice, 5)
    few = queries_of(browser, url)
    fill(alice, 40)
    many = queries_of(browser, url)
    assert len(many) == len(few) <= 10


@pytest.mark.parametrize("url", PAGES)
def test_no_list_counts_its_table_or_reads_it_whole(root, alice, url):
    # Two pages, of fifty and a few.
    fill(alice, 60)
    for query in ("", "?p=2", "?q=alice", "?all=", "?_facets=True"):
        for sql in queries_of(root, url + query):
            assert "COUNT(" not in sql.upper()
            assert "DISTINCT" not in sql.upper()
            assert "MIN(" not in sql.upper()
            if 'FROM "authmodes' in sql or 'FROM "token_blacklist' in sql:
                assert "LIMIT" in sql, sql


def test_the_list_pages_forwards_and_backwards_through_every_row(root, alice):
    fill(alice, 250)
    seen: list[int] = []
    url, pages = LIST, 0
    while url:
        page = root.get(url)
        seen += [row.pk for row in shown(page)]
        pages += 1
        html = page.content.decode()
        assert ('rel="prev"' in html) is (pages > 1)
        forward = re.search(r'rel="next" href="([^"]+)"', html)
        url = f"{LIST}{forward.group(1)}".replace("&amp;", "&") if forward else ""
    assert pages == 6
    assert sorted(seen) == sorted(LoginSession.objects.values_list("pk", flat=True))
    assert len(set(seen)) == 251


@pytest.mark.parametrize(
    "number",
    [
        *(
            "0",
            "9",
            "1" * 5000,
            "x",
            "after",
            "after~1",
            "after~x~1",
            "before~2026-01-31T00:00:00~1",
        ),
        *("before~1990-01-31T00:00:00+00:00~1", f"after~1990-01-31T00:00:00+00:00~{'9' * 30}"),
    ],
)
def test_a_page_that_is_not_there_does_no_harm(root, alice, number):
    fill(alice, 60)
    response = root.get(f"{LIST}?p={number}", follow=True)
    assert response.status_code == 200
    assert len(shown(response)) <= 50


@pytest.mark.parametrize("order", ["", "&o=5", "&o=-5", "&status=active"])
def test_the_list_pages_from_the_last_page_back_to_the_first(root, alice, order):
    # Times that are equal, so that the keys decide as well.
    rows_of(alice, 250)
    expected = [row.pk for row in LoginSession.objects.order_by("created_at", "pk")]
    pages: list[list[int]] = []
    link: re.Match[str] | None = re.match("(.*)", "?p=last" + order)
    while link:
        page = root.get(LIST + link.group(1).replace("&amp;", "&"))
        pages.insert(0, [row.pk for row in shown(page)])
        html = page.content.decode()
        assert ('rel="next"' in html) is ('rel="last"' in html) is (len(pages) > 1)
        link = re.search(r'rel="prev" href="([^"]+)"', html)
    seen = [pk for page in pages for pk in page]
    assert seen == (expected if order == "&o=5" else expected[::-1])
    assert len(pages) == 6


@pytest.mark.parametrize("query", ["status=idle", "q=user-", "q=198.51.", "status=idle&q=user-"])
@pytest.mark.parametrize("begin", ["", "p=last"])
@pytest.mark.parametrize("order", ["", "&o=5"])
def test_what_no_index_finds_is_searched_part_by_part(
    root, alice, bob, settings, monkeypatch, query, begin, order
):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    monkeypatch.setattr(search, "FEW", 1)
    monkeypatch.setattr(keyset, "WINDOW", 20)
    type(alice).objects.filter(pk=alice.pk).update(username="user-a")
    type(alice).objects.create_user("user-b")
    long_ago = timezone.now() - timedelta(hours=2)
    wanted: list[Any] = []
    for number in (30, 3, 35):
        wanted += rows_of(alice, 2, last_seen_at=long_ago, ip_address="198.51.100.7")
        rows_of(bob, number)
    rows_of(alice, 1, provider="elsewhere", ended_at=timezone.now(), end_reason="logout")
    url, pages, seen = f"?{begin or 'x='}&{query}{order}&mode__exact=session&provider=-", 0, []
    while url:
        page = root.get(f"{LIST}{url}".replace("x=&", ""))
        html = page.content.decode().replace("&amp;", "&")
        further = re.search(r'href="([^"]+)">Search further', html)
        assert ("20 entries were searched" in html) is bool(further)
        link = re.search(f'rel="{"prev" if begin else "next"}" href="([^"]+)"', html)
        assert further is None or link is None or further[1] == link[1]
        seen += [row.pk for row in shown(page)]
        url, pages = link[1] if link else "", pages + 1
    assert sorted(seen) == sorted(row.pk for row in wanted)
    assert pages == 4


def test_a_search_part_by_part_can_be_revoked_whole(root, alice, bob, settings, monkeypatch):
    settings.AUTHMODES_IDLE_TIMEOUT = timedelta(hours=1)
    monkeypatch.setattr(keyset, "WINDOW", 3)
    idle = rows_of(alice, 5, last_seen_at=timezone.now() - timedelta(hours=2))
    rows_of(bob, 2)
    url = f"{LIST}revoke/?status=idle"
    page = root.get(url)
    # The newest three were searched.
    assert "At least 1 login session of 1 user" in page.content.decode()
    assert [row.user for row in page.context["listed"]] == [alice]
    assert "entries were searched" in page.content.decode()
    rows_of(bob, 2)
    page = root.get(url)
    assert page.context["listed"] == []
    assert "entries were searched" in page.content.decode()
    finish(root, page, url)
    ended = LoginSession.objects.ended().values_list("pk", flat=True)
    assert sorted(ended) == sorted(row.pk for row in idle)


def test_a_short_list_offers_no_pages_and_an_empty_one_says_so(root, alice):
    assert 'rel="next"' not in root.get(LIST).content.decode()
    assert "None found." in root.get(f"{LIST}?q=nobody").content.decode()


def test_everything_that_matches_can_be_revoked_whatever_the_page(root, viewer, alice):
    rows_of(alice, 3, provider="example")
    query = "?provider=example&p=last"
    href = f'href="{LIST}revoke/?provider=example"'
    assert href in root.get(f"{LIST}{query}").content.decode()
    assert "/revoke/" not in viewer.get(f"{LIST}{query}").content.decode()
    assert viewer.get(f"{LIST}revoke/?provider=example").status_code == 403
    assert viewer.submit(f"{LIST}revoke/", {"post": "yes"}).status_code == 403


# -- where the pages are found -------------------------------------------------------------


def panel_of(html: str) -> str:
    start = html.find("field-login_sessions_panel")
    return html[start : html.find('class="submit-row"', start)] if start >= 0 else ""


def test_the_user_page_shows_the_users_active_login_sessions_and_ends_them(root, alice, bob):
    (active,), (bobs,) = rows_of(alice), rows_of(bob)
    (ended,) = rows_of(alice, ended_at=timezone.now(), end_reason="logout")
    url = f"/admin/auth/user/{alice.pk}/change/"
    page = root.get(url)
    panel = panel_of(page.content.decode())
    assert change_url(active) in panel
    assert change_url(ended) not in panel
    assert change_url(bobs) not in panel
    assert f'href="{LIST}?user__id__exact={alice.pk}"' in panel
    everywhere = re.search(r'href="([^"]+/revoke/[^"]+)"', panel).group(1)
    assert "authmodes/admin.css" in page.content.decode()
    finish(root, root.get(everywhere), everywhere)
    assert not LoginSession.objects.active().filter(user=alice).exists()
    bobs.refresh_from_db()
    assert bobs.ended_at is None


def test_the_user_page_is_saved_as_before(root, alice):
    rows_of(alice)
    url = f"/admin/auth/user/{alice.pk}/change/"
    joined = timezone.localtime(alice.date_joined)
    data = {
        "username": "alice",
        "first_name": "Alice",
        "is_active": "on",
        "date_joined_0": joined.strftime("%Y-%m-%d"),
        "date_joined_1": joined.strftime("%H:%M:%S"),
    }
    assert root.submit(url, data).status_code == 302
    alice.refresh_from_db()
    assert alice.first_name == "Alice"
    assert root.get("/admin/auth/user/add/").status_code == 200


def test_the_panel_of_the_user_page_needs_the_permissions_of_login_sessions(alice, admin_user):
    (row,) = rows_of(alice)
    rows_of(admin_user)
    url = "/admin/auth/user/%s/change/"
    hr = sign_in_to_admin(make_staff("hr", "view_user"))
    assert panel_of(hr.get(url % alice.pk).content.decode()) == ""
    viewer = sign_in_to_admin(make_staff("viewer", "view_user", "view_loginsession"))
    panel = panel_of(viewer.get(url % alice.pk).content.decode())
    assert change_url(row) in panel
    assert "/revoke/" not in panel
    support = make_staff("support", "view_user", "view_loginsession", "revoke_loginsession")
    browser = sign_in_to_admin(support)
    assert "/revoke/" in panel_of(browser.get(url % alice.pk).content.decode())
    assert "/revoke/" not in panel_of(browser.get(url % admin_user.pk).content.decode())


def test_an_admin_of_users_that_is_registered_late_has_the_panel_too():
    class OtherAdmin(UserAdmin):
        """The admin of a project."""

    site = AdminSite()
    site.register(LoginSession, LoginSessionAdmin)
    site.register(User, OtherAdmin)
    for _again in range(2):
        assert site.urls
        page = site.get_model_admin(User)
        assert isinstance(page, LoginSessionsPanelMixin)
        assert isinstance(page, OtherAdmin)
        assert type(page).__mro__.count(LoginSessionsPanelMixin) == 1
    assert not issubclass(OtherAdmin, LoginSessionsPanelMixin)
    # And without an admin of users.
    alone = AdminSite()
    alone.register(LoginSession, LoginSessionAdmin)
    assert alone.urls


@pytest.mark.parametrize("models", [(LoginEvent,), (OutstandingToken, BlacklistedToken)])
def test_a_second_site_may_have_a_part_of_the_pages(models, admin_user, victim, settings):
    """Without the page of login sessions, nothing links to it."""
    site = AdminSite("second")
    site.register(Overview, OverviewAdmin)
    for model in models:
        site.register(model, type(default_site.get_model_admin(model)))

    class Routes:
        urlpatterns = (route("second/", site.urls), *project_urlpatterns)

    settings.ROOT_URLCONF = Routes()
    registry.revoke(victim[1].row, by=admin_user)
    browser = sign_in_to_admin(admin_user)
    assert browser.get("/second/authmodes/overview/").status_code == 403
    for model in models:
        url = f"/second/{model._meta.app_label}/{model._meta.model_name}/"
        html = browser.get(url).content.decode()
        assert "alice" in html
        assert "loginsession" not in html
        row = model.objects.first()
        assert browser.get(f"{url}{row.pk}/change/").status_code in (200, 302)


@pytest.mark.parametrize("page", ["change", "revoke"])
def test_a_project_may_decide_for_each_row(page, root, alice, bob, monkeypatch):
    (hers,), (his,) = rows_of(alice), rows_of(bob)
    monkeypatch.setattr(
        LoginSessionAdmin,
        "has_view_permission",
        lambda self, request, obj=None: obj is None or obj.user == bob,
    )
    assert root.get(f"{LIST}{his.pk}/{page}/").status_code == 200
    assert root.get(f"{LIST}{hers.pk}/{page}/").status_code == 403


# -- the overview --------------------------------------------------------------------------


def charts_of(browser: Browser) -> dict[str, dict[str, Any]]:
    page = browser.get(f"{LIST}overview/")
    assert page.status_code == 200
    charts = {}
    for chart in page.context["charts"]:
        columns = [each["label"] for each in chart["series"]]
        rows = {label: dict(zip(columns, data, strict=True)) for label, data in chart["rows"]}
        charts[str(chart["title"])] = rows
    return charts


def test_the_overview_counts_what_began_is_active_and_ended(admin_user, alice, clock, monkeypatch):
    # However busy the machine is.
    monkeypatch.setattr(overview, "BUDGET", 60)
    now = timezone.now()
    rows_of(alice, 2, provider="example", created_at=now - timedelta(days=2))
    rows_of(alice, mode="jwt")
    rows_of(alice, created_at=now - timedelta(days=40), expires_at=now)
    rows_of(alice, ended_at=now, end_reason="reuse", created_at=now - timedelta(days=1))
    for kind, count in (("refused", 7), ("reuse", 1), ("step_up", 1)):
        LoginEvent.objects.create(kind=kind, count=count)
    charts = charts_of(sign_in_to_admin(admin_user))
    cookie, token = (str(label) for label in ("cookie", "token"))
    by_mode = charts["Sign-ins per day by mode"]
    assert len(by_mode) == 30
    assert by_mode["May 2"] == {cookie: 2, token: 0}
    assert by_mode["May 3"] == {cookie: 1, token: 0}
    # Also the administrator.
    assert by_mode["May 4"] == {cookie: 1, token: 1}
    assert charts["Sign-ins per day by provider"]["May 2"]["Example ID"] == 2
    assert charts["Active now by mode"] == {
        cookie: {"Login sessions": 3},
        token: {"Login sessions": 1},
    }
    assert charts["Active now by client"] == {"Chrome": {"Login sessions": 4}}
    assert charts["Active now by provider"]["Example ID"] == {"Login sessions": 2}
    assert charts["Ended by reason"] == {"token or code reused": {"Login sessions": 1}}
    assert charts["Refused sign-ins and reused tokens per day"]["May 4"] == {
        "sign-in refused": 7,
        "token or code reused": 1,
    }


def test_the_overview_is_readable_without_scripts_and_has_none_of_its_own_inline(root, alice):
    rows_of(alice, 3, user_agent="curl/8.5")
    html = root.get(f"{LIST}overview/").content.decode()
    content = html[html.index('id="content"') :]
    assert "App or script</th>" in content
    assert content.count("<details open>") >= 5
    inline = re.findall(r"<script(?![^>]*(?: src=|application/json))[^>]*>", html)
    assert inline == []
    assert " style=" not in content
    assert " onclick=" not in content


def test_the_overview_names_who_revoked_last(root, alice, bob):
    rows_of(alice, 2, provider="example")
    (row,) = rows_of(bob)
    confirm(root, root.get(revoke_url(row)), revoke_url(row))
    url = f"{LIST}revoke/?provider=example"
    finish(root, root.get(url), url)
    events = root.get(f"{LIST}overview/").context["revocations"]
    for names, sees in ((VIEWS, False), ((*VIEWS, "view_loginevent"), True)):
        staff = sign_in_to_admin(make_staff(f"staff{len(names)}", *names))
        assert ("Latest revocations" in staff.get(f"{LIST}overview/").content.decode()) == sees
    assert [(event.count, str(event.actor), event.user or event.filter) for event in events] == [
        (2, "root", "provider=example"),
        (1, "root", bob),
    ]


def test_the_overview_counts_a_day_once_and_goes_on_where_its_time_was_used_up(
    root, alice, monkeypatch
):
    monkeypatch.setattr(overview, "BUDGET", -1)
    first = root.get(f"{LIST}overview/")
    assert first.context["counted_days"] == 1
    assert "1 of 30 days are counted so far" in first.content.decode()
    assert root.get(f"{LIST}overview/").context["counted_days"] == 2
    monkeypatch.setattr(overview, "BUDGET", 60)
    assert root.get(f"{LIST}overview/").context["counted_days"] == 30
    queries = queries_of(root, f"{LIST}overview/")
    assert len([sql for sql in queries if "authmodes_log" in sql]) <= 5


def test_the_overview_looks_through_a_bounded_number_of_sign_ins(root, alice, monkeypatch):
    monkeypatch.setattr(overview, "NEWEST", 3)
    rows_of(alice, 5, created_at=timezone.now() - timedelta(hours=1))
    page = root.get(f"{LIST}overview/")
    assert page.context["active_since"] is not None
    assert "because there are so many" in page.content.decode()


def test_the_overview_is_found_and_needs_the_view_permission(root, viewer, victim):
    assert f'href="{LIST}overview/"' in root.get(LIST).content.decode()
    assert 'href="/admin/authmodes/overview/"' in viewer.get("/admin/").content.decode()
    assert viewer.get("/admin/authmodes/overview/").url == f"{LIST}overview/"
    assert viewer.get(f"{LIST}overview/").status_code == 200
    other = sign_in_to_admin(make_staff("other", "revoke_loginsession"))
    for url in ("/admin/authmodes/overview/", f"{LIST}overview/"):
        assert other.get(url).status_code == 403


@override_settings(USE_THOUSAND_SEPARATOR=True, LANGUAGE_CODE="de")
def test_links_survive_a_language_that_groups_digits(root, alice):
    (row,) = rows_of(alice, pk=1234567)
    assert f'href="{revoke_url(row)}' in root.get(LIST).content.decode()
    page = ask(root, "revoke_selected", [row.pk])
    assert 'name="_selected_action" value="1234567"' in page.content.decode()
    assert f'href="{revoke_url(row)}"' in root.get(change_url(row)).content.decode()


def test_the_index_and_the_breadcrumbs_name_each_page_once(root):
    index = root.get("/admin/").content.decode()
    for name in ("Refresh tokens", "Blacklisted refresh tokens", "Login sessions"):
        assert f">{name}</a>" in index
    assert ">Outstanding" not in index
    html = root.get(LIST).content.decode()
    crumbs = html[html.index('class="breadcrumbs"') :].split("</div>")[0]
    assert crumbs.count("Login sessions") == 1


@pytest.mark.django_db
def test_the_names_of_simplejwts_models_make_no_migration():
    call_command("makemigrations", "token_blacklist", check=True, dry_run=True, verbosity=0)


@pytest.mark.parametrize("url", [TOKENS, BLACKLIST])
def test_the_token_lists_take_the_filter_by_user_of_simplejwts_page(root, login, bob, url):
    for user in (None, bob):
        outstanding = login("jwt", user).row.refresh_token
        BlacklistedToken.objects.create(token=outstanding)
    rows = shown(root.get(f"{url}?user__id__exact={bob.pk}"))
    assert [row.user if url == TOKENS else row.token.user for row in rows] == [bob]


def test_the_pages_are_called_what_they_are(root):
    for url, title in (
        (LIST, "Login sessions"),
        (TOKENS, "Refresh tokens"),
        (BLACKLIST, "Blacklisted refresh tokens"),
    ):
        assert f"<h1>{title}</h1>" in root.get(url).content.decode()


def test_a_row_that_does_not_exist_is_not_found(root):
    for pk in ("0", "x", "9" * 30):
        assert root.get(f"{LIST}{pk}/revoke/").status_code == 404
        assert root.submit(f"{LIST}{pk}/revoke/").status_code == 404
        assert root.get(f"{TOKENS}{pk}/change/").status_code == 302


@pytest.mark.parametrize("first", ["authmodes", "rest_framework_simplejwt.token_blacklist"])
def test_ours_replace_simplejwts_pages_whichever_app_comes_first(first):
    script = f"""
import django
from django.conf import settings
from tests import settings as ours
values = {{name: getattr(ours, name) for name in dir(ours) if name.isupper()}}
names = values["INSTALLED_APPS"]
values["INSTALLED_APPS"] = [{first!r}, *(name for name in names if name != {first!r})]
settings.configure(**values)
django.setup()
from django.contrib import admin
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
for model in (OutstandingToken, BlacklistedToken):
    print(type(admin.site.get_model_admin(model)).__module__)
"""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["authmodes.admin.tokens"] * 2

"""The audit trail in the admin: what is listed, found and exported, and by whom."""

import csv
import io
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from authmodes import registry
from authmodes.admin import login_events
from authmodes.models import LoginEvent, write_database

from .support.browser import Browser
from .support.logins import Login, html_login
from .support.staff import make_staff, sign_in_to_admin

LIST, EXPORT = "/admin/authmodes/loginevent/", "/admin/authmodes/loginevent/export/"
HOME, AWAY = "192.0.2.10", "198.51.100.7"


@pytest.fixture
def viewer(db: None) -> Browser:
    return sign_in_to_admin(make_staff("auditor", "view_loginevent"))


@pytest.fixture
def used(login: Any) -> Login:
    """alice's login from HOME, which was ended from the command line."""
    used = login("jwt", browser=Browser(REMOTE_ADDR=HOME))
    registry.revoke(used.row)
    return used


def listed(browser: Browser, query: str = "") -> list[tuple[str, str]]:
    """What the list shows of alice, oldest first."""
    response = browser.get(f"{LIST}{query}")
    assert response.status_code == 200, response
    rows = response.context_data["cl"].result_list
    return [(row.kind, row.code) for row in reversed(rows) if str(row.user) != "auditor"]


def exported(browser: Browser, query: str = "") -> list[dict[str, str]]:
    response = browser.get(f"{EXPORT}{query}")
    assert response.status_code == 200
    assert response["Content-Type"] == "text/csv"
    assert response.streaming
    text = b"".join(response.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_list_shows_what_happened_to_whom_from_where(viewer, used):
    assert listed(viewer) == [("started", ""), ("ended", "revoked")]
    page = viewer.get(LIST).content.decode()
    for expected in ("alice", HOME, used.sid[:8], "signed in", "revoked"):
        assert expected in page


def test_the_list_names_the_provider_the_reason_and_how_often(viewer, used):
    LoginEvent.objects.filter(kind="ended").update(provider="example", count=3, filter="all")
    page = viewer.get(LIST).content.decode()
    assert "token · Example ID" in page
    assert "revoked \N{MULTIPLICATION SIGN} 3 all" in page


def test_links_lead_to_the_login_session_and_the_user_for_those_who_may_open_them(used, alice):
    sid, user = f"loginsession/{used.row.pk}/change/", f"user/{alice.pk}/change/"
    for codenames, expected in (
        (["view_loginevent"], (False, False)),
        (["view_loginevent", "view_loginsession"], (True, False)),
        (["view_loginevent", "view_user"], (False, True)),
    ):
        staff = make_staff("-".join(codenames), *codenames)
        page = sign_in_to_admin(staff).get(LIST).content.decode()
        assert (sid in page, user in page) == expected


def test_the_page_of_one_shows_who_ended_it(viewer, used):
    event = LoginEvent.objects.get(kind="ended")
    LoginEvent.objects.filter(pk=event.pk).update(actor=used.row.user, filter="provider=google")
    page = viewer.get(f"{LIST}{event.pk}/change/").content.decode()
    for expected in (used.sid, "alice", "provider=google"):
        assert expected in page
    assert 'name="code"' not in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?kind__exact=ended", [("ended", "revoked")]),
        ("?code=revoked", [("ended", "revoked")]),
        ("?code=no_active_account", [("refused", "no_active_account")]),
        ("?mode__exact=session", []),
        ("?provider=-", [("started", ""), ("refused", "no_active_account"), ("ended", "revoked")]),
        ("?provider=google", []),
        ("?created_at__lt=2020-01-01 00:00:00%2B00:00", []),
        (f"?q={HOME}", [("started", "")]),
        (f"?q={AWAY}", [("refused", "no_active_account")]),
        ("?q=alice", [("started", ""), ("refused", "no_active_account"), ("ended", "revoked")]),
        ("?q=nobody", []),
    ],
)
def test_the_list_is_filtered_and_searched_and_so_is_the_export(viewer, login, query, expected):
    used = login("jwt", browser=Browser(REMOTE_ADDR=HOME))
    html_login(Browser(REMOTE_ADDR=AWAY), "alice", "wrong")
    registry.revoke(used.row)
    assert listed(viewer, query) == expected
    rows = reversed(exported(viewer, query))
    assert [(row["kind"], row["code"]) for row in rows if row["user"] == "alice"] == expected


def test_a_sid_finds_the_events_of_its_login(viewer, used, login):
    login("jwt")
    assert listed(viewer, f"?q={used.sid}") == [("started", ""), ("ended", "revoked")]
    assert listed(viewer, f"?q={uuid.uuid4()}") == []


def test_the_events_of_a_deleted_user_are_found_by_the_id(viewer, used, alice):
    user_id = alice.pk
    alice.delete()
    assert len(listed(viewer, f"?user__id__exact={user_id}")) == 2
    assert f"{user_id} (deleted)" in viewer.get(LIST).content.decode()


@pytest.mark.parametrize("codenames", [(), ("view_loginsession",), ("revoke_loginsession",)])
def test_without_the_view_permission_nothing_is_shown_or_exported(used, codenames):
    staff = sign_in_to_admin(make_staff("clerk", *codenames))
    event = LoginEvent.objects.first()
    for path in (LIST, f"{LIST}{event.pk}/change/", EXPORT):
        assert staff.get(path).status_code == 403
    assert Browser().get(EXPORT).status_code == 302


def test_a_project_can_hide_addresses_of_events_from_staff(viewer, used, monkeypatch):
    event = LoginEvent.objects.get(kind="started", user=used.row.user)
    place = "authmodes.admin.LoginSessionAdmin.has_address_permission"
    pages = (LIST, f"{LIST}{event.pk}/change/")
    assert all(HOME in viewer.get(url).content.decode() for url in pages)
    monkeypatch.setattr(place, lambda page, request: False)
    for url in pages:
        assert HOME not in viewer.get(url).content.decode()
    rows = exported(viewer)
    assert len(rows) > 1
    assert all("ip_address" not in row and HOME not in row.values() for row in rows)
    # A search would tell as well.
    for word in (HOME, "192.0."):
        assert listed(viewer, f"?q={word}") == []
        assert exported(viewer, f"?q={word}") == []


def test_nothing_is_added_changed_or_deleted(admin_user, used):
    root, before = sign_in_to_admin(admin_user), list(LoginEvent.objects.values())
    pk = before[0]["id"]
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.submit(f"{LIST}{pk}/delete/", {"post": "yes"}).status_code == 403
    root.submit(f"{LIST}{pk}/change/", {"code": "logout"})
    root.submit(LIST, {"action": "delete_selected", "_selected_action": pk, "post": "yes"})
    assert list(LoginEvent.objects.filter(pk__in=[row["id"] for row in before]).values()) == before


def test_the_list_costs_the_same_for_many_rows_and_counts_nothing(viewer, alice, used):
    def statements() -> list[str]:
        with CaptureQueriesContext(connections[write_database()]) as captured:
            viewer.get(LIST)
        return [query["sql"] for query in captured]

    few = statements()
    LoginEvent.objects.bulk_create(
        LoginEvent(kind="started", user=alice, sid=uuid.uuid4(), actor=alice) for _ in range(40)
    )
    many = statements()
    assert len(many) <= len(few) + 1
    assert not [sql for sql in many if "COUNT(" in sql and "loginevent" in sql]


# -- the export ----------------------------------------------------------------------------


def test_the_export_has_every_event_once_and_newest_first(viewer, alice, monkeypatch):
    monkeypatch.setattr(login_events, "CSV_BATCH", 3)
    moment = timezone.now() + timedelta(days=1)
    # Some at the same moment, across the edges of batches.
    LoginEvent.objects.bulk_create(
        LoginEvent(
            kind="refused", code=f"c{number}", user=alice, created_at=moment, sid=uuid.uuid4()
        )
        for number in range(8)
    )
    rows = exported(viewer, "?kind__exact=refused")
    assert [row["code"] for row in rows] == [f"c{number}" for number in range(7, -1, -1)]
    assert rows[0]["user"] == "alice"
    assert rows[0]["user_id"] == str(alice.pk)
    assert rows[0]["created_at"] == moment.isoformat()


def test_the_export_reads_one_batch_at_a_time(viewer, alice, monkeypatch):
    monkeypatch.setattr(login_events, "CSV_BATCH", 2)
    LoginEvent.objects.bulk_create(LoginEvent(kind="reuse", user=alice) for _ in range(5))
    response = viewer.get(f"{EXPORT}?kind__exact=reuse")
    with CaptureQueriesContext(connections[write_database()]) as captured:
        next(response.streaming_content)
        next(response.streaming_content)
        assert sum("loginevent" in query["sql"] for query in captured) == 1
        assert sum(1 for _line in response.streaming_content) == 4
        assert sum("loginevent" in query["sql"] for query in captured) == 4


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_of_the_export_is_a_formula(viewer, alice, name):
    LoginEvent.objects.create(kind="ended", filter=name)
    (row,) = exported(viewer, "?kind__exact=ended")
    assert row["filter"] == f"'{name}"


@pytest.mark.parametrize("query", ["?user__id__exact=x", "?created_at__lt=x"])
def test_an_export_with_a_strange_filter_is_empty(viewer, used, query):
    assert exported(viewer, query) == []


def test_an_export_with_a_nul_byte_is_refused(viewer):
    assert viewer.get(f"{EXPORT}?code=%00").status_code == 400

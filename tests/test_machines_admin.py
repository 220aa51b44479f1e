"""Machine clients in the admin: who may do what, and a secret that is shown exactly once."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from authmodes.admin.machine_clients import MachineClientAdmin, MachineClientForm
from authmodes.machines import clients as machine_clients
from authmodes.models import MachineClient

from .support.browser import Browser
from .support.logins import post_json
from .support.staff import make_staff, sign_in_to_admin

LIST = "/admin/authmodes/machineclient/"
ADD = f"{LIST}add/"
FIELDS = {"name": "Reports", "scopes": "reports:read", "expires_at_0": "", "expires_at_1": ""}
SHOWN = re.compile(r"Client secret</dt><dd><code>([\w-]{43})</code>")
HOUR = timedelta(hours=1)


@pytest.fixture
def root(admin_user: Any) -> Browser:
    return sign_in_to_admin(admin_user)


@pytest.fixture
def client_and_secret(db: None) -> tuple[MachineClient, str]:
    return machine_clients.create("Reports", "reports:read reports:write")


@pytest.fixture
def row(client_and_secret: tuple[MachineClient, str]) -> MachineClient:
    return client_and_secret[0]


def url(row: MachineClient, page: str = "change") -> str:
    return f"{LIST}{row.pk}/{page}/"


def exchange(row: MachineClient, secret: str) -> int:
    body = {"grant_type": "client_credentials"}
    body |= {"client_id": row.client_id, "client_secret": secret}
    return post_json("/auth/token/", body).status_code


def shown(response: Any) -> str:
    assert response.status_code == 200, response
    assert "no-store" in response["Cache-Control"]
    (secret,) = SHOWN.findall(response.content.decode())
    return secret


def pages(row: MachineClient) -> list[str]:
    return [LIST, f"{LIST}?q=Rep", *(url(row, each) for each in ("change", "history", "rotate"))]


def everything(browser: Browser, row: MachineClient) -> str:
    """All that the admin says of a client, its log and the messages included."""
    read = [browser.get(each) for each in [*pages(row), url(row, "revoke"), "/admin/"]]
    assert {each.status_code for each in read} <= {200, 302}
    logged = LogEntry.objects.values_list("object_repr", "change_message", "object_id")
    cookies = [morsel.value for morsel in browser.cookies.values()]
    stored = [str(browser.session.items())]
    return "\n".join([*(each.content.decode() for each in read), *cookies, *stored, str(logged)])


def test_a_new_client_is_shown_its_secret_once(root):
    response = root.submit(ADD, FIELDS)
    secret, row = shown(response), MachineClient.objects.get()
    assert row.client_id in response.content.decode()
    assert exchange(row, secret) == 200
    assert LogEntry.objects.get().object_repr == "Reports"

    told = everything(root, row)
    assert secret not in told
    assert row.secrets.get().digest not in told
    assert row.client_id in told


def test_a_rotation_shows_the_new_secret_once_and_the_old_one_goes_on(root, client_and_secret):
    row, old = client_and_secret
    page = root.get(url(row, "rotate"))
    assert 'value="24"' in page.content.decode()
    assert row.secrets.count() == 1
    new = shown(root.submit(url(row, "rotate"), {"hours": "24"}))
    assert (exchange(row, old), exchange(row, new)) == (200, 200)
    assert "24 h" in LogEntry.objects.get().change_message
    told = everything(root, row)
    assert not [each for each in (old, new) if each in told]


@pytest.mark.parametrize(
    ("hours", "seconds", "is_over"), [(0, 0, True), (2, 7199, False), (2, 7200, True)]
)
def test_the_administrator_chooses_the_overlap(admin_user, clock, hours, seconds, is_over):
    row, old = machine_clients.create("Reports", "reports:read")
    new = shown(sign_in_to_admin(admin_user).submit(url(row, "rotate"), {"hours": str(hours)}))
    clock.shift(timedelta(seconds=seconds))
    assert exchange(row, old) == (401 if is_over else 200)
    assert exchange(row, new) == 200


@pytest.mark.parametrize("hours", ["", "-1", "721", "x", "1.5", "9" * 5000, "\0", None])
def test_an_overlap_that_is_none_rotates_nothing(root, row, hours):
    response = root.submit(url(row, "rotate"), {} if hours is None else {"hours": hours})
    assert response.status_code == 200
    assert not SHOWN.search(response.content.decode())
    assert "errorlist" in response.content.decode()
    assert row.secrets.count() == 1


def test_revoking_is_confirmed_logged_and_final(root, client_and_secret, admin_user):
    row, secret = client_and_secret
    assert root.get(url(row, "revoke")).status_code == 200
    row.refresh_from_db()
    assert row.revoked_at is None
    response = root.submit(url(row, "revoke"))
    assert (response.status_code, response.url) == (302, LIST)
    row.refresh_from_db()
    assert (row.revoked_by, row.is_active) == (admin_user, False)
    assert exchange(row, secret) == 401
    assert LogEntry.objects.get().change_message == "Revoked."
    # And nothing brings it back.
    for page, data in (("revoke", {}), ("rotate", {"hours": "1"})):
        assert root.submit(url(row, page), data).status_code == 302
    assert root.submit(url(row), {**FIELDS, "name": "Alive"}).status_code == 403
    assert LogEntry.objects.count() == 1
    assert row.secrets.count() == 1
    text = root.get(url(row)).content.decode()
    assert "Revoked" in text
    assert "/rotate/" not in text


# What staff have -> what they may do; all else is 403.
MAY: dict[str, tuple[set[str], set[str]]] = {
    "nothing": (set(), set()),
    "view": ({"view_machineclient"}, {"list", "page"}),
    "add": ({"view_machineclient", "add_machineclient"}, {"list", "page", "add"}),
    "change": (
        {"view_machineclient", "change_machineclient"},
        {"list", "page", "change", "rotate"},
    ),
    "revoke": ({"view_machineclient", "revoke_machineclient"}, {"list", "page", "revoke"}),
    "revoke unseen": ({"revoke_machineclient"}, set()),
    "logins": ({"view_loginsession", "revoke_loginsession"}, set()),
}


@pytest.mark.parametrize("may", MAY)
def test_each_permission_opens_one_thing(row, may):
    codenames, allowed = MAY[may]
    browser = sign_in_to_admin(make_staff("staff", *codenames))
    answers = {
        "list": browser.get(LIST),
        "page": browser.get(url(row)),
        "ask to add": browser.get(ADD),
        "ask to rotate": browser.get(url(row, "rotate")),
        "ask to revoke": browser.get(url(row, "revoke")),
        "add": browser.submit(ADD, FIELDS),
        "change": browser.submit(url(row), {**FIELDS, "scopes": "reports:write"}),
        "rotate": browser.submit(url(row, "rotate"), {"hours": "0"}),
        "revoke": browser.submit(url(row, "revoke")),
    }
    for name, answer in answers.items():
        is_open = name.removeprefix("ask to ") in allowed
        assert answer.status_code in ({200, 302} if is_open else {403}), name
        # The page offers what one may, and nothing else.
        offered = f"/{name.removeprefix('ask to ')}/" in answers["page"].content.decode()
        assert offered == is_open or name not in ("rotate", "revoke"), name
    row.refresh_from_db()
    assert (MachineClient.objects.count() == 2) == ("add" in allowed)
    assert (row.scopes == "reports:write") == ("change" in allowed)
    assert (row.secrets.count() == 2) == ("rotate" in allowed)
    assert (row.revoked_at is not None) == ("revoke" in allowed)


@pytest.mark.parametrize("page", ["change", "revoke"])
def test_a_project_may_decide_for_each_client(root, row, page, monkeypatch):
    """A secret of a client that staff may not change must not be shown to them."""
    name = f"has_{page}_permission"
    monkeypatch.setattr(MachineClientAdmin, name, lambda self, request, obj=None: obj is None)
    response = root.submit(url(row, "rotate" if page == "change" else page), {"hours": "0"})
    assert response.status_code == 403
    row.refresh_from_db()
    assert (row.secrets.count(), row.revoked_at) == (1, None)


def test_a_client_cannot_be_deleted(root, row):
    assert root.get(url(row, "delete")).status_code == 403
    assert root.submit(url(row, "delete"), {"post": "yes"}).status_code == 403
    assert "delete" not in root.get(url(row)).content.decode().split('id="content"')[1]
    posted = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    root.submit(LIST, posted)
    assert MachineClient.objects.exists()


@pytest.mark.parametrize("page", ["rotate", "revoke"])
def test_another_site_cannot_act(root, row, page):
    assert root.post(url(row, page), {"hours": "0"}).status_code == 403
    row.refresh_from_db()
    assert row.revoked_at is None
    assert row.secrets.count() == 1


@pytest.mark.parametrize("pk", ["0", "x", "999999999999999999999", "_00"])
def test_a_client_that_is_not_there(root, pk):
    for page in ("change", "rotate", "revoke", "history"):
        assert root.get(f"{LIST}{pk}/{page}/").status_code in (302, 404)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "a\0b"},
        {"scopes": ""},
        {"scopes": " \t "},
        {"scopes": 'a"b'},
        {"scopes": "é"},
        {"scopes": "x" * 1001},
        {"scopes": "a\0b"},
        {"expires_at_0": "2001-01-01", "expires_at_1": "00:00"},
        {"expires_at_0": "soon", "expires_at_1": "00:00"},
        {"expires_at_0": "2101-01-01", "expires_at_1": ""},
    ],
    ids=str,
)
def test_a_form_that_makes_no_sense_makes_no_client(root, changed):
    response = root.submit(ADD, {**FIELDS, **changed})
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not MachineClient.objects.exists()


def test_scopes_are_kept_in_one_spelling(root):
    shown(root.submit(ADD, {**FIELDS, "scopes": "  b\n a\tb "}))
    assert MachineClient.objects.get().scopes == "b a"


def moment(value: datetime) -> dict[str, str]:
    local = timezone.localtime(value)
    return {"expires_at_0": f"{local:%Y-%m-%d}", "expires_at_1": f"{local:%H:%M:%S}"}


def test_a_client_that_has_expired_can_be_given_more_time(admin_user, clock):
    row, secret = machine_clients.create("Reports", "a", expires_at=timezone.now() + HOUR)
    clock.shift(HOUR)
    browser = sign_in_to_admin(admin_user)
    assert exchange(row, secret) == 401
    assert "Expired" in browser.get(LIST).content.decode()
    assert browser.submit(url(row, "rotate"), {"hours": "1"}).status_code == 302
    assert row.secrets.count() == 1
    # A date that has passed is an error only when it is newly chosen.
    assert browser.submit(url(row), {**FIELDS, **moment(row.expires_at)}).status_code == 302
    earlier, later = (moment(row.expires_at + change) for change in (-HOUR, HOUR))
    assert browser.submit(url(row), {**FIELDS, **earlier}).status_code == 200
    assert exchange(row, secret) == 401
    assert browser.submit(url(row), {**FIELDS, **later}).status_code == 302
    assert exchange(row, secret) == 200


def test_the_list_costs_the_same_for_any_number(root):
    counts = []
    for number in (1, 20):
        for _each in range(number):
            row, _secret = machine_clients.create("Reports", "a b")
            machine_clients.rotate(row)
        with CaptureQueriesContext(connection) as queries:
            assert root.get(LIST).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    "query",
    [
        "?q=%00",
        "?revoked_by__password__startswith=a",
        "?secrets__digest__startswith=a",
        "?o=99",
        "?p=x",
        "?e=1",
    ],
)
def test_a_query_string_neither_breaks_the_list_nor_asks_about_secrets(root, row, query):
    response = root.get(f"{LIST}{query}", follow=True)
    assert response.status_code in (200, 400)
    if "startswith" in query:
        assert response.status_code == 400 or "e=1" in response.request["QUERY_STRING"]


def test_searching_finds_by_name_and_by_client_id(root, row):
    machine_clients.create("Billing", "a")
    for word in ("repo", row.client_id, row.client_id[:12]):
        found = root.get(LIST, {"q": word}).context["cl"].result_list
        assert row in found
    assert list(root.get(LIST, {"q": "repo"}).context["cl"].result_list) == [row]


def test_a_change_beside_a_revocation_does_not_bring_the_client_back(
    root, client_and_secret, monkeypatch
):
    row, secret = client_and_secret
    # What the admin read a moment before; revoked there, it would go back with its transaction.
    as_read = MachineClient.objects.get()
    machine_clients.revoke(row)
    monkeypatch.setattr(MachineClientAdmin, "get_object", lambda *args: as_read)
    assert root.submit(url(row), {**FIELDS, "name": "Other"}).status_code == 403
    row.refresh_from_db()
    assert row.revoked_at is not None
    assert row.name == "Reports"
    assert not LogEntry.objects.exists()
    assert exchange(row, secret) == 401


def test_a_change_writes_what_was_changed_and_nothing_else(root, row, monkeypatch):
    original = MachineClientForm.clean_scopes

    def used_meanwhile(form):
        MachineClient.objects.filter(pk=row.pk).update(last_used_at=timezone.now(), scopes="a:b")
        return original(form)

    monkeypatch.setattr(MachineClientForm, "clean_scopes", used_meanwhile)
    assert (
        root.submit(url(row), {**FIELDS, "name": "Other", "scopes": row.scopes}).status_code == 302
    )
    row.refresh_from_db()
    assert (row.name, row.scopes) == ("Other", "a:b")
    assert row.last_used_at is not None
    # A form sent as it was found changes nothing, and is no refusal.
    monkeypatch.setattr(MachineClientForm, "clean_scopes", original)
    again = {**FIELDS, "name": "Other", "scopes": "a:b"}
    assert root.submit(url(row), again).status_code == 302

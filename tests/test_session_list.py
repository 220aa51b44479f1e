"""`sessions/` over REST: pages of one's own login sessions, and their names."""

import base64
import time

import pytest

from authmodes.models import LoginSession, client_label

URL = "/auth/sessions/"


@pytest.fixture
def many(login):
    """A login with tokens, and four older ones of the same user."""
    rows = [login("jwt").row for _ in range(4)]
    here = login("jwt")
    return here, [here.sid, *(str(row.sid) for row in reversed(rows))]


def test_the_list_comes_in_pages_newest_first(many):
    here, sids = many
    first = here.get(f"{URL}?page_size=2").json()
    assert [entry["sid"] for entry in first["results"]] == sids[:2]
    assert first["previous"] is None
    seen, page = [], first
    while page["next"]:
        page = here.get(page["next"].removeprefix("http://testserver")).json()
        seen += [entry["sid"] for entry in page["results"]]
    assert seen == sids[2:]


@pytest.mark.parametrize("size", ["0", "201", "junk", ""])
def test_a_page_size_that_cannot_be_is_400(size, many):
    here, _sids = many
    assert here.get(f"{URL}?page_size={size}").status_code == 400


@pytest.mark.parametrize("text", ["junk", "p=junk", "p=%00", "o=-1", "p=99999999999999", "r=1&p=é"])
def test_a_cursor_that_was_not_ours_is_404(text, many):
    here, _sids = many
    for cursor in (text, base64.b64encode(text.encode()).decode()):
        answer = here.get(f"{URL}?cursor={cursor}")
        # Some of them are an offset that DRF corrects.
        assert answer.status_code in (200, 400, 404)
        if answer.status_code == 404:
            assert answer.json()["code"] == "not_found"
    junk = base64.b64encode(b"p=junk").decode()
    assert here.get(f"{URL}?cursor={junk}").status_code == 404


def test_a_user_agent_is_parsed_once_for_all_rows(login, monkeypatch):
    import ua_parser

    calls = []
    parse = ua_parser.parse
    monkeypatch.setattr(ua_parser, "parse", lambda agent: calls.append(agent) or parse(agent))
    agent = f"Mozilla/5.0 (X11; Linux x86_64) Firefox/{time.time()}"
    here = login("jwt")
    for _ in range(3):
        login("jwt")
    LoginSession.objects.update(user_agent=agent)
    labels = {entry["client"] for entry in here.get(URL).json()["results"]}
    assert labels == {client_label(agent)} == {"Firefox on Linux"}
    assert len(calls) == 1


def test_a_login_is_named(mode, login):
    here, other = login(mode), login("jwt")
    one = f"{URL}{other.sid}/"
    assert here.patch(one, {"name": "work laptop"}).json()["name"] == "work laptop"
    assert here.get(one).json()["name"] == "work laptop"
    assert here.patch(one, {"name": ""}).json()["name"] == ""
    assert other.get().status_code == 200


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (" a\r\nb\x1b[2J\x9f ", "a  b [2J"),
        # It would reverse what an administrator reads behind it.
        ("\u202ephone\u2066", "phone"),
        ("\u200fN \U0001f468\u200d\U0001f467 <b>", "\u200fN \U0001f468\u200d\U0001f467 <b>"),
    ],
)
def test_a_name_is_one_line_without_control_characters(name, kept, login):
    here = login("jwt")
    assert here.patch(f"{URL}{here.sid}/", {"name": name}).json()["name"] == kept
    assert here.row.name == kept


@pytest.mark.parametrize("name", ["x" * 61, None, ["x"], "\x00", ...])
def test_a_name_that_cannot_be_is_400(name, login):
    here = login("jwt")
    answer = here.patch(f"{URL}{here.sid}/", {} if name is ... else {"name": name})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert here.row.name == ""


def test_only_ones_own_active_logins_are_named(login, bob):
    here, his, ended = login("jwt"), login("jwt", bob), login("jwt")
    ended.logout()
    for sid in (his.sid, ended.sid, "junk"):
        assert here.patch(f"{URL}{sid}/", {"name": "mine"}).status_code == 404
    assert his.row.name == ""


def test_a_name_is_the_only_field_that_a_user_writes(login):
    here = login("jwt")
    before = here.row
    here.patch(
        f"{URL}{here.sid}/", {"name": "x", "mode": "session", "expires_at": "2099-01-01T00:00Z"}
    )
    after = here.row
    assert (after.name, after.mode, after.expires_at) == ("x", before.mode, before.expires_at)

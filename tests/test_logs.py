"""Log records: the names and fields that the documents list, ready for JSON."""

import json
import logging
import re
from pathlib import Path

import pytest

import authmodes
from authmodes import logs

from .support.browser import Browser
from .support.logins import PASSWORD, html_login, post_json

PACKAGE = Path(authmodes.__file__).parent
PAGE = PACKAGE.parent / "docs" / "events.md"


def table() -> dict[str, set[str]]:
    """The fields of each event by its name."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| [A-Z, ]+ \|(.+)\|$", PAGE.read_text(), re.M)
    return {
        name: set(re.findall(r"`(\w+)`", fields))
        for names, fields in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_the_page_lists_exactly_the_events_that_are_logged():
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = set(re.findall(r'logs\.log\(\s*logging\.\w+,\s*"(\w+)"', source))
    names |= {"security_event_ignored", "security_event_verified"}
    names |= {"login_started", "login_refused", "login_reuse", "login_step_up"}
    assert set(table()) == names
    users = {path.name for path in PACKAGE.rglob("*.py") if "getLogger(" in path.read_text()}
    # A check asks whether INFO is shown.
    assert users == {"logs.py", "deployment.py"}


@pytest.mark.django_db(transaction=True)
def test_the_life_of_a_login_is_logged_with_the_fields_of_its_events(alice, login, caplog):
    caplog.set_level(logging.INFO, "authmodes")
    html_login(Browser(REMOTE_ADDR="192.0.2.10"), "alice", "wrong")
    used = login("jwt", browser=Browser(REMOTE_ADDR="192.0.2.10"))
    first = used.refresh_token
    used.refresh()
    used.refresh()
    post_json("/auth/token/refresh/", {"refresh": first})
    browser = Browser()
    html_login(browser, "alice")
    browser.get("/accounts/reauthenticate/")
    browser.submit("/accounts/reauthenticate/", {"password": PASSWORD})
    plain = vars(logging.makeLogRecord({}))
    records = [record for record in caplog.records if record.name == "authmodes"]
    seen = {}
    for record in records:
        extra = {
            name: value
            for name, value in vars(record).items()
            if name not in plain and name != "message"
        }
        json.dumps(extra)
        name = extra.pop("event")
        seen[name] = extra
        assert set(extra) <= table()[name]
        assert record.getMessage().startswith(f"{name} user_id={alice.pk} ")
    assert set(seen) == {
        *("login_refused", "login_started", "login_reuse", "login_ended", "login_step_up")
    }
    assert seen["login_refused"] == {
        "user_id": alice.pk,
        "code": "no_active_account",
        "ip_address": "192.0.2.10",
    }
    assert seen["login_ended"]["sid"] == seen["login_reuse"]["sid"] == used.sid
    assert seen["login_ended"]["code"] == "reuse"


def test_a_value_cannot_forge_a_line(caplog):
    logs.log(logging.WARNING, "provider_call_refused", provider='x\n"y', reason="", count=0)
    (record,) = caplog.records
    assert record.getMessage() == r'provider_call_refused provider="x\n\"y" count=0'
    assert (record.event, record.provider, record.count) == ("provider_call_refused", 'x\n"y', 0)
    assert not hasattr(record, "reason")
    assert record.module == "test_logs"

"""The list of tests/faults.md, and the tests of the faults that no other module has a test for."""

import re
import tracemalloc
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.db import SessionStore
from django.test.utils import override_settings
from django.utils import timezone

from authmodes import registry
from authmodes.models import LoginSession

from .support.headless import App
from .support.logins import only_row, refresh

TESTS = Path(__file__).parent
LIST = TESTS / "faults.md"


def rows_of_the_list() -> list[list[str]]:
    lines = [line for line in LIST.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_list_names_a_test_for_each_of_the_twenty():
    rows = rows_of_the_list()
    assert [row[0] for row in rows] == [str(number) for number in range(1, 21)]
    for number, _fault, _here, named in rows:
        tests = re.findall(r"`(\w+)\.(\w+)`", named)
        assert tests, f"fault {number} has no test"
        for module, function in tests:
            source = (TESTS / f"{module}.py").read_text()
            assert f"def {function}(" in source, f"{module}.{function} of fault {number}"


@pytest.mark.django_db(transaction=True)
def test_saving_an_old_copy_of_the_session_revives_no_refresh_token(alice):
    """An app of headless has both on one row: a slow request saves what it loaded long ago."""
    app = App()
    app.login()
    stale = SessionStore(only_row().session_key)
    stale["cart"] = "of a slow request"
    first = app.refresh_token
    second = app.refresh().json()["data"]["refresh_token"]
    third = app.refresh(second).json()["data"]["refresh_token"]
    stale.save()
    assert app.refresh(third).status_code == 200
    assert refresh(first).json()["code"] == "token_reused"


@pytest.mark.django_db(transaction=True)
def test_a_session_saved_asynchronously_is_still_its_users(login, alice):
    used = login("session")

    async def save() -> None:
        session = SessionStore(used.browser.session_cookie)
        await session.aset("cart", "full")
        await session.asave()

    async_to_sync(save)()
    assert used.get().status_code == 200
    assert registry.revoke_user(alice) == 1
    assert used.get().status_code == 401


def fill(user, count):
    long_ago = timezone.now() - timedelta(days=400)
    LoginSession.objects.bulk_create(
        (
            LoginSession(
                sid=uuid.uuid4(),
                user=user,
                mode="session",
                created_at=long_ago,
                last_seen_at=long_ago,
                expires_at=long_ago + timedelta(days=30),
                user_agent="x" * 200,
            )
            for _ in range(count)
        ),
        batch_size=500,
    )


# In real transactions: what is announced on commit is kept until then.
@pytest.mark.django_db(transaction=True)
def test_pruning_needs_no_more_memory_for_more_rows(alice, monkeypatch):
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 50)
    peaks = []
    for count in (200, 2_000):
        fill(alice, count)
        tracemalloc.start()
        # First they are ended, as expired, and then deleted when that is long ago, too.
        with override_settings(AUTHMODES_RETENTION=timedelta(days=-1)):
            assert registry.prune() == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    few, many = peaks
    # Ten times as many; in proportion it would be ten times as much. When the garbage collector
    # runs accounts for a factor of two or three.
    assert many < 5 * few

"""Ending and deleting many rows: batches, what receivers get, and the indexes behind it."""

import uuid
from datetime import timedelta

import pytest
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from authmodes import registry
from authmodes.models import EndReason, LoginSession
from authmodes.registry import pruning
from authmodes.signals import login_session_ended
from authmodes.upstream import ending as upstream_ending

from .support.database import connection

DAY = timedelta(days=1)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def batches_of_two(monkeypatch):
    monkeypatch.setattr("authmodes.registry.ending.BATCH", 2)


def make(user, count: int, **fields) -> list[LoginSession]:
    """Rows of tokens that expired long ago, unless told otherwise."""
    made = timezone.now() - 200 * DAY
    rows = []
    for _ in range(count):
        token = OutstandingToken.objects.create(
            user=user, jti=uuid.uuid4().hex, created_at=made, expires_at=made + DAY
        )
        values = {"created_at": made, "last_seen_at": made, "expires_at": made + DAY, **fields}
        rows.append(
            LoginSession.objects.create(user=user, mode="jwt", refresh_token=token, **values)
        )
    return rows


def test_pruning_does_not_read_again_what_it_has_passed(alice):
    """From the first key, each batch would walk all rows that stay."""
    gone = make(alice, 4, ended_at=timezone.now() - 150 * DAY)
    with CaptureQueriesContext(connection) as captured:
        assert registry.prune() == 4
    reads = [query["sql"].replace("`", '"') for query in captured]
    starts = [
        int(sql.split('"id" > ')[1].split()[0].strip(")")) for sql in reads if '"id" > ' in sql
    ]
    assert starts[-3:] == [0, gone[1].pk, gone[3].pk]


def test_pruning_tells_what_each_batch_did(alice):
    make(alice, 3)
    make(alice, 3, ended_at=timezone.now() - 150 * DAY)
    assert pruning.count_prunable() == (3, 3)
    assert list(pruning.prune_in_batches()) == [(2, 0), (1, 0), (0, 2), (0, 1)]
    assert pruning.count_prunable() == (0, 0)


def test_batches_that_were_made_stay_when_the_caller_stops(alice):
    make(alice, 5)
    batches = registry.revoke_in_batches(LoginSession.objects.all())
    assert next(batches) == 2
    batches.close()
    assert LoginSession.objects.ended().count() == 2
    assert registry.revoke_all(LoginSession.objects.all()) == 3


@pytest.mark.django_db(transaction=True)
def test_a_receiver_gets_whole_rows_with_their_users(alice, django_assert_num_queries):
    make(alice, 3, user_agent="my-app/1.2", provider="corp")
    heard = []

    def hear(login_session, **kwargs):
        heard.append(login_session)

    login_session_ended.connect(hear)
    try:
        registry.revoke_user(alice, EndReason.REVOKED, by=alice)
    finally:
        login_session_ended.disconnect(hear)
    with django_assert_num_queries(0, connection=connection):
        assert {
            (row.user.username, row.client_label, row.provider, row.end_reason, row.ended_by_id)
            for row in heard
        } == {("alice", "my-app", "corp", "revoked", alice.pk)}
        assert all(row.ended_at is not None for row in heard)
    assert len(heard) == 3


# Each query that must not read the whole table, and its index.
INDEXED = {
    "authmodes_open_expires": lambda: LoginSession.objects.expired(),
    "authmodes_ended": lambda: LoginSession.objects.filter(ended_at__gte=timezone.now()),
    "authmodes_ended_by": lambda: LoginSession.objects.filter(ended_by__in=[1]),
    "authmodes_acting_user": lambda: LoginSession.objects.filter(acting_user__in=[1]),
    "authmodes_user_ended": lambda: LoginSession.objects.for_user(1),
    "authmodes_session_key": lambda: LoginSession.objects.filter(session_key="key"),
    "authmodes_created": lambda: LoginSession.objects.order_by("-created_at", "-id")[:100],
    "authmodes_provider_uid": lambda: upstream_ending._with_values(
        LoginSession.objects.filter(ended_at=None), {"provider": "corp", "provider_uid": "1"}
    ),
    "authmodes_provider_sid": lambda: upstream_ending._with_values(
        LoginSession.objects.filter(ended_at=None), {"provider": "corp", "provider_sid": "1"}
    ),
}


@pytest.mark.parametrize("index", INDEXED)
def test_queries_have_their_index(index, alice):
    if connection.vendor == "mysql":
        pytest.xfail("few rows: MariaDB prefers to read the table")
    with connection.cursor() as cursor:
        # A table of a few rows is read as a whole, unless told otherwise.
        for way in ("seqscan", "sort") if connection.vendor == "postgresql" else ():
            cursor.execute(f"SET LOCAL enable_{way} = off")
    plan = INDEXED[index]().explain()
    used = "session_key" if index == "authmodes_session_key" else index
    assert used in plan, plan


@override_settings(AUTHMODES_RETENTION=timedelta(0))
def test_pruning_twice_in_a_row_ends_and_deletes(alice):
    make(alice, 3)
    assert registry.prune() == 0
    assert registry.prune() == 3
    assert not OutstandingToken.objects.exists()

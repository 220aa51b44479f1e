"""Statements about many rows, beside the querysets that say the same."""

from datetime import UTC, datetime

import pytest
from django.db.models import DateTimeField, Value
from django.test.utils import CaptureQueriesContext
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken

from authmodes.models import LoginSession
from authmodes.models.bulk import OneOf, insert_from

from .support.database import connection

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


@pytest.mark.parametrize("column", ["pk", "session_key", "user"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_of_finds_what_in_finds(login, column, count):
    login("jwt")
    rows = [login("session").row for _ in range(3)]
    values = [getattr(row, "user_id" if column == "user" else column) for row in rows][:count]
    found = LoginSession.objects.filter(OneOf(column, values))
    assert set(found) == set(LoginSession.objects.filter(**{f"{column}__in": values}))
    rest = LoginSession.objects.exclude(OneOf("pk", [row.pk for row in found]))
    assert (found | rest).count() == rest.count() + found.count() == 4


def test_on_postgresql_a_list_is_one_parameter(login):
    row = login("session").row
    with CaptureQueriesContext(connection) as captured:
        assert LoginSession.objects.filter(OneOf("pk", {row.pk, 0})).get() == row
    is_one = "= ANY(" in captured[0]["sql"]
    assert is_one == (connection.vendor == "postgresql")


def test_rows_are_inserted_from_a_query_unless_they_exist(login):
    first, second = (login("jwt").row for _ in range(2))
    BlacklistedToken.objects.bulk_create([BlacklistedToken(token_id=first.refresh_token_id)])
    before = BlacklistedToken.objects.get()
    at = Value(NOW, output_field=DateTimeField())
    tokens = LoginSession.objects.filter(refresh_token__isnull=False)
    tokens = tokens.values_list("refresh_token_id", at)
    insert_from(tokens, BlacklistedToken, "token", "blacklisted_at")
    found = dict(BlacklistedToken.objects.values_list("token_id", "blacklisted_at"))
    assert found == {
        first.refresh_token_id: before.blacklisted_at,
        second.refresh_token_id: NOW,
    }

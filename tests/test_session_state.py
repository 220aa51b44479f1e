"""What a Django session stores of its login session comes back as it was."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore

from authmodes.models import LoginSession
from authmodes.sessions import state as session_state

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def session():
    return SessionStore()


def a_login(at):
    return LoginSession(created_at=at, last_seen_at=at, expires_at=at + timedelta(days=30))


def stored(session):
    """As the next request gets it."""
    return session.decode(session.encode(dict(session.items())))


@pytest.mark.parametrize("microseconds", [0, 1, 499, 500, 999, 1000, 999_999])
def test_every_moment_comes_back_as_it_was(microseconds, session, time_machine):
    at = NOON + timedelta(microseconds=microseconds)
    time_machine.move_to(at, tick=False)
    session_state.attach(session, a_login(at))
    before = session_state.load(session)
    assert {before.seen_at, before.keyed_at, before.renewed_at} == {at.timestamp()}
    session.update(stored(session))
    assert session_state.load(session) == before


def test_the_absolute_end_is_that_of_the_row(session):
    row = a_login(NOON + timedelta(microseconds=123_457))
    session_state.attach(session, row)
    session.update(stored(session))
    assert session_state.to_datetime(session_state.load(session).expires_at) == row.expires_at


def test_an_update_changes_its_fields_and_no_others(session):
    session_state.attach(session, a_login(NOON))
    before = session_state.load(session)
    session_state.update(session, seen_at=before.seen_at + 60)
    assert session_state.load(session) == before._replace(seen_at=before.seen_at + 60)


@pytest.mark.parametrize(
    "change",
    [
        *(lambda data, name=name: data.pop(name) for name in session_state.SessionData._fields),
        lambda data: data.update(colour="blue"),
        lambda data: data.clear(),
    ],
    ids=[*session_state.SessionData._fields, "one too many", "none"],
)
def test_with_a_field_too_few_or_too_many_nothing_is_read(change, session):
    session_state.attach(session, a_login(NOON))
    change(session[session_state.DATA_KEY])
    assert session_state.load(session) is None
    assert session_state.sid_in(dict(session.items())) is None


@pytest.mark.parametrize("foreign", ["text", 1, ["sid"], None])
def test_what_is_not_a_dict_is_not_read(foreign, session):
    session[session_state.DATA_KEY] = foreign
    assert session_state.load(session) is None


@pytest.mark.parametrize("hour", [0, 1])
def test_a_login_is_not_over_because_an_hour_comes_twice(hour, session, settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    now = datetime(2026, 10, 25, hour, 10, tzinfo=UTC).timestamp()
    row = LoginSession(
        created_at=session_state.to_datetime(now), last_seen_at=session_state.to_datetime(now)
    )
    row.expires_at = row.created_at + timedelta(minutes=30)
    session_state.attach(session, row)
    assert not session_state.is_expired(session_state.load(session), now + 5)
    assert session_state.is_expired(session_state.load(session), now + 7200)


@pytest.mark.parametrize("hour", [0, 1])
def test_a_cookie_is_not_over_because_an_hour_comes_twice(hour, session, settings):
    """Without USE_TZ, 02:30 of this night in Berlin is two moments."""
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"
    settings.SESSION_COOKIE_AGE = 600
    sent_at = datetime(2026, 10, 25, hour, 30, tzinfo=UTC).timestamp()
    remembered = session_state.SessionData("", 0, 0, 0, 0, sent_at, "", "")
    assert not session_state.is_cookie_expired(session, remembered, sent_at + 599)
    assert session_state.is_cookie_expired(session, remembered, sent_at + 600)

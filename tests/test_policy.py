"""`policy` decides from timestamps alone."""

from datetime import UTC, datetime, timedelta

import pytest

from authmodes import policy

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_a_login_ends_its_lifetime_after_the_sign_in():
    assert policy.absolute_end(NOW, 30 * DAY) == NOW + 30 * DAY


@pytest.mark.parametrize(
    ("offset", "over"), [(SECOND, False), (timedelta(0), True), (-SECOND, True)]
)
def test_the_absolute_end_itself_is_over(offset, over):
    assert policy.is_over(NOW + offset, NOW) is over
    assert policy.is_over((NOW + offset).timestamp(), NOW.timestamp()) is over


@pytest.mark.parametrize(
    ("unseen_for", "timeout", "idle"),
    [
        (timedelta(0), MINUTE, False),
        (MINUTE, MINUTE, False),
        (MINUTE + SECOND, MINUTE, True),
        (365 * DAY, None, False),
        # A clock that runs behind must not sign anybody out.
        (-HOUR, MINUTE, False),
    ],
)
def test_idle_is_longer_than_the_timeout(unseen_for, timeout, idle):
    assert policy.is_idle(NOW - unseen_for, timeout, NOW) is idle
    assert policy.is_idle((NOW - unseen_for).timestamp(), timeout, NOW.timestamp()) is idle


@pytest.mark.parametrize(
    ("seen_before", "interval", "needed"),
    [
        (timedelta(0), MINUTE, False),
        (MINUTE - SECOND, MINUTE, False),
        (MINUTE, MINUTE, True),
        (timedelta(0), timedelta(0), True),
    ],
)
def test_a_touch_is_needed_once_per_interval(seen_before, interval, needed):
    assert policy.needs_touch(NOW - seen_before, interval, NOW) is needed
    assert policy.needs_touch((NOW - seen_before).timestamp(), interval, NOW.timestamp()) is needed


@pytest.mark.parametrize("decide", [policy.needs_renewal, policy.needs_new_key])
@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [
        (MINUTE - SECOND, MINUTE, False),
        (MINUTE, MINUTE, True),
        (timedelta(0), timedelta(0), True),
        (365 * DAY, None, False),
        # A clock that runs behind is no reason either.
        (-SECOND, MINUTE, False),
    ],
)
def test_a_cookie_is_renewed_and_its_key_changed_from_their_age_on(decide, before, after, needed):
    assert decide((NOW - before).timestamp(), after, NOW.timestamp()) is needed


@pytest.mark.parametrize(
    ("before", "recent"),
    [(timedelta(0), True), (MINUTE, True), (MINUTE + SECOND, False), (-HOUR, True)],
)
def test_a_sign_in_is_recent_up_to_the_maximum_age_itself(before, recent):
    assert policy.is_recent(NOW - before, MINUTE, NOW) is recent


@pytest.mark.parametrize(
    ("ahead_by", "ahead"),
    [(-HOUR, False), (timedelta(0), False), (MINUTE, False), (MINUTE + SECOND, True)],
)
def test_a_clock_may_be_ahead_by_the_leeway_itself(ahead_by, ahead):
    assert policy.is_ahead(NOW + ahead_by, MINUTE, NOW) is ahead


@pytest.mark.parametrize(
    ("begun_at", "begun"), [(NOW - SECOND, True), (NOW, True), (NOW + SECOND, False)]
)
def test_what_began_at_the_moment_of_an_end_has_ended_too(begun_at, begun):
    assert policy.has_begun_by(begun_at, NOW) is begun


@pytest.mark.parametrize(
    ("rotated_before", "grace", "within"),
    [
        (timedelta(0), 10 * SECOND, True),
        (10 * SECOND, 10 * SECOND, True),
        (11 * SECOND, 10 * SECOND, False),
        (timedelta(0), timedelta(0), False),
    ],
)
def test_the_grace_is_counted_from_the_rotation_and_zero_is_strict(rotated_before, grace, within):
    assert policy.is_within_grace(NOW - rotated_before, grace, NOW) is within


@pytest.mark.parametrize(
    ("ahead", "within"), [(SECOND / 2, True), (SECOND, False), (5 * SECOND, False)]
)
def test_a_rotation_in_the_future_gives_no_grace(ahead, within):
    """Beyond what the clocks of two servers differ by."""
    assert policy.is_within_grace(NOW + ahead, 10 * SECOND, NOW) is within
    seconds = ahead.total_seconds()
    assert policy.is_within_grace(seconds, 10 * SECOND, 0.0) is within


def test_there_is_no_grace_before_the_first_rotation():
    assert policy.is_within_grace(None, 10 * SECOND, NOW) is False


@pytest.mark.parametrize(
    ("lifetime", "idle", "absolute_end", "deadline"),
    [
        (DAY, None, NOW + 30 * DAY, NOW + DAY),
        (DAY, HOUR, NOW + 30 * DAY, NOW + HOUR),
        (HOUR, DAY, NOW + 30 * DAY, NOW + HOUR),
        (DAY, None, NOW + HOUR, NOW + HOUR),
        (DAY, HOUR, NOW + MINUTE, NOW + MINUTE),
    ],
)
def test_a_refresh_token_dies_of_whatever_comes_first(lifetime, idle, absolute_end, deadline):
    assert policy.refresh_deadline(NOW, lifetime, idle, absolute_end) == deadline

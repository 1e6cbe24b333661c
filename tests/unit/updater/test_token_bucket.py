"""How often something may be done an hour."""

from __future__ import annotations

import pytest

from services.updater.token_bucket import TokenBucket


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_limit_there_is_a_token_for_everybody() -> None:
    """And nobody waits."""
    bucket = TokenBucket(None)
    assert (bucket.take(1000), bucket.wait_seconds) == (1000, 0.0)


def test_a_bucket_starts_with_a_minutes_worth_and_fills_with_time() -> None:
    """An idle hour saves up no more than that."""
    clock = Clock()
    bucket = TokenBucket(600, clock)
    assert [bucket.take(8), bucket.take(8)] == [8, 2]
    assert bucket.wait_seconds == pytest.approx(6)
    clock.now = 6.5
    assert [bucket.take(8), bucket.take(8)] == [1, 0]
    clock.now = 4000
    assert bucket.take(100) == 10


def test_no_hour_sees_more_than_the_rate_and_one_burst() -> None:
    """However it is asked."""
    clock = Clock()
    bucket, taken = TokenBucket(120, clock), 0
    while clock.now < 3600:
        taken += bucket.take(5)
        clock.now += 7
    assert 118 <= taken <= 122


def test_a_small_rate_still_lets_one_through() -> None:
    """One every two hours is one every two hours."""
    clock = Clock()
    bucket = TokenBucket(0.5, clock)
    assert [bucket.take(1), bucket.take(1)] == [1, 0]
    clock.now = 7200
    assert bucket.take(3) == 1


def test_an_unused_token_can_be_given_back() -> None:
    """Beyond the bucket's size it is lost."""
    bucket = TokenBucket(60, Clock())
    assert bucket.take(1) == 1
    bucket.give_back(1)
    bucket.give_back(1)
    assert bucket.take(5) == 1

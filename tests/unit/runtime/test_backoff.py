"""Pauses between tries."""

from __future__ import annotations

import pytest
from tenacity import RetryCallState, Retrying

from services.runtime.backoff import Backoff


def test_pauses_double_to_their_bound() -> None:
    """Each lies between half of that and all of it, however many attempts there were."""
    backoff = Backoff(0.5, 10)
    for attempt, longest in ((1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (6, 10.0), (10_000, 10.0)):
        pauses = [backoff.pause_seconds(attempt) for _ in range(200)]
        assert longest / 2 <= min(pauses) < 0.6 * longest
        assert 0.9 * longest < max(pauses) <= longest


def test_callers_that_failed_together_do_not_come_back_together() -> None:
    """Their pauses differ."""
    assert len({Backoff(1, 10).pause_seconds(3) for _ in range(100)}) > 90


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (4, 4.0)])
def test_tenacity_waits_by_it(attempt: int, longest: float) -> None:
    """It counts attempts from 1, as tenacity does."""
    state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    assert longest / 2 <= Backoff(0.5, 10)(state) <= longest

"""The gate before a dependency that is away."""

from __future__ import annotations

from services.runtime.backoff import Backoff
from services.updater.gate import Gate

BACKOFF = Backoff(10, 10)


class Clock:
    """A time that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_open_gate_lets_everybody_pass() -> None:
    """Also after successes and after workers that tried nothing."""
    gate = Gate(BACKOFF)
    assert [gate.enter(0) for _ in range(3)] == [True] * 3
    gate.succeeded()
    gate.left()
    assert gate.enter(0)
    assert gate.is_open


def test_after_a_failure_one_worker_tries_when_the_pause_is_over() -> None:
    """The others wait for what becomes of it."""
    clock = Clock()
    gate = Gate(BACKOFF, clock)
    gate.enter(0)
    pause = gate.failed()
    assert 5 <= pause <= 10
    clock.now = 4.9
    assert not gate.enter(0)
    clock.now = pause
    assert [gate.enter(0), gate.enter(0)] == [True, False]
    gate.succeeded()
    assert [gate.enter(0), gate.enter(0)] == [True, True]


def test_a_failed_try_shuts_the_gate_again() -> None:
    """For a new pause from then on."""
    clock = Clock()
    gate = Gate(BACKOFF, clock)
    gate.enter(0)
    gate.failed()
    clock.now = 12
    assert gate.enter(0)
    pause = gate.failed()
    clock.now = 16.9
    assert not gate.enter(0)
    clock.now = 12 + pause
    assert gate.enter(0)


def test_a_worker_that_found_nothing_to_try_leaves_the_turn_to_another() -> None:
    """The gate stays shut for the others until somebody has tried."""
    clock = Clock()
    gate = Gate(BACKOFF, clock)
    gate.enter(0)
    gate.failed()
    clock.now = 10
    assert gate.enter(0)
    gate.left()
    assert [gate.enter(0), gate.enter(0)] == [True, False]

"""Keeps workers from a dependency that is away: one tries again after a jittered pause, the others wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from services.runtime.backoff import Backoff


class Gate:
    """Open while things go well. After a failure it is shut for a pause that grows with the failures in a row, and
    then lets a single worker through, whose success opens it. Safe to share between threads.
    """

    def __init__(self, backoff: Backoff, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff, self._clock = backoff, clock
        self._changed = threading.Condition()
        self._failures, self._shut_until, self._probing = 0, 0.0, False
        self._successes = 0

    @property
    def is_open(self) -> bool:
        """Whether everybody may pass."""
        with self._changed:
            return self._failures == 0

    @property
    def successes(self) -> int:
        """How often the dependency has answered."""
        return self._successes

    def enter(self, timeout_seconds: float) -> bool:
        """Whether the caller may work now; waits for it so long. Who enters says `succeeded`, `failed` or `left`."""
        end = self._clock() + timeout_seconds
        with self._changed:
            while self._failures and (self._probing or self._shut_until > self._clock()):
                left = end - self._clock()
                if left <= 0:
                    return False
                self._changed.wait(left if self._probing else min(left, self._shut_until - self._clock()))
            self._probing = self._failures > 0
            return True

    def succeeded(self) -> None:
        """The dependency answers."""
        with self._changed:
            self._successes += 1
            self._leave(failures=0)

    def failed(self) -> float:
        """The dependency does not answer; returns the pause in seconds."""
        with self._changed:
            pause = self._backoff.pause_seconds(self._failures + 1)
            self._shut_until = self._clock() + pause
            self._leave(self._failures + 1)
            return pause

    def left(self) -> None:
        """Nothing was tried."""
        self._leave(self._failures)

    def _leave(self, failures: int) -> None:
        with self._changed:
            self._failures, self._probing = failures, False
            self._changed.notify_all()

"""A bound on how often something is done an hour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

HOUR = 3600.0
BURST_SECONDS = 60.0


class TokenBucket:
    """Hands out `per_hour` tokens an hour, a minute's worth of them, at least one, at once. None hands out any number.

    Safe to share between threads.
    """

    def __init__(self, per_hour: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = None if per_hour is None else per_hour / HOUR
        self._capacity = 1.0 if self._rate is None else max(1.0, self._rate * BURST_SECONDS)
        self._clock, self._lock = clock, threading.Lock()
        self._tokens, self._filled = self._capacity, clock()

    def take(self, most: int) -> int:
        """Take up to so many tokens; returns how many there were."""
        if self._rate is None:
            return most
        with self._lock:
            self._fill(self._rate)
            taken = min(most, int(self._tokens))
            self._tokens -= taken
            return taken

    def give_back(self, tokens: int) -> None:
        """Return tokens that were not used."""
        with self._lock:
            self._tokens = min(self._capacity, self._tokens + tokens)

    @property
    def wait_seconds(self) -> float:
        """How long until there is a token."""
        if self._rate is None:
            return 0.0
        with self._lock:
            self._fill(self._rate)
            return max(0.0, 1.0 - self._tokens) / self._rate

    def _fill(self, rate: float) -> None:
        now = self._clock()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled) * rate)
        self._filled = now

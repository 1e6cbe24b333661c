"""Decides before any work which calls are worked on, which wait, and which are better refused at once."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.runtime.errors import CallerGone, DeadlineExceeded, Overloaded

NEWEST_WEIGHT = 0.1  # of a call's time in the mean of how long calls take
SHORTEST_RETRY_SECONDS = 0.02


class Admission:
    """Lets `concurrency` calls work at a time; the others wait in order of arrival, `max_queue_seconds` at most.

    A call that would wait longer, judged by how long calls took lately, or longer than its caller has time, is refused
    when it arrives: so a queue never holds work that nobody can use. `refused` is told why: `queue`, `deadline`, or
    `waited` for one that was misjudged. Safe to share between threads.
    """

    def __init__(
        self, concurrency: int, max_queue_seconds: float, refused: Callable[[str], None] = lambda _: None
    ) -> None:
        self._concurrency, self._max_queue_seconds, self._refused = concurrency, max_queue_seconds, refused
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._running, self._mean_seconds = 0, 0.0

    @property
    def running(self) -> int:
        """How many calls are worked on."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    @contextmanager
    def turn(self, seconds_left: float | None = None, is_active: Callable[[], bool] = lambda: True) -> Iterator[float]:
        """Wait for a turn, and have it while the context lasts; gives the seconds waited.

        `seconds_left` is the caller's time, None without a limit. Raises Overloaded, which says when to try again,
        DeadlineExceeded, CallerGone.
        """
        waited = self._enter(seconds_left, is_active)
        start = time.monotonic()
        try:
            yield waited
        finally:
            self._leave(time.monotonic() - start)

    def _enter(self, seconds_left: float | None, is_active: Callable[[], bool]) -> float:
        if seconds_left is not None and seconds_left <= 0:
            raise DeadlineExceeded("no time was left when the call arrived")
        ticket = self._take_or_queue(seconds_left)
        if ticket is None:
            return 0.0
        start = time.monotonic()
        longest = self._max_queue_seconds if seconds_left is None else min(self._max_queue_seconds, seconds_left)
        if not ticket.wait(longest) and not self._is_late_turn(ticket):
            raise self._refusal("waited", f"the call waited {longest:.3f} s for a turn", longest)
        if not is_active():
            self._leave(None)
            raise CallerGone("the caller went while the call waited")
        return time.monotonic() - start

    def _take_or_queue(self, seconds_left: float | None) -> threading.Event | None:
        """A place in the queue, or None: the turn has begun. Raises Overloaded."""
        with self._lock:
            if self._running < self._concurrency and not self._waiting:
                self._running += 1
                return None
            wait = (len(self._waiting) + 1) * self._mean_seconds / self._concurrency
            usable = None if seconds_left is None else seconds_left - self._mean_seconds
            if wait <= self._max_queue_seconds and (usable is None or wait <= usable):
                ticket = threading.Event()
                self._waiting.append(ticket)
                return ticket
        if wait > self._max_queue_seconds:
            raise self._refusal(
                "queue", f"the call would wait {wait:.3f} s, longer than {self._max_queue_seconds} s", wait
            )
        raise self._refusal("deadline", f"the call would wait {wait:.3f} s, longer than the caller has time", wait)

    def _is_late_turn(self, ticket: threading.Event) -> bool:
        """Whether the turn came just after the wait had ended; if not, the place is given up."""
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return False
            return True

    def _leave(self, seconds: float | None) -> None:
        with self._lock:
            if seconds is not None:
                self._mean_seconds += NEWEST_WEIGHT * (seconds - self._mean_seconds)
            if self._waiting:
                self._waiting.popleft().set()  # the turn passes on: as many run as before
            else:
                self._running -= 1

    def _refusal(self, reason: str, message: str, wait: float) -> Overloaded:
        self._refused(reason)
        retry_after = max(SHORTEST_RETRY_SECONDS, wait) * random.uniform(0.5, 1.5)  # so that not all come back at once
        return Overloaded(message, retry_after)

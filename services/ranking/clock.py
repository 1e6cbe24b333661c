"""Where one request's time goes, and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.runtime.errors import CallerGone, DeadlineExceeded


class Clock:
    """Milliseconds by stage. `timeout_seconds` None: without a limit; `queued_ms`: what was waited before.

    `is_active` tells whether anybody still waits for the answer.
    """

    def __init__(
        self, timeout_seconds: float | None, queued_ms: float = 0.0, is_active: Callable[[], bool] = lambda: True
    ) -> None:
        self.is_active = is_active
        self._start, self._timeout_seconds, self._queued_ms = time.perf_counter(), timeout_seconds, queued_ms
        self._stages = {"queue": queued_ms}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside. Raises DeadlineExceeded or CallerGone when nobody waits for it any more."""
        self.check(name)
        start = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + (time.perf_counter() - start) * 1000

    def check(self, name: str) -> float | None:
        """As `seconds_left`, before or within a stage. Raises DeadlineExceeded or CallerGone as `stage` does."""
        left, words = self.seconds_left(), name.replace("_", " ")
        if left is not None and left <= 0:
            raise DeadlineExceeded(f"no time was left for the stage {words!r}")
        if not self.is_active():
            raise CallerGone(f"the caller has gone at the stage {words!r}")
        return left

    def seconds_left(self) -> float | None:
        """What is left of the caller's time; None without a limit."""
        if self._timeout_seconds is None:
            return None
        return self._timeout_seconds - (time.perf_counter() - self._start)

    def timings_ms(self) -> dict[str, float]:
        """The stages so far, and the total, waiting included."""
        return self._stages | {"total": (time.perf_counter() - self._start) * 1000 + self._queued_ms}

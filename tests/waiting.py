"""How tests wait: for a condition, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG_SECONDS = 120.0  # holds on a machine ten times slower
PAUSE_SECONDS = 0.02


def wait_until(
    condition: Callable[[], object],
    seconds: float = LONG_SECONDS,
    what: str | Callable[[], str] = "the condition",
) -> None:
    """Wait for what happens in another thread or process; a failed assertion says what did not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen in {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(PAUSE_SECONDS)

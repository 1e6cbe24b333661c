"""Pauses between tries, for all that is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tenacity import RetryCallState

MOST_DOUBLINGS = 30  # beyond any setting's longest pause, and far from where floats end


@dataclass(frozen=True)
class Backoff:
    """Pauses that double from `first_seconds` up to `longest_seconds`.

    Each is random between half of that and all of it, so that many callers do not come back at once. A callable, as
    tenacity's `wait` asks for.
    """

    first_seconds: float
    longest_seconds: float

    def pause_seconds(self, attempt: int) -> float:
        """The pause after the attempt of this number, from 1."""
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt - 1, MOST_DOUBLINGS))
        return random.uniform(longest / 2, longest)

    def __call__(self, state: RetryCallState) -> float:
        """The pause after tenacity's attempt."""
        return self.pause_seconds(state.attempt_number)

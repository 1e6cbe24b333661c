"""Scores in this process when Triton cannot."""

from __future__ import annotations

import time

from services.ranking.scorers import Scored, Scorer, ScorerInputs
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable

TRITON_SHARE = 0.7  # of the caller's time; what is left is enough to score here


class FallbackScorer:
    """Asks `first`; when that does not answer, or not in its share of the time, `second` scores, and says so."""

    def __init__(self, first: Scorer, second: Scorer) -> None:
        self._first, self._second = first, second

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """As services.ranking.scorers.Scorer. What Triton refuses, as other than unavailable, is refused."""
        start = time.monotonic()
        try:
            return self._first.score(inputs, timeout_seconds and timeout_seconds * TRITON_SHARE)
        except (DependencyUnavailable, DeadlineExceeded):
            left = None if timeout_seconds is None else timeout_seconds - (time.monotonic() - start)
        return Scored(self._second.score(inputs, left).values, "FALLBACK")

    def ready(self) -> bool:
        """Whether either can score."""
        return self._second.ready() or self._first.ready()

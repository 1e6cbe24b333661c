"""What may come of an event in the stages that ask for knowledge."""

from __future__ import annotations

from dataclasses import dataclass

from services.updater.events import PoisonEvent


@dataclass(frozen=True)
class Later:
    """An event that has to wait.

    `reason` is UNAVAILABLE, BUDGET_SPENT, RATE_LIMITED or MISSING_CONTENT, `detail` the words. `pause_seconds` is how
    long the events of its scenario need not be tried, where that is known.
    """

    reason: str
    detail: str = ""
    pause_seconds: float | None = None


@dataclass(frozen=True)
class Passed:
    """An event that is finished without knowledge; `reason` is SUSPECT, STALE or NOT_DUE."""

    reason: str


EnrichmentOutcome = PoisonEvent | Later | Passed | None  # None: stored

"""What may come of an event, and how a refused batch finds out which of its events was meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from loreline.client import InvalidArgumentError
from services.updater.events import PoisonEvent

K = TypeVar("K")
E = TypeVar("E")
Outcome = TypeVar("Outcome")


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


def isolating(
    handle: Callable[[Mapping[K, E]], Mapping[K, Outcome]], events: Mapping[K, E]
) -> dict[K, Outcome | PoisonEvent]:
    """Handle events together; by halves where a service refuses one of them, or all as too many for one message.

    What is refused even alone becomes the dead letter INVALID. Raises as `handle` does.
    """
    try:
        return dict(handle(events)) if events else {}
    except InvalidArgumentError as error:
        keys = list(events)
        if len(keys) == 1:
            return {keys[0]: PoisonEvent("INVALID", error.message)}
        halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
        first, second = (isolating(handle, {key: events[key] for key in half}) for half in halves)
        return first | second

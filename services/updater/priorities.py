"""Who gets knowledge first when not all can."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.updater.events import Delete, Event, Requested
from services.updater.popularity import Popularity
from services.updater.work_queue import Priority

AT_ONCE = math.inf  # what asks no language model, or what somebody waits for


@dataclass(frozen=True)
class ItemPriorities:
    """Popular items first, and of equally popular ones the newest event; deletions before all, since they cost nothing.

    Popularity counts in powers of two, so that a few interactions more do not outweigh newness. Only the interactions
    of this process' own partitions are known.
    """

    popularity: Popularity

    def __call__(self, events: Sequence[Event]) -> list[Priority]:
        """A priority for each event."""
        return [(self._band(event), _newness(event)) for event in events]

    def _band(self, event: Event) -> float:
        if isinstance(event, Delete):
            return AT_ONCE
        return float(math.floor(math.log2(1.0 + self.popularity.of(event.subject_id))))


def user_priorities(events: Sequence[Event]) -> list[Priority]:
    """Users whose preferences somebody asked for first, then the newest event."""
    return [(AT_ONCE if isinstance(event, Requested) else 0.0, _newness(event)) for event in events]


def _newness(event: Event) -> float:
    return event.stamp.event_time.timestamp()

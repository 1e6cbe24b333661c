"""A user's history by events: pure rules that keep it sorted, without repetition, and bounded.

Entries are ordered by (event time, event id). Entries that no event brought (bulk-loaded, or put whole) have their time
in whole seconds and an empty event id, so they come before the events of their second. Such an entry gives way to the
event of the same item in the same second: a log that was loaded first and then comes as events is not counted twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from loreline.domain import Interaction, PackedUser
from loreline.domain.events import Order

MAX_HISTORY = 512
SECOND_US = 1_000_000
T = TypeVar("T")


@dataclass(frozen=True)
class Events:
    """The events behind a history's entries, in columns of its length.

    `ids` are empty strings where no event is known; `times_us` are microseconds since 1970-01-01 UTC.
    """

    ids: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)

    def key(self, place: int) -> Order:
        """What the entry at a place is ordered by."""
        return self.times_us[place], self.ids[place]

    def after(self, key: Order) -> int:
        """How many entries come after a key."""
        return len(self.ids) - bisect_right(range(len(self.ids)), key, key=self.key)


def without_events(packed: PackedUser) -> tuple[PackedUser, Events]:
    """A history that no event brought, by time, entries of one second as they were given."""
    places = sorted(range(len(packed.times)), key=packed.times.__getitem__)
    events = Events([""] * len(places), [packed.times[place] * SECOND_US for place in places])
    return _picked(packed, places), events


def is_known(events: Events, event_id: str) -> bool:
    """Whether an event brought one of the entries."""
    return event_id in events.ids


def is_before_full(events: Events, key: Order) -> bool:
    """Whether a full history begins after a key."""
    return len(events.ids) >= MAX_HISTORY and key < events.key(0)


def with_entry(packed: PackedUser, events: Events, key: Order, new: Interaction) -> tuple[PackedUser, Events]:
    """The history with one interaction more, where it belongs by time; the oldest beyond 512 go."""
    seconds = key[0] // SECOND_US
    replaced = _nameless(packed, events, seconds, new.item_id)
    at = bisect_left(range(len(events.ids)), key, key=events.key)
    return (
        replace(
            packed,
            item_ids=_inserted(packed.item_ids, at, new.item_id, replaced),
            ratings=_inserted(packed.ratings, at, new.rating or 0.0, replaced),
            times=_inserted(packed.times, at, seconds, replaced),
        ),
        Events(_inserted(events.ids, at, key[1], replaced), _inserted(events.times_us, at, key[0], replaced)),
    )


def _nameless(packed: PackedUser, events: Events, seconds: int, item_id: str) -> int | None:
    place = bisect_left(range(len(events.ids)), (seconds * SECOND_US, ""), key=events.key)
    while place < len(events.ids) and events.key(place) == (seconds * SECOND_US, ""):
        if packed.item_ids[place] == item_id:
            return place
        place += 1
    return None


def _inserted(column: Sequence[T], at: int, value: T, replaced: int | None) -> list[T]:
    longer = [*column[:at], value, *column[at:]]
    if replaced is not None:  # it stands before its event
        del longer[replaced]
    return longer[-MAX_HISTORY:]


def _picked(packed: PackedUser, places: Sequence[int]) -> PackedUser:
    return replace(
        packed,
        item_ids=[packed.item_ids[place] for place in places],
        ratings=[packed.ratings[place] for place in places],
        times=[packed.times[place] for place in places],
    )

"""Events of items and users, and their order.

Events of one subject are ordered by (event time in microseconds, event id), everywhere: the id decides between equal
times, so that every order of arrival ends in the same state.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # since 1970-01-01 UTC, of the years 1 and 9999
Order = tuple[int, str]


@dataclass(frozen=True)
class Stamp:
    """The event that causes a write: its id, and its time as an aware datetime."""

    event_id: str
    event_time: datetime

    @property
    def order(self) -> Order:
        """The key by which a subject's events are ordered."""
        return microseconds(self.event_time), self.event_id


def new_stamp(event_id: str | None = None, event_time: datetime | None = None) -> Stamp:
    """The stamp of an event that happens now, under an id of its own, unless told otherwise."""
    return Stamp(event_id or uuid.uuid4().hex, event_time or datetime.now(UTC))


@dataclass(frozen=True)
class Interaction:
    """A user acted on an item; `rating` in the scenario's unit, None where the user gave none."""

    stamp: Stamp
    user_id: str
    item_id: str
    scenario: str
    rating: float | None = None


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exactly, of an aware datetime."""
    return (moment - BEGINNING) // timedelta(microseconds=1)


def moment_of(time_us: int) -> datetime:
    """The aware UTC datetime of microseconds since 1970-01-01."""
    return BEGINNING + timedelta(microseconds=time_us)

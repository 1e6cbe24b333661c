"""Reads interactions as JSON lines: {"user_id", "item_id", "scenario", "rating", "time", ...} a line."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loreline.client.catalog import CatalogEvent, interaction_logged
from loreline.domain import check_id, new_stamp
from services.cli.json_lines import check_fields, check_scenario, lines_of, object_of
from services.cli.output import BadInput
from services.scenarios import load_scenario

TEXTS = ["user_id", "item_id", "scenario"]
FIELDS = [*TEXTS, "rating", "time", "attribution_id", "event_id"]


@dataclass(frozen=True)
class LoggedInteraction:
    """A user acted on an item. Without a time it happens as it is published; without an event id it gets one."""

    user_id: str
    item_id: str
    scenario: str
    rating: float | None
    time: datetime | None
    attribution_id: str
    event_id: str

    def event(self) -> CatalogEvent:
        """The event to publish.

        With a time and no event id, the id follows from the fields: the same line published twice counts once.
        """
        facts = (self.user_id, self.item_id, self.scenario, self.rating, self.time and self.time.isoformat())
        own = self.event_id or (hashlib.sha256(repr(facts).encode()).hexdigest()[:32] if self.time else "")
        given = {"event_id": own, "event_time": self.time}
        stamp = new_stamp(**{name: value for name, value in given.items() if value})  # type: ignore[arg-type]
        return interaction_logged(self.user_id, self.item_id, self.scenario, self.rating, self.attribution_id, stamp)


def read_interactions(path: Path) -> Iterator[LoggedInteraction]:
    """Yield the file's interactions, one line at a time. Raises BadInput that names line and field."""
    for place, line in lines_of(path):
        yield _interaction(place, object_of(place, line))


def check_interactions(path: Path) -> int:
    """How many interactions the file holds, each of them checked. Raises BadInput that names line and field."""
    count = sum(1 for _ in read_interactions(path))
    if not count:
        raise BadInput(f"{path}: must hold at least one interaction, one JSON object a line")
    return count


def _interaction(place: str, document: dict[str, Any]) -> LoggedInteraction:
    check_fields(place, document, TEXTS, FIELDS)
    for name in ("user_id", "item_id"):
        for _, expected in check_id(name, document[name]):
            raise BadInput(f"{place}: {name}: {expected}")
    check_scenario(place, document["scenario"])
    return LoggedInteraction(
        user_id=document["user_id"],
        item_id=document["item_id"],
        scenario=document["scenario"],
        rating=_rating(place, document.get("rating"), document["scenario"]),
        time=_time(place, document.get("time")),
        attribution_id=_id(place, "attribution_id", document.get("attribution_id")),
        event_id=_id(place, "event_id", document.get("event_id")),
    )


def _rating(place: str, value: Any, scenario: str) -> float | None:
    if value is None:
        return None
    known = load_scenario(scenario)
    low, high = known.minimum_rating, known.maximum_rating
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadInput(f"{place}: rating: must be a number from {low:g} to {high:g}, is {value!r}")
    return float(value)


def _time(place: str, value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    expected = "ISO 8601 such as 2026-03-01T12:30:00Z, or seconds since 1970"
    raise BadInput(f"{place}: time: must be {expected}, is {value!r}")


def _id(place: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadInput(f"{place}: {name}: must be text, is {type(value).__name__}")
    for _, expected in check_id(name, value):
        raise BadInput(f"{place}: {name}: {expected}")
    return value

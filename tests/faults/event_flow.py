"""A flow of item events as careless suppliers send it, and what must be stored when it has come to rest."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from loreline.client.catalog import CatalogEvent, item_deleted, item_upserted
from loreline.domain import Item, Stamp

START = datetime(2026, 3, 1, tzinfo=UTC)
GENRES = ("Comedy", "Drama", "Horror", "Action", "Romance")
UPDATES, DELETES, DUPLICATES, OUT_OF_ORDER, POISON = 0.20, 0.05, 0.05, 0.05, 0.02
MAX_VALUE_BYTES = 20_000  # as the updater under test is set
Record = tuple[bytes, bytes]


@dataclass(frozen=True)
class Flow:
    """Records in the order of sending, which of them are poison, and the newest content of each item."""

    records: Sequence[Record]
    poison: frozenset[int]  # positions in `records`
    newest: Mapping[str, Item | None] = field(repr=False)  # None: deleted

    @property
    def living(self) -> dict[str, Item]:
        """The items that must be there in the end."""
        return {item_id: item for item_id, item in self.newest.items() if item is not None}

    @property
    def deleted(self) -> list[str]:
        """The items that must not be there in the end."""
        return [item_id for item_id, item in self.newest.items() if item is None]


@dataclass(frozen=True)
class _Fact:
    """An event before it is written down."""

    stamp: Stamp
    item_id: str
    item: Item | None
    arrival: float


def flow(items: int, seed: int, skews: Sequence[float] = (0.0,)) -> Flow:
    """A flow over so many items; the shares of each kind of trouble are the constants above, per item.

    `skews` are how far the producers' clocks are off, in seconds; each event comes from one of them at random.
    """
    draw = random.Random(seed)
    facts = sorted(_facts(items, draw), key=lambda fact: fact.arrival)
    facts = _skewed(facts, {fact.stamp.event_id: draw.choice(skews) for fact in facts})
    newest: dict[str, _Fact] = {}
    for fact in facts:
        known = newest.get(fact.item_id)
        if known is None or _order(known.stamp) < _order(fact.stamp):
            newest[fact.item_id] = fact
    records: list[Record] = [_record(fact) for fact in facts]
    poison = set()
    for number in range(round(items * POISON)):
        place = draw.randrange(len(records) + 1)
        records.insert(place, _poison(number))
        poison = {at + (at >= place) for at in poison} | {place}
    return Flow(records, frozenset(poison), {item_id: fact.item for item_id, fact in newest.items()})


def _skewed(facts: Sequence[_Fact], skews: Mapping[str, float]) -> list[_Fact]:
    return [
        replace(fact, stamp=Stamp(event_id, fact.stamp.event_time + timedelta(seconds=skews[event_id])))
        for fact in facts
        if (event_id := fact.stamp.event_id)
    ]


def _facts(items: int, draw: random.Random) -> Iterator[_Fact]:
    for number in range(items):
        facts = [_upsert(number, 0, float(number), draw)]
        if draw.random() < UPDATES:
            facts.append(_upsert(number, 60, number + draw.uniform(1, items / 4), draw))
        if draw.random() < DELETES:
            facts.append(_delete(number, 120, number + draw.uniform(1, items / 2)))
        if draw.random() < DUPLICATES:
            again = draw.choice(facts)
            facts.append(_Fact(again.stamp, again.item_id, again.item, again.arrival + draw.uniform(0, items / 4)))
        if draw.random() < OUT_OF_ORDER:  # older than anything else of the item, and sent after all of it
            late = max(fact.arrival for fact in facts)
            facts.append(_upsert(number, -60, late + draw.uniform(0, 10), draw))
        yield from facts


def _upsert(number: int, seconds: int, arrival: float, draw: random.Random) -> _Fact:
    stamp = Stamp(f"upsert-{number}-{seconds}", START + timedelta(seconds=number + seconds))
    title = f"Film {number} as of {seconds} ({draw.randint(1950, 2020)})"
    item = Item(f"i{number}", "movies", title, {"genres": draw.sample(GENRES, 2), "year": 1990.0})
    return _Fact(stamp, item.item_id, item, arrival)


def _delete(number: int, seconds: int, arrival: float) -> _Fact:
    stamp = Stamp(f"delete-{number}-{seconds}", START + timedelta(seconds=number + seconds))
    return _Fact(stamp, f"i{number}", None, arrival)


def _record(fact: _Fact) -> Record:
    event: CatalogEvent
    if fact.item is not None:
        event = item_upserted(fact.item, fact.stamp)
    else:
        event = item_deleted(fact.item_id, "movies", fact.stamp)
    return event.key, event.value


def _poison(number: int) -> Record:
    stamp = Stamp(f"poison-{number}", START)
    kinds: tuple[Record, ...] = (
        (b"p1", b"\xff\xfe no event"),
        (b"p2", b""),
        (b"p3", b"x" * (MAX_VALUE_BYTES + 1)),
        _record(_Fact(stamp, "p4", Item("p4", "no-such-scenario", "Film"), 0)),
        (b"another key", item_upserted(Item("p5", "movies", "Film"), stamp).value),
        _record(_Fact(stamp, "p6", Item("p6", "movies", ""), 0)),
    )
    return kinds[number % len(kinds)]


def _order(stamp: Stamp) -> tuple[datetime, str]:
    return stamp.event_time, stamp.event_id

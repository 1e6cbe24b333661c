"""A flow of interactions as careless producers send it, and the histories that it must leave."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from loreline.client.catalog import interaction_logged, item_upserted
from loreline.domain import Item, Stamp
from tests.faults.event_flow import Record

START = datetime(2026, 3, 1, tzinfo=UTC)
FILMS = [Item(f"f{n}", "movies", f"Film {n} (1990)", {"genres": ["Drama"], "year": 1990.0}) for n in range(20)]
DUPLICATES, OUT_OF_ORDER, POISON = 0.1, 0.2, 0.02


@dataclass(frozen=True)
class InteractionFlow:
    """Records in the order of sending, which of them are poison, and each user's items and seconds, oldest first."""

    records: Sequence[Record]
    poison: frozenset[int]
    histories: Mapping[str, Sequence[tuple[str, int]]]


def films() -> list[Record]:
    """The items that the interactions are with."""
    events = [item_upserted(film) for film in FILMS]
    return [(event.key, event.value) for event in events]


def interaction_flow(users: int, each: int, seed: int) -> InteractionFlow:
    """So many users with so many interactions each; the shares of each kind of trouble are the constants above."""
    draw = random.Random(seed)
    arriving: list[tuple[float, Record, bool]] = []
    histories: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for number in range(users * each):
        user_id, film = f"u{number % users}", draw.choice(FILMS).item_id
        moment = START + timedelta(seconds=number)
        event = interaction_logged(user_id, film, "movies", 4.0, stamp=Stamp(f"event-{number}", moment))
        histories[user_id].append((film, int(moment.timestamp())))
        late = draw.uniform(0, users * 3) if draw.random() < OUT_OF_ORDER else 0.0
        arriving.append((number + late, (event.key, event.value), False))
        if draw.random() < DUPLICATES:
            arriving.append((number + late + draw.uniform(0, users * 3), (event.key, event.value), False))
        if draw.random() < POISON:
            bad = interaction_logged(user_id, film, "movies", 99.0)
            arriving.append((number, (bad.key, bad.value), True))
    arriving.sort(key=lambda entry: entry[0])
    poison = frozenset(place for place, (_, _, is_poison) in enumerate(arriving) if is_poison)
    return InteractionFlow([record for _, record, _ in arriving], poison, histories)

"""Two features processes over one Redis: what they are sent at once ends in one state."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis
from conftest import Features, serving

from tests.unit.features.feature_samples import film, stamp, vectors, watched
from tests.waiting import wait_until

ITEMS = [f"m{number}" for number in range(12)]
EVENTS = 15  # of each item, and of each user


@pytest.fixture
def two(redis_connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Features]]:
    """Each with a feature directory of its own."""
    monkeypatch.setenv("LORELINE_REDIS_CONNECTION", redis_connection)
    redis.Redis.from_url(f"redis://{redis_connection}").flushall()
    with ExitStack() as running:
        yield [running.enter_context(serving(tmp_path / name, "redis")) for name in ("one", "other")]


def test_items_end_as_the_newest_event_says(two: list[Features]) -> None:
    """Both are sent all events, in orders of their own; each has its effect once, and both tell all the changes."""
    events = [(stamp(f"e{n:02}", n), film(item, title=f"Title {n}")) for item in ITEMS for n in range(EVENTS)]

    def deliver(features: Features, seed: int) -> list[str]:
        mixed = random.Random(seed).sample(events, len(events))
        batches = (mixed[start : start + 20] for start in range(0, len(mixed), 20))
        return [outcome for batch in batches for outcome in features.client.put_contents(batch)]

    with ThreadPoolExecutor() as pool:
        outcomes = Counter(outcome for of_one in pool.map(deliver, two, (1, 2)) for outcome in of_one)
    assert outcomes["APPLIED"] + outcomes["STALE"] + outcomes["DUPLICATE"] == 2 * len(events)
    assert len(ITEMS) <= outcomes["APPLIED"] <= len(events)
    for features in two:
        assert {features.client.describe_item(item).item.title for item in ITEMS} == {f"Title {EVENTS - 1}"}
        assert told(features) == set(ITEMS)


def test_a_ledger_that_was_emptied_knows_no_widths(two: list[Features], redis_connection: str) -> None:
    """In none of its processes: what is stored anew may come from another encoder of that name."""
    for number, features in enumerate(two):
        features.client.put_user_knowledge("u1", stamp(f"wide {number}"), vectors(version=""))
    redis.Redis.from_url(f"redis://{redis_connection}").flushall()
    narrow = replace(vectors(version=""), vector=np.ones(5, dtype=np.float32))
    for number, features in enumerate(two):
        assert features.client.put_user_knowledge(f"u{number}", stamp("narrow"), narrow) == "APPLIED"


def test_histories_lose_no_event(two: list[Features]) -> None:
    """Though each process is sent every other event of every user."""
    events = [
        watched(f"{user}-{n}", n, item_id=f"m{n}", user_id=user) for user in ("u1", "u2", "u3") for n in range(EVENTS)
    ]

    def deliver(features: Features, first: int) -> None:
        mine = events[first::2]
        for start in range(0, len(mine), 3):
            features.client.append_interactions(mine[start : start + 3])

    with ThreadPoolExecutor() as pool:
        list(pool.map(deliver, two, (0, 1)))
    for features in two:
        for user in ("u1", "u2", "u3"):
            assert features.client.user(user).user.item_ids == [f"m{n}" for n in range(EVENTS)]


def test_a_change_at_one_reaches_who_watches_the_other(two: list[Features]) -> None:
    """In the same epoch, so that a reader may go from one to the other."""
    one, other = two
    one.client.put_contents([(stamp("e1"), film("m1"))])
    wait_until(lambda: told(other) == {"m1"})
    assert len({next(iter(features.client.watch(0))).epoch for features in two}) == 1


def told(features: Features) -> set[str]:
    """The ids of all items of which a watcher that begins now is told."""
    found: set[str] = set()
    for page in features.client.watch(0):
        found |= {item.item_id for item in page.items}
        if page.caught_up:
            return found
    return found

"""Ranking's item cache and index, fed by the real stream of changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.item_index import ItemIndex
from tests.unit.features.conftest import Features
from tests.unit.features.feature_samples import film, stamp, vectors
from tests.waiting import wait_until

CATALOGUE = 1_500  # more than a page of the stream


@pytest.fixture
def following(features: Features) -> Iterator[tuple[ItemCache, ItemIndex]]:
    """A cache and an index that have caught up with a catalogue."""
    ids = [f"n{n}" for n in range(CATALOGUE)]
    for start in range(0, CATALOGUE, 500):
        features.client.put_contents([(stamp(f"c-{i}"), film(i)) for i in ids[start : start + 500]])
    cache, index = ItemCache(), ItemIndex()
    feeds = [ItemFeed(features.client, follower) for follower in (cache, index)]
    for feed in feeds:
        feed.start()
    wait_until(lambda: all(feed.is_current() for feed in feeds))
    yield cache, index
    for feed in feeds:
        feed.stop()


def test_changes_come_by_the_stream_alone(features: Features, following: tuple[ItemCache, ItemIndex]) -> None:
    """New content, knowledge and deletions reach cache and index without being asked for."""
    cache, index = following
    assert len(cache) == CATALOGUE
    features.client.put_contents([(stamp("c2", 1), film("fresh"))])
    wait_until(lambda: len(cache) == CATALOGUE + 1)
    features.client.put_knowledge([(stamp("c2", 1), "fresh", vectors(0.5))])
    wait_until(lambda: cache.gather(["fresh"], 1, "1", 4).has_knowledge.all())
    wait_until(lambda: index.nearest("movies", "1", np.ones((1, 4), dtype=np.float32), 3) == [["fresh"]])
    features.client.remove_items([(stamp("r", 2), "fresh")])
    wait_until(lambda: len(cache) == CATALOGUE)
    wait_until(lambda: index.nearest("movies", "1", np.ones((1, 4), dtype=np.float32), 3) == [[]])

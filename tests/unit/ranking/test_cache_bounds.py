"""The item cache with a bound, and how requests are served beside a cache that does not know everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from catalogue import ITEMS, ITEMS_BY_ID, USER, assert_ranked, best_first
from memory_features import MemoryFeatures, item
from ranking_parts import Ranking

from loreline.domain import PackedItem
from services.ranking.item_cache import ItemCache
from services.ranking.recency import BLOCK, Recency
from tests.waiting import wait_until


def held(cache: ItemCache, item_ids: Sequence[str]) -> list[str]:
    """Those of some items that the cache has, without counting as a use of them."""
    return [item_id for item_id in item_ids if item_id in cache._rows]


def use(cache: ItemCache, *item_ids: str) -> None:
    cache.gather(item_ids, 2, "1", 4)


def films(start: int, stop: int) -> list[PackedItem]:
    return [item(f"n{n}", "Drama", "1990", v1=[n, 0, 0, 1]) for n in range(start, stop)]


@pytest.fixture
def cache() -> ItemCache:
    cache = ItemCache(max_items=100)
    cache.apply(films(0, 100))
    return cache


def test_a_full_cache_puts_out_what_was_not_asked_for(cache: ItemCache) -> None:
    """What was used since stays, with all its values."""
    used = [f"n{n}" for n in range(0, 100, 2)]
    use(cache, *used)
    cache.apply(films(100, 130))
    assert len(cache) == 100
    assert held(cache, used) == used
    assert held(cache, [f"n{n}" for n in range(100, 130)]) == [f"n{n}" for n in range(100, 130)]
    assert cache.evicted == 30
    rows = cache.gather(["n98", "n129", "n1"], 2, "1", 4)
    assert rows.augmented[:, 0].tolist()[:2] == [98, 129]


def test_a_use_protects_once(cache: ItemCache) -> None:
    """What was asked for long ago goes at the second round, before what is asked for still."""
    use(cache, *[f"n{n}" for n in range(100)])
    cache.apply(films(100, 150))  # takes every mark, then the first fifty
    use(cache, "n60")
    cache.apply(films(150, 199))
    assert held(cache, ["n60"]) == ["n60"]
    assert held(cache, [f"n{n}" for n in range(50, 100)]) == ["n60"]


def test_a_batch_larger_than_the_bound_leaves_its_last_items() -> None:
    """Nor does a batch put out its own items for good: those it holds are stored."""
    cache = ItemCache(max_items=10)
    cache.apply(films(0, 25))
    assert held(cache, [f"n{n}" for n in range(25)]) == [f"n{n}" for n in range(15, 25)]
    cache.apply([*films(30, 38), *films(15, 17)])
    assert held(cache, ["n15", "n16", *[f"n{n}" for n in range(30, 38)]]) == [
        "n15",
        "n16",
        *[f"n{n}" for n in range(30, 38)],
    ]


def test_deleted_items_make_room_before_any_is_put_out(cache: ItemCache) -> None:
    """A tombstone is not kept."""
    cache.apply([*[PackedItem(f"n{n}", "", [], deleted=True) for n in range(20)], *films(100, 120)])
    assert (len(cache), cache.evicted, cache.has_evicted) == (100, 0, False)


def test_memory_does_not_grow_with_a_catalogue_that_streams_through() -> None:
    """Columns hold the bound and no more."""
    cache = ItemCache(max_items=300)
    for start in range(0, 6000, 200):
        cache.apply(films(start, start + 200))
    assert len(cache) == 300
    assert len(cache._ids) == len(cache._scenario) == 300
    assert all(len(column.values) == 300 for column in cache._vectors.values())


def test_the_hand_goes_round_more_rows_than_it_looks_at_at_a_time() -> None:
    """Each row is chosen once in a round, whatever the number asked for."""
    rows = 2 * BLOCK + 17
    recency, occupied = Recency(rows), np.ones(rows, dtype=np.bool_)
    recency.mark(np.arange(0, rows, 2))
    first = recency.victims(rows // 2, occupied)
    assert sorted(first.tolist()) == list(range(1, rows, 2))
    occupied[first] = False
    assert sorted(recency.victims(occupied.sum(), occupied).tolist()) == list(range(0, rows, 2))


class TestReads:
    """Items read from the store beside the cache."""

    def test_what_was_read_is_kept(self) -> None:
        """The next request finds it."""
        cache = ItemCache(max_items=10)
        with cache.reading() as admit:
            admit(films(0, 3))
        assert held(cache, ["n0", "n1", "n2"]) == ["n0", "n1", "n2"]

    @pytest.mark.parametrize("deleted", [False, True])
    def test_what_changed_during_a_read_is_not_overwritten_by_it(self, deleted: bool) -> None:
        """The stream told of a newer state, or of a deletion, while the read was under way."""
        cache = ItemCache()
        cache.apply([item("a", "Drama")])
        with cache.reading() as admit:
            cache.apply([item("a", "Horror") if not deleted else PackedItem("a", "", [], deleted=True)])
            admit([item("a", "Drama"), item("b", "Drama")])
        rows = cache.gather(["a", "b"], 1, "1", 4)
        genres = [rows.interner.values[code] for code in rows.field_codes[:, 0]]
        assert (genres, rows.absent.tolist()) == (["" if deleted else "Horror", "Drama"], [deleted, False])


class TestRanking:
    """Requests beside a bounded or lagging cache, over real gRPC."""

    @pytest.fixture
    def max_cached_items(self) -> int:
        return 4

    def test_items_put_out_are_read_in_one_call_history_included(self, stocked: Ranking, store: MemoryFeatures) -> None:
        """The list is the one that a whole cache gives, and the next request needs fewer reads."""
        candidates = list(ITEMS_BY_ID)
        ranked = stocked.client.rank("ann", "movies", candidates)
        assert_ranked(ranked, best_first(candidates, USER))
        assert len(store.reads) == 1
        stocked.client.rank("ann", "movies", ["i0"])
        read = set(store.reads[0])
        assert read & set(ITEMS_BY_ID)
        again = stocked.client.rank("ann", "movies", [next(iter(read & set(ITEMS_BY_ID)))])
        assert len(again.item_ids) == 1


class TestLag:
    """A stream that is cut or behind."""

    @pytest.fixture
    def max_cache_lag_seconds(self) -> float:
        return 0.05

    @pytest.fixture
    def cut(self, stocked: Ranking, store: MemoryFeatures) -> Ranking:
        """Ranking whose stream is cut, while reads go on."""
        store.close()
        wait_until(lambda: not stocked.feed.is_current())
        return stocked

    def test_items_are_read_from_the_store_while_changes_do_not_come(self, cut: Ranking, store: MemoryFeatures) -> None:
        """A change that the cache was not told of is in the very next list."""
        changed = item("i1", "Horror", "1980")
        store.put_silently(changed)
        candidates = list(ITEMS_BY_ID)
        before = ITEMS_BY_ID["i1"]
        ITEMS_BY_ID["i1"] = changed
        try:
            ranked = cut.client.rank("ann", "movies", candidates)
            assert_ranked(ranked, best_first(candidates, USER))
        finally:
            ITEMS_BY_ID["i1"] = before
        assert len(store.reads) == 1
        assert set(candidates) <= set(store.reads[0])

    def test_an_item_deleted_meanwhile_is_not_ranked(self, cut: Ranking, store: MemoryFeatures) -> None:
        """The store says that it is gone, though the cache holds it."""
        store.put_silently(PackedItem("i1", "", [], deleted=True))
        assert cut.client.rank("ann", "movies", ["i0", "i1"]).unknown_item_ids == ["i1"]

    def test_the_cache_answers_again_when_the_stream_is_back(self, cut: Ranking, store: MemoryFeatures) -> None:
        """What changed in between has come by then."""
        store.open()
        wait_until(cut.feed.is_current)
        cut.client.rank("ann", "movies", [stored.item_id for stored in ITEMS])
        assert store.reads == []

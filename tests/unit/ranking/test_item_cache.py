"""Rules of the item cache and of the stream that feeds it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from memory_features import MemoryFeatures, item
from model_versions import field_index, vocabulary
from ranking_parts import Ranking, serve_features

from loreline.client import FeaturesClient
from loreline.domain import PackedItem
from services.ranking import item_cache
from services.ranking.item_cache import ItemCache
from services.ranking.item_feed import ItemFeed
from services.ranking.item_rows import ABSENT, ItemRows
from services.ranking.serving_model import FieldIndex
from services.runtime.backoff import Backoff
from tests.waiting import wait_until

WIDTH = 4


def gather(cache: ItemCache, *item_ids: str, version: str = "1") -> ItemRows:
    return cache.gather(item_ids, 2, version, WIDTH)


def values(rows: ItemRows) -> list[list[str]]:
    return [[rows.interner.values[code] for code in codes] for codes in rows.field_codes]


@pytest.fixture
def cache() -> ItemCache:
    cache = ItemCache()
    cache.apply([item("a", "Drama", "1990", v1=[1, 2, 3, 4]), item("b", "Comedy", "1980")])
    return cache


def test_rows_come_in_the_order_asked(cache: ItemCache) -> None:
    """Field values, knowledge and absence of each item stand in its place."""
    rows = gather(cache, "b", "none", "a", "b")
    assert values(rows) == [["Comedy", "1980"], ["", ""], ["Drama", "1990"], ["Comedy", "1980"]]
    assert rows.has_knowledge.tolist() == [False, False, True, False]
    assert rows.augmented.tolist() == [[0] * 4, [0] * 4, [1, 2, 3, 4], [0] * 4]
    assert (rows.scenario == ABSENT).tolist() == [False, True, False, False]


def test_the_newest_state_replaces_all_of_the_one_before(cache: ItemCache) -> None:
    """A state without knowledge takes the old knowledge away; within a batch the last state holds."""
    cache.apply([item("a", "Horror", "1970", v1=[9, 9, 9, 9]), item("a", "Horror", "1960")])
    rows = gather(cache, "a")
    assert values(rows) == [["Horror", "1960"]]
    assert not rows.has_knowledge.any()


def test_a_deleted_item_is_absent_and_its_row_carries_nothing_over(cache: ItemCache) -> None:
    """Whoever takes the row later starts without the old one's knowledge."""
    cache.apply([PackedItem("a", "", [], deleted=True), PackedItem("never", "", [], deleted=True)])
    assert (gather(cache, "a").scenario == ABSENT).all()
    assert len(cache) == 1
    cache.apply([item("c")])
    assert not gather(cache, "c").has_knowledge.any()
    assert values(gather(cache, "c")) == [["Drama", "1990"]]


def test_knowledge_is_kept_by_version_and_width(cache: ItemCache) -> None:
    """Two versions stand side by side; a vector of another width is never given out."""
    cache.apply([item("a", v1=[1, 1, 1, 1], v2=[2, 2, 2, 2]), item("b", v2=[3, 3, 3])])
    assert gather(cache, "a", version="2").augmented.tolist() == [[2, 2, 2, 2]]
    assert gather(cache, "a", version="1").augmented.tolist() == [[1, 1, 1, 1]]
    assert gather(cache, "b", version="2").has_knowledge.tolist() == [False]
    assert gather(cache, "a", version="3").has_knowledge.tolist() == [False]


def test_the_cache_grows_and_keeps_everything(cache: ItemCache) -> None:
    """Past its first capacity, each item still has its own row."""
    count = 5000
    cache.apply([item(f"n{n}", f"genre {n % 7}", v1=[n, 0, 0, 1]) for n in range(count)])
    rows = gather(cache, *[f"n{n}" for n in range(count)], "a")
    assert rows.augmented[:, 0].tolist() == [*range(count), 1]
    assert values(rows)[count - 1] == [f"genre {(count - 1) % 7}", "1990"]
    assert len(cache) == count + 2


def test_missing_and_further_field_values_do_no_harm(cache: ItemCache) -> None:
    """An item with fewer values than the model has fields is unknown in the rest; further ones are left out."""
    cache.apply([PackedItem("few", "movies", ["Drama"]), PackedItem("many", "movies", ["Drama", "1990", "x"])])
    assert values(gather(cache, "few", "many")) == [["Drama", ""], ["Drama", "1990"]]
    assert cache.gather(["a"], 4, "1", WIDTH).field_codes.shape == (1, 4)


def test_readers_never_see_a_half_written_row() -> None:
    """While a writer changes, deletes and adds items, each row read is one of the states that were written."""
    cache, stop = ItemCache(), threading.Event()

    def write() -> None:
        state = 0
        while not stop.is_set():
            state += 1
            name, vector = str(state), [float(state)] * WIDTH
            cache.apply([PackedItem("x", "movies", [name, name], {"1": np.array(vector, dtype=np.float32)})])
            cache.apply([item(f"filler {state}"), PackedItem(f"filler {state - 40}", "", [], deleted=True)])
            if state % 5 == 0:
                cache.apply([PackedItem("x", "", [], deleted=True)])

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    for _ in range(20_000):
        rows = gather(cache, "x")
        first, second = values(rows)[0]
        assert first == second
        if first:
            assert rows.augmented[0].tolist() == [float(first)] * WIDTH
        else:
            assert not rows.has_knowledge[0]
        seen.add(first)
    stop.set()
    writer.join()
    assert len(seen) > 5


def test_the_field_table_follows_values_seen_later(cache: ItemCache) -> None:
    """A value that came after the model was loaded has the vocabulary's index too."""
    table = FieldIndex(vocabulary(), cache.interner)
    cache.apply([item("late", "Horror", "1980"), item("odd", "Opera", "1980")])
    indices = table.indices(gather(cache, "late", "odd"))
    decade = field_index("decade", "1980")
    assert indices.tolist() == [[field_index("genre", "Horror"), decade], [field_index("genre", "Opera"), decade]]


class TestTextsThatCome:
    """Field values that change all the time, such as prices, do not fill the memory."""

    @pytest.fixture(autouse=True)
    def few_spare_codes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(item_cache, "SPARE_CODES", 50)

    def test_texts_that_no_item_has_any_more_are_let_go(self) -> None:
        """Those that items have stay as they are."""
        cache = ItemCache()
        cache.apply([item("stays", "Drama", "1990"), item("went", "Horror", "1980")])
        cache.apply([PackedItem("went", "", [], deleted=True)])
        for n in range(1000):
            cache.apply([item("a", f"genre {n}", "1990")])
            assert len(cache.interner.values) <= 110
        assert values(gather(cache, "a", "stays")) == [["genre 999", "1990"], ["Drama", "1990"]]
        assert gather(cache, "went").absent.all()
        assert cache.interner.find("Horror") < 0

    def test_rows_gathered_before_are_read_as_they_were(self) -> None:
        """A request goes on with them; those that it gathers afterwards may be put among them."""
        cache = ItemCache()
        table = FieldIndex(vocabulary(), cache.interner)
        cache.apply([item("a", "Horror", "1980"), item("b", "Drama", "1990")])
        before = gather(cache, "a", "b")
        for n in range(200):
            cache.apply([item("c", f"genre {n}", "1980"), item("b", "Comedy", "1990")])
        after = gather(cache, "b")
        assert after.interner is not before.interner
        assert values(before) == [["Horror", "1980"], ["Drama", "1990"]]
        before.put(np.array([1]), after)
        assert values(before) == [["Horror", "1980"], ["Comedy", "1990"]]
        assert table.indices(before).tolist() == table.indices(gather(cache, "a", "b")).tolist()
        assert table.indices(before)[0, 0] == field_index("genre", "Horror")

    def test_a_batch_that_was_prepared_meanwhile_is_stored_with_its_own_texts(self) -> None:
        """Its codes were given before, and are stored after texts were let go."""
        cache = ItemCache()

        class Interrupted(list[str]):
            def __iter__(self) -> Iterator[str]:
                yield from super().__iter__()
                for n in range(200):
                    cache.apply([item("a", f"genre {n}")])

        before = cache.interner
        cache.apply([replace(item("b"), field_values=Interrupted(["Horror", "1980"]))])
        assert cache.interner is not before
        assert values(gather(cache, "b", "a")) == [["Horror", "1980"], ["genre 199", "1990"]]


def test_the_feed_follows_changes_and_deletions(ranking: Ranking, store: MemoryFeatures) -> None:
    """What is stored, changed or deleted shows in the cache without being asked for."""
    store.put(*[item(f"n{n}") for n in range(2500)])  # three pages
    ranking.holds(2500)
    store.put(item("n7", "Horror"))
    wait_until(lambda: values(gather(ranking.cache, "n7")) == [["Horror", "1990"]])
    store.remove("n7")
    ranking.holds(2499)
    assert store.reads == []


def test_the_feed_goes_on_from_where_it_was_cut(store: MemoryFeatures, features_address: str) -> None:
    """After the features service came back, only what changed since is sent again."""
    store.put(item("a"), item("b"))
    cache = ItemCache()
    with FeaturesClient(features_address) as client:
        feed = ItemFeed(client, cache, backoff=Backoff(0.01, 0.05))
        feed.start()
        wait_until(lambda: len(cache) == 2 and feed.caught_up())
        store.close()
        wait_until(lambda: len(store.watched_from) > 1)  # the stream ended, and the feed came back
        store.open()
        store.put(item("c"))
        wait_until(lambda: len(cache) == 3)
        feed.stop()
    assert store.watched_from[0] == 0
    assert set(store.watched_from[1:]) == {2}


def test_the_feed_survives_an_unreachable_service(features_address: str) -> None:
    """It is not caught up until the service is there, and needs no restart then."""
    cache, store = ItemCache(), MemoryFeatures()
    store.put(item("a"))
    with FeaturesClient(features_address) as client:
        feed = ItemFeed(client, cache, backoff=Backoff(0.01, 0.05))
        feed.start()
        assert not feed.caught_up()
        server = serve_features(store, features_address)
        wait_until(lambda: len(cache) == 1 and feed.caught_up())
        feed.stop()
        store.close()
        server.stop(0).wait()


def test_the_feed_forgets_what_a_store_that_was_set_up_anew_does_not_hold(
    ranking: Ranking, store: MemoryFeatures
) -> None:
    """Its sequence numbers begin again: whoever goes on from the old ones misses all of the new."""
    store.put(item("a"), item("b"), item("c"))
    ranking.holds(3)
    store.set_up_anew(item("c", "Horror"), item("d"))
    wait_until(lambda: values(gather(ranking.cache, "d")) == [["Drama", "1990"]])
    ranking.holds(2)
    assert values(gather(ranking.cache, "c")) == [["Horror", "1990"]]


def test_the_feed_starts_anew_on_a_store_that_was_set_back(ranking: Ranking, store: MemoryFeatures) -> None:
    """A backup knows less than was told already, under the same numbers."""
    store.put(item("a"), item("b"), item("c"))
    ranking.holds(3)
    store.close()
    wait_until(lambda: not ranking.feed.is_current())
    store.set_back(item("a", "Horror"))
    store.open()
    wait_until(lambda: ranking.feed.is_current() and len(ranking.cache) == 1)
    assert values(gather(ranking.cache, "a")) == [["Horror", "1990"]]


def test_a_stream_that_falls_silent_is_not_followed_any_more(ranking: Ranking, store: MemoryFeatures) -> None:
    """As when a network swallows everything: ranking is not ready, and no request believes the cache."""
    store.put(item("a"))
    ranking.holds(1)
    store.falls_silent = True
    wait_until(lambda: not ranking.feed.is_current())
    wait_until(lambda: not ranking.feed.caught_up())
    store.falls_silent = False
    wait_until(lambda: ranking.feed.caught_up() and ranking.feed.is_current())


def test_what_was_read_before_a_cache_was_cleared_is_not_kept() -> None:
    """It may be gone."""
    cache = ItemCache()
    with cache.reading() as admit:
        cache.clear()
        admit([item("a")])
    assert len(cache) == 0

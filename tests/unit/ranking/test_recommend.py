"""Rules of Recommend, over real gRPC with a real index and real scorers, and of the parts that find candidates."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import USER, assert_ranked, best_first
from memory_features import MemoryFeatures, item
from model_versions import AUGMENTED, register_version
from ranking_parts import Ranking

from loreline.client import FailedPreconditionError, InvalidArgumentError, Recommended
from loreline.client.errors import client_errors
from loreline.domain import PackedItem, PackedUser
from loreline.ranking.v1 import ranking_pb2
from services.model_registry import ModelRegistry
from services.ranking.item_index import ItemIndex
from services.ranking.popularity import Popularity
from tests.waiting import wait_until

GROUPS = {"c": ("Comedy", [1, 0, 0, 0]), "d": ("Drama", [0, 1, 0, 0]), "h": ("Horror", [0, 0, 1, 0])}
NOISE = np.random.default_rng(5).normal(0, 0.05, (30, AUGMENTED))


def films(version: str = "1", prefix: str = "") -> list[PackedItem]:
    """Ten films of each of three kinds, each kind's vectors close together: c0 to c9, d0 to d9, h0 to h9."""
    return [
        item(f"{prefix}{kind}{n}", genre, "1990", **{f"v{version}": (vector + NOISE[10 * place + n]).tolist()})
        for place, (kind, (genre, vector)) in enumerate(GROUPS.items())
        for n in range(10)
    ]


def user(*likes: tuple[str, float], name: str = "bob") -> PackedUser:
    """A user with a history of (item, rating)."""
    ids = [item_id for item_id, _ in likes]
    return PackedUser(name, ids, [rating for _, rating in likes], list(range(1, len(ids) + 1)))


@pytest.fixture
def with_index() -> bool:
    return True


@pytest.fixture
def cinema(ranking: Ranking, store: MemoryFeatures) -> Ranking:
    """Ranking with thirty films in cache and index, and bob, who likes comedies and hates horror."""
    store.put(*films())
    store.put_user(user(("h0", 1), ("c0", 5), ("c1", 4)))
    ranking.holds(30)
    wait_until(lambda: ranking.metric("loreline_ranking_indexed_items", scenario="movies", model_version="1") == 30)
    return ranking


def ids(found: Recommended) -> set[str]:
    return set(found.ranked.item_ids)


def test_the_nearest_to_what_was_liked_last_are_ranked(cinema: Ranking) -> None:
    """Comedies for who likes comedies, in the order of their scores, without those seen."""
    found = cinema.client.recommend("bob", "movies", 5, candidates=8)
    assert ids(found) <= {f"c{n}" for n in range(2, 10)}
    assert len(found.ranked.item_ids) == 5
    assert (found.query, found.ranked_candidates) == ("HISTORY", 8)
    assert found.found >= 8
    ranked = cinema.client.rank("bob", "movies", [f"c{n}" for n in range(2, 10)])
    assert found.ranked.item_ids == ranked.item_ids[:5]
    np.testing.assert_allclose(found.ranked.scores, ranked.scores[:5])
    assert found.ranked.unknown_item_ids == []


def test_each_of_several_tastes_is_searched_for(cinema: Ranking, store: MemoryFeatures) -> None:
    """One search a liked item: the newest taste does not crowd out the one before."""
    store.put_user(user(("d0", 5), ("c0", 5), name="cleo"))
    found = cinema.client.recommend("cleo", "movies", 10, candidates=10)
    assert {item_id[0] for item_id in ids(found)} == {"c", "d"}


def test_an_interaction_without_a_rating_counts_as_liked(cinema: Ranking, store: MemoryFeatures) -> None:
    """Many logs have none."""
    store.put_user(user(("d0", 0), name="dan"))
    assert {item_id[0] for item_id in ids(cinema.client.recommend("dan", "movies", 5, candidates=5))} == {"d"}


def test_what_was_seen_can_be_left_in(cinema: Ranking) -> None:
    """Left out by default."""
    found = cinema.client.recommend("bob", "movies", 10, candidates=10, include_seen=True)
    assert {"c0", "c1"} <= ids(found)


def test_filters_hold_together_and_the_search_widens_for_them(cinema: Ranking) -> None:
    """The nearest ten are comedies, and none of them passes; the list is full all the same."""
    found = cinema.client.recommend("bob", "movies", 5, candidates=5, filters={"genre": ["Drama", "Horror"]})
    assert len(found.ranked.item_ids) == 5
    assert {item_id[0] for item_id in ids(found)} <= {"d", "h"}
    nothing = cinema.client.recommend("bob", "movies", 5, filters={"genre": ["Drama"], "decade": ["1980"]})
    assert (nothing.ranked.item_ids, nothing.ranked_candidates) == ([], 0)


def test_a_user_without_a_history_is_given_popular_and_new_items(cinema: Ranking, store: MemoryFeatures) -> None:
    """What others liked, and what came last, items without vectors included."""
    store.put(item("premiere", "Drama", "1980"))
    cinema.holds(31)
    cinema.client.recommend("bob", "movies", 1)
    wait_until(lambda: "premiere" in ids(cinema.client.recommend("new", "movies", 3, candidates=3)))
    found = cinema.client.recommend("new", "movies", 3, candidates=3)
    assert found.query == "POPULAR"
    assert {"premiere"} < ids(found)
    assert ids(found) & {"c0", "c1"}
    assert found.ranked.user_route == "COLD_START"


def test_a_history_without_vectors_is_as_none(cinema: Ranking, store: MemoryFeatures) -> None:
    """Liked items of which nothing is known, or that nobody liked."""
    store.put_user(user(("gone", 5), ("c0", 1), name="eve"))
    found = cinema.client.recommend("eve", "movies", 5)
    assert (found.query, len(found.ranked.item_ids)) == ("POPULAR", 5)
    assert "c0" not in ids(found)


def test_the_index_follows_changes(cinema: Ranking, store: MemoryFeatures) -> None:
    """A new item is found when its vector is there; a deleted one is not any more."""
    store.put(item("fresh", "Comedy", "1990", v1=[1, 0, 0, 0]))
    store.remove("c5")
    wait_until(lambda: "fresh" in ids(cinema.client.recommend("bob", "movies", 9, candidates=9)))
    assert "c5" not in ids(cinema.client.recommend("bob", "movies", 30))


def test_a_promotion_leaves_no_gap(cinema: Ranking, store: MemoryFeatures, registry: ModelRegistry) -> None:
    """The next version's index is whole before the pointer flips, and each request stays with one version."""
    version = register_version(registry)
    both = {stored.item_id: stored.augmented["1"].tolist() for stored in films()}
    swapped = {"c": "d", "d": "c", "h": "h"}  # version 2 places comedies where version 1 placed dramas
    store.put(
        *[
            item(i, GROUPS[i[0]][0], "1990", v1=vector, v2=both[swapped[i[0]] + i[1:]])
            for i, vector in both.items()
        ]
    )  # fmt: skip
    size = {"scenario": "movies", "model_version": version}
    wait_until(lambda: cinema.metric("loreline_ranking_indexed_items", **size) == 30)
    assert cinema.client.recommend("bob", "movies", 3).ranked.model_version == "1"
    registry.promote(version)
    seen = set()
    while version not in seen:
        found = cinema.client.recommend("bob", "movies", 3, candidates=6)
        seen.add(found.ranked.model_version)
        assert (found.query, len(found.ranked.item_ids)) == ("HISTORY", 3)
    assert seen <= {"1", version}


def test_knowledge_can_be_switched_off_for_the_ranking(cinema: Ranking) -> None:
    """Candidates are found by it all the same."""
    found = cinema.client.recommend("bob", "movies", 5, candidates=5, use_knowledge=False)
    assert found.query == "HISTORY"
    assert not any(found.ranked.knowledge_used)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"user_id": ""}, "user_id"),
        ({"scenario": "opera"}, "scenario"),
        ({"count": 0}, "count"),
        ({"count": 1001}, "count"),
        ({"candidates": 4}, "candidates"),
        ({"candidates": 10_001}, "candidates"),
        ({"filters": [("colour", ["red"])]}, "filters[0].field"),
        ({"filters": [("genre", [])]}, "filters[0].values"),
        ({"filters": [("genre", ["a"] * 65)]}, "filters[0].values"),
        ({"filters": [("genre", ["a"])] * 17}, "filters"),
    ],
)
def test_bad_requests_are_refused_by_field(cinema: Ranking, request_: dict[str, object], field: str) -> None:
    """Each broken limit is named."""
    whole = {"user_id": "bob", "scenario": "movies", "count": 5, **request_}
    whole["filters"] = [ranking_pb2.FieldFilter(field=f, values=v) for f, v in whole.get("filters", [])]
    stub = cinema.client.stub
    with pytest.raises(InvalidArgumentError) as refused, client_errors():
        stub.Recommend(ranking_pb2.RecommendRequest(**whole), timeout=100)
    assert [name for name, _ in refused.value.violations] == [field]


class TestWithoutIndex:
    """A process that keeps none."""

    @pytest.fixture
    def with_index(self) -> bool:
        return False

    def test_the_caller_is_told_which_setting_helps(self, stocked: Ranking) -> None:
        """Rank goes on."""
        with pytest.raises(FailedPreconditionError, match="LORELINE_RANKING_INDEX=hnsw"):
            stocked.client.recommend("ann", "movies", 5)
        assert_ranked(stocked.client.rank("ann", "movies", ["i0"]), best_first(["i0"], USER))


class TestItemIndex:
    """The index alone."""

    def test_it_finds_what_a_full_comparison_finds(self) -> None:
        """At 2,000 vectors nearly all of the true nearest; states told again change nothing."""
        vectors = np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)
        index, stored = ItemIndex(), [PackedItem(f"i{n}", "movies", [], {"1": v}) for n, v in enumerate(vectors)]
        for _ in range(2):
            index.apply(stored)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        truth = np.argsort(-(unit[:20] @ unit.T), axis=1)[:, :50]
        found = index.nearest("movies", "1", vectors[:20], 50)
        shared = [len(set(ids) & {f"i{n}" for n in near}) for ids, near in zip(found, truth.tolist(), strict=True)]
        assert np.mean(shared) > 48
        assert index.sizes() == {("movies", "1"): 2000}

    def test_an_item_is_found_where_it_is_now(self) -> None:
        """A new vector, another scenario, no vector any more, a direction of none at all."""
        index, near = ItemIndex(), np.array([[1, 0]], dtype=np.float32)

        def state(scenario: str, **vectors: list[float]) -> PackedItem:
            return PackedItem("a", scenario, [], {v: np.array(x, dtype=np.float32) for v, x in vectors.items()})

        index.apply([state("movies", one=[1, 0]), PackedItem("b", "movies", [], {"one": near[0] * 0 + [-1, 0.1]})])
        index.apply([state("movies", one=[-1, 0])])
        assert index.nearest("movies", "one", near, 1) == [["b"]]
        index.apply([state("books", one=[1, 0])])
        assert (index.nearest("movies", "one", near, 5), index.nearest("books", "one", near, 5)) == ([["b"]], [["a"]])
        index.apply([state("books", one=[0, 0])])
        assert index.nearest("books", "one", near, 5) == [[]]
        assert index.newest("books", 5) == ["a"]
        index.apply([PackedItem("a", "", [], deleted=True)])
        assert index.newest("books", 5) == []

    def test_a_version_that_no_item_has_any_more_is_dropped(self) -> None:
        """Two versions stand side by side for as long as packed features hold both."""
        index = ItemIndex()
        for version in ("1", "2", "3"):
            index.apply([item(f"i{n}", **{f"v{version}": [n + 1, 1, 1, 1]}) for n in range(5)])
        assert index.sizes() == {("movies", "3"): 5}


class TestPopularity:
    """Counts of likes."""

    def test_each_user_counts_once(self) -> None:
        """Who comes back counts by what is liked now."""
        counted = Popularity()
        for _ in range(5):
            counted.note("movies", "ann", ["a", "b"])
        counted.note("movies", "bob", ["b"])
        counted.note("books", "bob", ["novel"])
        assert counted.most("movies", 5) == ["b", "a"]
        counted.note("movies", "ann", ["c"])
        assert set(counted.most("movies", 5)) == {"b", "c"}

    def test_only_the_last_users_count(self) -> None:
        """So memory is bounded, and fashions pass."""
        counted = Popularity(users=2)
        for name, liked in (("ann", "old"), ("bob", "new"), ("cleo", "new")):
            counted.note("movies", name, [liked])
        assert counted.most("movies", 5) == ["new"]

"""Inline items, pinned versions, scores without knowledge, and what the answer says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import ITEMS, USER, VECTOR, assert_ranked, best_first, inputs_for
from memory_features import MemoryFeatures, item
from model_versions import expected_scores, field_index, register_version
from ranking_parts import Ranking

from loreline.client import FailedPreconditionError, InvalidArgumentError
from loreline.client.errors import client_errors
from loreline.domain import Item, PackedItem
from loreline.ranking.v1 import ranking_pb2
from services.model_registry import UNKNOWN, ModelRegistry
from tests.waiting import wait_until


def film(item_id: str, genre: str = "Horror", year: float = 1984) -> Item:
    """A film with its content, as a caller sends it."""
    return Item(item_id, "movies", f"Film {item_id}", {"genres": [genre], "year": year})


def test_an_item_that_is_not_stored_is_ranked_by_the_content_given(stocked: Ranking, store: MemoryFeatures) -> None:
    """Its fields count, as unknown item without knowledge; the store is asked first."""
    ranked = stocked.client.rank("ann", "movies", ["i0"], inline_items=[film("fresh")])
    inputs = inputs_for(["i0", "i1"], USER)
    inputs["item_id"][0, 1] = UNKNOWN
    inputs["item_fields"][0, 1] = [field_index("genre", "Horror"), field_index("decade", "1980")]
    scores = expected_scores(1, inputs)[0]
    assert dict(zip(ranked.item_ids, ranked.scores.tolist(), strict=True)) == pytest.approx(
        {"i0": scores[0], "fresh": scores[1]}, abs=1e-5
    )
    assert dict(zip(ranked.item_ids, ranked.knowledge_used, strict=True)) == {"i0": True, "fresh": False}
    assert ranked.unknown_item_ids == []
    assert store.reads == [["fresh"]]


def test_a_stored_item_wins_over_its_inline_content(stocked: Ranking, store: MemoryFeatures) -> None:
    """In the cache or not; with its knowledge."""
    store.put_silently(item("late", "Drama", "1990", v1=VECTOR))
    ranked = stocked.client.rank("ann", "movies", ["i1"], inline_items=[film("i0"), film("late")])
    expected = dict(best_first(["i0"], USER))
    assert ranked.scores[ranked.item_ids.index("i0")] == pytest.approx(expected["i0"], abs=1e-5)
    assert ranked.knowledge_used[ranked.item_ids.index("late")]


def test_an_inline_item_stored_for_another_scenario_stays_unknown(stocked: Ranking, store: MemoryFeatures) -> None:
    """What is stored says that the id is a book's."""
    store.put(PackedItem("novel", "books", ["Novel"]))
    stocked.holds(len(ITEMS) + 1)
    assert stocked.client.rank("ann", "movies", ["i0"], inline_items=[film("novel")]).unknown_item_ids == ["novel"]


def test_inline_items_alone_are_ranked(stocked: Ranking) -> None:
    """A caller may know its candidates by content only, words that nobody ever used included."""
    ranked = stocked.client.rank("ann", "movies", [], inline_items=[film("a"), film("b", "Opera", 2020)])
    assert sorted(ranked.item_ids) == ["a", "b"]
    assert stocked.cache.interner.find("Opera") < 0


@pytest.mark.parametrize(
    ("candidates", "inline", "field"),
    [
        (["i0"], [film("i0")], "inline_items[0].item_id"),
        (["i0"], [film("a"), film("a")], "inline_items[1].item_id"),
        (["i0"], [Item("a", "books", "A novel")], "inline_items[0].scenario"),
        (["i0"], [Item("a", "", "A film")], "inline_items[0].scenario"),
        (["i0"], [Item("a", "movies", " ")], "inline_items[0].title"),
        (["i0"], [Item("", "movies", "A film")], "inline_items[0].item_id"),
        (["i0"], [film(f"n{n}") for n in range(1001)], "inline_items"),
        ([f"i{n}" for n in range(9_999)], [film("a"), film("b")], "candidate_item_ids"),
        ([], [], "candidate_item_ids"),
    ],
)
def test_bad_inline_items_are_refused_by_field(
    stocked: Ranking, candidates: list[str], inline: list[Item], field: str
) -> None:
    """The violation names the item and its field."""
    with pytest.raises(InvalidArgumentError) as refused:
        stocked.client.rank("ann", "movies", candidates, inline_items=inline)
    assert [name for name, _ in refused.value.violations] == [field]


def test_a_loaded_version_can_be_named(stocked: Ranking, registry: ModelRegistry) -> None:
    """The version before stays loaded; the answer says that it was pinned."""
    registry.promote(register_version(registry))
    wait_until(lambda: stocked.active.current().manifest.version == "2")
    candidates = ["i0", "i1", "i4"]
    pinned = stocked.client.rank("ann", "movies", candidates, model_version="1")
    assert (pinned.model_version, pinned.assignment) == ("1", "pinned")
    assert_ranked(pinned, best_first(candidates, USER, 1))
    assigned = stocked.client.rank("ann", "movies", candidates)
    assert (assigned.model_version, assigned.assignment) == ("2", "active")


def test_a_version_that_is_not_loaded_is_answered_with_those_that_are(stocked: Ranking) -> None:
    """No other version scores in its place."""
    with pytest.raises(FailedPreconditionError, match="'7' is not loaded; loaded are: 1"):
        stocked.client.rank("ann", "movies", ["i0"], model_version="7")


def test_scores_without_knowledge_come_beside_the_scores_when_asked_for(stocked: Ranking) -> None:
    """In the order of the list, top_k included; not by default."""
    candidates = ["i0", "i1", "i2", "new"]
    ranked = stocked.client.rank("ann", "movies", candidates, explain=True, top_k=3)
    assert_ranked(ranked, best_first(candidates, USER)[:3])
    plain = dict(best_first(candidates, USER, knowledge=False))
    np.testing.assert_allclose(ranked.scores_without_knowledge, [plain[i] for i in ranked.item_ids], atol=1e-5)
    off = stocked.client.rank("ann", "movies", candidates, explain=True, use_knowledge=False)
    assert off.scores_without_knowledge.tolist() == off.scores.tolist()
    assert stocked.client.rank("ann", "movies", candidates).scores_without_knowledge.size == 0


def test_the_answer_says_which_network_ranked_and_times_stand_in_trailing_metadata(stocked: Ranking) -> None:
    """As `name=value` joined by commas."""
    stub = stocked.client.stub
    request = ranking_pb2.RankRequest(user_id="ann", scenario="movies", candidate_item_ids=["i0"])
    response, call = stub.Rank.with_call(request, timeout=100)
    assert response.scenario_route == ranking_pb2.SCENARIO_ROUTE_KNOWN
    text = dict(call.trailing_metadata())["loreline-timings-ms"]
    stages = {name: float(value) for name, value in (part.split("=") for part in text.split(","))}
    assert set(stages) == {"queue", "user_read", "item_read", "score", "total"}
    assert stages["total"] == pytest.approx(response.timings.total_ms, abs=0.001)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(10**15, 0), (-(10**15), 0), (1_700_000_000, -1), (1_700_000_000, 10**9)]
)
def test_a_moment_that_cannot_be_is_refused(stocked: Ranking, seconds: int, nanos: int) -> None:
    """It would rank as if the user had no history, or all of it, without a word."""
    request = ranking_pb2.RankRequest(user_id="ann", scenario="movies", candidate_item_ids=["i0"])
    request.context.request_time.seconds, request.context.request_time.nanos = seconds, nanos
    with pytest.raises(InvalidArgumentError) as refused, client_errors():
        stocked.client.stub.Rank(request, timeout=100)
    assert [field for field, _ in refused.value.violations] == ["context.request_time"]

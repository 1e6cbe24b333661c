"""Ranking by versions that score texts, and by students: routes, prompts, pins, refusals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from memory_features import MemoryFeatures
from model_versions import expected_logits, register_version, scorer_inputs
from ranking_parts import Ranking
from unictr_versions import domain_table, expected_scores, register_student, register_unictr

from loreline.client import FailedPreconditionError, InvalidArgumentError, RankingClient
from loreline.client.errors import DeadlineExceededError
from loreline.domain import Item, PackedItem, PackedUser
from loreline.features.v1 import features_pb2
from services.ctr.uni_ctr.prompts import PromptItem
from services.model_registry import ModelRegistry
from services.ranking.scorers import Scored
from services.scenarios import load_scenario
from tests.waiting import wait_until

FILMS = {
    "i0": ("Night Train", "Comedy", "1980"),
    "i1": ("Old Harbour", "Drama", "1990"),
    "i2": ("The Long Sea", "Horror", "2020"),
    "untitled": ("", "Drama", ""),
}
SCENARIOS = ("movies", "books")
"""Those of the small versions."""


def said(item_id: str) -> PromptItem:
    title, genre, decade = FILMS[item_id]
    return PromptItem(item_id, title, {"genre": genre, "decade": decade})


LIKED = [said("i0"), said("i2")]
"""Of the user's history: i1 was rated 1, and what is gone cannot be said."""


@pytest.fixture
def scenario_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes a scenario's file: that of the films under another name, or with another scorer."""
    folder = tmp_path / "scenarios"
    folder.mkdir()
    monkeypatch.setenv("LORELINE_SCENARIO_DIRECTORY", str(folder))
    shipped = yaml.safe_load((Path("services/scenarios") / "movies.yaml").read_text())

    def write(name: str, **changes: object) -> None:
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**shipped, "name": name, **changes}))
        load_scenario.cache_clear()

    return write


@pytest.fixture(autouse=True)
def _forget_scenarios():
    yield
    load_scenario.cache_clear()


@pytest.fixture
def texts(
    unpromoted: Ranking, store: MemoryFeatures, registry: ModelRegistry, scenario_file: Callable[..., None]
) -> Ranking:
    """Ranking with version 1, which scores texts, in a scenario of films that names it."""
    scenario_file("movies", scorer="unictr")
    register_unictr(registry, promote=True)
    store.put(*[PackedItem(i, "movies", [g, d], title=t) for i, (t, g, d) in FILMS.items()])
    store.put_user(PackedUser("ann", ["i0", "i1", "gone", "i2"], [5, 1, 4, 0], [10, 20, 30, 40]))
    unpromoted.holds(len(FILMS))
    wait_until(unpromoted.active.ready)
    return unpromoted


def assert_scores(ranked: object, candidates: list[PromptItem], scenario: str = "movies", seed: int = 1) -> None:
    """As each candidate must be scored by itself, best first."""
    history = LIKED if ranked.user_route == "KNOWN" else []
    user = "ann" if ranked.user_route == "KNOWN" else "nobody"
    scores = expected_scores(seed, SCENARIOS, scenario, user, history, candidates)
    expected = sorted(zip([item.item_id for item in candidates], scores, strict=True), key=lambda pair: -pair[1])
    assert ranked.item_ids == [item_id for item_id, _ in expected]
    np.testing.assert_allclose(ranked.scores, [score for _, score in expected], atol=1e-5)


def test_candidates_are_scored_by_what_they_and_the_liked_items_say(texts: Ranking) -> None:
    """Titles and fields of the store; the history holds what was liked and is still there, the newest two."""
    ranked = texts.client.rank("ann", "movies", [*FILMS, "nobody"])
    assert_scores(ranked, [said(item_id) for item_id in FILMS])
    assert (ranked.scenario_route, ranked.scoring_place, ranked.model_version) == ("KNOWN", "IN_PROCESS", "1")
    assert ranked.unknown_item_ids == ["nobody"]
    assert not any(ranked.knowledge_used)


def test_many_candidates_are_scored_as_alone(texts: Ranking, store: MemoryFeatures) -> None:
    """Batches are cut by length, and each score comes back to its own candidate."""
    words = ["sea " * (n % 23) + str(n) for n in range(100)]
    store.put(*[PackedItem(f"n{n}", "movies", ["Drama", "1990"], title=title) for n, title in enumerate(words)])
    texts.holds(len(FILMS) + 100)
    items = [PromptItem(f"n{n}", title, {"genre": "Drama", "decade": "1990"}) for n, title in enumerate(words)]
    assert_scores(texts.client.rank("ann", "movies", [item.item_id for item in items]), items)


def test_a_user_without_history_is_ranked(texts: Ranking) -> None:
    """And the response says so."""
    ranked = texts.client.rank("nobody", "movies", list(FILMS))
    assert ranked.user_route == "COLD_START"
    assert_scores(ranked, [said(item_id) for item_id in FILMS])


def test_a_scenario_without_a_network_is_ranked_by_the_general_one(
    texts: Ranking, store: MemoryFeatures, scenario_file: Callable[..., None]
) -> None:
    """Zero-shot, and said in the response."""
    scenario_file("opera", scorer="unictr")
    store.put(PackedItem("aida", "opera", ["Drama", "1870"], title="Aida"))
    texts.holds(len(FILMS) + 1)
    ranked = texts.client.rank("ann", "opera", ["aida", "i0"])
    assert (ranked.scenario_route, ranked.unknown_item_ids) == ("GENERAL", ["i0"])
    aida = PromptItem("aida", "Aida", {"genre": "Drama", "decade": "1870"})
    assert_scores(ranked, [aida], "opera")


def test_a_scenario_that_nobody_configured_is_ranked_by_what_is_given_inline(texts: Ranking) -> None:
    """Attributes that the prompts know by name are told; the general network scores."""
    items = [
        Item("aida", "opera", "Aida", {"genre": ["Drama", "Love"], "decade": 1870.0, "length": 150.0}),
        Item("carmen", "opera", "Carmen", {"genre": "Drama"}),
    ]
    ranked = texts.client.rank("ann", "opera", [], inline_items=items)
    assert ranked.scenario_route == "GENERAL"
    told = [
        PromptItem("aida", "Aida", {"genre": "Drama, Love", "decade": "1870"}),
        PromptItem("carmen", "Carmen", {"genre": "Drama"}),
    ]
    assert_scores(ranked, told, "opera")
    counted = texts.metric("loreline_ranking_routed_requests_total", kind="unictr", route="general")
    assert counted == 1


def test_inline_items_of_a_configured_scenario_are_told_by_its_fields(texts: Ranking) -> None:
    """As they would be if they were stored; a stored item's own content wins."""
    items = [
        Item("late", "movies", "Late Train", {"genres": ["Comedy"], "year": 1987.0}),
        Item("i0", "movies", "Another", {}),
    ]
    ranked = texts.client.rank("ann", "movies", ["i1"], inline_items=items)
    late = PromptItem("late", "Late Train", {"genre": "Comedy", "decade": "1980"})
    assert_scores(ranked, [said("i1"), late, said("i0")])


def test_knowledge_changes_nothing(texts: Ranking) -> None:
    """Asked for or not, with an explanation or not: no stored knowledge is read."""
    with_knowledge = texts.client.rank("ann", "movies", list(FILMS), explain=True)
    without = texts.client.rank("ann", "movies", list(FILMS), use_knowledge=False)
    np.testing.assert_array_equal(with_knowledge.scores, without.scores)
    np.testing.assert_array_equal(with_knowledge.scores_without_knowledge, with_knowledge.scores)


def test_the_scenario_says_which_kind_ranks_it(
    texts: Ranking, store: MemoryFeatures, registry: ModelRegistry, scenario_file: Callable[..., None]
) -> None:
    """Versions of several kinds are active at once; one that is named ranks whatever the scenario says."""
    kar, student = register_version(registry, promote=True), register_student(registry, promote=True)
    wait_until(lambda: {kar, student} <= texts.active.roles().keys())
    by_kind = {"unictr": "1", "kar": kar, "unictr-student": student}
    for kind, version in by_kind.items():
        scenario_file("movies", scorer=kind)
        assert texts.client.rank("ann", "movies", ["i0"]).model_version == version
    for version in by_kind.values():
        pinned = texts.client.rank("ann", "movies", ["i0"], model_version=version)
        assert (pinned.model_version, pinned.assignment) == (version, "pinned")
    assert texts.metric("loreline_ranking_model_info", model_version="1", role="active", kind="unictr") == 1


def test_a_kind_of_which_nothing_is_active_is_named(texts: Ranking, scenario_file: Callable[..., None]) -> None:
    """With what to do."""
    scenario_file("movies", scorer="unictr-student")
    with pytest.raises(FailedPreconditionError, match="of kind unictr-student, which ranks the scenario: train one"):
        texts.client.rank("ann", "movies", ["i0"])


def test_a_canary_of_a_kind_ranks_its_share(texts: Ranking, registry: ModelRegistry) -> None:
    """As with every kind; a rollback brings the one before back."""
    second = register_unictr(registry)
    registry.direct(registry.traffic("unictr").with_candidate("canary", second, 1.0), "unictr")
    wait_until(lambda: texts.active.roles().get(second) == "canary")
    ranked = texts.client.rank("ann", "movies", list(FILMS))
    assert (ranked.model_version, ranked.assignment) == (second, "canary")
    assert_scores(ranked, [said(item_id) for item_id in FILMS], seed=2)


def test_a_version_that_lacks_a_file_is_not_loaded_and_the_one_before_serves_on(
    texts: Ranking, registry: ModelRegistry
) -> None:
    """It is shown as failing."""
    broken = register_unictr(registry)
    (registry.folder(broken) / "network-books.onnx").unlink()
    registry.promote(broken)
    wait_until(lambda: texts.active.failing() == [broken])
    assert texts.client.rank("ann", "movies", ["i0"]).model_version == "1"
    assert texts.active.ready()


def test_a_kind_that_fails_takes_nothing_from_the_others(
    ranking: Ranking, store: MemoryFeatures, registry: ModelRegistry
) -> None:
    """A process that ranks by kar stays ready when a version of another kind cannot be loaded."""
    broken = register_unictr(registry)
    (registry.folder(broken) / "tokenizer.json").write_text("{}")
    registry.promote(broken)
    wait_until(lambda: ranking.active.failing() == [broken])
    assert ranking.active.ready()


def test_a_deadline_ends_a_list_between_two_batches(texts: Ranking) -> None:
    """Not after all of its candidates."""
    network, batches = texts.active.current("unictr").networks["movies"], []
    score = network.score

    def for_all_that_is_left(inputs: Mapping[str, np.ndarray], seconds_left: float) -> Scored:
        batches.append(len(inputs["input_ids"]))
        time.sleep(seconds_left)
        return score(inputs, None)

    network.score = for_all_that_is_left
    items = [Item(f"n{n}", "movies", f"Film {n}", {}) for n in range(320)]
    with RankingClient(texts.address, timeout_seconds=4) as hasty, pytest.raises(DeadlineExceededError):
        hasty.rank("ann", "movies", [], inline_items=items)
    wait_until(lambda: texts.metric("loreline_ranking_requests_total", outcome="deadline_exceeded") == 1)
    assert len(batches) == 1


def test_explain_tells_one_score_four_times(texts: Ranking, store: MemoryFeatures) -> None:
    """There is no knowledge to take away."""
    film = {"item_id": "i0", "scenario": "movies", "title": "Night Train"}
    store.described_items["i0"] = features_pb2.DescribeItemResponse(item=film)
    explained = texts.client.explain("ann", "movies", "i0")
    [score] = expected_scores(1, SCENARIOS, "movies", "ann", LIKED, [said("i0")])
    assert explained.score == pytest.approx(score, abs=1e-5)
    assert explained.score_without_knowledge == explained.score_without_item_knowledge == explained.score
    assert (explained.scenario_route, explained.item_experts) == ("KNOWN", {})


def test_a_scenario_whose_name_leaves_no_room_is_refused_by_field(texts: Ranking) -> None:
    """Rather than ranked by half a prompt."""
    words = "".join(chr(0x4E00 + n) for n in range(42))
    items = [Item("x" * 128, words, "t" * 512, {})]
    texts.active.current("unictr").encoder.max_tokens = 60
    with pytest.raises(InvalidArgumentError) as refused:
        texts.client.rank("ann", words, [], inline_items=items)
    assert [field for field, _ in refused.value.violations] == ["scenario"]


class TestStudent:
    """A version that scores stored features, and is told the scenario."""

    @pytest.fixture
    def student(
        self, unpromoted: Ranking, store: MemoryFeatures, registry: ModelRegistry, scenario_file: Callable[..., None]
    ) -> Ranking:
        """Ranking with a student, version 1, in all scenarios."""
        for name in ("movies", "books", "opera"):
            scenario_file(name, scorer="unictr-student")
            store.put(PackedItem(f"{name} i1", name, ["Drama", "1990"]))
        register_student(registry, promote=True)
        unpromoted.holds(3)
        wait_until(unpromoted.active.ready)
        return unpromoted

    @pytest.mark.parametrize(
        ("scenario", "domain", "route"), [("movies", 0, "KNOWN"), ("books", 1, "KNOWN"), ("opera", -1, "GENERAL")]
    )
    def test_the_scenario_is_an_input(self, student: Ranking, scenario: str, domain: int, route: str) -> None:
        """Its place among the trained ones, or that it is none of them."""
        ranked = student.client.rank("nobody", scenario, [f"{scenario} i1"])
        assert ranked.scenario_route == route
        logit = expected_logits(1, self._inputs())[0, 0] + domain_table(1, 2)[domain + 1]
        assert ranked.scores[0] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)

    def test_the_history_is_what_was_liked(self, student: Ranking, store: MemoryFeatures) -> None:
        """As the student was trained: an interaction that was not liked changes nothing."""
        store.put_user(PackedUser("ann", ["movies i1", "books i1"], [5, 1], [10, 20]))
        store.put_user(PackedUser("bob", ["movies i1"], [5], [10]))
        one, other = (student.client.rank(user, "movies", ["movies i1"]) for user in ("ann", "bob"))
        np.testing.assert_array_equal(one.scores, other.scores)
        assert one.scores[0] != student.client.rank("nobody", "movies", ["movies i1"]).scores[0]

    def _inputs(self) -> dict[str, np.ndarray]:
        """Of an item that training never saw, Drama of the 1990s, without knowledge, for a user without history."""
        inputs = {name: np.zeros_like(values) for name, values in scorer_inputs(1).items()}
        return inputs | {"item_id": np.array([[1]]), "item_fields": np.array([[[3, 3]]])}


class TestRecommend:
    """Texts have no vectors to find candidates by."""

    @pytest.fixture
    def with_index(self) -> bool:
        return True

    def test_candidates_are_found_by_another_kind_s_vectors(
        self, texts: Ranking, store: MemoryFeatures, registry: ModelRegistry
    ) -> None:
        """And ranked by the scenario's own; without such a version the call is refused with what to do."""
        with pytest.raises(FailedPreconditionError, match="has no vectors to find candidates by: promote a version"):
            texts.client.recommend("ann", "movies", 2)
        kar = register_version(registry, promote=True)
        vectors = {kar: np.ones(4, dtype=np.float32)}
        store.put(*[PackedItem(i, "movies", [g, d], vectors, title=t) for i, (t, g, d) in FILMS.items()])
        wait_until(lambda: texts.metric("loreline_ranking_indexed_items", scenario="movies", model_version=kar) == 4)
        wait_until(lambda: kar in texts.active.roles())
        found = texts.client.recommend("ann", "movies", 2)
        assert found.query == "HISTORY"
        assert (found.ranked.model_version, found.ranked.item_ids[0] in FILMS) == ("1", True)

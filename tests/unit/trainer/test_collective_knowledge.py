"""Groups of subjects, the questions asked about them, and vectors mixed of group and content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from loreline.client import Answer, Encoded, Failure
from loreline.domain import Cluster, HistoryEntry, Item, Knowledge, Provenance, UserHistory
from services.trainer.knowledge.bulk import KnowledgeMissing, collective_knowledge
from services.trainer.knowledge.collective import (
    MAX_CLUSTER_ENTRIES,
    KnowledgeConfig,
    central_members,
    cluster,
    item_clusters,
    mix,
    user_clusters,
    user_content,
)

WIDTH = 8


def blobs(groups: int, each: int, seed: int = 0) -> np.ndarray:
    """So many well separated groups of unit vectors, one after the other."""
    random = np.random.default_rng(seed)
    rows = np.eye(WIDTH)[np.repeat(np.arange(groups), each)] + random.normal(0, 0.02, (groups * each, WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def film(number: int) -> Item:
    return Item(f"i{number}", "movies", f"Film {number}", {"genres": [f"Genre {number // 10}"]})


def test_clusters_are_the_groups_that_are_there() -> None:
    """Well separated groups are found whole."""
    assignment, centres = cluster(blobs(4, 30), 4, 7)
    assert centres.shape == (4, WIDTH)
    assert [len(set(assignment[start : start + 30])) for start in range(0, 120, 30)] == [1] * 4
    assert len(set(assignment)) == 4


def test_the_same_seed_gives_the_same_clusters() -> None:
    """Bit for bit."""
    vectors = np.random.default_rng(1).normal(size=(500, WIDTH)).astype(np.float32)
    first, second = (cluster(vectors, 20, 5) for _ in range(2))
    assert (first[0] == second[0]).all()
    assert (first[1] == second[1]).all()


@hypothesis_settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 6))
def test_every_cluster_has_a_member_and_every_subject_a_cluster(rows: int, count: int, different: int) -> None:
    """Also where vectors are equal or fewer than the clusters asked for."""
    vectors = (
        np.random.default_rng(rows).normal(size=(different, WIDTH)).astype(np.float32)[np.arange(rows) % different]
    )
    assignment, centres = cluster(vectors, count, 0)
    assert assignment.shape == (rows,)
    assert set(assignment.tolist()) == set(range(len(centres)))
    assert len(centres) <= min(count, different, rows)


@pytest.mark.parametrize(("rows", "count"), [(0, 3), (5, 0)])
def test_nothing_cannot_be_clustered(rows: int, count: int) -> None:
    """Said with both numbers."""
    with pytest.raises(ValueError, match=f"got {rows} and {count}"):
        cluster(np.zeros((rows, WIDTH), dtype=np.float32), count, 0)


def test_mixing_goes_from_content_to_cluster() -> None:
    """Weight 0 is content alone, 1 the cluster alone, between them both; always of unit length."""
    content, centre = np.eye(3, dtype=np.float32)[:2], np.eye(3, dtype=np.float32)[2:]
    assignment = np.zeros(2, dtype=np.int64)
    assert np.allclose(mix(content, centre, assignment, 0.0), content)
    assert np.allclose(mix(content, centre, assignment, 1.0), centre[assignment])
    half = mix(content, centre, assignment, 0.5)
    assert half.dtype == np.float32
    assert np.allclose(half, (content + centre) / np.sqrt(2))


def test_vectors_that_cancel_out_leave_the_content() -> None:
    """Never a vector of zeros or NaN."""
    content = np.array([[1.0, 0.0]], dtype=np.float32)
    assert (mix(content, -content, np.array([0]), 0.5) == content).all()


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_is_a_share(weight: float) -> None:
    """0 to 1."""
    with pytest.raises(ValueError, match="weight: must be 0 to 1"):
        mix(np.ones((1, 2)), np.ones((1, 2)), np.array([0]), weight)


def test_central_members_are_the_nearest_of_their_own_cluster() -> None:
    """Nearest first, no more than the limit."""
    vectors = np.array([[0, 0], [3, 0], [1, 0], [10, 0], [11, 0]], dtype=np.float32)
    centres = np.array([[0.9, 0], [10.4, 0]], dtype=np.float32)
    members = central_members(vectors, centres, np.array([0, 0, 0, 1, 1]), 2)
    assert [rows.tolist() for rows in members] == [[2, 0], [3, 4]]


def test_user_content_leans_to_what_was_rated_well() -> None:
    """Ratings are weights, counted from the scale's minimum; an unrated item weighs least."""
    vectors = dict(zip(("i0", "i1"), np.eye(2, dtype=np.float32), strict=True))
    histories = [
        UserHistory("a", [HistoryEntry(film(0), 5.0), HistoryEntry(film(1), 1.0)]),
        UserHistory("b", [HistoryEntry(film(0), None), HistoryEntry(film(1), 1.0)]),
    ]
    content = user_content(histories, vectors, 1.0)
    assert np.allclose(content[0], np.array([5, 1]) / np.sqrt(26))
    assert np.allclose(content[1], np.array([1, 1]) / np.sqrt(2))


def test_a_user_cluster_tells_what_its_central_users_rated_most() -> None:
    """Often rated first, each with the mean; bounded."""
    first = UserHistory("a", [HistoryEntry(film(1), 5.0), HistoryEntry(film(2), None)])
    second = UserHistory("b", [HistoryEntry(film(2), None), HistoryEntry(film(1), 4.0), HistoryEntry(film(3), 1.0)])
    far = UserHistory("c", [HistoryEntry(film(9), 5.0)])
    made = user_clusters([first, second, far], [np.array([0, 1])], "run")[0]
    assert [(entry.item.item_id, entry.rating) for entry in made.entries] == [("i1", 4.5), ("i2", None), ("i3", 1.0)]
    long = UserHistory("d", [HistoryEntry(film(n), 3.0) for n in range(100)])
    assert len(user_clusters([long], [np.array([0])], "run")[0].entries) == MAX_CLUSTER_ENTRIES


def test_an_item_cluster_tells_its_central_items() -> None:
    """Without ratings, under an id that says which of how many."""
    made = item_clusters([film(n) for n in range(4)], [np.array([2, 0]), np.array([3])], "run")
    assert [cluster.cluster_id for cluster in made] == ["run-item-1-of-2", "run-item-2-of-2"]
    assert [(entry.item.item_id, entry.rating) for entry in made[0].entries] == [("i2", None), ("i0", None)]


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"cluster_weight": 1.5}, {"mode": "both"}, {"groups": 3}])
def test_a_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    """By pydantic, with the field's name."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        KnowledgeConfig.model_validate(wrong)


class Asked:
    """Answers every question with its own words, and records what it was asked."""

    def __init__(self, failing: str = "") -> None:
        self.catalogue: list[str] = []
        self.clusters: list[Cluster] = []
        self._failing = failing

    def generate_for_items(self, scenario: str, items: Sequence[Item], provider: str) -> Iterator[Answer]:
        """Content: the item's genre."""
        assert provider == "catalogue"
        self.catalogue += [item.item_id for item in items]
        for item in reversed(items):
            yield Answer(item.item_id, self._knowledge(str(item.attributes["genres"]), provider), None, False)

    def generate_for_clusters(self, scenario: str, clusters: Sequence[Cluster], provider: str) -> Iterator[Answer]:
        """One text a cluster."""
        self.clusters += clusters
        for group in reversed(clusters):
            if self._failing in {entry.item.item_id for entry in group.entries}:
                yield Answer(group.cluster_id, None, Failure("UNAVAILABLE", "gone"), False)
            else:
                yield Answer(group.cluster_id, self._knowledge(f"About {group.cluster_id}", provider), None, False)

    def _knowledge(self, text: str, provider: str) -> Knowledge:
        return Knowledge(
            text, Provenance("k", provider, "m", "movies", 1, (), 0, 0, "stop", datetime(2026, 1, 1, tzinfo=UTC), "{}")
        )


class Words:
    """Encodes a text as a random direction that depends on its words alone."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Unit vectors."""
        rows = np.stack([np.random.default_rng(list(text.encode())).normal(size=WIDTH) for text in texts])
        return Encoded((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), "words", 0)


def users() -> list[UserHistory]:
    """Six users of two tastes."""
    return [
        UserHistory(f"u{n}", [HistoryEntry(film(m), 5.0) for m in range(n % 2 * 10, n % 2 * 10 + 5)]) for n in range(6)
    ]


def build(asked: Asked, **values: object) -> tuple[object, list[int]]:
    config = KnowledgeConfig.model_validate({"mode": "collective", "clusters": 3} | values)
    done: list[int] = []
    items = [film(n) for n in range(30)]
    made = collective_knowledge(items, users(), asked, Words(), done.append, config, "tgi")  # type: ignore[arg-type]
    return made, done


def test_collective_mode_asks_once_a_cluster_and_leaves_nobody_out() -> None:
    """Three genres and two tastes: five questions for 36 subjects; every text and provenance is the cluster's."""
    asked = Asked()
    made, done = build(asked)
    assert (made.llm_calls, made.llm_calls_saved) == (5, 31)
    assert len(asked.clusters) == 5
    assert sum(done) == 30 + 5
    assert sorted(row.subject_id for row in made.items) == sorted(f"i{n}" for n in range(30))
    assert [row.subject_id for row in made.users] == [f"u{n}" for n in range(6)]
    for row in [*made.items, *made.users]:
        source = row.knowledge.provenance
        assert row.knowledge.text == f"About {source.cluster}"
        assert (source.provider, source.cluster_weight, row.encoder) == ("tgi", 0.5, "words")
        assert np.linalg.norm(row.vector) == pytest.approx(1.0, abs=1e-5)


def test_members_of_a_cluster_are_asked_about_in_its_question() -> None:
    """Items of one genre, and users of one taste, get the text that was made of them."""
    asked = Asked()
    made, _ = build(asked)
    told = {
        group.cluster_id: {entry.item.attributes["genres"][0] for entry in group.entries} for group in asked.clusters
    }
    for row in made.items:
        assert told[row.knowledge.provenance.cluster] == {f"Genre {int(row.subject_id[1:]) // 10}"}
    for row in made.users:
        assert told[row.knowledge.provenance.cluster] == {f"Genre {int(row.subject_id[1:]) % 2}"}


def test_vectors_hold_cluster_and_content() -> None:
    """By the weight: 0 is the content's vector, 1 the cluster text's."""
    content = {row.subject_id: row.vector for row in build(Asked(), cluster_weight=0.0)[0].items}
    whole = build(Asked(), cluster_weight=1.0)[0].items
    half = build(Asked(), cluster_weight=0.5)[0].items
    for pure, mixed in zip(whole, half, strict=True):
        assert np.allclose(pure.vector, Words().encode([pure.knowledge.text]).vectors[0], atol=1e-5)
        expected = pure.vector + content[pure.subject_id]
        assert np.allclose(mixed.vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_cluster_without_an_answer_ends_the_build() -> None:
    """Nobody is left without knowledge in silence."""
    with pytest.raises(KnowledgeMissing, match="gone"):
        build(Asked(failing="i7"))

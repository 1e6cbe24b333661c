"""Several answers to one event: the one that was written last stays. Items and users alike, over SQLite and Redis."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest

from loreline.domain import KnowledgeVectors
from tests.unit.features.conftest import Features
from tests.unit.features.feature_samples import augment, film, stamp, vectors

FIRST = vectors(0.1, text="First.", written=1)


class Subject:
    """An item or a user that has content, and whose knowledge answers the event e1 at noon."""

    def __init__(self, features: Features, kind: Literal["item", "user"]) -> None:
        self._client, self._kind = features.client, kind
        self._client.put_contents([(stamp("e1"), film("s"))])

    def put(self, answer: KnowledgeVectors) -> str:
        """Store an answer; what came of it."""
        if self._kind == "user":
            return self._client.put_user_knowledge("s", stamp("e1"), answer)
        return self._client.put_knowledge([(stamp("e1"), "s", answer)])[0]

    def adapt(self, version: str) -> None:
        """Store an augmented vector of a version, as a promotion does."""
        augment(self._client, self._kind, version, "s")

    def text(self) -> str:
        """The stored text."""
        kind, client = self._kind, self._client
        described = client.describe_item("s") if kind == "item" else client.describe_user("s")
        assert described.knowledge is not None
        return described.knowledge.text

    def augmented(self) -> dict[str, npt.NDArray[np.float32]]:
        """The vectors that ranking reads."""
        if self._kind == "item":
            return self._client.items(["s"]).items[0].augmented
        return self._client.user("s").user.augmented


@pytest.fixture(params=["item", "user"])
def subject(request: pytest.FixtureRequest, features: Features) -> Subject:
    """One of each kind."""
    return Subject(features, request.param)


def test_a_later_answer_replaces_text_and_vectors(subject: Subject) -> None:
    """As a rebuild under a new prompt writes it; the old version's vectors go with the old text."""
    subject.put(FIRST)
    subject.adapt("0")
    assert subject.put(vectors(0.2, text="Second.", written=2)) == "APPLIED"
    assert subject.text() == "Second."
    np.testing.assert_array_equal(subject.augmented()["1"], np.full(4, 0.2, dtype=np.float32))
    assert list(subject.augmented()) == ["1"]


def test_an_earlier_answer_is_stale(subject: Subject) -> None:
    """A worker that was slow must not undo a rebuild."""
    subject.put(vectors(0.2, text="Second.", written=2))
    assert subject.put(FIRST) == "STALE"
    assert subject.text() == "Second."


def test_the_same_answer_again_is_a_duplicate(subject: Subject) -> None:
    """With the same vectors, or with none for any version."""
    assert [subject.put(FIRST), subject.put(FIRST)] == ["APPLIED", "DUPLICATE"]
    assert subject.put(replace(FIRST, model_version="", augmented=None)) == "DUPLICATE"
    assert list(subject.augmented()) == ["1"]


def test_two_answers_of_one_moment_end_the_same_in_either_order(subject: Subject) -> None:
    """The larger key stays."""
    assert subject.put(vectors(text="Zweite.", written=1)) == "APPLIED"
    assert subject.put(FIRST) == "STALE"
    assert subject.text() == "Zweite."


def test_the_same_answer_of_another_encoder_replaces_all_vectors(subject: Subject) -> None:
    """Vectors of two encoders have nothing to do with each other."""
    subject.put(FIRST)
    other = vectors(0.9, version="2", text="First.", encoder="bge", written=1)
    assert [subject.put(other), subject.put(other)] == ["APPLIED", "DUPLICATE"]
    assert list(subject.augmented()) == ["2"]


def test_the_same_answer_of_another_version_comes_beside_the_one_before(subject: Subject) -> None:
    """The version before may still be served."""
    subject.put(FIRST)
    adapted = vectors(0.9, version="2", text="First.", written=1)
    assert [subject.put(adapted), subject.put(adapted)] == ["APPLIED", "DUPLICATE"]
    assert list(subject.augmented()) == ["1", "2"]


def test_the_same_answer_gains_its_first_version(subject: Subject) -> None:
    """Knowledge that was stored before any promotion."""
    subject.put(replace(FIRST, model_version="", augmented=None))
    assert subject.put(FIRST) == "APPLIED"
    assert list(subject.augmented()) == ["1"]

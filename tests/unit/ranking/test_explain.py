"""Rules of Explain, over real gRPC, with real scorers and the real adapter of the embedding service."""

from __future__ import annotations

import numpy as np
import pytest
from catalogue import ITEMS, USER, inputs_for
from memory_features import MemoryFeatures
from model_versions import KNOWLEDGE, add_gates, expected_scores, gate, register_version
from ranking_parts import Ranking

from loreline.client import EmbeddingClient, InvalidArgumentError, NotFoundError, ServiceUnavailableError
from loreline.client.messages import history_message, item_message, knowledge_message, vector_bytes
from loreline.domain import Item, PackedItem, UserHistory
from loreline.features.v1 import features_pb2
from services.model_registry import ModelRegistry
from tests.knowledge_samples import sample_knowledge
from tests.waiting import wait_until

ENCODER = "test-encoder"
ITEM_VECTOR = np.linspace(-1, 1, KNOWLEDGE, dtype=np.float32)
USER_VECTOR = np.linspace(1, 0, KNOWLEDGE, dtype=np.float32)
FILM = Item("i0", "movies", "Lift", {"genres": ["Comedy"]})
ITEM_KNOWLEDGE, USER_KNOWLEDGE = sample_knowledge("A film for patient viewers."), sample_knowledge("Likes slow films.")


def describe(store: MemoryFeatures, encoder: str = ENCODER, item: Item = FILM) -> None:
    """Let the features service know the film, and ann's preferences."""
    store.described_items[item.item_id] = features_pb2.DescribeItemResponse(
        item=item_message(item),
        knowledge=knowledge_message(ITEM_KNOWLEDGE),
        encoder=encoder,
        vector=vector_bytes(ITEM_VECTOR),
    )
    store.described_users["ann"] = features_pb2.DescribeUserResponse(
        user=history_message(UserHistory("ann", [])),
        knowledge=knowledge_message(USER_KNOWLEDGE),
        encoder=encoder,
        vector=vector_bytes(USER_VECTOR),
    )


def softmax(values: np.ndarray) -> np.ndarray:
    return np.exp(values) / np.exp(values).sum()


def test_knowledge_comes_with_its_provenance(stocked: Ranking, store: MemoryFeatures) -> None:
    """Texts as they are stored, of the item and of the user."""
    describe(store)
    explained = stocked.client.explain("ann", "movies", "i0")
    assert explained.item == FILM
    assert (explained.item_knowledge, explained.user_knowledge) == (ITEM_KNOWLEDGE, USER_KNOWLEDGE)
    assert (explained.model_version, explained.user_route, explained.scenario_route) == ("1", "KNOWN", "KNOWN")


def test_scores_are_told_with_knowledge_removed(stocked: Ranking, store: MemoryFeatures) -> None:
    """All of it, the item's, the user's; the first is the score that Rank gives."""
    describe(store)
    explained = stocked.client.explain("ann", "movies", "i0")
    whole = inputs_for(["i0"], USER)
    nothing = {name: np.zeros_like(whole[name]) for name in ("item_augmented", "user_augmented")}
    expected = {
        "score": whole,
        "score_without_knowledge": whole | nothing,
        "score_without_item_knowledge": whole | {"item_augmented": nothing["item_augmented"]},
        "score_without_user_knowledge": whole | {"user_augmented": nothing["user_augmented"]},
    }
    for name, inputs in expected.items():
        assert getattr(explained, name) == pytest.approx(expected_scores(1, inputs)[0, 0], abs=1e-5), name
    assert explained.score == pytest.approx(stocked.client.rank("ann", "movies", ["i0"]).scores[0])


def test_the_experts_of_both_sides_are_told(stocked: Ranking, store: MemoryFeatures, registry: ModelRegistry) -> None:
    """By name, as the served version's gate weighs them."""
    describe(store)
    version = register_version(registry)
    add_gates(registry, version)
    registry.promote(version)
    wait_until(lambda: stocked.active.current().manifest.version == version)
    explained = stocked.client.explain("ann", "movies", "i0")
    assert list(explained.item_experts) == ["shared-1", "item-1", "item-2"]
    assert list(explained.user_experts) == ["shared-1", "user-1", "user-2"]
    np.testing.assert_allclose(list(explained.item_experts.values()), softmax(ITEM_VECTOR @ gate("item")), atol=1e-5)
    np.testing.assert_allclose(list(explained.user_experts.values()), softmax(USER_VECTOR @ gate("user")), atol=1e-5)


def test_a_version_that_cannot_say_tells_no_experts(stocked: Ranking, store: MemoryFeatures) -> None:
    """Versions of before there were such outputs go on to serve; everything else is explained."""
    describe(store)
    explained = stocked.client.explain("ann", "movies", "i0")
    assert (explained.item_experts, explained.user_experts) == ({}, {})


def test_vectors_of_another_encoder_tell_no_experts(
    stocked: Ranking, store: MemoryFeatures, registry: ModelRegistry
) -> None:
    """The served vectors were made from them before the encoder changed, or were never made."""
    describe(store, encoder="another")
    add_gates(registry, "1")
    assert stocked.client.explain("ann", "movies", "i0").item_experts == {}


def test_a_user_of_whom_nothing_is_stored_is_explained_as_a_cold_start(stocked: Ranking, store: MemoryFeatures) -> None:
    """The item's side stays."""
    describe(store)
    explained = stocked.client.explain("nobody", "movies", "i0")
    assert (explained.user_route, explained.user_knowledge, explained.user_experts) == ("COLD_START", None, {})
    assert explained.item_knowledge == ITEM_KNOWLEDGE


def test_an_item_that_is_not_stored_is_not_found(stocked: Ranking, store: MemoryFeatures) -> None:
    """Nor is one that is stored for another scenario."""
    with pytest.raises(NotFoundError, match="item 'no' does not exist"):
        stocked.client.explain("ann", "movies", "no")
    describe(store, item=Item("novel", "books", "A novel"))
    store.put(PackedItem("novel", "books", ["Novel"]))
    stocked.holds(len(ITEMS) + 1)
    with pytest.raises(NotFoundError, match="movies item 'novel' does not exist"):
        stocked.client.explain("ann", "movies", "novel")


def test_bad_requests_are_refused_by_field(stocked: Ranking) -> None:
    """All that is wrong is named at once."""
    with pytest.raises(InvalidArgumentError) as refused:
        stocked.client.explain("", "opera", "")
    assert [field for field, _ in refused.value.violations] == ["user_id", "scenario", "item_id"]


def test_an_embedding_service_that_is_gone_is_named(
    stocked: Ranking, store: MemoryFeatures, embedding_client: EmbeddingClient
) -> None:
    """An explanation without its experts would look like that of a version that cannot say."""
    describe(store)
    embedding_client.close()
    embedding_client.__init__("127.0.0.1:1", timeout_seconds=0.3)
    with pytest.raises(ServiceUnavailableError, match="embedding does not answer"):
        stocked.client.explain("ann", "movies", "i0")

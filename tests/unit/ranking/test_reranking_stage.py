"""Rules of the re-ranking stage, over real gRPC with real networks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from catalogue import ITEMS_BY_ID, USER, assert_ranked, best_first, inputs_for
from model_versions import expected_scores, register_version
from ranking_parts import Ranking

from services.model_registry import ModelRegistry, NoSuchVersion
from services.model_registry.rerankers import RERANKER_FILE, RerankerManifest, RerankerRegistry
from services.ranking.reranking import Reranking
from tests.waiting import wait_until

CANDIDATES, TOP, SEED = list(ITEMS_BY_ID), 3, 77


def register_reranker(registry: ModelRegistry, base: str = "1", seed: int = SEED) -> str:
    """A re-ranker that orders as the scorer made with `seed` would, bound to a version."""
    with tempfile.TemporaryDirectory() as scratch:
        other = ModelRegistry(Path(scratch))
        version = register_version(other, seed=seed)
        files = Path(tempfile.mkdtemp(dir=registry.root))
        shutil.copy(other.folder(version) / "scorer.onnx", files / RERANKER_FILE)
    rerankers = RerankerRegistry(registry.root)
    manifest = RerankerManifest(
        number=rerankers.next_number(),
        base_version=base,
        scenario="movies",
        reranker="linear",
        created_time=datetime.now(UTC),
        metrics={"map@5": 0.5},
        data_hash="0" * 64,
        file_hashes={},
    )
    rerankers.register(manifest, files)
    return manifest.number


@pytest.fixture
def reranking(registry: ModelRegistry) -> Iterator[Reranking]:
    reranking = Reranking(registry.root, TOP, poll_seconds=0.02)
    yield reranking
    reranking.stop()


@pytest.fixture
def staged(stocked: Ranking, reranking: Reranking, registry: ModelRegistry) -> Ranking:
    """Ranking with a re-ranker of the active version."""
    RerankerRegistry(registry.root).promote(register_reranker(registry))
    reranking.start()
    stocked.ranker._reranker = reranking
    return stocked


def reranked(first: list[str], knowledge: bool = True) -> list[str]:
    """The order that the re-ranker gives to the first places."""
    scores = expected_scores(SEED, inputs_for(first, USER, knowledge=knowledge))[0]
    return [first[place] for place in np.argsort(-scores, kind="stable")]


@pytest.mark.parametrize("knowledge", [True, False])
def test_the_first_places_are_put_in_the_rerankers_order(staged: Ranking, knowledge: bool) -> None:
    """The rest stays; each score is still the model version's own."""
    scored = best_first(CANDIDATES, USER, knowledge=knowledge)
    ranked = staged.client.rank("ann", "movies", CANDIDATES, use_knowledge=knowledge, explain=True)
    ids = [item_id for item_id, _ in scored]
    assert ranked.item_ids == [*reranked(ids[:TOP], knowledge), *ids[TOP:]]
    assert ranked.reranked == TOP
    assert ranked.timings_ms["rerank"] > 0
    plain = dict(best_first(CANDIDATES, USER, knowledge=False))
    for item_id, score, without in zip(ranked.item_ids, ranked.scores, ranked.scores_without_knowledge, strict=True):
        assert score == pytest.approx(dict(scored)[item_id], abs=1e-5)
        assert without == pytest.approx(plain[item_id], abs=1e-5)


def test_fewer_places_than_are_reranked_may_be_asked_for(staged: Ranking) -> None:
    """The best of the re-ranked ones; a single candidate is in order already."""
    ids = [item_id for item_id, _ in best_first(CANDIDATES, USER)]
    ranked = staged.client.rank("ann", "movies", CANDIDATES, top_k=2)
    assert (ranked.item_ids, ranked.reranked) == (reranked(ids[:TOP])[:2], 2)
    assert staged.client.rank("ann", "movies", ["i0"]).reranked == 0
    assert staged.client.rank("ann", "movies", ["no"]).item_ids == []


def test_a_reranker_of_another_version_is_passed_over(staged: Ranking, registry: ModelRegistry) -> None:
    """Its inputs are not those of the version that ranks now."""
    registry.promote(register_version(registry))
    wait_until(lambda: staged.active.current().manifest.version == "2")
    ranked = staged.client.rank("ann", "movies", CANDIDATES)
    assert_ranked(ranked, best_first(CANDIDATES, USER, 2, version="2"))
    assert ranked.reranked == 0
    pinned = staged.client.rank("ann", "movies", CANDIDATES, model_version="1")
    assert pinned.reranked == TOP


def test_the_pointer_is_followed(staged: Ranking, registry: ModelRegistry) -> None:
    """To the next one, and to none."""
    RerankerRegistry(registry.root).promote(None)
    wait_until(lambda: staged.client.rank("ann", "movies", CANDIDATES).reranked == 0)
    assert_ranked(staged.client.rank("ann", "movies", CANDIDATES), best_first(CANDIDATES, USER))
    RerankerRegistry(registry.root).promote(register_reranker(registry, seed=1))
    wait_until(lambda: staged.client.rank("ann", "movies", CANDIDATES).reranked == TOP)
    assert_ranked(staged.client.rank("ann", "movies", CANDIDATES), best_first(CANDIDATES, USER))


def test_one_that_cannot_be_loaded_leaves_lists_as_scored(staged: Ranking, registry: ModelRegistry) -> None:
    """Ranking goes on without it."""
    rerankers = RerankerRegistry(registry.root)
    broken = register_reranker(registry)
    (rerankers.folder(broken) / RERANKER_FILE).write_bytes(b"cut")
    rerankers.promote(broken)
    wait_until(lambda: staged.client.rank("ann", "movies", CANDIDATES).reranked == 0)
    assert_ranked(staged.client.rank("ann", "movies", CANDIDATES), best_first(CANDIDATES, USER))


def test_an_unknown_reranker_is_not_promoted(registry: ModelRegistry) -> None:
    """The message names those there are."""
    register_version(registry)
    register_reranker(registry)
    with pytest.raises(NoSuchVersion, match="no re-ranker '7'; there are: 1"):
        RerankerRegistry(registry.root).promote("7")
    assert RerankerRegistry(registry.root).active() is None

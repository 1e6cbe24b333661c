"""Canary, shadow and knowledge experiment as a caller of ranking sees them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from catalogue import ITEMS, ITEMS_BY_ID, USER, assert_ranked, best_first
from memory_features import MemoryFeatures
from model_versions import register_version
from ranking_parts import Ranking

from loreline.client import FailedPreconditionError
from loreline.domain import PackedUser
from services.model_registry import ModelRegistry, Traffic
from services.ranking.active_model import Assigned
from services.ranking.agreement import agreement, spearman
from services.ranking.queries import RankedList, RankQuery
from services.ranking.shadow import Shadow
from tests.waiting import wait_until

CANDIDATES = list(ITEMS_BY_ID)
USERS = [f"user-{number}" for number in range(60)]


def direct(ranking: Ranking, registry: ModelRegistry, traffic: Traffic) -> None:
    """Write the pointer, and wait until ranking has followed it."""
    registry.direct(traffic)
    wait_until(lambda: ranking.active.traffic() == traffic)


@pytest.fixture
def second(registry: ModelRegistry, stocked: Ranking, store: MemoryFeatures) -> str:
    """A second version, for which some items and the user have vectors."""
    store.put_user(dataclasses.replace(USER, augmented=USER.augmented | {"2": np.ones(4, dtype=np.float32)}))
    return register_version(registry)


def test_a_canary_ranks_its_share_of_the_users_and_no_others(
    stocked: Ranking, registry: ModelRegistry, second: str
) -> None:
    """Each user as the pure function says, each time, with the version's own scores."""
    traffic = registry.traffic().with_candidate("canary", second, 0.3)
    direct(stocked, registry, traffic)
    assert traffic.canary is not None
    for _ in range(2):
        for user in USERS:
            ranked = stocked.client.rank(user, "movies", CANDIDATES)
            expected = ("canary", "2") if traffic.canary.holds(user) else ("active", "1")
            assert (ranked.assignment, ranked.model_version) == expected
            assert_ranked(ranked, best_first(CANDIDATES, PackedUser(user), int(expected[1]), version=expected[1]))
    assert stocked.metric(
        "loreline_ranking_assigned_requests_total", assignment="canary", model_version="2"
    ) == 2 * sum(traffic.canary.holds(user) for user in USERS)


def test_everybody_goes_back_to_the_active_version(stocked: Ranking, registry: ModelRegistry, second: str) -> None:
    """When the canary is stopped; it can then no longer be named."""
    direct(stocked, registry, registry.traffic().with_candidate("canary", second, 1.0))
    assert stocked.client.rank("ann", "movies", CANDIDATES).model_version == "2"
    direct(stocked, registry, registry.traffic().without_candidate())
    assert stocked.client.rank("ann", "movies", CANDIDATES).model_version == "1"
    with pytest.raises(FailedPreconditionError, match="'2' is not loaded; loaded are: 1"):
        stocked.client.rank("ann", "movies", CANDIDATES, model_version="2")


def test_a_canary_that_cannot_be_loaded_leaves_everybody_on_the_active_version(
    stocked: Ranking, registry: ModelRegistry, second: str
) -> None:
    """It takes its users once it is whole."""
    scorer = registry.folder(second) / "scorer.onnx"
    whole = scorer.read_bytes()
    scorer.write_bytes(whole[:100])
    registry.direct(registry.traffic().with_candidate("canary", second, 1.0))
    wait_until(lambda: stocked.active.failing() == [second])
    assert stocked.metric("loreline_ranking_model_info", model_version=second, role="failing", kind="") == 1
    ranked = stocked.client.rank("ann", "movies", CANDIDATES)
    assert (ranked.model_version, ranked.assignment) == ("1", "active")
    scorer.write_bytes(whole)
    wait_until(lambda: stocked.client.rank("ann", "movies", CANDIDATES).assignment == "canary")
    assert stocked.metric("loreline_ranking_model_info", model_version=second, role="canary", kind="kar") == 1


def test_a_promotion_is_followed_while_a_canary_cannot_be_loaded(
    stocked: Ranking, registry: ModelRegistry, second: str
) -> None:
    """The pauses of the one do not hold up the other."""
    broken = register_version(registry)
    (registry.folder(broken) / "scorer.onnx").write_bytes(b"broken")
    registry.direct(registry.traffic().with_candidate("canary", broken, 1.0))
    wait_until(lambda: stocked.active.failing() == [broken])
    registry.promote(second)
    wait_until(lambda: stocked.active.current().manifest.version == second)
    assert stocked.active.failing() == []


def test_a_share_without_knowledge_gets_the_scores_without_it(stocked: Ranking, registry: ModelRegistry) -> None:
    """Sticky by user, and the response says so."""
    traffic = registry.traffic().with_knowledge_off(0.5)
    direct(stocked, registry, traffic)
    assert traffic.knowledge_off is not None
    for user in USERS:
        off = traffic.knowledge_off.holds(user)
        ranked = stocked.client.rank(user, "movies", CANDIDATES)
        assert ranked.assignment == ("knowledge-off" if off else "active")
        assert any(ranked.knowledge_used) != off
        assert_ranked(ranked, best_first(CANDIDATES, PackedUser(user), knowledge=not off))


def test_a_shadow_scores_unseen_and_is_compared(stocked: Ranking, registry: ModelRegistry, second: str) -> None:
    """The response is the active version's; agreement, drift and latency are told."""
    direct(stocked, registry, registry.traffic().with_candidate("shadow", second, 1.0))
    for _ in range(3):
        ranked = stocked.client.rank("ann", "movies", CANDIDATES, top_k=4)
        assert (ranked.model_version, ranked.assignment) == ("1", "active")
    wait_until(lambda: stocked.metric("loreline_ranking_shadow_requests_total", outcome="compared") == 3)
    one = best_first(CANDIDATES, USER)
    user = dataclasses.replace(USER, augmented={"2": np.ones(4, dtype=np.float32)})
    other = dict(best_first(CANDIDATES, user, 2, version="2"))
    difference = np.mean([other[item_id] - score for item_id, score in one[:4]])
    assert stocked.metric("loreline_ranking_shadow_score_difference_sum") == pytest.approx(3 * difference, abs=1e-4)
    shadowed = {"assignment": "shadow", "model_version": "2"}
    assert stocked.metric("loreline_ranking_scores_count", **shadowed) == 3 * len(ITEMS)
    assert stocked.metric("loreline_ranking_request_seconds_count", **shadowed) == 3


def test_a_named_version_is_ranked_with_and_never_shadowed(
    stocked: Ranking, registry: ModelRegistry, second: str
) -> None:
    """Who names a version wants that one alone."""
    direct(stocked, registry, registry.traffic().with_candidate("shadow", second, 1.0))
    ranked = stocked.client.rank("ann", "movies", CANDIDATES, model_version=second)
    assert (ranked.model_version, ranked.assignment) == ("2", "pinned")
    assert stocked.metric("loreline_ranking_shadow_requests_total", outcome="compared") == 0


class Counted:
    """Remembers what a shadow came to."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def compared(self, *_: object) -> None:
        self.outcomes.append("compared")

    def shadow_lost(self, outcome: str) -> None:
        self.outcomes.append(outcome)


def test_a_shadow_that_is_too_slow_drops_and_a_failing_one_goes_on(stocked: Ranking) -> None:
    """The queue is bounded, and nobody waits for it."""
    counted = Counted()
    shadow = Shadow(counted, capacity=2)
    query = RankQuery(user_id="ann", scenario="movies", candidate_item_ids=CANDIDATES)
    served = stocked.ranker.rank(query)
    assigned = Assigned(stocked.active.current(), "active", shadow="1")
    for _ in range(5):
        shadow.ranked(query, assigned, served)
    assert counted.outcomes == ["dropped"] * 3
    answers = iter([ValueError("nonsense"), served])

    def rank(_: RankQuery) -> RankedList:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shadow.start(rank)
    wait_until(lambda: len(counted.outcomes) == 5)
    assert counted.outcomes[3:] == ["failed", "compared"]
    shadow.stop()


class TestAgreement:
    """The figures themselves, on lists worked out by hand."""

    def test_equal_lists_agree_wholly(self) -> None:
        """Correlation and overlap 1, no difference."""
        scores = np.array([0.9, 0.5, 0.1], dtype=np.float32)
        found = agreement(["a", "b", "c"], scores, ["a", "b", "c"], scores)
        assert found is not None
        assert (found.rank_correlation, found.top_overlap, found.score_difference) == (pytest.approx(1), 1, 0)

    def test_a_reversed_order_correlates_negatively(self) -> None:
        """Whatever the scores are."""
        one, other = np.array([0.9, 0.5, 0.1], dtype=np.float32), np.array([0.3, 0.2, 0.1], dtype=np.float32)
        found = agreement(["a", "b", "c"], one, ["c", "b", "a"], other)
        assert found is not None
        assert found.rank_correlation == pytest.approx(-1)
        assert found.score_difference == pytest.approx(-0.3)

    def test_only_items_of_both_count(self) -> None:
        """A cut list is compared where it can be."""
        one = np.array([0.9, 0.5], dtype=np.float32)
        other = np.array([0.8, 0.7, 0.4], dtype=np.float32)
        found = agreement(["a", "b"], one, ["x", "a", "b"], other)
        assert found is not None
        assert found.top_overlap == 0.5
        assert found.score_difference == pytest.approx(-0.15)
        assert agreement(["a"], one[:1], ["x"], other[:1]) is None

    def test_ties_share_their_rank(self) -> None:
        """Worked out by hand: ranks 1.5, 1.5, 3 against 1, 2, 3."""
        tied = spearman(np.array([1, 1, 2], dtype=np.float32), np.array([1, 2, 3], dtype=np.float32))
        assert tied == pytest.approx(1.5 / np.sqrt(1.5 * 2))
        assert spearman(np.ones(3, dtype=np.float32), np.array([1, 2, 3], dtype=np.float32)) == 0.0

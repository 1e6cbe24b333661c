"""Balancing, falling back and joining, over scorers that are told how to fail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from model_versions import expected_scores, scorer_inputs

from services.ranking.scorers import Scored, ScorerInputs
from services.ranking.scorers.balanced import BalancedScorer
from services.ranking.scorers.fallback import FallbackScorer
from services.ranking.scorers.joined import JoinedScorer
from services.runtime.backoff import Backoff
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError
from tests.waiting import wait_until


class Endpoint:
    """Scores right, unless it is told what to raise; `gate` holds its answers back while it is clear."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[int, ...]] = []
        self.timeouts: list[float | None] = []
        self.gate = threading.Event()
        self.gate.set()

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        self.asked.append(inputs["item_id"].shape)
        self.timeouts.append(timeout_seconds)
        assert self.gate.wait(100)
        if self.error:
            raise self.error
        if int(inputs["item_id"].max()) > 1000:
            raise PlatformError("INVALID_ARGUMENT")
        return Scored(expected_scores(1, inputs), "TRITON")

    def ready(self) -> bool:
        return self.error is None


AWAY = DependencyUnavailable("triton", "away")
LATE = DeadlineExceeded("late")


@pytest.fixture
def endpoints() -> dict[str, Endpoint]:
    return {"a": Endpoint(), "b": Endpoint()}


@pytest.fixture
def balanced(endpoints: dict[str, Endpoint]) -> BalancedScorer:
    return BalancedScorer(endpoints, Backoff(0.02, 0.05))


class TestBalancing:
    """Several endpoints of one version."""

    def test_the_endpoint_with_fewest_requests_under_way_is_asked(
        self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]
    ) -> None:
        """Half of the requests at once go to each."""
        for endpoint in endpoints.values():
            endpoint.gate.clear()
        with ThreadPoolExecutor(8) as pool:
            for _ in range(8):
                asked = sum(len(endpoint.asked) for endpoint in endpoints.values())
                pool.submit(balanced.score, scorer_inputs(3))
                wait_until(lambda seen=asked: sum(len(e.asked) for e in endpoints.values()) == seen + 1)
            for endpoint in endpoints.values():
                endpoint.gate.set()
        assert [len(endpoint.asked) for endpoint in endpoints.values()] == [4, 4]

    def test_a_failed_request_is_tried_once_on_another(
        self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]
    ) -> None:
        """The caller does not notice, and the endpoint is left alone until it is back."""
        endpoints["a"].error = AWAY
        for _ in range(20):
            np.testing.assert_allclose(
                balanced.score(scorer_inputs(3)).values, expected_scores(1, scorer_inputs(3)), atol=1e-6
            )
        assert len(endpoints["a"].asked) == 1
        assert balanced.healthy() == ["b"]
        endpoints["a"].error = None
        wait_until(lambda: balanced.healthy() == ["a", "b"])

    def test_when_none_is_healthy_the_caller_is_told_at_once(
        self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]
    ) -> None:
        """Without asking any of them again."""
        for endpoint in endpoints.values():
            endpoint.error = AWAY
        for _ in range(3):
            with pytest.raises(DependencyUnavailable):
                balanced.score(scorer_inputs(3))
        assert [len(endpoint.asked) for endpoint in endpoints.values()] == [1, 1]
        assert not balanced.ready()

    def test_the_first_try_leaves_time_for_a_second(
        self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]
    ) -> None:
        """Half of it, while another endpoint is healthy."""
        endpoints["a"].error = endpoints["b"].error = LATE
        with pytest.raises(DeadlineExceeded):
            balanced.score(scorer_inputs(3), timeout_seconds=2)
        timeouts = sorted(timeout for endpoint in endpoints.values() for timeout in endpoint.timeouts)
        assert timeouts[0] == 1
        assert 1 < timeouts[1] <= 2

    def test_only_timeouts_in_a_row_count_as_a_failure(
        self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]
    ) -> None:
        """One may be the caller's, who gave too little time."""
        endpoints["a"].error = LATE
        wait_until(lambda: bool(balanced.score(scorer_inputs(3))) and balanced.healthy() == ["b"])
        assert len(endpoints["a"].asked) == 3

    def test_a_refused_request_is_refused(self, balanced: BalancedScorer, endpoints: dict[str, Endpoint]) -> None:
        """Another endpoint would not like it better, and both stay healthy."""
        inputs = scorer_inputs(3)
        inputs["item_id"] = inputs["item_id"] + 10_000
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            balanced.score(inputs)
        assert sum(len(endpoint.asked) for endpoint in endpoints.values()) == 1
        assert balanced.healthy() == ["a", "b"]


class TestFallback:
    """Triton first, this process second."""

    @pytest.mark.parametrize("error", [AWAY, LATE])
    def test_this_process_scores_and_says_so(self, error: Exception) -> None:
        """When Triton does not answer, or not in time."""
        first, second = Endpoint(), Endpoint()
        scorer = FallbackScorer(first, second)
        assert scorer.score(scorer_inputs(3)).place == "TRITON"
        first.error = error
        scored = scorer.score(scorer_inputs(3), timeout_seconds=10)
        assert scored.place == "FALLBACK"
        np.testing.assert_allclose(scored.values, expected_scores(1, scorer_inputs(3)), atol=1e-6)
        assert first.timeouts[-1] == pytest.approx(7)
        assert scorer.ready()

    def test_what_triton_refuses_is_refused(self) -> None:
        """The fault is in the request then."""
        first, second = Endpoint(), Endpoint()
        first.error = PlatformError("INVALID_ARGUMENT")
        with pytest.raises(PlatformError, match="INVALID_ARGUMENT"):
            FallbackScorer(first, second).score(scorer_inputs(3))
        assert second.asked == []


class TestJoining:
    """Small requests that come together."""

    def test_a_request_alone_is_sent_at_once_and_others_join(self) -> None:
        """While the first is under way; each gets its own scores."""
        endpoint = Endpoint()
        endpoint.gate.clear()
        scorer = JoinedScorer(endpoint, window_seconds=0.2)
        asked = [scorer_inputs(3, seed=seed) for seed in range(6)] + [scorer_inputs(4, seed=9)]
        with ThreadPoolExecutor(len(asked)) as pool:
            first = pool.submit(scorer.score, asked[0])
            wait_until(lambda: endpoint.asked == [(1, 3)])
            others = [pool.submit(scorer.score, inputs) for inputs in asked[1:]]
            wait_until(lambda: len(endpoint.asked) == 3)
            endpoint.gate.set()
            found = [future.result().values for future in [first, *others]]
        assert sorted(endpoint.asked) == [(1, 3), (1, 4), (5, 3)]
        for scores, inputs in zip(found, asked, strict=True):
            np.testing.assert_allclose(scores, expected_scores(1, inputs), atol=1e-6)

    def test_one_that_spoils_the_others_fails_alone(self) -> None:
        """The others are scored by themselves."""
        endpoint = Endpoint()
        endpoint.gate.clear()
        scorer = JoinedScorer(endpoint, window_seconds=0.1)
        asked = [scorer_inputs(3, seed=seed) for seed in range(4)]
        asked[2]["item_id"] = asked[2]["item_id"] + 10_000
        with ThreadPoolExecutor(len(asked)) as pool:
            futures = [pool.submit(scorer.score, asked[0])]
            wait_until(lambda: len(endpoint.asked) == 1)
            futures += [pool.submit(scorer.score, inputs) for inputs in asked[1:]]
            wait_until(lambda: len(endpoint.asked) == 2)
            endpoint.gate.set()
            refused = [number for number, future in enumerate(futures) if future.exception()]
        assert refused == [2]

    def test_a_joined_request_ends_at_its_own_deadline(self) -> None:
        """Though the one it joined has more time."""
        endpoint = Endpoint()
        endpoint.gate.clear()
        scorer = JoinedScorer(endpoint, window_seconds=0.3)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(scorer.score, scorer_inputs(3))
            wait_until(lambda: len(endpoint.asked) == 1)
            patient = pool.submit(scorer.score, scorer_inputs(3), 30)
            time.sleep(0.05)
            hurried = pool.submit(scorer.score, scorer_inputs(3), 0.01)
            assert isinstance(hurried.exception(), DeadlineExceeded)
            endpoint.gate.set()
            assert patient.result().values.shape == (1, 3)

"""`loreline models compare` over metrics as ranking serves them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from prometheus_client import start_http_server

from services.cli.local_processes import free_port
from services.cli.models.comparison import compare, read_metrics, stability_index
from services.cli.output import NotReady
from services.ranking.active_model import Assigned
from services.ranking.agreement import Agreement
from services.ranking.metrics import RankingMetrics
from services.ranking.queries import RankedList, RankQuery

QUERY = RankQuery(user_id="u", scenario="movies", candidate_item_ids=["a"])


def ranked(version: str, scores: np.ndarray, milliseconds: float) -> RankedList:
    return RankedList(
        item_ids=[str(n) for n in range(len(scores))],
        scores=scores.astype(np.float32),
        knowledge_used=np.ones(len(scores), dtype=bool),
        unknown_item_ids=[],
        model_version=version,
        assignment="",
        scenario_route="KNOWN",
        cold_start=False,
        timings_ms={"total": milliseconds},
    )


@pytest.fixture
def metrics() -> RankingMetrics:
    """Twenty lists of the active version, ten of a canary that scores higher and slower, ten without knowledge."""
    metrics, random = RankingMetrics(), np.random.default_rng(0)
    for number in range(40):
        reason, version, shift, milliseconds = (
            ("canary", "2", 0.3, 40) if number % 4 == 0 else
            ("knowledge-off", "1", 0.0, 4) if number % 4 == 1 else ("active", "1", 0.0, 4)
        )  # fmt: skip
        scores = np.clip(random.beta(2, 5, 200) + shift, 0, 1)
        metrics.ranked(QUERY, Assigned(None, reason), ranked(version, scores, milliseconds))
    return metrics


@pytest.fixture
def address(metrics: RankingMetrics) -> Iterator[str]:
    port = free_port(0)
    server, thread = start_http_server(port, "127.0.0.1", metrics.registry)
    yield f"127.0.0.1:{port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_each_assignment_stands_beside_the_active_version(address: str) -> None:
    """Counts, mean scores, latency and drift; the canary drifts, the experiment does not."""
    active, canary, off = compare(read_metrics([address])).groups
    assert (active.assignment, active.requests, active.compared_with) == ("active", 20, "")
    assert (canary.assignment, canary.model_version, canary.requests) == ("canary", "2", 10)
    assert (off.assignment, off.compared_with) == ("knowledge-off", "active 1")
    assert canary.mean_difference == pytest.approx(0.3, abs=0.02)
    assert canary.drift is not None
    assert canary.drift > 0.25
    assert off.drift is not None
    assert off.drift < 0.1
    assert active.p50_ms is not None
    assert canary.p50_ms is not None
    assert 3 <= active.p50_ms <= 5
    assert 25 <= canary.p50_ms <= 50


def test_several_processes_are_added_up(address: str) -> None:
    """As many as serve behind one address."""
    assert compare(read_metrics([address, address])).groups[0].requests == 40


def test_the_shadow_is_compared_on_the_same_requests(metrics: RankingMetrics, address: str) -> None:
    """With what was served for them, not with everything else."""
    served, shadow = ranked("1", np.full(50, 0.2), 4), ranked("3", np.full(50, 0.25), 8)
    metrics.compared(served, shadow, Agreement(0.5, 0.7, 0.05))
    metrics.compared(served, shadow, Agreement(0.7, 0.9, 0.05))
    metrics.shadow_lost("dropped")
    found = compare(read_metrics([address]))
    assert (found.shadow.compared, found.shadow.dropped, found.shadow.failed) == (2, 1, 0)
    assert found.shadow.rank_correlation == pytest.approx(0.6)
    assert found.shadow.top_overlap == pytest.approx(0.8)
    assert found.shadow.score_difference == pytest.approx(0.05)
    group = next(group for group in found.groups if group.assignment == "shadow")
    assert group.compared_with == "shadowed 1"
    assert group.mean_difference == pytest.approx(0.05)


def test_a_process_that_does_not_answer_is_named() -> None:
    """With the setting that says where it serves."""
    with pytest.raises(NotReady, match=r"127\.0\.0\.1:1 .*LORELINE_RANKING_METRICS_ADDRESS"):
        read_metrics(["127.0.0.1:1"])


def test_nothing_ranked_is_an_empty_comparison() -> None:
    """Not an error: the process has just started."""
    assert compare({}).groups == []


def test_the_stability_index_is_that_of_its_definition() -> None:
    """Worked out by hand for two bins; symmetric, 0 for equal shares, none without counts."""
    one, other = {0.5: 50.0, 1.0: 50.0}, {0.5: 80.0, 1.0: 20.0}
    expected = (0.8 - 0.5) * np.log(0.8 / 0.5) + (0.2 - 0.5) * np.log(0.2 / 0.5)
    assert stability_index(one, other) == pytest.approx(expected)
    assert stability_index(other, one) == pytest.approx(expected)
    assert stability_index(one, {0.5: 5.0, 1.0: 5.0}) == pytest.approx(0)
    assert stability_index(one, {}) is None

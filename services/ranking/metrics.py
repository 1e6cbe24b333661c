"""What ranking tells Prometheus. Every name is here; docs/operating.md says what each means and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.ranking.active_model import ActiveModel, Assigned
from services.ranking.agreement import Agreement
from services.ranking.item_cache import ItemCache
from services.ranking.queries import RankedList, RankQuery
from services.ranking.score_distribution import ScoreDistribution
from services.runtime.admission import Admission
from services.runtime.errors import PlatformError

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
PARTS = tuple(n / 20 for n in range(1, 20))


class RankingMetrics:
    """The process' metrics in a registry of their own. `assignment` is that of the response, or shadow."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_assignment = ["assignment", "model_version"]
        self.requests = Counter(
            "loreline_ranking_requests", "Lists asked for, by what came of them.", ["outcome"], registry=self.registry
        )
        self.assigned = Counter(
            "loreline_ranking_assigned_requests", "Lists ranked.", by_assignment, registry=self.registry
        )
        self.request_seconds = Histogram(
            "loreline_ranking_request_seconds", "Time to rank a list, waiting included.", by_assignment,
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.stage_seconds = Histogram(
            "loreline_ranking_stage_seconds", "Time in each stage.", ["stage"], buckets=SECONDS, registry=self.registry
        )
        self.scored = Counter(
            "loreline_ranking_scored_requests", "Lists by where they were scored.", ["place"], registry=self.registry
        )
        self.routed = Counter(
            "loreline_ranking_routed_requests", "Lists by kind of version, and by its network for the scenario.",
            ["kind", "route"], registry=self.registry,
        )  # fmt: skip
        self.kind_seconds = Histogram(
            "loreline_ranking_kind_score_seconds", "Time to score a list, by kind of version.", ["kind"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.cut_candidates = Counter(
            "loreline_ranking_cut_candidates", "Candidates that lost words to fit a prompt.", registry=self.registry
        )
        self.scores = ScoreDistribution("loreline_ranking_scores", "Scores given.")
        self.registry.register(self.scores)
        self.shed = Counter(
            "loreline_ranking_shed_requests", "Requests refused before any work.", ["reason"], registry=self.registry
        )
        self.cache_reads = Counter(
            "loreline_ranking_cache_reads", "Items looked for in the cache.", ["outcome"], registry=self.registry
        )
        self.direct_reads = Counter(
            "loreline_ranking_direct_reads", "Reads from Redis, or why they went through features.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.shadow_requests = Counter(
            "loreline_ranking_shadow_requests", "Requests given to the shadow, by what came of them.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.shadow_correlation = Histogram(
            "loreline_ranking_shadow_rank_correlation", "Spearman's correlation of both orders.",
            buckets=(0, *PARTS), registry=self.registry,
        )  # fmt: skip
        self.shadow_overlap = Histogram(
            "loreline_ranking_shadow_top_overlap", "Share of the first ten that both have.",
            buckets=PARTS, registry=self.registry,
        )  # fmt: skip
        self.shadow_difference = Summary(
            "loreline_ranking_shadow_score_difference", "The shadow's mean score minus the active version's.",
            registry=self.registry,
        )  # fmt: skip

    def ranked(self, _query: RankQuery, assigned: Assigned, ranked: RankedList) -> None:
        """Count a list that was ranked."""
        self.requests.labels("ok").inc()
        self.scored.labels(ranked.scoring_place.lower() or "nowhere").inc()
        self.routed.labels(ranked.scorer_kind, ranked.scenario_route.lower()).inc()
        self.kind_seconds.labels(ranked.scorer_kind).observe(ranked.timings_ms.get("score", 0.0) / 1000)
        self._assigned(assigned.reason, ranked)
        for stage, milliseconds in ranked.timings_ms.items():
            if stage != "total":
                self.stage_seconds.labels(stage).observe(milliseconds / 1000)

    def failed(self, error: Exception) -> None:
        """Count a list that was not."""
        self.requests.labels((error.status if isinstance(error, PlatformError) else "INTERNAL").lower()).inc()

    def compared(self, served: RankedList, shadow: RankedList, found: Agreement | None) -> None:
        """Count what a shadow made of a request beside what was served."""
        self._assigned("shadow", shadow)
        self.scores.observe("shadowed", served.model_version, served.scores)
        if found:
            self.shadow_correlation.observe(found.rank_correlation)
            self.shadow_overlap.observe(found.top_overlap)
            self.shadow_difference.observe(found.score_difference)
        self.shadow_requests.labels("compared").inc()

    def shadow_lost(self, outcome: str) -> None:
        """Count a request that the shadow did not score: dropped or failed."""
        self.shadow_requests.labels(outcome).inc()

    def cache_read(self, hits: int, misses: int) -> None:
        """Count items looked for in the cache."""
        self.cache_reads.labels("hit").inc(hits)
        self.cache_reads.labels("miss").inc(misses)

    def direct_read(self, outcome: str) -> None:
        """Count a read: direct, or why it was not: unavailable, layout, paused."""
        self.direct_reads.labels(outcome).inc()

    def refused(self, reason: str) -> None:
        """Count a request that admission refused: queue, deadline or waited."""
        self.shed.labels(reason).inc()

    def language_model_refused(self, reason: str) -> None:
        """Count a list that the admission of language models refused: queue, deadline or waited."""
        self.shed.labels(f"language_model_{reason}").inc()

    def follow(self, models: ActiveModel, cache: ItemCache, admission: Admission) -> None:
        """Tell, whenever asked, the versions' roles, the cache's size and losses, and who works and waits."""
        self.registry.register(_Models(models))
        for name, documentation, value in (
            ("cached_items", "Items in the cache.", lambda: len(cache)),
            ("evicted_items", "Items put out of the cache so far.", lambda: cache.evicted),
            ("waiting_requests", "Requests that wait for a turn.", lambda: admission.waiting),
            ("running_requests", "Requests worked on.", lambda: admission.running),
        ):
            Gauge(f"loreline_ranking_{name}", documentation, registry=self.registry).set_function(value)

    def follow_index(self, sizes: Callable[[], dict[tuple[str, str], int]]) -> None:
        """Tell, whenever asked, how many vectors the index holds by scenario and model version."""
        self.registry.register(_Index(sizes))

    def _assigned(self, assignment: str, ranked: RankedList) -> None:
        labels = (assignment, ranked.model_version)
        self.assigned.labels(*labels).inc()
        self.request_seconds.labels(*labels).observe(ranked.timings_ms["total"] / 1000)
        self.scores.observe(*labels, ranked.scores)


class _Models(Collector):
    """Which versions are loaded in which role. A gauge with labels of its own would keep those that are gone."""

    def __init__(self, models: ActiveModel) -> None:
        self._models = models

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus reads."""
        family = GaugeMetricFamily(
            "loreline_ranking_model_info", "Model versions by role.", labels=["model_version", "role", "kind"]
        )
        kinds = self._models.kinds()
        for version, role in {**self._models.roles(), **dict.fromkeys(self._models.failing(), "failing")}.items():
            family.add_metric([version, role, kinds.get(version, "")], 1.0)
        yield family


class _Index(Collector):
    """How many vectors there are of which version; versions come and go."""

    def __init__(self, sizes: Callable[[], dict[tuple[str, str], int]]) -> None:
        self._sizes = sizes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """What Prometheus reads."""
        labels = ["scenario", "model_version"]
        family = GaugeMetricFamily("loreline_ranking_indexed_items", "Vectors in the index.", labels=labels)
        for (scenario, version), count in self._sizes().items():
            family.add_metric([scenario, version], float(count))
        yield family

"""Explains one score: what is known and from where, how experts were mixed, and the score with knowledge removed."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from loreline.client import EmbeddingClient, FeaturesClient, ItemDescription, NotFoundError, UserDescription
from loreline.domain import check_id
from services.model_registry import Manifest
from services.ranking.asked import Asked
from services.ranking.asking import asking
from services.ranking.clock import Clock
from services.ranking.limits import check_viewer, refuse
from services.ranking.queries import ExplainQuery, Explanation
from services.ranking.ranker import Models, scenario_route
from services.ranking.request_reads import RequestReads
from services.runtime.errors import NotFound


class Explainer:
    """Explains for people, off the path of users' requests. Without `embedding` no expert weights are told."""

    def __init__(
        self, reads: RequestReads, models: Models, features: FeaturesClient, embedding: EmbeddingClient | None
    ) -> None:
        self._reads, self._models, self._features, self._embedding = reads, models, features, embedding

    def explain(self, query: ExplainQuery) -> Explanation:
        """Score the item with and without knowledge, and read what is known of it and of the user.

        A version that reads texts and no stored knowledge scores it once: all scores are the same.

        Raises InvalidRequest, NotFound (the item is not stored for the scenario), FailedPrecondition,
        DependencyUnavailable, DeadlineExceeded.
        """
        refuse([*check_viewer(query, configured=True), *check_id("item_id", query.item_id)])
        clock = Clock(query.timeout_seconds, query.queued_ms, query.is_active)
        assigned = self._models.for_request(query.user_id, query.scenario, query.model_version)
        model, known = assigned.model, assigned.use_knowledge
        route = scenario_route(model, query.scenario)
        item, described = self._describe(query, clock)
        user = self._reads.user(query.user_id, clock)
        asked = self._reads.asked(user, query, model, [query.item_id], clock)
        if not asked.item_ids:
            raise NotFound(f"{query.scenario} item", query.item_id)
        scores = _scores(asked, clock, known, model.manifest)
        return Explanation(
            item=item.item,
            score=scores[known, known],
            score_without_knowledge=scores[False, False],
            score_without_item_knowledge=scores[False, known],
            score_without_user_knowledge=scores[known, False],
            item_knowledge=item.knowledge,
            user_knowledge=described.knowledge if described else None,
            item_experts=self._experts("item", item.vector, item.encoder, model.manifest, clock),
            user_experts=(
                self._experts("user", described.vector, described.encoder, model.manifest, clock) if described else {}
            ),
            model_version=model.manifest.version,
            cold_start=asked.cold_start,
            scenario_route=route,
        )

    def _describe(self, query: ExplainQuery, clock: Clock) -> tuple[ItemDescription, UserDescription | None]:
        """What is stored of the item and, if anything is, of the user."""
        with asking(self._features, "features", clock.seconds_left()) as features:
            try:
                item = features.describe_item(query.item_id)
            except NotFoundError as error:
                raise NotFound("item", query.item_id) from error
            try:
                return item, features.describe_user(query.user_id, most_entries=1)
            except NotFoundError:
                return item, None

    def _experts(
        self,
        subject: Literal["item", "user"],
        vector: npt.NDArray[np.float32],
        encoder: str,
        manifest: Manifest,
        clock: Clock,
    ) -> dict[str, float]:
        """Weights by expert; none of a vector that another encoder made than the version's."""
        if self._embedding is None or not len(vector) or not manifest.has_adaptor or encoder != manifest.encoder:
            return {}
        with asking(self._embedding, "embedding", clock.seconds_left()) as embedding:
            return embedding.expert_weights(subject, vector, encoder, manifest.version)


def _scores(asked: Asked, clock: Clock, known: bool, manifest: Manifest) -> dict[tuple[bool, bool], float]:
    """Scores by whether the item's and the user's knowledge take part; `known` False: neither ever does."""
    kinds = list(dict.fromkeys((known, False)))
    ways = [(item, user) for item in kinds for user in kinds]
    if not manifest.has_adaptor:
        return dict.fromkeys(ways, float(asked.scored(clock)[0][0]))
    return {(i, u): float(asked.scored(clock, item_knowledge=i, user_knowledge=u)[0][0]) for i, u in ways}

"""Ranks candidates for a user: one user read, one look into the item cache, one scoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from loreline.domain import PackedUser
from services.ranking.active_model import Assigned
from services.ranking.asked import Asked
from services.ranking.clock import Clock
from services.ranking.limits import check_rank
from services.ranking.loading import AnyModel
from services.ranking.queries import RankedList, RankQuery
from services.ranking.request_reads import RequestReads
from services.ranking.scoring_request import ScoringRequest
from services.ranking.serving_model import ServingModel
from services.runtime.errors import FailedPrecondition


class Models(Protocol):
    """Says which version a request is scored with."""

    def for_request(self, user_id: str, scenario: str, version: str, /) -> Assigned:
        """The version named, or the one that the user is assigned to in the scenario when it is empty.

        Raises FailedPrecondition when none of the scenario's kind is loaded, or not the one named.
        """

    def for_retrieval(self, assigned: Assigned, /) -> ServingModel:
        """The version by whose vectors candidates are found. Raises FailedPrecondition when there is none."""


class Observer(Protocol):
    """Who is told what came of a request."""

    def ranked(self, query: RankQuery, assigned: Assigned, ranked: RankedList, /) -> None:
        """A list was ranked. Must not wait, nor raise."""

    def failed(self, error: Exception, /) -> None:
        """It was not."""


class Reranker(Protocol):
    """Puts the first places of a list in a better order."""

    def applies_to(self, model: AnyModel, /) -> bool:
        """Whether lists of this version are put in order."""

    def order(
        self,
        asked: ScoringRequest,
        order: npt.NDArray[np.intp],
        seconds_left: float | None,
        use_knowledge: bool,
        /,
    ) -> tuple[npt.NDArray[np.intp], int]:
        """The places (N,) of a list, best first, in their new order, and how many are in a new one."""


@dataclass(frozen=True)
class ReadAhead:
    """What a caller of Ranker has found out about a request already, and the clock that has run since."""

    assigned: Assigned
    user: PackedUser
    clock: Clock


class Ranker:
    """Ranks with the model version that a request is assigned to. Safe to share between threads."""

    def __init__(
        self,
        reads: RequestReads,
        models: Models,
        observers: Sequence[Observer] = (),
        reranker: Reranker | None = None,
    ) -> None:
        self._reads, self._models, self._observers, self._reranker = reads, models, observers, reranker

    def rank(self, query: RankQuery, ahead: ReadAhead | None = None) -> RankedList:
        """Rank the candidates; unknown candidates and users are no errors. What is read `ahead` is not read again.

        Its query is checked already, and may be without candidates.

        Raises InvalidRequest, FailedPrecondition (no version is loaded, or it is of another scenario),
        DependencyUnavailable, DeadlineExceeded.
        """
        try:
            assigned, ranked = self._rank(query, ahead)
        except Exception as error:
            for observer in self._observers:
                observer.failed(error)
            raise
        for observer in self._observers:
            observer.ranked(query, assigned, ranked)
        return ranked

    def _rank(self, query: RankQuery, ahead: ReadAhead | None) -> tuple[Assigned, RankedList]:
        clock = ahead.clock if ahead else Clock(query.timeout_seconds, query.queued_ms, query.is_active)
        if ahead is None:
            check_rank(query)
        assigned = ahead.assigned if ahead else self._assigned(query)
        inline = {item.item_id: item for item in query.inline_items}
        ids = [*query.candidate_item_ids, *inline]
        scenario_route(assigned.model, query.scenario)
        user = ahead.user if ahead else self._reads.user(query.user_id, clock)
        asked = self._reads.asked(user, query, assigned.model, ids, clock, inline)
        return assigned, ranked_list(query, assigned, asked, ids, clock, self._reranker)

    def _assigned(self, query: RankQuery) -> Assigned:
        return self._models.for_request(query.user_id, query.scenario, query.model_version)


def ranked_list(
    query: RankQuery,
    assigned: Assigned,
    asked: Asked,
    ids: list[str],
    clock: Clock,
    reranker: Reranker | None,
) -> RankedList:
    """Score and sort what was read, and let the re-ranker, if any, put the first places in order.

    Raises DependencyUnavailable, DeadlineExceeded.
    """
    manifest, item_ids = assigned.model.manifest, asked.item_ids
    knowledge = query.use_knowledge and assigned.use_knowledge and manifest.has_adaptor
    with clock.stage("score"):
        scores, place = asked.scored(clock, item_knowledge=knowledge, user_knowledge=knowledge)
        plain = np.empty(0, dtype=np.float32)
        if query.explain and knowledge:
            plain, _ = asked.scored(clock, item_knowledge=False, user_knowledge=False)
    order, reranked = np.argsort(-scores, kind="stable"), 0
    if reranker and isinstance(asked, ScoringRequest) and reranker.applies_to(asked.model):
        with clock.stage("rerank"):
            order, reranked = reranker.order(asked, order, clock.seconds_left(), knowledge)
    order = order[: query.top_k or None]
    known = set(item_ids)
    return RankedList(
        item_ids=[item_ids[position] for position in order.tolist()],
        scores=scores[order],
        knowledge_used=asked.has_knowledge[order] & knowledge,
        unknown_item_ids=[item_id for item_id in ids if item_id not in known],
        model_version=manifest.version,
        scorer_kind=manifest.kind,
        assignment=assigned.reason,
        scenario_route=scenario_route(assigned.model, query.scenario),
        cold_start=asked.cold_start,
        timings_ms=clock.timings_ms(),
        scoring_place=place,
        reranked=min(reranked, len(order)),
        scores_without_knowledge=(plain if knowledge else scores)[order] if query.explain else plain,
    )


def scenario_route(model: AnyModel, scenario: str) -> str:
    """By what the version ranks a scenario: its own network is KNOWN, what it has for all others GENERAL.

    Raises FailedPrecondition for a version that was trained for another scenario alone.
    """
    manifest = model.manifest
    if scenario in manifest.trained_scenarios:
        return "KNOWN"
    if manifest.kind == "kar":
        raise FailedPrecondition(
            f"model version {manifest.version} was trained for scenario {manifest.scenario!r}, not {scenario!r}: train "
            "a version for it, then run `loreline models promote`, or name another scorer in the scenario's file"
        )
    return "GENERAL"

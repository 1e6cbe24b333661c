"""Translates loreline.ranking.v1 to the ranker."""

from __future__ import annotations

import grpc

from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from services.ranking.ranker import RankedList, Ranker, RankQuery
from services.runtime.server import Service

SERVICE_NAME = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name


class RankingServicer(ranking_pb2_grpc.RankingServiceServicer):
    """Rank."""

    def __init__(self, ranker: Ranker) -> None:
        self._ranker = ranker

    def Rank(self, request: ranking_pb2.RankRequest, context: grpc.ServicerContext) -> ranking_pb2.RankResponse:
        """Score the candidates for the user, best first."""
        return _response(self._ranker.rank(_query(request, context.time_remaining())))


def _query(request: ranking_pb2.RankRequest, timeout_seconds: float | None) -> RankQuery:
    has_time = request.context.HasField("request_time")
    return RankQuery(
        user_id=request.user_id,
        scenario=request.scenario,
        candidate_item_ids=list(request.candidate_item_ids),
        request_time=request.context.request_time.seconds if has_time else None,
        use_knowledge=request.use_knowledge if request.HasField("use_knowledge") else True,
        top_k=request.top_k,
        timeout_seconds=timeout_seconds,
    )


def _response(ranked: RankedList) -> ranking_pb2.RankResponse:
    cold, known = ranking_pb2.USER_ROUTE_COLD_START, ranking_pb2.USER_ROUTE_KNOWN
    return ranking_pb2.RankResponse(
        item_ids=ranked.item_ids,
        scores=ranked.scores,
        knowledge_used=ranked.knowledge_used.tolist(),
        unknown_item_ids=ranked.unknown_item_ids,
        model_version=ranked.model_version,
        user_route=cold if ranked.cold_start else known,
        timings=ranking_pb2.StageTimings(**{f"{stage}_ms": ms for stage, ms in ranked.timings_ms.items()}),
        attribution_id=ranked.attribution_id,
    )


def service(ranker: Ranker) -> Service:
    """The service, ready to be added to a server."""
    servicer = RankingServicer(ranker)
    return Service(SERVICE_NAME, lambda server: ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server))

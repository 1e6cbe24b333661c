"""Translates loreline.ranking.v1 to the ranker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import grpc

from loreline.client.messages import item_message, item_of, knowledge_message
from loreline.ranking.v1 import ranking_pb2, ranking_pb2_grpc
from services.ranking.explainer import Explainer
from services.ranking.queries import (
    ExplainQuery,
    Explanation,
    FieldFilter,
    RankedList,
    RankQuery,
    RecommendQuery,
    Viewer,
)
from services.ranking.ranker import Ranker
from services.ranking.recommender import Recommender
from services.ranking.request_stream import RequestStreams
from services.runtime.admission import Admission
from services.runtime.admission_interceptor import waited_seconds
from services.runtime.error_interceptor import to_status
from services.runtime.errors import FailedPrecondition, InvalidRequest
from services.runtime.server import Service

SERVICE_NAME = ranking_pb2.DESCRIPTOR.services_by_name["RankingService"].full_name
TIMINGS = "loreline-timings-ms"
Query = TypeVar("Query", bound=Viewer)


@dataclass(frozen=True)
class Logic:
    """What the methods are translated to. A stream's requests take their turns in `admission`, as calls do."""

    ranker: Ranker
    streams: RequestStreams
    explainer: Explainer
    recommender: Recommender | None
    admission: Admission


class RankingServicer(ranking_pb2_grpc.RankingServiceServicer):
    """Rank, RankStream, Explain and Recommend."""

    def __init__(self, logic: Logic) -> None:
        self._ranker, self._streams = logic.ranker, logic.streams
        self._explainer, self._admission = logic.explainer, logic.admission
        self._recommender = logic.recommender

    def Rank(self, request: ranking_pb2.RankRequest, context: grpc.ServicerContext) -> ranking_pb2.RankResponse:
        """See the contract."""
        ranked = self._ranker.rank(_of_call(_rank_query(request), context, waited_seconds()))
        context.set_trailing_metadata(((TIMINGS, _timings_text(ranked)),))
        return _response(ranked)

    def RankStream(
        self, request_iterator: Iterator[ranking_pb2.RankStreamRequest], context: grpc.ServicerContext
    ) -> Iterator[ranking_pb2.RankStreamResponse]:
        """See the contract."""

        def answer(request: ranking_pb2.RankStreamRequest, waited: float) -> ranking_pb2.RankStreamResponse:
            return self._stream_answer(request, context, waited)

        with self._streams.open(request_iterator, answer) as stream:
            if context.add_callback(stream.cancel):
                yield from stream.answers()
        if self._streams.draining and context.is_active():
            context.abort(grpc.StatusCode.UNAVAILABLE, "this process is stopping: open the stream again")

    def Explain(
        self, request: ranking_pb2.ExplainRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.ExplainResponse:
        """See the contract."""
        query = ExplainQuery(
            user_id=request.user_id,
            scenario=request.scenario,
            item_id=request.item_id,
            request_time=_request_time(request.context),
            model_version=request.model_version,
        )
        return _explain_response(self._explainer.explain(_of_call(query, context, waited_seconds())))

    def Recommend(
        self, request: ranking_pb2.RecommendRequest, context: grpc.ServicerContext
    ) -> ranking_pb2.RecommendResponse:
        """See the contract."""
        if self._recommender is None:
            raise FailedPrecondition("this process keeps no index: set LORELINE_RANKING_INDEX=hnsw")
        found = self._recommender.recommend(_of_call(_recommend_query(request), context, waited_seconds()))
        context.set_trailing_metadata(((TIMINGS, _timings_text(found.ranked)),))
        return ranking_pb2.RecommendResponse(
            ranked=_response(found.ranked),
            found=found.found,
            ranked_candidates=found.ranked_candidates,
            query=f"RETRIEVAL_QUERY_{'HISTORY' if found.by_history else 'POPULAR'}",
        )

    def _stream_answer(
        self, request: ranking_pb2.RankStreamRequest, context: grpc.ServicerContext, waited: float
    ) -> ranking_pb2.RankStreamResponse:
        try:
            if not request.HasField("request"):
                raise InvalidRequest([("request", "must be set")])
            with self._admission.turn(context.time_remaining(), context.is_active) as queued:
                ranked = self._ranker.rank(_of_call(_rank_query(request.request), context, waited + queued))
            return ranking_pb2.RankStreamResponse(id=request.id, response=_response(ranked))
        except Exception as error:  # one request's failure, whatever it is, must not end the stream
            return ranking_pb2.RankStreamResponse(id=request.id, failure=_failure(error))


def _failure(error: Exception) -> ranking_pb2.RankFailure:
    status = to_status(error, f"/{SERVICE_NAME}/RankStream")
    violations = error.violations if isinstance(error, InvalidRequest) else []
    return ranking_pb2.RankFailure(
        code=status.code,
        message=status.message,
        violations=[ranking_pb2.FieldViolation(field=f, description=expected) for f, expected in violations],
    )


def _of_call(query: Query, context: grpc.ServicerContext, waited: float) -> Query:
    """The query with what is known of its call: the time left, the seconds waited, and whether the caller is there."""
    left, is_active = context.time_remaining(), context.is_active
    return replace(query, timeout_seconds=left, queued_ms=waited * 1000, is_active=is_active)


def _rank_query(request: ranking_pb2.RankRequest) -> RankQuery:
    return RankQuery(
        user_id=request.user_id,
        scenario=request.scenario,
        candidate_item_ids=list(request.candidate_item_ids),
        inline_items=[item_of(item) for item in request.inline_items],
        request_time=_request_time(request.context),
        use_knowledge=request.use_knowledge if request.HasField("use_knowledge") else True,
        top_k=request.top_k,
        model_version=request.model_version,
        explain=request.explain,
    )


def _recommend_query(request: ranking_pb2.RecommendRequest) -> RecommendQuery:
    return RecommendQuery(
        user_id=request.user_id,
        scenario=request.scenario,
        count=request.count,
        candidates=request.candidates,
        include_seen=request.include_seen,
        filters=[FieldFilter(one.field, list(one.values)) for one in request.filters],
        request_time=_request_time(request.context),
        use_knowledge=request.use_knowledge if request.HasField("use_knowledge") else True,
        model_version=request.model_version,
    )


def _request_time(context: ranking_pb2.RankContext) -> int | None:
    if not context.HasField("request_time"):
        return None
    try:
        context.request_time.ToJsonString()  # which alone checks both seconds and nanos
    except ValueError as error:
        rule = "must be a Timestamp of the years 1 to 9999, with nanos of 0 to 999,999,999"
        raise InvalidRequest([("context.request_time", rule)]) from error
    return int(context.request_time.seconds)


def _response(ranked: RankedList) -> ranking_pb2.RankResponse:
    return ranking_pb2.RankResponse(
        item_ids=ranked.item_ids,
        scores=ranked.scores,
        knowledge_used=ranked.knowledge_used.tolist(),
        unknown_item_ids=ranked.unknown_item_ids,
        model_version=ranked.model_version,
        user_route=_user_route(ranked.cold_start),
        timings=ranking_pb2.StageTimings(**{f"{stage}_ms": ms for stage, ms in ranked.timings_ms.items()}),
        attribution_id=ranked.attribution_id,
        scenario_route=f"SCENARIO_ROUTE_{ranked.scenario_route}",
        scoring_place=f"SCORING_PLACE_{ranked.scoring_place or 'UNSPECIFIED'}",
        assignment=ranked.assignment,
        scores_without_knowledge=ranked.scores_without_knowledge,
        reranked=ranked.reranked,
    )


def _explain_response(found: Explanation) -> ranking_pb2.ExplainResponse:
    return ranking_pb2.ExplainResponse(
        item=item_message(found.item),
        score=found.score,
        score_without_knowledge=found.score_without_knowledge,
        score_without_item_knowledge=found.score_without_item_knowledge,
        score_without_user_knowledge=found.score_without_user_knowledge,
        item_knowledge=knowledge_message(found.item_knowledge) if found.item_knowledge else None,
        user_knowledge=knowledge_message(found.user_knowledge) if found.user_knowledge else None,
        item_experts=_experts(found.item_experts),
        user_experts=_experts(found.user_experts),
        model_version=found.model_version,
        user_route=_user_route(found.cold_start),
        scenario_route=f"SCENARIO_ROUTE_{found.scenario_route}",
    )


def _experts(weights: Mapping[str, float]) -> list[ranking_pb2.ExpertWeight]:
    return [ranking_pb2.ExpertWeight(expert=name, weight=weight) for name, weight in weights.items()]


def _user_route(cold_start: bool) -> ranking_pb2.UserRoute:
    return ranking_pb2.USER_ROUTE_COLD_START if cold_start else ranking_pb2.USER_ROUTE_KNOWN


def _timings_text(ranked: RankedList) -> str:
    return ",".join(f"{stage}={ms:.3f}" for stage, ms in ranked.timings_ms.items())


def service(logic: Logic) -> Service:
    """The service, ready to be added to a server."""
    servicer = RankingServicer(logic)
    return Service(SERVICE_NAME, lambda server: ranking_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server))

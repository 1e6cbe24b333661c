"""loreline.knowledge.v1 over KnowledgeGenerator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import grpc

from loreline.client.knowledge import Answer, Failure
from loreline.client.messages import Record, cluster_of, history_of, item_of, knowledge_message, record_of
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.knowledge.archive import Archive
from services.knowledge.elicitation import FactorElicitor
from services.knowledge.generator import KnowledgeGenerator
from services.runtime.errors import InvalidRequest
from services.runtime.server import Service

Response = TypeVar(
    "Response",
    knowledge_pb2.GenerateItemKnowledgeResponse,
    knowledge_pb2.GenerateUserKnowledgeResponse,
    knowledge_pb2.GenerateClusterKnowledgeResponse,
)
SERVICE_NAME = "loreline.knowledge.v1.KnowledgeService"


class KnowledgeServicer(knowledge_pb2_grpc.KnowledgeServiceServicer):
    """Translates between messages and plain types; errors become statuses in the interceptor."""

    def __init__(self, generator: KnowledgeGenerator, elicitor: FactorElicitor, archive: Archive) -> None:
        self._generator, self._elicitor, self._archive = generator, elicitor, archive

    def GenerateItemKnowledge(
        self, request: knowledge_pb2.GenerateItemKnowledgeRequest, context: grpc.ServicerContext
    ) -> Iterator[knowledge_pb2.GenerateItemKnowledgeResponse]:
        """See the contract."""
        items = [item_of(message) for message in request.items]
        wanted = context.is_active
        for answer in self._generator.generate_for_items(request.scenario, items, request.provider, wanted):
            yield _fill(knowledge_pb2.GenerateItemKnowledgeResponse(item_id=answer.subject_id), answer)

    def GenerateUserKnowledge(
        self, request: knowledge_pb2.GenerateUserKnowledgeRequest, context: grpc.ServicerContext
    ) -> Iterator[knowledge_pb2.GenerateUserKnowledgeResponse]:
        """See the contract."""
        users = [history_of(message) for message in request.users]
        wanted = context.is_active
        for answer in self._generator.generate_for_users(request.scenario, users, request.provider, wanted):
            yield _fill(knowledge_pb2.GenerateUserKnowledgeResponse(user_id=answer.subject_id), answer)

    def GenerateClusterKnowledge(
        self, request: knowledge_pb2.GenerateClusterKnowledgeRequest, context: grpc.ServicerContext
    ) -> Iterator[knowledge_pb2.GenerateClusterKnowledgeResponse]:
        """See the contract."""
        clusters = [cluster_of(message) for message in request.clusters]
        wanted = context.is_active
        for answer in self._generator.generate_for_clusters(request.scenario, clusters, request.provider, wanted):
            yield _fill(knowledge_pb2.GenerateClusterKnowledgeResponse(cluster_id=answer.subject_id), answer)

    def ElicitFactors(
        self,
        request: knowledge_pb2.ElicitFactorsRequest,
        context: grpc.ServicerContext,
    ) -> knowledge_pb2.ElicitFactorsResponse:
        """See the contract."""
        result = self._elicitor.elicit(request.scenario, request.about, request.provider)
        if isinstance(result, Failure):
            return knowledge_pb2.ElicitFactorsResponse(failure=_failure_message(result))
        found = knowledge_pb2.ElicitedFactors(factors=result.factors, provider=result.provider, model=result.model)
        return knowledge_pb2.ElicitFactorsResponse(factors=found)

    def GetItemKnowledge(
        self,
        request: knowledge_pb2.GetItemKnowledgeRequest,
        context: grpc.ServicerContext,
    ) -> knowledge_pb2.GetItemKnowledgeResponse:
        """See the contract."""
        knowledge = self._generator.item_knowledge(request.item_id)
        return knowledge_pb2.GetItemKnowledgeResponse(knowledge=knowledge_message(knowledge))

    def GetUserKnowledge(
        self,
        request: knowledge_pb2.GetUserKnowledgeRequest,
        context: grpc.ServicerContext,
    ) -> knowledge_pb2.GetUserKnowledgeResponse:
        """See the contract."""
        knowledge = self._generator.user_knowledge(request.user_id)
        return knowledge_pb2.GetUserKnowledgeResponse(knowledge=knowledge_message(knowledge))

    def RestoreKnowledge(
        self,
        request: knowledge_pb2.RestoreKnowledgeRequest,
        context: grpc.ServicerContext,
    ) -> knowledge_pb2.RestoreKnowledgeResponse:
        """See the contract."""
        records = [_record(message, index) for index, message in enumerate(request.records)]
        return knowledge_pb2.RestoreKnowledgeResponse(restored=self._archive.restore(records))

    def ListSuspects(
        self, request: knowledge_pb2.ListSuspectsRequest, context: grpc.ServicerContext
    ) -> Iterator[knowledge_pb2.ListSuspectsResponse]:
        """See the contract."""
        for suspect in self._archive.suspects(request.scenario, _suspect_reason(request.reason), request.most):
            yield knowledge_pb2.ListSuspectsResponse(
                subject_kind=suspect.subject_kind,
                subject_id=suspect.subject_id,
                knowledge=knowledge_message(suspect.knowledge),
                reason=f"SUSPECT_REASON_{suspect.reason}",
                detail=suspect.detail,
            )


def service(generator: KnowledgeGenerator, elicitor: FactorElicitor, archive: Archive) -> Service:
    """The service, ready to be added to a server."""
    servicer = KnowledgeServicer(generator, elicitor, archive)
    return Service(
        SERVICE_NAME, lambda server: knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(servicer, server)
    )


def _record(message: knowledge_pb2.KnowledgeRecord, index: int) -> Record:
    try:
        return record_of(message)
    except (ValueError, OverflowError) as error:  # protobuf takes any number of seconds, a calendar does not
        raise InvalidRequest([(f"records[{index}]", "must hold times of the years 1 to 9999")]) from error


def _suspect_reason(code: int) -> str:
    """The reason's name; empty when none was asked for. Raises InvalidRequest."""
    names = {number: name.removeprefix("SUSPECT_REASON_") for name, number in knowledge_pb2.SuspectReason.items()}
    if code not in names:
        raise InvalidRequest([("reason", f"must be one of: {', '.join(list(names.values())[1:])}; or unset for all")])
    return names[code] if code else ""


def _fill(response: Response, answer: Answer) -> Response:
    response.reused = answer.reused
    if answer.knowledge is not None:
        response.knowledge.CopyFrom(knowledge_message(answer.knowledge))
    if answer.failure is not None:
        response.failure.CopyFrom(_failure_message(answer.failure))
    return response


def _failure_message(failure: Failure) -> knowledge_pb2.GenerationFailure:
    reason = f"GENERATION_FAILURE_REASON_{failure.reason}"
    return knowledge_pb2.GenerationFailure(reason=reason, detail=failure.detail)

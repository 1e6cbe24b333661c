"""loreline.knowledge.v1 over KnowledgeGenerator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import grpc

from loreline.client.knowledge import Answer, Failure
from loreline.client.messages import cluster_of, history_of, item_of, knowledge_message
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.knowledge.elicitation import FactorElicitor
from services.knowledge.generator import KnowledgeGenerator
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

    def __init__(self, generator: KnowledgeGenerator, elicitor: FactorElicitor) -> None:
        self._generator, self._elicitor = generator, elicitor

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


def service(generator: KnowledgeGenerator, elicitor: FactorElicitor) -> Service:
    """The service, ready to be added to a server."""
    servicer = KnowledgeServicer(generator, elicitor)
    return Service(
        SERVICE_NAME, lambda server: knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server(servicer, server)
    )


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

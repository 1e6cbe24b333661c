"""Clients of loreline.knowledge.v1."""

from __future__ import annotations

from loreline.client import knowledge_calls as calls
from loreline.client.asynchronous import AsyncClient, awaited, awaited_stream
from loreline.client.blocking import Client, blocking, blocking_stream
from loreline.client.channel import ClientOptions
from loreline.client.knowledge_calls import Answer, ElicitedFactors, Failure, Suspect
from loreline.knowledge.v1 import knowledge_pb2_grpc

__all__ = ["Answer", "AsyncKnowledgeClient", "ElicitedFactors", "Failure", "KnowledgeClient", "Suspect"]


class KnowledgeClient(Client):
    """Asks the knowledge service. `timeout_seconds` bounds one call, all its answers included."""

    def __init__(self, address: str, timeout_seconds: float = 300.0, options: ClientOptions | None = None) -> None:
        super().__init__(knowledge_pb2_grpc.KnowledgeServiceStub, address, timeout_seconds, options)

    generate_for_items = blocking_stream(calls.generate_for_items)
    generate_for_users = blocking_stream(calls.generate_for_users)
    generate_for_clusters = blocking_stream(calls.generate_for_clusters)
    elicit_factors = blocking(calls.elicit_factors)
    item_knowledge = blocking(calls.item_knowledge)
    user_knowledge = blocking(calls.user_knowledge)
    restore = blocking(calls.restore)
    suspects = blocking_stream(calls.suspects)


class AsyncKnowledgeClient(AsyncClient):
    """KnowledgeClient to be awaited."""

    def __init__(self, address: str, timeout_seconds: float = 300.0, options: ClientOptions | None = None) -> None:
        super().__init__(knowledge_pb2_grpc.KnowledgeServiceStub, address, timeout_seconds, options)

    generate_for_items = awaited_stream(calls.generate_for_items)
    generate_for_users = awaited_stream(calls.generate_for_users)
    generate_for_clusters = awaited_stream(calls.generate_for_clusters)
    elicit_factors = awaited(calls.elicit_factors)
    item_knowledge = awaited(calls.item_knowledge)
    user_knowledge = awaited(calls.user_knowledge)
    restore = awaited(calls.restore)
    suspects = awaited_stream(calls.suspects)

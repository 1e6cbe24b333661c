"""Clients of loreline.embedding.v1."""

from __future__ import annotations

from loreline.client import embedding_calls as calls
from loreline.client.asynchronous import AsyncClient, awaited
from loreline.client.blocking import Client, blocking
from loreline.client.channel import ClientOptions
from loreline.embedding.v1 import embedding_pb2_grpc


class EmbeddingClient(Client):
    """Asks the embedding service. `timeout_seconds` bounds one call."""

    def __init__(self, address: str, timeout_seconds: float = 120.0, options: ClientOptions | None = None) -> None:
        super().__init__(embedding_pb2_grpc.EmbeddingServiceStub, address, timeout_seconds, options)

    encode = blocking(calls.encode)
    adapt = blocking(calls.adapt)
    adapt_active = blocking(calls.adapt_active)
    expert_weights = blocking(calls.expert_weights)


class AsyncEmbeddingClient(AsyncClient):
    """EmbeddingClient to be awaited."""

    def __init__(self, address: str, timeout_seconds: float = 120.0, options: ClientOptions | None = None) -> None:
        super().__init__(embedding_pb2_grpc.EmbeddingServiceStub, address, timeout_seconds, options)

    encode = awaited(calls.encode)
    adapt = awaited(calls.adapt)
    adapt_active = awaited(calls.adapt_active)
    expert_weights = awaited(calls.expert_weights)

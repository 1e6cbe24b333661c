"""Clients of loreline.features.v1."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Literal

from loreline.client import feature_calls as calls
from loreline.client.asynchronous import AsyncClient, awaited, awaited_stream
from loreline.client.blocking import Client, blocking, blocking_stream
from loreline.client.channel import ClientOptions
from loreline.client.feature_types import StoredSubject
from loreline.features.v1 import features_pb2_grpc


class FeaturesClient(Client):
    """Asks the features service. `timeout_seconds` bounds one call, not the streams that are as long as the store."""

    def __init__(self, address: str, timeout_seconds: float = 30.0, options: ClientOptions | None = None) -> None:
        super().__init__(features_pb2_grpc.FeaturesServiceStub, address, timeout_seconds, options)

    items = blocking(calls.items)
    user = blocking(calls.user)
    describe_item = blocking(calls.describe_item)
    describe_user = blocking(calls.describe_user)
    put_contents = blocking(calls.put_contents)
    put_knowledge = blocking(calls.put_knowledge)
    remove_items = blocking(calls.remove_items)
    put_user_history = blocking(calls.put_user_history)
    put_user_knowledge = blocking(calls.put_user_knowledge)
    append_interactions = blocking(calls.append_interactions)
    put_augmented = blocking(calls.put_augmented)
    knowledge_vectors = blocking_stream(calls.knowledge_vectors)
    watch = blocking_stream(calls.watch)

    def subjects(
        self, subject: Literal["item", "user"], after_id: str = "", scenario: str = ""
    ) -> Iterator[StoredSubject]:
        """Yield stored items or users in the order of their ids, after one of them. Raises ClientError."""
        for page in self._answers(calls.subjects(subject, after_id, scenario)):
            yield from page


class AsyncFeaturesClient(AsyncClient):
    """FeaturesClient to be awaited."""

    def __init__(self, address: str, timeout_seconds: float = 30.0, options: ClientOptions | None = None) -> None:
        super().__init__(features_pb2_grpc.FeaturesServiceStub, address, timeout_seconds, options)

    items = awaited(calls.items)
    user = awaited(calls.user)
    describe_item = awaited(calls.describe_item)
    describe_user = awaited(calls.describe_user)
    put_contents = awaited(calls.put_contents)
    put_knowledge = awaited(calls.put_knowledge)
    remove_items = awaited(calls.remove_items)
    put_user_history = awaited(calls.put_user_history)
    put_user_knowledge = awaited(calls.put_user_knowledge)
    append_interactions = awaited(calls.append_interactions)
    put_augmented = awaited(calls.put_augmented)
    knowledge_vectors = awaited_stream(calls.knowledge_vectors)
    watch = awaited_stream(calls.watch)

    async def subjects(
        self, subject: Literal["item", "user"], after_id: str = "", scenario: str = ""
    ) -> AsyncIterator[StoredSubject]:
        """As FeaturesClient.subjects."""
        async for page in self._answers(calls.subjects(subject, after_id, scenario)):
            for one in page:
                yield one

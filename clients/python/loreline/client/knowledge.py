"""Client of loreline.knowledge.v1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loreline.client.channel import Client
from loreline.client.errors import client_errors
from loreline.client.messages import cluster_message, history_message, item_message, knowledge_of
from loreline.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from services.scenarios import Cluster, Item, Knowledge, UserHistory


@dataclass(frozen=True)
class Failure:
    """Why there is no knowledge: `reason` is UNAVAILABLE (retry), REFUSED or REJECTED_TEXT."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Answer:
    """The answer for one item, user or cluster: either knowledge or failure. `reused`: no model was asked."""

    subject_id: str
    knowledge: Knowledge | None
    failure: Failure | None
    reused: bool


@dataclass(frozen=True)
class ElicitedFactors:
    """Factors as a language model named them, most important first."""

    factors: list[str]
    provider: str
    model: str


class KnowledgeClient(Client):
    """Asks the knowledge service. `timeout_seconds` bounds one call, all its answers included."""

    def __init__(self, address: str, timeout_seconds: float = 300.0) -> None:
        super().__init__(address, timeout_seconds)
        self._stub = knowledge_pb2_grpc.KnowledgeServiceStub(self._channel)

    def generate_for_items(self, scenario: str, items: Sequence[Item], provider: str = "") -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 items, as they come. Raises ClientError."""
        request = knowledge_pb2.GenerateItemKnowledgeRequest(
            scenario=scenario, items=[item_message(item) for item in items], provider=provider
        )
        with client_errors():
            for response in self._stub.GenerateItemKnowledge(request, timeout=self.timeout_seconds):
                yield _answer(response.item_id, response)

    def generate_for_users(self, scenario: str, users: Sequence[UserHistory], provider: str = "") -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 users, as they come. Raises ClientError."""
        request = knowledge_pb2.GenerateUserKnowledgeRequest(
            scenario=scenario, users=[history_message(user) for user in users], provider=provider
        )
        with client_errors():
            for response in self._stub.GenerateUserKnowledge(request, timeout=self.timeout_seconds):
                yield _answer(response.user_id, response)

    def generate_for_clusters(self, scenario: str, clusters: Sequence[Cluster], provider: str = "") -> Iterator[Answer]:
        """Yield one answer for each of 1 to 256 clusters, as they come. Raises ClientError."""
        request = knowledge_pb2.GenerateClusterKnowledgeRequest(
            scenario=scenario, clusters=[cluster_message(cluster) for cluster in clusters], provider=provider
        )
        with client_errors():
            for response in self._stub.GenerateClusterKnowledge(request, timeout=self.timeout_seconds):
                yield _answer(response.cluster_id, response)

    def elicit_factors(self, scenario: str, about: str = "", provider: str = "") -> ElicitedFactors | Failure:
        """The factors that decide in a scenario, or why there are none. Raises ClientError."""
        request = knowledge_pb2.ElicitFactorsRequest(scenario=scenario, about=about, provider=provider)
        with client_errors():
            response = self._stub.ElicitFactors(request, timeout=self.timeout_seconds)
        if response.WhichOneof("result") != "factors":
            return _failure(response.failure)
        found = response.factors
        return ElicitedFactors(list(found.factors), found.provider, found.model)

    def item_knowledge(self, item_id: str) -> Knowledge:
        """The newest knowledge stored for an item. Raises NotFoundError, ClientError."""
        request = knowledge_pb2.GetItemKnowledgeRequest(item_id=item_id)
        with client_errors():
            return knowledge_of(self._stub.GetItemKnowledge(request, timeout=self.timeout_seconds).knowledge)

    def user_knowledge(self, user_id: str) -> Knowledge:
        """The newest knowledge stored for a user. Raises NotFoundError, ClientError."""
        request = knowledge_pb2.GetUserKnowledgeRequest(user_id=user_id)
        with client_errors():
            return knowledge_of(self._stub.GetUserKnowledge(request, timeout=self.timeout_seconds).knowledge)


_Response = (
    knowledge_pb2.GenerateItemKnowledgeResponse
    | knowledge_pb2.GenerateUserKnowledgeResponse
    | knowledge_pb2.GenerateClusterKnowledgeResponse
)


def _answer(subject_id: str, response: _Response) -> Answer:
    if response.WhichOneof("result") == "knowledge":
        return Answer(subject_id, knowledge_of(response.knowledge), None, response.reused)
    return Answer(subject_id, None, _failure(response.failure), response.reused)


def _failure(message: knowledge_pb2.GenerationFailure) -> Failure:
    name = knowledge_pb2.GenerationFailureReason.Name(message.reason)
    return Failure(name.removeprefix("GENERATION_FAILURE_REASON_"), message.detail)

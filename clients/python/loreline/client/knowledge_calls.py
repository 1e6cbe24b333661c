"""The calls of loreline.knowledge.v1: their plain types, requests and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from loreline.client.calls import Call, StreamCall
from loreline.client.messages import (
    Record,
    cluster_message,
    history_message,
    item_message,
    knowledge_of,
    record_message,
)
from loreline.domain import Cluster, Item, Knowledge, UserHistory
from loreline.knowledge.v1 import knowledge_pb2


@dataclass(frozen=True)
class Failure:
    """Why there is no knowledge.

    `reason` is UNAVAILABLE or BUDGET_SPENT (retry later), REFUSED, REJECTED_TEXT, SUSPECT or TOO_LONG.
    """

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


@dataclass(frozen=True)
class Suspect:
    """A text that is kept and never served. `subject_kind` is item, user, item_cluster or user_cluster."""

    subject_kind: str
    subject_id: str
    knowledge: Knowledge
    reason: str  # LOW_AGREEMENT, CONTRADICTION or PROMPT_ECHO
    detail: str


def generate_for_items(scenario: str, items: Sequence[Item], provider: str = "") -> StreamCall[Answer]:
    """Yield one answer for each of 1 to 256 items, as they come. Raises ClientError."""
    request = knowledge_pb2.GenerateItemKnowledgeRequest(
        scenario=scenario, items=[item_message(item) for item in items], provider=provider
    )
    return StreamCall("GenerateItemKnowledge", request, lambda response: _answer(response.item_id, response))


def generate_for_users(scenario: str, users: Sequence[UserHistory], provider: str = "") -> StreamCall[Answer]:
    """Yield one answer for each of 1 to 256 users, as they come. Raises ClientError."""
    request = knowledge_pb2.GenerateUserKnowledgeRequest(
        scenario=scenario, users=[history_message(user) for user in users], provider=provider
    )
    return StreamCall("GenerateUserKnowledge", request, lambda response: _answer(response.user_id, response))


def generate_for_clusters(scenario: str, clusters: Sequence[Cluster], provider: str = "") -> StreamCall[Answer]:
    """Yield one answer for each of 1 to 256 clusters, as they come. Raises ClientError."""
    request = knowledge_pb2.GenerateClusterKnowledgeRequest(
        scenario=scenario, clusters=[cluster_message(cluster) for cluster in clusters], provider=provider
    )
    return StreamCall("GenerateClusterKnowledge", request, lambda response: _answer(response.cluster_id, response))


def elicit_factors(scenario: str, about: str = "", provider: str = "") -> Call[ElicitedFactors | Failure]:
    """The factors that decide in a scenario, or why there are none. Raises ClientError."""
    request = knowledge_pb2.ElicitFactorsRequest(scenario=scenario, about=about, provider=provider)
    return Call("ElicitFactors", request, _factors_of)


def item_knowledge(item_id: str) -> Call[Knowledge]:
    """The newest knowledge stored for an item. Raises NotFoundError, ClientError."""
    request = knowledge_pb2.GetItemKnowledgeRequest(item_id=item_id)
    return Call("GetItemKnowledge", request, lambda response: knowledge_of(response.knowledge), is_read=True)


def user_knowledge(user_id: str) -> Call[Knowledge]:
    """The newest knowledge stored for a user. Raises NotFoundError, ClientError."""
    request = knowledge_pb2.GetUserKnowledgeRequest(user_id=user_id)
    return Call("GetUserKnowledge", request, lambda response: knowledge_of(response.knowledge), is_read=True)


def restore(records: Sequence[Record]) -> Call[int]:
    """Keep 1 to 256 answers that were written before; returns how many were new. Raises ClientError."""
    request = knowledge_pb2.RestoreKnowledgeRequest(records=[record_message(record) for record in records])
    return Call("RestoreKnowledge", request, lambda response: int(response.restored))


def suspects(
    scenario: str = "",
    reason: Literal["", "LOW_AGREEMENT", "CONTRADICTION", "PROMPT_ECHO"] = "",
    most: int = 100,
) -> StreamCall[Suspect]:
    """Yield up to 1,000 texts that are never served, newest first. Raises ClientError."""
    code = f"SUSPECT_REASON_{reason or 'UNSPECIFIED'}"
    request = knowledge_pb2.ListSuspectsRequest(scenario=scenario, reason=code, most=most)
    return StreamCall("ListSuspects", request, _suspect_of)


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


def _factors_of(response: knowledge_pb2.ElicitFactorsResponse) -> ElicitedFactors | Failure:
    if response.WhichOneof("result") != "factors":
        return _failure(response.failure)
    found = response.factors
    return ElicitedFactors(list(found.factors), found.provider, found.model)


def _suspect_of(found: knowledge_pb2.ListSuspectsResponse) -> Suspect:
    name = knowledge_pb2.SuspectReason.Name(found.reason).removeprefix("SUSPECT_REASON_")
    return Suspect(found.subject_kind, found.subject_id, knowledge_of(found.knowledge), name, found.detail)

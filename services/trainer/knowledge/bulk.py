"""Asks the knowledge and embedding services about a whole dataset, ahead of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from loreline.client import Answer, Encoded, KnowledgeClient
from loreline.domain import Cluster, Item, Knowledge, UserHistory
from services.scenarios import load_scenario
from services.trainer.data.knowledge_rows import KnowledgeRow
from services.trainer.knowledge.collective import (
    CENTRAL_ITEMS,
    CENTRAL_USERS,
    KnowledgeConfig,
    central_members,
    cluster,
    item_clusters,
    mix,
    user_clusters,
    user_content,
)

OnDone = Callable[[int], None]
PAGE = 128
T = TypeVar("T")


@dataclass(frozen=True)
class CollectiveKnowledge:
    """Rows of all items and users, how many questions were put to the provider for them, and how many were saved.

    `llm_calls` counts one question for each group, answered anew or from the knowledge service's store.
    """

    items: list[KnowledgeRow]
    users: list[KnowledgeRow]
    llm_calls: int
    llm_calls_saved: int


class TextEncoder(Protocol):
    """loreline.client.EmbeddingClient, or KeptVectors before it."""

    def encode(self, texts: Sequence[str], /) -> Encoded:
        """Vectors of texts, in their order."""


class KnowledgeMissing(Exception):
    """The knowledge service had no answer for some subjects; the message says how many and why."""


def item_knowledge(
    items: Sequence[Item],
    knowledge: KnowledgeClient,
    embedding: TextEncoder,
    progress: OnDone,
    provider: str = "catalogue",
) -> list[KnowledgeRow]:
    """Knowledge of items that all have one scenario; `progress` is told how many more are done.

    Raises KnowledgeMissing, loreline.client.ClientError. What was answered before is not asked again.
    """
    answers = (
        answer for page in pages(items) for answer in knowledge.generate_for_items(page[0].scenario, page, provider)
    )
    return list(_encoded(answers, embedding, progress))


def user_knowledge(
    users: Sequence[UserHistory],
    scenario: str,
    knowledge: KnowledgeClient,
    embedding: TextEncoder,
    progress: OnDone,
    provider: str = "catalogue",
) -> list[KnowledgeRow]:
    """Preference knowledge of users in one scenario, as `item_knowledge`."""
    answers = (answer for page in pages(users) for answer in knowledge.generate_for_users(scenario, page, provider))
    return list(_encoded(answers, embedding, progress))


def collective_knowledge(
    items: Sequence[Item],
    users: Sequence[UserHistory],
    knowledge: KnowledgeClient,
    embedding: TextEncoder,
    progress: OnDone,
    config: KnowledgeConfig,
    provider: str = "catalogue",
) -> CollectiveKnowledge:
    """Knowledge of items and users by groups: `config.clusters` questions of each kind at most.

    Each row's vector is mixed of its group's and its own content's; its text is the group's, and its provenance names
    the group. Content: an item's catalogue text, a user's items weighted by rating. `progress` is told how many more
    contents are encoded and groups answered. Raises as `item_knowledge`.
    """
    scenario = load_scenario(items[0].scenario)
    content = {row.subject_id: row.vector for row in item_knowledge(items, knowledge, embedding, progress)}
    item_vectors = np.stack([content[item.item_id] for item in items])  # answers come in any order
    user_vectors = user_content(users, content, scenario.minimum_rating)
    item_groups = _Groups.of(item_vectors, CENTRAL_ITEMS, config)
    user_groups = _Groups.of(user_vectors, CENTRAL_USERS, config)
    subjects = {
        "item": item_clusters(items, item_groups.members, _name(config)),
        "user": user_clusters(users, user_groups.members, _name(config)),
    }
    answered = {
        kind: _cluster_rows(scenario.name, clusters, knowledge, embedding, progress, provider)
        for kind, clusters in subjects.items()
    }
    item_ids, user_ids = [item.item_id for item in items], [user.user_id for user in users]
    calls = len(subjects["item"]) + len(subjects["user"])
    return CollectiveKnowledge(
        _mixed_rows(item_ids, item_vectors, item_groups.assignment, answered["item"], config.cluster_weight),
        _mixed_rows(user_ids, user_vectors, user_groups.assignment, answered["user"], config.cluster_weight),
        calls,
        len(items) + len(users) - calls,
    )


@dataclass(frozen=True)
class _Groups:
    """The group of each of N subjects (N,), and the rows of each group's central members."""

    assignment: npt.NDArray[np.int64]
    members: list[npt.NDArray[np.int64]]

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], limit: int, config: KnowledgeConfig) -> Self:
        assignment, centres = cluster(vectors, config.clusters, config.seed)
        return cls(assignment, central_members(vectors, centres, assignment, limit))


def _name(config: KnowledgeConfig) -> str:
    return f"seed-{config.seed}"


def _cluster_rows(
    scenario: str,
    clusters: Sequence[Cluster],
    knowledge: KnowledgeClient,
    embedding: TextEncoder,
    progress: OnDone,
    provider: str,
) -> list[KnowledgeRow]:
    """One row a cluster, in the clusters' order."""
    answers = (
        answer for page in pages(clusters) for answer in knowledge.generate_for_clusters(scenario, page, provider)
    )
    rows = {row.subject_id: row for row in _encoded(answers, embedding, progress)}
    return [rows[group.cluster_id] for group in clusters]


def _mixed_rows(
    subject_ids: Sequence[str],
    content: npt.NDArray[np.float32],
    assignment: npt.NDArray[np.int64],
    groups: Sequence[KnowledgeRow],
    weight: float,
) -> list[KnowledgeRow]:
    mixed = mix(content, np.stack([row.vector for row in groups]), assignment, weight)
    texts = [_of_cluster(row, weight) for row in groups]
    return [
        KnowledgeRow(subject_id, texts[group], groups[group].encoder, vector)
        for subject_id, group, vector in zip(subject_ids, assignment.tolist(), mixed, strict=True)
    ]


def _of_cluster(row: KnowledgeRow, weight: float) -> Knowledge:
    named = replace(row.knowledge.provenance, cluster=row.subject_id, cluster_weight=weight)
    return Knowledge(row.knowledge.text, named)


def _encoded(answers: Iterable[Answer], embedding: TextEncoder, progress: OnDone) -> Iterator[KnowledgeRow]:
    for page in pages(answers):
        found = [(answer.subject_id, answer.knowledge) for answer in page if answer.knowledge]
        failures = [answer.failure for answer in page if answer.failure]
        if failures:
            raise KnowledgeMissing(f"{len(failures)} of {len(page)} subjects have no knowledge; first: {failures[0]}")
        encoded = embedding.encode([knowledge.text for _, knowledge in found])
        for (subject_id, knowledge), vector in zip(found, encoded.vectors, strict=True):
            yield KnowledgeRow(subject_id, knowledge, encoded.encoder, vector)
        progress(len(page))


def pages(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists of as many as one call to a service takes, 128."""
    iterator = iter(values)
    while page := list(islice(iterator, PAGE)):
        yield page

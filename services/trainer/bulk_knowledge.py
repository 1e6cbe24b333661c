"""Asks the knowledge and embedding services about a whole dataset, ahead of training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from loreline.client import Answer, EmbeddingClient, KnowledgeClient
from services.scenarios import Item, Knowledge, UserHistory

Progress = Callable[[int], None]
PAGE = 128
T = TypeVar("T")


@dataclass(frozen=True)
class KnowledgeRow:
    """One subject's knowledge text with provenance, and its vector float32 (K,) by `encoder`."""

    subject_id: str
    knowledge: Knowledge
    encoder: str
    vector: npt.NDArray[np.float32]


class KnowledgeMissing(Exception):
    """The knowledge service had no answer for some subjects; the message says how many and why."""


def item_knowledge(
    items: Sequence[Item],
    knowledge: KnowledgeClient,
    embedding: EmbeddingClient,
    progress: Progress,
    provider: str = "catalogue",
) -> list[KnowledgeRow]:
    """Knowledge of items that all have one scenario; `progress` is told how many more are done.

    Raises KnowledgeMissing, loreline.client.ClientError. What was answered before is not asked again.
    """
    answers = (
        answer for page in _pages(items) for answer in knowledge.generate_for_items(page[0].scenario, page, provider)
    )
    return list(_encoded(answers, embedding, progress))


def user_knowledge(
    users: Sequence[UserHistory],
    scenario: str,
    knowledge: KnowledgeClient,
    embedding: EmbeddingClient,
    progress: Progress,
    provider: str = "catalogue",
) -> list[KnowledgeRow]:
    """Preference knowledge of users in one scenario, as `item_knowledge`."""
    answers = (answer for page in _pages(users) for answer in knowledge.generate_for_users(scenario, page, provider))
    return list(_encoded(answers, embedding, progress))


def _encoded(answers: Iterable[Answer], embedding: EmbeddingClient, progress: Progress) -> Iterator[KnowledgeRow]:
    for page in _pages(answers):
        found = [(answer.subject_id, answer.knowledge) for answer in page if answer.knowledge]
        failures = [answer.failure for answer in page if answer.failure]
        if failures:
            raise KnowledgeMissing(f"{len(failures)} of {len(page)} subjects have no knowledge; first: {failures[0]}")
        encoded = embedding.encode([knowledge.text for _, knowledge in found])
        for (subject_id, knowledge), vector in zip(found, encoded.vectors, strict=True):
            yield KnowledgeRow(subject_id, knowledge, encoded.encoder, vector)
        progress(len(page))


def _pages(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while page := list(islice(iterator, PAGE)):
        yield page

"""From a question to knowledge that is stored and told: what items and users have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from loreline.client import Answer, EmbeddingClient, Failure, adapt_for_all
from loreline.domain import Item, Knowledge, KnowledgeVectors, Stamp, UserHistory
from services.updater.events import PoisonEvent
from services.updater.metrics import UpdaterMetrics
from services.updater.outcomes import EnrichmentOutcome, Later, Passed, isolating
from services.updater.publications import Enriched, Kind, Publications

log = structlog.get_logger(__name__)
S = TypeVar("S", Item, UserHistory)
IN_EFFECT = {"APPLIED", "DUPLICATE"}  # a duplicate is told again: the first time may have ended in between


@dataclass(frozen=True)
class Question(Generic[S]):
    """An item or user that needs knowledge, and the event that the knowledge will answer."""

    stamp: Stamp
    subject_id: str
    subject: S


@dataclass(frozen=True)
class KnowledgePipeline(Generic[S]):
    """Asks for knowledge, encodes and adapts it, stores text and vectors, and publishes them.

    `ask` is knowledge's call for this kind of subject, `store` features' call: one outcome for each. Storing and
    publishing take turns under `storing`, so that the knowledge topic is written in the order in which features stored.
    """

    stage: str
    kind: Kind
    ask: Callable[[str, Sequence[S]], Iterable[Answer]]
    store: Callable[[Sequence[Enriched]], Sequence[str]]
    embedding: EmbeddingClient
    publications: Publications
    metrics: UpdaterMetrics
    storing: threading.Lock = field(default_factory=threading.Lock)

    def enrich(self, scenario: str, questions: Sequence[Question[S]]) -> dict[str, EnrichmentOutcome]:
        """One outcome for each question, by subject id; the subjects are different ones of one scenario.

        Raises loreline.client.ClientError, kafka.errors.KafkaError when all must be handled again.
        """
        return isolating(
            lambda part: self._enrich(scenario, list(part.values())), {one.subject_id: one for one in questions}
        )

    def _enrich(self, scenario: str, questions: Sequence[Question[S]]) -> dict[str, EnrichmentOutcome]:
        answers = {a.subject_id: a for a in self.ask(scenario, [question.subject for question in questions])}
        found = [(question, answers[question.subject_id]) for question in questions]
        ready = [(question, answer.knowledge) for question, answer in found if answer.knowledge]
        failed = {question.subject_id: self._failed(answer.failure) for question, answer in found if answer.failure}
        return self._keep(scenario, ready) | failed

    def _keep(self, scenario: str, ready: Sequence[tuple[Question[S], Knowledge]]) -> dict[str, EnrichmentOutcome]:
        if not ready:
            return {}
        news, *others = [
            [
                Enriched(self.kind, question.subject_id, scenario, question.stamp, made)
                for (question, _), made in zip(ready, vectors, strict=True)
            ]
            for vectors in self._vectors([knowledge for _, knowledge in ready])
        ]
        with self.storing:
            outcomes = self.store(news)
            for same in others:  # the same knowledge once more adds another version's vectors
                self.store(same)
            self.publications.tell([one for one, o in zip(news, outcomes, strict=True) if o in IN_EFFECT])
        self.metrics.count(self.stage, outcomes)
        log.info("knowledge stored", stage=self.stage, subjects=len(news), applied=list(outcomes).count("APPLIED"))
        return {one.subject_id: _stored(outcome) for one, outcome in zip(news, outcomes, strict=True)}

    def _vectors(self, texts: Sequence[Knowledge]) -> list[list[KnowledgeVectors]]:
        """The vectors of the texts, as each active version sees them."""
        encoded = self.embedding.encode([knowledge.text for knowledge in texts])
        return [
            [
                KnowledgeVectors(knowledge, encoded.encoder, vector, version, adapted)
                for knowledge, vector, adapted in zip(texts, encoded.vectors, augmented, strict=True)
            ]
            for augmented, version in adapt_for_all(self.embedding, self.kind, encoded.vectors, encoded.encoder)
        ]

    def _failed(self, failure: Failure) -> EnrichmentOutcome:
        if failure.reason in {"UNAVAILABLE", "BUDGET_SPENT"}:
            return Later(failure.reason, failure.detail)
        if failure.reason == "SUSPECT":
            self.metrics.suspects.labels(self.stage).inc()
            return Passed("SUSPECT")
        return PoisonEvent(f"KNOWLEDGE_{failure.reason}", failure.detail)


def _stored(outcome: str) -> EnrichmentOutcome:
    if outcome == "MISSING_CONTENT":
        return Later(outcome, "its content is not stored")
    return Passed(outcome) if outcome == "STALE" else None

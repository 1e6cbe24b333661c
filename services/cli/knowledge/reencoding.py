"""Makes the vectors of stored texts anew with the encoder that the embedding service has now; asks no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from loreline.client import EmbeddingClient, FeaturesClient, StoredSubject, adapt_for_all
from loreline.domain import KnowledgeVectors
from services.cli.knowledge.conditions import Condition
from services.cli.knowledge.rebuilding import Matching
from services.cli.knowledge.subject_paging import Subject
from services.cli.output import NotReady
from services.model_registry import ModelRegistry

BATCH = 64  # texts in one request; the longest ones fill a few megabytes


@dataclass(frozen=True)
class Reencoding:
    """Encodes, adapts and stores again what another encoder made."""

    features: FeaturesClient
    embedding: EmbeddingClient
    encoder: str

    def lacking(self, subject: Subject, condition: Condition, scenario: str = "") -> Matching:
        """The subjects that meet the condition and whose vectors are another encoder's."""

        def test(one: StoredSubject) -> bool:
            return one.knowledge is not None and one.encoder != self.encoder and condition.test(one)

        return Matching(subject, Condition(condition.text, test), scenario)

    def run(self, matching: Matching, progress: Callable[[int], None]) -> Counter[str]:
        """Work through what matches; returns how many writes had which outcome.

        What is done does not match any more, so a run that was broken off is simply run again. STALE means that newer
        knowledge came in between. Raises NotReady when the encoder changes under way, ClientError.
        """
        outcomes: Counter[str] = Counter()
        for _, found in matching.pages(self.features):
            for batch in _batches(found):
                vectors, *others = self._vectors(matching.subject, batch)
                outcomes.update(self._store(matching.subject, batch, vectors))
                for same in others:  # the same knowledge once more adds another version's vectors
                    self._store(matching.subject, batch, same)
                progress(len(batch))
        return outcomes

    def _vectors(self, subject: Subject, batch: Sequence[StoredSubject]) -> list[list[KnowledgeVectors]]:
        """The vectors of the texts, as each active version sees them."""
        known = [one.knowledge for one in batch if one.knowledge is not None]
        encoded = self.embedding.encode([knowledge.text for knowledge in known])
        if encoded.encoder != self.encoder:
            raise NotReady(f"the encoder has become {encoded.encoder!r} under way: run the command again")
        return [
            [
                KnowledgeVectors(knowledge, self.encoder, vector, version, adapted)
                for knowledge, vector, adapted in zip(known, encoded.vectors, augmented, strict=True)
            ]
            for augmented, version in adapt_for_all(self.embedding, subject, encoded.vectors, self.encoder)
        ]

    def _store(
        self, subject: Subject, batch: Sequence[StoredSubject], vectors: Sequence[KnowledgeVectors]
    ) -> list[str]:
        pairs = list(zip(batch, vectors, strict=True))
        if subject == "item":  # under the content's event, which is newer where a later one repeated the content
            writes = [(one.event, one.subject_id, made) for one, made in pairs if one.event is not None]
            return self.features.put_knowledge(writes)
        return [
            self.features.put_user_knowledge(one.subject_id, one.knowledge_event, made)
            for one, made in pairs
            if one.knowledge_event is not None
        ]


def present_encoder(embedding: EmbeddingClient) -> str:
    """The id of the encoder that the embedding service has. Raises ClientError."""
    return embedding.encode(["Which encoder is this?"]).encoder


def misfit(registry: ModelRegistry, encoder: str) -> str:
    """The active version where it was trained on another encoder, whose adaptor would make nonsense; else empty."""
    active = registry.adapted_versions()
    return active[0] if active and registry.manifest(active[0]).encoder != encoder else ""


def _batches(subjects: Sequence[StoredSubject]) -> Iterator[Sequence[StoredSubject]]:
    for start in range(0, len(subjects), BATCH):
        yield subjects[start : start + BATCH]

"""Makes a model version the active one without a request ever mixing halves of two versions.

1. Every stored knowledge vector is adapted with the new version's adaptor; the result is stored beside the old one's.
2. The active pointer is flipped: embedding and ranking follow it by themselves.
3. What came in between, and so has only the old version's vector, is adapted too.

A crash at any point leaves either version whole; the same call made again finishes the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from loreline.client import EmbeddingClient, FeaturesClient
from services.model_registry import ModelRegistry, NoSuchVersion

SUBJECTS: tuple[Literal["item", "user"], ...] = ("item", "user")
Progress = Callable[[str, int], None]


class EncoderMismatch(Exception):
    """Stored vectors come from another encoder than the one the version was trained with."""


def promote(
    version: str, registry: ModelRegistry, features: FeaturesClient, embedding: EmbeddingClient, progress: Progress
) -> int:
    """Promote `version` and return how many vectors were adapted; `progress(subject, vectors)` is told of each page.

    Raises NoSuchVersion, EncoderMismatch (nothing was changed for readers), loreline.client.ClientError.
    """
    adapted = _adapt_all(version, registry, features, embedding, progress)
    registry.promote(version)
    return adapted + _adapt_all(version, registry, features, embedding, progress)


def rollback(registry: ModelRegistry, features: FeaturesClient, embedding: EmbeddingClient, progress: Progress) -> str:
    """Promote the version that was active before; returns its name. Raises NoSuchVersion and as `promote`."""
    previous = registry.previous()
    if previous is None:
        raise NoSuchVersion("no version was active before this one: there is nothing to roll back to")
    promote(previous, registry, features, embedding, progress)
    return previous


def _adapt_all(
    version: str, registry: ModelRegistry, features: FeaturesClient, embedding: EmbeddingClient, progress: Progress
) -> int:
    encoder, serving = registry.manifest(version).encoder, registry.active() or ""
    return sum(_adapt(subject, version, encoder, serving, features, embedding, progress) for subject in SUBJECTS)


def _adapt(
    subject: Literal["item", "user"],
    version: str,
    encoder: str,
    serving: str,
    features: FeaturesClient,
    embedding: EmbeddingClient,
    progress: Progress,
) -> int:
    stored = 0
    for page in features.knowledge_vectors(subject, lacking_version=version):
        if page.encoder != encoder:
            raise EncoderMismatch(
                f"version {version} was trained on vectors of {encoder!r}, stored ones are of {page.encoder!r}: "
                "encode the stored texts again, or train a version on the new encoder"
            )
        augmented, _ = embedding.adapt(subject, page.vectors, version)
        stored += features.put_augmented(subject, version, page.subject_ids, augmented, serving)
        progress(subject, len(page.subject_ids))
    return stored

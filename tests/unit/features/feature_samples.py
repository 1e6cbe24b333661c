"""Events, films and knowledge as tests of the features service write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from loreline.client import FeaturesClient
from loreline.domain import Interaction, Item, KnowledgeVectors, Stamp
from tests.knowledge_samples import sample_knowledge

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def stamp(name: str, minutes: float = 0) -> Stamp:
    """An event, minutes after noon."""
    return Stamp(name, NOON + timedelta(minutes=minutes))


def film(item_id: str = "m1", title: str = "Lift", year: float = 1996) -> Item:
    """A film."""
    return Item(item_id, "movies", title, {"genres": ["Drama", "Comedy"], "year": year})


def vectors(
    value: float = 0.5,
    version: str = "1",
    text: str = "A film for patient viewers.",
    encoder: str = "minilm",
    written: float = 0,
) -> KnowledgeVectors:
    """Knowledge written some minutes after noon, whose vectors hold one value; without a version none is augmented."""
    augmented = np.full(4, value, dtype=np.float32) if version else None
    knowledge = sample_knowledge(text)
    source = replace(knowledge.provenance, created_time=NOON + timedelta(minutes=written), key=f"key of {text}")
    answer = replace(knowledge, provenance=source)
    return KnowledgeVectors(answer, encoder, np.full(8, value, dtype=np.float32), version, augmented)


def watched(
    event: str, minutes: float = 0, item_id: str = "m1", user_id: str = "u1", rating: float | None = 4
) -> Interaction:
    """A user saw a film."""
    return Interaction(stamp(event, minutes), user_id, item_id, "movies", rating)


def augment(
    client: FeaturesClient,
    subject: Literal["item", "user"],
    version: str,
    *ids: str,
    serving: str = "",
    kept: Sequence[str] = (),
) -> int:
    """Store vectors of ones of a version, as a promotion does, for what is listed now; how many were stored."""
    listed = {
        one: etag
        for page in client.knowledge_vectors(subject)
        for one, etag in zip(page.subject_ids, page.etags, strict=True)
    }
    ones = np.ones((len(ids), 4), dtype=np.float32)
    return client.put_augmented(subject, version, ids, [listed.get(one, "none") for one in ids], ones, serving, kept)

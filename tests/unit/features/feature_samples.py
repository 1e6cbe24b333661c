"""Events, films and knowledge as tests of the features service write them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

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

"""Knowledge as the offline store holds it: texts with vectors, by subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from loreline.domain import Knowledge


@dataclass(frozen=True)
class KnowledgeRow:
    """One subject's knowledge text with provenance, and its vector float32 (K,) by `encoder`.

    `augmented` holds a float32 (A,) by model version where they were made ahead.
    """

    subject_id: str
    knowledge: Knowledge
    encoder: str
    vector: npt.NDArray[np.float32]
    augmented: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class AskedKnowledge:
    """How many different questions the stored knowledge answers, and how many items and users it is of."""

    llm_calls: int
    subjects: int


class KnowledgeNotLoaded(Exception):
    """The offline store holds no knowledge vectors yet."""


@dataclass(frozen=True)
class StoredVectors:
    """Vectors (N, K) float32 of N subjects, all by one encoder."""

    subject_ids: list[str]
    encoder: str
    vectors: npt.NDArray[np.float32]

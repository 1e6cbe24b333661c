"""Texts about items and users, where they came from, and their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Provenance:
    """Where a knowledge text came from; the fields are those of loreline.knowledge.v1.Provenance."""

    key: str
    provider: str
    model: str
    scenario: str
    prompt_version: int
    factors: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str  # "stop", "length" or ""
    created_time: datetime
    parameters_json: str
    agreement: float | None = None
    fallback_reason: str = ""
    cluster: str = ""
    cluster_weight: float = 0.0


@dataclass(frozen=True)
class Knowledge:
    """A text about an item or a user, and where it came from."""

    text: str
    provenance: Provenance


@dataclass(frozen=True)
class KnowledgeVectors:
    """Knowledge with its vectors, as features stores them. `augmented` is None before any promotion."""

    knowledge: Knowledge
    encoder: str
    vector: npt.NDArray[np.float32]  # (K,)
    model_version: str
    augmented: npt.NDArray[np.float32] | None  # (A,)

"""The port to a model version's scorer. Two implementations of the same ONNX files: in this process, and in Triton.

A version that scores stored features has one. One that scores texts has one for each of its networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

ScorerInputs = Mapping[str, npt.NDArray[Any]]


Place = Literal["IN_PROCESS", "TRITON", "FALLBACK"]


class Scored(NamedTuple):
    """float32 (B, C) probabilities, or (B,) logits of sequences, and where they were computed."""

    values: npt.NDArray[np.float32]
    place: Place


class Scorer(Protocol):
    """Scores candidates with one model version. Safe to share between threads."""

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> Scored:
        """Probabilities for arrays of services.model_registry.scorer_inputs_of(kind), or logits for SEQUENCE_INPUTS.

        Raises services.runtime.errors: DependencyUnavailable when the scorer does not answer, DeadlineExceeded when
        `timeout_seconds` were not enough, PlatformError when it refuses the inputs or answers nonsense.
        """

    def ready(self) -> bool:
        """Whether a request can be scored now."""

"""The port to a model version's scorer. Two implementations of the same ONNX file: in this process, and in Triton."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

ScorerInputs = Mapping[str, npt.NDArray[Any]]


class Scorer(Protocol):
    """Scores candidates with one model version. Safe to share between threads."""

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> npt.NDArray[np.float32]:
        """(B, C) probabilities for arrays of services.model_registry.SCORER_INPUTS.

        Raises services.runtime.errors: DependencyUnavailable when the scorer does not answer, DeadlineExceeded when
        `timeout_seconds` were not enough, PlatformError when it refuses the inputs or answers nonsense.
        """

    def ready(self) -> bool:
        """Whether a request can be scored now."""

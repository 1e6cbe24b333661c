"""Scores inside this process, by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from services.model_registry import SCORER_OUTPUT
from services.ranking.scorers import ScorerInputs
from services.runtime.errors import DeadlineExceeded


class InProcessScorer:
    """Runs scorer.onnx with `threads` threads for each call."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self._session = onnxruntime.InferenceSession(path, options)

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> npt.NDArray[np.float32]:
        """As services.ranking.scorers.Scorer. A run that has begun is not broken off."""
        if timeout_seconds is not None and timeout_seconds <= 0:
            raise DeadlineExceeded("no time was left to score")
        scores: npt.NDArray[np.float32] = self._session.run([SCORER_OUTPUT], dict(inputs))[0]
        return scores

    def ready(self) -> bool:
        """Always: the model is loaded."""
        return True

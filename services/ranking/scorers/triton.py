"""Scores in a Triton Inference Server that holds the same ONNX file as a version of its model `scorer`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from services.model_registry import SCORER_INPUTS, SCORER_OUTPUT
from services.ranking.scorers import ScorerInputs
from services.runtime.errors import DeadlineExceeded, DependencyUnavailable, PlatformError

MODEL_NAME = "scorer"
UNREACHABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "NOT_FOUND")  # a restart or a load may mend these


class TritonScorer:
    """One model version in Triton. `client` is shared by the scorers of all versions."""

    def __init__(self, client: triton.InferenceServerClient, version: str, timeout_seconds: float = 1.0) -> None:
        self._client, self._version, self._timeout_seconds = client, version, timeout_seconds

    def score(self, inputs: ScorerInputs, timeout_seconds: float | None = None) -> npt.NDArray[np.float32]:
        """As services.ranking.scorers.Scorer."""
        timeout = self._timeout_seconds if timeout_seconds is None else min(timeout_seconds, self._timeout_seconds)
        if timeout <= 0:
            raise DeadlineExceeded("no time was left to score")
        try:
            result = self._client.infer(
                MODEL_NAME,
                [_tensor(name, inputs[name]) for name in SCORER_INPUTS],
                model_version=self._version,
                outputs=[triton.InferRequestedOutput(SCORER_OUTPUT)],
                client_timeout=timeout,
            )
        except InferenceServerException as error:
            raise _platform_error(error) from error
        return _scores(result, inputs["item_id"].shape)

    def ready(self) -> bool:
        """Whether Triton has this version loaded."""
        try:
            ready = self._client.is_model_ready(MODEL_NAME, self._version, client_timeout=self._timeout_seconds)
        except InferenceServerException:
            return False
        return bool(ready)


def _tensor(name: str, values: npt.NDArray[np.generic]) -> triton.InferInput:
    tensor = triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
    tensor.set_data_from_numpy(values)
    return tensor


def _scores(result: triton.InferResult, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    try:
        scores: npt.NDArray[np.float32] = result.as_numpy(SCORER_OUTPUT)
    except ValueError as error:  # the right shape without its bytes
        raise PlatformError(f"Triton's output {SCORER_OUTPUT!r} is cut: {error}") from error
    if scores is None or scores.shape != shape:
        found = None if scores is None else scores.shape
        raise PlatformError(f"Triton's output {SCORER_OUTPUT!r} has shape {found}, expected {shape}")
    return scores


def _platform_error(error: InferenceServerException) -> PlatformError:
    status, message = str(error.status() or "").removeprefix("StatusCode."), str(error.message())
    if status == "DEADLINE_EXCEEDED":
        return DeadlineExceeded("Triton did not score in time")
    if status in UNREACHABLE:
        return DependencyUnavailable("triton", message)
    return PlatformError(f"Triton refused to score: {status}: {message}")

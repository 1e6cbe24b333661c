"""Triton's Python backend: runs the version's model.onnx with ONNX Runtime, one run for each batch of requests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton

Inputs = dict[str, npt.NDArray[Any]]
OUTPUT = "score"
CANDIDATES_OF = "item_id"  # (B, C), the shape that scores have


class TritonPythonModel:
    """One instance of one version. Triton checks names, types and widths against config.pbtxt before a call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file that lies beside this one."""
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        options.log_severity_level = 4  # a refused input is answered to the caller
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score all requests of a batch together; one response each, in order.

        Where that fails each is scored alone, so that only the one that is wrong is refused.
        """
        batch = [{name: _input(request, name) for name in self._names} for request in requests]
        try:
            return self._together(batch)
        except Exception:  # onnxruntime has a class for each cause and none above them
            return [self._alone(inputs) for inputs in batch]

    def _together(self, batch: Sequence[Inputs]) -> list[Any]:
        scores = self._score({name: np.concatenate([inputs[name] for inputs in batch]) for name in self._names})
        ends = np.cumsum([len(inputs[CANDIDATES_OF]) for inputs in batch])[:-1]
        return [_response(part) for part in np.split(scores, ends)]

    def _alone(self, inputs: Inputs) -> Any:
        try:
            return _response(self._score(inputs))
        except Exception as error:
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)

    def _score(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """(B, C) scores. Raises ValueError, or what onnxruntime raises, when the inputs do not fit together."""
        expected = inputs[CANDIDATES_OF].shape
        for name in ("item_fields", "item_augmented"):  # a count of 1 would be broadcast
            if inputs[name].shape[:2] != expected:
                raise ValueError(
                    f"{name} has shape {inputs[name].shape}, expected {expected} as {CANDIDATES_OF}, then its width"
                )
        scores: npt.NDArray[np.float32] = self._session.run([OUTPUT], inputs)[0]
        if scores.shape != expected:
            raise ValueError(f"{OUTPUT} has shape {scores.shape}, expected {expected}")
        return scores


def _input(request: Any, name: str) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return values


def _response(scores: npt.NDArray[np.float32]) -> Any:
    return pb_utils.InferenceResponse([pb_utils.Tensor(OUTPUT, np.ascontiguousarray(scores))])

"""Triton's Python backend: runs the version's model.onnx with ONNX Runtime, one run for each batch of requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # exists only inside Triton


class TritonPythonModel:
    """One instance of one version. Triton checks names, types and shapes against config.pbtxt before a call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file that lies beside this one."""
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [value.name for value in self._session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        """Score all requests of a batch together; one response each, in order."""
        columns = {name: [_input(request, name) for request in requests] for name in self._names}
        scores = self._session.run(None, {name: np.concatenate(parts) for name, parts in columns.items()})[0]
        ends = np.cumsum([len(part) for part in columns[self._names[0]]])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("score", np.ascontiguousarray(part))])
            for part in np.split(scores, ends)
        ]


def _input(request: Any, name: str) -> np.ndarray:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

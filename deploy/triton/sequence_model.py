"""Triton's Python backend: runs the one ONNX file of this folder with ONNX Runtime, a run for each request.

Inputs and outputs are those of the file: token ids and mask to states, or states and mask to logits.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]  # exists only inside Triton


class TritonPythonModel:
    """One instance. Triton checks names, types and widths against config.pbtxt before a call."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the ONNX file that lies beside this one, to run on all of the server's cores."""
        folder = Path(args["model_repository"]) / args["model_version"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = len(os.sched_getaffinity(0)), 1
        options.log_severity_level = 4  # a refused input is answered to the caller
        path = next(folder.glob("*.onnx"))
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._inputs = [value.name for value in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response for each request, in order; one that is wrong spoils no other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        inputs = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs}
        try:
            output = self._session.run([self._output], inputs)[0]
        except Exception as error:  # onnxruntime has a class for each cause and none above them
            refusal = pb_utils.TritonError(str(error), pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=refusal)
        return pb_utils.InferenceResponse([pb_utils.Tensor(self._output, np.ascontiguousarray(output))])

"""Writes PyTorch modules as ONNX files, opens them, and compares what both compute."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

Shapes = dict[str, dict[int, torch.export.Dim]]
OPSET = 18
TOLERANCE = 1e-5
LARGEST_FILE_BYTES = 1_900_000_000  # a protobuf message ends at 2 GiB; weights beyond go into a file beside it


class ExportMismatch(Exception):
    """The exported file computes something else than the network."""


def write_onnx(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str], shapes: Shapes
) -> None:
    """Export a module in evaluation mode; `shapes` names the axes of each input that may vary."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    size = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter, which a caller cannot act on
        torch.onnx.export(
            module,
            example,
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=size > LARGEST_FILE_BYTES,
            verbose=False,
        )


def open_onnx(path: Path) -> onnxruntime.InferenceSession:
    """The file on the CPU."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def compare(name: str, expected: Tensor, got: npt.NDArray[np.float32], tolerance: float = TOLERANCE) -> None:
    """Raise ExportMismatch, naming the file, when shapes differ or a number by more than the tolerance."""
    wanted = expected.numpy()
    if wanted.shape != got.shape or (wanted.size and not float(np.abs(wanted - got).max()) <= tolerance):
        raise ExportMismatch(f"{name}: differs from the network by more than {tolerance}")

"""Exports a trained network's two halves to ONNX, and proves that they compute the same."""

from __future__ import annotations

import hashlib
import logging
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from services.ctr.batch import RankingBatch
from services.ctr.hybrid_expert_adaptor import HybridExpertAdaptor
from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.model_registry import SCORER_INPUTS, SCORER_OUTPUT

Shapes = dict[str, dict[int, torch.export.Dim]]
OPSET = 18
TOLERANCE = 1e-5
EXAMPLE_SIZES = {"B": 2, "C": 3}
CHECKED_SIZES = ({"B": 1, "C": 1}, {"B": 1, "C": 200}, {"B": 3, "C": 7})


class ExportMismatch(Exception):
    """The exported file computes something else than the network."""


class Scorer(nn.Module):
    """A backbone with its knowledge fields, from the scorer's inputs to probabilities (B, C)."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(
        self,
        item_id: Tensor,
        item_fields: Tensor,
        item_augmented: Tensor,
        history_item_id: Tensor,
        history_fields: Tensor,
        history_rating: Tensor,
        user_augmented: Tensor,
    ) -> Tensor:
        """Probabilities of a positive interaction; shapes as in services.model_registry.SCORER_INPUTS."""
        batch = RankingBatch(
            item_id, item_fields, item_augmented, history_item_id, history_fields, history_rating, user_augmented
        )
        return torch.sigmoid(self.backbone(batch))


def export(network: KnowledgeAugmented, folder: Path, history_length: int, item_fields: int) -> dict[str, str]:
    """Write adaptor.onnx and scorer.onnx; returns each file's SHA-256. Raises ExportMismatch."""
    network.eval()
    config = network.adaptor.config
    sizes = {"L": history_length, "F": item_fields, "A": config.augmented_width}
    export_adaptor(network.adaptor, folder / "adaptor.onnx")
    _export_scorer(Scorer(network.backbone).eval(), folder / "scorer.onnx", sizes)
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("adaptor.onnx", "scorer.onnx")}


def export_adaptor(adaptor: HybridExpertAdaptor, path: Path) -> None:
    """Write the adaptor alone. Raises ExportMismatch."""
    names, outputs = ["item_knowledge", "user_knowledge"], ["item_augmented", "user_augmented"]
    example = tuple(torch.rand(rows, adaptor.config.knowledge_width) for rows in (2, 3))
    shapes = {name: {0: torch.export.Dim(axis)} for name, axis in zip(names, "NM", strict=True)}
    _write(adaptor, example, path, names, outputs, shapes)
    session = _session(path)
    for rows in ((1, 0), (0, 1), (5, 8)):
        inputs = [torch.rand(n, adaptor.config.knowledge_width) for n in rows]
        with torch.inference_mode():
            expected = adaptor(*inputs)
        got = session.run(outputs, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
        for one, other in zip(expected, got, strict=True):
            _compare(path.name, one, other)


def _export_scorer(scorer: Scorer, path: Path, sizes: dict[str, int]) -> None:
    example = _scorer_inputs({**sizes, **EXAMPLE_SIZES}, seed=0)
    axes = {letter: torch.export.Dim(letter) for letter in EXAMPLE_SIZES}
    shapes = {
        name: {place: axes[letter] for place, letter in enumerate(shape) if letter in axes}
        for name, (_, shape) in SCORER_INPUTS.items()
    }
    _write(scorer, tuple(example.values()), path, list(SCORER_INPUTS), [SCORER_OUTPUT], shapes)
    session = _session(path)
    for seed, counts in enumerate(CHECKED_SIZES):
        inputs = _scorer_inputs({**sizes, **counts}, seed)
        with torch.inference_mode():
            expected = scorer(*inputs.values())
        _compare(path.name, expected, session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def _write(
    module: nn.Module, example: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str], shapes: Shapes
) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
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
            external_data=False,
            verbose=False,
        )


def _scorer_inputs(sizes: dict[str, int], seed: int) -> dict[str, Tensor]:
    """Random valid inputs; index 1 (UNKNOWN) exists in every vocabulary, and the last history places are padding."""
    random = torch.Generator().manual_seed(seed)
    inputs = {}
    for name, (dtype, letters) in SCORER_INPUTS.items():
        shape = [sizes[letter] for letter in letters]
        floats = torch.rand(shape, generator=random)
        inputs[name] = floats if dtype == "float32" else (floats * 2).long()
    inputs["history_item_id"][:, sizes["L"] // 2 :] = 0
    return inputs


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _compare(name: str, expected: Tensor, got: npt.NDArray[np.float32]) -> None:
    wanted = expected.numpy()
    if wanted.shape != got.shape or (wanted.size and float(np.abs(wanted - got).max()) > TOLERANCE):
        raise ExportMismatch(f"{name}: differs from the network by more than {TOLERANCE}")

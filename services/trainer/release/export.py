"""Exports a trained network's two halves to ONNX, and proves that they compute the same."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from services.ctr.batch import RankingBatch
from services.ctr.hybrid_expert_adaptor import HybridExpertAdaptor, Side
from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.ctr.uni_ctr.student import with_domain
from services.model_registry import (
    DOMAIN,
    NO_DOMAIN,
    SCORER_INPUTS,
    SCORER_OUTPUT,
    Manifest,
    ScorerKind,
    scorer_inputs_of,
)
from services.model_registry.file_hashes import file_hash
from services.model_registry.manifest import InputSizes
from services.model_registry.rerankers import RERANKER_FILE
from services.trainer.release.onnx_files import compare, open_onnx, write_onnx

SIDES: tuple[Side, ...] = ("item", "user")
EXPERTS = "experts"  # of an output's name, after its side
EXAMPLE_SIZES = {"B": 2, "C": 3}
CHECKED_SIZES = ({"B": 1, "C": 1}, {"B": 1, "C": 200}, {"B": 3, "C": 7})


class ExportedScorer(nn.Module):
    """A backbone with its knowledge fields, from the scorer's inputs to probabilities (B, C).

    A student's takes the domain too.
    """

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
        domain: Tensor | None = None,
    ) -> Tensor:
        """Probabilities of a positive interaction; shapes as in services.model_registry.scorer_inputs_of."""
        batch = RankingBatch(
            item_id, item_fields, item_augmented, history_item_id, history_fields, history_rating, user_augmented
        )
        return torch.sigmoid(self.backbone(batch if domain is None else with_domain(batch, domain)))


def export(
    network: KnowledgeAugmented, folder: Path, history_length: int, item_fields: int, kind: ScorerKind = "kar"
) -> dict[str, str]:
    """Write adaptor.onnx and scorer.onnx; returns each file's SHA-256. `item_fields` counts none for a domain.

    Raises ExportMismatch.
    """
    network.eval()
    config = network.adaptor.config
    sizes = {"L": history_length, "F": item_fields, "A": config.augmented_width}
    export_adaptor(network.adaptor, folder / "adaptor.onnx")
    export_scorer(ExportedScorer(network.backbone).eval(), folder / "scorer.onnx", sizes, scorer_inputs_of(kind))
    return {name: file_hash(folder / name) for name in ("adaptor.onnx", "scorer.onnx")}


def export_reranker(network: KnowledgeAugmented, folder: Path, base: Manifest) -> dict[str, str]:
    """Write reranker.onnx, with the inputs of the base version's scorer; its SHA-256. Raises ExportMismatch."""
    sizes = {"L": base.history_length, "F": len(base.item_fields), "A": base.augmented_dimension}
    path = folder / RERANKER_FILE
    export_scorer(ExportedScorer(network.eval().backbone).eval(), path, sizes)
    return {RERANKER_FILE: file_hash(path)}


class AdaptorWithGates(nn.Module):
    """An adaptor, and how it mixes its experts: after the augmented vectors the gate's weights of each side used."""

    def __init__(self, adaptor: HybridExpertAdaptor) -> None:
        super().__init__()
        self.adaptor = adaptor
        self.sides = [side for side in SIDES if adaptor.config.uses(side)]

    def forward(self, item_knowledge: Tensor, user_knowledge: Tensor) -> tuple[Tensor, ...]:
        """Augmented (N, A) and (M, A), then weights (N, E) and (M, E) of the sides that are used."""
        knowledge = {"item": item_knowledge, "user": user_knowledge}
        gates = [self.adaptor.gate(knowledge[side], side) for side in self.sides]
        return (*self.adaptor(item_knowledge, user_knowledge), *gates)


def export_adaptor(bare: HybridExpertAdaptor, path: Path) -> None:
    """Write the adaptor alone, with its gates. Raises ExportMismatch."""
    adaptor = AdaptorWithGates(bare).eval()
    names = ["item_knowledge", "user_knowledge"]
    outputs = ["item_augmented", "user_augmented", *[f"{side}_{EXPERTS}" for side in adaptor.sides]]
    example = tuple(torch.rand(rows, bare.config.knowledge_width) for rows in (2, 3))
    shapes = {name: {0: torch.export.Dim(axis)} for name, axis in zip(names, "NM", strict=True)}
    write_onnx(adaptor, example, path, names, outputs, shapes)
    _name_experts(bare, path)
    session = open_onnx(path)
    for rows in ((1, 0), (0, 1), (5, 8)):
        inputs = [torch.rand(n, bare.config.knowledge_width) for n in rows]
        with torch.inference_mode():
            expected = adaptor(*inputs)
        got = session.run(outputs, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
        for one, other in zip(expected, got, strict=True):
            compare(path.name, one, other)


def _name_experts(adaptor: HybridExpertAdaptor, path: Path) -> None:
    """Write into the file which expert each weight of a side is for: E names joined by commas."""
    shared, dedicated = adaptor.config.counts()
    model = onnx.load(path)
    names = {
        f"{side}_{EXPERTS}": ",".join(
            [*[f"shared-{n + 1}" for n in range(shared)], *[f"{side}-{n + 1}" for n in range(dedicated)]]
        )
        for side in SIDES
    }
    onnx.helper.set_model_props(model, names)
    onnx.save(model, path)


def export_scorer(
    scorer: nn.Module, path: Path, sizes: dict[str, int], expected_inputs: InputSizes = SCORER_INPUTS
) -> None:
    """Write a scorer of these inputs; `sizes` fixes L, F and A. Raises ExportMismatch."""
    example = _scorer_inputs({**sizes, **EXAMPLE_SIZES}, expected_inputs, seed=0)
    axes = {letter: torch.export.Dim(letter) for letter in EXAMPLE_SIZES}
    shapes = {
        name: {place: axes[letter] for place, letter in enumerate(shape) if letter in axes}
        for name, (_, shape) in expected_inputs.items()
    }
    write_onnx(scorer, tuple(example.values()), path, list(expected_inputs), [SCORER_OUTPUT], shapes)
    session = open_onnx(path)
    for seed, counts in enumerate(CHECKED_SIZES):
        inputs = _scorer_inputs({**sizes, **counts}, expected_inputs, seed)
        with torch.inference_mode():
            expected = scorer(*inputs.values())
        compare(path.name, expected, session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])


def _scorer_inputs(sizes: dict[str, int], expected: InputSizes, seed: int) -> dict[str, Tensor]:
    """Random valid inputs; index 1 (UNKNOWN) exists in every vocabulary, and the last history places are padding.

    Domains are unknown or the first.
    """
    random = torch.Generator().manual_seed(seed)
    inputs = {}
    for name, (dtype, letters) in expected.items():
        shape = [sizes[letter] for letter in letters]
        floats = torch.rand(shape, generator=random)
        inputs[name] = floats if dtype == "float32" else (floats * 2).long()
    inputs["history_item_id"][:, sizes["L"] // 2 :] = 0
    if DOMAIN in inputs:
        inputs[DOMAIN] += NO_DOMAIN
    return inputs

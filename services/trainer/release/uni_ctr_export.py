"""Exports a trained Uni-CTR as the files of a version, each of which is proved to compute the same.

The language model and every network have a file each: to add a domain is to write one more.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from services.ctr.uni_ctr.network import GENERAL, UniCtr
from services.ctr.uni_ctr.prompts import PromptFormat
from services.model_registry.file_hashes import file_hash
from services.model_registry.unictr_files import (
    ATTENTION_MASK,
    INPUT_IDS,
    LANGUAGE_MODEL_FILE,
    LOGITS,
    PROMPTS_FILE,
    STATES,
    TOKENIZER_FILE,
    network_file,
)
from services.trainer.release.onnx_files import compare, open_onnx, write_onnx

LARGEST_BATCH = 65_536
EXAMPLE = (3, 7)  # prompts and tokens
RELATIVE_TOLERANCE = 1e-4  # a language model's sums are long


def export_uni_ctr(network: UniCtr, tokenizer: Tokenizer, prompts: PromptFormat, folder: Path) -> dict[str, str]:
    """Write language_model.onnx, a file for each network, tokenizer.json and prompts.json; SHA-256 by file name.

    LoRA is merged into the weights, which are written in float32; what protobuf cannot hold goes beside them. Raises
    ExportMismatch.
    """
    before = {path.name for path in folder.iterdir()}
    _export_language_model(network, folder / LANGUAGE_MODEL_FILE, prompts.max_tokens)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    (folder / PROMPTS_FILE).write_text(prompts.to_json(), encoding="utf-8")
    for name in (*network.domains, *([GENERAL] if network.general is not None else [])):
        export_network(network, name, folder, prompts.max_tokens)
    return {path.name: file_hash(path) for path in sorted(folder.iterdir()) if path.name not in before}


def export_network(network: UniCtr, name: str, folder: Path, max_tokens: int) -> dict[str, str]:
    """Write network-NAME.onnx of one domain, or the general one; its SHA-256 by file name. Raises ExportMismatch."""
    module, path = network.network(name), folder / network_file(name)
    training, device = module.training, next(module.parameters()).device
    module.cpu().eval()
    try:
        _export_module(module, path, network.language_model.width, len(network.language_model.points), max_tokens)
    finally:
        module.to(device).train(training)
    return {path.name: file_hash(path)}


def _export_language_model(network: UniCtr, path: Path, max_tokens: int) -> None:
    model = network.language_model.merged().float().cpu().eval()
    prompts, tokens = _axes(max_tokens, shortest=2)
    shapes = {name: {0: prompts, 1: tokens} for name in (INPUT_IDS, ATTENTION_MASK)}
    write_onnx(model, _prompts(model.token_count, *EXAMPLE), path, [INPUT_IDS, ATTENTION_MASK], [STATES], shapes)
    _prove(
        model, path, [INPUT_IDS, ATTENTION_MASK], (_prompts(model.token_count, *size) for size in _sizes(max_tokens))
    )


def _export_module(module: nn.Module, path: Path, width: int, points: int, max_tokens: int) -> None:
    def example(rows: int, tokens: int) -> tuple[Tensor, Tensor]:
        mask = _mask(rows, tokens)
        return torch.randn(rows, points, tokens, width) * mask[:, None, :, None], mask

    prompts, tokens = _axes(max_tokens, shortest=1)
    shapes = {STATES: {0: prompts, 2: tokens}, ATTENTION_MASK: {0: prompts, 1: tokens}}
    write_onnx(module, example(*EXAMPLE), path, [STATES, ATTENTION_MASK], [LOGITS], shapes)
    _prove(module, path, [STATES, ATTENTION_MASK], (example(*size) for size in _sizes(max_tokens)))


def _prove(module: nn.Module, path: Path, names: list[str], examples: Iterator[tuple[Tensor, Tensor]]) -> None:
    session = open_onnx(path)
    for inputs in examples:
        with torch.inference_mode():
            expected = module(*inputs)
        got = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
        largest = float(expected.abs().max())
        compare(path.name, expected, got, RELATIVE_TOLERANCE * max(1.0, largest))


def _axes(max_tokens: int, shortest: int) -> tuple[torch.export.Dim, torch.export.Dim]:
    prompts = torch.export.Dim("prompts", min=1, max=LARGEST_BATCH)
    return prompts, torch.export.Dim("tokens", min=shortest, max=max(max_tokens, EXAMPLE[1]))


def _sizes(max_tokens: int) -> tuple[tuple[int, int], ...]:
    return (1, 2), (1, max_tokens), (5, max(2, max_tokens // 2))


def _prompts(token_count: int, rows: int, tokens: int) -> tuple[Tensor, Tensor]:
    mask = _mask(rows, tokens)
    return torch.randint(token_count, (rows, tokens)) * mask, mask


def _mask(rows: int, tokens: int) -> Tensor:
    """Prompts of different lengths, the first one of full length and the last one of one token."""
    lengths = torch.linspace(tokens, 1, rows).round().long() if rows > 1 else torch.tensor([tokens])
    return (torch.arange(tokens) < lengths.unsqueeze(1)).long()

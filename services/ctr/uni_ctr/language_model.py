"""The language model under all domains: its hidden states at the ladder points, with padding left out."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class LowRank:
    """LoRA (arXiv 2106.09685) with the sizes of Uni-CTR's section V-A.

    `targets` are names of linear layers; empty takes peft's choice for the model's type, query and value projections.
    """

    rank: int = 8
    alpha: int = 32
    dropout: float = 0.1
    targets: tuple[str, ...] = ()


class LanguageModel(nn.Module):
    """Any Hugging Face encoder or decoder, wholly trained, or with LoRA (`low_rank`) and else frozen.

    The states at the ladder points, every `ladder_every` layers and after the last, are (B, F, T, D); those of padding
    are zeros. Padding belongs on the right: then a decoder's real tokens never see it, and an encoder masks it.
    Raises ValueError for a step or a model that cannot be had.
    """

    def __init__(self, model: PreTrainedModel, ladder_every: int, low_rank: LowRank | None = None) -> None:
        super().__init__()
        self.width, layers = int(model.config.hidden_size), int(model.config.num_hidden_layers)
        self.points = ladder_points(layers, ladder_every)
        self.low_rank = low_rank
        self.model = _with_low_rank(model, low_rank) if low_rank else model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """States (B, F, T, D) float of `input_ids` (B, T) int64 where `attention_mask` (B, T) int64 is 1."""
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True, **self._uncached
        )
        return self.at_points(output.hidden_states, attention_mask)

    def at_points(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """The states (B, F, T, D) among those of the embedding and all layers, zero where the mask (B, T) is."""
        states = torch.stack([hidden_states[point] for point in self.points], dim=1)
        return states * attention_mask[:, None, :, None].to(states.dtype)

    @property
    def token_count(self) -> int:
        """Size of the vocabulary; ids are below it."""
        table: Any = self.model.get_input_embeddings()
        return int(table.num_embeddings)

    def merged(self) -> LanguageModel:
        """A copy that computes the same without LoRA's extra layers, for export."""
        other = copy.deepcopy(self)
        if isinstance(other.model, PeftModel):
            other.model, other.low_rank = other.model.merge_and_unload(), None
        return other

    @cached_property
    def reads_forward_only(self) -> bool:
        """Whether no token sees a later one, as in decoders: found by trying, since no config says it for all."""
        device = next(self.parameters()).device
        ids = torch.tensor([[1, 2], [1, 3]], device=device)
        was_training = self.training
        with torch.no_grad():
            states = self.eval()(ids, torch.ones_like(ids))
        self.train(was_training)
        return torch.allclose(states[0, :, 0], states[1, :, 0], atol=1e-6)

    @property
    def _uncached(self) -> dict[str, bool]:
        return {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}


def ladder_points(layers: int, every: int) -> tuple[int, ...]:
    """Numbers of the layers after which a ladder reads: every so many, and always the last; 1 is the first layer."""
    if not 1 <= every <= layers:
        raise ValueError(f"ladder_every: must be 1 to {layers}, the language model's layers, is {every}")
    return (*range(every, layers, every), layers)


def _with_low_rank(model: PreTrainedModel, low_rank: LowRank) -> PeftModel:
    config = LoraConfig(
        r=low_rank.rank,
        lora_alpha=low_rank.alpha,
        lora_dropout=low_rank.dropout,
        target_modules=list(low_rank.targets) or None,
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that will go
            return get_peft_model(model, config)
    except ValueError as error:
        raise ValueError(f"low_rank: {model.config.model_type} does not take it: {error}") from error

"""The networks over the language model's states: one for each domain, and a general one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from services.ctr.layers import LogitHead, initialise, masked_mean
from services.ctr.uni_ctr.ladders import LadderKind, LadderStack
from services.ctr.uni_ctr.pooling import AttentionPooling, last_token


@dataclass(frozen=True)
class UniCtrConfig:
    """Sizes of the networks; the defaults are those of arXiv 2312.10743, section V-A, and of the released blocks.

    For ablations: `ladder` none leaves the gate h_L alone, `general` False leaves the general network out.
    `general_pooling` says how the general network reads h_L: `mean` over the real tokens, right for encoders and
    decoders alike, or the `last` real token, the only one of a decoder that has read the whole prompt.
    """

    ladder: LadderKind = "transformer"
    ladder_dropout: float = 0.2
    gate_width: int = 128
    tower: tuple[int, ...] = (512, 256, 128)
    tower_dropout: float = 0.3
    general: bool = True
    general_pooling: Literal["mean", "last"] = "mean"


class DomainNetwork(nn.Module):
    """Ladders, gate and tower of one domain (DSN): O = concat(h_L, lad_F), pooled by attention, then an MLP.

    The gate pools over all real tokens, for decoders too: it learns by itself to look where a decoder knows most.
    """

    def __init__(self, config: UniCtrConfig, width: int, points: int) -> None:
        super().__init__()
        ladders = config.ladder != "none"
        self.ladders = LadderStack(config.ladder, width, points, config.ladder_dropout) if ladders else None
        pooled = 2 * width if ladders else width
        self.gate = AttentionPooling(pooled, config.gate_width)
        self.tower = LogitHead(pooled, config.tower, config.tower_dropout)
        initialise(self)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B,) of `states` (B, F, T, D) where `attention_mask` (B, T) is 1."""
        fused = states[:, -1]
        if self.ladders is not None:
            fused = torch.cat([fused, self.ladders(states, attention_mask)], dim=-1)  # (B, T, 2 D)
        logits: Tensor = self.tower(self.gate(fused, attention_mask))
        return logits


class GeneralNetwork(nn.Module):
    """A tower on h_L alone, for prompts of any domain (equation 14).

    The equation does not say how tokens become one vector: here by `general_pooling`, without weights of its own.
    """

    def __init__(self, config: UniCtrConfig, width: int) -> None:
        super().__init__()
        self.pooling = config.general_pooling
        self.tower = LogitHead(width, config.tower, config.tower_dropout)
        initialise(self)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits (B,) of `states` (B, F, T, D) where `attention_mask` (B, T) is 1."""
        last = states[:, -1]
        mean = self.pooling == "mean"
        pooled = masked_mean(last, attention_mask.to(last.dtype)) if mean else last_token(last, attention_mask)
        logits: Tensor = self.tower(pooled)
        return logits

"""Ladders: small blocks that carry what a domain needs up along the language model's layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from services.ctr.layers import SelfAttention

LadderKind = Literal["transformer", "attention", "bottleneck", "none"]


class TransformerLadder(nn.Module):
    """Down to a quarter, attention, layer norm, up again, added to the input, layer norm (released block's sizes).

    (B, T, D) to (B, T, D); attends within a prompt only, and to its real tokens only.
    """

    def __init__(self, width: int, dropout: float, reduction: int = 4, heads: int = 2) -> None:
        super().__init__()
        inner = max(1, width // (reduction * heads)) * heads
        self.down = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, inner))
        self.attention = SelfAttention(inner, heads)
        self.up = nn.Sequential(nn.Linear(inner, width), nn.ReLU(), nn.Linear(width, width))
        self.after_attention, self.after_block = nn.LayerNorm(inner), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Transform `values` (B, T, D) where `mask` (B, T) is 1."""
        low = self.down(values)
        attended = self.after_attention(low + self.dropout(self.attention(low, mask)))
        risen: Tensor = self.after_block(values + self.dropout(self.up(attended)))
        return risen


class AttentionLadder(nn.Module):
    """Attention at full width, added to the input, layer norm."""

    def __init__(self, width: int, dropout: float, heads: int = 2) -> None:
        super().__init__()
        self.attention, self.norm = SelfAttention(width, heads), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Transform `values` (B, T, D) where `mask` (B, T) is 1."""
        risen: Tensor = self.norm(values + self.dropout(self.attention(values, mask)))
        return risen


class BottleneckLadder(nn.Module):
    """Each token by itself through a few numbers, as LoRA does with weights; added to the input, layer norm."""

    def __init__(self, width: int, dropout: float, rank: int = 4) -> None:
        super().__init__()
        self.path = nn.Sequential(nn.Linear(width, rank), nn.Sigmoid(), nn.Linear(rank, width))
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG002 - all ladders have one face
        """Transform `values` (B, T, D), token by token."""
        risen: Tensor = self.norm(values + self.dropout(self.path(values)))
        return risen


LADDERS: dict[str, Callable[[int, float], nn.Module]] = {
    "transformer": TransformerLadder,
    "attention": AttentionLadder,
    "bottleneck": BottleneckLadder,
}


class LadderStack(nn.Module):
    """lad_1 = L_1(h_1), lad_f = L_f(h_f + lad_(f-1)) over the F ladder points (arXiv 2312.10743, equation 10)."""

    def __init__(self, kind: LadderKind, width: int, points: int, dropout: float) -> None:
        super().__init__()
        self.rungs = nn.ModuleList(LADDERS[kind](width, dropout) for _ in range(points))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """lad_F (B, T, D) of `states` (B, F, T, D) where `mask` (B, T) is 1."""
        ladder = torch.zeros_like(states[:, 0])
        for point, rung in enumerate(self.rungs):
            ladder = rung(states[:, point] + ladder, mask)
        return ladder

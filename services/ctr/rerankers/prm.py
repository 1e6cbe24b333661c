"""Personalised Re-ranking Model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import LogitHead, SelfAttentionBlock, initialise
from services.ctr.rerankers.list_embedding import ListEmbedding


class PRM(nn.Module):
    """logits = MLP(block(W x + position)), where the block lets every candidate attend to the whole list.

    x = [candidate, mean history, augmented item, augmented user]; positions are sines and cosines, so a list may have
    any length. Source: PRM, arXiv 1904.06813, with the sizes of KAR's experiments: one block of 2 heads, MLP 200-80.
    Raises ValueError for an odd `width`: a sine needs its cosine.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        width: int = 64,
        heads: int = 2,
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, is {width}")
        self.embedding = ListEmbedding(spec)
        self.project = nn.Linear(self.embedding.width, width)
        self.block = SelfAttentionBlock(width, heads, dropout)
        self.head = LogitHead(width, hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C) of a list of C candidates; PADDING marks places that hold none."""
        candidates, mask = self.embedding(batch)  # (B, C, W), (B, C)
        hidden = self.project(candidates)
        attended = self.block(hidden + positions(hidden), mask)
        logits: Tensor = self.head(attended)
        return logits


def positions(values: Tensor) -> Tensor:
    """Sines and cosines (C, D) of the places of `values` (B, C, D), D even (arXiv 1706.03762, section 3.5)."""
    width = values.shape[-1]
    place = torch.cumsum(torch.ones_like(values[0, :, :1]), dim=0) - 1  # (C, 1)
    wave = torch.exp(torch.arange(0, width, 2, device=values.device) * (-9.210340371976184 / width))  # ln 10000
    return torch.cat([torch.sin(place * wave), torch.cos(place * wave)], dim=-1)

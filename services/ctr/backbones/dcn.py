"""Deep and Cross Networks, version 1 and 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import MLP, LogitHead, MatrixCross, VectorCross, initialise


class DCN(nn.Module):
    """logit = MLP([cross(x), deep(x)]), x = all fields in a row; arXiv 1708.05123, sizes of KAR's experiments."""

    cross: ClassVar[type[nn.Module]] = VectorCross

    def __init__(
        self,
        spec: FeatureSpec,
        crosses: int = 3,
        deep: Sequence[int] = (200, 80),
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        width = self.fields.count * self.fields.width
        self.crossing = self.cross(width, crosses)
        self.deep = MLP([width, *deep], dropout)
        self.head = LogitHead(width + deep[-1], hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        row = self.fields.all(batch).flatten(-2)  # (B, C, N D)
        logits: Tensor = self.head(torch.cat([self.crossing(row), self.deep(row)], dim=-1))
        return logits


class DCNv2(DCN):
    """As DCN, with a matrix in the place of each cross's vector (arXiv 2008.13535)."""

    cross = MatrixCross

"""A plain deep network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import LogitHead, initialise


class DNN(nn.Module):
    """logit = MLP([all fields]): what every crossing network is to beat (deep part of arXiv 1606.07792)."""

    def __init__(self, spec: FeatureSpec, deep: Sequence[int] = (512, 256, 128), dropout: float = 0.0) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        self.deep = LogitHead(self.fields.count * self.fields.width, deep, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.deep(self.fields.all(batch).flatten(-2))
        return logits

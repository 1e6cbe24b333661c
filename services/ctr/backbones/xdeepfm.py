"""xDeepFM."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import CompressedInteraction, LogitHead, initialise


class XDeepFM(nn.Module):
    """logit = w . [fields] + v . CIN(fields) + MLP([fields]); arXiv 1803.05170. Knowledge is two fields more."""

    def __init__(
        self,
        spec: FeatureSpec,
        maps: Sequence[int] = (50, 50),
        deep: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        width = self.fields.count * self.fields.width
        self.first_order = nn.Linear(width, 1)
        self.interaction = CompressedInteraction(self.fields.count, maps)
        self.of_maps = nn.Linear(sum(maps), 1, bias=False)
        self.deep = LogitHead(width, deep, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        fields = self.fields.all(batch)  # (B, C, N, D)
        row = fields.flatten(-2)
        linear: Tensor = self.first_order(row) + self.of_maps(self.interaction(fields))  # (B, C, 1)
        logits: Tensor = linear.squeeze(-1) + self.deep(row)
        return logits

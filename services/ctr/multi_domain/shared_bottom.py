"""Shared Bottom."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import MLP, initialise
from services.ctr.multi_domain.heads import Row, Towers


class SharedBottom(nn.Module):
    """logit_d = tower_d(MLP(x)), x = all fields in a row; Caruana 1997, as a baseline of arXiv 2312.10743."""

    def __init__(
        self,
        spec: FeatureSpec,
        domains: int,
        bottom: Sequence[int] = (512, 256),
        tower: Sequence[int] = (128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.row = Row(spec)
        self.bottom = MLP([self.row.width, *bottom], dropout)
        self.towers = Towers(domains, bottom[-1], tower, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch, domain: Tensor) -> Tensor:
        """Logits (B, C)."""
        shared = self.bottom(self.row(batch))  # (B, C, H)
        return self.towers.own([shared] * len(self.towers), domain)

"""FiBiNET."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import LogitHead, initialise


class SqueezeExcitation(nn.Module):
    """Fields weighed by ReLU(W2 ReLU(W1 means)): (..., N, D) to the same; `reduction` is the hidden share of N."""

    def __init__(self, fields: int, reduction: float) -> None:
        super().__init__()
        hidden = max(1, int(fields * reduction))
        self.excite = nn.Sequential(
            nn.Linear(fields, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, fields, bias=False), nn.ReLU()
        )

    def forward(self, fields: Tensor) -> Tensor:
        """Weigh (..., N, D)."""
        weights: Tensor = self.excite(fields.mean(dim=-1))  # (..., N)
        return fields * weights.unsqueeze(-1)


class FiBiNET(nn.Module):
    """logit = MLP([bilinear(fields), bilinear(weighed fields)]), bilinear: (W v_i) * v_j of all pairs, one W for all.

    Source: arXiv 1905.09433. Half of the fields are hidden units of the squeeze; KAR's released code divides by the
    ratio and so doubles them, which squeezes nothing. Knowledge is two more fields.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        reduction: float = 0.5,
        deep: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        count, width = self.fields.count, self.fields.width
        self.left, self.right = zip(*[(i, j) for i in range(count) for j in range(i + 1, count)], strict=True)
        self.squeeze = SqueezeExcitation(count, reduction)
        self.bilinear = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.head = LogitHead(2 * len(self.left) * width, deep, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        fields = self.fields.all(batch)  # (B, C, N, D)
        pairs = [
            self._pairs(bilinear, values)
            for bilinear, values in zip(self.bilinear, (fields, self.squeeze(fields)), strict=True)
        ]
        logits: Tensor = self.head(torch.cat(pairs, dim=2).flatten(-2))
        return logits

    def _pairs(self, bilinear: nn.Module, fields: Tensor) -> Tensor:
        left: Tensor = bilinear(fields)[:, :, list(self.left)]
        return left * fields[:, :, list(self.right)]  # (B, C, pairs, D)

"""DeepFM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import LogitHead, factorisation_machine, initialise


class DeepFM(nn.Module):
    """logit = w . [all fields] + FM(plain fields) + MLP([all fields]).

    Source: arXiv 1703.04247. Knowledge enters the first order and the deep part, but not the second order, as in KAR's
    experiments: its vectors are no embeddings of one value whose products with others would be learned.
    """

    def __init__(self, spec: FeatureSpec, deep: Sequence[int] = (200, 80), dropout: float = 0.0) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        width = self.fields.count * self.fields.width
        self.first_order = nn.Linear(width, 1)
        self.deep = LogitHead(width, deep, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        fields = self.fields(batch)
        row = torch.cat(fields, dim=2).flatten(-2)  # (B, C, N D)
        logits: Tensor = self.first_order(row).squeeze(-1) + factorisation_machine(fields.plain) + self.deep(row)
        return logits

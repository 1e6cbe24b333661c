"""AutoInt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import initialise


class Interacting(nn.Module):
    """ReLU(softmax(Q K^T / sqrt(S)) V + W x) over fields: (..., N, D) to (..., N, S), one head."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * size, bias=False)
        self.residual = nn.Linear(width, size, bias=False)

    def forward(self, fields: Tensor) -> Tensor:
        """Attend among (..., N, D)."""
        query, key, value = self.project(fields).chunk(3, dim=-1)
        return torch.relu(scaled_dot_product_attention(query, key, value) + self.residual(fields))


class AutoInt(nn.Module):
    """logit = w . [fields after self-attention]; source: arXiv 1810.11921. Knowledge is two more fields."""

    def __init__(self, spec: FeatureSpec, layers: int = 3, size: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        widths = [self.fields.width, *[size] * (layers - 1)]
        self.interacting = nn.Sequential(*[Interacting(width, size) for width in widths])
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(self.fields.count * size, 1)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        attended = self.interacting(self.fields.all(batch))  # (B, C, N, S)
        logits: Tensor = self.logit(self.dropout(attended.flatten(-2)))
        return logits.squeeze(-1)

"""Deep Interest Network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureEmbedding, FeatureSpec, RankingBatch, knowledge_fields
from services.ctr.layers import LogitHead, TargetAttention, initialise


class DIN(nn.Module):
    """logit = MLP([interest, candidate, augmented item, augmented user]), interest = attention of candidate to history.

    Source: DIN, arXiv 1706.06978, with KAR's fields appended (arXiv 2306.10933, section 3.5). History entries are
    mapped by a Linear to a candidate's width W = (1 + F) D.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        attention_hidden: Sequence[int] = (32, 16),
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = (1 + len(spec.field_counts)) * spec.embedding_width
        self.knowledge = spec.augmented_width > 0
        self.embedding = FeatureEmbedding(spec)
        self.history = nn.Linear(width + spec.embedding_width, width)
        self.attention = TargetAttention(width, attention_hidden)
        self.head = LogitHead(2 * width + 2 * spec.augmented_width, hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        items, history, mask = self.embedding(batch)
        interest = self.attention(items, self.history(history), mask)  # (B, C, W)
        logits: Tensor = self.head(torch.cat([interest, items, *knowledge_fields(batch, self.knowledge)], dim=-1))
        return logits

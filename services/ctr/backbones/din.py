"""Deep Interest Network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureEmbedding, FeatureSpec, RankingBatch
from services.ctr.layers import MLP, TargetAttention, initialise


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
        self.mlp = MLP([2 * width + 2 * spec.augmented_width, *hidden], dropout)
        self.logit = nn.Linear(hidden[-1], 1)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        items, history, mask = self.embedding(batch)
        interest = self.attention(items, self.history(history), mask)  # (B, C, W)
        fields = [interest, items]
        if self.knowledge:
            user = batch.user_augmented.unsqueeze(1).expand(-1, items.shape[1], -1)  # (B, C, A)
            fields += [batch.item_augmented, user]
        logits: Tensor = self.logit(self.mlp(torch.cat(fields, dim=-1)))  # (B, C, 1)
        return logits.squeeze(-1)

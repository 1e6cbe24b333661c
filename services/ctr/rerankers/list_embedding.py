"""What re-rankers see of each candidate of a list."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.ctr.batch import PADDING, FeatureEmbedding, FeatureSpec, RankingBatch, knowledge_fields
from services.ctr.layers import masked_mean


class ListEmbedding(nn.Module):
    """x = [candidate, mean history, augmented item, augmented user], the last two only with knowledge fields.

    `width` is that of x, `item_width` and `history_width` those of a candidate and of a history entry alone.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.features = FeatureEmbedding(spec)
        self.has_knowledge = spec.augmented_width > 0
        self.item_width = (1 + len(spec.field_counts)) * spec.embedding_width
        self.history_width = self.item_width + spec.embedding_width
        self.width = self.item_width + self.history_width + 2 * spec.augmented_width

    def forward(self, batch: RankingBatch) -> tuple[Tensor, Tensor]:
        """X (B, C, width), and the mask (B, C) that is 1 where a candidate is."""
        items, history, mask = self.features(batch)
        mean = masked_mean(history, mask).unsqueeze(1).expand(-1, items.shape[1], -1)
        there = (batch.item_id != PADDING).to(items.dtype)
        return torch.cat([items, mean, *knowledge_fields(batch, self.has_knowledge)], dim=-1), there

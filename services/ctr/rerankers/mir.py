"""Multi-level Interaction Reranking."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import PADDING, FeatureSpec, RankingBatch, knowledge_fields
from services.ctr.layers import AttentionalGRU, LogitHead, SelfAttentionBlock, initialise
from services.ctr.rerankers.list_embedding import ListEmbedding


class MIR(nn.Module):
    """Candidates as a set, the history as a list, and attention from the one to the other.

    S = block(W_s candidates), without positions; H = GRU(history); A = S M H^T / sqrt(width) says what each candidate
    has to do with each entry; logits = MLP([S, softmax(A) H, candidate, augmented item, augmented user]). Knowledge
    enters here as in every other re-ranker. Source: MIR, arXiv 2204.09370, sections 4.2 to 4.4: the set's own
    attention, the history's recurrence and the set-to-list attention, with 2 heads and the MLP 200-80 of KAR's
    experiments. A user without history contributes zeros.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        width: int = 64,
        heads: int = 2,
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = ListEmbedding(spec)
        item_width = self.embedding.item_width
        self.project = nn.Linear(item_width, width)
        self.block = SelfAttentionBlock(width, heads, dropout)
        self.reader = AttentionalGRU(self.embedding.history_width, width)
        self.affinity = nn.Linear(width, width, bias=False)
        self.head = LogitHead(2 * width + item_width + 2 * spec.augmented_width, hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C) of a set of C candidates; PADDING marks places that hold none."""
        items, history, known = self.embedding.features(batch)
        there = (batch.item_id != PADDING).to(items.dtype)
        together = self.block(self.project(items), there)  # (B, C, H)
        states = self.reader(history, known)  # (B, L, H)
        scores = self.affinity(together) @ states.transpose(1, 2) / states.shape[-1] ** 0.5  # (B, C, L)
        place = known.unsqueeze(1)
        weights = torch.softmax(scores.masked_fill(place == 0, -1e9), dim=-1) * place
        parts = [together, weights @ states, items, *knowledge_fields(batch, self.embedding.has_knowledge)]
        logits: Tensor = self.head(torch.cat(parts, dim=-1))
        return logits

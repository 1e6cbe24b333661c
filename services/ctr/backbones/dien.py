"""Deep Interest Evolution Network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureEmbedding, FeatureSpec, RankingBatch, knowledge_fields
from services.ctr.layers import AttentionalGRU, EvolutionGate, LogitHead, initialise


class DIEN(nn.Module):
    """logit = MLP([evolved interest, candidate, augmented item, augmented user]).

    A GRU extracts interest states from the history; a softmax of (state . W candidate) weighs them; a second GRU
    evolves them towards the candidate, with the weights in its gate. Source: arXiv 1809.03672, without the auxiliary
    loss, as in KAR's experiments; the default gate is theirs. With gate `gru` the evolved states are summed by the
    weights instead. A user without history has an interest of zeros.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        gate: EvolutionGate = "aigru",
        hidden: Sequence[int] = (200, 80),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = (1 + len(spec.field_counts)) * spec.embedding_width
        self.gate, self.knowledge = gate, spec.augmented_width > 0
        self.embedding = FeatureEmbedding(spec)
        self.extractor = AttentionalGRU(width + spec.embedding_width, width)
        self.affinity = nn.Linear(width, width, bias=False)
        self.evolution = AttentionalGRU(width, width, gate)
        self.head = LogitHead(2 * width + 2 * spec.augmented_width, hidden, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        items, history, mask = self.embedding(batch)
        states = self.extractor(history, mask)  # (B, L, W)
        weights = self._weights(items, states, mask)  # (B, C, L)
        interest = self._evolve(states, weights, mask)  # (B, C, W)
        logits: Tensor = self.head(torch.cat([interest, items, *knowledge_fields(batch, self.knowledge)], dim=-1))
        return logits

    def _weights(self, items: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        scores = self.affinity(items) @ states.transpose(1, 2)  # (B, C, L)
        there = mask.unsqueeze(1)
        return torch.softmax(scores.masked_fill(there == 0, -1e9), dim=-1) * there

    def _evolve(self, states: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
        if self.gate == "gru":
            summed: Tensor = weights @ self.evolution(states, mask)
            return summed
        there = mask.unsqueeze(1).expand_as(weights)
        evolved: Tensor = self.evolution(states.unsqueeze(1), there, weights)  # (B, C, L, W)
        return evolved[:, :, -1]

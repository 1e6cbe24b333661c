"""Fi-GNN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import initialise


class FiGNN(nn.Module):
    """Fields are nodes of a full graph; messages, a GRU cell and a residual, `layers` times; then attentional scores.

    w_ij = softmax_j(LeakyReLU(w [e_i, e_j])), j not i;  a_i = W_in sum_j w_ij W_out h_j;  h_i := GRU(a_i, h_i) + e_i;
    logit = sum_i sigmoid(attention([h])_i) (w . h_i). Source: arXiv 1910.05552; the layers share one graph layer, as in
    KAR's experiments. Knowledge is two more fields.
    """

    def __init__(self, spec: FeatureSpec, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.fields, self.layers = FieldEmbedding(spec), layers
        width = self.fields.width
        self.sender, self.receiver = nn.Linear(width, 1, bias=False), nn.Linear(width, 1, bias=False)
        self.outgoing, self.incoming = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.cell = nn.GRUCell(width, width)
        self.attention = nn.Linear(self.fields.count * width, self.fields.count)
        self.score = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)
        initialise(self)

    def forward(self, batch: RankingBatch) -> Tensor:
        """Logits (B, C)."""
        first = self.fields.all(batch)  # (B, C, N, D)
        graph, states = self._graph(first), first
        for _ in range(self.layers):
            states = self._update(self.incoming(graph @ self.outgoing(states)), states) + first
        states = self.dropout(states)
        weights = torch.sigmoid(self.attention(states.flatten(-2)))  # (B, C, N)
        logits: Tensor = (weights * self.score(states).squeeze(-1)).sum(dim=-1)
        return logits

    def _graph(self, fields: Tensor) -> Tensor:
        scores = self.receiver(fields) + self.sender(fields).transpose(-1, -2)  # (B, C, N, N)
        itself = torch.eye(fields.shape[2], dtype=torch.bool, device=fields.device)
        return torch.softmax(nn.functional.leaky_relu(scores).masked_fill(itself, -1e9), dim=-1)

    def _update(self, message: Tensor, state: Tensor) -> Tensor:
        moved: Tensor = self.cell(message.flatten(0, -2), state.flatten(0, -2))
        return moved.view_as(state)

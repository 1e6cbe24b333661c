"""Parameter and Embedding Personalized Network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import initialise
from services.ctr.multi_domain.heads import DomainEmbedding, Row


class GateUnit(nn.Module):
    """2 sigmoid(W' relu(W x)): (..., W) to factors (..., H) around 1; arXiv 2302.01115, equations 1 and 2."""

    def __init__(self, width: int, hidden: int, output: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, output), nn.Sigmoid())

    def forward(self, values: Tensor) -> Tensor:
        """Factors in 0 to 2."""
        opened: Tensor = self.layers(values)
        return 2 * opened


class PEPNet(nn.Module):
    """Gates for a domain's embeddings (EPNet), then for each layer's units by user and item (PPNet).

    x' = G([e_d, sg(x)]) x, and h_l = relu(W_l h) G_l([p, sg(x')]) for each hidden layer, with sg for no gradient, e_d
    the domain's embedding and p the embedded candidate and user. Chang et al., KDD 2023, arXiv 2302.01115; its several
    tasks are one here, so a domain is told by e_d alone and has no tower.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        domains: int,
        hidden: Sequence[int] = (512, 256, 128),
        gate: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.row, self.prior_width = Row(spec), (1 + len(spec.field_counts)) * spec.embedding_width
        self.domain = DomainEmbedding(domains, spec.embedding_width)
        self.embedding_gate = GateUnit(spec.embedding_width + self.row.width, gate, self.row.width)
        widths = [self.row.width, *hidden]
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.layer_gates = nn.ModuleList(GateUnit(self.prior_width + self.row.width, gate, width) for width in hidden)
        self.dropout = nn.Dropout(dropout)
        self.logit = nn.Linear(hidden[-1], 1)
        initialise(self)

    def forward(self, batch: RankingBatch, domain: Tensor) -> Tensor:
        """Logits (B, C)."""
        row = self.row(batch)  # (B, C, W), the candidate's id and fields first
        named = self.domain(domain).unsqueeze(1).expand(-1, row.shape[1], -1)  # (B, C, D)
        values = row * self.embedding_gate(torch.cat([named, row.detach()], dim=-1))
        prior = torch.cat([row[..., : self.prior_width], values.detach()], dim=-1)
        for layer, gate in zip(self.layers, self.layer_gates, strict=True):
            values = self.dropout(torch.relu(layer(values)) * gate(prior))
        logits: Tensor = self.logit(values)
        return logits.squeeze(-1)

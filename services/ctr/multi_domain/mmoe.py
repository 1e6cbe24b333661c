"""Multi-gate Mixture of Experts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import MLP, initialise
from services.ctr.multi_domain.heads import Row, Towers


class MMoE(nn.Module):
    """logit_d = tower_d(sum_e softmax(G_d x)_e expert_e(x)); Ma et al., KDD 2018 (doi 10.1145/3219819.3220007).

    A task of the source is a domain here: experts are shared, each domain has a gate and a tower of its own.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        domains: int,
        experts: int = 3,
        expert: Sequence[int] = (512, 256),
        tower: Sequence[int] = (128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.row = Row(spec)
        self.experts = nn.ModuleList(MLP([self.row.width, *expert], dropout) for _ in range(experts))
        self.gates = nn.ModuleList(nn.Linear(self.row.width, experts) for _ in range(domains))
        self.towers = Towers(domains, expert[-1], tower, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch, domain: Tensor) -> Tensor:
        """Logits (B, C)."""
        row = self.row(batch)
        outputs = torch.stack([expert(row) for expert in self.experts], dim=-1)  # (B, C, H, E)
        return self.towers.own([gated(outputs, gate(row)) for gate in self.gates], domain)


def gated(outputs: Tensor, scores: Tensor) -> Tensor:
    """Experts' `outputs` (B, C, H, E) weighed by the softmax of `scores` (B, C, E): (B, C, H)."""
    return torch.einsum("bche,bce->bch", outputs, torch.softmax(scores, dim=-1))

"""What belongs to one domain: its tower and its embedding, and how a sample finds its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, FieldEmbedding, RankingBatch
from services.ctr.layers import LogitHead


class Row(nn.Module):
    """All fields of each candidate side by side: a batch to (B, C, W), W = `width`."""

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.fields = FieldEmbedding(spec)
        self.width = self.fields.count * self.fields.width

    def forward(self, batch: RankingBatch) -> Tensor:
        """(B, C, W)."""
        return self.fields.all(batch).flatten(-2)


class Towers(nn.ModuleList):
    """One MLP with a logit for each domain."""

    def __init__(self, domains: int, width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__(LogitHead(width, hidden, dropout) for _ in range(domains))

    def own(self, inputs: Sequence[Tensor], domain: Tensor) -> Tensor:
        """(B, C): of input d (B, C, W) to tower d the logit of each sample's domain (B,)."""
        logits = torch.stack([tower(values) for tower, values in zip(self, inputs, strict=True)], dim=-1)  # (B, C, M)
        return of_domain(logits, domain)


class DomainEmbedding(nn.Module):
    """A learned vector for each domain: (B,) int64 to (B, D)."""

    def __init__(self, domains: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.ParameterList(nn.Parameter(torch.randn(width) / width**0.5) for _ in range(domains))

    def forward(self, domain: Tensor) -> Tensor:
        """(B, D)."""
        return torch.stack(list(self.vectors))[domain]


def of_domain(values: Tensor, domain: Tensor) -> Tensor:
    """(B, C) of `values` (B, C, M): each sample's at its `domain` (B,), so that only that place has a gradient."""
    place = domain.view(-1, 1, 1).expand(-1, values.shape[1], 1)
    return values.gather(-1, place).squeeze(-1)

"""Star Topology Adaptive Recommender."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import LogitHead, initialise
from services.ctr.multi_domain.heads import DomainEmbedding, Row


class DomainNorm(nn.Module):
    """Scale and shift of one domain, with the statistics of its own samples."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """(R, W) normalised, times both scales, plus both shifts; one row alone takes the statistics that are kept."""
        fresh = self.training and len(rows) > 1
        return functional.batch_norm(
            rows, self.mean, self.variance, scale * self.scale, shift + self.shift, training=fresh
        )


class PartitionedNorm(nn.Module):
    """z' = (s s_d) (z - mean_d) / sqrt(var_d + eps) + (t + t_d); arXiv 2101.11575, equation 3."""

    def __init__(self, width: int, domains: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.domains = nn.ModuleList(DomainNorm(width) for _ in range(domains))

    def forward(self, values: Tensor, domain: Tensor) -> Tensor:
        """(B, C, W) of `values` (B, C, W) whose samples are of `domain` (B,)."""
        normal = torch.empty_like(values)
        for place, norm in enumerate(self.domains):
            rows = (domain == place).nonzero().squeeze(-1)
            if len(rows):
                own = norm(values[rows].flatten(0, 1), self.scale, self.shift)
                normal = normal.index_copy(0, rows, own.unflatten(0, (len(rows), -1)))
        return normal


class StarLayer(nn.Module):
    """x (W W_d) + b + b_d, elementwise products of a shared and a domain's weights; arXiv 2101.11575, equation 4."""

    def __init__(self, width_in: int, width_out: int, domains: int) -> None:
        super().__init__()
        self.shared = nn.Linear(width_in, width_out)
        self.weights = nn.ParameterList(nn.Parameter(torch.ones(width_out, width_in)) for _ in range(domains))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(width_out)) for _ in range(domains))

    def forward(self, values: Tensor, domain: int) -> Tensor:
        """(R, C, H) of (R, C, W) of one domain."""
        weight, bias = self.shared.weight * self.weights[domain], self.shared.bias + self.biases[domain]
        return functional.linear(values, weight, bias)


class STAR(nn.Module):
    """logit = star_d(norm_d(x)) + MLP([e_d, x]): shared and own weights multiplied, plus an auxiliary network.

    Sheng et al., CIKM 2021, arXiv 2101.11575. A domain's weights begin at 1 and its biases at 0, so that training
    begins with the shared network.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        domains: int,
        hidden: Sequence[int] = (512, 256, 128),
        auxiliary: Sequence[int] = (64,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.row = Row(spec)
        self.norm = PartitionedNorm(self.row.width, domains)
        widths = [self.row.width, *hidden, 1]
        self.layers = nn.ModuleList(StarLayer(*pair, domains) for pair in itertools.pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.domain = DomainEmbedding(domains, spec.embedding_width)
        self.auxiliary = LogitHead(self.row.width + spec.embedding_width, auxiliary, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch, domain: Tensor) -> Tensor:
        """Logits (B, C)."""
        row = self.row(batch)  # (B, C, W)
        normal = self.norm(row, domain)
        star = torch.empty_like(row[..., 0])
        for place in range(len(self.norm.domains)):
            rows = (domain == place).nonzero().squeeze(-1)
            if len(rows):
                star = star.index_copy(0, rows, self._star(normal[rows], place))
        named = self.domain(domain).unsqueeze(1).expand(-1, row.shape[1], -1)  # (B, C, D)
        auxiliary: Tensor = self.auxiliary(torch.cat([named, row], dim=-1))
        return star + auxiliary

    def _star(self, values: Tensor, domain: int) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            values = self.dropout(torch.relu(layer(values, domain)))
        logits: Tensor = last(values, domain)
        return logits.squeeze(-1)

"""Progressive Layered Extraction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.layers import MLP, initialise
from services.ctr.multi_domain.heads import Row, Towers
from services.ctr.multi_domain.mmoe import gated


class Extraction(nn.Module):
    """One level: a domain's gate mixes its own and the shared experts, the shared gate mixes all of them."""

    def __init__(
        self, width: int, domains: int, shared: int, specific: int, hidden: Sequence[int], dropout: float, last: bool
    ) -> None:
        super().__init__()
        self.shared = _experts(width, shared, hidden, dropout)
        self.specific = nn.ModuleList(_experts(width, specific, hidden, dropout) for _ in range(domains))
        self.gates = nn.ModuleList(nn.Linear(width, specific + shared) for _ in range(domains))
        self.shared_gates = None if last else SharedGate(width, shared, specific, domains)

    def forward(self, own: Sequence[Tensor], common: Tensor) -> tuple[list[Tensor], Tensor]:
        """The next inputs of the M domains and of what they share, (B, C, H) each."""
        shared = _each(self.shared, common)
        specific = [_each(experts.children(), values) for experts, values in zip(self.specific, own, strict=True)]
        mixed = [
            gated(torch.stack([*outputs, *shared], dim=-1), gate(values))
            for outputs, gate, values in zip(specific, self.gates, own, strict=True)
        ]
        return mixed, common if self.shared_gates is None else self.shared_gates(specific, shared, common)


class SharedGate(nn.Module):
    """Mixes the experts of all domains with the shared ones, with scores of each domain's experts in a part of its own.

    In parts, so that a domain more adds one.
    """

    def __init__(self, width: int, shared: int, specific: int, domains: int) -> None:
        super().__init__()
        self.of_shared = nn.Linear(width, shared)
        self.of_specific = nn.ModuleList(nn.Linear(width, specific) for _ in range(domains))

    def forward(self, specific: Sequence[Sequence[Tensor]], shared: Sequence[Tensor], common: Tensor) -> Tensor:
        """(B, C, H)."""
        outputs = [output for outputs in specific for output in outputs] + list(shared)
        scores = [gate(common) for gate in self.of_specific] + [self.of_shared(common)]
        return gated(torch.stack(outputs, dim=-1), torch.cat(scores, dim=-1))


class PLE(nn.Module):
    """logit_d = tower_d(g_d), where level after level g_d = softmax(G_d g_d) [experts of d; shared experts].

    Tang et al., RecSys 2020 (doi 10.1145/3383313.3412236); a task of the source is a domain. One shared and two
    specific experts are those of arXiv 2312.10743, table III. From two levels on, the shared gate of all but the last
    level lets a sample reach other domains' experts, as in the source; towers and gates stay a domain's own.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        domains: int,
        levels: int = 2,
        shared: int = 1,
        specific: int = 2,
        expert: Sequence[int] = (256,),
        tower: Sequence[int] = (128, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.row = Row(spec)
        widths = [self.row.width, *[expert[-1]] * (levels - 1)]
        self.levels = nn.ModuleList(
            Extraction(width, domains, shared, specific, expert, dropout, last=place == levels - 1)
            for place, width in enumerate(widths)
        )
        self.towers = Towers(domains, expert[-1], tower, dropout)
        initialise(self)

    def forward(self, batch: RankingBatch, domain: Tensor) -> Tensor:
        """Logits (B, C)."""
        common = self.row(batch)
        own = [common] * len(self.towers)
        for level in self.levels:
            own, common = level(own, common)
        return self.towers.own(own, domain)


def _each(experts: Iterable[nn.Module], values: Tensor) -> list[Tensor]:
    return [expert(values) for expert in experts]


def _experts(width: int, count: int, hidden: Sequence[int], dropout: float) -> nn.ModuleList:
    return nn.ModuleList(MLP([width, *hidden], dropout) for _ in range(count))

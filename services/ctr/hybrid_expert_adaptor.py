"""KAR's hybrid-expert adaptor: knowledge vectors to augmented vectors of a recommender's width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from services.ctr.layers import MLP, initialise

Side = Literal["item", "user"]


@dataclass(frozen=True)
class AdaptorConfig:
    """Sizes of the adaptor.

    `augmented_width` equals the embedding width on purpose: the outputs are two more fields of the backbone.
    Expert counts are the released defaults, inside the paper's ranges (2-5 shared, 2-6 dedicated).

    For ablations (arXiv 2306.10933, section 4.4): `kind` moe has one gate over all experts for both sides, mlp one
    plain expert; `sides` item or user leaves the other side's augmented vectors zero and gives it no parameters.
    """

    knowledge_width: int
    augmented_width: int = 32
    hidden_width: int = 128
    shared_experts: int = 2
    dedicated_experts: int = 6
    dropout: float = 0.0
    kind: Literal["hea", "moe", "mlp"] = "hea"
    sides: Literal["both", "item", "user"] = "both"

    def counts(self) -> tuple[int, int]:
        """Shared experts, and experts of each side's own."""
        if self.kind == "hea":
            return self.shared_experts, self.dedicated_experts
        return (self.shared_experts + self.dedicated_experts if self.kind == "moe" else 1), 0

    def uses(self, side: Side) -> bool:
        """Whether a side's knowledge is adapted."""
        return self.sides in {"both", side}


class HybridExpertAdaptor(nn.Module):
    """Experts shared by items and users, experts of each side's own, and a softmax gate a side.

    out = sum_e softmax(W x)_e expert_e(x) over the E = shared + dedicated experts; source: KAR, arXiv 2306.10933,
    section 3.4. The two sides never mix, so each augmented vector can be computed ahead, alone.
    """

    def __init__(self, config: AdaptorConfig) -> None:
        super().__init__()
        self.config = config
        shared, dedicated = config.counts()
        self.shared = _experts(config, shared)
        self.item = _experts(config, dedicated if config.uses("item") else 0)
        self.user = _experts(config, dedicated if config.uses("user") else 0)
        gate_each = dedicated > 0 and config.sides == "both"  # a gate that is never trained stops distributed training
        self.item_gate = nn.Linear(config.knowledge_width, shared + dedicated)
        self.user_gate = nn.Linear(config.knowledge_width, shared + dedicated) if gate_each else self.item_gate
        initialise(self)

    def forward(self, item_knowledge: Tensor, user_knowledge: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented (N, A) and (M, A) of `item_knowledge` (N, K) and `user_knowledge` (M, K)."""
        return self.adapt_items(item_knowledge), self.adapt_users(user_knowledge)

    def adapt_items(self, knowledge: Tensor) -> Tensor:
        """Augmented item vectors (..., A) of knowledge (..., K)."""
        return self._mix(knowledge, "item")

    def adapt_users(self, knowledge: Tensor) -> Tensor:
        """Augmented user vectors (..., A) of knowledge (..., K)."""
        return self._mix(knowledge, "user")

    def gate(self, knowledge: Tensor, side: Side) -> Tensor:
        """Weights (..., E) of the experts of a side that is used, shared ones first; they sum to 1."""
        linear = self.item_gate if side == "item" else self.user_gate
        return torch.softmax(linear(knowledge), dim=-1)

    def _mix(self, knowledge: Tensor, side: Side) -> Tensor:
        if not self.config.uses(side):
            return knowledge.new_zeros(*knowledge.shape[:-1], self.config.augmented_width)
        dedicated = self.item if side == "item" else self.user
        outputs = torch.stack([expert(knowledge) for expert in [*self.shared, *dedicated]], dim=-1)  # (..., A, E)
        return (outputs * self.gate(knowledge, side).unsqueeze(-2)).sum(dim=-1)  # (..., A)


def _experts(config: AdaptorConfig, count: int) -> nn.ModuleList:
    widths = [config.knowledge_width, config.hidden_width, config.augmented_width]
    return nn.ModuleList(MLP(widths, config.dropout) for _ in range(count))

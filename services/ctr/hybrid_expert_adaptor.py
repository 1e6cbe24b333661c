"""KAR's hybrid-expert adaptor: knowledge vectors to augmented vectors of a recommender's width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.ctr.layers import MLP, initialise


@dataclass(frozen=True)
class AdaptorConfig:
    """Sizes of the adaptor.

    `augmented_width` equals the embedding width on purpose: the outputs are two more fields of the backbone.
    Expert counts are the released defaults, inside the paper's ranges (2-5 shared, 2-6 dedicated).
    """

    knowledge_width: int
    augmented_width: int = 32
    hidden_width: int = 128
    shared_experts: int = 2
    dedicated_experts: int = 6
    dropout: float = 0.0


class HybridExpertAdaptor(nn.Module):
    """Experts shared by items and users, experts of each side's own, and a softmax gate a side.

    out = sum_e softmax(W x)_e expert_e(x) over the E = shared + dedicated experts; source: KAR, arXiv 2306.10933,
    section 3.4. The two sides never mix, so each augmented vector can be computed ahead, alone.
    """

    def __init__(self, config: AdaptorConfig) -> None:
        super().__init__()
        self.config = config
        self.shared = _experts(config, config.shared_experts)
        self.item = _experts(config, config.dedicated_experts)
        self.user = _experts(config, config.dedicated_experts)
        experts = config.shared_experts + config.dedicated_experts
        self.item_gate = nn.Linear(config.knowledge_width, experts)
        self.user_gate = nn.Linear(config.knowledge_width, experts)
        initialise(self)

    def forward(self, item_knowledge: Tensor, user_knowledge: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented (N, A) and (M, A) of `item_knowledge` (N, K) and `user_knowledge` (M, K)."""
        return self.adapt_items(item_knowledge), self.adapt_users(user_knowledge)

    def adapt_items(self, knowledge: Tensor) -> Tensor:
        """Augmented item vectors (..., A) of knowledge (..., K)."""
        return self._mix(knowledge, self.item, self.item_gate)

    def adapt_users(self, knowledge: Tensor) -> Tensor:
        """Augmented user vectors (..., A) of knowledge (..., K)."""
        return self._mix(knowledge, self.user, self.user_gate)

    def _mix(self, knowledge: Tensor, dedicated: nn.ModuleList, gate: nn.Linear) -> Tensor:
        outputs = torch.stack([expert(knowledge) for expert in [*self.shared, *dedicated]], dim=-1)  # (..., A, E)
        weights = torch.softmax(gate(knowledge), dim=-1)  # (..., E)
        return (outputs * weights.unsqueeze(-2)).sum(dim=-1)  # (..., A)


def _experts(config: AdaptorConfig, count: int) -> nn.ModuleList:
    widths = [config.knowledge_width, config.hidden_width, config.augmented_width]
    return nn.ModuleList(MLP(widths, config.dropout) for _ in range(count))

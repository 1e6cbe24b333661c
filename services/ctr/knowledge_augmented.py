"""KAR's joint network: a backbone and the adaptor that is trained with it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from services.ctr.batch import RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig, HybridExpertAdaptor


class DistinctKnowledge(NamedTuple):
    """Vectors of a batch's distinct subjects, and which of them each place of the batch has."""

    vectors: Tensor  # (M, K) float32
    at: Tensor  # (B, C) or (B,) int64, places in `vectors`
    known: Tensor  # like `at`, 1 where there is knowledge


class KnowledgeAugmented(nn.Module):
    """Adapts knowledge vectors and gives them to the backbone as further fields (arXiv 2306.10933, equation 8).

    For training, where users and items come up more than once in a batch: each is adapted once. In serving the adapted
    vectors are stored ahead and the backbone runs alone. `knowledge_dropout` is the share of knowledge that training
    hides: a new item has none until the language model has answered, and serving must not be the first to show zeros.
    """

    def __init__(self, backbone: nn.Module, config: AdaptorConfig, knowledge_dropout: float = 0.1) -> None:
        super().__init__()
        self.backbone, self.knowledge_dropout = backbone, knowledge_dropout
        self.adaptor = HybridExpertAdaptor(config)

    def forward(self, batch: RankingBatch, items: DistinctKnowledge, users: DistinctKnowledge) -> Tensor:
        """Logits (B, C) of a batch whose augmented vectors are ignored: `items` (B, C) and `users` (B,) bring them."""
        item = self.adaptor.adapt_items(items.vectors)[items.at] * self._keep(items.known).unsqueeze(-1)
        user = self.adaptor.adapt_users(users.vectors)[users.at] * self._keep(users.known).unsqueeze(-1)
        logits: Tensor = self.backbone(batch._replace(item_augmented=item, user_augmented=user))
        return logits

    def _keep(self, known: Tensor) -> Tensor:
        if not self.training:
            return known
        return known * (torch.rand_like(known) >= self.knowledge_dropout)


class PreAdapted(KnowledgeAugmented):
    """As KnowledgeAugmented, for a backbone that is trained on vectors which another network's adaptor has made."""

    def __init__(self, backbone: nn.Module, knowledge_dropout: float = 0.1) -> None:
        nn.Module.__init__(self)
        self.backbone, self.knowledge_dropout = backbone, knowledge_dropout

    def forward(self, batch: RankingBatch, items: DistinctKnowledge, users: DistinctKnowledge) -> Tensor:
        """Logits (B, C), as KnowledgeAugmented; the vectors are augmented ones (M, A)."""
        item = items.vectors[items.at] * self._keep(items.known).unsqueeze(-1)
        user = users.vectors[users.at] * self._keep(users.known).unsqueeze(-1)
        logits: Tensor = self.backbone(batch._replace(item_augmented=item, user_augmented=user))
        return logits


def hide_ids(item_id: Tensor, probability: float, unknown_id: int) -> Tensor:
    """Replace ids (B, C) by UNKNOWN with a probability, so that its embedding learns what an unseen item is like."""
    hidden = torch.rand(item_id.shape, device=item_id.device) < probability
    return torch.where(hidden, unknown_id, item_id)

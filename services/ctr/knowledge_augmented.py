"""KAR's joint network: a backbone and the adaptor that is trained with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.ctr.batch import RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig, HybridExpertAdaptor


@dataclass(frozen=True)
class MissingKnowledge:
    """How often training hides what serving will lack, as probabilities.

    A new item has no knowledge until the language model has answered, and its id was never trained: without these
    two, zero vectors and the UNKNOWN index would first be met in serving.
    """

    knowledge_dropout: float = 0.1
    id_dropout: float = 0.05


class KnowledgeAugmented(nn.Module):
    """Adapts knowledge vectors and gives them to the backbone as further fields (arXiv 2306.10933, equation 8).

    For training, where B samples have C candidates with knowledge of their own. In serving the adapted vectors are
    stored ahead and the backbone runs alone.
    """

    def __init__(self, backbone: nn.Module, config: AdaptorConfig, missing: MissingKnowledge, unknown_id: int) -> None:
        super().__init__()
        self.backbone, self.missing, self.unknown_id = backbone, missing, unknown_id
        self.adaptor = HybridExpertAdaptor(config)

    def forward(
        self,
        batch: RankingBatch,
        item_knowledge: Tensor,
        item_known: Tensor,
        user_knowledge: Tensor,
        user_known: Tensor,
    ) -> Tensor:
        """Logits (B, C) of knowledge (B, C, K) and (B, K); `*_known` (B, C) and (B,) are 1 where there is any."""
        item = self.adaptor.adapt_items(item_knowledge) * self._keep(item_known).unsqueeze(-1)
        user = self.adaptor.adapt_users(user_knowledge) * self._keep(user_known).unsqueeze(-1)
        logits: Tensor = self.backbone(batch._replace(item_augmented=item, user_augmented=user))
        return logits

    def _keep(self, known: Tensor) -> Tensor:
        if not self.training:
            return known
        return known * (torch.rand_like(known) >= self.missing.knowledge_dropout)


def hide_ids(item_id: Tensor, probability: float, unknown_id: int) -> Tensor:
    """Replace ids (B, C) by UNKNOWN with a probability, so that its embedding learns what an unseen item is like."""
    return torch.where(torch.rand(item_id.shape) < probability, unknown_id, item_id)

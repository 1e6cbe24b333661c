"""A network of the ordinary kind that learns from Uni-CTR what it thinks, and answers at ordinary latency.

It reads the stored vectors of item and user texts as KAR does, and the domain as one more field of the candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from services.ctr.batch import PADDING, FeatureSpec, RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import DistinctKnowledge, KnowledgeAugmented
from services.ctr.uni_ctr.network import UNKNOWN_DOMAIN

CODE_OF_FIRST = 2  # in the domain's vocabulary, behind padding and unknown


class Student(nn.Module):
    """KAR's joint network over the fields of a scenario and the domain.

    `backbone` is one of services.ctr.backbones, or such a one with options bound; `spec` describes the other fields.
    In training a share of the domains is hidden, so that an unknown one is a case that it knows.
    """

    def __init__(
        self,
        backbone: Callable[[FeatureSpec], nn.Module],
        spec: FeatureSpec,
        domains: Sequence[str],
        adaptor: AdaptorConfig,
        knowledge_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.domains = tuple(domains)
        fields = (*spec.field_counts, CODE_OF_FIRST + len(self.domains))
        self.network = KnowledgeAugmented(backbone(replace(spec, field_counts=fields)), adaptor, knowledge_dropout)

    def forward(
        self, batch: RankingBatch, items: DistinctKnowledge, users: DistinctKnowledge, domain: Tensor
    ) -> Tensor:
        """Logits (B, C), as KnowledgeAugmented, for users of `domain` (B,) int64: places in `domains`, -1 = unknown."""
        logits: Tensor = self.network(with_domain(batch, domain), items, users)
        return logits


def with_domain(batch: RankingBatch, domain: Tensor) -> RankingBatch:
    """The batch with the domain (B,) as the candidates' last field; of history entries it is not said."""
    code = torch.where(domain == UNKNOWN_DOMAIN, CODE_OF_FIRST - 1, domain + CODE_OF_FIRST)
    column = code.view(-1, 1, 1).expand(-1, batch.item_id.shape[1], 1)  # (B, C, 1)
    unsaid = torch.full_like(batch.history_item_id, PADDING).unsqueeze(-1)  # (B, L, 1)
    return batch._replace(
        item_fields=torch.cat([batch.item_fields, column], dim=-1),
        history_fields=torch.cat([batch.history_fields, unsaid], dim=-1),
    )


def hide_domains(domain: Tensor, probability: float) -> Tensor:
    """Replace domains (B,) by -1 with a probability; for these the teacher is its general network."""
    hidden = torch.rand(domain.shape, device=domain.device) < probability
    return torch.where(hidden, UNKNOWN_DOMAIN, domain)


def distillation_loss(
    logits: Tensor, teacher: Tensor, labels: Tensor, teacher_share: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Mean binary cross-entropy in nats against the teacher's probabilities and the labels (arXiv 1503.02531).

    `logits`, `teacher` (logits too) and `labels` have one shape. Both logits are divided by `temperature` for the
    teacher's term, which is multiplied by its square, so that its gradients keep their size.
    """
    soft = torch.sigmoid(teacher.detach() / temperature)
    learned = binary_cross_entropy_with_logits(logits / temperature, soft) * temperature**2
    return teacher_share * learned + (1 - teacher_share) * binary_cross_entropy_with_logits(logits, labels)

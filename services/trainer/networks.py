"""Builds the networks of a run, and turns rows of samples into their inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from services.ctr.backbones import BACKBONES
from services.ctr.batch import FeatureSpec, RankingBatch
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import KnowledgeAugmented, MissingKnowledge
from services.model_registry import UNKNOWN, Vocabulary
from services.scenarios import Scenario
from services.trainer.config import InvalidConfig, TrainingConfig
from services.trainer.samples import Samples


@dataclass(frozen=True)
class KnowledgeTables:
    """Knowledge vectors (N + 1, K) float32 of items and of users. Row 0 is zeros: no knowledge."""

    item: Tensor
    user: Tensor

    @property
    def width(self) -> int:
        """K, the width of one vector."""
        return self.item.shape[1]


class NetworkInputs(NamedTuple):
    """What KnowledgeAugmented is called with; B samples with one candidate each."""

    batch: RankingBatch
    item_knowledge: Tensor  # (B, 1, K)
    item_known: Tensor  # (B, 1)
    user_knowledge: Tensor  # (B, K)
    user_known: Tensor  # (B,)


def knowledge_table(vectors: npt.NDArray[np.float32]) -> Tensor:
    """(N + 1, K) of (N, K), with the row of zeros in front."""
    return torch.from_numpy(np.vstack([np.zeros_like(vectors[:1]), vectors]))


def build_backbone(config: TrainingConfig, vocabulary: Vocabulary, scenario: Scenario, augmented: bool) -> nn.Module:
    """The backbone, with knowledge fields if `augmented`. Raises InvalidConfig."""
    if config.backbone not in BACKBONES:
        raise InvalidConfig(f"backbone: must be one of {', '.join(sorted(BACKBONES))}, is {config.backbone!r}")
    spec = FeatureSpec(
        item_count=vocabulary.item_count,
        field_counts=tuple(vocabulary.field_counts.values()),
        maximum_rating=round(scenario.maximum_rating),
        augmented_width=config.embedding_width if augmented else 0,
        embedding_width=config.embedding_width,
    )
    return BACKBONES[config.backbone](spec, dropout=config.dropout)


def build_knowledge_augmented(
    config: TrainingConfig, vocabulary: Vocabulary, scenario: Scenario, knowledge_width: int
) -> KnowledgeAugmented:
    """The backbone with an adaptor of knowledge vectors (K,) before it. Raises InvalidConfig."""
    adaptor = AdaptorConfig(
        knowledge_width=knowledge_width,
        augmented_width=config.embedding_width,
        shared_experts=config.shared_experts,
        dedicated_experts=config.dedicated_experts,
    )
    missing = MissingKnowledge(config.knowledge_dropout, config.id_dropout)
    backbone = build_backbone(config, vocabulary, scenario, augmented=True)
    return KnowledgeAugmented(backbone, adaptor, missing, UNKNOWN)


def network_inputs(samples: Samples, rows: npt.NDArray[np.int64], tables: KnowledgeTables) -> NetworkInputs:
    """The inputs of some samples."""
    item_row, user_row = torch.from_numpy(samples.item_row[rows]), torch.from_numpy(samples.user_row[rows])
    batch = RankingBatch(
        item_id=torch.from_numpy(samples.item_index[rows]).unsqueeze(1),
        item_fields=torch.from_numpy(samples.item_fields[rows]).unsqueeze(1),
        item_augmented=torch.empty(0),
        history_item_id=torch.from_numpy(samples.history_index[rows]),
        history_fields=torch.from_numpy(samples.history_fields[rows]),
        history_rating=torch.from_numpy(samples.history_rating[rows]),
        user_augmented=torch.empty(0),
    )
    return NetworkInputs(
        batch,
        tables.item[item_row].unsqueeze(1),
        (item_row > 0).float().unsqueeze(1),
        tables.user[user_row],
        (user_row > 0).float(),
    )


def logits(network: nn.Module, inputs: NetworkInputs) -> Tensor:
    """(B,) logits, with knowledge if the network has an adaptor."""
    scored: Tensor = network(*inputs) if isinstance(network, KnowledgeAugmented) else network(inputs.batch)
    return scored.squeeze(1)

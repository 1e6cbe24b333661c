"""Builds the networks of a run, and lets them score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from services.ctr.backbones import BACKBONES
from services.ctr.batch import FeatureSpec
from services.ctr.hybrid_expert_adaptor import AdaptorConfig
from services.ctr.knowledge_augmented import KnowledgeAugmented
from services.ctr.rerankers import RERANKERS
from services.model_registry import Vocabulary
from services.scenarios import Scenario
from services.trainer.data.samples import Samples
from services.trainer.training.batches import BatchBuilder, NetworkInputs
from services.trainer.training.config import InvalidConfig, TrainingConfig

ROWS = 4096  # scored at once
Floats = npt.NDArray[np.float64]


def build_backbone(config: TrainingConfig, vocabulary: Vocabulary, scenario: Scenario, augmented: bool) -> nn.Module:
    """The backbone or re-ranker, with knowledge fields if `augmented`. Raises InvalidConfig."""
    known = BACKBONES if config.task == "click-through" else RERANKERS
    if config.backbone not in known:
        raise InvalidConfig(f"backbone: must be one of {', '.join(sorted(known))}, is {config.backbone!r}")
    spec = FeatureSpec(
        item_count=vocabulary.item_count,
        field_counts=tuple(vocabulary.field_counts.values()),
        maximum_rating=round(scenario.maximum_rating),
        augmented_width=config.embedding_width if augmented else 0,
        embedding_width=config.embedding_width,
    )
    try:
        return known[config.backbone](spec, dropout=config.dropout, **config.backbone_options)
    except (TypeError, ValueError) as error:
        raise InvalidConfig(f"backbone_options: {config.backbone} refuses them: {error}") from error


def build_knowledge_augmented(
    config: TrainingConfig, vocabulary: Vocabulary, scenario: Scenario, knowledge_width: int
) -> KnowledgeAugmented:
    """The backbone with an adaptor of knowledge vectors (K,) before it. Raises InvalidConfig."""
    adaptor = AdaptorConfig(
        knowledge_width=knowledge_width,
        augmented_width=config.embedding_width,
        shared_experts=config.shared_experts,
        dedicated_experts=config.dedicated_experts,
        dropout=config.adaptor_dropout,
        kind=config.adaptor,
        sides=config.adaptor_sides,
    )
    return KnowledgeAugmented(
        build_backbone(config, vocabulary, scenario, augmented=True), adaptor, config.knowledge_dropout
    )


def logits(network: nn.Module, inputs: NetworkInputs) -> Tensor:
    """(B, C) logits, with knowledge if the network has an adaptor."""
    knows = any(isinstance(module, KnowledgeAugmented) for module in network.modules())
    scored: Tensor = network(*inputs) if knows else network(inputs.batch)
    return scored


def scores(network: nn.Module, samples: Samples, batches: BatchBuilder) -> Floats:
    """(N, C) probabilities of a positive label."""
    network.eval()
    pages = np.array_split(np.arange(len(samples)), -(-len(samples) // ROWS))
    with torch.inference_mode():
        parts = [torch.sigmoid(logits(network, batches.inputs(samples, page)).float()).cpu() for page in pages]
    return torch.cat(parts).double().numpy()

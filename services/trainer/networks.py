"""Builds the networks of a run, and looks up their inputs."""

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
from services.ctr.knowledge_augmented import DistinctKnowledge, KnowledgeAugmented
from services.ctr.rerankers import RERANKERS
from services.model_registry import Vocabulary
from services.scenarios import Scenario
from services.trainer.columns import Columns
from services.trainer.config import InvalidConfig, TrainingConfig
from services.trainer.samples import ItemTable, Samples


@dataclass(frozen=True)
class KnowledgeTables:
    """Knowledge vectors (M + 1, K) float32 of items and of users, and each one's row by its code in the columns.

    Row 0 is zeros: no knowledge.
    """

    item: npt.NDArray[np.float32]
    user: npt.NDArray[np.float32]
    item_row: npt.NDArray[np.int64]  # (I,)
    user_row: npt.NDArray[np.int64]  # (U,)

    @property
    def width(self) -> int:
        """K, the width of one vector."""
        return int(self.item.shape[1])

    def withheld(self) -> KnowledgeTables:
        """The tables as if nobody had knowledge."""
        return KnowledgeTables(self.item, self.user, np.zeros_like(self.item_row), np.zeros_like(self.user_row))


class NetworkInputs(NamedTuple):
    """What KnowledgeAugmented is called with; B samples with C candidates each."""

    batch: RankingBatch
    items: DistinctKnowledge
    users: DistinctKnowledge


class Lookup:
    """Columns, items and knowledge on one device, where batches are made by indexing.

    Memory-mapped columns stay on the CPU as they are.
    """

    def __init__(
        self, columns: Columns, items: ItemTable, tables: KnowledgeTables, history_length: int, device: torch.device
    ) -> None:
        def on(array: npt.NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array).to(device)

        self.device = device
        self.user, self.item, self.rating = on(columns.user), on(columns.item), on(columns.rating)
        self.known_end, self.user_start = on(columns.known_end), on(columns.user_start)
        self.index, self.fields = on(items.index), on(items.fields)
        self.item_knowledge, self.user_knowledge = on(tables.item), on(tables.user)
        self.item_row, self.user_row = on(tables.item_row), on(tables.user_row)
        self.places = torch.arange(history_length, device=device)

    def inputs(self, samples: Samples, chosen: npt.NDArray[np.int64]) -> NetworkInputs:
        """The inputs of some samples: histories end with what was known one second before each sample's row."""
        rows = torch.from_numpy(samples.row[chosen]).to(self.device)
        candidates = torch.from_numpy(samples.item[chosen]).to(self.device)
        end, user = self.known_end[rows], self.user[rows]
        count = torch.minimum(end - self.user_start[user], torch.tensor(len(self.places)))
        there = self.places < count.unsqueeze(1)  # (B, L)
        at = torch.where(there, (end - count).unsqueeze(1) + self.places, 0)
        past = self.item[at]
        batch = RankingBatch(
            item_id=self.index[candidates],
            item_fields=self.fields[candidates],
            item_augmented=torch.empty(0),
            history_item_id=self.index[past] * there,
            history_fields=self.fields[past] * there.unsqueeze(-1),
            history_rating=self.rating[at] * there,
            user_augmented=torch.empty(0),
        )
        return NetworkInputs(
            batch,
            distinct_knowledge(self.item_knowledge, self.item_row[candidates]),
            distinct_knowledge(self.user_knowledge, self.user_row[user]),
        )

    def labels(self, samples: Samples, chosen: npt.NDArray[np.int64]) -> Tensor:
        """Labels (B, C) float32."""
        return torch.from_numpy(samples.label[chosen]).to(self.device)


def knowledge_table(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(M + 1, K) of (M, K), with the row of zeros in front."""
    return np.vstack([np.zeros_like(vectors[:1]), vectors])


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


def distinct_knowledge(table: Tensor, rows: Tensor) -> DistinctKnowledge:
    """Vectors of the distinct `rows` (B, C) or (B,) of a table (M + 1, K); row 0 is no knowledge."""
    distinct, at = torch.unique(rows, return_inverse=True)
    return DistinctKnowledge(table[distinct], at, (rows > 0).to(table.dtype))

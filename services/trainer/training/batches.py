"""Makes the batches of a run: samples are looked up in the log and in the tables of items and knowledge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.ctr.batch import RankingBatch
from services.ctr.knowledge_augmented import DistinctKnowledge
from services.trainer.data.interaction_log import InteractionLog
from services.trainer.data.samples import ItemTable, Samples


@dataclass(frozen=True)
class KnowledgeTables:
    """Knowledge vectors (M + 1, K) float32 of items and of users, and each one's row by its code in the log.

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


class BatchBuilder:
    """InteractionLog, items and knowledge on one device, where batches are made by indexing.

    Memory-mapped log stay on the CPU as they are.
    """

    def __init__(
        self, log: InteractionLog, items: ItemTable, tables: KnowledgeTables, history_length: int, device: torch.device
    ) -> None:
        def on(array: npt.NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(array).to(device)

        self.device = device
        self.user, self.item, self.rating = on(log.user), on(log.item), on(log.rating)
        self.known_end, self.user_start = on(log.known_end), on(log.user_start)
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


def distinct_knowledge(table: Tensor, rows: Tensor) -> DistinctKnowledge:
    """Vectors of the distinct `rows` (B, C) or (B,) of a table (M + 1, K); row 0 is no knowledge."""
    distinct, at = torch.unique(rows, return_inverse=True)
    return DistinctKnowledge(table[distinct], at, (rows > 0).to(table.dtype))

"""What every backbone is given, and how its categorical part is embedded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from services.ctr.layers.mlp import masked_mean

PADDING = 0  # index of the padding row of every vocabulary


@dataclass(frozen=True)
class FeatureSpec:
    """Sizes of the inputs: rows of each vocabulary (padding and unknown included), widths, and the highest rating.

    `augmented_width` 0 means that the network has no knowledge fields at all (the base model).
    """

    item_count: int
    field_counts: tuple[int, ...]
    maximum_rating: int
    augmented_width: int
    embedding_width: int = 32


class RankingBatch(NamedTuple):
    """B users with C candidates each; the names and dtypes are those of the scorer's inputs.

    Where there is no knowledge the augmented vectors are zeros; a spec without knowledge fields ignores them.
    """

    item_id: Tensor  # (B, C) int64
    item_fields: Tensor  # (B, C, F) int64
    item_augmented: Tensor  # (B, C, A) float32
    history_item_id: Tensor  # (B, L) int64, oldest first, padding at the end
    history_fields: Tensor  # (B, L, F) int64
    history_rating: Tensor  # (B, L) float32, 0 = none given
    user_augmented: Tensor  # (B, A) float32


class Embedded(NamedTuple):
    """Embedded inputs: W = (1 + F) D is an item's width, V = W + D a history entry's."""

    items: Tensor  # (B, C, W)
    history: Tensor  # (B, L, V)
    mask: Tensor  # (B, L), 1 where an entry is


def rating_places(maximum_rating: int) -> int:
    """How many ratings are told apart: none, and every half up to the highest."""
    return 2 * maximum_rating + 1


def rating_place(rating: Tensor, places: int) -> Tensor:
    """The int64 place of float ratings, 0 = none given, among so many `places`: that of the nearest half."""
    return (2 * rating).round().clamp(0, places - 1).long()


def knowledge_fields(batch: RankingBatch, has_knowledge: bool) -> list[Tensor]:
    """The augmented item and user vectors, (B, C, A) each; none where the network has no knowledge fields."""
    if not has_knowledge:
        return []
    user = batch.user_augmented.unsqueeze(1).expand(-1, batch.item_id.shape[1], -1)  # (B, C, A)
    return [batch.item_augmented, user]


class FeatureEmbedding(nn.Module):
    """Embeds item ids, item fields and ratings; candidates and history share the tables.

    No user id and no demographic field is embedded: a user enters by the history and the augmented vector alone
    (KAR's protocol), so users need no training to be ranked.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        width = spec.embedding_width
        self.item = nn.Embedding(spec.item_count, width, padding_idx=PADDING)
        self.fields = nn.ModuleList(nn.Embedding(count, width, padding_idx=PADDING) for count in spec.field_counts)
        self.rating = nn.Embedding(rating_places(spec.maximum_rating), width)

    def forward(self, batch: RankingBatch) -> Embedded:
        """Embed a batch."""
        items = self._embed(batch.item_id, batch.item_fields)  # (B, C, W)
        history_items = self._embed(batch.history_item_id, batch.history_fields)  # (B, L, W)
        rating = rating_place(batch.history_rating, self.rating.num_embeddings)
        history = torch.cat([history_items, self.rating(rating)], dim=-1)  # (B, L, V)
        return Embedded(items, history, (batch.history_item_id != PADDING).to(history.dtype))

    def _embed(self, item_id: Tensor, fields: Tensor) -> Tensor:
        parts = [self.item(item_id), *[table(fields[..., f]) for f, table in enumerate(self.fields)]]
        return torch.cat(parts, dim=-1)


class Fields(NamedTuple):
    """A candidate's fields, all of one width D."""

    plain: Tensor  # (B, C, N, D): candidate's id and fields; the history's mean id, fields and rating
    knowledge: Tensor  # (B, C, 2, D), or (B, C, 0, D) without knowledge


class FieldEmbedding(nn.Module):
    """Embeds a batch as fields for networks that cross them; a history enters by its mean (spec of KAR's backbones).

    `plain_count` is N = (1 + F) + (2 + F). Raises ValueError when knowledge has another width than the embeddings: its
    two vectors are fields like the others.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        if spec.augmented_width not in (0, spec.embedding_width):
            raise ValueError(
                f"augmented_width must be 0 or the embedding width {spec.embedding_width}, is {spec.augmented_width}"
            )
        self.embedding = FeatureEmbedding(spec)
        self.width, self.has_knowledge = spec.embedding_width, spec.augmented_width > 0
        self.plain_count = 3 + 2 * len(spec.field_counts)
        self.count = self.plain_count + 2 * self.has_knowledge

    def forward(self, batch: RankingBatch) -> Fields:
        """The fields of every candidate."""
        items, history, mask = self.embedding(batch)
        mean = masked_mean(history, mask).unsqueeze(1).expand(-1, items.shape[1], -1)  # (B, C, V)
        row = torch.cat([items, mean], dim=-1)
        plain = row.view(*row.shape[:2], self.plain_count, self.width)  # (B, C, N, D)
        known = knowledge_fields(batch, self.has_knowledge)
        return Fields(plain, torch.stack(known, dim=2) if known else plain[:, :, :0])

    def all(self, batch: RankingBatch) -> Tensor:
        """(B, C, count, D): the plain fields, then knowledge as two more."""
        return torch.cat(self(batch), dim=2)

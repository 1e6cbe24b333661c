"""Categorical features of samples, the same for every baseline: the candidate, the user, and what the user liked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from services.ctr.batch import FeatureSpec, RankingBatch
from services.model_registry import PADDING, Vocabulary
from services.trainer.data.samples import Samples
from services.trainer.multi_domain.domain_data import NOBODY, DomainData, field_count, field_values

USER_FIELD = "user"
MAXIMUM_RATING = 5


@dataclass(frozen=True)
class Features:
    """Indices of items, their fields and users in a vocabulary, looked up batch by batch.

    The user's id is one more field of the candidate; history entries leave it empty (PADDING).
    """

    data: DomainData
    vocabulary: Vocabulary
    item: npt.NDArray[np.int64]  # (I,)
    fields: npt.NDArray[np.int64]  # (I, F)
    user: npt.NDArray[np.int64]  # (U,), PADDING for all where there is no field for it
    history_length: int

    def spec(self, embedding_width: int, augmented_width: int = 0) -> FeatureSpec:
        """The sizes of a network on these features."""
        counts = tuple(self.vocabulary.field_counts.values())
        return FeatureSpec(self.vocabulary.item_count, counts, MAXIMUM_RATING, augmented_width, embedding_width)

    def batch(self, samples: Samples, chosen: npt.NDArray[np.int64], device: torch.device) -> RankingBatch:
        """The inputs of some samples, B of one candidate each."""
        log, rows = self.data.log, samples.row[chosen]
        candidate, past = samples.item[chosen], self.data.history(rows, self.history_length)
        there = past != NOBODY
        liked = log.item[past] * there
        user = self.user[log.user[rows]]
        return RankingBatch(
            item_id=_on(self.item[candidate], device),
            item_fields=_on(self._with_user(self.fields[candidate], user[:, None, None]), device),
            item_augmented=torch.empty(0),
            history_item_id=_on(self.item[liked] * there, device),
            history_fields=_on(self._with_user(self.fields[liked] * there[..., None], np.int64(PADDING)), device),
            history_rating=_on((log.rating[past] * there).astype(np.float32), device),
            user_augmented=torch.empty(0),
        )

    def _with_user(
        self, fields: npt.NDArray[np.int64], user: npt.NDArray[np.int64] | np.int64
    ) -> npt.NDArray[np.int64]:
        if USER_FIELD not in self.vocabulary.fields:
            return fields
        return np.concatenate([fields, np.broadcast_to(user, (*fields.shape[:-1], 1))], axis=-1)


def features_of(
    data: DomainData, history_length: int, with_user: bool = True, known: Vocabulary | None = None
) -> Features:
    """Features of what the training part holds; with a `known` vocabulary that one, and behind it what is new."""
    width = field_count(data.items)
    vocabulary = _vocabulary(data, width, with_user, known)
    names = [name for name in vocabulary.fields if name != USER_FIELD]
    alone = Vocabulary(vocabulary.item_ids, {name: vocabulary.fields[name] for name in names})
    fields = [alone.field_indices(values) for values in field_values(data.items, width)]
    users = Vocabulary(vocabulary.fields[USER_FIELD], {}) if with_user else None
    return Features(
        data,
        vocabulary,
        np.array([vocabulary.item_index(item.item_id) for item in data.items], dtype=np.int64),
        np.stack(fields),
        np.array([users.item_index(name) if users else PADDING for name in data.user_ids], dtype=np.int64),
        history_length,
    )


def _vocabulary(data: DomainData, width: int, with_user: bool, known: Vocabulary | None) -> Vocabulary:
    rows = data.split.training.row
    items = [data.items[code] for code in dict.fromkeys(data.log.item[rows].tolist())]
    columns = list(zip(*field_values(items, width), strict=True)) if items else [()] * width
    fields = {f"field_{place + 1}": _distinct(filter(None, values)) for place, values in enumerate(columns)}
    if with_user:
        users = data.log.user[rows].tolist()
        fields[USER_FIELD] = _distinct(data.user_ids[code] for code in users)
    item_ids = [item.item_id for item in items]
    if known is None:
        return Vocabulary(item_ids, fields)
    behind = {name: _distinct([*known.fields[name], *values]) for name, values in fields.items()}
    return Vocabulary(_distinct([*known.item_ids, *item_ids]), behind)


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _on(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)


def labels(samples: Samples, chosen: Sequence[int] | npt.NDArray[np.int64], device: torch.device) -> Tensor:
    """Labels (B,) float32."""
    return torch.from_numpy(samples.label[chosen, 0]).to(device)

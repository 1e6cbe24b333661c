"""Labelled samples of the log, each with the history that was known at its moment, joined by Feast."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from feature_repo.store import apply_definitions, open_store
from loreline.client import unpack_user
from services.model_registry import PADDING, Vocabulary
from services.scenarios import load_scenario
from services.trainer.datasets import Dataset
from services.trainer.offline_store import preference_count

USERS_PER_JOIN = 256  # Feast's file store pairs every sample of a user with every history row before it filters
TRAINING_SHARE, VALIDATION_SHARE = 0.8, 0.1


class EmptySplit(Exception):
    """A part of the split has no samples, or labels of one kind only; the message says which."""


@dataclass(frozen=True)
class Samples:
    """N samples in columns; rows are ordered by time.

    Index arrays hold vocabulary indices. `item_row` and `user_row` are rows of the knowledge tables, 0 = no knowledge.
    """

    user_id: npt.NDArray[np.object_]  # (N,)
    item_index: npt.NDArray[np.int64]  # (N,)
    item_fields: npt.NDArray[np.int64]  # (N, F)
    history_index: npt.NDArray[np.int64]  # (N, L), oldest first, padding at the end
    history_fields: npt.NDArray[np.int64]  # (N, L, F)
    history_rating: npt.NDArray[np.float32]  # (N, L)
    item_row: npt.NDArray[np.int64]  # (N,)
    user_row: npt.NDArray[np.int64]  # (N,)
    label: npt.NDArray[np.float32]  # (N,)

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Split:
    """Training, validation and test samples: three parts of time, in this order."""

    training: Samples
    validation: Samples
    test: Samples


def labelled(dataset: Dataset) -> pd.DataFrame:
    """Interactions after each user's first n, of which knowledge is made, with the column `label` (0 or 1)."""
    log = dataset.interactions
    place = log.groupby("user_id").cumcount()
    length = log.groupby("user_id")["item_id"].transform("size")
    later = place >= length.map(preference_count)
    positive = log["rating"] > load_scenario(dataset.scenario).positive_above
    return log.assign(label=positive.astype("float32"))[later].reset_index(drop=True)


def with_histories(samples: pd.DataFrame, directory: Path) -> pd.DataFrame:
    """Add the column `history`: the user's packed history that the offline store knew one second before each sample.

    A history row of the same second may hold the sample itself, and with it the label.
    """
    store = open_store(directory)
    apply_definitions(store, directory)
    moments = samples[["user_id"]].assign(
        event_timestamp=pd.to_datetime(samples["time"] - 1, unit="s", utc=True).astype("datetime64[us, UTC]")
    )
    asked = moments.drop_duplicates()  # Feast answers equal rows once
    users = asked["user_id"].unique()
    pages = [users[start : start + USERS_PER_JOIN] for start in range(0, len(users), USERS_PER_JOIN)]
    joined = pd.concat(
        store.get_historical_features(asked[asked["user_id"].isin(page)], ["user_history:packed"]).to_df()
        for page in pages
    )
    joined["event_timestamp"] = joined["event_timestamp"].astype("datetime64[us, UTC]")
    known = moments.merge(joined, on=["user_id", "event_timestamp"], how="left", validate="many_to_one")
    return samples.assign(history=known["packed"].to_numpy())


def split_times(samples: pd.DataFrame) -> tuple[int, int]:
    """The times at which validation and test begin: shares of the samples, never cutting one moment in two."""
    times = np.sort(samples["time"].to_numpy())
    first, second = (int(len(times) * share) for share in (TRAINING_SHARE, TRAINING_SHARE + VALIDATION_SHARE))
    return int(times[first]), int(times[second])


def vocabulary_of(dataset: Dataset, before: int) -> Vocabulary:
    """Ids and field values of the items that were interacted with before a time, in order of their appearance."""
    scenario, log = load_scenario(dataset.scenario), dataset.interactions
    seen = log[log["time"] < before]["item_id"].unique().tolist()
    rows = [scenario.field_values(dataset.items[item_id]) for item_id in seen]
    names = [field.name for field in scenario.item_fields]
    values = {name: sorted({row[f] for row in rows if row[f]}) for f, name in enumerate(names)}
    return Vocabulary(seen, values)


def encode(
    samples: pd.DataFrame,
    dataset: Dataset,
    vocabulary: Vocabulary,
    item_rows: dict[str, int],
    user_rows: dict[str, int],
    history_length: int,
) -> Samples:
    """Samples with histories as arrays; `*_rows` say in which row of its table a subject's knowledge is."""
    scenario = load_scenario(dataset.scenario)
    fields = {i: vocabulary.field_indices(scenario.field_values(item)) for i, item in dataset.items.items()}
    history_index, history_fields, history_rating = _histories(samples, vocabulary, fields, history_length)
    item_ids = samples["item_id"].tolist()
    return Samples(
        user_id=samples["user_id"].to_numpy(),
        item_index=np.array([vocabulary.item_index(i) for i in item_ids], dtype=np.int64),
        item_fields=np.stack([fields[i] for i in item_ids]),
        history_index=history_index,
        history_fields=history_fields,
        history_rating=history_rating,
        item_row=np.array([item_rows.get(i, 0) for i in item_ids], dtype=np.int64),
        user_row=np.array([user_rows.get(u, 0) for u in samples["user_id"]], dtype=np.int64),
        label=samples["label"].to_numpy(dtype=np.float32),
    )


def split(samples: pd.DataFrame, encoded: Samples) -> Split:
    """The three parts of time. Raises EmptySplit."""
    validation_from, test_from = split_times(samples)
    time = samples["time"].to_numpy()
    parts = {
        "training": time < validation_from,
        "validation": (time >= validation_from) & (time < test_from),
        "test": time >= test_from,
    }
    for name, rows in parts.items():
        if len(np.unique(encoded.label[rows])) < 2:
            raise EmptySplit(
                f"the {name} part must have positive and negative samples; it has {int(rows.sum())} in all"
            )
    return Split(**{name: take(encoded, rows) for name, rows in parts.items()})


def take(samples: Samples, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Samples:
    """Some rows of all columns."""
    return Samples(**{name: column[rows] for name, column in vars(samples).items()})


def _histories(
    samples: pd.DataFrame, vocabulary: Vocabulary, fields: dict[str, npt.NDArray[np.int64]], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    width = len(vocabulary.fields)
    index = np.full((len(samples), length), PADDING, dtype=np.int64)
    field_index = np.full((len(samples), length, width), PADDING, dtype=np.int64)
    rating = np.zeros((len(samples), length), dtype=np.float32)
    for row, packed in enumerate(samples["history"]):
        if not isinstance(packed, bytes):  # nothing was known before this moment
            continue
        user = unpack_user(packed)
        newest = user.item_ids[-length:]
        index[row, : len(newest)] = [vocabulary.item_index(i) for i in newest]
        field_index[row, : len(newest)] = [fields[i] for i in newest]
        rating[row, : len(newest)] = user.ratings[-length:]
    return index, field_index, rating

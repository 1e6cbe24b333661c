"""A dataset as columns: what every sample of a run is looked up in.

All columns are NumPy arrays, in memory or mapped from files; a batch is made by indexing, without a loop over samples.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.trainer.datasets import Dataset, labels
from services.trainer.offline_store import MAX_PREFERENCE_ENTRIES

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """R interactions of U users, sorted by user, then by time; equal times keep the order of the file.

    `user` and `item` are codes: places in the order in which users appear in the log, and in the order of the
    dataset's items. What is known of a user one second before row r are the rows from `user_start[user[r]]` up to, and
    without, `known_end[r]`: an interaction of the same second may be the sample itself, and with it the label.
    """

    user: Indices  # (R,)
    item: Indices  # (R,)
    rating: npt.NDArray[np.float32]  # (R,) scenario's unit, 0 = none given
    label: npt.NDArray[np.float32]  # (R,) 0 or 1
    time: Indices  # (R,) seconds since 1970-01-01 UTC
    known_end: Indices  # (R,)
    user_start: Indices  # (U + 1,)

    @property
    def user_count(self) -> int:
        """U."""
        return len(self.user_start) - 1

    def place(self) -> Indices:
        """(R,) how many interactions of its user come before each row in the file's order."""
        return np.arange(len(self.user)) - self.user_start[self.user]

    def save(self, folder: Path) -> None:
        """Write one file a column."""
        folder.mkdir(parents=True, exist_ok=True)
        for column in fields(self):
            np.save(folder / f"{column.name}.npy", getattr(self, column.name))

    @classmethod
    def map(cls, folder: Path) -> Columns:
        """What `save` wrote, mapped into memory: pages are read as they are needed, and never written."""
        return cls(**{column.name: np.load(folder / f"{column.name}.npy", mmap_mode="c") for column in fields(cls)})


def columns_of(dataset: Dataset) -> tuple[Columns, list[str]]:
    """The dataset's log as columns, and the user ids in the order of their codes."""
    log = dataset.interactions
    codes, user_ids = pd.factorize(log["user_id"])
    order = np.argsort(codes, kind="stable")  # the log is sorted by time
    user, time = codes[order].astype(np.int64), log["time"].to_numpy()[order]
    rating = log["rating"].to_numpy(dtype=np.float32)[order]
    columns = Columns(
        user=user,
        item=pd.Index(list(dataset.items)).get_indexer(pd.Index(log["item_id"])).astype(np.int64)[order],
        rating=np.nan_to_num(rating, nan=0.0),
        label=labels(dataset)[order],
        time=time,
        known_end=_known_end(user, time),
        user_start=np.concatenate([[0], np.cumsum(np.bincount(user))]),
    )
    return columns, [str(user_id) for user_id in user_ids]


def sample_rows(columns: Columns) -> Indices:
    """Rows after each user's first n, of which knowledge is made, in order of time.

    n = min((length + 1) // 2, 30): no label is ever told in a prompt (the leakage rule of KAR's data preparation).
    """
    length = np.diff(columns.user_start)
    told = np.minimum((length + 1) // 2, MAX_PREFERENCE_ENTRIES)
    rows = np.flatnonzero(columns.place() >= told[columns.user])
    return rows[np.argsort(columns.time[rows], kind="stable")]


def _known_end(user: Indices, time: Indices) -> Indices:
    fresh = np.ones(len(user), dtype=bool)
    fresh[1:] = (np.diff(user) != 0) | (np.diff(time) != 0)
    return np.maximum.accumulate(np.where(fresh, np.arange(len(user)), 0))

"""The interaction log as columns: what every sample of a run is looked up in.

All columns are NumPy arrays, in memory or mapped from files; a batch is made by indexing, without a loop over samples.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from services.trainer.data.datasets import Dataset, labels

MAX_TOLD = 30
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class InteractionLog:
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
    def map(cls, folder: Path) -> InteractionLog:
        """What `save` wrote, mapped into memory: pages are read as they are needed, and never written."""
        return cls(**{column.name: np.load(folder / f"{column.name}.npy", mmap_mode="c") for column in fields(cls)})


def interaction_log(dataset: Dataset) -> tuple[InteractionLog, list[str]]:
    """The dataset's log, and the user ids in the order of their codes."""
    log = dataset.interactions
    codes, user_ids = pd.factorize(log["user_id"])
    order = np.argsort(codes, kind="stable")  # the log is sorted by time
    user, time = codes[order].astype(np.int64), log["time"].to_numpy()[order]
    rating = log["rating"].to_numpy(dtype=np.float32)[order]
    sorted_log = InteractionLog(
        user=user,
        item=pd.Index(list(dataset.items)).get_indexer(pd.Index(log["item_id"])).astype(np.int64)[order],
        rating=np.nan_to_num(rating, nan=0.0),
        label=labels(dataset)[order],
        time=time,
        known_end=_known_end(user, time),
        user_start=np.concatenate([[0], np.cumsum(np.bincount(user))]),
    )
    return sorted_log, [str(user_id) for user_id in user_ids]


def told_count(length: int) -> int:
    """Of how many of a user's `length` interactions, the oldest, knowledge is made; samples are made of the others.

    min((length + 1) // 2, 30), the leakage rule of KAR's data preparation.
    """
    return min((length + 1) // 2, MAX_TOLD)


def sample_rows(log: InteractionLog) -> Indices:
    """(N,) rows after each user's first `told_count`, in order of time: no label is ever told in a prompt."""
    told = np.array([told_count(length) for length in np.diff(log.user_start).tolist()], dtype=np.int64)
    rows = np.flatnonzero(log.place() >= told[log.user])
    return rows[np.argsort(log.time[rows], kind="stable")]


def _known_end(user: Indices, time: Indices) -> Indices:
    fresh = np.ones(len(user), dtype=bool)
    fresh[1:] = (np.diff(user) != 0) | (np.diff(time) != 0)
    return np.maximum.accumulate(np.where(fresh, np.arange(len(user)), 0))

"""Cuts many token sequences into batches of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class SequenceBatch(NamedTuple):
    """Some sequences, by their `positions` (b,) among all, with `input_ids` and `attention_mask` (b, t)."""

    positions: npt.NDArray[np.intp]
    input_ids: Integers
    attention_mask: Integers


def by_length(input_ids: Integers, attention_mask: Integers, most: int) -> Iterator[SequenceBatch]:
    """Batches of at most `most` of (N, T) sequences, the longest first; columns that are padding in all are left out.

    The longest come first so that a deadline that cannot be met shows early.
    """
    order = np.argsort(-attention_mask.sum(axis=1), kind="stable")
    for start in range(0, len(order), most):
        positions = order[start : start + most]
        used = attention_mask[positions].any(axis=0)
        yield SequenceBatch(positions, input_ids[positions][:, used], attention_mask[positions][:, used])

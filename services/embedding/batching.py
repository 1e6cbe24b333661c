"""Divides texts into batches of similar length, so that little of what is computed is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt


def length_batches(lengths: Sequence[int], most_texts: int, most_tokens: int) -> Iterator[npt.NDArray[np.intp]]:
    """Rows of each batch, the longest texts first: every row in one batch.

    A batch has at most `most_texts` texts and `most_tokens` tokens with its padding, which is its number of texts times
    its longest text; a text that is longer than that is a batch by itself. Longest first, so that workers which share
    the batches end together.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        count = max(1, min(most_texts, most_tokens // longest))
        yield order[start : start + count]
        start += count

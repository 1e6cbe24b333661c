"""Lists to re-rank, and what a re-ranked list is worth.

Protocol of KAR's re-ranking experiments (arXiv 2306.10933, section 4): each user's later interactions in runs of 4,
each run mixed with 6 items drawn at random; nothing ranks the list beforehand.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.trainer.columns import Columns, Indices, sample_rows
from services.trainer.samples import Samples

REAL, DRAWN = 4, 6
CUTS = (1, 3, 5, 7)
Floats = npt.NDArray[np.float64]


def lists(columns: Columns, item_count: int, seed: int) -> Samples:
    """One sample for each run of 4 interactions, with 10 candidates in random order; what is left over is dropped.

    A candidate is positive where the user met it and liked it. The drawn items differ from each other and from the
    user's four. Raises ValueError when the catalogue has fewer than 10 items.
    """
    if item_count < REAL + DRAWN:
        raise ValueError(f"re-ranking needs a catalogue of at least {REAL + DRAWN} items, this one has {item_count}")
    random, first = np.random.default_rng(seed), _first_rows(columns)
    rows = first[:, None] + np.arange(REAL)
    item = np.concatenate([columns.item[rows], np.zeros((len(first), DRAWN), dtype=np.int64)], axis=1)
    for place in range(REAL, REAL + DRAWN):
        item[:, place] = _fresh(item[:, :place], item_count, random)
    label = np.concatenate([columns.label[rows], np.zeros((len(first), DRAWN), dtype=np.float32)], axis=1)
    order = random.permuted(np.tile(np.arange(REAL + DRAWN), (len(first), 1)), axis=1)
    return Samples(first, np.take_along_axis(item, order, 1), np.take_along_axis(label, order, 1), span=REAL)


def list_metrics(label: npt.NDArray[np.float32], score: Floats) -> dict[str, Floats]:
    """MAP, NDCG and clicks at 1, 3, 5 and 7 of every list: (N,) each of labels and scores (N, C).

    Of a list without a positive candidate MAP and NDCG are NaN: no order of it is better than another. MAP@k divides by
    the positives that k places can hold; clicks@k counts the positives among the first k. Ties keep the given order.
    """
    ranked = np.take_along_axis(label, np.argsort(-score, axis=1, kind="stable"), axis=1).astype(np.float64)
    positives, places = ranked.sum(axis=1), np.arange(1, label.shape[1] + 1)
    precision = np.cumsum(ranked, axis=1) / places
    gain = 1 / np.log2(places + 1)
    found = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for cut in CUTS:
            held = np.minimum(positives, cut)
            ideal = np.where(places[:cut] <= held[:, None], gain[:cut], 0.0).sum(axis=1)
            found[f"map@{cut}"] = (precision * ranked)[:, :cut].sum(axis=1) / held
            found[f"ndcg@{cut}"] = (ranked * gain)[:, :cut].sum(axis=1) / ideal
            found[f"clicks@{cut}"] = ranked[:, :cut].sum(axis=1)
    return found


def _first_rows(columns: Columns) -> Indices:
    rows = np.sort(sample_rows(columns))
    user = columns.user[rows]
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    remaining = np.repeat(np.diff(starts, append=len(rows)), np.diff(starts, append=len(rows))) - place
    first: Indices = rows[(place % REAL == 0) & (remaining >= REAL)]
    return first


def _fresh(taken: Indices, item_count: int, random: np.random.Generator) -> Indices:
    """(N,) one item for each list that is not among its items (N, M) yet."""
    drawn = random.integers(item_count, size=len(taken))
    while (clash := (taken == drawn[:, None]).any(axis=1)).any():
        drawn[clash] = random.integers(item_count, size=int(clash.sum()))
    return drawn

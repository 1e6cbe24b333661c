"""Lists to re-rank.

Protocol of KAR's re-ranking experiments (arXiv 2306.10933, section 4): each user's later interactions in runs of 4,
each run mixed with 6 items drawn at random; nothing ranks the list beforehand.
"""

from __future__ import annotations

import numpy as np

from services.trainer.data.interaction_log import Indices, InteractionLog, sample_rows
from services.trainer.data.samples import Samples

REAL, DRAWN = 4, 6


def list_samples(log: InteractionLog, item_count: int, seed: int) -> Samples:
    """One sample for each run of 4 interactions, with 10 candidates in random order; what is left over is dropped.

    A candidate is positive where the user met it and liked it. The drawn items differ from each other and from the
    user's four. Raises ValueError when the catalogue has fewer than 10 items.
    """
    if item_count < REAL + DRAWN:
        raise ValueError(f"re-ranking needs a catalogue of at least {REAL + DRAWN} items, this one has {item_count}")
    random, first = np.random.default_rng(seed), _first_rows(log)
    rows = first[:, None] + np.arange(REAL)
    item = np.concatenate([log.item[rows], np.zeros((len(first), DRAWN), dtype=np.int64)], axis=1)
    for place in range(REAL, REAL + DRAWN):
        item[:, place] = _fresh(item[:, :place], item_count, random)
    label = np.concatenate([log.label[rows], np.zeros((len(first), DRAWN), dtype=np.float32)], axis=1)
    order = random.permuted(np.tile(np.arange(REAL + DRAWN), (len(first), 1)), axis=1)
    return Samples(first, np.take_along_axis(item, order, 1), np.take_along_axis(label, order, 1), span=REAL)


def _first_rows(log: InteractionLog) -> Indices:
    rows = np.sort(sample_rows(log))
    user = log.user[rows]
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

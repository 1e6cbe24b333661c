"""How far two versions agree on the same request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

TOP = 10
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """`rank_correlation`: Spearman's, -1 to 1; `top_overlap`: share of the first TOP that both have, 0 to 1.

    `score_difference`: mean of the other's scores minus the one's.
    """

    rank_correlation: float
    top_overlap: float
    score_difference: float


def agreement(one_ids: Sequence[str], one: Floats, other_ids: Sequence[str], other: Floats) -> Agreement | None:
    """Compare two lists, best first, of (N,) and (M,) scores, over the items that both have; None with fewer than two.

    The first list may be cut to its best.
    """
    places = {item_id: place for place, item_id in enumerate(other_ids)}
    shared = [(place, places[item_id]) for place, item_id in enumerate(one_ids) if item_id in places]
    if len(shared) < 2:
        return None
    first, second = np.array(shared).T
    top = min(TOP, len(one_ids))
    return Agreement(
        rank_correlation=spearman(one[first], other[second]),
        top_overlap=len(set(one_ids[:top]) & set(other_ids[:top])) / top,
        score_difference=float((other[second] - one[first]).mean()),
    )


def spearman(one: Floats, other: Floats) -> float:
    """Correlation of the ranks of two (N,); equal values share the mean of their ranks. 0 where one is constant."""
    ranks = np.stack([_ranks(one), _ranks(other)])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((centred**2).sum(axis=1).prod())
    return float(centred.prod(axis=0).sum() / scale) if scale else 0.0


def _ranks(values: Floats) -> npt.NDArray[np.float64]:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(sizes)
    ranks: npt.NDArray[np.float64] = (ends - (sizes - 1) / 2)[group]
    return ranks

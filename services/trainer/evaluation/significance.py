"""Whether a difference in a metric is more than the chance of seeds and of test users."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DRAWS = 1000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean difference of a metric with its 95% interval, and the two-sided p-value of there being none."""

    mean: float
    low: float
    high: float
    p: float


class RankedScores:
    """AUC of fixed scores (N,) under changing weights, sorted once."""

    def __init__(self, label: npt.NDArray[np.float32], score: Floats) -> None:
        _, self._group = np.unique(score, return_inverse=True)
        self._positive = label > 0

    def auc(self, weight: Floats) -> float:
        """The share of pairs in order, ties by half; a sample of weight 2 counts as two. NaN where there is no pair."""
        positive = np.bincount(self._group, weight * self._positive)
        negative = np.bincount(self._group, weight * ~self._positive)
        below = np.cumsum(negative) - negative
        pairs = positive.sum() * negative.sum()
        return float((positive * (below + negative / 2)).sum() / pairs) if pairs else float("nan")


def paired_bootstrap(
    user: npt.NDArray[np.int64],
    base: Sequence[Callable[[Floats], float]],
    other: Sequence[Callable[[Floats], float]],
    seed: int = 0,
    draws: int = DRAWS,
) -> Difference:
    """The metric of `other` minus that of `base`: functions of sample weights (N,), one a training seed.

    Each draw takes seeds with replacement, and users (N,) with all their samples with replacement, the same ones for
    both sides. The p-value is twice the share of draws on the other side of zero, never below 2 / (draws + 1). A draw
    whose metric is NaN, as AUC is where the drawn users have labels of one kind alone, does not count.
    """
    random, pairs = np.random.default_rng(seed), list(zip(base, other, strict=True))
    _, person = np.unique(user, return_inverse=True)
    people, drawn = int(person.max()) + 1, np.empty(draws)
    for draw in range(draws):
        weight = np.bincount(random.integers(people, size=people), minlength=people)[person].astype(np.float64)
        chosen = random.integers(len(pairs), size=len(pairs))
        gains = {n: pairs[n][1](weight) - pairs[n][0](weight) for n in np.unique(chosen)}
        drawn[draw] = np.mean([gains[n] for n in chosen])
    even = np.ones(len(user))
    mean = float(np.mean([two(even) - one(even) for one, two in pairs]))
    counted = drawn[~np.isnan(drawn)]
    beyond = min((counted <= 0).sum(), (counted >= 0).sum())
    low, high = np.percentile(counted, [2.5, 97.5])
    return Difference(mean, float(low), float(high), min(1.0, float(2 * (beyond + 1) / (len(counted) + 1))))

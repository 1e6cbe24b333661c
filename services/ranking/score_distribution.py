"""Counts scores by size for Prometheus, a whole list at a time: an observation for each score would cost more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

BINS = 20
EDGES = np.linspace(0, 1, BINS + 1)[1:-1]  # the last bin has no upper edge


class ScoreDistribution(Collector):
    """A histogram of probabilities by assignment and model version. Safe to share between threads."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], npt.NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, str], float] = {}

    def observe(self, assignment: str, version: str, scores: npt.NDArray[np.float32]) -> None:
        """Count (N,) scores."""
        counts = np.bincount(np.searchsorted(EDGES, scores), minlength=BINS)
        key = (assignment, version)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + counts
            self._sums[key] = self._sums.get(key, 0.0) + float(scores.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus reads."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=["assignment", "model_version"])
        with self._lock:
            for key, counts in self._counts.items():
                total = np.cumsum(counts)
                buckets = [(f"{edge:g}", float(n)) for edge, n in zip(EDGES, total, strict=False)]
                family.add_metric(list(key), [*buckets, ("+Inf", float(total[-1]))], self._sums[key])
        yield family

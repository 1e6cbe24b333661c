"""What features tells Prometheus. Every name is here; docs/operating.md says what each means and what to do."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.features.ledger import Ledger
from services.features.ordering import WriteOutcome
from services.runtime.errors import DependencyUnavailable

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Watcher:
    """One reader of the stream of changes: the sequence number of the last change that it was sent."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence


class FeaturesMetrics:
    """The process' metrics in a registry of their own; what the ledger knows is counted when it is asked for.

    `kind` of a write is content, knowledge, removal (of items), interaction, history, preferences (of users) or
    augmented (of either); of a subject it is item or user.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.registry = CollectorRegistry()
        self._ledger = ledger
        self._watchers: set[Watcher] = set()
        self.writes = Counter(
            "loreline_features_writes", "Writes by what came of them.", ["kind", "outcome"], registry=self.registry
        )
        self.write_seconds = Histogram(
            "loreline_features_write_seconds", "Time to store a request's writes.", ["method"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.reads = Counter(
            "loreline_features_reads", "Subjects read for scoring, and whether they were there.", ["kind", "found"],
            registry=self.registry,
        )  # fmt: skip
        self._gauge("loreline_features_items", "Items in the ledger, deleted ones included.").set_function(
            _or_nothing(lambda: ledger.count("item"))
        )
        self._gauge("loreline_features_users", "Users in the ledger.").set_function(
            _or_nothing(lambda: ledger.count("user"))
        )
        self._gauge("loreline_features_watchers", "Readers of the stream of changes.").set_function(
            lambda: len(self._watchers)
        )
        self._gauge("loreline_features_watch_lag_items", "Items that the slowest reader lacks.").set_function(
            _or_nothing(self._lag)
        )

    def writing(self, method: str) -> AbstractContextManager[object]:
        """Measures the writes of one request."""
        return self.write_seconds.labels(method).time()

    def wrote(self, kinds: Sequence[str], outcomes: Sequence[WriteOutcome]) -> None:
        """Count writes, each by its kind and outcome."""
        for (kind, outcome), number in Counted(zip(kinds, outcomes, strict=True)).items():
            self.writes.labels(kind, outcome.value.lower()).inc(number)

    def read(self, kind: str, found: int, missing: int) -> None:
        """Count subjects that were read."""
        self.reads.labels(kind, "yes").inc(found)
        self.reads.labels(kind, "no").inc(missing)

    @contextmanager
    def watching(self, sequence: int) -> Iterator[Watcher]:
        """A reader is there; whoever serves it keeps its sequence number."""
        watcher = Watcher(sequence)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self.registry)

    def _lag(self) -> int:
        slowest = min((watcher.sequence for watcher in tuple(self._watchers)), default=None)
        return 0 if slowest is None else self._ledger.items_changed_after(slowest)


def _or_nothing(count: Callable[[], int]) -> Callable[[], float]:
    """What a gauge shows: NaN while the ledger does not answer, so that the other metrics can still be read."""

    def counted() -> float:
        try:
            return count()
        except DependencyUnavailable:
            return float("nan")

    return counted

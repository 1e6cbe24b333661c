"""What the updater tells Prometheus. Every name is here; docs/operating.md says what each means and what to do."""

from __future__ import annotations

import time
from collections import Counter as Counted
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from services.runtime.kafka_clients import KafkaConsumer

FOLLOW_SECONDS = 1.0
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class UpdaterMetrics:
    """The process' metrics in a registry of their own. `stage` is content, knowledge, interactions or preferences."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._followed: dict[str, float] = {}
        self.events = Counter(
            "loreline_updater_events", "Events by what came of them.", ["stage", "outcome"], registry=self.registry
        )
        self.dead_letters = Counter(
            "loreline_updater_dead_letters", "Records put into the dead letters.", ["stage", "reason"],
            registry=self.registry,
        )  # fmt: skip
        self.lag = Gauge(
            "loreline_updater_lag_records", "Records between the last commit and the log's end.", ["stage"],
            registry=self.registry,
        )  # fmt: skip
        self.batch_seconds = Histogram(
            "loreline_updater_batch_seconds", "Time to give a batch its effect.", ["stage"],
            buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.batch_records = Histogram(
            "loreline_updater_batch_records", "Records handled together.", ["stage"],
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000), registry=self.registry,
        )  # fmt: skip
        self.effect_seconds = Histogram(
            "loreline_updater_effect_seconds", "From a record's time in Kafka until a stage stored its effect.",
            ["stage"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self.queued = Gauge(
            "loreline_updater_queued_records", "Records read, one an item or user, that wait for knowledge.", ["stage"],
            registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "loreline_updater_waiting", "1 while a stage waits for a dependency that is away.", ["stage"],
            registry=self.registry,
        )  # fmt: skip

        self.suspects = Counter(
            "loreline_updater_suspects", "Answers kept as suspects, of which nothing is served.", ["stage"],
            registry=self.registry,
        )  # fmt: skip
        self.refreshes = Counter(
            "loreline_updater_refreshes", "Users whose preferences were asked for anew, by cause.", ["cause"],
            registry=self.registry,
        )  # fmt: skip
        self.published = Counter(
            "loreline_updater_published_records", "Records written to the enriched and knowledge topics.", ["topic"],
            registry=self.registry,
        )  # fmt: skip

    def count(self, stage: str, outcomes: Sequence[str]) -> None:
        """Count what features said of writes: APPLIED, DUPLICATE, STALE or MISSING_CONTENT."""
        for outcome, number in Counted(outcomes).items():
            self.events.labels(stage, outcome.lower()).inc(number)

    def waited(self, stage: str, records: Sequence[ConsumerRecord]) -> None:
        """Tell how long after their time in Kafka records have had their effect."""
        now = time.time()
        for record in records:
            self.effect_seconds.labels(stage).observe(max(0.0, now - record.timestamp / 1000))

    @contextmanager
    def batch(self, stage: str, records: int) -> Iterator[None]:
        """Measures one batch of a stage."""
        self.batch_records.labels(stage).observe(records)
        with self.batch_seconds.labels(stage).time():
            yield

    def follow(self, stage: str, consumer: KafkaConsumer, unfinished: int = 0) -> None:
        """Tell how far behind the log's end a stage is: what is not read yet, and what was read and is not finished.

        Looked at once a second at most: each look asks the client's other thread for the place in every partition.
        """
        if time.monotonic() - self._followed.get(stage, float("-inf")) < FOLLOW_SECONDS:
            return
        self._followed[stage] = time.monotonic()
        self.lag.labels(stage).set(sum(_unread(consumer, p) for p in consumer.assignment()) + unfinished)


def _unread(consumer: KafkaConsumer, partition: TopicPartition) -> int:
    try:
        end, at = consumer.highwater(partition), consumer.position(partition, timeout_ms=0)
    except (KafkaError, AssertionError):  # the partition went in between, or its place is not known yet
        return 0
    return max(0, end - at) if end is not None and at is not None else 0

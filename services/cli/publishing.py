"""Publishes events to Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kafka.producer.future import FutureRecordMetadata

from loreline.client.catalog import CatalogEvent
from services.cli.broker import BOOTSTRAP_TIMEOUT_MS, broker_errors
from services.runtime.kafka_clients import KafkaProducer

MOST_UNACKNOWLEDGED = 2000


class Publisher:
    """Sends events to one topic; no more than MOST_UNACKNOWLEDGED are under way. Raises KafkaError."""

    def __init__(self, producer: KafkaProducer, topic: str, timeout_seconds: float) -> None:
        self._producer, self._topic, self._timeout = producer, topic, timeout_seconds
        self._sent: list[FutureRecordMetadata] = []

    def send(self, event: CatalogEvent) -> float:
        """Hand an event over; returns when, in seconds since 1970-01-01 UTC."""
        if len(self._sent) >= MOST_UNACKNOWLEDGED:
            self.flush()
        moment = time.time()
        self._sent.append(self._producer.send(self._topic, key=event.key, value=event.value, headers=event.headers))
        return moment

    def flush(self) -> None:
        """Return when all replicas have acknowledged every event."""
        self._producer.flush(timeout=self._timeout)
        for future in self._sent:
            future.get(timeout=self._timeout)
        self._sent.clear()


@contextmanager
def publishing(bootstrap_servers: str, topic: str, timeout_seconds: float = 10.0) -> Iterator[Publisher]:
    """A publisher whose events are all acknowledged when the block ends. Raises NotReady."""
    with broker_errors(bootstrap_servers):
        producer = KafkaProducer(
            bootstrap_servers=bootstrap_servers.split(","),
            acks="all",
            enable_idempotence=True,
            bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
            max_block_ms=int(timeout_seconds * 1000),
        )
        try:
            publisher = Publisher(producer, topic, timeout_seconds)
            yield publisher
            publisher.flush()
        finally:
            producer.close(timeout=timeout_seconds)


def publish(
    bootstrap_servers: str, topic: str, events: Sequence[CatalogEvent], timeout_seconds: float = 10.0
) -> list[float]:
    """Send all events and return when all replicas have acknowledged every one. Raises NotReady.

    Returns when each was handed to the producer, seconds since 1970-01-01 UTC.
    """
    with publishing(bootstrap_servers, topic, timeout_seconds) as publisher:
        return [publisher.send(event) for event in events]

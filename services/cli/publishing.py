"""Publishes item events to Kafka."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kafka import KafkaProducer
from kafka.errors import KafkaError

from loreline.client.catalog import ItemEvent
from services.cli.output import NotReady


def publish(
    bootstrap_servers: str, topic: str, events: Sequence[ItemEvent], timeout_seconds: float = 10.0
) -> list[float]:
    """Send all events and return when all replicas have acknowledged every one. Raises NotReady.

    Returns when each was handed to the producer, seconds since 1970-01-01 UTC.
    """
    try:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap_servers.split(","),
            acks="all",
            enable_idempotence=True,
            bootstrap_timeout_ms=5000,
        )
        sent = [(time.time(), producer.send(topic, key=e.key, value=e.value, headers=e.headers)) for e in events]
        for _, future in sent:
            future.get(timeout=timeout_seconds)
        producer.close(timeout=timeout_seconds)
    except KafkaError as error:
        raise NotReady(f"the broker at {bootstrap_servers} did not take the events: {error!r}") from error
    return [moment for moment, _ in sent]

"""The dead-letter topic: records that could not be handled, unchanged, with the reason in their headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

import structlog
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from services.updater.acknowledged_producer import AcknowledgedProducer, OutgoingRecord
from services.updater.events import PoisonEvent

KEPT_BYTES = 16_384  # of the value of a record that is too large for the topic
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
log = structlog.get_logger(__name__)


class DeadLetterSink(Protocol):
    """Takes records that cannot be handled."""

    def put(self, record: ConsumerRecord, poison: PoisonEvent, stage: str, attempts: int) -> None:
        """Return once the record is safe. Raises an exception when it is not."""


class DeadLetterTopic:
    """Writes dead letters to Kafka, acknowledged by all replicas before `put` returns. Safe to share between threads.

    A record that is too large for the topic with its reason is cut: `dead-letter-cut` says how many bytes its value
    had, and topic, partition and offset where all of it lies.

    Headers added: dead-letter-reason (code), -detail (words), -stage, -attempts, -topic, -partition, -offset and
    -time (ISO 8601, UTC); key, value and the original headers stay as they were.
    """

    def __init__(self, producer: AcknowledgedProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    def put(self, record: ConsumerRecord, poison: PoisonEvent, stage: str, attempts: int) -> None:
        """Send and wait for the acknowledgement. Raises kafka.errors.KafkaError."""
        reason = _reason_headers(record, poison, stage, attempts)
        own = [(name, value if value is not None else b"") for name, value in record.headers]  # null: not to be written
        try:
            value = (
                b"" if record.key is None and record.value is None else record.value
            )  # Kafka's client takes no neither
            self._producer.send([OutgoingRecord(self._topic, record.key, value, [*own, *reason])])
        except TOO_LARGE:
            cut = ("dead-letter-cut", str(len(record.value or b"")).encode())
            key, value = (part and part[:KEPT_BYTES] for part in (record.key, record.value))
            self._producer.send([OutgoingRecord(self._topic, key, value, [*reason, cut])])
        log.warning("dead letter", reason=poison.reason, stage=stage, partition=record.partition, offset=record.offset)


def _reason_headers(record: ConsumerRecord, poison: PoisonEvent, stage: str, attempts: int) -> list[tuple[str, bytes]]:
    words = {
        "reason": poison.reason,
        "detail": poison.detail[:2000],
        "stage": stage,
        "attempts": attempts,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "time": datetime.now(UTC).isoformat(),
    }
    return [(f"dead-letter-{name}", str(word).encode("utf-8", "replace")) for name, word in words.items()]

"""Writing to a real broker, acknowledged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from services.updater.acknowledged_producer import AcknowledgedProducer, OutgoingRecord
from services.updater.topics import Topic, create_missing_topics


@pytest.fixture
def producer(broker: str) -> Iterator[AcknowledgedProducer]:
    """A producer, closed after the test."""
    producer = AcknowledgedProducer(broker)
    yield producer
    producer.close()


def test_records_are_there_when_send_returns(broker: str, producer: AcknowledgedProducer, unique_name: str) -> None:
    """In their order, with their headers, and tombstones without a value."""
    create_missing_topics(broker, [Topic(unique_name, 1)])
    header = ("content-type", b"application/x-protobuf")
    producer.send([OutgoingRecord(unique_name, b"a", b"1", [header]), OutgoingRecord(unique_name, b"a", None)])
    reader = KafkaConsumer(
        unique_name, bootstrap_servers=broker, auto_offset_reset="earliest", consumer_timeout_ms=2000
    )
    found = [(record.key, record.value, list(record.headers)) for record in reader]
    reader.close()
    assert found == [(b"a", b"1", [header]), (b"a", None, [])]


def test_a_record_larger_than_any_event_is_written(
    broker: str, producer: AcknowledgedProducer, unique_name: str
) -> None:
    """A dead letter holds the largest event that Kafka takes, and the reason in its headers."""
    create_missing_topics(broker, [Topic(unique_name, 1)])
    producer.send([OutgoingRecord(unique_name, b"a", b"x" * 1_048_576, [("dead-letter-detail", b"y" * 2000)])])


def test_after_an_error_the_next_records_are_written(
    broker: str, producer: AcknowledgedProducer, unique_name: str
) -> None:
    """Over a connection of their own: some errors stay with a connection."""
    create_missing_topics(broker, [Topic(unique_name, 1)])
    with pytest.raises(KafkaError):
        producer.send([OutgoingRecord(unique_name, b"a", b"x" * 5_000_000)])
    producer.send([OutgoingRecord(unique_name, b"a", b"1")])

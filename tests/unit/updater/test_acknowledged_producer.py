"""Writing to a real broker, acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from services.runtime.kafka_clients import KafkaConsumer
from services.updater.acknowledged_producer import AcknowledgedProducer, OutgoingRecord
from services.updater.topics import Topic, create_missing_topics
from tests.faults.line import hanging
from tests.kafka_broker import running_broker
from tests.waiting import wait_until


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


def test_after_a_broker_hung_for_longer_than_a_record_may_take_the_next_records_are_written(
    tmp_path: Path, unique_name: str
) -> None:
    """Whatever state the client was left in: a record that timed out after it had been sent must not block the rest."""
    with running_broker(tmp_path) as broker:
        create_missing_topics(broker.address, [Topic(unique_name, 4)])
        threads = threading.active_count()
        producer = AcknowledgedProducer(broker.address, timeout_seconds=1)
        records = [OutgoingRecord(unique_name, str(number).encode(), b"1") for number in range(20)]
        producer.send(records)
        for _ in range(3):
            failures = _failures_while_hanging(producer, records, broker.pid)
            assert failures == 4
            wait_until(lambda: _is_written(producer, records), what="records to be written again")
        producer.close()
        wait_until(lambda: threading.active_count() <= threads, what="all connections to be given up")


def _failures_while_hanging(producer: AcknowledgedProducer, records: list[OutgoingRecord], pid: int) -> int:
    failures: list[KafkaError] = []

    def send() -> None:
        try:
            producer.send(records)
        except KafkaError as error:
            failures.append(error)

    with hanging(pid):
        senders = [threading.Thread(target=send) for _ in range(4)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    return len(failures)


def _is_written(producer: AcknowledgedProducer, records: list[OutgoingRecord]) -> bool:
    try:
        producer.send(records)
    except KafkaError:
        return False
    return True

"""Reads a topic as it stands, from its beginning to its end, without a consumer group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from services.cli.broker import BOOTSTRAP_TIMEOUT_MS, broker_errors
from services.cli.output import NotReady
from services.runtime.kafka_clients import KafkaConsumer

POLL_MS, POLL_RECORDS = 500, 2000
QUIET_SECONDS, STALL_SECONDS = 2.0, 15.0


class NoSuchTopic(NotReady):
    """The broker has no topic of this name."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"there is no topic {topic!r}: `loreline topics list` shows them, `topics create` creates them"
        )


@dataclass(frozen=True)
class Span:
    """Offsets of one partition, from `first` to before `end`; None means all that is there when the reading begins."""

    first: int = 0
    end: int | None = None


def read_topic(bootstrap_servers: str, topic: str, spans: Mapping[int, Span] | None = None) -> Iterator[ConsumerRecord]:
    """Yield the records of one partition after the other, each in the order of its offsets.

    Without `spans` all partitions are read, else those that it names. Records that come while the topic is read are
    left out. Holds no more than one poll in memory. Raises NoSuchTopic, NotReady.
    """
    with broker_errors(bootstrap_servers), closing(_consumer(bootstrap_servers)) as consumer:
        for number in _partitions(consumer, topic):
            if spans is None or number in spans:
                yield from _read_partition(consumer, TopicPartition(topic, number), (spans or {}).get(number, Span()))


def partitions_of(bootstrap_servers: str, topic: str) -> list[int]:
    """The topic's partitions. Raises NoSuchTopic, NotReady."""
    with broker_errors(bootstrap_servers), closing(_consumer(bootstrap_servers)) as consumer:
        return _partitions(consumer, topic)


def _partitions(consumer: KafkaConsumer, topic: str) -> list[int]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        raise NoSuchTopic(topic)
    return sorted(numbers)


def _consumer(bootstrap_servers: str) -> KafkaConsumer:
    return KafkaConsumer(
        bootstrap_servers=bootstrap_servers.split(","),
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        fetch_max_wait_ms=50,
    )


def _read_partition(consumer: KafkaConsumer, partition: TopicPartition, span: Span) -> Iterator[ConsumerRecord]:
    sure = consumer.end_offsets([partition])[partition]  # too low where the broker is Tansu
    end = sure if span.end is None else span.end
    consumer.assign([partition])
    consumer.seek(partition, max(span.first, consumer.beginning_offsets([partition])[partition]))
    exact, moved = False, time.monotonic()
    while consumer.position(partition) < end:
        records = consumer.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS).get(partition, [])
        if records and not exact:  # what comes with the records is right everywhere
            sure, exact = max(sure, consumer.highwater(partition) or 0), True
            end = sure if span.end is None else min(sure, span.end)
        yield from (record for record in records if record.offset < end)
        moved = time.monotonic() if records else moved
        quiet = time.monotonic() - moved
        if quiet > QUIET_SECONDS and consumer.position(partition) >= sure:
            return  # a span may end behind all that there is
        if quiet > STALL_SECONDS:
            raise NotReady(f"nothing came of {partition.topic}, partition {partition.partition}, before offset {end}")

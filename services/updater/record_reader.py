"""Reads and decodes a member's records, past whatever is wrong with single ones."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from kafka import TopicPartition
from kafka.consumer import fetcher
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import CorruptRecordError, KafkaError

from services.runtime.backoff import Backoff
from services.runtime.kafka_clients import KafkaConsumer
from services.updater.events import Event, PoisonEvent
from services.updater.metrics import UpdaterMetrics

log = structlog.get_logger(__name__)
Decode = Callable[[ConsumerRecord], Event]


@dataclass(frozen=True)
class Batch:
    """Records in the order of their reading: those that are events, and those that no retry can help."""

    events: list[tuple[ConsumerRecord, Event]] = field(default_factory=list)
    poisons: list[tuple[ConsumerRecord, PoisonEvent]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.events) + len(self.poisons)

    @property
    def records(self) -> list[ConsumerRecord]:
        """All records, those of one partition in their order."""
        both = [record for record, _ in [*self.events, *self.poisons]]
        return sorted(both, key=lambda record: (record.topic, record.partition, record.offset))

    def add(self, other: Batch) -> None:
        """Take in what was read later."""
        self.events.extend(other.events)
        self.poisons.extend(other.poisons)


class RecordReader:
    """Polls for one thread. A broker that is away is waited for; nothing that a record holds can end the reading.

    A record that the Kafka client itself cannot read, such as one with a header name that is not UTF-8, is poison
    without key and value: its place is all that is known of it. Whatever else a poll raises, such as a mistake in a
    rebalance listener, is no record's fault and is raised.
    """

    def __init__(
        self,
        consumer: KafkaConsumer,
        decode: Decode,
        stage: str,
        metrics: UpdaterMetrics,
        backoff: Backoff,
        stopping: threading.Event,
    ) -> None:
        self._consumer, self._decode, self._stage = consumer, decode, stage
        self._metrics, self._backoff, self._stopping = metrics, backoff, stopping
        self._failures = 0

    def read(self, seconds: float, most: int) -> Batch:
        """Up to `most` records that came within so long."""
        try:
            batch = self._decoded(self._poll(self._consumer, seconds, most))
        except CorruptRecordError as error:
            return self._past_the_unreadable(error)
        except KafkaError as error:
            self._wait(error)
            return Batch()
        except Exception as error:
            return self._past_the_unreadable(error)
        if self._failures:
            self._failures = 0
            self._metrics.waiting.labels(self._stage).set(0)
        return batch

    def _past_the_unreadable(self, error: Exception) -> Batch:
        # no public face of the client tells where it stopped; without a seek the next poll would turn for ever
        stopped_in = self._consumer._fetcher._next_partition_records
        if stopped_in is None or not _is_the_fetchers(error):
            raise error
        partition, offset = stopped_in.topic_partition, stopped_in.next_fetch_offset
        self._consumer.seek(partition, offset + 1)
        log.warning("a record cannot be read", stage=self._stage, partition=partition, offset=offset, error=repr(error))
        return Batch(
            poisons=[(_placeholder(partition, offset), PoisonEvent("UNREADABLE", f"no Kafka record: {error}"))]
        )

    @staticmethod
    def _poll(consumer: KafkaConsumer, seconds: float, most: int) -> list[ConsumerRecord]:
        polled = consumer.poll(timeout_ms=max(1, int(seconds * 1000)), max_records=most)
        return [record for partition in polled.values() for record in partition]

    def _decoded(self, records: list[ConsumerRecord]) -> Batch:
        batch = Batch()
        for record in records:
            try:
                batch.events.append((record, self._decode(record)))
            except PoisonEvent as poison:
                batch.poisons.append((record, poison))
            except Exception as error:  # our fault: decoding is pure, so another try would end the same
                log.exception("decoding failed", stage=self._stage, partition=record.partition, offset=record.offset)
                batch.poisons.append((record, PoisonEvent("INTERNAL", repr(error))))
        return batch

    def _wait(self, error: KafkaError) -> None:
        self._failures += 1
        self._metrics.waiting.labels(self._stage).set(1)
        pause = self._backoff.pause_seconds(self._failures)
        log.warning("cannot read", stage=self._stage, pause=pause, error=repr(error))
        self._stopping.wait(pause)


def _is_the_fetchers(error: Exception) -> bool:
    """Whether it came about where the client reads records, not in what else a poll does, as rebalancing."""
    return any(frame.f_code.co_filename == fetcher.__file__ for frame, _ in traceback.walk_tb(error.__traceback__))


def _placeholder(partition: TopicPartition, offset: int) -> ConsumerRecord:
    known = {"topic": partition.topic, "partition": partition.partition, "offset": offset, "headers": []}
    return ConsumerRecord(**dict.fromkeys(ConsumerRecord._fields) | known)

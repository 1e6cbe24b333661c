"""One consumer group's loop: poll, decode, handle, dead-letter what cannot be handled, and only then commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from loreline.client import ClientError, ServiceUnavailableError
from services.runtime.backoff import Backoff
from services.runtime.kafka_clients import KafkaConsumer
from services.updater.dead_letters import DeadLetterSink
from services.updater.events import Event, PoisonEvent
from services.updater.metrics import UpdaterMetrics
from services.updater.offsets import Offsets
from services.updater.record_reader import Batch, Decode, RecordReader
from services.updater.stages import Poisons, Stage

IDLE_SECONDS = 1.0  # of a read: records are given as they come, so that only the signal to stop waits for it
log = structlog.get_logger(__name__)
RETRIED_FOREVER = (ServiceUnavailableError, KafkaError)  # tried again without end: nothing is wrong with the records


@dataclass(eq=False)
class StageConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Feeds one stage from a topic, at least once. A batch is full, or nothing more came for `linger_seconds`.

    A batch whose handling fails is read again after a jittered pause; the offsets stay uncommitted. Where a
    dependency is away, that goes on until it is back. Any other failure is given `max_attempts`; then each record is
    handled by itself, and the ones that still fail become dead letters.
    """

    stage: Stage
    decode: Decode
    dead_letters: DeadLetterSink
    metrics: UpdaterMetrics
    batch_records: int
    linger_seconds: float
    max_attempts: int
    backoff: Backoff
    failures: int = field(default=0, init=False)  # of the batch at hand, but for those that only mean to wait
    pauses: int = field(default=0, init=False)  # since a batch went through
    consumer: KafkaConsumer = field(init=False)
    stopping: threading.Event = field(init=False)
    _reader: RecordReader = field(init=False)
    _offsets: Offsets = field(default_factory=Offsets, init=False)
    _joined: threading.Event = field(default_factory=threading.Event, init=False)

    def run(self, consumer: KafkaConsumer, stopping: threading.Event) -> None:
        """Work until `stopping` is set, then leave the group. Subscribe the consumer with this as its listener."""
        self.consumer, self.stopping = consumer, stopping
        self._reader = RecordReader(consumer, self.decode, self.stage.name, self.metrics, self.backoff, stopping)
        while not stopping.is_set():
            if batch := self._gather():
                self._work_off(batch)
            self._offsets.commit(consumer, self.stage.name)
            self.metrics.follow(self.stage.name, consumer)
        consumer.close(autocommit=False)

    @property
    def joined(self) -> bool:
        """Whether the group has given this member its share, which may be no partition at all."""
        return self._joined.is_set()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:  # noqa: ARG002
        """Called by the consumer."""
        self._joined.set()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Called by the consumer, between two batches: what was handled is committed, or done again by the next."""
        self._offsets.forget(revoked)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """Called by the consumer."""
        self._offsets.forget(lost)

    def _gather(self) -> Batch:
        batch = self._reader.read(IDLE_SECONDS, self.batch_records)
        end = time.monotonic() + self.linger_seconds
        while batch and len(batch) < self.batch_records and (left := end - time.monotonic()) > 0:
            batch.add(self._reader.read(left, self.batch_records - len(batch)))
        return batch

    def _work_off(self, batch: Batch) -> None:
        records = batch.records
        try:
            with self.metrics.batch(self.stage.name, len(records)):
                self._handle(batch)
        except Exception as error:
            self._try_again_later(records, error)
        else:
            self.failures = self.pauses = 0
            self.metrics.waiting.labels(self.stage.name).set(0)
            for record in records:
                self._offsets.start(TopicPartition(record.topic, record.partition), record.offset)
                self._offsets.finish(TopicPartition(record.topic, record.partition), record.offset)

    def _handle(self, batch: Batch) -> None:
        events = [event for _, event in batch.events]
        try:
            poisons = self.stage.handle(events)
        except RETRIED_FOREVER:
            raise
        except Exception as error:
            if self.failures + 1 < self.max_attempts:
                raise
            log.warning("handling records one by one", stage=self.stage.name, error=repr(error))
            poisons = self._handle_singly(events)
        handled = [record for position, (record, _) in enumerate(batch.events) if position not in poisons]
        self.metrics.waited(self.stage.name, handled)
        self._bury(batch.poisons)
        self._bury([(batch.events[position][0], poison) for position, poison in poisons.items()])

    def _handle_singly(self, events: Sequence[Event]) -> Poisons:
        poisons: Poisons = {}
        for position, event in enumerate(events):
            try:
                poison = self.stage.handle([event]).get(0)
            except RETRIED_FOREVER:
                raise
            except Exception as error:
                poison = PoisonEvent(_reason(error), str(error))
            if poison:
                poisons[position] = poison
        return poisons

    def _bury(self, letters: Sequence[tuple[ConsumerRecord, PoisonEvent]]) -> None:
        for record, poison in letters:
            self.dead_letters.put(record, poison, self.stage.name, self.failures + 1)
            self.metrics.dead_letters.labels(self.stage.name, poison.reason).inc()

    def _try_again_later(self, records: Sequence[ConsumerRecord], error: Exception) -> None:
        self.failures += not isinstance(error, RETRIED_FOREVER)
        self.pauses += 1
        self.metrics.waiting.labels(self.stage.name).set(1)
        pause = self.backoff.pause_seconds(self.pauses)
        log.warning("will try again", stage=self.stage.name, attempt=self.pauses, pause=pause, error=repr(error))
        self._rewind(records)
        self.stopping.wait(pause)

    def _rewind(self, records: Sequence[ConsumerRecord]) -> None:
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for partition in first.keys() & self.consumer.assignment():
            self.consumer.seek(partition, first[partition])


def _reason(error: Exception) -> str:
    return error.code if isinstance(error, ClientError) else "INTERNAL"

"""One consumer group's loop: poll, decode, handle, dead-letter what cannot be handled, and only then commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from tenacity import RetryCallState, wait_random_exponential

from loreline.client import ClientError, ServiceUnavailableError
from services.updater.dead_letters import DeadLetterSink
from services.updater.events import Event, PoisonEvent
from services.updater.stages import MissingContent, NotYet, Poisons, Stage

log = structlog.get_logger(__name__)
Decode = Callable[[ConsumerRecord], Event]
WAIT = (ServiceUnavailableError, NotYet, KafkaError)  # tried again without end: nothing is wrong with the records


class GroupMembership(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells whether the group has given this member its share, which may be no partition at all."""

    def __init__(self) -> None:
        self._joined = threading.Event()

    @property
    def joined(self) -> bool:
        """True from the first share on: whatever is published from now on is read at once."""
        return self._joined.is_set()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:  # noqa: ARG002
        """Called by the consumer."""
        self._joined.set()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Called by the consumer."""


@dataclass
class StageConsumer:
    """Feeds one stage from the items topic, at least once.

    A batch whose handling fails is read again after a jittered pause; the offsets stay uncommitted. Where a
    dependency is away, that goes on until it is back. Any other failure is given `max_attempts`; then each record is
    handled by itself, and the ones that still fail become dead letters.
    """

    consumer: KafkaConsumer
    stage: Stage
    decode: Decode
    dead_letters: DeadLetterSink
    owns_undecodable: bool  # one of the stages dead-letters what cannot be decoded, or it would be there twice
    batch_records: int
    max_attempts: int
    backoff: wait_random_exponential
    stopping: threading.Event
    failures: int = field(default=0, init=False)  # of the batch at hand, but for those that only mean to wait
    pauses: int = field(default=0, init=False)  # since a batch went through

    def run(self) -> None:
        """Work until `stopping` is set, then leave the group."""
        while not self.stopping.is_set():
            polled = self.consumer.poll(timeout_ms=200, max_records=self.batch_records)
            records = [record for partition in polled.values() for record in partition]
            if records:
                self._work_off(records)
        self.consumer.close(autocommit=False)

    def _work_off(self, records: Sequence[ConsumerRecord]) -> None:
        try:
            self._handle(records)
        except Exception as error:
            self._try_again_later(records, error)
        else:
            self.failures = self.pauses = 0
            self._commit(records)

    def _handle(self, records: Sequence[ConsumerRecord]) -> None:
        good, undecodable = self._decode_all(records)
        try:
            poisons = self.stage.handle([event for _, event in good])
        except WAIT:
            raise
        except Exception as error:
            if self.failures + 1 < self.max_attempts:
                raise
            log.warning("handling records one by one", stage=self.stage.name, error=repr(error))
            poisons = self._handle_singly([event for _, event in good])
        self._bury(undecodable if self.owns_undecodable else [])
        self._bury([(good[position][0], poison) for position, poison in poisons.items()])

    def _handle_singly(self, events: Sequence[Event]) -> Poisons:
        poisons: Poisons = {}
        for position, event in enumerate(events):
            try:
                poison = self.stage.handle([event]).get(0)
            except WAIT:
                raise
            except Exception as error:
                poison = PoisonEvent(_reason(error), str(error))
            if poison:
                poisons[position] = poison
        return poisons

    def _decode_all(
        self, records: Sequence[ConsumerRecord]
    ) -> tuple[list[tuple[ConsumerRecord, Event]], list[tuple[ConsumerRecord, PoisonEvent]]]:
        good: list[tuple[ConsumerRecord, Event]] = []
        undecodable: list[tuple[ConsumerRecord, PoisonEvent]] = []
        for record in records:
            try:
                good.append((record, self.decode(record)))
            except PoisonEvent as poison:
                undecodable.append((record, poison))
        return good, undecodable

    def _bury(self, letters: Sequence[tuple[ConsumerRecord, PoisonEvent]]) -> None:
        for record, poison in letters:
            self.dead_letters.put(record, poison, self.stage.name, self.failures + 1)

    def _try_again_later(self, records: Sequence[ConsumerRecord], error: Exception) -> None:
        self.failures += not isinstance(error, WAIT)
        self.pauses += 1
        pause = self.backoff(_attempt(self.pauses))
        log.warning("will try again", stage=self.stage.name, attempt=self.pauses, pause=pause, error=repr(error))
        self._rewind(records)
        self.stopping.wait(pause)

    def _rewind(self, records: Sequence[ConsumerRecord]) -> None:
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for partition in first.keys() & self.consumer.assignment():
            self.consumer.seek(partition, first[partition])

    def _commit(self, records: Sequence[ConsumerRecord]) -> None:
        last = {TopicPartition(record.topic, record.partition): record.offset for record in records}
        offsets = {partition: OffsetAndMetadata(offset + 1, "", -1) for partition, offset in last.items()}
        try:
            self.consumer.commit(offsets)
        except KafkaError as error:  # another member has the partitions now: it handles the records once more
            log.warning("commit refused", stage=self.stage.name, error=repr(error))


def _reason(error: Exception) -> str:
    if isinstance(error, MissingContent):
        return "MISSING_CONTENT"
    return error.code if isinstance(error, ClientError) else "INTERNAL"


def _attempt(number: int) -> RetryCallState:
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
    state.attempt_number = number
    return state

"""A consumer for what a language model is asked about: it reads ahead into a bounded queue, which workers empty.

Reading never waits for the language model, so the member keeps its partitions however slow that is; a full queue only
stops the reading. An offset is committed when everything before it has had its effect, so what a member that dies had
queued is read again by the next, and what it had asked for is answered from the knowledge service's store.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.errors import KafkaError

from loreline.client import ClientError, ServiceUnavailableError
from services.runtime.backoff import Backoff
from services.runtime.kafka_clients import KafkaConsumer
from services.updater.dead_letters import DeadLetterSink
from services.updater.events import Event, PoisonEvent
from services.updater.gate import Gate
from services.updater.leading_group import LeadingGroup
from services.updater.metrics import UpdaterMetrics
from services.updater.offsets import Offsets
from services.updater.outcomes import EnrichmentOutcome, Later
from services.updater.record_reader import Batch, Decode, RecordReader
from services.updater.work_queue import Priority, Work, WorkQueue

WAKE_SECONDS = 0.2
IDLE_SECONDS = 0.5  # of a read; after it is looked how far the leading group has come
MOST_RECORDS = 500  # of one poll: the most that is read past a leading group
HOLDING = {"BUDGET_SPENT", "RATE_LIMITED"}  # reasons that hold for a whole scenario
log = structlog.get_logger(__name__)


class Enrichment(Protocol):
    """Gives items or users knowledge."""

    @property
    def name(self) -> str:
        """The stage's name in logs, metrics, dead letters and its consumer group."""

    def enrich(self, events: Sequence[Event]) -> list[EnrichmentOutcome]:
        """One outcome for each event, all of one scenario and of different subjects; doing it twice changes nothing.

        Raises loreline.client.ClientError when the whole batch must be handled again.
        """


@dataclass(frozen=True)
class Pace:
    """How much is done at once, and how failures are met."""

    workers: int
    batch_records: int
    queue_records: int
    max_attempts: int
    backoff: Backoff
    budget_pause_seconds: float
    drain_seconds: float  # at the end, for what is under way; whoever comes next does what is not through then


class KnowledgeConsumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Feeds an enrichment from a topic, at least once; where a group is leading, it reads no further than that one."""

    _consumer: KafkaConsumer
    _reader: RecordReader

    def __init__(
        self,
        enrichment: Enrichment,
        decode: Decode,
        priorities: Callable[[Sequence[Event]], Sequence[Priority]],
        dead_letters: DeadLetterSink,
        metrics: UpdaterMetrics,
        pace: Pace,
        leading: LeadingGroup | None = None,
    ) -> None:
        self._enrichment, self._decode, self._priorities = enrichment, decode, priorities
        self._stage = enrichment.name
        self._dead_letters, self._metrics, self._pace, self._leading = dead_letters, metrics, pace, leading
        self._queue, self._offsets, self._gate = WorkQueue(pace.queue_records), Offsets(), Gate(pace.backoff)
        self._joined = threading.Event()

    @property
    def joined(self) -> bool:
        """Whether the group has given this member its share, which may be no partition at all."""
        return self._joined.is_set()

    def run(self, consumer: KafkaConsumer, stopping: threading.Event) -> None:
        """Work until `stopping` is set; then finish what is under way and soon through, commit, and leave the group.

        Subscribe the consumer with this as its listener.
        """
        self._consumer = consumer
        self._reader = RecordReader(consumer, self._decode, self._stage, self._metrics, self._pace.backoff, stopping)
        workers = [
            threading.Thread(target=self._work, name=f"{self._stage}-{n}", daemon=True)
            for n in range(self._pace.workers)
        ]
        for worker in workers:
            worker.start()
        try:
            while not stopping.is_set():
                if not all(worker.is_alive() for worker in workers):
                    raise RuntimeError(f"a worker of the stage {self._stage} has died")
                self._read_ahead()
                self._offsets.commit(self._consumer, self._stage)
                self._metrics.follow(self._stage, self._consumer, len(self._offsets))
                self._metrics.queued.labels(self._stage).set(len(self._queue))
                self._metrics.waiting.labels(self._stage).set(not self._gate.is_open)
        finally:
            self._queue.close()
            end = time.monotonic() + self._pace.drain_seconds
            for worker in workers:
                worker.join(max(0.0, end - time.monotonic()))
            self._offsets.commit(self._consumer, self._stage)
            self._consumer.close(autocommit=False)
            if self._leading:
                self._leading.close()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:  # noqa: ARG002
        """Called by the consumer."""
        self._joined.set()

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Called by the consumer: the next owner does what is queued; what is under way is stored twice at worst."""
        self._hand_back(frozenset(revoked))

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        """Called by the consumer."""
        self._hand_back(frozenset(lost))

    def _hand_back(self, partitions: frozenset[TopicPartition]) -> None:
        self._offsets.forget(partitions)
        self._queue.discard(lambda work: _partition(work.record) in partitions)

    def _read_ahead(self) -> None:
        room = self._queue.room
        self._pause_all_of(self._consumer.assignment() if room == 0 else self._reached())
        most = min(max(1, room), MOST_RECORDS)
        self._take_in(self._reader.read(IDLE_SECONDS, most))

    def _reached(self) -> set[TopicPartition]:
        return self._leading.reached_by(self._consumer) if self._leading else set()

    def _pause_all_of(self, partitions: set[TopicPartition]) -> None:
        paused = self._consumer.paused()
        self._consumer.pause(*(partitions - paused))
        self._consumer.resume(*(paused - partitions))

    def _take_in(self, batch: Batch) -> None:
        for record in batch.records:
            self._offsets.start(_partition(record), record.offset)
        for record, _ in batch.poisons:
            self._finish(record)  # the topic's other stage puts it into the dead letters
        if not batch.events:
            return
        priorities = self._priorities([event for _, event in batch.events])
        works = [Work(event, record, rank) for (record, event), rank in zip(batch.events, priorities, strict=True)]
        self._finish_all(self._queue.put(works))

    def _work(self) -> None:
        while not self._queue.closed:
            if not self._gate.enter(WAKE_SECONDS):
                continue
            batch = self._queue.take(self._pace.batch_records, WAKE_SECONDS)
            if not batch:
                self._gate.left()
                continue
            self._handle(batch)

    def _handle(self, batch: Sequence[Work]) -> None:
        try:
            with self._metrics.batch(self._stage, len(batch)):
                outcomes = self._enrichment.enrich([work.event for work in batch])
            self._settle(list(zip(batch, outcomes, strict=True)))
        except (ServiceUnavailableError, KafkaError) as error:
            self._wait(batch, repr(error))
        except Exception as error:
            self._gate.left()
            self._try_again(batch, error)

    def _settle(self, outcomes: Sequence[tuple[Work, EnrichmentOutcome]]) -> None:
        for work, outcome in outcomes:
            if isinstance(outcome, PoisonEvent):
                self._bury(work, outcome)
        self._finish_all(work for work, outcome in outcomes if not isinstance(outcome, Later))
        self._metrics.waited(self._stage, [work.record for work, outcome in outcomes if outcome is None])
        late = [(work, outcome) for work, outcome in outcomes if isinstance(outcome, Later)]
        unanswered = [work for work, later in late if later.reason == "UNAVAILABLE"]
        if len(unanswered) < len(outcomes):
            self._gate.succeeded()
        self._put_off(unanswered, len(unanswered) == len(outcomes))
        self._postpone([(work, later) for work, later in late if later.reason != "UNAVAILABLE"])

    def _postpone(self, late: Sequence[tuple[Work, Later]]) -> None:
        self._hold([(work, later) for work, later in late if later.reason in HOLDING])
        for missing in {later for _, later in late if later.reason not in HOLDING}:
            works = [work for work, later in late if later == missing]
            self._try_again(works, PoisonEvent(missing.reason, missing.detail))

    def _put_off(self, unanswered: Sequence[Work], all_of_them: bool) -> None:
        """Whoever stays unanswered while others are answered fails by itself; else the language model is away."""
        answered = self._gate.successes
        fails: list[Work] = []
        rest: list[Work] = []
        for work in unanswered:
            others_answered = work.successes not in (None, answered)
            (fails if others_answered else rest).append(replace(work, successes=answered))
        self._try_again(fails, PoisonEvent("UNANSWERED", "the language model answered others meanwhile"))
        if rest and all_of_them:
            self._wait(rest, "no language model answers")
            return
        self._finish_all(self._queue.put_back(rest, self._pace.backoff.pause_seconds(1), failed=False))
        if fails:
            self._gate.left()

    def _hold(self, late: Sequence[tuple[Work, Later]]) -> None:
        """The scenario waits, so that what is most wanted then comes first; that counts as no failure."""
        if not late:
            return
        works, reasons = [work for work, _ in late], {later.reason for _, later in late}
        known = [later.pause_seconds for _, later in late if later.pause_seconds is not None]
        scenario = works[0].event.scenario
        self._queue.hold(scenario, max(known, default=self._pace.budget_pause_seconds))
        self._finish_all(self._queue.put_back(works, 0.0, failed=False))
        log.info("held", stage=self._stage, scenario=scenario, reasons=sorted(reasons), waiting=len(self._queue))

    def _wait(self, works: Sequence[Work], why: str) -> None:
        """Nothing is wrong with the works: they wait without end, and without counting as failed."""
        pause = self._gate.failed()
        # the next try is somebody else's: one that is never answered would keep all others waiting
        self._finish_all(self._queue.put_back(works, 2 * pause, failed=False))
        log.warning("will try again", stage=self._stage, pause=pause, error=why)

    def _try_again(self, works: Sequence[Work], error: Exception) -> None:
        if not works:
            return
        for work in works:
            if work.attempts + 1 < self._pace.max_attempts or len(works) > 1:
                pause = self._pace.backoff.pause_seconds(work.attempts + 1)
                self._finish_all(self._queue.put_back([work], pause))
            else:
                self._give_up(work, error)
        log.warning("failed", stage=self._stage, events=len(works), error=repr(error))

    def _give_up(self, work: Work, error: Exception) -> None:
        try:
            self._bury(work, _poison(error))
        except KafkaError as unsent:
            self._wait([work], repr(unsent))
        else:
            self._finish(work.record)

    def _bury(self, work: Work, poison: PoisonEvent) -> None:
        self._dead_letters.put(work.record, poison, self._stage, work.attempts + 1)
        self._metrics.dead_letters.labels(self._stage, poison.reason).inc()

    def _finish_all(self, works: Iterable[Work]) -> None:
        for work in works:
            self._finish(work.record)

    def _finish(self, record: ConsumerRecord) -> None:
        self._offsets.finish(_partition(record), record.offset)


def _partition(record: ConsumerRecord) -> TopicPartition:
    return TopicPartition(record.topic, record.partition)


def _poison(error: Exception) -> PoisonEvent:
    if isinstance(error, PoisonEvent):
        return error
    return PoisonEvent(error.code if isinstance(error, ClientError) else "INTERNAL", str(error))

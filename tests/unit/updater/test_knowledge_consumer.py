"""The consumer of what a language model is asked about, on a real broker; the enrichment records what it is given."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from loreline.client import ServiceUnavailableError
from loreline.client.catalog import CatalogEvent, item_deleted, item_upserted
from loreline.domain import Item
from services.runtime.backoff import Backoff
from services.runtime.kafka_clients import KafkaConsumer, KafkaProducer
from services.updater.acknowledged_producer import AcknowledgedProducer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.events import Delete, Event, PoisonEvent, decode
from services.updater.knowledge_consumer import KnowledgeConsumer, Pace
from services.updater.metrics import UpdaterMetrics
from services.updater.outcomes import EnrichmentOutcome, Later, Passed
from services.updater.topics import Topic, create_missing_topics
from services.updater.work_queue import Priority
from tests.waiting import wait_until

PARTITIONS = 4
QUEUED = ("loreline_updater_queued_records", {"stage": "knowledge"})


def nothing_wrong(_: str) -> EnrichmentOutcome:
    """What comes of an item that is stored."""
    return None


@dataclass
class RecordingEnrichment:
    """Keeps the ids it stored; `outcome` says what comes of each."""

    outcome: Callable[[str], EnrichmentOutcome] = nothing_wrong
    stored: list[str] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    name: str = "knowledge"

    def enrich(self, events: Sequence[Event]) -> list[EnrichmentOutcome]:
        """Record a batch."""
        ids = [event.subject_id for event in events]
        self.batches.append(ids)
        self.events += events
        outcomes = [self.outcome(item_id) for item_id in ids]
        self.stored += [item_id for item_id, outcome in zip(ids, outcomes, strict=True) if outcome is None]
        return outcomes


def by_number(events: Sequence[Event]) -> list[Priority]:
    """The smallest id is the most popular."""
    return [(-float(event.subject_id), 0.0) for event in events]


@dataclass
class Line:
    """A topic, its dead-letter topic, and consumers on it."""

    bootstrap_servers: str
    name: str

    @property
    def dead_letter_topic(self) -> str:
        return f"{self.name}-dead"

    def publish(self, *records: tuple[bytes, bytes]) -> list[int]:
        """Returns the partition of each."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap_servers, acks="all")
        sent = [producer.send(self.name, key=key, value=value) for key, value in records]
        partitions = [future.get(timeout=100).partition for future in sent]
        producer.close()
        return partitions

    def publish_items(self, *numbers: int) -> list[int]:
        return self.publish_events(*[item_upserted(Item(str(n), "movies", f"Film {n}")) for n in numbers])

    def publish_events(self, *events: CatalogEvent) -> list[int]:
        return self.publish(*[(event.key, event.value) for event in events])

    @contextmanager
    def consuming(
        self,
        enrichment: RecordingEnrichment,
        workers: int = 2,
        queue: int = 100,
        max_attempts: int = 3,
        drain: float = 30,
    ) -> Iterator[UpdaterMetrics]:
        stopping, metrics = threading.Event(), UpdaterMetrics()
        producer = AcknowledgedProducer(self.bootstrap_servers)
        dead_letters = DeadLetterTopic(producer, self.dead_letter_topic)
        consumer = KnowledgeConsumer(
            enrichment,
            lambda record: decode(record.key, record.value, dict(record.headers), 10_000),
            by_number,
            dead_letters,
            metrics,
            Pace(workers, 3, queue, max_attempts, Backoff(0.01, 0.05), 0.2, drain),
        )
        thread = threading.Thread(target=consumer.run, args=(self._member(consumer), stopping))
        thread.start()
        try:
            yield metrics
        finally:
            stopping.set()
            thread.join(100)
            producer.close()
            assert not thread.is_alive()

    def committed(self) -> int:
        """How many records the group has committed."""
        reader = KafkaConsumer(bootstrap_servers=self.bootstrap_servers, group_id=self.name)
        found = [reader.committed(TopicPartition(self.name, number)) or 0 for number in range(PARTITIONS)]
        reader.close()
        return sum(found)

    def dead_letters(self) -> list[ConsumerRecord]:
        """All dead letters that come within a second."""
        reader = KafkaConsumer(
            self.dead_letter_topic, bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        polled = [reader.poll(timeout_ms=250) for _ in range(4)]
        reader.close()
        return [record for parts in polled for records in parts.values() for record in records]

    def _member(self, listener: KnowledgeConsumer) -> KafkaConsumer:
        member = KafkaConsumer(
            bootstrap_servers=self.bootstrap_servers,
            group_id=self.name,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=6000,
            heartbeat_interval_ms=500,
            fetch_max_wait_ms=10,
        )
        member.subscribe([self.name], listener=listener)
        return member


@pytest.fixture
def line(broker: str, unique_name: str) -> Line:
    """An empty topic with its dead-letter topic."""
    line = Line(broker, unique_name)
    create_missing_topics(broker, [Topic(name, PARTITIONS) for name in (line.name, line.dead_letter_topic)])
    return line


def test_every_item_is_enriched_and_committed(line: Line) -> None:
    """In batches, by several workers."""
    enrichment = RecordingEnrichment()
    line.publish_items(*range(20))
    with line.consuming(enrichment):
        wait_until(lambda: len(enrichment.stored) == 20)
    assert sorted(map(int, enrichment.stored)) == list(range(20))
    assert line.committed() == 20


def test_what_is_most_wanted_comes_first(line: Line) -> None:
    """Of all that was read while the workers were busy."""
    go = threading.Event()

    def slowly(_: str) -> EnrichmentOutcome:
        go.wait(100)
        return None

    enrichment = RecordingEnrichment(slowly)
    line.publish_items(9)
    with line.consuming(enrichment, workers=1) as metrics:
        wait_until(lambda: bool(enrichment.batches))
        line.publish_items(5, 7, 3, 8, 1)
        wait_until(lambda: metrics.registry.get_sample_value(*QUEUED) == 5)
        go.set()
        wait_until(lambda: len(enrichment.stored) == 6)
    assert enrichment.batches == [["9"], ["1", "3", "5"], ["7", "8"]]


def test_a_full_queue_stops_the_reading_and_loses_nothing(line: Line) -> None:
    """What does not fit waits in the log."""
    go = threading.Event()

    def slowly(_: str) -> EnrichmentOutcome:
        go.wait(100)
        return None

    enrichment = RecordingEnrichment(slowly)
    line.publish_items(*range(60))
    with line.consuming(enrichment, workers=1, queue=10) as metrics:
        wait_until(lambda: metrics.registry.get_sample_value(*QUEUED) == 10)
        time.sleep(1)  # further reading would fill it beyond its bound
        assert metrics.registry.get_sample_value(*QUEUED) == 10
        go.set()
        wait_until(lambda: len(set(enrichment.stored)) == 60)
    assert line.committed() == 60


def test_an_outage_of_the_language_model_costs_nothing_but_time(line: Line) -> None:
    """Few tries are made while it lasts, and no item becomes a dead letter."""
    back = threading.Event()
    enrichment = RecordingEnrichment(lambda _: None if back.is_set() else Later("UNAVAILABLE"))
    line.publish_items(*range(30))
    with line.consuming(enrichment, workers=4) as metrics:
        wait_until(lambda: metrics.registry.get_sample_value("loreline_updater_waiting", {"stage": "knowledge"}) == 1)
        time.sleep(1)
        assert len(enrichment.batches) < 200
        back.set()
        wait_until(lambda: len(enrichment.stored) == 30)
    assert (line.committed(), line.dead_letters()) == (30, [])


def test_an_item_that_alone_is_never_answered_harms_no_other(line: Line) -> None:
    """Though it is the most wanted; after its tries it is a dead letter."""
    enrichment = RecordingEnrichment(lambda item_id: Later("UNAVAILABLE") if item_id == "0" else None)
    line.publish_items(0)
    with line.consuming(enrichment, workers=1) as metrics:
        wait_until(lambda: enrichment.batches.count(["0"]) > 1)
        buried = ("loreline_updater_dead_letters_total", {"stage": "knowledge", "reason": "UNANSWERED"})
        numbers = itertools.count(1)
        wait_until(lambda: line.publish_items(next(numbers)) and metrics.registry.get_sample_value(*buried) == 1)
        count = next(numbers)
        wait_until(lambda: len(enrichment.stored) == count - 1)
    assert line.committed() == count
    assert [record.key for record in line.dead_letters()] == [b"0"]


def test_a_service_that_is_away_is_waited_for(line: Line) -> None:
    """However often it fails."""
    tries: list[str] = []

    def away_at_first(item_id: str) -> EnrichmentOutcome:
        tries.append(item_id)
        if len(tries) < 8:
            raise ServiceUnavailableError("UNAVAILABLE", "embedding does not answer", [])
        return None

    enrichment = RecordingEnrichment(away_at_first)
    line.publish_items(*range(5))
    with line.consuming(enrichment):
        wait_until(lambda: len(set(enrichment.stored)) == 5)
    assert line.dead_letters() == []


def test_a_spent_budget_holds_the_items_until_there_is_more(line: Line) -> None:
    """The most wanted are asked about first then, and waiting counts as no failure."""
    affordable = threading.Event()
    enrichment = RecordingEnrichment(lambda _: None if affordable.is_set() else Later("BUDGET_SPENT"))
    line.publish_items(4, 2, 9)
    with line.consuming(enrichment, workers=1):
        wait_until(lambda: len(enrichment.batches) > 4)
        affordable.set()
        wait_until(lambda: len(enrichment.stored) == 3)
    assert enrichment.stored == ["2", "4", "9"]
    assert line.dead_letters() == []


def test_an_item_that_always_fails_becomes_a_dead_letter_and_harms_no_other(line: Line) -> None:
    """Once, with its attempts."""

    def fault(item_id: str) -> EnrichmentOutcome:
        if item_id == "2":
            raise RuntimeError("a fault of ours")
        return None

    enrichment = RecordingEnrichment(fault)
    line.publish_items(1, 2, 3)
    with line.consuming(enrichment):
        wait_until(lambda: {"1", "3"} <= set(enrichment.stored) and line.committed() == 3)
    [letter] = line.dead_letters()
    headers = dict(letter.headers)
    assert (letter.key, headers["dead-letter-reason"], headers["dead-letter-attempts"]) == (b"2", b"INTERNAL", b"3")


def test_a_refused_item_becomes_a_dead_letter_at_once(line: Line) -> None:
    """With the reason that the language model's side gave."""
    refusal = PoisonEvent("KNOWLEDGE_REJECTED_TEXT", "empty")
    enrichment = RecordingEnrichment(lambda item_id: refusal if item_id == "2" else None)
    line.publish_items(1, 2)
    with line.consuming(enrichment):
        wait_until(lambda: line.committed() == 2)
    assert [dict(letter.headers)["dead-letter-reason"] for letter in line.dead_letters()] == [
        b"KNOWLEDGE_REJECTED_TEXT"
    ]


def test_an_item_that_was_deleted_since_is_not_asked_about(line: Line) -> None:
    """The deletion takes its place in the queue."""
    go = threading.Event()

    def slowly(_: str) -> EnrichmentOutcome:
        go.wait(100)
        return None

    enrichment = RecordingEnrichment(slowly)
    line.publish_items(1)
    with line.consuming(enrichment, workers=1) as metrics:
        wait_until(lambda: bool(enrichment.batches))
        line.publish_items(2)
        deleted = line.publish_events(item_deleted("2", "movies"))
        last = next(number for number in itertools.count(3) if line.publish_items(number) == deleted)
        wait_until(lambda: metrics.registry.get_sample_value(*QUEUED) == last - 1)
        go.set()
        wait_until(lambda: line.committed() == last + 1)
    assert [type(event) for event in enrichment.events if event.subject_id == "2"] == [Delete]


def test_a_limit_that_is_reached_holds_the_scenario_for_as_long_as_it_says(line: Line) -> None:
    """Waiting for it counts as no failure."""
    limited = Later("RATE_LIMITED", pause_seconds=0.05)
    tries: list[str] = []

    def seldom(item_id: str) -> EnrichmentOutcome:
        tries.append(item_id)
        return limited if len(tries) < 12 else None

    enrichment = RecordingEnrichment(seldom)
    line.publish_items(4, 2)
    with line.consuming(enrichment, workers=1):
        wait_until(lambda: len(enrichment.stored) == 2)
    assert line.dead_letters() == []


def test_what_is_passed_over_is_finished(line: Line) -> None:
    """It is no dead letter, and is not tried again."""
    enrichment = RecordingEnrichment(lambda item_id: Passed("SUSPECT") if item_id == "2" else None)
    line.publish_items(1, 2)
    with line.consuming(enrichment):
        wait_until(lambda: line.committed() == 2)
    assert sorted(item_id for batch in enrichment.batches for item_id in batch) == ["1", "2"]
    assert line.dead_letters() == []


def test_a_member_leaves_though_a_language_model_is_still_writing(line: Line) -> None:
    """What it was asked about is done by the next member."""
    go = threading.Event()

    def slowly(_: str) -> EnrichmentOutcome:
        go.wait(100)
        return None

    line.publish_items(1)
    slow, quick = RecordingEnrichment(slowly), RecordingEnrichment()
    with line.consuming(slow, workers=1, drain=0.1):
        wait_until(lambda: bool(slow.batches))
    with line.consuming(quick):
        wait_until(lambda: quick.stored == ["1"])
    go.set()


def test_what_cannot_be_decoded_is_left_to_the_content_stage(line: Line) -> None:
    """It would be in the dead letters twice."""
    enrichment = RecordingEnrichment()
    line.publish((b"2", b"\xff rubbish"))
    line.publish_items(3)
    with line.consuming(enrichment):
        wait_until(lambda: line.committed() == 2)
    assert (enrichment.stored, line.dead_letters()) == (["3"], [])


def test_members_that_come_and_go_under_load_lose_nothing(line: Line) -> None:
    """One member, then three, then two: every item is enriched, and all is committed."""

    def slowly(_: str) -> EnrichmentOutcome:
        time.sleep(0.005)
        return None

    enrichment = RecordingEnrichment(slowly)
    line.publish_items(*range(300))
    with line.consuming(enrichment):
        wait_until(lambda: len(enrichment.stored) > 30)
        with ExitStack() as more:
            with line.consuming(enrichment):
                more.enter_context(line.consuming(enrichment))
                line.publish_items(*range(300, 600))
                wait_until(lambda: len(set(enrichment.stored)) > 400)
            line.publish_items(*range(600, 700))
            wait_until(lambda: len(set(enrichment.stored)) == 700 and line.committed() == 700)
    assert line.dead_letters() == []

"""The consumer's loop against a real broker, with a stage that records what it was given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from kafka import ConsumerRebalanceListener
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.record.default_records import DefaultRecordBatchBuilder

from loreline.client import ServiceUnavailableError
from loreline.client.catalog import item_upserted
from loreline.domain import Item
from services.runtime.backoff import Backoff
from services.runtime.kafka_clients import KafkaConsumer, KafkaProducer
from services.updater.acknowledged_producer import AcknowledgedProducer
from services.updater.consumer import StageConsumer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.events import Event, PoisonEvent, decode
from services.updater.metrics import UpdaterMetrics
from services.updater.record_reader import RecordReader
from services.updater.stages import Poisons
from services.updater.topics import Topic, create_missing_topics
from tests.waiting import wait_until


def decode_plainly(record: ConsumerRecord) -> Event:
    """The event of a record of at most 10,000 bytes."""
    return decode(record.key, record.value, dict(record.headers), 10_000)


@dataclass
class RecordingStage:
    """Keeps the ids it was given; `fail` may raise for a batch, `poison` names ids that no retry can help."""

    name: str = "recording"
    poison: frozenset[str] = frozenset()
    fail: Callable[[Sequence[str]], None] = lambda ids: None
    handled: list[str] = field(default_factory=list)

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Record the ids of a batch that does not fail."""
        ids = [event.subject_id for event in events]
        self.fail(ids)
        self.handled += ids
        return {p: PoisonEvent("REFUSED", "no good") for p, item_id in enumerate(ids) if item_id in self.poison}


@dataclass
class Line:
    """A topic, its dead-letter topic, and consumers on it."""

    bootstrap_servers: str
    name: str

    @property
    def dead_letter_topic(self) -> str:
        return f"{self.name}-dead"

    def publish(self, *records: tuple[bytes, bytes]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap_servers, acks="all", max_request_size=10_000_000)
        for sent in [producer.send(self.name, key=key, value=value) for key, value in records]:
            sent.get(timeout=100)
        producer.close()

    def publish_with(self, headers: list[tuple[str, bytes]], *records: tuple[bytes, bytes]) -> None:
        producer = KafkaProducer(bootstrap_servers=self.bootstrap_servers, acks="all")
        for key, value in records:
            producer.send(self.name, key=key, value=value, headers=headers).get(timeout=100)
        producer.close()

    def publish_items(self, *item_ids: str) -> None:
        events = [item_upserted(Item(item_id, "movies", f"Film {item_id}")) for item_id in item_ids]
        self.publish(*[(event.key, event.value) for event in events])

    @contextmanager
    def consuming(self, stage: RecordingStage) -> Iterator[None]:
        stopping = threading.Event()
        producer = AcknowledgedProducer(self.bootstrap_servers)
        consumer = StageConsumer(
            stage=stage,
            decode=decode_plainly,
            dead_letters=DeadLetterTopic(producer, self.dead_letter_topic),
            metrics=UpdaterMetrics(),
            batch_records=100,
            linger_seconds=0.01,
            max_attempts=3,
            backoff=Backoff(0.01, 0.05),
        )
        thread = threading.Thread(target=consumer.run, args=(self._member(consumer), stopping))
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join(100)
            producer.close()

    def dead_letters(self, count: int) -> list[ConsumerRecord]:
        """All dead letters once `count` have come, or after 100 s; a second more is given to late doubles."""
        reader = KafkaConsumer(
            self.dead_letter_topic, bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest"
        )
        found: list[ConsumerRecord] = []
        end = time.monotonic() + 100
        while time.monotonic() < end:
            found += [record for part in reader.poll(timeout_ms=200).values() for record in part]
            if len(found) >= count:
                end = min(end, time.monotonic() + 1)
        reader.close()
        return found

    def reader(self) -> KafkaConsumer:
        """Reads the topic from its beginning, without a group."""
        return KafkaConsumer(self.name, bootstrap_servers=self.bootstrap_servers, auto_offset_reset="earliest")

    def _member(self, listener: ConsumerRebalanceListener) -> KafkaConsumer:
        member = KafkaConsumer(
            bootstrap_servers=self.bootstrap_servers,
            group_id=self.name,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            partition_assignment_strategy=(CooperativeStickyAssignor,),
            session_timeout_ms=6000,
            heartbeat_interval_ms=1000,
            fetch_max_wait_ms=10,
        )
        member.subscribe([self.name], listener=listener)
        return member


@pytest.fixture
def line(broker: str, unique_name: str) -> Line:
    """An empty topic with its dead-letter topic."""
    line = Line(broker, unique_name)
    create_missing_topics(broker, [Topic(name, 2) for name in (line.name, line.dead_letter_topic)])
    return line


def test_every_item_reaches_the_stage(line: Line) -> None:
    """Records of all partitions are handled."""
    stage = RecordingStage()
    line.publish_items("1", "2", "3", "4", "5")

    with line.consuming(stage):
        wait_until(lambda: len(stage.handled) == 5)

    assert sorted(stage.handled) == ["1", "2", "3", "4", "5"]


def test_handled_records_are_not_given_again_after_a_restart(line: Line) -> None:
    """Offsets are committed once the effect is stored."""
    first, second = RecordingStage(), RecordingStage()
    line.publish_items("1", "2")
    with line.consuming(first):
        wait_until(lambda: len(first.handled) == 2)

    line.publish_items("3")
    with line.consuming(second):
        wait_until(lambda: len(second.handled) > 0)

    assert second.handled == ["3"]


def test_a_record_whose_handling_did_not_end_is_given_again(line: Line) -> None:
    """A consumer that stops in the middle of a failure leaves the record to the next one."""

    def away(ids: Sequence[str]) -> None:
        raise ServiceUnavailableError("UNAVAILABLE", "features does not answer", [])

    tried = threading.Event()
    failing = RecordingStage(fail=lambda ids: (tried.set(), away(ids))[1])
    line.publish_items("1")
    with line.consuming(failing):
        wait_until(tried.is_set)

    stage = RecordingStage()
    with line.consuming(stage):
        wait_until(lambda: bool(stage.handled))

    assert (failing.handled, stage.handled) == ([], ["1"])


def test_a_dependency_that_comes_back_gets_the_waiting_records(line: Line) -> None:
    """However many tries it takes, nothing becomes a dead letter."""
    tries: list[int] = []

    def away_at_first(ids: Sequence[str]) -> None:
        tries.append(len(ids))
        if len(tries) <= 6:
            raise ServiceUnavailableError("UNAVAILABLE", "features does not answer", [])

    stage = RecordingStage(fail=away_at_first)
    line.publish_items("1", "2", "3")
    with line.consuming(stage):
        wait_until(lambda: len(stage.handled) >= 3)

    assert sorted(stage.handled) == ["1", "2", "3"]
    assert line.dead_letters(0) == []


def test_an_outage_does_not_use_up_the_tries_of_a_record(line: Line) -> None:
    """What fails once after a long outage is tried again like any other."""
    tries: list[int] = []

    def away_then_one_fault(ids: Sequence[str]) -> None:
        tries.append(len(ids))
        if len(tries) <= 6:
            raise ServiceUnavailableError("UNAVAILABLE", "features does not answer", [])
        if len(tries) == 7:
            raise RuntimeError("content has not come yet")

    stage = RecordingStage(fail=away_then_one_fault)
    line.publish_items("1")
    with line.consuming(stage):
        wait_until(lambda: bool(stage.handled))

    assert stage.handled == ["1"]
    assert line.dead_letters(0) == []


def test_what_cannot_be_decoded_becomes_a_dead_letter_with_its_bytes_and_reason(line: Line) -> None:
    """The good records around it are handled, and the poison is kept as it came."""
    stage = RecordingStage()
    line.publish_items("1")
    line.publish((b"2", b"\xff\xfe rubbish"))
    line.publish_items("3")

    with line.consuming(stage):
        wait_until(lambda: len(stage.handled) == 2)
        letters = line.dead_letters(1)

    assert [(letter.key, letter.value) for letter in letters] == [(b"2", b"\xff\xfe rubbish")]
    headers = dict(letters[0].headers)
    assert headers["dead-letter-reason"] == b"UNPARSABLE"
    assert headers["dead-letter-topic"] == line.name.encode()
    assert b"CatalogEvent" in headers["dead-letter-detail"]


class BadName(str):
    """A header name as other clients may write it: bytes that are not UTF-8."""

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"\xff\xfe"


def test_a_header_without_a_value_says_nothing(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other clients than this one write such; a record with one is handled, or dead-lettered, like any other."""
    append = DefaultRecordBatchBuilder.append

    def with_null(self: object, *arguments: object) -> object:
        *others, headers = arguments
        return append(self, *others, [(name, None if value == b"null" else value) for name, value in headers])

    monkeypatch.setattr(DefaultRecordBatchBuilder, "append", with_null)
    good, bad = item_upserted(Item("good", "movies", "Film")), item_upserted(Item("", "movies", "Film"))
    stage = RecordingStage()
    with line.consuming(stage):
        line.publish_with([("content-type", b"null")], (good.key, good.value), (b"bad", bad.value))
        [letter] = line.dead_letters(1)
        wait_until(lambda: stage.handled == ["good"])
    assert dict(letter.headers)["content-type"] == b""


def test_a_record_that_kafkas_client_cannot_read_is_passed_and_told(line: Line) -> None:
    """Its place is all that is known; what stands before and behind it, in both partitions, is handled once."""
    stage, before, behind = RecordingStage(), [f"a{n}" for n in range(8)], [f"z{n}" for n in range(8)]
    line.publish_items(*before)
    line.publish_with([(BadName("name"), b"")], (b"key", b"value"))
    line.publish_items(*behind)
    with line.consuming(stage):
        [letter] = line.dead_letters(1)
        wait_until(lambda: len(stage.handled) >= 16)
    assert sorted(stage.handled) == [*before, *behind]
    assert (letter.key, letter.value, dict(letter.headers)["dead-letter-reason"]) == (None, b"", b"UNREADABLE")
    again = RecordingStage()
    with line.consuming(again):
        line.publish_items("new")
        wait_until(lambda: again.handled == ["new"])


def test_a_record_with_neither_key_nor_value_is_a_dead_letter(line: Line) -> None:
    """Kafka's client cannot write one; it is told all the same."""
    record = ConsumerRecord(**dict.fromkeys(ConsumerRecord._fields) | {"topic": line.name, "offset": 7, "headers": []})
    producer = AcknowledgedProducer(line.bootstrap_servers)
    DeadLetterTopic(producer, line.dead_letter_topic).put(record, PoisonEvent("EMPTY", "no value"), "content", 1)
    producer.close()
    [letter] = line.dead_letters(1)
    assert (letter.key, letter.value, dict(letter.headers)["dead-letter-offset"]) == (None, b"", b"7")


def test_a_record_too_large_for_the_dead_letters_is_cut(line: Line) -> None:
    """And does not keep the records behind it waiting."""
    stage = RecordingStage()
    with line.consuming(stage):
        line.publish((b"large", b"x" * 5_000_000))
        line.publish_items("good")
        [letter] = line.dead_letters(1)
        wait_until(lambda: stage.handled == ["good"])
    notes = dict(letter.headers)
    assert letter.value == b"x" * 16_384
    assert (notes["dead-letter-reason"], notes["dead-letter-cut"]) == (b"OVERSIZE", b"5000000")


def test_an_item_that_the_stage_refuses_becomes_a_dead_letter(line: Line) -> None:
    """The stage's own reason is kept."""
    stage = RecordingStage(poison=frozenset({"2"}))
    line.publish_items("1", "2", "3")

    with line.consuming(stage):
        letters = line.dead_letters(1)

    assert [(letter.key, dict(letter.headers)["dead-letter-reason"]) for letter in letters] == [(b"2", b"REFUSED")]


def test_one_item_that_always_fails_does_not_hold_up_the_others(line: Line) -> None:
    """After the bounded tries each record stands for itself."""

    def fault(ids: Sequence[str]) -> None:
        if "2" in ids:
            raise RuntimeError("a fault of ours")

    stage = RecordingStage(fail=fault)
    line.publish_items("1", "2", "3")

    with line.consuming(stage):
        letters = line.dead_letters(1)
        wait_until(lambda: {"1", "3"} <= set(stage.handled))

    assert [letter.key for letter in letters] == [b"2"]
    assert dict(letters[0].headers)["dead-letter-reason"] == b"INTERNAL"


def test_a_mistake_beside_the_reading_skips_no_record(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the fault of the record that happens to come next: it is raised, and the record still comes."""
    line.publish_items("first")
    line.publish_items("second")
    consumer = line.reader()
    reader = RecordReader(consumer, decode_plainly, "content", UpdaterMetrics(), Backoff(0.01, 0.05), threading.Event())
    read: list[str] = []

    def reads_one_more() -> bool:
        batch = reader.read(1, most=1)
        read.extend(event.subject_id for _, event in batch.events)
        return bool(batch)

    def mistaken(**_: object) -> None:
        raise TypeError("a mistake")

    wait_until(reads_one_more)
    with monkeypatch.context() as broken:
        broken.setattr(consumer, "poll", mistaken)
        with pytest.raises(TypeError, match="a mistake"):
            reader.read(1, most=1)
    wait_until(reads_one_more)
    consumer.close()
    assert sorted(read) == ["first", "second"]

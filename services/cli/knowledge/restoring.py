"""Brings the answers of the knowledge topic back into the store of the knowledge service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from kafka.consumer.fetcher import ConsumerRecord

from loreline.client import InvalidArgumentError, KnowledgeClient, Record
from loreline.client.messages import record_of_bytes
from services.cli.topic_reading import Span, partitions_of, read_topic

BATCH_RECORDS, BATCH_BYTES = 256, 4 * 1024 * 1024  # what one request takes
Place = tuple[int, int]  # partition and offset


@dataclass(frozen=True)
class Unfit:
    """A record of the topic that is no answer, and why."""

    at: str  # PARTITION:OFFSET
    why: str


@dataclass
class Restored:
    """What came of it: newest answers found, those that were new to the store, and records that were passed over."""

    answers: int = 0
    new: int = 0
    unfit: list[Unfit] = field(default_factory=list)


def restore_knowledge(
    bootstrap_servers: str,
    topic: str,
    knowledge: KnowledgeClient,
    found: Callable[[int], None],
    progress: Callable[[int], None],
) -> Restored:
    """Send the newest answer of every subject; subjects that are gone are left out. Doing it twice changes nothing.

    `found` is told how many more there are, `progress` how many were sent. Each partition is read twice, so that only
    its keys are held in memory, never its texts. Raises NoSuchTopic, NotReady, ClientError.
    """
    done = Restored()
    for partition in partitions_of(bootstrap_servers, topic):
        newest = _newest(read_topic(bootstrap_servers, topic, {partition: Span()}))
        found(len(newest))
        if newest:
            span = {partition: Span(min(newest.values()), max(newest.values()) + 1)}
            records = (r for r in read_topic(bootstrap_servers, topic, span) if newest.get(r.key) == r.offset)
            for batch in _batches(records):
                _restore(knowledge, batch, done)
                progress(len(batch))
    return done


def _newest(records: Iterable[ConsumerRecord]) -> dict[bytes | None, int]:
    """The offset of the newest record of each key that has a value."""
    newest: dict[bytes | None, int] = {}
    for record in records:
        if record.value:
            newest[record.key] = record.offset
        else:
            newest.pop(record.key, None)
    return newest


def _batches(records: Iterable[ConsumerRecord]) -> Iterator[list[ConsumerRecord]]:
    batch, size = list[ConsumerRecord](), 0
    for record in records:
        if batch and (len(batch) == BATCH_RECORDS or size + len(record.value) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record.value)
    if batch:
        yield batch


def _restore(knowledge: KnowledgeClient, batch: Sequence[ConsumerRecord], done: Restored) -> None:
    answers: list[tuple[ConsumerRecord, Record]] = []
    for record in batch:
        try:
            answers.append((record, _answer(record)))
        except (DecodeError, ValueError, OverflowError, KeyError) as error:
            done.unfit.append(Unfit(f"{record.partition}:{record.offset}", f"holds no answer: {error}"))
    _send(knowledge, answers, done)


def _send(knowledge: KnowledgeClient, answers: Sequence[tuple[ConsumerRecord, Record]], done: Restored) -> None:
    if not answers:
        return
    try:
        done.new += knowledge.restore([answer for _, answer in answers])
        done.answers += len(answers)
    except InvalidArgumentError as error:
        if len(answers) == 1:
            record = answers[0][0]
            done.unfit.append(Unfit(f"{record.partition}:{record.offset}", error.message))
            return
        middle = len(answers) // 2  # one of them is refused: the others are not to pay for it
        _send(knowledge, answers[:middle], done)
        _send(knowledge, answers[middle:], done)


def _answer(record: ConsumerRecord) -> Record:
    answer = record_of_bytes(record.value)
    if record.key != f"{answer.subject}/{answer.subject_id}".encode():
        raise ValueError(f"its key is {record.key!r}, not that of {answer.subject} {answer.subject_id!r}")
    return answer

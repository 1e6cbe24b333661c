"""Sends dead letters again, or gives them up for good, and notes which."""

from __future__ import annotations

import getpass
import itertools
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from kafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from services.cli.broker import BOOTSTRAP_TIMEOUT_MS, broker_errors
from services.cli.dead_letters.letters import DeadLetter, Filters, Resolution, Resolutions, read_letters
from services.cli.settings import CliSettings
from services.cli.topic_reading import Span
from services.cli.topics import resolutions_topic
from services.runtime.kafka_clients import KafkaProducer
from services.updater.topics import create_missing_topics

BATCH_LETTERS, BATCH_BYTES = 500, 8 * 1024 * 1024  # so many are sent before their acknowledgements are waited for
TIMEOUT_SECONDS = 30.0
LARGEST_BYTES = 16 * 1024 * 1024  # the broker's own limit decides
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


@dataclass
class Tally:
    """The letters that are wanted: how many, why they died, and where the last one of each partition stands."""

    reasons: Counter[str] = field(default_factory=Counter)
    spans: dict[int, Span] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many letters."""
        return self.reasons.total()

    def add(self, letter: DeadLetter) -> None:
        """Count one letter."""
        self.reasons[letter.note("reason") or "unknown"] += 1
        first = self.spans.get(letter.partition, Span(letter.offset)).first
        self.spans[letter.partition] = Span(first, letter.offset + 1)


@dataclass(frozen=True)
class Skipped:
    """A letter that cannot be sent, and why."""

    at: str
    why: str


@dataclass(frozen=True)
class DeadLetterBox:
    """The open letters of a platform, or all of them with `resolved_too`, that some filters let through."""

    settings: CliSettings
    bootstrap_servers: str
    filters: Filters
    resolved_too: bool = False
    most: int = 0  # the first so many; 0: all

    def tally(self) -> Tally:
        """Count the letters. Raises NotReady."""
        found = Tally()
        for letter, _ in self.letters():
            found.add(letter)
        return found

    def letters(self, within: Tally | None = None) -> Iterator[tuple[DeadLetter, Resolution | None]]:
        """Yield letters with what became of them, no more than were counted in `within`. Raises NotReady."""
        resolutions = Resolutions.read(self.bootstrap_servers, self.settings.dead_letter_resolutions_topic)
        topic, spans = self.settings.dead_letter_topic, within.spans if within else None
        read = read_letters(self.bootstrap_servers, topic, self.filters, spans)
        found = ((letter, resolutions.of(letter)) for letter in read)
        wanted = (pair for pair in found if self.resolved_too or pair[1] is None)
        return itertools.islice(wanted, self.most or None)

    def replay(self, counted: Tally, progress: Callable[[int], None]) -> tuple[int, list[Skipped]]:
        """Send the counted letters to the topics that they came from, and note each as replayed once it is safe there.

        Returns how many were sent, and which cannot be. Raises NotReady; what was noted by then stays noted.
        """
        return self._resolve("replayed", counted, progress, _send)

    def discard(self, counted: Tally, progress: Callable[[int], None]) -> int:
        """Note the counted letters as discarded; returns how many. Raises NotReady."""
        return self._resolve("discarded", counted, progress, lambda _, letters: (list(letters), []))[0]

    def _resolve(
        self,
        action: str,
        counted: Tally,
        progress: Callable[[int], None],
        effect: Callable[[KafkaProducer, Sequence[DeadLetter]], tuple[list[DeadLetter], list[Skipped]]],
    ) -> tuple[int, list[Skipped]]:
        done, skipped, servers = 0, list[Skipped](), self.bootstrap_servers
        with broker_errors(servers), closing(_producer(servers)) as producer:
            create_missing_topics(servers, [resolutions_topic(self.settings)])
            for batch in _batches(letter for letter, _ in self.letters(counted)):
                affected, refused = effect(producer, batch)
                _note(producer, self.settings.dead_letter_resolutions_topic, action, affected)
                done, skipped = done + len(affected), skipped + refused
                progress(len(batch))
        return done, skipped


def why_unsendable(letter: DeadLetter) -> str:
    """Why a letter cannot be sent again; empty when it can."""
    if not letter.note("topic"):
        return "its header dead-letter-topic is missing: nobody knows where it came from"
    if letter.note("cut"):
        return "its value was too large for the topic and is cut: send the record of dead-letter-topic again"
    if letter.key is None and not letter.value:
        return "it has neither key nor value"
    return ""


def _send(producer: KafkaProducer, letters: Sequence[DeadLetter]) -> tuple[list[DeadLetter], list[Skipped]]:
    skipped = [Skipped(letter.at, why) for letter in letters if (why := why_unsendable(letter))]
    sent = []
    for letter in letters:
        if not why_unsendable(letter):
            topic = letter.note("topic")
            sent.append((letter, producer.send(topic, key=letter.key, value=letter.value, headers=letter.headers)))
    acknowledged = []
    for letter, future in sent:
        try:
            future.get(timeout=TIMEOUT_SECONDS)
            acknowledged.append(letter)
        except TOO_LARGE:
            skipped.append(Skipped(letter.at, f"the topic {letter.note('topic')} takes no record of this size"))
    return acknowledged, skipped


def _note(producer: KafkaProducer, topic: str, action: str, letters: Sequence[DeadLetter]) -> None:
    now, by = datetime.now(UTC).isoformat(), _operator()
    futures = []
    for letter in letters:
        resolution = Resolution(action, now, by, letter.note("time"))
        futures.append(producer.send(topic, key=letter.at.encode(), value=json.dumps(asdict(resolution)).encode()))
    for future in futures:
        future.get(timeout=TIMEOUT_SECONDS)


def _batches(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    batch, size = list[DeadLetter](), 0
    for letter in letters:
        batch.append(letter)
        size += len(letter.value or b"")
        if len(batch) == BATCH_LETTERS or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _producer(bootstrap_servers: str) -> KafkaProducer:
    return KafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","),
        acks="all",
        enable_idempotence=True,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        max_block_ms=int(TIMEOUT_SECONDS * 1000),
        max_request_size=LARGEST_BYTES,
    )


def _operator() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"

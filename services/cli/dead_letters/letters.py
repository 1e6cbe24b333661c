"""Dead letters as they lie in their topic, which of them are wanted, and what became of them.

A log cannot give up single records. What was replayed or discarded is noted in a compacted topic, under the key
`PARTITION:OFFSET` of the letter, as JSON {"action", "time", "by", "letter_time"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kafka.consumer.fetcher import ConsumerRecord

from loreline.domain import LAST_SECOND, moment_of
from services.cli.output import BadInput
from services.cli.topic_reading import NoSuchTopic, Span, read_topic

PREFIX = "dead-letter-"
Place = tuple[int, int]  # partition and offset


@dataclass(frozen=True)
class DeadLetter:
    """One record that was given up. `key`, `value` and `headers` are the record's own, unchanged."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    notes: Mapping[str, str]  # the headers that were added, without their prefix
    stored: datetime  # when it came into its topic, by the broker or its producer

    @property
    def at(self) -> str:
        """PARTITION:OFFSET, the letter's name in commands."""
        return f"{self.partition}:{self.offset}"

    @property
    def time(self) -> datetime:
        """When the record was given up; when it came into the topic where its headers do not say."""
        try:
            return datetime.fromisoformat(self.notes["time"]).astimezone(UTC)
        except (KeyError, ValueError, OverflowError):
            return self.stored

    def note(self, name: str) -> str:
        """What the header `dead-letter-NAME` says; empty when it is missing."""
        return self.notes.get(name, "")


@dataclass(frozen=True)
class Filters:
    """Which letters are wanted: those that meet every condition that is set."""

    reasons: frozenset[str] = frozenset()
    stage: str = ""
    key: str | None = None
    topic: str = ""
    since: datetime | None = None
    until: datetime | None = None
    at: frozenset[Place] = frozenset()

    def match(self, letter: DeadLetter) -> bool:
        """Whether the letter is wanted."""
        return (
            (not self.at or (letter.partition, letter.offset) in self.at)
            and (not self.reasons or letter.note("reason") in self.reasons)
            and self.stage in ("", letter.note("stage"))
            and self.topic in ("", letter.note("topic"))
            and (self.key is None or self.key.encode("utf-8", "surrogateescape") == letter.key)
            and (self.since is None or self.since <= letter.time)
            and (self.until is None or letter.time < self.until)
        )

    @property
    def spans(self) -> dict[int, Span] | None:
        """The offsets that have to be read: all, or as few as hold the places in `at`."""
        if not self.at:
            return None
        offsets: dict[int, list[int]] = {}
        for partition, offset in self.at:
            offsets.setdefault(partition, []).append(offset)
        return {partition: Span(min(found), max(found) + 1) for partition, found in offsets.items()}


@dataclass(frozen=True)
class Resolution:
    """What became of a letter: `action` is replayed or discarded, `by` is USER@HOST."""

    action: str
    time: str
    by: str
    letter_time: str  # of the letter, so that no letter of a topic made anew is taken for it


@dataclass
class Resolutions:
    """What became of letters, as the topic of resolutions says; a few hundred bytes a letter."""

    _notes: dict[Place, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, bootstrap_servers: str, topic: str) -> Resolutions:
        """All that is noted; nothing before the topic exists. Raises NotReady."""
        found = cls()
        try:
            for record in read_topic(bootstrap_servers, topic):
                found._take(record)
        except NoSuchTopic:
            pass
        return found

    def of(self, letter: DeadLetter) -> Resolution | None:
        """What became of the letter, None while it is open."""
        note = self._notes.get((letter.partition, letter.offset))
        resolution = _resolution(note) if note else None
        return resolution if resolution and resolution.letter_time == letter.note("time") else None

    def _take(self, record: ConsumerRecord) -> None:
        try:
            place = place_of((record.key or b"").decode("utf-8", "replace"))
        except BadInput:
            return  # nothing that we wrote
        if record.value:
            self._notes[place] = record.value
        else:
            self._notes.pop(place, None)


def read_letters(
    bootstrap_servers: str, topic: str, filters: Filters, spans: Mapping[int, Span] | None = None
) -> Iterator[DeadLetter]:
    """Yield the letters that are wanted, partition by partition, oldest first. Raises NotReady."""
    for record in read_topic(bootstrap_servers, topic, filters.spans if spans is None else spans):
        letter = letter_of(record)
        if filters.match(letter):
            yield letter


def letter_of(record: ConsumerRecord) -> DeadLetter:
    """The letter that a record of the dead-letter topic is."""
    added = {name.removeprefix(PREFIX): value for name, value in record.headers if name.startswith(PREFIX)}
    own = [(name, value) for name, value in record.headers if not name.startswith(PREFIX)]
    notes = {name: (value or b"").decode("utf-8", "replace") for name, value in added.items()}
    stored = moment_of(1000 * min(max(record.timestamp, 0), 1000 * LAST_SECOND))  # a producer may have set any
    return DeadLetter(record.partition, record.offset, record.key, record.value, own, notes, stored)


def place_of(text: str) -> Place:
    """Partition and offset of PARTITION:OFFSET. Raises BadInput."""
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdecimal() and offset.isascii() and offset.isdecimal()):
        raise BadInput(f"--at: must be PARTITION:OFFSET as `loreline dlq list` shows it, such as 0:12, is {text!r}")
    return int(partition), int(offset)


def _resolution(note: bytes) -> Resolution | None:
    try:
        document: dict[str, Any] = json.loads(note)
        return Resolution(**{name: str(document.get(name, "")) for name in Resolution.__annotations__})
    except (ValueError, AttributeError):
        return None

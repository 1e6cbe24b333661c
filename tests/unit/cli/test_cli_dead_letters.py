"""`loreline dlq` over dead letters that the updater's own writer has put into a real broker."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from loreline.client.catalog import item_upserted
from loreline.domain import Item
from services.cli.dead_letters.letters import letter_of
from services.cli.topic_reading import Span, read_topic
from services.runtime.kafka_clients import KafkaProducer
from services.updater.acknowledged_producer import AcknowledgedProducer
from services.updater.dead_letters import DeadLetterTopic
from services.updater.events import PoisonEvent
from tests.unit.cli.command import Command, on_topics_of_its_own

FILM = item_upserted(Item("film-1", "movies", "Amélie (2001)", {"year": 2001}))
GARBAGE = b"\xff\xfe\x1b[31m no event"


@dataclass
class Box:
    """Topics of one test, and the command on them."""

    loreline: Command
    broker: str
    name: str

    def bury(
        self,
        reason: str,
        key: bytes | None = b"film-1",
        value: bytes | None = FILM.value,
        headers: list[tuple[str, bytes]] | None = None,
        stage: str = "content",
        count: int = 1,
    ) -> None:
        """Put records into the dead letters as the updater does."""
        producer = AcknowledgedProducer(self.broker)
        sink = DeadLetterTopic(producer, f"{self.name}-dead-letter")
        for number in range(count):
            record = SimpleNamespace(
                key=key, value=value, headers=headers or [], topic=f"{self.name}-items", partition=0, offset=number
            )
            sink.put(record, PoisonEvent(reason, f"the words of {reason}"), stage, 3)
        producer.close()

    def listed(self, *arguments: str) -> list[str]:
        """Reasons of the letters that `dlq list` shows, newest first."""
        return [letter["reason"] for letter in self.loreline("dlq", "list", "--json", *arguments).document["letters"]]

    def sent_again(self) -> list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]:
        """Key, value and headers of what came to the items topic."""
        return [(record.key, record.value, record.headers) for record in read_topic(self.broker, f"{self.name}-items")]


@pytest.fixture
def box(tmp_path: Path, broker: str, unique_name: str) -> Box:
    """Fresh topics of one partition each, so that the order of letters is known."""
    loreline = on_topics_of_its_own(tmp_path, broker, unique_name)
    loreline("topics", "create", TOPIC_PARTITIONS="1")
    return Box(loreline, broker, unique_name)


def test_letters_are_listed_newest_first_and_counted_by_reason(box: Box) -> None:
    """The count is of all, however few are shown."""
    box.bury("INVALID", count=3)
    box.bury("UNPARSABLE", value=GARBAGE)
    document = box.loreline("dlq", "list", "--most", "2", "--json").document

    assert document["total"] == 4
    assert document["reasons"] == {"INVALID": 3, "UNPARSABLE": 1}
    assert [letter["at"] for letter in document["letters"]] == ["0:3", "0:2"]
    first = document["letters"][0]
    assert (first["reason"], first["stage"], first["key"], first["attempts"]) == (
        "UNPARSABLE",
        "content",
        "film-1",
        "3",
    )
    assert first["detail"] == "the words of UNPARSABLE"


@pytest.mark.parametrize(
    ("arguments", "reasons"),
    [
        (["--reason", "invalid", "--reason", "INTERNAL"], ["INTERNAL", "INVALID"]),
        (["--stage", "knowledge"], ["INTERNAL"]),
        (["--key", "other"], ["INTERNAL", "EMPTY"]),
        (["--topic", "elsewhere"], []),
        (["--at", "0:0", "--at", "0:2"], ["EMPTY", "INVALID"]),
        (["--reason", "INVALID", "--key", "other"], []),
        (["--until", "2020-01-01"], []),
        (["--since", "2020-01-01T00:00"], ["INTERNAL", "EMPTY", "UNPARSABLE", "INVALID"]),
        (["--since", "1h"], ["INTERNAL", "EMPTY", "UNPARSABLE", "INVALID"]),
        (["--at", "0:4000"], []),
        (["--at", "7:0"], []),
    ],
    ids=" ".join,
)
def test_filters_choose_the_letters_that_meet_all_of_them(box: Box, arguments: list[str], reasons: list[str]) -> None:
    """One reason of several; moments are UTC."""
    box.bury("INVALID")
    box.bury("UNPARSABLE", value=GARBAGE)
    box.bury("EMPTY", key=b"other", value=b"")
    box.bury("INTERNAL", key=b"other", stage="knowledge")

    assert box.listed(*arguments) == reasons


def test_a_letter_between_two_moments_is_found_by_them(box: Box) -> None:
    """`--since` includes its moment and `--until` does not."""
    box.bury("INVALID")
    given_up = box.loreline("dlq", "list", "--json").document["letters"][0]["time"]
    later = (datetime.fromisoformat(given_up) + timedelta(microseconds=1)).isoformat()

    assert box.listed("--since", given_up, "--until", later) == ["INVALID"]
    assert box.listed("--since", later) == []
    assert box.listed("--until", given_up) == []


def test_an_event_is_shown_as_json_and_other_bytes_by_their_hexadecimal(box: Box) -> None:
    """No control character of a supplier's reaches the terminal; --json holds every byte."""
    box.bury("INVALID", headers=FILM.headers)
    box.bury("UNPARSABLE", key=b"bad\x1b[31m", value=GARBAGE * 100)
    shown = box.loreline("dlq", "show").stdout
    documents = box.loreline("dlq", "show", "--json").document

    assert '"title": "Amélie (2001)"' in shown
    assert "ff fe 1b 5b" in shown
    assert f"{len(GARBAGE) * 100 - 512:,} bytes more" in shown
    assert "\x1b[31m" not in shown
    assert documents[0]["event"]["item_upserted"]["item"]["item_id"] == "film-1"
    assert documents[0]["headers"] == {"content-type": "application/x-protobuf"}
    assert documents[1]["event"] is None
    assert base64.b64decode(documents[1]["value_base64"]) == GARBAGE * 100


def test_replay_sends_the_record_as_it_was_to_where_it_came_from(box: Box) -> None:
    """Key, value and own headers, without the added ones; then the letter is not offered again."""
    box.bury("MISSING_CONTENT", headers=[*FILM.headers, ("trace", b"\xff")])
    box.bury("UNPARSABLE", value=GARBAGE)
    done = box.loreline("dlq", "replay", "--reason", "MISSING_CONTENT", "--json")

    assert (done.code, done.document["matched"], done.document["replayed"]) == (0, 1, 1)
    assert box.sent_again() == [(FILM.key, FILM.value, [*FILM.headers, ("trace", b"\xff")])]
    assert box.listed() == ["UNPARSABLE"]
    assert box.listed("--all") == ["UNPARSABLE", "MISSING_CONTENT"]
    again = box.loreline("dlq", "replay", "--at", "0:0")
    assert (again.code, len(box.sent_again())) == (2, 1)


def test_a_replayed_letter_can_be_sent_once_more_with_all(box: Box) -> None:
    """And the list says what became of it, when, and by whom."""
    box.bury("INTERNAL")
    box.loreline("dlq", "replay", "--everything")
    box.loreline("dlq", "replay", "--everything", "--all")
    resolution = box.loreline("dlq", "list", "--all", "--json").document["letters"][0]["resolution"]

    assert len(box.sent_again()) == 2
    assert resolution["action"] == "replayed"
    assert "@" in resolution["by"]
    assert datetime.fromisoformat(resolution["time"]) <= datetime.now(UTC)


def test_many_letters_are_sent_again_in_their_order(box: Box) -> None:
    """More than one batch of them, each noted."""
    box.bury("MISSING_CONTENT", count=1203)
    done = box.loreline("dlq", "replay", "--reason", "MISSING_CONTENT", "--yes", "--json").document
    left = box.loreline("dlq", "list", "--json").document["total"]

    assert (done["replayed"], len(box.sent_again()), left) == (1203, 1203, 0)


def test_most_touches_the_oldest_letters_only(box: Box) -> None:
    """So that a repair can be tried on a few."""
    box.bury("INVALID", count=3)
    box.loreline("dlq", "replay", "--most", "1")

    assert [letter["at"] for letter in box.loreline("dlq", "list", "--json").document["letters"]] == ["0:2", "0:1"]


@pytest.mark.parametrize(("answer", "left"), [("n\n", 2), ("", 2), ("y\n", 0)])
def test_more_than_one_letter_is_touched_only_after_a_yes(box: Box, answer: str, left: int) -> None:
    """The question says how many of which reason; without an answer nothing is done."""
    box.bury("INVALID", count=2)
    done = box.loreline("dlq", "discard", "--reason", "INVALID", answer=answer)

    assert "2 dead letters match (2 INVALID)" in done.stderr
    assert done.code == (1 if left else 0)
    assert len(box.listed()) == left


def test_a_dry_run_changes_nothing(box: Box) -> None:
    """It only counts."""
    box.bury("INVALID", count=2)
    replayed = box.loreline("dlq", "replay", "--everything", "--dry-run", "--json").document
    discarded = box.loreline("dlq", "discard", "--everything", "--dry-run", "--json").document

    assert (replayed["matched"], replayed["replayed"]) == (2, 0)
    assert (discarded["matched"], discarded["discarded"]) == (2, 0)
    assert (len(box.listed()), box.sent_again()) == (2, [])


def test_discarded_letters_are_sent_nowhere_and_listed_no_more(box: Box) -> None:
    """They stay in the topic, where --all finds them."""
    box.bury("UNPARSABLE", value=GARBAGE)
    box.loreline("dlq", "discard", "--at", "0:0")

    assert box.listed() == []
    assert box.sent_again() == []
    assert box.listed("--all") == ["UNPARSABLE"]


def test_a_letter_that_cannot_be_sent_stays_open_and_ends_with_1(box: Box) -> None:
    """A record that another program put there, without saying where it came from."""
    producer = KafkaProducer(bootstrap_servers=box.broker)
    producer.send(f"{box.name}-dead-letter", key=b"stray", value=b"?").get(timeout=100)
    producer.close()
    box.bury("INVALID")
    done = box.loreline("dlq", "replay", "--everything", "--yes", "--json")

    assert done.code == 1
    assert [one["at"] for one in done.document["skipped"]] == ["0:0"]
    assert "dead-letter-topic" in done.document["skipped"][0]["why"]
    assert (len(box.sent_again()), len(box.listed())) == (1, 1)


def test_a_letter_of_a_time_that_cannot_be_is_listed(box: Box) -> None:
    """A producer may have given its record any number of milliseconds."""
    producer = KafkaProducer(bootstrap_servers=box.broker)
    for milliseconds in (2**62, 253_402_300_800_000):
        producer.send(f"{box.name}-dead-letter", key=b"stray", value=b"?", timestamp_ms=milliseconds).get(timeout=100)
    producer.close()
    done = box.loreline("dlq", "list", "--json")

    assert done.code == 0
    assert [letter["time"][:4] for letter in done.document["letters"]] == ["9999", "9999"]


def test_a_resolution_of_a_topic_that_was_made_anew_hides_nothing(box: Box) -> None:
    """The same place may then hold another letter: the note says of which one it speaks."""
    box.bury("INVALID")
    producer = KafkaProducer(bootstrap_servers=box.broker)
    note = b'{"action": "replayed", "time": "2020-01-01T00:00:00+00:00", "by": "me@here", "letter_time": "2019"}'
    for value in (b"no json", note):
        producer.send(f"{box.name}-dead-letter-resolutions", key=b"0:0", value=value).get(timeout=100)
    producer.close()

    assert box.listed() == ["INVALID"]


def test_without_the_topic_the_command_says_so(tmp_path: Path, broker: str, unique_name: str) -> None:
    """It ends with 1 and names the topic."""
    done = on_topics_of_its_own(tmp_path, broker, unique_name)("dlq", "list")

    assert done.code == 1
    assert f"{unique_name}-dead-letter" in done.stderr


def test_a_topic_is_read_as_it_stood_whatever_comes_meanwhile(box: Box) -> None:
    """Records that come while it is read are left out; a span reads only its offsets."""
    box.bury("INVALID", count=40)
    topic, found = f"{box.name}-dead-letter", []
    for record in read_topic(box.broker, topic):
        found.append(letter_of(record).offset)
        if len(found) == 1:
            box.bury("INTERNAL", count=5)
    within = [record.offset for record in read_topic(box.broker, topic, {0: Span(10, 13)})]

    assert found == list(range(40))
    assert within == [10, 11, 12]

"""`loreline interactions publish` on a real broker."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from loreline.client.catalog import event_document
from services.cli.topic_reading import read_topic
from tests.unit.cli.command import Command, on_topics_of_its_own

GOOD = '{"user_id": "u1", "item_id": "i1", "scenario": "movies", "rating": 4, "time": "2026-03-01T12:00:00Z"}'


@pytest.fixture
def loreline(tmp_path: Path, broker: str, unique_name: str) -> Command:
    """The command on topics that no other test uses."""
    command = on_topics_of_its_own(tmp_path, broker, unique_name)
    command("topics", "create")
    return command


def published(broker: str, name: str) -> list[dict[str, Any]]:
    """The events of the topic, keyed by their user."""
    records = list(read_topic(broker, f"{name}-interactions"))
    documents = [event_document(record.value) or {} for record in records]
    assert [record.key.decode() for record in records] == [one["interaction_logged"]["user_id"] for one in documents]
    return documents


def test_each_line_becomes_an_event(loreline: Command, broker: str, unique_name: str, tmp_path: Path) -> None:
    """With and without what may be left out; a time may be seconds."""
    lines = [
        GOOD,
        '{"user_id": "u2", "item_id": "i2", "scenario": "movies", "time": 1772366400}',
        "",
        '{"user_id": "u3", "item_id": "i3", "scenario": "movies", "event_id": "mine", "attribution_id": "list-1"}',
    ]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    before = datetime.now(UTC)
    done = loreline("interactions", "publish", str(tmp_path / "log.jsonl"), "--json")
    found = {event["interaction_logged"]["user_id"]: event for event in published(broker, unique_name)}

    assert done.document == {"published": 3, "topic": f"{unique_name}-interactions"}
    assert found["u1"]["interaction_logged"] == {
        "user_id": "u1", "item_id": "i1", "scenario": "movies", "rating": 4.0
    }  # fmt: skip
    assert found["u1"]["event_time"] == found["u2"]["event_time"] == "2026-03-01T12:00:00Z"
    assert "rating" not in found["u2"]["interaction_logged"]
    assert found["u3"]["event_id"] == "mine"
    assert found["u3"]["interaction_logged"]["attribution_id"] == "list-1"
    assert before <= datetime.fromisoformat(found["u3"]["event_time"]) <= datetime.now(UTC)


def test_a_file_that_is_published_twice_says_the_same_events(
    loreline: Command, broker: str, unique_name: str, tmp_path: Path
) -> None:
    """A line with a time has the id that follows from it; one without is a new act each time."""
    timeless = '{"user_id": "u9", "item_id": "i1", "scenario": "movies"}'
    (tmp_path / "log.jsonl").write_text(f"{GOOD}\n{timeless}\n")
    for _ in range(2):
        loreline("interactions", "publish", str(tmp_path / "log.jsonl"))
    ids = [(one["interaction_logged"]["user_id"], one["event_id"]) for one in published(broker, unique_name)]

    assert len([one for one in ids if one[0] == "u1"]) == 2
    assert len({one for one in ids if one[0] == "u1"}) == 1
    assert len({one for one in ids if one[0] == "u9"}) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"user_id": "u", "item_id": "i"}', "scenario: must be given"),
        ('{"user_id": 7, "item_id": "i", "scenario": "movies"}', "user_id: must be text, is int"),
        ('{"user_id": "", "item_id": "i", "scenario": "movies"}', "user_id: must have 1 to 128 bytes"),
        ('{"user_id": "u", "item_id": "i", "scenario": "cooking"}', "scenario: must be one of"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "rating": 6}', "rating: must be a number from 1 to 5"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "rating": NaN}', "rating: must be a number"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "rating": true}', "rating: must be a number"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "time": "noon"}', "time: must be ISO 8601"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "time": 1e300}', "time: must be ISO 8601"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "stars": 5}', "unknown field 'stars'"),
        ('{"user_id": "u", "item_id": "i", "scenario": "movies", "event_id": 5}', "event_id: must be text"),
        ("[]", "must be a JSON object"),
    ],
)
def test_a_wrong_line_ends_with_2_and_nothing_is_published(
    loreline: Command, broker: str, unique_name: str, tmp_path: Path, line: str, words: str
) -> None:
    """The message names the line and the field."""
    (tmp_path / "log.jsonl").write_text(f"{GOOD}\n{line}\n")
    done = loreline("interactions", "publish", str(tmp_path / "log.jsonl"))

    assert done.code == 2
    assert "log.jsonl, line 2: " in done.stderr
    assert words in done.stderr
    assert published(broker, unique_name) == []


def test_an_empty_or_missing_file_ends_with_2(loreline: Command, tmp_path: Path) -> None:
    """Publishing nothing is a mistake."""
    (tmp_path / "empty.jsonl").write_text("\n")
    empty, missing = (loreline("interactions", "publish", str(tmp_path / f"{n}.jsonl")) for n in ("empty", "nowhere"))

    assert (empty.code, missing.code) == (2, 2)
    assert "at least one interaction" in empty.stderr
    assert "nowhere.jsonl: No such file" in missing.stderr

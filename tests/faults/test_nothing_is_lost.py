"""Whatever is killed, the store ends as a plain model of the events says, and every poison is a dead letter."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loreline.client.messages import record_of_bytes
from tests.faults.event_flow import Flow, flow
from tests.faults.line import Line, running_line

KILLED = ("updater", "knowledge", "embedding", "features")


def test_a_careless_flow_ends_as_its_model_says(tmp_path: Path) -> None:
    """Updates, deletes, duplicates, late and poisoned records, with nothing killed."""
    events = flow(300, seed=7)
    with running_line(tmp_path) as line:
        line.send(events.records)
        line.wait_until_done(seconds=120)
        check(line, events)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_processes_that_are_killed_in_turn_lose_nothing_and_double_nothing(tmp_path: Path, full_size: bool) -> None:
    """SIGKILL to each while thousands of items flow."""
    events = flow(10_000 if full_size else 2_500, seed=11)
    with running_line(tmp_path) as line:
        with killing_in_turn(line):
            line.send(events.records, pause_seconds=0.004)
        line.wait_until_done(seconds=900)
        check(line, events)


@contextmanager
def killing_in_turn(line: Line) -> Iterator[None]:
    """While the block runs, one process after the other is killed and brought back; each at least once."""
    done = threading.Event()

    def kill() -> None:
        for number, name in enumerate(itertools.cycle(KILLED)):
            if done.is_set() and number >= len(KILLED):
                return
            time.sleep(2)
            line.kill(name)
            time.sleep(1)
            line.revive(name)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def check(line: Line, events: Flow) -> None:
    """The stored items, their knowledge, and the dead letters are those of the model."""
    check_items(line, events)
    check_knowledge(line, events)
    check_knowledge_topic(line, events)
    check_dead_letters(line, events)


def check_items(line: Line, events: Flow) -> None:
    """Every living item with its newest content, no deleted one."""
    found = line.features.items(list(events.newest))
    assert sorted(found.missing_item_ids) == sorted(events.deleted)
    stored = {item.item_id: item for item in found.items}
    assert stored.keys() == events.living.keys()
    assert [item_id for item_id, item in stored.items() if not item.augmented] == []


def check_knowledge(line: Line, events: Flow) -> None:
    """Content and knowledge are of the newest event, seen on every tenth item."""
    for item_id in sorted(events.living)[::10]:
        described = line.features.describe_item(item_id)
        assert described.item == events.living[item_id]
        assert described.knowledge is not None
        assert f'"{events.living[item_id].title}"' in described.knowledge.text


def check_knowledge_topic(line: Line, events: Flow) -> None:
    """What compaction leaves: the knowledge of every living item's newest content, nothing of deleted ones."""
    newest = {record.key.decode(): record.value for record in line.records("knowledge")}
    texts = {key.removeprefix("item/"): record_of_bytes(value).knowledge.text for key, value in newest.items() if value}
    assert texts.keys() == events.living.keys()
    assert [item_id for item_id, item in events.living.items() if f'"{item.title}"' not in texts[item_id]] == []


def check_dead_letters(line: Line, events: Flow) -> None:
    """Every poisoned record is there with its bytes, once in effect, and nothing else."""
    letters = {}
    for letter in line.dead_letters():
        headers = dict(letter.headers)
        partition, offset = int(headers["dead-letter-partition"]), int(headers["dead-letter-offset"])
        at = headers["dead-letter-topic"].decode(), partition, offset
        assert letters.setdefault(at, letter.value) == letter.value
    assert {line.sent[at] for at in letters} == events.poison
    for at, value in letters.items():
        assert (value or b"") == events.records[line.sent[at]][1]

"""Whatever is killed, every user's history ends as a plain model of the interactions says."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.faults.interaction_flow import InteractionFlow, films, interaction_flow
from tests.faults.line import Line, running_line


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_updater_that_is_killed_loses_no_interaction_and_doubles_none(tmp_path: Path, full_size: bool) -> None:
    """SIGKILL three times while interactions flow, some of them twice, late or rotten."""
    events = interaction_flow(users=150 if full_size else 50, each=12, seed=31)
    with running_line(tmp_path) as line:
        line.send(films())
        line.wait_until_done(seconds=60)
        sender = threading.Thread(target=line.send, args=(events.records, 18 / len(events.records), "interactions"))
        sender.start()
        for _ in range(3):
            time.sleep(2)
            line.kill("updater")
            line.revive("updater")
        sender.join()
        line.wait_until_done(seconds=300)
        check_histories(line, events)
        check_preferences(line, events)
        check_dead_letters(line, events)


def check_histories(line: Line, events: InteractionFlow) -> None:
    """Each user's whole history, oldest first."""
    for user_id, history in events.histories.items():
        user = line.features.user(user_id).user
        assert list(zip(user.item_ids, user.times, strict=True)) == list(history), user_id


def check_preferences(line: Line, events: InteractionFlow) -> None:
    """Everybody has had enough interactions to have preferences, and the knowledge topic has them all."""
    stored = {user_id: line.features.describe_user(user_id).knowledge for user_id in events.histories}
    assert [user_id for user_id, knowledge in stored.items() if knowledge is None] == []
    assert {record.key.decode() for record in line.records("knowledge") if record.key.startswith(b"user/")} == {
        f"user/{user_id}" for user_id in events.histories
    }


def check_dead_letters(line: Line, events: InteractionFlow) -> None:
    """Every rotten record is there, and nothing else."""
    found = set()
    for letter in line.dead_letters():
        headers = dict(letter.headers)
        partition, offset = int(headers["dead-letter-partition"]), int(headers["dead-letter-offset"])
        found.add(line.sent[headers["dead-letter-topic"].decode(), partition, offset])
    assert found == events.poison

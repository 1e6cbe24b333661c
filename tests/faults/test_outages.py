"""Parts that are away for a while, members that come and go, and clocks that are off."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.faults.event_flow import flow
from tests.faults.line import hanging, running_line
from tests.faults.test_nothing_is_lost import check
from tests.redis_server import RedisServer

HOUR = 3600.0


@pytest.fixture
def away_seconds(full_size: bool) -> float:
    """Longer than a member of a consumer group may be silent, and than every deadline of a call in the line."""
    return 30.0 if full_size else 12.0


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["broker", "features", "embedding", "knowledge"])
def test_a_process_that_hangs_loses_nothing(tmp_path: Path, name: str, away_seconds: float) -> None:
    """What was sent meanwhile has its effect when it answers again."""
    events = flow(400, seed=13)
    half = len(events.records) // 2
    with running_line(tmp_path) as line:
        line.send(events.records[:half])
        sender = threading.Thread(target=line.send, args=(events.records[half:],))
        with line.hanging(name):
            sender.start()
            time.sleep(away_seconds)
        sender.join()
        line.wait_until_done(seconds=240)
        check(line, events)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_redis_that_hangs_loses_nothing(tmp_path: Path, away_seconds: float) -> None:
    """Features says UNAVAILABLE meanwhile, and the updater waits."""
    events = flow(400, seed=17)
    half = len(events.records) // 2
    with (
        RedisServer(tmp_path) as redis,
        running_line(tmp_path / "home", FEATURES_ONLINE_STORE="redis", REDIS_CONNECTION=redis.address) as line,
    ):
        line.send(events.records[:half])
        with hanging(redis.pid):
            line.send(events.records[half:])
            time.sleep(away_seconds)
        line.wait_until_done(seconds=240)
        check(line, events)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_updaters_that_come_and_go_under_load_lose_nothing(tmp_path: Path, full_size: bool) -> None:
    """One, then three, then two of them."""
    events = flow(3_000 if full_size else 900, seed=19)
    third = len(events.records) // 3
    with running_line(tmp_path) as line:
        line.send(events.records[:third])
        with ExitStack() as staying:
            with line.another_updater():
                staying.enter_context(line.another_updater())
                line.send(events.records[third : 2 * third])
            line.send(events.records[2 * third :])
            line.wait_until_done(seconds=400)
        check(line, events)


def test_producers_whose_clocks_are_off_are_ordered_by_the_time_that_they_say(tmp_path: Path) -> None:
    """An hour behind, right, and an hour ahead: the newest event by its own time is what is stored."""
    events = flow(200, seed=23, skews=(-HOUR, 0.0, HOUR))
    with running_line(tmp_path) as line:
        line.send(events.records)
        line.wait_until_done(seconds=120)
        check(line, events)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_flood_of_events_takes_no_more_memory_than_its_first_two_fifths(tmp_path: Path, full_size: bool) -> None:
    """The knowledge service is away, so the queue is full all the time; the log holds the rest.

    Equal shares are compared, since what a fetch brings at once grows with what lies in the log, up to a bound; an
    updater that kept the records of the last three shares would need more than half as much again.
    """
    events = flow(80_000 if full_size else 40_000, seed=29)
    share = len(events.records) // 5 + 1
    with running_line(tmp_path, UPDATER_KNOWLEDGE_QUEUE_RECORDS="1000") as line:
        line.kill("knowledge")
        updater = psutil.Process(line.processes.status("updater").pid)
        after: list[int] = []
        for start in range(0, len(events.records), share):
            line.send(events.records[start : start + share])
            line.wait_until_done(seconds=300, stages=("content",))
            after.append(updater.memory_info().rss)
        assert max(after[-2:]) < max(after[:2]) * 1.25, after

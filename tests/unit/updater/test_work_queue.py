"""The queue of items and users that wait for knowledge."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from loreline.domain import Interaction, Item, Stamp
from services.updater.events import Delete, Logged, Requested, Upsert
from services.updater.work_queue import Work, WorkQueue

START = datetime(2026, 3, 1, tzinfo=UTC)
SCENARIOS = ("movies", "books")


@dataclass
class Clock:
    """A time that the test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Record:
    """Stands for the record that an event came in: the queue only hands it on."""

    offset: int


def stamp(subject: str, second: int) -> Stamp:
    """So many seconds after the first event."""
    return Stamp(f"{subject}-{second}", START + timedelta(seconds=second))


def work(item: str, second: int = 0, popularity: float = 0.0, scenario: str = "movies") -> Work:
    """An event of an item, so many seconds after the first."""
    event = Upsert(stamp(item, second), Item(item, scenario, f"Film {item}"))
    return Work(event, Record(second), (popularity, event.stamp.event_time.timestamp()))


def interaction(user: str, second: int) -> Work:
    """An interaction of a user, so many seconds after the first event."""
    return Work(watched(user, second), Record(second), (0, 0))


def watched(user: str, second: int) -> Logged:
    """The event of it."""
    return Logged(Interaction(stamp(user, second), user, "film", "movies"))


def ids(works: Sequence[Work]) -> list[str]:
    """The items of works."""
    return [work.event.subject_id for work in works]


def test_the_most_popular_come_first_and_of_them_the_newest() -> None:
    """Whatever the order of arrival."""
    queue = WorkQueue(10)
    queue.put([work("old", 1), work("popular", 2, popularity=5), work("new", 3)])
    assert ids(queue.take(2, 0)) == ["popular", "new"]
    assert ids(queue.take(2, 0)) == ["old"]


def test_a_newer_event_takes_the_place_of_an_older_one() -> None:
    """The older one is returned: nothing has to be done for it any more."""
    queue = WorkQueue(10)
    older, newer = work("a", 1), work("a", 2)
    assert queue.put([older]) == []
    assert queue.put([newer]) == [older]
    assert queue.put([older]) == [older]
    assert queue.take(5, 0) == [newer]


def test_a_batch_is_of_one_scenario() -> None:
    """Each scenario is asked about in its own words."""
    queue = WorkQueue(10)
    queue.put([work("a", 1), work("b", 2, scenario="books"), work("c", 3)])
    assert [ids(queue.take(5, 0)), ids(queue.take(5, 0))] == [["c", "a"], ["b"]]


def test_a_scenario_that_is_held_holds_up_no_other() -> None:
    """And goes on when its time has come."""
    clock = Clock()
    queue = WorkQueue(10, clock)
    queue.put([work("a", 1), work("b", 2, scenario="books")])
    queue.hold("books", 30)
    assert ids(queue.take(5, 0)) == ["a"]
    assert queue.take(5, 0) == []
    clock.now = 31
    assert ids(queue.take(5, 0)) == ["b"]


def test_work_that_failed_comes_again_later_and_alone() -> None:
    """So that it cannot fail others."""
    clock = Clock()
    queue = WorkQueue(10, clock)
    queue.put([work("a", 1), work("b", 9)])
    assert queue.put_back(queue.take(2, 0), 5) == []
    assert queue.take(5, 0) == []
    queue.put([work("c", 5)])
    clock.now = 6
    assert [ids(queue.take(5, 0)) for _ in range(3)] == [["b"], ["c"], ["a"]]


def test_a_deletion_takes_the_place_of_what_came_before_it_alone() -> None:
    """An older deletion that comes late leaves a newer upsert waiting."""
    queue = WorkQueue(10)
    waiting = work("a", 5)
    late, newer = (Work(Delete(stamp("a", second), "a", "movies"), Record(second), (0, 0)) for second in (4, 6))
    queue.put([waiting])
    assert queue.put([late]) == [late]
    assert queue.put([newer]) == [waiting]
    assert queue.take(5, 0) == [newer]


def test_a_request_is_never_replaced_by_an_interaction() -> None:
    """Its record stays open until it was followed; of two requests the newer one stands for both."""
    queue = WorkQueue(10)
    asked, again = (Work(Requested(stamp("u", second), "u", "movies"), Record(second), (0, 0)) for second in (2, 5))
    first, last = (interaction("u", second) for second in (1, 3))
    queue.put([first])
    assert queue.put([asked]) == [first]
    assert queue.put([last]) == [last]
    assert queue.put([again]) == [asked]
    assert queue.take(5, 0) == [again]


def test_an_interaction_says_since_when_it_stands_for_others() -> None:
    """Whichever came first; also after it was handed out and put back, and never for those before a hand-out."""
    queue = WorkQueue(10)
    queue.put([interaction("u", second) for second in (3, 5, 2)])
    [taken] = queue.take(5, 0)
    assert taken.event == Logged(watched("u", 5).interaction, since=stamp("u", 2))
    queue.put([interaction("u", 9)])
    queue.put_back([taken], 0.0)
    [again] = queue.take(5, 0)
    assert again.event == Logged(watched("u", 9).interaction, since=stamp("u", 2))
    queue.put([interaction("u", 10)])
    assert [work.event for work in queue.take(5, 0)] == [watched("u", 10)]


def test_discarded_work_is_not_handed_out() -> None:
    """Somebody else does it."""
    queue = WorkQueue(10)
    queue.put([work("a", 1), work("b", 2)])
    queue.discard(lambda work: work.record.offset == 2)
    assert ids(queue.take(5, 0)) == ["a"]


def test_an_item_that_changes_all_the_time_takes_one_place() -> None:
    """Neither the room nor the memory shrinks with its events."""
    queue = WorkQueue(4)
    for second in range(10_000):
        queue.put([work("a", second)])
    assert queue.room == 3
    assert sum(len(heap) for heap in queue._ready.values()) <= 2 * 4 + 1
    assert ids(queue.take(5, 0)) == ["a"]


def test_a_waiting_worker_is_woken_by_work_and_by_the_end() -> None:
    """It does not sleep through either."""
    queue = WorkQueue(10)
    taken: list[list[Work]] = []
    worker = threading.Thread(target=lambda: taken.extend([queue.take(1, 60), queue.take(1, 60)]))
    worker.start()
    queue.put([work("a")])
    while not taken and queue:
        pass
    queue.close()
    worker.join(100)
    assert [ids(works) for works in taken] == [["a"], []]


class QueueMachine(RuleBasedStateMachine):
    """The queue against a plain dictionary of each item's newest event."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.model, self.second = Clock(), dict[str, Work](), 0
        self.queue = WorkQueue(100, self.clock)
        self.taken: list[Work] = []
        self.held: dict[str, float] = {}

    @rule(
        item=st.sampled_from("abcdef"),
        age=st.integers(0, 3),
        popularity=st.sampled_from([0.0, 1.0]),
    )
    def put(self, item: str, age: int, popularity: float) -> None:
        """An event comes, perhaps out of order."""
        self.second += 1
        new = work(item, self.second - age, popularity, SCENARIOS["abcdef".index(item) % 2])
        old = self.model.get(item)
        if old is None or newer(new, old):
            self.model[item] = new
            assert self.queue.put([new]) == ([] if old is None else [old])
        else:
            assert self.queue.put([new]) == [new]

    @rule(most=st.integers(1, 4))
    def take(self, most: int) -> None:
        """The best of a scenario that is not held come, and no other waits that is better."""
        batch = self.queue.take(most, 0)
        for taken in batch:
            assert self.model.pop(taken.event.subject_id).event == taken.event
        left = [w for w in self.model.values() if batch and w.event.scenario == batch[0].event.scenario]
        if batch and not any(w.attempts for w in [*left, *batch]):
            assert all(w.priority <= batch[-1].priority for w in left)
            assert len(batch) == most or not left
        self.taken += batch

    @rule(delay=st.integers(0, 5))
    def put_back(self, delay: int) -> None:
        """What was taken comes back, unless a newer event came in between."""
        for back in self.taken:
            waiting = self.model.get(back.event.subject_id)
            outdated = self.queue.put_back([back], float(delay))
            if waiting is not None and not newer(back, waiting):
                assert [w.event for w in outdated] == [back.event]
            else:
                self.model[back.event.subject_id] = Work(back.event, back.record, back.priority, back.attempts + 1)
        self.taken = []

    @rule(scenario=st.sampled_from(SCENARIOS), seconds=st.integers(1, 5))
    def hold(self, scenario: str, seconds: int) -> None:
        """A scenario's budget is spent."""
        self.queue.hold(scenario, float(seconds))

    @rule(seconds=st.integers(1, 10))
    def wait(self, seconds: int) -> None:
        """Time goes by."""
        self.clock.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        """What waits is counted, each item once."""
        assert len(self.queue) == len(self.model)

    def teardown(self) -> None:
        """In the end everything that waits is handed out."""
        self.clock.now += 100
        while batch := self.queue.take(3, 0):
            for taken in batch:
                del self.model[taken.event.subject_id]
        assert self.model == {}


def newer(one: Work, other: Work) -> bool:
    """Whether an event comes after another, as features orders them, or is the same."""
    keys = [(w.event.stamp.event_time, w.event.stamp.event_id) for w in (one, other)]
    return keys[0] >= keys[1]


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

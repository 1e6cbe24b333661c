"""Items or users that wait for knowledge: bounded, the most wanted first, a newer event in the place of an older."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kafka.consumer.fetcher import ConsumerRecord

from loreline.domain import Stamp
from loreline.domain.events import Order
from services.updater.events import Event, Logged, Requested

Priority = tuple[float, float]  # popularity, newness; the greater comes first


@dataclass(frozen=True)
class Work:
    """An event whose item or user waits, the record it came in, and how often its handling failed.

    `successes` is how often the language model had answered when it last did not answer this one.
    """

    event: Event
    record: ConsumerRecord
    priority: Priority
    attempts: int = 0
    successes: int | None = None


class WorkQueue:
    """A priority queue of at most `capacity` works, one an item or user. Safe to share between threads.

    An interaction that is handed out says since when it stands for others of its user that came meanwhile.

    Work of one scenario can be held back without holding back another's. Work that failed before is handed out alone,
    so that it cannot fail others again.
    """

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity, self._clock, self._numbers = capacity, clock, itertools.count()
        self._changed = threading.Condition()
        self._works: dict[str, Work] = {}  # by the id of the item or user
        self._since: dict[str, Stamp] = {}  # the oldest event that each work stands for
        self._ready: dict[str, list[tuple[float, float, int, Work]]] = {}  # a heap a scenario
        self._delayed: list[tuple[float, int, Work]] = []
        self._held_until: dict[str, float] = {}
        self._closed = False

    def __len__(self) -> int:
        """How many works wait."""
        with self._changed:
            return len(self._works)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def room(self) -> int:
        """How many more works may be put."""
        return max(0, self._capacity - len(self))

    def put(self, works: Iterable[Work]) -> list[Work]:
        """Add works; returns those that need no handling any more, because another event of the item or user waits."""
        with self._changed:
            outdated = [old for work in works if (old := self._put(work)) is not None]
            self._changed.notify_all()
            return outdated

    def put_back(self, works: Sequence[Work], delay_seconds: float, failed: bool = True) -> list[Work]:
        """Add works that could not be handled, to be handed out after a delay; returns as `put`."""
        with self._changed:
            due = self._clock() + delay_seconds
            again = [replace(work, attempts=work.attempts + failed) for work in works]
            outdated = [old for work in again if (old := self._put(work, due)) is not None]
            self._changed.notify_all()
            return outdated

    def discard(self, is_discarded: Callable[[Work], bool]) -> None:
        """Take out works that somebody else will do."""
        with self._changed:
            self._works = {subject: work for subject, work in self._works.items() if not is_discarded(work)}
            self._since = {subject: stamp for subject, stamp in self._since.items() if subject in self._works}

    def hold(self, scenario: str, seconds: float) -> None:
        """Hand out no work of a scenario for so long."""
        with self._changed:
            self._held_until[scenario] = self._clock() + seconds

    def take(self, most: int, timeout_seconds: float) -> list[Work]:
        """Up to `most` works of one scenario, taken out, best first; none when none came in time or at the end."""
        end = self._clock() + timeout_seconds
        with self._changed:
            while not self._closed:
                if batch := self._batch(most):
                    return batch
                if (left := min(end, self._next_due()) - self._clock()) <= 0 and self._clock() >= end:
                    break
                self._changed.wait(max(0.0, left))
        return []

    def close(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, work: Work, due: float | None = None) -> Work | None:
        waiting = self._works.get(work.event.subject_id)
        since = _since(work.event)
        known = self._since.get(work.event.subject_id, since)
        self._since[work.event.subject_id] = known if known.order < since.order else since
        if waiting is not None and _precedence(waiting.event) > _precedence(work.event):
            return work
        self._works[work.event.subject_id] = work
        if due is None:
            self._make_ready(work)
        else:
            heapq.heappush(self._delayed, (due, next(self._numbers), work))
        return waiting

    def _make_ready(self, work: Work) -> None:
        popularity, newness = work.priority
        heap = self._ready.setdefault(work.event.scenario, [])
        heapq.heappush(heap, (-popularity, -newness, next(self._numbers), work))
        if len(heap) > 2 * self._capacity:  # a subject of many events leaves an entry each time
            heap[:] = [entry for entry in heap if self._works.get(entry[3].event.subject_id) is entry[3]]
            heapq.heapify(heap)

    def _batch(self, most: int) -> list[Work]:
        self._wake()
        now = self._clock()
        open_heaps = [heap for scenario, heap in self._ready.items() if self._held_until.get(scenario, 0.0) <= now]
        tops = [heap for heap in open_heaps if self._top(heap) is not None]
        if not tops:
            return []
        heap = min(tops, key=lambda heap: heap[0][:3])
        batch: list[Work] = []
        while len(batch) < most and (top := self._top(heap)) is not None:
            if batch and top.attempts:
                break
            heapq.heappop(heap)
            batch.append(self._take_out(top))
            if top.attempts:
                break
        return batch

    def _take_out(self, work: Work) -> Work:
        del self._works[work.event.subject_id]
        since = self._since.pop(work.event.subject_id)
        if not isinstance(work.event, Logged) or since == _since(work.event):
            return work
        return replace(work, event=replace(work.event, since=since))

    def _top(self, heap: list[tuple[float, float, int, Work]]) -> Work | None:
        """The best work that still waits; entries whose work was replaced or taken out are dropped on the way."""
        while heap and self._works.get(heap[0][3].event.subject_id) is not heap[0][3]:
            heapq.heappop(heap)
        return heap[0][3] if heap else None

    def _wake(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._clock():
            work = heapq.heappop(self._delayed)[2]
            if self._works.get(work.event.subject_id) is work:
                self._make_ready(work)

    def _next_due(self) -> float:
        now = self._clock()
        held = [until for until in self._held_until.values() if until > now]
        delayed = [self._delayed[0][0]] if self._delayed else []
        return min([*held, *delayed], default=float("inf"))


def _precedence(event: Event) -> tuple[bool, Order]:
    """Which of two events of one subject is kept: a request, since no other event says the same; else the newer."""
    return isinstance(event, Requested), event.stamp.order


def _since(event: Event) -> Stamp:
    return (isinstance(event, Logged) and event.since) or event.stamp

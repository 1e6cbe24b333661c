"""Asks anew for knowledge that meets a condition: each subject's own event goes through the line once more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from loreline.client import FeaturesClient, StoredSubject
from loreline.client.catalog import CatalogEvent, item_upserted, preferences_requested
from loreline.domain import Stamp
from services.cli.knowledge.conditions import Condition
from services.cli.knowledge.jobs import JobFile, Standing
from services.cli.knowledge.subject_paging import Subject, pages
from services.cli.output import BadInput
from services.cli.publishing import Publisher, publishing

SAVED_EVERY = 100
POLL_SECONDS, SHARE_OF_POLLING = 5.0, 0.2


@dataclass(frozen=True)
class Matching:
    """Which stored subjects are meant."""

    subject: Subject
    condition: Condition
    scenario: str = ""

    def pages(self, features: FeaturesClient, after_id: str = "") -> Iterator[tuple[str, list[StoredSubject]]]:
        """Yield the id up to which was looked, and those before it that match, page by page. Raises ClientError."""
        listed = self.scenario if self.subject == "item" else ""  # users without knowledge are in no scenario
        for page in pages(features, self.subject, after_id, listed):
            yield page[-1].subject_id, [one for one in page if self._match(one)]

    def count(self, features: FeaturesClient, after_id: str = "", progress: Callable[[int], None] | None = None) -> int:
        """How many match, each of which can be asked about. Raises ClientError, BadInput."""
        total = 0
        for _, found in self.pages(features, after_id):
            for subject in found:
                self.event(subject)
            total += len(found)
            if progress:
                progress(len(found))
        return total

    def event(self, subject: StoredSubject) -> CatalogEvent:
        """The event that has the subject asked about again. Raises BadInput for a user whose scenario nobody knows."""
        if subject.item is not None and subject.event is not None:
            return item_upserted(subject.item, Stamp(subject.event.event_id, subject.event.event_time))
        scenario = subject.knowledge.provenance.scenario if subject.knowledge else self.scenario
        if not scenario:
            raise BadInput(f"--scenario: must be given: user {subject.subject_id!r} has no knowledge that names one")
        return preferences_requested(subject.subject_id, scenario)

    def _match(self, subject: StoredSubject) -> bool:
        known = subject.knowledge.provenance.scenario if subject.knowledge else self.scenario
        of_scenario = self.subject == "item" or self.scenario in ("", known)
        return of_scenario and self.condition.test(subject)


class Pace:
    """Lets at most so many pass in a second, evenly."""

    def __init__(self, per_second: float) -> None:
        self._interval, self._next = 1 / per_second, time.monotonic()

    def wait(self) -> None:
        """Return when the next may pass."""
        now = time.monotonic()
        self._next = max(self._next, now - 1) + self._interval
        if self._next > now:
            time.sleep(self._next - now)


@dataclass
class Rebuild:
    """One run of a job over a topic. `standing` moves on as events are acknowledged."""

    matching: Matching
    features: FeaturesClient
    bootstrap_servers: str
    topic: str
    job: JobFile
    per_second: float
    standing: Standing

    def run(self, progress: Callable[[int], None]) -> int:
        """Publish an event for each subject that matches; returns how many by this job, earlier runs included.

        Broken off at any moment, the job goes on after the last acknowledged event the next time. Raises NotReady,
        ClientError.
        """
        pace = Pace(self.per_second)
        with publishing(self.bootstrap_servers, self.topic, timeout_seconds=30) as publisher:
            for looked_up_to, found in self.matching.pages(self.features, self.standing.after_id):
                self._publish(found, publisher, pace, progress)
                self._acknowledge(publisher, looked_up_to, 0)
        self.job.finish()
        return self.standing.published

    def _publish(
        self, found: list[StoredSubject], publisher: Publisher, pace: Pace, progress: Callable[[int], None]
    ) -> None:
        last, sent = "", 0
        try:
            for subject in found:
                pace.wait()
                publisher.send(self.matching.event(subject))
                last, sent = subject.subject_id, sent + 1
                progress(1)
                if sent == SAVED_EVERY:
                    self._acknowledge(publisher, last, sent)
                    sent = 0
        finally:  # also when the operator breaks it off
            if sent:
                self._acknowledge(publisher, last, sent)

    def _acknowledge(self, publisher: Publisher, done: str, sent: int) -> None:
        publisher.flush()
        self.standing = replace(self.standing, after_id=done, published=self.standing.published + sent)
        self.job.write(self.standing)


def wait_until_rebuilt(
    matching: Matching, features: FeaturesClient, patience_seconds: float, progress: Callable[[int], None]
) -> int:
    """Look until nothing matches any more, or the number has not changed for so long; returns what still matches.

    `progress` is told of each number. Looking takes at most a fifth of the time. Raises ClientError.
    """
    left, moved = -1, time.monotonic()
    while True:
        began = time.monotonic()
        now_left = matching.count(features)
        looked = time.monotonic()
        progress(now_left)
        moved = looked if now_left != left else moved
        left = now_left
        if not left or looked - moved > patience_seconds:
            return left
        time.sleep(max(POLL_SECONDS, (looked - began) / SHARE_OF_POLLING))

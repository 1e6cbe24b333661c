"""The stage that keeps users' preference knowledge fresh: it asks anew when the policy says so, and not too often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import structlog

from loreline.client import FeaturesClient, NotFoundError, UserDescription
from loreline.domain import KnowledgeVectors, Stamp, UserHistory
from services.updater.events import Event, Logged, Requested
from services.updater.knowledge_pipeline import KnowledgePipeline, Question
from services.updater.metrics import UpdaterMetrics
from services.updater.outcomes import EnrichmentOutcome, Later, Passed
from services.updater.publications import Enriched
from services.updater.refresh_policy import Cause, RefreshPolicy
from services.updater.token_bucket import TokenBucket

log = structlog.get_logger(__name__)
MISSING = Later("MISSING_CONTENT", "the user's history is not stored, or not as far as this event")


@dataclass(frozen=True)
class Due:
    """A user whose preferences are to be written anew, and why."""

    cause: Cause
    question: Question[UserHistory]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class PreferencesStage:
    """Looks at what is stored of a user when the user's turn comes, so one look answers for all events until then.

    `limit` bounds how many users are asked about; `entries` how many of their newest interactions are told.
    """

    pipeline: KnowledgePipeline[UserHistory]
    features: FeaturesClient
    policy: RefreshPolicy
    limit: TokenBucket
    entries: int
    metrics: UpdaterMetrics
    now: Callable[[], datetime] = _now
    name: str = "preferences"

    def enrich(self, events: Sequence[Event]) -> list[EnrichmentOutcome]:
        """As the consumer's Enrichment asks; the events are of the interactions topic."""
        looked = {event.subject_id: self._look_at(event) for event in events}
        due = [one for one in looked.values() if isinstance(one, Due)]
        outcomes = {user_id: found for user_id, found in looked.items() if not isinstance(found, Due)}
        self.metrics.count(self.name, [found.reason for found in outcomes.values() if isinstance(found, Passed)])
        outcomes |= self._refresh(events[0].scenario, due)
        return [outcomes[event.subject_id] for event in events]

    def _look_at(self, event: Event) -> Due | EnrichmentOutcome:
        try:
            user = self.features.describe_user(event.subject_id, self.entries)
        except NotFoundError:
            return MISSING
        if user.history_event is None or not _holds(user.history_event, event):
            return MISSING
        history = _told(user.user, event.scenario)
        cause = self._cause(event, user)
        if cause is None or not history.entries:
            if _is_answered(user, event):
                self._tell_again(event)
            return Passed("NOT_DUE")
        return Due(cause, Question(user.history_event, event.subject_id, history))

    def _tell_again(self, event: Event) -> None:
        """Whoever stored the answer may have ended before it was told; a second telling tells nothing new."""
        with self.pipeline.storing:
            user = self.features.describe_user(event.subject_id, self.entries)
            if (known := user.knowledge) is None or (stamp := user.knowledge_event) is None:
                return
            version = user.model_versions[-1] if user.model_versions else ""
            untold = np.empty(0, dtype=np.float32)  # no topic holds vectors
            vectors = KnowledgeVectors(known, user.encoder, untold, version, None)
            news = Enriched("user", event.subject_id, known.provenance.scenario, stamp, vectors)
            self.pipeline.publications.tell([news])

    def _cause(self, event: Event, user: UserDescription) -> Cause | None:
        requested, new = isinstance(event, Requested), user.interactions_since_knowledge
        return self.policy.cause(requested, new, user.knowledge_stored_time, self.now())

    def _refresh(self, scenario: str, due: Sequence[Due]) -> dict[str, EnrichmentOutcome]:
        allowed = self.limit.take(len(due))
        outcomes = self._ask(scenario, due[:allowed])
        if refused := due[allowed:]:
            later = Later("RATE_LIMITED", pause_seconds=self.limit.wait_seconds)
            outcomes |= {one.question.subject_id: later for one in refused}
        return outcomes

    def _ask(self, scenario: str, due: Sequence[Due]) -> dict[str, EnrichmentOutcome]:
        outcomes: dict[str, EnrichmentOutcome] = {}
        try:
            outcomes = self.pipeline.enrich(scenario, [one.question for one in due])
        finally:
            done = [one for one in due if not isinstance(outcomes.get(one.question.subject_id, MISSING), Later)]
            self.limit.give_back(len(due) - len(done))
        for one in done:
            self.metrics.refreshes.labels(one.cause).inc()
            log.info("preferences asked for", user_id=one.question.subject_id, cause=one.cause)
        return outcomes


def _holds(newest: Stamp, event: Event) -> bool:
    """Whether a history that ends with `newest` holds the event's interaction, or is past it. A request is in none."""
    return isinstance(event, Requested) or newest.order >= event.stamp.order


def _is_answered(user: UserDescription, event: Event) -> bool:
    """Whether the preferences answer this event, or one that it is handled for too: that one may not be told yet."""
    since = (isinstance(event, Logged) and event.since) or event.stamp
    return user.knowledge_event is not None and user.knowledge_event.order >= since.order


def _told(user: UserHistory, scenario: str) -> UserHistory:
    """The interactions with items of the scenario whose prompt is used: the others would be refused there."""
    return replace(user, entries=[entry for entry in user.entries if entry.item.scenario == scenario])

"""The stages that store what an event says, each behind a consumer group of its own.

ContentStage makes an item rankable at once, InteractionsStage a user's history complete at once. What a language model
is asked about goes through stages of its own, knowledge_stage and preferences_stage. Because each has its own offsets,
a slow language model delays only these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from loreline.client import FeaturesClient
from services.updater.events import Delete, Event, Logged, PoisonEvent, Upsert
from services.updater.metrics import UpdaterMetrics
from services.updater.outcomes import isolating
from services.updater.popularity import Popularity

log = structlog.get_logger(__name__)
Poisons = dict[int, PoisonEvent]


class Stage(Protocol):
    """Gives a batch of events their effect."""

    @property
    def name(self) -> str:
        """The stage's name in logs, dead letters and its consumer group."""

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Store the effects; returns the events that no retry can help, by position.

        Raises loreline.client.ClientError when the whole batch must be handled again; handling an event twice changes
        nothing.
        """


@dataclass(frozen=True)
class ContentStage:
    """Stores content features and removals. Their order is that of the event times, which features keeps."""

    features: FeaturesClient
    metrics: UpdaterMetrics
    name: str = "content"

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Store all upserts in one write and all removals in another."""
        upserts = {position: event for position, event in enumerate(events) if isinstance(event, Upsert)}
        removals = {position: event for position, event in enumerate(events) if isinstance(event, Delete)}
        return isolating(self._upsert, upserts) | isolating(self._remove, removals)

    def _upsert(self, events: Mapping[int, Upsert]) -> Poisons:
        outcomes = self.features.put_contents([(event.stamp, event.item) for event in events.values()])
        self.metrics.count(self.name, outcomes)
        log.info("content stored", events=len(events), applied=outcomes.count("APPLIED"))
        return {}

    def _remove(self, events: Mapping[int, Delete]) -> Poisons:
        outcomes = self.features.remove_items([(event.stamp, event.subject_id) for event in events.values()])
        self.metrics.count(self.name, outcomes)
        log.info("items removed", events=len(events), applied=outcomes.count("APPLIED"))
        return {}


@dataclass(frozen=True)
class InteractionsStage:
    """Adds interactions to users' histories, and counts them for the items' popularity. Requests are passed over."""

    features: FeaturesClient
    popularity: Popularity
    metrics: UpdaterMetrics
    name: str = "interactions"

    def handle(self, events: Sequence[Event]) -> Poisons:
        """Store all interactions in one write."""
        return isolating(self._append, {n: event for n, event in enumerate(events) if isinstance(event, Logged)})

    def _append(self, events: Mapping[int, Logged]) -> Poisons:
        interactions = [event.interaction for event in events.values()]
        outcomes = self.features.append_interactions(interactions)
        new = [one for one, outcome in zip(interactions, outcomes, strict=True) if outcome == "APPLIED"]
        self.popularity.count(one.item_id for one in new)  # one that is told twice counts once
        self.metrics.count(self.name, outcomes)
        log.info("interactions stored", events=len(events), applied=len(new))
        return {}
